//! A call that came over a trunk, on its shard: its two sides, its CREATE, and who says yes to it.
//!
//! The desk's slot was taken before; from here on the shard owns the end. A call that can't be had has its CREATE and
//! HANGUP_COMPLETE like any other, and its far end an answer.

use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use super::calls::{Acceptance, Call, HangUp, Parties};
use super::mailbox::SessionEvent;
use super::trunk_media::TrunkSide;
use super::vendor_side::{Player, VendorSide};
use super::{CallKey, SessionKey, Switch, SwitchHandle, unix_now};
use crate::call::q850::Q850Cause;
use crate::call::rings::{IncomingCall, IncomingTarget, SessionAddress, ToControl, VendorDial};
use crate::call::{CallAccount, CallIdentity, CallMachine, HangupReason};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::CallSid;
use crate::metrics::LoadRefusal;

impl SwitchHandle {
    /// The page takes its incoming call. The far end is answered as soon as the page's media is connected.
    ///
    /// # Errors
    /// If the page has no such call.
    pub fn accept(&self, key: SessionKey, call_sid: CallSid) -> Result<(), Refusal> {
        let mut switch = self.0.borrow_mut();
        let call = switch.incoming_call_of(key, call_sid)?;
        if let Some(call) = switch.calls.get_mut(call.0) {
            call.acceptance = Acceptance::Accepted;
        }
        switch.accept_when_ready(Instant::now(), call);
        Ok(())
    }

    /// The page refuses its incoming call.
    ///
    /// # Errors
    /// If the page has no such call.
    pub fn reject(
        &self,
        key: SessionKey,
        call_sid: CallSid,
        cause: Q850Cause,
    ) -> Result<(), Refusal> {
        let mut switch = self.0.borrow_mut();
        let call = switch.incoming_call_of(key, call_sid)?;
        let hang_up = HangUp::new(cause, Fault::Caller, "the page rejected the call");
        switch.end_call(Instant::now(), call, hang_up);
        switch.flush_now();
        Ok(())
    }

    /// The session's dialect can't tell its page of this call: it goes on without it, and hears no more of it.
    pub fn decline(&self, key: SessionKey, call_sid: CallSid) {
        let mut switch = self.0.borrow_mut();
        if let Ok(call) = switch.incoming_call_of(key, call_sid) {
            switch.take_from_session(Instant::now(), key, call);
        }
    }
}

