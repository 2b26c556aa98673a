//! A session that both sides know (RFC 3261 sections 14 and 15, RFC 3311, 4028): negotiated again by either side, held,
//! kept alive, ended.
//!
//! One offer at a time: what we want beyond waits until the one under way is answered, and glare (491) is tried again
//! after the random pause of RFC 3261 section 14.1.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Context, DIGITS_MAX, Leg, LegRequest, State};
use crate::call::TrunkMedia;
use crate::call::q850::Q850Cause;
use crate::call::rings::TrunkProgress;
use crate::fault::Fault;
use crate::trunk::sip::cause;
use crate::trunk::sip::dialog::DialogId;
use crate::trunk::sip::digest::DigestClient;
use crate::trunk::sip::dtmf_relay;
use crate::trunk::sip::message::{HeaderName, Method, Request, Response, StatusCode};
use crate::trunk::sip::negotiation::OfferKind;
use crate::trunk::sip::session_timer::{Due, MIN_SE_S};
use crate::trunk::sip::transaction::{ClientFailure, ClientId, ServerId};

/// What a session has besides its dialog.
#[derive(Debug)]
pub(in super::super) struct Established {
    /// A re-INVITE or UPDATE of ours that has no final response yet.
    own: Option<Own>,
    /// What the caller wants, while the far end may not know yet.
    wants_hold: bool,
    /// A refresh waits for its turn.
    wants_refresh: bool,
    /// After glare, not before.
    try_again_at: Option<Instant>,
    /// INVITEs of the far end whose 2xx waits for its ACK, newest last; and whether that ACK brings the answer.
    unacknowledged: VecDeque<Unacknowledged>,
    /// The far end has not had its answer confirmed: ANSWER is told with the ACK.
    answer_untold: bool,
    digits: VecDeque<(char, u32)>,
    info: Option<ClientId>,
    pub(super) allows_update: bool,
    /// 491 in a row.
    glares: u8,
    /// We hang up when the ACK of our answer has come.
    leaves: Option<Q850Cause>,
    /// A REFER of ours is under way.
    pub(super) transferring: bool,
}

#[derive(Debug)]
struct Own {
    client: ClientId,
    request: Request,
    /// It offers SDP.
    offers: bool,
    tries: Tries,
}

/// What a request was sent again for, so that no far end makes it go round in circles.
#[derive(Debug, Default)]
struct Tries {
    digest: DigestClient,
    intervals: u8,
}

#[derive(Debug)]
struct Unacknowledged {
    id: ServerId,
    cseq: u32,
    awaits_answer: bool,
    /// It is the answer that began the session.
    begins: bool,
}

/// 2xx of ours that may wait for their ACK at once.
const UNACKNOWLEDGED_MAX: usize = 4;
/// 491 in a row; then the session stays as it is.
const GLARES_MAX: u8 = 8;
/// Longer session intervals (422) that one request of ours is sent again for.
const INTERVALS_MAX: u8 = 3;

impl Established {
    /// A session that our INVITE began.
    pub(super) fn new(allows_update: bool) -> Self {
        Self {
            own: None,
            wants_hold: false,
            wants_refresh: false,
            try_again_at: None,
            unacknowledged: VecDeque::new(),
            answer_untold: false,
            digits: VecDeque::new(),
            info: None,
            allows_update,
            glares: 0,
            leaves: None,
            transferring: false,
        }
    }

    /// A session that the far end's INVITE began.
    pub(super) fn answered(
        id: ServerId,
        cseq: u32,
        awaits_answer: bool,
        allows_update: bool,
    ) -> Self {
        let mut established = Self::new(allows_update);
        established.answer_untold = awaits_answer;
        established.unacknowledged.push_back(Unacknowledged {
            id,
            cseq,
            awaits_answer,
            begins: true,
        });
        established
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.try_again_at
    }
}

impl Leg {
    fn session(&mut self) -> Option<&mut Established> {
        match &mut self.state {
            State::Established(established) => Some(established),
            _ => None,
        }
    }

    /// The caller holds the far end, or takes it back.
    pub fn hold(&mut self, context: &mut Context<'_>, hold: bool) {
        if let Some(session) = self.session() {
            session.wants_hold = hold;
        }
        self.renegotiate_if_due(context);
    }

