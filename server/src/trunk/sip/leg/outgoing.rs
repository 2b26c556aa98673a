//! We call (RFC 3261 sections 13.2 and 9.1): the INVITE, its forks and answers, challenges, redirection, the next target,
//! CANCEL.
//!
//! A call that was given up meanwhile and is answered all the same is acknowledged and ended. The caller's shard hears of
//! one outcome only.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::established::Established;
use super::{Context, FORKS_MAX, Leg, LegEvent, LegRequest, State};
use crate::call::TrunkMedia;
use crate::call::q850::Q850Cause;
use crate::call::rings::{SetUpStage, TrunkProgress};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::trunk::sip::cause;
use crate::trunk::sip::dialog::Dialog;
use crate::trunk::sip::digest::DigestClient;
use crate::trunk::sip::flow::Flow;
use crate::trunk::sip::message::value::{NameAddr, SipUri};
use crate::trunk::sip::message::{HeaderName, Method, Request, Response};
use crate::trunk::sip::session_timer::MIN_SE_S;
use crate::trunk::sip::transaction::{ClientFailure, ClientId};

/// Redirections of one call that are followed.
pub const REDIRECTS_MAX: usize = 5;
/// Longer session intervals that one call's far ends may ask for (422): a proxy may, and whom it asks.
const INTERVALS_MAX: u8 = 3;
/// After a CANCEL the INVITE's final response is due (RFC 3261 section 9.1).
const CANCELLED_WITHIN: Duration = Duration::from_secs(32);

/// A call of ours without a final response.
#[derive(Debug)]
pub struct Dialling {
    /// The INVITE, without Via: sent again for a challenge, a redirection, another target.
    request: Request,
    client: Option<ClientId>,
    flow: Flow,
    /// Where it goes when this target fails.
    next_targets: VecDeque<SocketAddr>,
    digest: DigestClient,
    intervals: u8,
    /// Request-URIs that were called, so that redirection never goes in circles.
    called: Vec<String>,
    forks: Vec<Fork>,
    has_provisional: bool,
    has_first_response: bool,
    rang: bool,
    cancel: Cancel,
}

/// An early dialog.
#[derive(Debug)]
struct Fork {
    dialog: Dialog,
    /// RSeq of the last reliable provisional response (RFC 3262).
    rseq: Option<u32>,
    /// Its SDP: the answer, should the 2xx have none.
    sdp: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    No,
    /// Wanted before any response came: a CANCEL may not be sent yet.
    Wanted,
    /// Sent; over at the deadline whatever comes.
    Sent(Instant),
}

impl Dialling {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.cancel {
            Cancel::Sent(until) => Some(until),
            Cancel::No | Cancel::Wanted => None,
        }
    }

    /// Another far end challenges anew.
    fn forget_challenges(&mut self) {
        self.digest = DigestClient::default();
        for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
            self.request.headers.remove(&name);
        }
    }

    /// A call to `request`'s URI over `flow`.
    pub fn new(request: Request, flow: Flow, next_targets: VecDeque<SocketAddr>) -> Self {
        Self {
            called: vec![request.uri.clone()],
            request,
            client: None,
            flow,
            next_targets,
            digest: DigestClient::default(),
            intervals: 0,
            forks: Vec::new(),
            has_provisional: false,
            has_first_response: false,
            rang: false,
            cancel: Cancel::No,
        }
    }
}

impl Leg {
    /// Sends the INVITE of a new leg.
    pub fn dial(&mut self, context: &mut Context<'_>) {
        self.tell(context, TrunkProgress::Stage(SetUpStage::InviteSent));
        self.send_invite(context);
    }

    fn send_invite(&mut self, context: &mut Context<'_>) {
        let State::Dialling(dialling) = &mut self.state else {
            return;
        };
        dialling.has_provisional = false;
        dialling.forks.clear();
        let (request, flow) = (dialling.request.clone(), dialling.flow.clone());
        let client = self.send_request(context, request, flow, LegRequest::Invite);
        if let State::Dialling(dialling) = &mut self.state {
            dialling.client = Some(client);
        }
    }

