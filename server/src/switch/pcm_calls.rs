//! What a WebSocket-PCM peer does to its call, and what it hears of it: begin, digits, marks, clear, the end.
//!
//! A peer that dialled us, and one that we dialled for a call that came over a trunk, is the call's vendor side, with a session like
//! a page's; an agent behind a `websocket` trunk is its trunk side. A session of such a peer has no task: what is put into its
//! mailbox is delivered at the media loop's next turn.

use std::time::Instant;

use tracing::info;

use super::calls::{HangUp, INTERNAL_ERROR};
use super::mailbox::SessionEvent;
use super::pcm_begin::AskedCall;
use super::pcm_socket::{PcmKey, PcmOwner};
use super::{CallKey, SessionKey, Switch, Timer, pcm_legs};
use crate::call::EventType;
use crate::call::q850::Q850Cause;
use crate::call::rings::ToControl;
use crate::fault::{Refusal, RefusalCode};
use crate::id::LegId;
use crate::pcm::{Ask, Begin, News, PcmEvent, PcmLeg, Violation};

/// The socket's own goodbye (RFC 6455 section 7.4.1).
const NORMAL_CLOSURE: u16 = 1000;
/// We panicked.
const INTERNAL_ERROR_CLOSURE: u16 = 1011;
/// The gateway stops (registered with IANA for RFC 6455).
const SERVICE_RESTART_CLOSURE: u16 = 1012;

impl Switch {
    /// The call that a socket speaks in, and as which leg.
    pub(super) fn call_of_pcm(&self, key: PcmKey) -> Option<(CallKey, LegId)> {
        match self.pcm.get(key)?.owner {
            PcmOwner::Session(session) => {
                Some((self.sessions.get(session.0)?.call?, LegId::VENDOR))
            }
            PcmOwner::Trunk(call) => Some((call, LegId::TRUNK)),
            PcmOwner::Nobody => None,
        }
    }

    /// The peer asks for something.
    pub(super) fn pcm_ask(&mut self, now: Instant, key: PcmKey, ask: Ask) {
        #[cfg(debug_assertions)]
        self.step_on_trap(crate::injection::Place::Adapter, Timer::Pcm(key));
        match ask {
            Ask::Begin(begin) => self.pcm_begin(now, key, begin),
            Ask::Digit { digit, duration_ms } => self.pcm_digit(now, key, digit, duration_ms),
            Ask::Clear => self.pcm_cleared(now, key),
            Ask::MarkPlayed { name } => {
                if let Some(other) = self.other_pcm(key) {
                    self.tell_pcm_event(other, PcmEvent::Played { mark: name });
                }
            }
            Ask::HangUp { cause, fault, text } => {
                self.end_pcm(now, key, HangUp { cause, fault, text }, NORMAL_CLOSURE, "");
            }
            Ask::Close(violation) => self.pcm_violated(now, key, &violation),
        }
    }

    /// It has said all that its call needs: its leg is made, and the call is asked for outside of the turn.
    fn pcm_begin(&mut self, now: Instant, key: PcmKey, begin: Begin) {
        let Some(socket) = self.pcm.get(key) else {
            return;
        };
        let PcmOwner::Session(session_key) = socket.owner else {
            return;
        };
        let Some(session) = self.sessions.get_mut(session_key.0) else {
            return;
        };
        session.connected = true;
        // Whoever only listens is no part of the call, and must not end it.
        session.vendor_call = begin.vendor_call.clone().filter(|_| !begin.listen_only);
        let serial = session.serial;
        let config = pcm_legs::of_caller(session.vendor, &session.tenant, begin.encoding);
        if let Some(socket) = self.pcm.get_mut(key) {
            let leg = socket.leg.insert(PcmLeg::new(config, now));
            leg.set_listen_only(begin.listen_only);
        }
        self.asked_calls.push(AskedCall {
            session: session_key,
            serial,
            begin,
        });
        self.wake();
    }

    fn pcm_digit(&mut self, now: Instant, key: PcmKey, digit: char, duration_ms: u32) {
        match self.call_of_pcm(key) {
            Some((call, LegId::VENDOR)) if self.is_answered(call) => {
                let sent = self.send_digits_to_trunk(
                    now,
                    call,
                    digit.encode_utf8(&mut [0; 4]),
                    duration_ms,
                );
                if let Err(refusal) = sent {
                    let call = self.calls.get(call.0);
                    info!(
                        shard = self.shard.0,
                        call_sid = call.map(|call| call.machine.identity().call_sid.to_string()),
                        reason = refusal.message,
                        "a digit went no further"
                    );
                }
            }
            Some((call, LegId::TRUNK)) => self.digit_to_vendor(now, call, digit, duration_ms),
            _ => {}
        }
    }

