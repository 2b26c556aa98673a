//! A call's life on its shard: what signalling says of its trunk leg, its timers, its end. How it begins is `call_setup`'s
//! and `incoming`'s, its bridge `call_media`'s, how it is watched meanwhile `call_watch`'s.
//!
//! The ring slots for ANSWER and the final event were reserved before the call began, so neither is ever lost to a full
//! ring, and every end goes through [`Switch::end_call`].

use std::time::{Duration, Instant};

use shards::guard;
use shards::ring::{Full, Reservation};
use shards::wheel::Alarm;
use smallvec::SmallVec;
use tracing::{error, info};

use super::call_watch::count_bridge;
use super::mailbox::SessionEvent;
use super::set_up_stages::SetUpStages;
use super::trunk_media::TrunkSide;
use super::vendor_side::VendorSide;
use super::{CallKey, SessionKey, Switch, Timer, unix_now};
use crate::bridge::{Bridge, DirectionStatistics};
use crate::call::dialled::say_goodbye;
use crate::call::q850::Q850Cause;
use crate::call::rings::{ToControl, TrunkProgress};
use crate::call::{CallAccount, CallEvent, CallMachine, HangupReason, TrunkMedia};
use crate::fault::{Fault, Refusal};
use crate::id::CallSid;
#[cfg(debug_assertions)]
use crate::injection::Place;

/// A call that is not answered after so long is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// All that a caller hears of a panic.
pub(super) const INTERNAL_ERROR: &str = "internal error";
/// How often a live call is looked at: no-media, statistics.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Why a call ends, as its final event and its record tell it.
#[derive(Debug, Clone)]
pub(super) struct HangUp {
    pub(super) cause: Q850Cause,
    /// None, like that of any normal end: nobody has to change anything.
    pub(super) fault: Option<Fault>,
    pub(super) text: String,
}

impl HangUp {
    /// A normal end by the caller.
    pub(super) fn caller(text: &str) -> Self {
        Self {
            cause: Q850Cause::NORMAL,
            fault: None,
            text: text.into(),
        }
    }

    /// After a panic.
    pub(super) fn internal_error() -> Self {
        Self::ours(Q850Cause::TEMPORARY_FAILURE, INTERNAL_ERROR)
    }

    pub(super) fn ours(cause: Q850Cause, text: &str) -> Self {
        Self::new(cause, Fault::Us, text)
    }

    pub(super) fn new(cause: Q850Cause, fault: Fault, text: impl Into<String>) -> Self {
        Self {
            cause,
            fault: Some(fault),
            text: text.into(),
        }
    }
}

impl From<&Refusal> for HangUp {
    fn from(refusal: &Refusal) -> Self {
        Self {
            cause: refusal.cause,
            fault: Some(refusal.fault),
            text: refusal.message.clone(),
        }
    }
}

/// One live call.
pub(super) struct Call {
    pub(super) machine: CallMachine,
    pub(super) parties: Parties,
    pub(super) vendor: VendorSide,
    pub(super) trunk: TrunkSide,
    /// Built when both legs have their media.
    pub(super) bridge: Option<Bridge>,
    /// Of a call that came over a trunk, how far it is taken.
    pub(super) acceptance: Acceptance,
    /// Whether the vendor side holds the call.
    pub(super) vendor_holds: VendorHolds,
    /// What the metrics know of the bridge's counters already, route by route.
    pub(super) counted: SmallVec<[DirectionStatistics; 2]>,
    /// A HOLD or RESUME that the ring to the control thread had no room for.
    untold: Option<CallEvent>,
    /// ANSWER's slot in the ring.
    pub(super) answer_slot: Option<Reservation>,
    /// The final event's.
    end_slot: Option<Reservation>,
    pub(super) answer_by: Option<Instant>,
    pub(super) stages: SetUpStages,
    /// Media must flow since then: since the answer, or the last resume.
    pub(super) flows_since: Option<Instant>,
    next_check: Instant,
    pub(super) checks: u32,
    alarm: Alarm,
}

/// Who calls whom, as they were named.
#[derive(Debug, Clone, Default)]
pub(super) struct Parties {
    pub(super) from: String,
    pub(super) to: String,
}

/// The ways in which a page holds its call. They are apart: an offer that restarts ICE takes back no hold that was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct VendorHolds {
    /// By `hold`, until `unhold`.
    pub(super) by_message: bool,
    /// By an offer that does not let us send, until another does (RFC 3264 section 8.4).
    pub(super) by_offer: bool,
}

