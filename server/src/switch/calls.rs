//! A call's life on its shard, from the dialled trunk leg to the end: answered, held, ended. How it begins is
//! `call_setup`'s, how it is watched meanwhile `call_watch`'s.
//!
//! The ring slots for ANSWER and the final event were reserved before the call began, so neither is ever lost to a full
//! ring, and every end goes through [`Switch::end_call`].

use std::time::{Duration, Instant};

use shards::guard;
use shards::ring::{Full, Reservation};
use smallvec::SmallVec;
use tracing::{error, info};

use super::call_watch::count_bridge;
use super::mailbox::SessionEvent;
use super::trunk_media::TrunkSide;
use super::{CallKey, SessionKey, Switch, Timer, entropy, unix_now};
use crate::bridge::{Bridge, DirectionOptions, DirectionStatistics};
use crate::call::q850::Q850Cause;
use crate::call::rings::{ToControl, TrunkProgress};
use crate::call::{CallAccount, CallEvent, CallMachine, HangupReason, SetUpTimes};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, LegId};
#[cfg(debug_assertions)]
use crate::injection::Place;
use crate::rtp::{RtpTimestamp, SequenceNumber};

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
    pub(super) fault: Fault,
    pub(super) text: String,
}

impl HangUp {
    /// A normal end by the caller.
    pub(super) fn caller(text: &str) -> Self {
        Self {
            cause: Q850Cause::NORMAL,
            fault: Fault::Caller,
            text: text.into(),
        }
    }

    /// After a panic.
    pub(super) fn internal_error() -> Self {
        Self::ours(Q850Cause::TEMPORARY_FAILURE, INTERNAL_ERROR)
    }

    pub(super) fn ours(cause: Q850Cause, text: &str) -> Self {
        Self {
            cause,
            fault: Fault::Us,
            text: text.into(),
        }
    }
}

impl From<&Refusal> for HangUp {
    fn from(refusal: &Refusal) -> Self {
        Self {
            cause: refusal.cause,
            fault: refusal.fault,
            text: refusal.message.clone(),
        }
    }
}

