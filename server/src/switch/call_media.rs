//! A call's bridge: built when both legs have their media, told when one is negotiated again, closed by holds.
//!
//! Media may go before the answer (early media); ANSWER is told when the far end has answered and the bridge stands.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tracing::info;

use super::calls::{Call, HangUp, VendorHolds};
use super::mailbox::SessionEvent;
use super::vendor_side::{Played, Player, VendorSide};
use super::{CallKey, SessionKey, Switch, entropy, unix_now};
use crate::bridge::{Bridge, DigitTones, DirectionOptions, LegFormat};
use crate::call::TrunkMedia;
use crate::call::q850::Q850Cause;
use crate::call::rings::ToControl;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::LegId;
use crate::rtp::{RtpTimestamp, SequenceNumber};

impl Switch {
    /// The trunk leg has media, or other media than before: the bridge follows.
    pub(super) fn trunk_media(&mut self, now: Instant, key: CallKey, media: TrunkMedia) {
        let set = match media {
            TrunkMedia::Socket(live) => self.attach_trunk_socket(now, key, *live),
            media => match self.calls.get_mut(key.0) {
                Some(call) => call.trunk.set_media(now, media),
                None => return,
            },
        };
        if let Err(refusal) = set {
            return self.end_call(now, key, HangUp::from(&refusal));
        }
        if self.follow_formats(now, key).is_break() {
            return;
        }
        self.open_ways(now, key);
        self.connect_when_ready(now, key);
    }

    /// Connects both legs once both have media, and says ANSWER once the far end has answered.
    pub(super) fn connect_when_ready(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get(key.0) else {
            return;
        };
        let Some((vendor, trunk)) = self.formats(call) else {
            return;
        };
        if call.bridge.is_none() && self.connect(now, key, &vendor, &trunk).is_break() {
            return;
        }
        self.tell_answer(now, key);
    }

    /// What both legs send and take, vendor side first, once both are ready. An echo that reflects has what goes to the
    /// other side.
    fn formats(&self, call: &Call) -> Option<(LegFormat, LegFormat)> {
        match (self.vendor_format(&call.vendor)?, call.trunk.format()?) {
            (Some(vendor), Some(trunk)) => Some((vendor, trunk)),
            (None, Some(trunk)) => Some((trunk.sink.into(), trunk)),
            (Some(vendor), None) => Some((vendor, vendor.sink.into())),
            (None, None) => None,
        }
    }

    fn connect(
        &mut self,
        now: Instant,
        key: CallKey,
        vendor_format: &LegFormat,
        trunk_format: &LegFormat,
    ) -> ControlFlow<()> {
        let Some(call) = self.calls.get(key.0) else {
            return ControlFlow::Break(());
        };
        let peer = self.session_of(&call.vendor);
        let peer = peer.and_then(|session| session.peer.as_ref());
        let random = random_start();
        let towards_vendor = DirectionOptions {
            reorder_wait: Duration::from_millis(call.trunk.config.reorder_wait_ms.into()),
            force_transcode: false,
            tones_to_sink: match self.hears_tones(call.vendor.session()) {
                true => DigitTones::Always,
                false => DigitTones::Never,
            },
            tones_from_source: call.trunk.digit_tones(),
            initial_sequence_number: peer.map_or(random.0, |peer| peer.first_sequence_number()),
            initial_timestamp: peer.map_or(random.1, |peer| peer.first_timestamp()),
        };
        let (initial_sequence_number, initial_timestamp) = random_start();
        let towards_trunk = DirectionOptions {
            force_transcode: call.trunk.forces_transcoding(),
            tones_to_sink: call.trunk.digit_tones(),
            tones_from_source: DigitTones::Never,
            initial_sequence_number,
            initial_timestamp,
            ..towards_vendor
        };
        let connected = Bridge::connect(
            (LegId::VENDOR, vendor_format, towards_vendor),
            (LegId::TRUNK, trunk_format, towards_trunk),
        );
        let bridge = match connected {
            Ok(bridge) => bridge,
            Err(error) => {
                let hang_up = HangUp::ours(Q850Cause::BEARER_NOT_IMPLEMENTED, &error.to_string());
                self.end_call(now, key, hang_up);
                return ControlFlow::Break(());
            }
        };
        info!(call_sid = %call.machine.identity().call_sid, tenant_id = %call.machine.identity().tenant_id,
            shard = self.shard.0, plan = plan_of(&bridge), "call connected");
        if let Some(call) = self.calls.get_mut(key.0) {
            call.bridge = Some(bridge);
            self.bridged_calls += 1;
            call.flows_since = Some(now);
            if let VendorSide::Player(player) = &mut call.vendor {
                player.start(now);
            }
        }
        self.open_ways(now, key);
        self.adapt(now, key);
        self.arm_call(key);
        ControlFlow::Continue(())
    }