    /// Digits by INFO, one after the other.
    pub fn send_digits(&mut self, context: &mut Context<'_>, digits: &str, duration_ms: u32) {
        if let Some(session) = self.session() {
            let room = DIGITS_MAX.saturating_sub(session.digits.len());
            session
                .digits
                .extend(digits.chars().take(room).map(|digit| (digit, duration_ms)));
        }
        self.send_next_digit(context);
    }

    fn send_next_digit(&mut self, context: &mut Context<'_>) {
        let Some(session) = self.session() else {
            return;
        };
        if session.info.is_some() {
            return;
        }
        let Some((digit, duration_ms)) = session.digits.pop_front() else {
            return;
        };
        let Some(dialog) = self.dialog.as_mut() else {
            return;
        };
        let mut info = dialog.request(Method::Info);
        info.headers
            .push(HeaderName::ContentType, dtmf_relay::CONTENT_TYPE);
        info.body = dtmf_relay::write(digit, duration_ms).into_bytes();
        let client = self.send_challengeable(context, info, LegRequest::Info);
        if let Some(session) = self.session() {
            session.info = client;
        }
    }

    /// A re-INVITE or UPDATE, if something is wanted and nothing is in its way.
    pub(super) fn renegotiate_if_due(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let holds = self.negotiation.as_ref().is_some_and(|n| n.holds());
        let Some(session) = self.session() else {
            return;
        };
        let changes_hold = session.wants_hold != holds;
        let in_the_way = session.own.is_some()
            || session.leaves.is_some()
            || session.unacknowledged.iter().any(|open| open.awaits_answer)
            || session.try_again_at.is_some_and(|at| at > now);
        if in_the_way || !(changes_hold || session.wants_refresh) {
            return;
        }
        session.try_again_at = None;
        session.wants_refresh = false;
        let hold = session.wants_hold;
        let by_update = !changes_hold && session.allows_update;
        self.send_renegotiation(context, by_update, hold);
    }

    fn send_renegotiation(&mut self, context: &mut Context<'_>, by_update: bool, hold: bool) {
        let (Some(dialog), Some(negotiation)) = (self.dialog.as_mut(), self.negotiation.as_mut())
        else {
            return;
        };
        let mut request = if by_update {
            dialog.request(Method::Update)
        } else {
            let Ok(sdp) = negotiation.offer(OfferKind::Hold(hold)) else {
                return;
            };
            let mut request = dialog.request(Method::Invite);
            request
                .headers
                .push(HeaderName::ContentType, "application/sdp");
            request.body = sdp.into_bytes();
            request
        };
        let expires = self.timer.refresh_request(self.sip.session_expires_s);
        let headers = &mut request.headers;
        headers.push(HeaderName::Allow, super::ALLOW);
        headers.push(HeaderName::Supported, super::SUPPORTED);
        headers.push(HeaderName::SessionExpires, expires.write());
        headers.push(HeaderName::MinSe, MIN_SE_S.to_string());
        self.send_own(context, request, !by_update, Tries::default());
    }

    fn send_own(
        &mut self,
        context: &mut Context<'_>,
        request: Request,
        offers: bool,
        tries: Tries,
    ) {
        let kept = request.clone();
        let Some(client) = self.send_in_dialog(context, request, LegRequest::Renegotiation) else {
            return;
        };
        if let Some(session) = self.session() {
            session.own = Some(Own {
                client,
                request: kept,
                offers,
                tries,
            });
        }
    }

    /// A response to a re-INVITE or UPDATE of ours.
    pub(super) fn handle_renegotiation_response(
        &mut self,
        context: &mut Context<'_>,
        id: ClientId,
        response: &Response,
    ) {
        if response.status.is_provisional() {
            return;
        }
        let is_ours = self
            .session()
            .and_then(|session| session.own.as_ref())
            .is_some_and(|own| own.client == id);
        if !is_ours {
            // A repeated 2xx, or one that came after the end.
            self.repeat_ack(context, response);
            return;
        }
        let Some(own) = self.session().and_then(|session| session.own.take()) else {
            return;
        };
        if response.status.is_success() {
            self.take_renegotiated(context, &own, response);
        } else {
            self.take_refused(context, own, response);
        }
    }

    fn take_renegotiated(&mut self, context: &mut Context<'_>, own: &Own, response: &Response) {
        if let Some(dialog) = self.dialog.as_mut() {
            dialog.refresh_target(&response.headers);
        }
        if own.request.method == Method::Invite
            && let Some(dialog) = self.dialog.clone()
        {
            self.send_ack(context, &dialog, own.request.cseq(), None);
        }
        if let Some(session) = self.session() {
            session.glares = 0;
        }
        self.timer.answered_to_us(context.now, &response.headers);
        if own.offers {
            self.take_answer(
                context,
                response.headers.to_tag().unwrap_or_default(),
                &response.body,
            );
        }
        self.renegotiate_if_due(context);
    }