impl VendorHolds {
    pub(super) fn any(self) -> bool {
        self.by_message || self.by_offer
    }
}

/// Who has to say yes before the far end is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acceptance {
    /// Nobody: the call goes to the trunk.
    Outgoing,
    /// The page, which has not decided.
    Waiting,
    /// It said yes; its media is not connected yet.
    Accepted,
    /// The control thread was told to answer.
    Told,
}

impl Switch {
    /// What the control thread says of a trunk leg.
    pub(super) fn trunk_progress(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        progress: TrunkProgress,
    ) {
        // A call that ended meanwhile has told the control thread so.
        let key = self.calls_by_sid.get(&call_sid).copied();
        let call = key.and_then(|key| Some((key, self.calls.get_mut(key.0)?)));
        let Some((key, call)) = call else {
            if let TrunkProgress::Answered(TrunkMedia::Socket(live)) = progress {
                say_goodbye(*live);
            }
            return;
        };
        match progress {
            TrunkProgress::Stage(stage) => call.stages.reached(stage, now),
            TrunkProgress::Ringing => {
                call.machine.ringing();
                call.stages.ringing.get_or_insert(now);
                let session = call.vendor.session();
                self.tell(session, SessionEvent::Ringing(call_sid));
            }
            TrunkProgress::EarlyMedia(media) => self.trunk_media(now, key, media),
            TrunkProgress::Answered(media) => {
                call.trunk.answered = true;
                self.trunk_media(now, key, media);
            }
            TrunkProgress::Media(media) => {
                self.trunk_media(now, key, media);
                self.follow_trunk_hold(now, key);
            }
            TrunkProgress::Digit { digit, duration_ms } => {
                self.digit_to_vendor(now, key, digit, duration_ms);
            }
            TrunkProgress::Failed(refusal) => {
                call.trunk.ended = true;
                self.end_call(now, key, HangUp::from(&refusal));
            }
            TrunkProgress::HungUp { cause, fault, text } => {
                call.trunk.ended = true;
                self.end_call(now, key, HangUp { cause, fault, text });
            }
        }
    }

    /// Ends a call: tells its far end, frees what it has, says HANGUP_COMPLETE in the slot reserved for it. The only
    /// way out, and taken once: afterwards the key names nothing.
    pub(super) fn end_call(&mut self, now: Instant, key: CallKey, hang_up: HangUp) {
        if !self.calls.contains(key.0) {
            return;
        }
        let mut call = self.calls.remove(key.0);
        let call_sid = call.machine.identity().call_sid;
        self.calls_by_sid.remove(&call_sid);
        if call.bridge.is_some() {
            self.bridged_calls -= 1;
        }
        if !call.trunk.ended {
            let cause = hang_up.cause;
            self.to_control
                .tell(ToControl::TrunkHangup { call_sid, cause });
        }
        // A call that is broken in itself may panic here too: its end is told all the same, without figures.
        let account = guard::catch(|| {
            #[cfg(debug_assertions)]
            self.trap.step_on(Place::Ending, || Some(call_sid));
            count_bridge(&self.metrics, &mut call);
            self.call_account(&call)
        });
        let account = account.unwrap_or_else(|panicked| {
            self.count_panic(&panicked.message, "putting a call's figures together");
            CallAccount::default()
        });
        if let Err(panicked) = guard::catch(|| self.release_trunk_side(now, &mut call.trunk)) {
            self.count_panic(&panicked.message, "closing a trunk leg");
        }

        if let Some(pcm) = call.trunk.pcm() {
            self.close_pcm_trunk(now, pcm, hang_up.cause, &hang_up.text);
        }

        let (cause, text) = (hang_up.cause, hang_up.text.clone());
        let record = call.machine.end(unix_now(), hang_up.into(), account);
        if let Some(unused) = call.answer_slot.take() {
            self.to_control.release(unused);
        }
        let (Some(record), Some(end_slot)) = (record, call.end_slot.take()) else {
            // Both are there until this line runs, and it runs once.
            error!(%call_sid, "a call ended twice");
            return;
        };
        info!(%call_sid, tenant_id = %record.event.tenant_id, shard = self.shard.0, q850_cause = cause.0, reason = text, "call ended");
        let session = call.vendor.session();
        let session = session.and_then(|session| self.sessions.get_mut(session.0));
        // A session that took another call meanwhile never heard of this one.
        if let Some(session) = session.filter(|session| session.call == Some(key)) {
            session.call = None;
            session.tell(SessionEvent::Event(Box::new(record.event.clone())));
            session.tell(SessionEvent::Ended {
                call_sid,
                cause,
                reason: text,
            });
        }
        self.to_control
            .push_reserved(end_slot, ToControl::Ended(Box::new(record)));
        self.publish_gauges();
    }