    /// A digit that signalling, or an agent, has for the vendor side: as its dialect has it, or as a tone.
    pub(super) fn digit_to_vendor(
        &mut self,
        now: Instant,
        key: CallKey,
        digit: char,
        duration_ms: u32,
    ) {
        let Some(call) = self.calls.get(key.0) else {
            return;
        };
        let session = call.vendor.session();
        if !self.hears_tones(session) {
            return self.tell(session, SessionEvent::Digit { digit, duration_ms });
        }
        let bridge = self.calls.get_mut(key.0);
        let bridge = bridge.and_then(|call| call.bridge.as_mut());
        let route = bridge.and_then(|bridge| bridge.route_towards_mut(LegId::VENDOR));
        if let Some(route) = route {
            let digits = digit.encode_utf8(&mut [0; 4]).to_owned();
            // Too many at once is all that can be wrong, and then the far end presses faster than anybody hears.
            let _ = route.direction.send_digits(now, &digits, duration_ms);
        }
        self.pump(now, key);
        self.arm_call(key);
    }

    /// One side dropped what it had to say: the other drops what it has not played of it.
    fn pcm_cleared(&mut self, now: Instant, key: PcmKey) {
        let Some(other) = self.other_pcm(key) else {
            return;
        };
        if let Some(socket) = self.pcm.get_mut(other) {
            if let Some(leg) = &mut socket.leg {
                leg.drop_outgoing();
            }
            socket.tell(News::Cleared);
        }
        self.send_pcm(now, other);
    }

    /// An agent hears of a digit of its caller.
    pub(super) fn tell_pcm_digit(&mut self, key: PcmKey, digit: char, duration_ms: u32) {
        if let Some(socket) = self.pcm.get_mut(key) {
            socket.tell(News::Digit { digit, duration_ms });
        }
        self.pcm.mark_dirty(key);
    }

    /// Digits for this session's peer are tones.
    pub(super) fn hears_tones(&self, session: Option<SessionKey>) -> bool {
        let pcm = session.and_then(|session| self.sessions.get(session.0)?.pcm);
        let socket = pcm.and_then(|pcm| self.pcm.get(pcm));
        socket.is_some_and(|socket| socket.dialect.hears_tones())
    }

    /// The socket at the other end of the call, if there is one.
    fn other_pcm(&self, key: PcmKey) -> Option<PcmKey> {
        let (call, leg) = self.call_of_pcm(key)?;
        let call = self.calls.get(call.0)?;
        match leg {
            LegId::VENDOR => call.trunk.pcm(),
            _ => self.session_of(&call.vendor)?.pcm,
        }
    }

    /// A leg tells of itself.
    pub(super) fn pcm_leg_event(&mut self, now: Instant, key: PcmKey, event: PcmEvent) {
        match event {
            // Played is what the peer at the other end has played, where it tells.
            PcmEvent::Played { mark } => match self.mark_teller(key) {
                Some(teller) => {
                    if let Some(socket) = self.pcm.get_mut(teller) {
                        socket.mark(&mark);
                    }
                    self.pcm.mark_dirty(teller);
                }
                None => self.tell_pcm_event(key, PcmEvent::Played { mark }),
            },
            event => {
                let is_barge_in = matches!(event, PcmEvent::BargeIn { .. });
                self.tell_pcm_event(key, event);
                if is_barge_in {
                    self.pcm_cleared(now, key);
                }
            }
        }
    }

    fn mark_teller(&self, key: PcmKey) -> Option<PcmKey> {
        let other = self.other_pcm(key)?;
        let socket = self.pcm.get(other)?;
        (socket.dialect.tells_marks() && socket.leg.is_some()).then_some(other)
    }

    fn tell_pcm_event(&mut self, key: PcmKey, event: PcmEvent) {
        if let Some(socket) = self.pcm.get_mut(key) {
            socket.tell_leg_event(event);
        }
        self.pcm.mark_dirty(key);
    }