    /// The answer to an offer of ours in the session. One that can't be used leaves what was agreed.
    fn take_answer(&mut self, context: &mut Context<'_>, tag: &str, body: &[u8]) {
        let Some(negotiation) = self.negotiation.as_mut() else {
            return;
        };
        match negotiation.take_answer(tag, body) {
            Ok(negotiated) => {
                let media = TrunkMedia::Rtp(Box::new(negotiated.media));
                let untold = self
                    .session()
                    .is_some_and(|session| std::mem::take(&mut session.answer_untold));
                match (self.replaces, untold) {
                    (Some(_), _) => self.take_over(context, media),
                    (None, true) => self.tell(context, TrunkProgress::Answered(media)),
                    (None, false) => self.tell(context, TrunkProgress::Media(media)),
                }
            }
            Err(error) => {
                negotiation.roll_back();
                let refusal = error.refusal();
                let untold = self.session().is_some_and(|session| session.answer_untold);
                if untold {
                    self.tell_end(context, refusal.cause, Some(refusal.fault), refusal.message);
                    self.send_bye(context, refusal.cause);
                }
            }
        }
    }

    fn take_refused(&mut self, context: &mut Context<'_>, own: Own, response: &Response) {
        if own.offers
            && let Some(negotiation) = self.negotiation.as_mut()
        {
            negotiation.roll_back();
        }
        let status = response.status.0;
        let glares = self.session().map_or(0, |session| session.glares);
        match status {
            401 | 407 => self.answer_challenge(context, own, response),
            491 if glares < GLARES_MAX => {
                let pause = self.glare_pause(context);
                if let Some(session) = self.session() {
                    session.glares += 1;
                    session.try_again_at = Some(context.now + pause);
                    session.wants_refresh |= !own.offers;
                }
            }
            422 => {
                let min_se_s = response
                    .headers
                    .number(&HeaderName::MinSe)
                    .unwrap_or(MIN_SE_S);
                let mut own = own;
                own.tries.intervals += 1;
                let headers = &mut own.request.headers;
                if own.tries.intervals > INTERVALS_MAX
                    || headers
                        .number(&HeaderName::SessionExpires)
                        .is_none_or(|asked| asked >= min_se_s)
                {
                    return self.stay_as_it_was();
                }
                headers.set(
                    HeaderName::SessionExpires,
                    format!("{min_se_s};refresher=uac"),
                );
                headers.set(HeaderName::MinSe, min_se_s.to_string());
                self.send_own_again(context, own);
            }
            // RFC 3261 section 12.2.1.2: the far end knows no such dialog any more.
            408 | 481 => {
                let text =
                    format!("the far end answered {status} in the call: it has forgotten it");
                self.tell_end(context, Q850Cause::TIMER_EXPIRY, Some(Fault::Trunk), text);
                self.send_bye(context, Q850Cause::TIMER_EXPIRY);
            }
            405 | 501 if own.request.method == Method::Update => {
                if let Some(session) = self.session() {
                    session.allows_update = false;
                    session.wants_refresh = true;
                }
                self.renegotiate_if_due(context);
            }
            _ => self.stay_as_it_was(),
        }
    }

    /// RFC 3261 section 14.1: a refused change leaves the session as it was, and it is not asked for again.
    fn stay_as_it_was(&mut self) {
        let holds = self.negotiation.as_ref().is_some_and(|n| n.holds());
        if let Some(session) = self.session() {
            session.glares = 0;
            session.wants_hold = holds;
        }
    }

    fn answer_challenge(&mut self, context: &mut Context<'_>, own: Own, response: &Response) {
        let cnonce = context.tokens.bytes();
        let mut own = own;
        let credentials = self.sip.credentials.as_ref();
        let answered = own
            .tries
            .digest
            .answer(&mut own.request, response, credentials, cnonce);
        match answered {
            Ok(()) => self.send_own_again(context, own),
            Err(_) => self.stay_as_it_was(),
        }
    }

