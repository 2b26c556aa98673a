//! We are called (RFC 3261 section 13.3, RFC 3262): 180, the answer with or after an offer, refusals, CANCEL.

use std::time::{Duration, Instant};

use super::established::Established;
use super::outgoing::is_sdp_type;
use super::{Context, Leg, State};
use crate::call::q850::Q850Cause;
use crate::call::rings::TrunkProgress;
use crate::call::{RtpMedia, TrunkMedia};
use crate::fault::Fault;
use crate::trunk::sip::agent::RETRY_AFTER_S;
use crate::trunk::sip::cause;
use crate::trunk::sip::message::{HeaderName, Method, Request, Response, StatusCode};
use crate::trunk::sip::negotiation::{Negotiation, OfferKind};
use crate::trunk::sip::transaction::{ServerId, T1, T1_64};

/// A call of the far end without a final response.
#[derive(Debug)]
pub(in super::super) struct Alerting {
    pub(super) id: ServerId,
    pub(super) request: Box<Request>,
    reliable: Option<Reliable>,
    rseq: u32,
    /// Early media was offered or answered: the final answer repeats it.
    early: Option<Early>,
}

/// What a 183 agreed on.
#[derive(Debug, Clone)]
struct Early {
    sdp: String,
    /// None while our offer waits for its answer.
    media: Option<Box<RtpMedia>>,
}

/// A provisional response that waits for its PRACK.
#[derive(Debug)]
struct Reliable {
    rseq: u32,
    response: Response,
    repeat_at: Instant,
    repeat_after: Duration,
    until: Instant,
}

impl Alerting {
    /// `first_rseq` is random (RFC 3262 section 3).
    pub(in super::super) fn new(id: ServerId, request: Box<Request>, first_rseq: u32) -> Self {
        Self {
            id,
            request,
            reliable: None,
            rseq: first_rseq,
            early: None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let reliable = self.reliable.as_ref()?;
        Some(reliable.repeat_at.min(reliable.until))
    }
}

impl Leg {
    /// Tells the far end that the called side is being alerted.
    pub fn ring(&mut self, context: &mut Context<'_>) {
        self.send_provisional(context, 180, None);
    }

    /// The call is taken, or with `early` something is to be played before it is refused.
    pub fn accept(&mut self, context: &mut Context<'_>, negotiation: Negotiation, early: bool) {
        let State::Alerting(alerting) = &mut self.state else {
            return;
        };
        let (id, request) = (alerting.id, alerting.request.clone());
        let agreed = alerting.early.take();
        let negotiation = self.negotiation.get_or_insert(negotiation);
        let has_offer = !request.body.is_empty();
        let made = match (agreed, has_offer) {
            (Some(agreed), _) => Ok((agreed.sdp, agreed.media)),
            (None, true) => negotiation
                .answer(&request.body)
                .map(|(sdp, negotiated)| (sdp, Some(Box::new(negotiated.media)))),
            (None, false) => negotiation.offer(OfferKind::Full).map(|sdp| (sdp, None)),
        };
        let (sdp, media) = match made {
            Ok(made) => made,
            Err(error) => {
                let refusal = error.refusal();
                let mut response =
                    Response::to(&request, StatusCode(error.sip_status()), self.local_tag());
                let warning = format!("{} clutchcall \"{error}\"", error.sip_warning());
                response.headers.push(HeaderName::Warning, warning);
                self.respond(context, id, response);
                self.tell_end(context, refusal.cause, Some(refusal.fault), refusal.message);
                self.state = State::Over;
                return;
            }
        };
        if early {
            if let State::Alerting(alerting) = &mut self.state {
                alerting.early = Some(Early {
                    sdp: sdp.clone(),
                    media: media.clone(),
                });
            }
            self.send_provisional(context, 183, Some(sdp));
            if let Some(media) = media {
                let media = TrunkMedia::Rtp(media);
                self.tell(context, TrunkProgress::EarlyMedia(media));
            }
            return;
        }
        self.send_answer(context, id, &request, sdp);
        let awaits_answer = !has_offer;
        self.state = State::Established(Box::new(Established::answered(
            id,
            request.cseq(),
            awaits_answer,
            request.headers.has_token(&HeaderName::Allow, "UPDATE"),
        )));
        if let Some(media) = media {
            let media = TrunkMedia::Rtp(media);
            match self.replaces {
                Some(_) => self.take_over(context, media),
                None => self.tell(context, TrunkProgress::Answered(media)),
            }
        }
    }

    /// 200 to an INVITE, with the session timer.
    pub(super) fn send_answer(
        &mut self,
        context: &mut Context<'_>,
        id: ServerId,
        request: &Request,
        sdp: String,
    ) {
        let mut response = Response::to(request, StatusCode(200), self.local_tag());
        self.answer_timer(context, request, &mut response);
        response
            .headers
            .push(HeaderName::ContentType, "application/sdp");
        response.body = sdp.into_bytes();
        copy_record_route(request, &mut response);
        self.respond(context, id, response);
    }

    /// Session-Expires of a 2xx of ours.
    pub(super) fn answer_timer(
        &mut self,
        context: &mut Context<'_>,
        request: &Request,
        response: &mut Response,
    ) {
        let ours_s = self.sip.session_expires_s;
        if let Some((expires, required)) = self.timer.answer(context.now, &request.headers, ours_s)
        {
            let headers = &mut response.headers;
            headers.push(HeaderName::SessionExpires, expires.write());
            if required {
                headers.push(HeaderName::Require, "timer");
            }
        }
    }