    /// The peer broke the rules: it hears which, and its call ends.
    pub(super) fn pcm_violated(&mut self, now: Instant, key: PcmKey, violation: &Violation) {
        self.metrics
            .pcm_violated(violation.fault, violation.kind as usize);
        let (session, call) = self.owners_of(Timer::Pcm(key));
        if let Some(session) = session.filter(|_| self.is_of_session(key)) {
            self.hang_up_on_vendor(session);
        }
        let tenant_id = session.and_then(|session| self.sessions.get(session.0));
        let tenant_id = tenant_id.map(|session| session.tenant.tenant_id.as_str());
        let call = call.and_then(|call| self.calls.get(call.0));
        let call_sid = call.map(|call| call.machine.identity().call_sid.to_string());
        info!(
            shard = self.shard.0,
            tenant_id,
            call_sid,
            peer = self
                .pcm
                .get(key)
                .map(|socket| socket.stream().peer().to_string()),
            kind = violation.kind.as_str(),
            fault = violation.fault.as_str(),
            reason = violation.reason,
            "a WebSocket of audio is closed"
        );
        let hang_up = HangUp::new(violation.cause(), violation.fault, violation.reason.clone());
        self.end_pcm(now, key, hang_up, violation.close_code, &violation.reason);
    }

    fn is_of_session(&self, key: PcmKey) -> bool {
        let owner = self.pcm.get(key).map(|socket| socket.owner);
        matches!(owner, Some(PcmOwner::Session(_)))
    }

    /// Ends the call of a socket for what its peer did, and closes the socket.
    fn end_pcm(&mut self, now: Instant, key: PcmKey, hang_up: HangUp, code: u16, reason: &str) {
        let Some(socket) = self.pcm.get(key) else {
            return;
        };
        match socket.owner {
            PcmOwner::Session(session) => {
                self.close_pcm_socket(now, key, code, reason);
                let call = self.sessions.get(session.0);
                if let Some(call) = call.and_then(|session| session.call) {
                    // Before the session lets go of its leg, which the call's account is of.
                    self.end_call(now, call, hang_up.clone());
                }
                if let Some(session) = self.sessions.get_mut(session.0) {
                    session.pcm = None;
                }
                self.remove_session(now, session, hang_up);
            }
            PcmOwner::Trunk(call) => {
                self.close_pcm_socket(now, key, code, reason);
                if let Some(call) = self.calls.get_mut(call.0) {
                    call.trunk.ended = true;
                }
                self.end_call(now, call, hang_up);
            }
            PcmOwner::Nobody => self.close_pcm_socket(now, key, code, reason),
        }
    }

    /// Both ends of a call hear that we panicked, whatever else was to be said.
    pub(super) fn close_after_panic(
        &mut self,
        now: Instant,
        session: Option<SessionKey>,
        call: Option<CallKey>,
    ) {
        let of_session = session.and_then(|session| self.sessions.get(session.0)?.pcm);
        let of_trunk = call.and_then(|call| self.calls.get(call.0)?.trunk.pcm());
        for key in [of_session, of_trunk].into_iter().flatten() {
            self.close_pcm_socket(now, key, INTERNAL_ERROR_CLOSURE, INTERNAL_ERROR);
        }
    }

    /// The shard is dead: every socket hears so as far as it takes it, and is dropped.
    pub(super) fn drop_pcm_sockets(&mut self, now: Instant) {
        for key in self.pcm.keys() {
            if let Some(socket) = self.pcm.get_mut(key) {
                socket.close(now, INTERNAL_ERROR_CLOSURE, INTERNAL_ERROR);
            }
            self.forget_pcm_socket(key);
        }
    }

    /// The last word to all of them, before their calls end: those that have more to say about an end say it.
    pub(super) fn stop_pcm_sockets(&mut self, now: Instant, reason: &str) {
        for key in self.pcm.keys() {
            if let Some(socket) = self.pcm.get_mut(key) {
                let cause = Q850Cause::TEMPORARY_FAILURE;
                socket.tell(News::Ended { cause, reason });
                socket.close(now, SERVICE_RESTART_CLOSURE, reason);
            }
            self.pcm.mark_dirty(key);
        }
    }

    /// The call is over: the agent behind its trunk hears so.
    pub(super) fn close_pcm_trunk(
        &mut self,
        now: Instant,
        key: PcmKey,
        cause: Q850Cause,
        reason: &str,
    ) {
        if let Some(socket) = self.pcm.get_mut(key) {
            socket.tell(News::Ended { cause, reason });
        }
        self.close_pcm_socket(now, key, NORMAL_CLOSURE, "");
    }