    /// The same INVITE once more, with the next number (a challenge, 422, a redirection).
    fn send_invite_again(&mut self, context: &mut Context<'_>) {
        if let State::Dialling(dialling) = &mut self.state {
            let number = dialling.request.cseq() + 1;
            dialling
                .request
                .headers
                .set(HeaderName::CSeq, format!("{number} INVITE"));
        }
        self.send_invite(context);
    }

    /// A response to our first INVITE.
    pub(super) fn handle_invite_response(
        &mut self,
        context: &mut Context<'_>,
        id: ClientId,
        response: &Response,
    ) {
        let State::Dialling(dialling) = &mut self.state else {
            return self.handle_late_invite_response(context, response);
        };
        if dialling.client != Some(id) {
            return;
        }
        if !dialling.has_first_response {
            dialling.has_first_response = true;
            self.tell(context, TrunkProgress::Stage(SetUpStage::FirstResponse));
        }
        if response.status.is_provisional() {
            self.handle_provisional(context, response);
        } else if response.status.is_success() {
            self.handle_answer(context, response);
        } else {
            self.handle_refusal(context, response);
        }
    }

    fn handle_provisional(&mut self, context: &mut Context<'_>, response: &Response) {
        let State::Dialling(dialling) = &mut self.state else {
            return;
        };
        dialling.has_provisional = true;
        if dialling.cancel == Cancel::Wanted {
            return self.send_cancel(context);
        }
        if response.status.0 == 100 || dialling.cancel != Cancel::No {
            return;
        }
        let fork = self.take_fork(context, response);
        let State::Dialling(dialling) = &mut self.state else {
            return;
        };
        let rings = matches!(response.status.0, 180..=182) && !dialling.rang;
        dialling.rang |= rings;
        if rings {
            self.tell(context, TrunkProgress::Ringing);
        }
        if let Some(fork) = fork {
            self.take_early_sdp(context, fork, response);
        }
    }

    /// The early dialog that the response belongs to; its place among the forks. A reliable response is acknowledged.
    fn take_fork(&mut self, context: &mut Context<'_>, response: &Response) -> Option<usize> {
        let State::Dialling(dialling) = &mut self.state else {
            return None;
        };
        let tag = response.headers.to_tag()?;
        let known = dialling
            .forks
            .iter()
            .position(|fork| fork.dialog.id().remote_tag == tag);
        let at = match known {
            Some(at) => {
                dialling.forks[at].dialog.refresh_target(&response.headers);
                at
            }
            None if dialling.forks.len() >= FORKS_MAX => return None,
            None => {
                let dialog = Dialog::of_response(&dialling.request, response, &dialling.flow)?;
                context
                    .events
                    .push_back(LegEvent::DialogBegan(dialog.id().clone(), context.key));
                dialling.forks.push(Fork {
                    dialog,
                    rseq: None,
                    sdp: None,
                });
                dialling.forks.len() - 1
            }
        };
        let is_reliable = response.headers.has_token(&HeaderName::Require, "100rel");
        if let Some(rseq) = response.headers.number(&HeaderName::RSeq)
            && is_reliable
        {
            let fork = &mut dialling.forks[at];
            // Repeated ones are acknowledged once (the PRACK's own transaction repeats it); out of order never.
            if fork.rseq.is_some_and(|last| rseq != last.wrapping_add(1)) {
                return (fork.rseq == Some(rseq)).then_some(at);
            }
            fork.rseq = Some(rseq);
            let cseq = response.headers.cseq().map_or(0, |(number, _)| number);
            let mut prack = fork.dialog.request(Method::Prack);
            prack
                .headers
                .push(HeaderName::RAck, format!("{rseq} {cseq} INVITE"));
            let flow = fork.dialog.flow().clone();
            self.send_request(context, prack, flow, LegRequest::Prack);
        }
        Some(at)
    }