    /// A call's timers: the bridge's, the trunk leg's, the answer deadline, the look every second.
    pub(super) fn call_due(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        if !call.alarm.fired(now) {
            return;
        }
        if call.answer_by.is_some_and(|by| by <= now) {
            let hang_up = call.not_answered();
            return self.end_call(now, key, hang_up);
        }
        if let Some(bridge) = call.bridge.as_mut() {
            bridge.handle_timeout(now);
        }
        if self.play(now, key).is_break() {
            return;
        }
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        if call.next_check <= now {
            call.next_check = now + CHECK_EVERY;
            call.checks += 1;
            if let Some(hang_up) = self.missing_media(now, key) {
                return self.end_call(now, key, hang_up);
            }
            self.watch(now, key);
        }
        self.trunk_due(now, key);
        self.pump(now, key);
        self.arm_call(key);
    }

    /// Makes the wheel know of the call's next deadline.
    pub(super) fn arm_call(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let bridge = call.bridge.as_ref().and_then(Bridge::poll_timeout);
        let due = [
            Some(call.next_check),
            call.answer_by,
            bridge,
            call.trunk.poll_timeout(),
            call.vendor.poll_timeout(),
        ];
        let Some(due) = due.into_iter().flatten().min() else {
            return;
        };
        call.alarm.set(&mut self.wheel, due, Timer::Call(key));
    }

    /// HOLD or RESUME to the session and to the control thread. Those that a full ring keeps back coalesce: a RESUME
    /// takes an untold HOLD with it.
    pub(super) fn publish(&mut self, key: CallKey, event: Option<CallEvent>) {
        let (Some(event), Some(call)) = (event, self.calls.get(key.0)) else {
            return;
        };
        self.tell(
            call.vendor.session(),
            SessionEvent::Event(Box::new(event.clone())),
        );
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        call.untold = match call.untold.take() {
            Some(_) => None,
            None => Some(event),
        };
        self.tell_untold(key);
    }

    /// Tries again what a full ring kept back.
    pub(super) fn tell_untold(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let Some(event) = call.untold.take() else {
            return;
        };
        if let Err(Full(ToControl::Event(event))) =
            self.to_control.push(ToControl::Event(Box::new(event)))
        {
            call.untold = Some(*event);
        }
    }

    pub(super) fn tell(&self, session: Option<SessionKey>, event: SessionEvent) {
        if let Some(session) = session.and_then(|session| self.sessions.get(session.0)) {
            session.tell(event);
        }
    }
}

impl Call {
    /// A call whose CREATE is told and whose trunk leg is to be dialled, or to be answered.
    pub(super) fn new(
        now: Instant,
        machine: CallMachine,
        vendor: VendorSide,
        trunk: TrunkSide,
        answer_slot: Reservation,
        end_slot: Reservation,
    ) -> Self {
        Self {
            machine,
            parties: Parties::default(),
            vendor,
            trunk,
            bridge: None,
            acceptance: Acceptance::Outgoing,
            vendor_holds: VendorHolds::default(),
            counted: SmallVec::new(),
            untold: None,
            answer_slot: Some(answer_slot),
            end_slot: Some(end_slot),
            answer_by: Some(now + ANSWER_WITHIN),
            stages: SetUpStages::new(now),
            flows_since: None,
            next_check: now + CHECK_EVERY,
            checks: 0,
            alarm: Alarm::default(),
        }
    }

    fn not_answered(&self) -> HangUp {
        let seconds = ANSWER_WITHIN.as_secs();
        match self.acceptance {
            Acceptance::Waiting => HangUp::new(
                Q850Cause::NO_ANSWER,
                Fault::Caller,
                format!("the page did not accept the call in {seconds} s"),
            ),
            _ => HangUp::new(
                Q850Cause::TIMER_EXPIRY,
                Fault::Trunk,
                format!("the call was not answered in {seconds} s"),
            ),
        }
    }
}

impl From<HangUp> for HangupReason {
    fn from(hang_up: HangUp) -> Self {
        let HangUp { cause, fault, text } = hang_up;
        // Nobody has to change anything after a normal end.
        Self {
            cause,
            fault: fault.filter(|_| cause != Q850Cause::NORMAL),
            text,
        }
    }
}