    /// Tells sessions without a task what was put into their mailboxes. A panic in it ends that session's call.
    pub(super) fn deliver_told(&mut self) {
        while let Some(key) = self.told.take() {
            let now = Instant::now();
            while let Some(event) = self
                .sessions
                .get(key.0)
                .and_then(|session| session.mailbox.take())
            {
                self.guarded(now, Timer::Session(key), |switch| {
                    switch.deliver(now, key, event);
                });
            }
        }
    }

    fn deliver(&mut self, now: Instant, key: SessionKey, event: SessionEvent) {
        let news = match &event {
            SessionEvent::Ringing(_) => News::Ringing,
            SessionEvent::Event(event) if event.event_type == EventType::ChannelAnswer => {
                News::Answered
            }
            SessionEvent::Digit { digit, duration_ms } => News::Digit {
                digit: *digit,
                duration_ms: *duration_ms,
            },
            SessionEvent::Ended { cause, reason, .. } => News::Ended {
                cause: *cause,
                reason,
            },
            SessionEvent::Failed(refusal) => return self.refuse_pcm_session(now, key, refusal),
            SessionEvent::Drain => {
                let is_idle = (self.sessions.get(key.0)).is_some_and(|session| !session.engaged);
                if is_idle {
                    self.refuse_pcm_session(now, key, &draining("the gateway drains"));
                }
                return;
            }
            SessionEvent::Stop => {
                return self.refuse_pcm_session(now, key, &draining("the gateway stops"));
            }
            SessionEvent::Event(_)
            | SessionEvent::Statistics(_)
            | SessionEvent::Incoming { .. } => {
                return;
            }
        };
        let session = self.sessions.get_mut(key.0);
        let pcm = session.and_then(|session| {
            session.answered |= matches!(news, News::Answered);
            session.pcm
        });
        if let Some(pcm) = pcm {
            if let Some(socket) = self.pcm.get_mut(pcm) {
                socket.tell(news);
            }
            self.pcm.mark_dirty(pcm);
        }
        if let SessionEvent::Ended { cause, reason, .. } = event {
            self.ended_by_us(now, key, pcm, cause, &reason);
        }
    }

    /// The call of a session is over, and not by its peer.
    fn ended_by_us(
        &mut self,
        now: Instant,
        key: SessionKey,
        pcm: Option<PcmKey>,
        cause: Q850Cause,
        reason: &str,
    ) {
        self.hang_up_on_vendor(key);
        if let Some(pcm) = pcm {
            self.close_pcm_socket(now, pcm, NORMAL_CLOSURE, reason);
        }
        if let Some(session) = self.sessions.get_mut(key.0) {
            session.pcm = None;
        }
        let hang_up = HangUp {
            cause,
            fault: None,
            text: reason.to_owned(),
        };
        self.remove_session(now, key, hang_up);
    }

    /// Ends the vendor's own call, where it has a way for that. Only one that was answered: of one that was not the vendor is
    /// left to what its customer wants then (the rest of the TwiML).
    pub(super) fn hang_up_on_vendor(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let vendor_call = session.vendor_call.take();
        if let Some(vendor_call) = vendor_call.filter(|_| session.answered) {
            let tenant_id = session.tenant.tenant_id.clone();
            self.to_control.tell(ToControl::TwilioHangUp {
                tenant_id,
                vendor_call,
            });
        }
    }

    /// There is no call, or none any more: the peer reads why.
    pub(super) fn refuse_pcm_session(&mut self, now: Instant, key: SessionKey, refusal: &Refusal) {
        self.hang_up_on_vendor(key);
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        if let Some(pcm) = session.pcm.take() {
            let code = refusal.code.close_code();
            if let Some(socket) = self.pcm.get_mut(pcm) {
                let (cause, reason) = (refusal.cause, refusal.message.as_str());
                socket.tell(News::Ended { cause, reason });
            }
            self.close_pcm_socket(now, pcm, code, &refusal.message);
        }
        self.remove_session(now, key, HangUp::from(refusal));
    }
}

fn draining(text: &str) -> Refusal {
    let refusal = Refusal::new(RefusalCode::Draining, crate::fault::Fault::Us, text);
    refusal.with_cause(Q850Cause::TEMPORARY_FAILURE)
}