impl Switch {
    /// Somebody calls over a trunk.
    pub(super) fn incoming(&mut self, now: Instant, call: IncomingCall) {
        // The control thread tells the ends of a dead shard.
        if self.dead {
            return;
        }
        let call_sid = call.call_sid;
        let Some(slots) = self.reserve_event_slots() else {
            self.metrics.ring_full.increment();
            let cause = Q850Cause::CONGESTION;
            self.to_control
                .tell(ToControl::TrunkHangup { call_sid, cause });
            self.to_control.tell(ToControl::Release(call_sid));
            return self.wait_again(&call.target);
        };
        let sides = self.incoming_sides(&call);
        let tenant_id = call.tenant_id;
        let identity = CallIdentity {
            call_sid,
            tenant_id: tenant_id.clone(),
            trunk_id: call.trunk_id,
            client_id: String::new(),
        };
        let (mut machine, created) = CallMachine::create(identity, unix_now());
        self.to_control
            .push_reserved(slots.create, ToControl::Event(Box::new(created.clone())));
        self.metrics.calls_total.increment();
        let (vendor, trunk) = match sides {
            Ok(sides) => sides,
            Err(refusal) => {
                info!(%call_sid, shard = self.shard.0, code = refusal.code.as_str(), fault = refusal.fault.as_str(),
                    reason = refusal.message, "incoming call refused");
                let cause = refusal.cause;
                self.to_control
                    .tell(ToControl::TrunkHangup { call_sid, cause });
                self.to_control.release(slots.answer);
                let reason = HangupReason::from(refusal);
                if let Some(record) = machine.end(unix_now(), reason, CallAccount::default()) {
                    self.to_control
                        .push_reserved(slots.end, ToControl::Ended(Box::new(record)));
                }
                return self.wait_again(&call.target);
            }
        };
        info!(%call_sid, tenant_id = %machine.identity().tenant_id, shard = self.shard.0,
            trunk_id = %machine.identity().trunk_id, "incoming call created");
        let session = vendor.session();
        let page = session.filter(|_| matches!(call.target, IncomingTarget::Session(_)));
        let mut new = Call::new(now, machine, vendor, trunk, slots.answer, slots.end);
        new.parties = Parties {
            from: call.from.clone(),
            to: call.to.clone(),
        };
        new.acceptance = match page {
            Some(_) => Acceptance::Waiting,
            // An agent is dialled first: what is not connected is not answered.
            None => Acceptance::Accepted,
        };
        let key = CallKey(self.calls.insert(new));
        self.reserve_timers();
        self.register_trunk_sockets(key);
        self.calls_by_sid.insert(call_sid, key);
        if let IncomingTarget::Agent(target) = &call.target {
            if let Some(session) = session.and_then(|session| self.sessions.get_mut(session.0)) {
                session.call = Some(key);
            }
            self.to_control
                .tell(ToControl::VendorDial(Box::new(VendorDial {
                    call_sid,
                    tenant_id: tenant_id.clone(),
                    to: target.clone(),
                    from: call.from.clone(),
                    to_number: call.to.clone(),
                })));
        }
        if let Some(session) = page {
            self.engage(session);
            if let Some(session) = self.sessions.get_mut(session.0) {
                session.call = Some(key);
                session.tell(SessionEvent::Incoming {
                    from: call.from,
                    to: call.to,
                    created: Box::new(created),
                });
            }
            if let Some(call) = self.calls.get_mut(key.0) {
                call.stages.ringing = Some(now);
            }
        }
        self.arm_call(key);
        self.accept_when_ready(now, key);
        self.wake();
    }

    /// Who takes the call, and a trunk side with its sockets.
    fn incoming_sides(&mut self, call: &IncomingCall) -> Result<(VendorSide, TrunkSide), Refusal> {
        self.has_capacity(LoadRefusal::Incoming)?;
        let trunks = &self.settings.config.trunks;
        let trunk = trunks.get(&call.trunk_id).cloned().ok_or_else(|| {
            let message = format!("there is no trunk {} any more", call.trunk_id);
            Refusal::new(RefusalCode::NotFound, Fault::Config, message)
        })?;
        let player = |announcement: &Arc<_>, is_early, then| {
            let announcement = Arc::clone(announcement);
            VendorSide::Player(Box::new(Player::new(announcement, is_early, then)))
        };
        let vendor = match &call.target {
            IncomingTarget::Agent(dials) => {
                let tenants = &self.settings.config.tenants;
                let tenant = tenants.get(&call.tenant_id).cloned().ok_or_else(|| {
                    let message = format!("there is no tenant {} any more", call.tenant_id);
                    Refusal::new(RefusalCode::NotFound, Fault::Config, message)
                })?;
                // Last, as nothing may fail once there is a session.
                let side = self.new_trunk_side(&trunk)?;
                let session = self.insert_dialled_session(tenant, dials.clone());
                return Ok((VendorSide::Session(session), side));
            }
            IncomingTarget::Session(address) => {
                VendorSide::Session(self.waiting_session(*address)?)
            }
            IncomingTarget::Echo(codec) => VendorSide::Echo(*codec),
            IncomingTarget::Play(announcement) => {
                let then = HangUp::caller("the announcement was played");
                player(announcement, false, then)
            }
            IncomingTarget::PlayThenReject {
                announcement,
                cause,
            } => {
                let text = "the trunk refuses incoming calls; its announcement was played";
                player(announcement, true, HangUp::new(*cause, Fault::Config, text))
            }
        };
        let side = self.new_trunk_side(&trunk)?;
        Ok((vendor, side))
    }