    /// The same request with the next number; its offer is made anew, as it was rolled back.
    fn send_own_again(&mut self, context: &mut Context<'_>, own: Own) {
        let Own {
            mut request,
            offers,
            tries,
            ..
        } = own;
        let hold = self.session().is_some_and(|session| session.wants_hold);
        let (Some(dialog), Some(negotiation)) = (self.dialog.as_mut(), self.negotiation.as_mut())
        else {
            return;
        };
        if offers {
            let Ok(sdp) = negotiation.offer(OfferKind::Hold(hold)) else {
                return;
            };
            request.body = sdp.into_bytes();
        }
        dialog.counted_to(request.cseq() + 1);
        let number = dialog.local_cseq();
        let method = request.method.clone();
        request
            .headers
            .set(HeaderName::CSeq, format!("{number} {method}"));
        self.send_own(context, request, offers, tries);
    }

    /// RFC 3261 section 14.1: who made the Call-ID waits 2.1 to 4 s, the other 0 to 2 s.
    fn glare_pause(&mut self, context: &mut Context<'_>) -> Duration {
        let owns_call_id = self.owns_call_id;
        let (from_ms, spread_ms) = if owns_call_id {
            (2_100, 1_900)
        } else {
            (0, 2_000)
        };
        let steps = spread_ms / 10;
        Duration::from_millis(from_ms + 10 * context.tokens.below(steps))
    }

    /// Our re-INVITE, UPDATE or INFO got no answer at all.
    pub(super) fn handle_session_failure(
        &mut self,
        context: &mut Context<'_>,
        purpose: LegRequest,
        failure: ClientFailure,
    ) {
        if self.session().is_none() {
            return;
        }
        match purpose {
            LegRequest::Renegotiation => {
                let text = match failure {
                    ClientFailure::TimedOut => "the far end did not answer in the call",
                    ClientFailure::Unreachable => "the far end can't be reached in the call",
                    ClientFailure::TooMany => {
                        "the gateway has all the SIP transactions that it may have"
                    }
                };
                self.tell_end(context, Q850Cause::TIMER_EXPIRY, Some(Fault::Trunk), text);
                self.send_bye(context, Q850Cause::TIMER_EXPIRY);
            }
            _ => self.handle_info_response(context),
        }
    }

    /// The digit was taken, or was not: the next one.
    pub(super) fn handle_info_response(&mut self, context: &mut Context<'_>) {
        if let Some(session) = self.session() {
            session.info = None;
        }
        self.send_next_digit(context);
    }

    /// A request of the far end in the dialog, in order.
    pub fn handle_request(&mut self, context: &mut Context<'_>, id: ServerId, request: &Request) {
        let known = [
            Method::Invite,
            Method::Update,
            Method::Bye,
            Method::Prack,
            Method::Info,
            Method::Options,
            Method::Refer,
            Method::Notify,
        ];
        if !known.contains(&request.method) {
            let mut response = Response::to(request, StatusCode(405), self.local_tag());
            response.headers.push(HeaderName::Allow, super::ALLOW);
            return self.respond(context, id, response);
        }
        // Another fork's dialog is not the session's, though it leads here.
        let is_ours = self
            .dialog
            .as_ref()
            .is_none_or(|dialog| DialogId::of_request(request).as_ref() == Some(dialog.id()));
        if !is_ours {
            return self.respond_status(context, id, request, 481);
        }
        if let Some(dialog) = self.dialog.as_mut()
            && let Err(status) = dialog.take_request(request)
        {
            return self.respond_status(context, id, request, status.0);
        }
        match request.method {
            Method::Bye => self.handle_bye(context, id, request),
            Method::Prack => self.handle_prack(context, id, request),
            Method::Options => self.respond_status(context, id, request, 200),
            Method::Notify => self.handle_notify(context, id, request),
            _ if self.session().is_none() => {
                // RFC 3311 section 5.1: an offer before our answer is glare; anything else has to wait.
                let status = if matches!(self.state, State::Alerting(_) | State::Dialling(_)) {
                    491
                } else {
                    481
                };
                self.respond_status(context, id, request, status);
            }
            Method::Info => self.handle_info(context, id, request),
            Method::Refer => self.handle_refer(context, id, request),
            _ => self.handle_offer(context, id, request),
        }
    }

