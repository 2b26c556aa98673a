//! Transfer (RFC 3515, 3891, 5589), either way: we send the far end elsewhere, or it sends us.
//!
//! A far end that sends us elsewhere keeps its session until somebody else has answered; then the new leg speaks for the
//! call, and the old one is told and ended. Should nobody answer, the old one goes on.

use super::{Context, Leg, LegEvent, LegRequest, State};
use crate::call::TrunkMedia;
use crate::call::q850::Q850Cause;
use crate::call::rings::TrunkProgress;
use crate::trunk::sip::message::value::{NameAddr, SipUri};
use crate::trunk::sip::message::{HeaderName, Method, Request, Response, StatusCode};
use crate::trunk::sip::transaction::ServerId;

/// How a transfer that we asked for ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferOutcome {
    /// The far end is connected elsewhere; the call ends here.
    Succeeded,
    /// It is not, and the call goes on; one sentence for a person.
    Failed(String),
}

/// A REFER of the far end that is under way.
#[derive(Debug, Clone)]
pub(in super::super) struct Referral {
    /// `id` of the Event header: the REFER's CSeq (RFC 3515 section 2.4.6).
    id: u32,
    /// It wants no NOTIFY (RFC 4488).
    silent: bool,
}

impl Leg {
    /// Sends the far end to `refer_to`, a whole Refer-To value.
    ///
    /// # Errors
    /// Why it can't be asked now.
    pub fn transfer(&mut self, context: &mut Context<'_>, refer_to: &str) -> Result<(), String> {
        let State::Established(session) = &mut self.state else {
            return Err("the far end has not answered".into());
        };
        if session.transferring {
            return Err("a transfer is under way".into());
        }
        session.transferring = true;
        let Some(dialog) = self.dialog.as_mut() else {
            return Err("the far end has not answered".into());
        };
        let mut refer = dialog.request(Method::Refer);
        refer.headers.push(HeaderName::ReferTo, refer_to);
        let referred_by = NameAddr::parse(&self.contact).map_or("", |contact| contact.uri);
        refer
            .headers
            .push(HeaderName::ReferredBy, format!("<{referred_by}>"));
        self.send_challengeable(context, refer, LegRequest::Refer);
        Ok(())
    }

    /// The answer to our REFER.
    pub(super) fn handle_refer_response(&mut self, context: &mut Context<'_>, response: &Response) {
        if !response.status.is_success() {
            let text = format!(
                "the far end answered the REFER with {} {}",
                response.status, response.reason
            );
            self.refer_failed(context, &text);
        }
    }

    /// A transfer of ours came to nothing; the call goes on.
    pub(super) fn refer_failed(&mut self, context: &mut Context<'_>, text: &str) {
        let State::Established(session) = &mut self.state else {
            return;
        };
        if std::mem::take(&mut session.transferring)
            && let Some(call_sid) = self.call_sid
        {
            let outcome = TransferOutcome::Failed(text.to_owned());
            context
                .events
                .push_back(LegEvent::Transferred { call_sid, outcome });
        }
    }

    /// The far end hung up before it told how the transfer went: most do, once they are connected.
    pub(super) fn left_while_transferred(&mut self, context: &mut Context<'_>) {
        let State::Established(session) = &mut self.state else {
            return;
        };
        if std::mem::take(&mut session.transferring)
            && let Some(call_sid) = self.call_sid
        {
            let outcome = TransferOutcome::Succeeded;
            context
                .events
                .push_back(LegEvent::Transferred { call_sid, outcome });
        }
    }

    /// NOTIFY: how a transfer of ours goes (`message/sipfrag`).
    pub(super) fn handle_notify(
        &mut self,
        context: &mut Context<'_>,
        id: ServerId,
        request: &Request,
    ) {
        let event = request.headers.get(&HeaderName::Event).unwrap_or_default();
        let is_refer = event
            .split(';')
            .next()
            .is_some_and(|event| event.trim().eq_ignore_ascii_case("refer"));
        if !is_refer {
            return self.respond_status(context, id, request, 489);
        }
        self.respond_status(context, id, request, 200);
        let State::Established(session) = &mut self.state else {
            return;
        };
        if !session.transferring {
            return;
        }
        match sipfrag_status(&request.body) {
            Some(status) if status.is_provisional() => {}
            Some(status) if status.is_success() => {
                session.transferring = false;
                if let Some(call_sid) = self.call_sid {
                    let outcome = TransferOutcome::Succeeded;
                    context
                        .events
                        .push_back(LegEvent::Transferred { call_sid, outcome });
                }
                self.tell_end(
                    context,
                    Q850Cause::NORMAL,
                    None,
                    "the far end was transferred",
                );
                self.send_bye(context, Q850Cause::NORMAL);
            }
            Some(status) => {
                let text = format!("the transfer's target answered {status}");
                self.refer_failed(context, &text);
            }
            // A subscription that ends without a word ends the transfer.
            None => {
                let state = request
                    .headers
                    .get(&HeaderName::SubscriptionState)
                    .unwrap_or_default();
                if state.trim_start().starts_with("terminated") {
                    self.refer_failed(context, "the far end did not tell how the transfer went");
                }
            }
        }
    }