    /// Has the far end answered, once who takes the call has said yes and can hear it.
    pub(super) fn accept_when_ready(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get(key.0) else {
            return;
        };
        let is_ready = match &call.vendor {
            VendorSide::Session(_) => self
                .session_of(&call.vendor)
                .is_some_and(|session| session.connected),
            VendorSide::Echo(_) | VendorSide::Player(_) => true,
        };
        if call.acceptance != Acceptance::Accepted || !is_ready {
            return;
        }
        let call_sid = call.machine.identity().call_sid;
        let early = matches!(&call.vendor, VendorSide::Player(player) if player.is_early);
        let Some(local_rtp) = call.trunk.advertised_rtp() else {
            let text = "a trunk without a media port can't bring calls";
            let hang_up = HangUp::ours(Q850Cause::BEARER_NOT_IMPLEMENTED, text);
            return self.end_call(now, key, hang_up);
        };
        if let Some(call) = self.calls.get_mut(key.0) {
            call.acceptance = Acceptance::Told;
        }
        self.to_control.tell(ToControl::TrunkAccept {
            call_sid,
            local_rtp,
            early,
        });
    }

    /// Ends an incoming call that the session's page never heard of, as busy.
    pub(super) fn take_from_session(&mut self, now: Instant, key: SessionKey, call: CallKey) {
        if let Some(session) = self.sessions.get_mut(key.0) {
            session.call = None;
        }
        let hang_up = HangUp::new(
            Q850Cause::USER_BUSY,
            Fault::Caller,
            "the page has a call already",
        );
        self.end_call(now, call, hang_up);
    }

    /// Why no call can begin on this shard now, if none can.
    pub(super) fn has_capacity(&mut self, at: LoadRefusal) -> Result<(), Refusal> {
        if self.draining {
            let refusal = Refusal::new(RefusalCode::Draining, Fault::Us, "the gateway drains");
            return Err(refusal.with_cause(Q850Cause::TEMPORARY_FAILURE));
        }
        if self.calls.len() >= self.shards_config.calls_max {
            let message = "the shard carries all the calls it may";
            let refusal = Refusal::new(RefusalCode::Overload, Fault::Us, message);
            return Err(refusal.with_cause(Q850Cause::CONGESTION));
        }
        self.has_room(at)
    }

    fn waiting_session(&self, address: SessionAddress) -> Result<SessionKey, Refusal> {
        let Some((key, session)) = self
            .sessions
            .iter()
            .find(|(_, session)| session.serial == address.serial)
        else {
            let message = "the page that was called is gone";
            let refusal = Refusal::new(RefusalCode::NotFound, Fault::Caller, message);
            return Err(refusal.with_cause(Q850Cause::NO_USER_RESPONDING));
        };
        if !session.can_be_called() {
            let message = "the page that was called has a call already";
            let refusal = Refusal::new(RefusalCode::CallExists, Fault::Caller, message);
            return Err(refusal.with_cause(Q850Cause::USER_BUSY));
        }
        Ok(SessionKey(key))
    }

    fn incoming_call_of(&self, key: SessionKey, call_sid: CallSid) -> Result<CallKey, Refusal> {
        let call = self.sessions.get(key.0).and_then(|session| session.call);
        let is_asked_for = |key: &CallKey| {
            self.calls.get(key.0).is_some_and(|call| {
                call.acceptance == Acceptance::Waiting
                    && call.machine.identity().call_sid == call_sid
            })
        };
        call.filter(is_asked_for).ok_or_else(|| {
            let message = format!("no incoming call {call_sid} waits");
            Refusal::new(RefusalCode::Malformed, Fault::Caller, message)
        })
    }
}