    fn handle_bye(&mut self, context: &mut Context<'_>, id: ServerId, request: &Request) {
        self.respond_status(context, id, request, 200);
        // BYE of a call that we have not answered: the INVITE is answered too (RFC 3261 section 15.1.2).
        if let State::Alerting(alerting) = &self.state {
            let (invite, invite_request) = (alerting.id, alerting.request.clone());
            self.respond_status(context, invite, &invite_request, 487);
        }
        self.left_while_transferred(context);
        let cause = cause::read_reason(&request.headers).unwrap_or(Q850Cause::NORMAL);
        let fault = (cause != Q850Cause::NORMAL).then_some(Fault::Trunk);
        self.tell_end(context, cause, fault, "the far end hung up");
        // Who is called may not do this before it has answered (RFC 3261 section 15): our INVITE is open still.
        if matches!(self.state, State::Dialling(_)) {
            return self.give_up(context);
        }
        self.state = State::Over;
    }

    fn handle_info(&mut self, context: &mut Context<'_>, id: ServerId, request: &Request) {
        let kind = request
            .headers
            .get(&HeaderName::ContentType)
            .unwrap_or_default();
        match dtmf_relay::read(kind, &request.body) {
            Some((digit, duration_ms)) => {
                self.respond_status(context, id, request, 200);
                self.tell(context, TrunkProgress::Digit { digit, duration_ms });
            }
            // An empty one asks whether we are there.
            None if request.body.is_empty() => self.respond_status(context, id, request, 200),
            None => {
                let mut response = Response::to(request, StatusCode(415), self.local_tag());
                let accept = format!("{}, application/dtmf", dtmf_relay::CONTENT_TYPE);
                response.headers.push(HeaderName::Accept, accept);
                self.respond(context, id, response);
            }
        }
    }

    /// Re-INVITE or UPDATE of the far end, with or without an offer.
    fn handle_offer(&mut self, context: &mut Context<'_>, id: ServerId, request: &Request) {
        let is_invite = request.method == Method::Invite;
        let has_offer = !request.body.is_empty();
        if super::incoming::has_wrong_content(request) {
            let mut response = Response::to(request, StatusCode(415), self.local_tag());
            response.headers.push(HeaderName::Accept, "application/sdp");
            return self.respond(context, id, response);
        }
        let waits = self.negotiation.as_ref().is_some_and(|n| n.waits());
        let Some(session) = self.session() else {
            return;
        };
        if (is_invite || has_offer) && (session.own.is_some() || waits) {
            return self.respond_status(context, id, request, 491);
        }
        if is_invite && session.unacknowledged.len() >= UNACKNOWLEDGED_MAX {
            let mut response = Response::to(request, StatusCode(500), self.local_tag());
            response.headers.push(HeaderName::RetryAfter, "5");
            return self.respond(context, id, response);
        }
        if let Some(refused) = self.refuse_interval(request) {
            return self.respond(context, id, refused);
        }
        let Some(negotiation) = self.negotiation.as_mut() else {
            return;
        };
        let made = match (has_offer, is_invite) {
            (true, _) => negotiation
                .answer(&request.body)
                .map(|(sdp, negotiated)| (sdp, Some(negotiated.media))),
            (false, true) => negotiation.offer(OfferKind::Full).map(|sdp| (sdp, None)),
            (false, false) => Ok((String::new(), None)),
        };
        match made {
            Ok((sdp, media)) => {
                let mut response = Response::to(request, StatusCode(200), self.local_tag());
                self.answer_timer(context, request, &mut response);
                if !sdp.is_empty() {
                    response
                        .headers
                        .push(HeaderName::ContentType, "application/sdp");
                    response.body = sdp.into_bytes();
                }
                self.respond(context, id, response);
                if is_invite && let Some(session) = self.session() {
                    session.unacknowledged.push_back(Unacknowledged {
                        id,
                        cseq: request.cseq(),
                        awaits_answer: !has_offer,
                        begins: false,
                    });
                }
                if let Some(media) = media {
                    self.tell(
                        context,
                        TrunkProgress::Media(TrunkMedia::Rtp(Box::new(media))),
                    );
                }
            }
            Err(error) => {
                let mut response =
                    Response::to(request, StatusCode(error.sip_status()), self.local_tag());
                let warning = format!("{} clutchcall \"{error}\"", error.sip_warning());
                response.headers.push(HeaderName::Warning, warning);
                self.respond(context, id, response);
            }
        }
    }

    /// RFC 4028 section 6: an interval below the minimum is refused.
    pub fn refuse_interval(&self, request: &Request) -> Option<Response> {
        let asked = request.headers.number(&HeaderName::SessionExpires)?;
        if asked >= MIN_SE_S {
            return None;
        }
        let mut response = Response::to(request, StatusCode(422), self.local_tag());
        response
            .headers
            .push(HeaderName::MinSe, MIN_SE_S.to_string());
        Some(response)
    }