    /// REFER: the far end sends us elsewhere. Whom to call is the agent's.
    pub(super) fn handle_refer(
        &mut self,
        context: &mut Context<'_>,
        id: ServerId,
        request: &Request,
    ) {
        let mut targets = request.headers.values(&HeaderName::ReferTo);
        let target = targets.next().and_then(NameAddr::parse);
        let target = target.filter(|target| SipUri::parse(target.uri).is_some());
        let (Some(target), None) = (target, targets.next()) else {
            return self.respond_status(context, id, request, 400);
        };
        if self.replacement.is_some() || self.replaces.is_some() || self.call_sid.is_none() {
            return self.respond_status(context, id, request, 491);
        }
        let silent = request
            .headers
            .iter()
            .any(|header| header.name.as_str() == "refer-sub" && header.value.starts_with("false"));
        self.referral = Some(Referral {
            id: request.cseq(),
            silent,
        });
        self.respond_status(context, id, request, 202);
        self.notify(context, "SIP/2.0 100 Trying", false);
        context.events.push_back(LegEvent::Referred {
            leg: context.key,
            refer_to: target.uri.to_owned(),
            referred_by: request
                .headers
                .get(&HeaderName::ReferredBy)
                .map(str::to_owned),
        });
    }

    /// Tells whoever sent us elsewhere how it goes.
    pub(super) fn notify(&mut self, context: &mut Context<'_>, sipfrag: &str, is_last: bool) {
        let Some(referral) = self.referral.clone().filter(|referral| !referral.silent) else {
            return;
        };
        if matches!(self.state, State::Over | State::Ending) {
            return;
        }
        let Some(dialog) = self.dialog.as_mut() else {
            return;
        };
        let mut notify = dialog.request(Method::Notify);
        let state = if is_last {
            "terminated;reason=noresource"
        } else {
            "active;expires=60"
        };
        let headers = &mut notify.headers;
        headers.push(HeaderName::Event, format!("refer;id={}", referral.id));
        headers.push(HeaderName::SubscriptionState, state);
        headers.push(HeaderName::ContentType, "message/sipfrag;version=2.0");
        notify.body = format!("{sipfrag}\r\n").into_bytes();
        self.send_in_dialog(context, notify, LegRequest::Notify);
        if is_last {
            self.referral = None;
        }
    }

    /// Whom we were sent to has answered: this leg, the old one, is told and ended.
    pub fn was_replaced(&mut self, context: &mut Context<'_>) {
        self.call_sid = None;
        self.replacement = None;
        self.notify(context, "SIP/2.0 200 OK", true);
        if matches!(self.state, State::Established(_)) {
            self.send_bye(context, Q850Cause::NORMAL);
        }
    }

    /// Whom we were sent to did not answer: this leg goes on.
    pub fn was_not_replaced(&mut self, context: &mut Context<'_>, sipfrag: &str) {
        self.replacement = None;
        self.notify(context, sipfrag, true);
    }

    /// This leg, which takes another's place, is answered.
    pub(super) fn take_over(&mut self, context: &mut Context<'_>, media: TrunkMedia) {
        if let Some(old) = self.replaces.take() {
            context.events.push_back(LegEvent::TookOver {
                old,
                new: context.key,
            });
        }
        self.tell(context, TrunkProgress::Media(media));
    }
}

fn sipfrag_status(body: &[u8]) -> Option<StatusCode> {
    let text = std::str::from_utf8(body).ok()?;
    let mut parts = text.trim_start().lines().next()?.split(' ');
    let is_sip = parts.next()?.eq_ignore_ascii_case("SIP/2.0");
    let status = parts.next()?.parse().ok()?;
    (is_sip && (100..700).contains(&status)).then_some(StatusCode(status))
}