    fn tell_answer(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let Some(bridge) = call.bridge.as_mut().filter(|_| call.trunk.answered) else {
            return;
        };
        // With an echo trunk the event describes the vendor leg.
        let described = match call.trunk.is_echo() {
            true => LegId::VENDOR,
            false => LegId::TRUNK,
        };
        let Some(codec) = bridge
            .route_towards_mut(described)
            .map(|route| route.direction.sink().codec)
        else {
            return;
        };
        let Some(event) = call.machine.answer(unix_now(), codec) else {
            return;
        };
        info!(call_sid = %event.call_sid, tenant_id = %event.tenant_id, shard = self.shard.0, "call answered");
        call.stages.answered = Some(now);
        // What was early is the call's own from now on.
        call.flows_since = Some(now);
        call.answer_by = None;
        let session = call.vendor.session();
        if let Some(slot) = call.answer_slot.take() {
            self.to_control
                .push_reserved(slot, ToControl::Event(Box::new(event.clone())));
        }
        self.tell(session, SessionEvent::Event(Box::new(event)));
        self.arm_call(key);
    }

    /// What the vendor side sends and takes: `None` before it is ready, `Some(None)` for an echo that takes the trunk's own
    /// format.
    fn vendor_format(&self, vendor: &VendorSide) -> Option<Option<LegFormat>> {
        match vendor {
            VendorSide::Session(key) => {
                let session = self.sessions.get(key.0)?;
                if let Some(pcm) = session.pcm {
                    let config = self.pcm.leg(pcm)?.config();
                    return Some(Some(config.encoding.leg_format()));
                }
                let peer = session.peer.as_ref().filter(|_| session.connected)?;
                Some(Some(peer.format().into()))
            }
            VendorSide::Echo(codec) => Some(super::trunk_media::echo_format(*codec)),
            VendorSide::Player(_) => Some(Some(Player::format().into())),
        }
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
        // RFC 3264 section 8.4: who offers sendonly or inactive puts us on hold, and our answer does not send.
        let held = !peer.direction().sends();
        if self.is_connected(key) && self.follow_formats(now, key).is_continue() {
            self.set_vendor_hold(now, key, |holds| holds.by_offer = held);
        }
    }

    /// The bridge takes both legs' formats as they are now.
    fn follow_formats(&mut self, now: Instant, key: CallKey) -> ControlFlow<()> {
        let Some(call) = self.calls.get(key.0) else {
            return ControlFlow::Break(());
        };
        let Some((vendor, trunk)) = self.formats(call) else {
            return ControlFlow::Continue(());
        };
        let Some(call) = self.calls.get_mut(key.0) else {
            return ControlFlow::Break(());
        };
        let Some(bridge) = call.bridge.as_mut() else {
            return ControlFlow::Continue(());
        };
        let replaced = bridge
            .replace_format(now, LegId::VENDOR, &vendor)
            .and_then(|()| bridge.replace_format(now, LegId::TRUNK, &trunk));
        if let Err(error) = replaced {
            let hang_up = HangUp::ours(Q850Cause::BEARER_NOT_IMPLEMENTED, &error.to_string());
            self.end_call(now, key, hang_up);
            return ControlFlow::Break(());
        }
        if !call.trunk.is_echo() {
            call.machine.change_codec(trunk.sink.codec);
        }
        self.adapt(now, key);
        ControlFlow::Continue(())
    }