/// One live call.
pub(super) struct Call {
    pub(super) machine: CallMachine,
    pub(super) session: SessionKey,
    pub(super) trunk: TrunkSide,
    /// Built when both legs have their media.
    pub(super) bridge: Option<Bridge>,
    /// What the metrics know of the bridge's counters already, route by route.
    pub(super) counted: SmallVec<[DirectionStatistics; 2]>,
    /// A HOLD or RESUME that the ring to the control thread had no room for.
    untold: Option<CallEvent>,
    /// ANSWER's slot in the ring.
    answer_slot: Option<Reservation>,
    /// The final event's.
    end_slot: Option<Reservation>,
    answer_by: Option<Instant>,
    created_at: Instant,
    ringing_at: Option<Instant>,
    answered_at: Option<Instant>,
    /// Media must flow since then: since the answer, or the last resume.
    pub(super) flows_since: Option<Instant>,
    next_check: Instant,
    pub(super) checks: u32,
    armed: Option<Instant>,
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
        let Some(&key) = self.calls_by_sid.get(&call_sid) else {
            return;
        };
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        match progress {
            TrunkProgress::Ringing => {
                call.machine.ringing();
                call.ringing_at.get_or_insert(now);
                let session = call.session;
                self.tell(session, SessionEvent::Ringing(call_sid));
            }
            TrunkProgress::Answered(media) => {
                if let Err(refusal) = self.trunk_answered(now, key, media) {
                    return self.end_call(now, key, HangUp::from(&refusal));
                }
                self.answer_when_ready(now, key);
            }
            TrunkProgress::Failed(refusal) => {
                call.trunk.ended = true;
                self.end_call(now, key, HangUp::from(&refusal));
            }
            TrunkProgress::HungUp { cause, fault, text } => {
                call.trunk.ended = true;
                let fault = fault.unwrap_or(Fault::Trunk);
                self.end_call(now, key, HangUp { cause, fault, text });
            }
            TrunkProgress::Digit { digit, duration_ms } => {
                let session = call.session;
                self.tell(session, SessionEvent::Digit { digit, duration_ms });
            }
            // No trunk tells these yet.
            TrunkProgress::Stage(_) | TrunkProgress::EarlyMedia(_) | TrunkProgress::Media(_) => {}
        }
    }

    /// Answers the call once both legs have media: builds the bridge and says ANSWER.
    pub(super) fn answer_when_ready(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let Some(session) = self.sessions.get(call.session.0) else {
            return;
        };
        let (Some(peer), Some(trunk_format)) = (&session.peer, call.trunk.format()) else {
            return;
        };
        if !session.connected || call.bridge.is_some() {
            return;
        }
        let [first_sequence, first_timestamp] = random_start();
        let towards_vendor = DirectionOptions {
            reorder_wait: Duration::from_millis(call.trunk.config.reorder_wait_ms.into()),
            force_transcode: false,
            initial_sequence_number: peer.first_sequence_number(),
            initial_timestamp: peer.first_timestamp(),
        };
        let towards_trunk = DirectionOptions {
            force_transcode: call.trunk.forces_transcoding(),
            initial_sequence_number: SequenceNumber(first_sequence as u16),
            initial_timestamp: RtpTimestamp(first_timestamp),
            ..towards_vendor
        };
        let vendor_format = peer.format();
        // An echo that reflects has the caller's own format.
        let trunk_format = trunk_format.unwrap_or(vendor_format);
        let bridge = match Bridge::connect(
            (LegId::VENDOR, &vendor_format, towards_vendor),
            (LegId::TRUNK, &trunk_format, towards_trunk),
        ) {
            Ok(bridge) => bridge,
            Err(error) => {
                let hang_up = HangUp::ours(Q850Cause::BEARER_NOT_IMPLEMENTED, &error.to_string());
                return self.end_call(now, key, hang_up);
            }
        };
        let codec = if call.trunk.is_echo() {
            vendor_format.codec
        } else {
            trunk_format.codec
        };
        info!(call_sid = %call.machine.identity().call_sid, tenant_id = %call.machine.identity().tenant_id,
            shard = self.shard.0, plan = plan_of(&bridge), "call answered");
        call.bridge = Some(bridge);
        call.answered_at = Some(now);
        call.flows_since = Some(now);
        call.answer_by = None;
        let event = call.machine.answer(unix_now(), codec);
        let (session, slot) = (call.session, call.answer_slot.take());
        if let (Some(event), Some(slot)) = (event, slot) {
            self.tell(session, SessionEvent::Event(Box::new(event.clone())));
            self.to_control
                .push_reserved(slot, ToControl::Event(Box::new(event)));
        }
        self.adapt(now, key);
        self.arm_call(key);
    }

    /// The caller's leg was negotiated again: the bridge follows, numbering goes on.
    pub(super) fn reformat(&mut self, now: Instant, session: SessionKey) {
        let Some((peer, key)) = self
            .sessions
            .get(session.0)
            .and_then(|session| Some((session.peer.as_ref()?, session.call?)))
        else {
            return;
        };
        let vendor_format = peer.format();
        // RFC 3264 section 8.4: who offers sendonly or inactive puts us on hold, and our answer does not send.
        let held = !peer.direction().sends();
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        if let (Some(bridge), Some(trunk_format)) = (call.bridge.as_mut(), call.trunk.format()) {
            let trunk_format = trunk_format.unwrap_or(vendor_format);
            let replaced = bridge
                .replace_format(now, LegId::VENDOR, &vendor_format)
                .and_then(|()| bridge.replace_format(now, LegId::TRUNK, &trunk_format));
            if let Err(error) = replaced {
                let hang_up = HangUp::ours(Q850Cause::BEARER_NOT_IMPLEMENTED, &error.to_string());
                return self.end_call(now, key, hang_up);
            }
            self.set_hold(key, LegId::VENDOR, held);
        }
    }

    /// One leg holds, or goes on. HOLD and RESUME alternate for the call as a whole.
    pub(super) fn set_hold(&mut self, key: CallKey, leg: LegId, hold: bool) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let event = if hold {
            call.machine.hold(leg, unix_now())
        } else {
            call.machine.resume(leg, unix_now())
        };
        let held = call.machine.is_on_hold();
        if let Some(bridge) = call.bridge.as_mut() {
            bridge.set_held(LegId::VENDOR, LegId::TRUNK, held);
            bridge.set_held(LegId::TRUNK, LegId::VENDOR, held);
        }
        call.flows_since = call.bridge.as_ref().map(|_| Instant::now());
        let changed = event.is_some();
        let call_sid = call.machine.identity().call_sid;
        self.publish(key, event);
        if changed
            && leg == LegId::VENDOR
            && self
                .to_control
                .push(ToControl::TrunkHold { call_sid, hold })
                .is_err()
        {
            self.metrics.ring_full.increment();
        }
    }

    pub(super) fn send_digits_to_trunk(
        &mut self,
        now: Instant,
        key: CallKey,
        digits: &str,
        duration_ms: u32,
    ) -> Result<(), Refusal> {
        let Some(bridge) = self
            .calls
            .get_mut(key.0)
            .and_then(|call| call.bridge.as_mut())
        else {
            return Ok(());
        };
        let Some(route) = bridge.route_towards_mut(LegId::TRUNK) else {
            return Ok(());
        };
        route
            .direction
            .send_digits(now, digits, duration_ms)
            .map_err(|error| {
                Refusal::new(RefusalCode::Malformed, Fault::Trunk, error.to_string())
            })?;
        self.pump(now, key);
        self.arm_call(key);
        Ok(())
    }

    pub(super) fn is_answered(&self, key: CallKey) -> bool {
        self.calls
            .get(key.0)
            .is_some_and(|call| call.bridge.is_some())
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
        if !call.trunk.ended
            && self
                .to_control
                .push(ToControl::TrunkHangup {
                    call_sid,
                    cause: hang_up.cause,
                })
                .is_err()
        {
            self.metrics.ring_full.increment();
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
        if let Some(session) = self.sessions.get_mut(call.session.0) {
            session.call = None;
            session.tell(SessionEvent::Event(Box::new(record.event.clone())));
            session.tell(SessionEvent::Ended {
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
        call.armed = None;
        if call.answer_by.is_some_and(|by| by <= now) {
            let hang_up = HangUp {
                cause: Q850Cause::TIMER_EXPIRY,
                fault: Fault::Trunk,
                text: "the call was not answered in 120 s".into(),
            };
            return self.end_call(now, key, hang_up);
        }
        if let Some(bridge) = call.bridge.as_mut() {
            bridge.handle_timeout(now);
        }
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
        ];
        let Some(due) = due.into_iter().flatten().min() else {
            return;
        };
        if call.armed.is_none_or(|armed| due < armed) {
            call.armed = Some(due);
            self.wheel.schedule(due, Timer::Call(key));
        }
    }

    /// HOLD or RESUME to the session and to the control thread. Those that a full ring keeps back coalesce: a RESUME
    /// takes an untold HOLD with it.
    fn publish(&mut self, key: CallKey, event: Option<CallEvent>) {
        let (Some(event), Some(call)) = (event, self.calls.get_mut(key.0)) else {
            return;
        };
        if let Some(session) = self.sessions.get(call.session.0) {
            session.tell(SessionEvent::Event(Box::new(event.clone())));
        }
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
            self.metrics.ring_full.increment();
            call.untold = Some(*event);
        }
    }

    pub(super) fn tell(&self, session: SessionKey, event: SessionEvent) {
        if let Some(session) = self.sessions.get(session.0) {
            session.tell(event);
        }
    }
}

impl Call {
    /// A call whose CREATE is told and whose trunk leg is to be dialled.
    pub(super) fn new(
        now: Instant,
        machine: CallMachine,
        session: SessionKey,
        trunk: TrunkSide,
        answer_slot: Reservation,
        end_slot: Reservation,
    ) -> Self {
        Self {
            machine,
            session,
            trunk,
            bridge: None,
            counted: SmallVec::new(),
            untold: None,
            answer_slot: Some(answer_slot),
            end_slot: Some(end_slot),
            answer_by: Some(now + ANSWER_WITHIN),
            created_at: now,
            ringing_at: None,
            answered_at: None,
            flows_since: None,
            next_check: now + CHECK_EVERY,
            checks: 0,
            armed: None,
        }
    }

    pub(super) fn set_up_times(&self) -> SetUpTimes {
        let since_created = |at: Instant| {
            u32::try_from(at.saturating_duration_since(self.created_at).as_millis())
                .unwrap_or(u32::MAX)
        };
        SetUpTimes {
            ringing_ms: self.ringing_at.map(since_created),
            answered_ms: self.answered_at.map(since_created),
            ..SetUpTimes::default()
        }
    }
}

impl From<HangUp> for HangupReason {
    fn from(hang_up: HangUp) -> Self {
        let HangUp { cause, fault, text } = hang_up;
        // Nobody has to change anything after a normal end.
        Self {
            cause,
            fault: (cause != Q850Cause::NORMAL).then_some(fault),
            text,
        }
    }
}

/// RFC 3550 section 5.1: sequence numbers and timestamps begin at random. The former below 2^15, so that an early loss
/// can't make an SRTP receiver guess the roll-over counter wrong.
fn random_start() -> [u32; 2] {
    let bytes: [u8; 6] = entropy();
    let sequence = u32::from(u16::from_be_bytes([bytes[0], bytes[1]]) >> 1);
    [
        sequence,
        u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]),
    ]
}

/// Both directions' plans, for the log.
fn plan_of(bridge: &Bridge) -> String {
    let plans: Vec<String> = bridge
        .routes()
        .map(|route| route.direction.plan().to_string())
        .collect();
    plans.join(" / ")
}