    /// SDP before the answer: media that the caller may hear.
    fn take_early_sdp(&mut self, context: &mut Context<'_>, at: usize, response: &Response) {
        if response.body.is_empty() || !is_sdp(response) {
            return;
        }
        let Some(negotiation) = self.negotiation.as_mut() else {
            return;
        };
        let tag = response.headers.to_tag().unwrap_or_default();
        // An SDP that can't be used before the answer may be followed by one that can.
        let Ok(negotiated) = negotiation.take_answer(tag, &response.body) else {
            return;
        };
        let media = negotiated.media;
        let State::Dialling(dialling) = &mut self.state else {
            return;
        };
        if let Some(fork) = dialling.forks.get_mut(at) {
            fork.sdp = Some(response.body.clone());
        }
        if !self.sip.ignore_early_media && self.replaces.is_none() {
            let media = TrunkMedia::Rtp(Box::new(media));
            self.tell(context, TrunkProgress::EarlyMedia(media));
        }
    }

    fn handle_answer(&mut self, context: &mut Context<'_>, response: &Response) {
        let State::Dialling(dialling) = &mut self.state else {
            return;
        };
        let cseq = dialling.request.cseq();
        let tag = response.headers.to_tag().unwrap_or_default();
        let at = dialling
            .forks
            .iter()
            .position(|fork| fork.dialog.id().remote_tag == tag);
        let early = at.map(|at| dialling.forks.swap_remove(at));
        let mut dialog = match Dialog::of_response(&dialling.request, response, &dialling.flow) {
            Some(dialog) => dialog,
            // Without Contact or tag nothing can be sent to it: nothing but giving up is left.
            None => return self.fail(context, unusable("a 2xx without Contact or To tag")),
        };
        let was_cancelled = dialling.cancel != Cancel::No;
        let early_sdp = early.and_then(|fork| {
            dialog.counted_to(fork.dialog.local_cseq());
            fork.sdp
        });
        context
            .events
            .push_back(LegEvent::DialogBegan(dialog.id().clone(), context.key));
        self.send_ack(context, &dialog, cseq, None);
        if was_cancelled {
            self.dialog = Some(dialog);
            return self.send_bye(context, Q850Cause::NORMAL);
        }
        let sdp = if is_sdp(response) {
            Some(&response.body)
        } else {
            early_sdp.as_ref()
        };
        let media = match (&mut self.negotiation, sdp) {
            (Some(negotiation), Some(sdp)) => negotiation
                .take_answer(&dialog.id().remote_tag, sdp)
                .map(|negotiated| negotiated.media)
                .map_err(|error| error.refusal()),
            (_, None) => Err(unusable("a 2xx without SDP")),
            (None, _) => Err(unusable("an answer that nobody waits for")),
        };
        self.dialog = Some(dialog);
        match media {
            Err(refusal) => {
                let cause = refusal.cause;
                self.report_failure(context, refusal);
                self.send_bye(context, cause);
            }
            Ok(media) => {
                self.timer.answered_to_us(context.now, &response.headers);
                let allows_update = response.headers.has_token(&HeaderName::Allow, "UPDATE");
                self.state = State::Established(Box::new(Established::new(allows_update)));
                let media = TrunkMedia::Rtp(Box::new(media));
                context
                    .events
                    .push_back(LegEvent::DialSucceeded(self.trunk.trunk_id.clone()));
                match self.replaces {
                    Some(_) => self.take_over(context, media),
                    None => self.tell(context, TrunkProgress::Answered(media)),
                }
            }
        }
    }