    /// The ACK of a 2xx of ours.
    pub fn handle_ack(&mut self, context: &mut Context<'_>, request: &Request) {
        let cseq = request.cseq();
        let Some(session) = self.session() else {
            return;
        };
        let Some(at) = session
            .unacknowledged
            .iter()
            .position(|open| open.cseq == cseq)
        else {
            return;
        };
        let Some(open) = session.unacknowledged.remove(at) else {
            return;
        };
        context.transactions.acknowledged(open.id);
        if let Some(cause) = session.leaves.filter(|_| open.begins) {
            return self.send_bye(context, cause);
        }
        if open.awaits_answer {
            let tag = request.headers.from_tag().unwrap_or_default().to_owned();
            self.take_answer(context, &tag, &request.body);
        }
        self.renegotiate_if_due(context);
    }

    /// A 2xx of ours was never acknowledged (RFC 3261 section 13.3.1.4).
    pub fn handle_ack_missing(&mut self, context: &mut Context<'_>, id: ServerId) {
        let is_ours = self
            .session()
            .is_some_and(|session| session.unacknowledged.iter().any(|open| open.id == id));
        if is_ours {
            let text = "the far end never acknowledged our answer (ACK)";
            self.tell_end(context, Q850Cause::TIMER_EXPIRY, Some(Fault::Trunk), text);
            self.send_bye(context, Q850Cause::TIMER_EXPIRY);
        }
    }

    pub(super) fn established_due(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        if let Some(session) = self.session()
            && session.try_again_at.is_some_and(|at| at <= now)
        {
            session.try_again_at = None;
        }
        match self.timer.due(now) {
            Some(Due::Refresh) => {
                if let Some(session) = self.session() {
                    session.wants_refresh = true;
                }
            }
            Some(Due::Expired) => {
                let text = "the far end did not refresh the session (Session-Expires)";
                self.tell_end(context, Q850Cause::TIMER_EXPIRY, Some(Fault::Trunk), text);
                return self.send_bye(context, Q850Cause::TIMER_EXPIRY);
            }
            None => {}
        }
        self.renegotiate_if_due(context);
    }

    /// Our side hangs up, wherever the leg stands. Nothing is told.
    pub fn hang_up(&mut self, context: &mut Context<'_>, cause: Q850Cause) {
        self.call_sid = None;
        self.replaces = None;
        if let State::Established(session) = &mut self.state
            && session.unacknowledged.iter().any(|open| open.begins)
        {
            // RFC 3261 section 15: no BYE before the ACK. A far end that has missed our answer would refuse it, and be in
            // a call alone once the answer comes again.
            session.leaves = Some(cause);
            return;
        }
        match self.state {
            State::Dialling(_) => self.give_up(context),
            State::Alerting(_) => self.refuse_incoming(context, cause::status_of(cause), cause),
            State::Established(_) => self.send_bye(context, cause),
            State::Ending | State::Over => {}
        }
    }

    /// A response to a request of this leg.
    pub fn handle_response(
        &mut self,
        context: &mut Context<'_>,
        id: ClientId,
        purpose: LegRequest,
        response: &Response,
    ) {
        let is_final = !response.status.is_provisional();
        if is_final && self.answer_challenge_to(context, id, purpose, response) {
            return;
        }
        match purpose {
            LegRequest::Invite => self.handle_invite_response(context, id, response),
            LegRequest::Renegotiation => self.handle_renegotiation_response(context, id, response),
            LegRequest::Bye if is_final => self.state = State::Over,
            LegRequest::Info if is_final => self.handle_info_response(context),
            LegRequest::Refer if is_final => self.handle_refer_response(context, response),
            _ => {}
        }
    }

    /// A request of this leg came to nothing.
    pub fn handle_failure(
        &mut self,
        context: &mut Context<'_>,
        purpose: LegRequest,
        failure: ClientFailure,
    ) {
        match purpose {
            LegRequest::Invite => self.handle_invite_failure(context, failure),
            LegRequest::Bye => self.state = State::Over,
            LegRequest::Renegotiation | LegRequest::Info => {
                self.handle_session_failure(context, purpose, failure)
            }
            LegRequest::Refer => self.refer_failed(context, "the far end did not answer the REFER"),
            LegRequest::Prack | LegRequest::Notify | LegRequest::Cancel => {}
        }
    }
}