    /// The vendor side holds, or goes on. The control thread negotiates it with the far end.
    pub(super) fn set_vendor_hold(
        &mut self,
        now: Instant,
        key: CallKey,
        change: impl FnOnce(&mut VendorHolds),
    ) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        if call.machine.answered().is_none() {
            return;
        }
        let before = call.vendor_holds.any();
        change(&mut call.vendor_holds);
        let hold = call.vendor_holds.any();
        if hold == before {
            return;
        }
        let call_sid = call.machine.identity().call_sid;
        self.to_control
            .tell(ToControl::TrunkHold { call_sid, hold });
        self.tell_hold(key, LegId::VENDOR, hold);
        self.open_ways(now, key);
    }

    /// The trunk leg was negotiated again: does the far end hold the call? A direction that our own hold explains is none of
    /// its. `terminate_on_hold` makes it an end.
    pub(super) fn follow_trunk_hold(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get(key.0) else {
            return;
        };
        let direction = call.trunk.direction();
        let holds = !direction.sends() || (!direction.receives() && !call.vendor_holds.any());
        if holds && call.machine.answered().is_some() && call.trunk.terminates_on_hold() {
            let text = "the far end put the call on hold, which its trunk takes for an end (terminate_on_hold)";
            let hang_up = HangUp::new(Q850Cause::NORMAL, Fault::Trunk, text);
            return self.end_call(now, key, hang_up);
        }
        self.tell_hold(key, LegId::TRUNK, holds);
    }

    /// HOLD and RESUME alternate for the call as a whole.
    fn tell_hold(&mut self, key: CallKey, leg: LegId, hold: bool) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let event = match hold {
            true => call.machine.hold(leg, unix_now()),
            false => call.machine.resume(leg, unix_now()),
        };
        self.publish(key, event);
    }

    /// Opens the bridge's ways that holds and the trunk's direction leave open, and closes the others.
    fn open_ways(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let direction = call.trunk.direction();
        let Some(bridge) = call.bridge.as_mut() else {
            return;
        };
        let to_trunk = direction.sends() && !call.vendor_holds.any();
        let to_vendor = direction.receives() && !call.vendor_holds.any();
        bridge.set_held(LegId::VENDOR, LegId::TRUNK, !to_trunk);
        bridge.set_held(LegId::TRUNK, LegId::VENDOR, !to_vendor);
        call.flows_since = Some(now);
    }

    pub(super) fn send_digits_to_trunk(
        &mut self,
        now: Instant,
        key: CallKey,
        digits: &str,
        duration_ms: u32,
    ) -> Result<(), Refusal> {
        let Some(call) = self.calls.get_mut(key.0) else {
            return Ok(());
        };
        if let Some(pcm) = call.trunk.pcm() {
            for digit in digits.chars() {
                self.tell_pcm_digit(pcm, digit, duration_ms);
            }
            return Ok(());
        }
        if call.trunk.signals_digits() {
            let message = ToControl::TrunkDigits {
                call_sid: call.machine.identity().call_sid,
                digits: digits.to_owned(),
                duration_ms,
            };
            self.to_control.tell(message);
            return Ok(());
        }
        let Some(bridge) = call.bridge.as_mut() else {
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

    /// Plays what is due of a recording; after its end the call ends.
    pub(super) fn play(&mut self, now: Instant, key: CallKey) -> ControlFlow<()> {
        let Some(call) = self.calls.get_mut(key.0) else {
            return ControlFlow::Break(());
        };
        let (VendorSide::Player(player), Some(bridge)) = (&mut call.vendor, call.bridge.as_mut())
        else {
            return ControlFlow::Continue(());
        };
        loop {
            match player.poll(now) {
                Played::NotYet => return ControlFlow::Continue(()),
                Played::Frame(packet) => bridge.handle_packet(LegId::VENDOR, now, &packet),
                Played::Over => break,
            }
        }
        let then = player.then.clone();
        self.end_call(now, key, then);
        ControlFlow::Break(())
    }

    pub(super) fn is_answered(&self, key: CallKey) -> bool {
        let call = self.calls.get(key.0);
        call.is_some_and(|call| call.machine.answered().is_some())
    }

    fn is_connected(&self, key: CallKey) -> bool {
        let call = self.calls.get(key.0);
        call.is_some_and(|call| call.bridge.is_some())
    }
}

/// RFC 3550 section 5.1: sequence numbers and timestamps begin at random. The former below 2^15, so that an early loss
/// can't make an SRTP receiver guess the roll-over counter wrong.
fn random_start() -> (SequenceNumber, RtpTimestamp) {
    let [s0, s1, timestamp @ ..] = entropy::<6>();
    let sequence_number = u16::from_be_bytes([s0, s1]) >> 1;
    (
        SequenceNumber(sequence_number),
        RtpTimestamp(u32::from_be_bytes(timestamp)),
    )
}

/// Both directions' plans, for the log.
fn plan_of(bridge: &Bridge) -> String {
    let plans: Vec<String> = bridge
        .routes()
        .map(|route| route.direction.plan().to_string())
        .collect();
    plans.join(" / ")
}