    /// A 2xx after the session began or ended: repeated, or another fork's.
    fn handle_late_invite_response(&mut self, context: &mut Context<'_>, response: &Response) {
        if !response.status.is_success() || self.repeat_ack(context, response) {
            return;
        }
        // More than that are no forks: each answer of ours would be two messages for one.
        if self.strays >= FORKS_MAX {
            return;
        }
        self.strays += 1;
        let (Some(ours), Some((cseq, _))) = (&self.dialog, response.headers.cseq()) else {
            return;
        };
        let mut request = Request::new(Method::Invite, ours.remote_target());
        for name in [HeaderName::From, HeaderName::To] {
            let value = response.headers.get(&name).unwrap_or_default();
            request.headers.push(name, value);
        }
        request
            .headers
            .push(HeaderName::CSeq, format!("{cseq} INVITE"));
        let Some(mut dialog) = Dialog::of_response(&request, response, ours.flow()) else {
            return;
        };
        self.send_ack(context, &dialog, cseq, None);
        self.send_stray_bye(context, &mut dialog);
    }

    fn handle_refusal(&mut self, context: &mut Context<'_>, response: &Response) {
        let State::Dialling(dialling) = &mut self.state else {
            return;
        };
        if dialling.cancel != Cancel::No {
            self.state = State::Over;
            return;
        }
        let status = response.status;
        match status.0 {
            401 | 407 => {
                let cnonce = context.tokens.bytes();
                let credentials = self.sip.credentials.as_ref();
                match dialling
                    .digest
                    .answer(&mut dialling.request, response, credentials, cnonce)
                {
                    Ok(()) => self.send_invite_again(context),
                    Err(error) => {
                        let refusal = Refusal::new(
                            RefusalCode::Internal,
                            Fault::Config,
                            format!("the far end answered {status}: {error}"),
                        )
                        .with_cause(cause::of_status(status, false));
                        self.fail(context, refusal);
                    }
                }
            }
            422 => {
                let min_se_s = response.headers.number(&HeaderName::MinSe);
                let min_se_s = min_se_s.unwrap_or(MIN_SE_S).clamp(MIN_SE_S, 86_400);
                let asked = dialling.request.headers.number(&HeaderName::SessionExpires);
                dialling.intervals += 1;
                if dialling.intervals > INTERVALS_MAX
                    || asked.is_some_and(|asked| asked >= min_se_s)
                {
                    return self.refuse(context, response);
                }
                let headers = &mut dialling.request.headers;
                headers.set(HeaderName::SessionExpires, min_se_s.to_string());
                headers.set(HeaderName::MinSe, min_se_s.to_string());
                self.send_invite_again(context);
            }
            300..=399 => self.redirect(context, response),
            408 | 430 | 480 | 500..=599 if !dialling.rang && status.0 != 501 && status.0 != 480 => {
                self.try_next_target(context, Some(response));
            }
            _ => self.refuse(context, response),
        }
    }

    /// 3xx: the first contact that was not called yet, best first (RFC 3261 section 8.1.3.4).
    fn redirect(&mut self, context: &mut Context<'_>, response: &Response) {
        let State::Dialling(dialling) = &mut self.state else {
            return;
        };
        let mut contacts: Vec<(u32, &str)> = response
            .headers
            .values(&HeaderName::Contact)
            .filter_map(|contact| {
                let uri = NameAddr::parse(contact)?.uri;
                Some((quality(contact), uri))
            })
            .collect();
        contacts.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
        let fresh = contacts.into_iter().map(|(_, uri)| uri).find(|uri| {
            SipUri::parse(uri).is_some_and(|uri| !uri.host.is_empty())
                && !dialling.called.iter().any(|called| called == uri)
        });
        let Some(uri) = fresh.filter(|_| dialling.called.len() <= REDIRECTS_MAX) else {
            return self.refuse(context, response);
        };
        dialling.called.push(uri.to_owned());
        dialling.request.uri = uri.to_owned();
        // A contact at an address is called there; a name stays with the trunk, which is the one that we trust.
        if let Some(parsed) = SipUri::parse(uri)
            && let Some(ip) = parsed.ip()
        {
            let transport = parsed.transport().unwrap_or(dialling.flow.transport);
            if transport == dialling.flow.transport {
                let port = parsed.port.unwrap_or(transport.default_port());
                dialling.flow.remote = SocketAddr::new(ip, port);
                dialling.flow.connection = None;
            }
        }
        dialling.forget_challenges();
        self.send_invite_again(context);
    }