    /// The call is refused or given up by our side.
    pub fn refuse_incoming(
        &mut self,
        context: &mut Context<'_>,
        status: StatusCode,
        cause: Q850Cause,
    ) {
        let State::Alerting(alerting) = &self.state else {
            return;
        };
        let mut response = Response::to(&alerting.request, status, self.local_tag());
        response
            .headers
            .push(HeaderName::Reason, cause::write_reason(cause));
        if status.0 == 503 {
            response.headers.push(HeaderName::RetryAfter, RETRY_AFTER_S);
        }
        let id = alerting.id;
        self.respond(context, id, response);
        self.call_sid = None;
        self.state = State::Over;
    }

    /// The far end gave up (RFC 3261 section 9.2); the CANCEL is answered already.
    pub fn handle_cancelled(&mut self, context: &mut Context<'_>, id: ServerId, cancel: &Request) {
        let State::Alerting(alerting) = &self.state else {
            return;
        };
        if alerting.id != id {
            return;
        }
        let response = Response::to(&alerting.request, StatusCode(487), self.local_tag());
        self.respond(context, id, response);
        let cause = cause::read_reason(&cancel.headers).unwrap_or(Q850Cause::NORMAL);
        self.tell_end(context, cause, None, "the far end gave the call up");
        self.state = State::Over;
    }

    /// A request of the far end is over. An INVITE that nobody answered for so long is not kept either.
    pub fn handle_server_ended(&mut self, context: &mut Context<'_>, id: ServerId) {
        let State::Alerting(alerting) = &self.state else {
            return;
        };
        if alerting.id == id {
            let cause = Q850Cause::NO_ANSWER;
            self.tell_end(context, cause, None, "nobody answered");
            self.state = State::Over;
        }
    }

    /// PRACK (RFC 3262 section 3).
    pub(super) fn handle_prack(
        &mut self,
        context: &mut Context<'_>,
        id: ServerId,
        request: &Request,
    ) {
        let rack = request.headers.get(&HeaderName::RAck).unwrap_or_default();
        let rseq = rack
            .split_ascii_whitespace()
            .next()
            .and_then(|number| number.parse().ok());
        let waits = match &mut self.state {
            State::Alerting(alerting) => {
                let matches = alerting
                    .reliable
                    .as_ref()
                    .is_some_and(|reliable| Some(reliable.rseq) == rseq);
                if matches {
                    alerting.reliable = None;
                }
                matches
            }
            _ => false,
        };
        self.respond_status(context, id, request, if waits { 200 } else { 481 });
    }

    fn send_provisional(&mut self, context: &mut Context<'_>, status: u16, sdp: Option<String>) {
        let tag = self.local_tag().map(str::to_owned);
        let State::Alerting(alerting) = &mut self.state else {
            return;
        };
        let mut response = Response::to(&alerting.request, StatusCode(status), tag.as_deref());
        copy_record_route(&alerting.request, &mut response);
        if let Some(sdp) = sdp {
            response
                .headers
                .push(HeaderName::ContentType, "application/sdp");
            response.body = sdp.into_bytes();
        }
        let headers = &alerting.request.headers;
        // Reliable where it is demanded, and where it carries SDP and may be.
        let supported = headers.has_token(&HeaderName::Supported, "100rel");
        let wanted = headers.has_token(&HeaderName::Require, "100rel")
            || (supported && !response.body.is_empty());
        let id = alerting.id;
        if wanted && alerting.reliable.is_none() {
            alerting.rseq += 1;
            let rseq = alerting.rseq;
            response.headers.push(HeaderName::Require, "100rel");
            response.headers.push(HeaderName::RSeq, rseq.to_string());
            alerting.reliable = Some(Reliable {
                rseq,
                response: response.clone(),
                repeat_at: context.now + T1,
                repeat_after: T1,
                until: context.now + T1_64,
            });
        }
        self.respond(context, id, response);
    }

    pub(super) fn alerting_due(&mut self, context: &mut Context<'_>) {
        let State::Alerting(alerting) = &mut self.state else {
            return;
        };
        let Some(reliable) = &mut alerting.reliable else {
            return;
        };
        if reliable.until <= context.now {
            // RFC 3262 section 3: the far end will never say that it heard us.
            alerting.reliable = None;
            let cause = Q850Cause::TIMER_EXPIRY;
            let text = "a reliable provisional response was never acknowledged (PRACK)";
            let (id, request) = (alerting.id, alerting.request.clone());
            self.respond_status(context, id, &request, 504);
            self.tell_end(context, cause, Some(Fault::Trunk), text);
            self.state = State::Over;
            return;
        }
        if reliable.repeat_at <= context.now {
            reliable.repeat_after *= 2;
            reliable.repeat_at = context.now + reliable.repeat_after;
            let (id, response) = (alerting.id, reliable.response.clone());
            self.respond(context, id, response);
        }
    }

    /// The tag of our answers.
    pub(super) fn local_tag(&self) -> Option<&str> {
        self.dialog
            .as_ref()
            .map(|dialog| dialog.id().local_tag.as_str())
    }
}

/// What can't be answered with SDP whatever we do: its type.
pub fn has_wrong_content(request: &Request) -> bool {
    let kind = request.headers.get(&HeaderName::ContentType);
    !request.body.is_empty() && !kind.is_some_and(is_sdp_type)
}

/// RFC 3261 section 12.1.1: whoever recorded a route is on it.
fn copy_record_route(request: &Request, response: &mut Response) {
    debug_assert_eq!(request.method, Method::Invite);
    for header in request.headers.iter() {
        if header.name == HeaderName::RecordRoute {
            response
                .headers
                .push(HeaderName::RecordRoute, header.value.clone());
        }
    }
}