    /// This target failed: the next one, or the end.
    fn try_next_target(&mut self, context: &mut Context<'_>, response: Option<&Response>) {
        let State::Dialling(dialling) = &mut self.state else {
            return;
        };
        match dialling.next_targets.pop_front() {
            Some(target) => {
                dialling.flow.remote = target;
                dialling.flow.connection = None;
                dialling.forget_challenges();
                self.send_invite_again(context);
            }
            None => match response {
                Some(response) => self.refuse(context, response),
                None => {
                    let rang = dialling.has_provisional;
                    let text = if rang {
                        "the far end stopped answering"
                    } else {
                        "the far end did not answer the INVITE"
                    };
                    let refusal = Refusal::new(RefusalCode::Internal, Fault::Trunk, text)
                        .with_cause(Q850Cause::TIMER_EXPIRY);
                    context
                        .events
                        .push_back(LegEvent::DialFailed(self.trunk.trunk_id.clone(), None));
                    self.fail(context, refusal);
                }
            },
        }
    }

    /// The INVITE's transaction ended without a final response.
    pub(super) fn handle_invite_failure(
        &mut self,
        context: &mut Context<'_>,
        failure: ClientFailure,
    ) {
        let State::Dialling(dialling) = &self.state else {
            return;
        };
        if dialling.cancel != Cancel::No {
            self.state = State::Over;
            return;
        }
        match failure {
            ClientFailure::TooMany => {
                let text = "the gateway has all the SIP transactions that it may have";
                let refusal = Refusal::new(RefusalCode::Overload, Fault::Us, text)
                    .with_cause(Q850Cause::CONGESTION);
                self.fail(context, refusal);
            }
            ClientFailure::Unreachable if dialling.next_targets.is_empty() => {
                let text = format!("the far end at {} can't be reached", dialling.flow.remote);
                let refusal = Refusal::new(RefusalCode::Internal, Fault::Trunk, text)
                    .with_cause(Q850Cause::NETWORK_OUT_OF_ORDER);
                context
                    .events
                    .push_back(LegEvent::DialFailed(self.trunk.trunk_id.clone(), None));
                self.fail(context, refusal);
            }
            ClientFailure::Unreachable | ClientFailure::TimedOut => {
                self.try_next_target(context, None);
            }
        }
    }

    /// A final response that ends the call.
    fn refuse(&mut self, context: &mut Context<'_>, response: &Response) {
        let rang = matches!(&self.state, State::Dialling(dialling) if dialling.rang);
        let status = response.status;
        let cause =
            cause::read_reason(&response.headers).unwrap_or_else(|| cause::of_status(status, rang));
        let text = format!("the far end answered {status} {}", response.reason);
        let refusal = Refusal::new(RefusalCode::Internal, Fault::Trunk, text).with_cause(cause);
        context.events.push_back(LegEvent::DialFailed(
            self.trunk.trunk_id.clone(),
            Some(status),
        ));
        self.fail(context, refusal);
    }

    fn fail(&mut self, context: &mut Context<'_>, refusal: Refusal) {
        self.report_failure(context, refusal);
        self.state = State::Over;
    }

    /// Tells the call, or for a transfer the leg that was to be replaced.
    fn report_failure(&mut self, context: &mut Context<'_>, refusal: Refusal) {
        match self.replaces.take() {
            Some(old) => context.events.push_back(LegEvent::ReplacementFailed {
                leg: old,
                call_sid: self.call_sid,
                refusal: Box::new(refusal),
            }),
            None => self.tell(context, TrunkProgress::Failed(refusal)),
        }
        self.call_sid = None;
    }

    /// The caller gave up (RFC 3261 section 9.1).
    pub(super) fn give_up(&mut self, context: &mut Context<'_>) {
        let State::Dialling(dialling) = &mut self.state else {
            return;
        };
        if dialling.cancel != Cancel::No {
            return;
        }
        if dialling.has_provisional {
            self.send_cancel(context);
        } else {
            dialling.cancel = Cancel::Wanted;
        }
    }

    fn send_cancel(&mut self, context: &mut Context<'_>) {
        let State::Dialling(dialling) = &mut self.state else {
            return;
        };
        dialling.cancel = Cancel::Sent(context.now + CANCELLED_WITHIN);
        let Some(client) = dialling.client else {
            return;
        };
        // The CANCEL names the INVITE's branch: it is the transaction's to make.
        if let Some((cancel, flow)) = context.transactions.cancel(client) {
            let id = context.transactions.request(context.now, cancel, flow);
            context.clients.insert(
                id,
                super::ClientPurpose::Leg(context.key, LegRequest::Cancel),
            );
        }
    }

    pub(super) fn dialling_due(&mut self, context: &mut Context<'_>) {
        if let State::Dialling(dialling) = &self.state
            && let Cancel::Sent(until) = dialling.cancel
            && until <= context.now
        {
            if let Some(client) = dialling.client {
                context.transactions.forget(client);
            }
            self.state = State::Over;
        }
    }
}

/// Whether a body is SDP.
pub(super) fn is_sdp(response: &Response) -> bool {
    !response.body.is_empty()
        && response
            .headers
            .get(&HeaderName::ContentType)
            .is_some_and(is_sdp_type)
}

/// Whether a Content-Type is that of SDP.
pub(super) fn is_sdp_type(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/sdp")
}

fn unusable(what: &str) -> Refusal {
    Refusal::new(
        RefusalCode::Internal,
        Fault::Trunk,
        format!("the far end sent {what}"),
    )
    .with_cause(Q850Cause::INTERWORKING)
}

/// `q` of a contact in thousandths.
fn quality(contact: &str) -> u32 {
    super::super::message::value::parameter(contact, "q")
        .and_then(|q| q.parse::<f32>().ok())
        .map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32)
}

/// The INVITE of a new call, without Via and body.
pub struct NewInvite<'a> {
    /// The Request-URI.
    pub uri: &'a str,
    /// From without a tag.
    pub from: &'a str,
    /// To.
    pub to: &'a str,
    /// A fresh Call-ID.
    pub call_id: &'a str,
    /// Our tag.
    pub tag: &'a str,
    /// The outbound proxy's Route.
    pub route: Option<&'a str>,
    /// `session_expires_s`
    pub session_expires_s: u32,
    /// Contact of our messages.
    pub contact: &'a str,
    /// The agent's name.
    pub user_agent: &'a str,
    /// SDP.
    pub sdp: String,
}

impl NewInvite<'_> {
    /// The request.
    pub fn request(self) -> Request {
        let mut request = Request::new(Method::Invite, self.uri);
        let headers = &mut request.headers;
        headers.push(HeaderName::MaxForwards, "70");
        if let Some(route) = self.route {
            headers.push(HeaderName::Route, route);
        }
        headers.push(HeaderName::From, format!("{};tag={}", self.from, self.tag));
        headers.push(HeaderName::To, self.to);
        headers.push(HeaderName::CallId, self.call_id);
        headers.push(HeaderName::CSeq, "1 INVITE");
        headers.push(HeaderName::Contact, self.contact);
        headers.push(HeaderName::Allow, super::ALLOW);
        headers.push(HeaderName::Supported, super::SUPPORTED);
        headers.push(
            HeaderName::SessionExpires,
            self.session_expires_s.to_string(),
        );
        headers.push(HeaderName::MinSe, MIN_SE_S.to_string());
        headers.push(HeaderName::UserAgent, self.user_agent);
        headers.push(HeaderName::ContentType, "application/sdp");
        request.body = self.sdp.into_bytes();
        request
    }
}
