//! How a call begins on its shard: named, its trunk found, its events' ring slots reserved, granted by the desk, created.
//!
//! The slots for CREATE, ANSWER and the final event are reserved before anything is told: a full ring refuses the call and
//! never loses an end. A refusal has its CREATE and HANGUP_COMPLETE like any other call.

use std::sync::Arc;
use std::time::Instant;

use shards::ring::Reservation;
use tracing::info;

use super::calls::{Acceptance, Call, HangUp, INTERNAL_ERROR, Parties};
use super::mailbox::SessionEvent;
use super::sessions::DialRequest;
use super::vendor_side::VendorSide;
use super::{CallKey, SessionKey, Switch, entropy, unix_now};
use crate::call::q850::Q850Cause;
use crate::call::rings::{ToControl, TrunkDial};
use crate::call::{CallAccount, CallIdentity, CallMachine, HangupReason};
use crate::config::TrunkConfig;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TenantId, TrunkId};
use crate::metrics::LoadRefusal;

/// A call that waits for the desk.
pub(super) struct PreparedCall {
    pub(super) call_sid: CallSid,
    pub(super) tenant_id: TenantId,
    pub(super) trunk_id: TrunkId,
    trunk: Option<Arc<TrunkConfig>>,
    to: String,
    request: DialRequest,
    slots: EventSlots,
    asked: Instant,
    /// [`super::sessions::Session::serial`] of the session that asks.
    session_serial: u64,
    /// Known before the desk is asked.
    pub(super) refused: Option<Refusal>,
}

/// Places in the ring for what must not be lost.
pub(super) struct EventSlots {
    pub(super) create: Reservation,
    pub(super) answer: Reservation,
    pub(super) end: Reservation,
}

impl Switch {
    /// Names a call, finds its trunk and reserves its final event.
    pub(super) fn prepare_call(
        &mut self,
        key: SessionKey,
        request: DialRequest,
    ) -> Result<PreparedCall, Refusal> {
        let Some(session) = self.sessions.get(key.0) else {
            return Err(Refusal::new(
                RefusalCode::Internal,
                Fault::Us,
                "the session is closed",
            ));
        };
        if self.dead {
            return Err(Refusal::new(
                RefusalCode::Internal,
                Fault::Us,
                INTERNAL_ERROR,
            ));
        }
        let tenant = Arc::clone(&session.tenant);
        let vendor = session.vendor;
        let session_serial = session.serial;
        // The dialect lets a page dial only if it knows of no call: one that came meanwhile has not reached it.
        let unheard = session.call.filter(|call| {
            let call = self.calls.get(call.0);
            call.is_some_and(|call| call.acceptance == Acceptance::Waiting)
        });
        let has_call = session.call.is_some();
        if let Some(unheard) = unheard {
            self.take_from_session(Instant::now(), key, unheard);
        } else if has_call {
            return Err(Refusal::new(
                RefusalCode::CallExists,
                Fault::Caller,
                "there is a call on this socket already",
            ));
        }
        let Some(slots) = self.reserve_event_slots() else {
            self.metrics.ring_full.increment();
            let refusal = Refusal::new(RefusalCode::Overload, Fault::Us, "the event ring is full");
            return Err(refusal.with_cause(Q850Cause::CONGESTION));
        };
        let (trunk, trunk_id, to, mut refused) = match self.choose_trunk(&tenant, vendor, &request)
        {
            Ok((trunk, to)) => (Some(Arc::clone(&trunk)), trunk.trunk_id.clone(), to, None),
            Err((trunk_id, refusal)) => (None, trunk_id, String::new(), Some(refusal)),
        };
        if let Err(refusal) = self.has_capacity(LoadRefusal::Dial) {
            refused = Some(refusal);
        }
        if let Some(session) = self.sessions.get_mut(key.0) {
            // Told once the desk has spoken: its question needs the ring's last slot more.
            session.engaged = true;
        }
        let call_sid = CallSid::new(self.shard, entropy());
        let tenant_id = tenant.tenant_id.clone();
        Ok(PreparedCall {
            call_sid,
            tenant_id,
            trunk_id,
            trunk,
            to,
            request,
            slots,
            asked: Instant::now(),
            session_serial,
            refused,
        })
    }

    pub(super) fn reserve_event_slots(&mut self) -> Option<EventSlots> {
        let create = self.to_control.reserve()?;
        let Some(answer) = self.to_control.reserve() else {
            self.to_control.release(create);
            return None;
        };
        let Some(end) = self.to_control.reserve() else {
            self.to_control.release(create);
            self.to_control.release(answer);
            return None;
        };
        // Room for the question to the desk too, which follows at once: else the call would be refused with events for a
        // ring that is as full as when it is refused without.
        let Some(question) = self.to_control.reserve() else {
            self.to_control.release(create);
            self.to_control.release(answer);
            self.to_control.release(end);
            return None;
        };
        self.to_control.release(question);
        Some(EventSlots {
            create,
            answer,
            end,
        })
    }

    /// Goes on with a call after the desk has spoken. A refused call has its CREATE and HANGUP_COMPLETE all the same.
    pub(super) fn begin_call(
        &mut self,
        key: SessionKey,
        prepared: PreparedCall,
        granted: Result<(), Refusal>,
    ) -> Result<CallSid, Refusal> {
        let now = Instant::now();
        let PreparedCall {
            call_sid,
            tenant_id,
            trunk_id,
            trunk,
            to,
            request,
            slots,
            asked,
            session_serial,
            refused: _,
        } = prepared;
        let session = self.sessions.get(key.0);
        let Some(session) = session.filter(|session| session.serial == session_serial) else {
            // The caller left while the desk was asked: nobody heard of this call.
            self.to_control.release(slots.create);
            self.to_control.release(slots.answer);
            self.to_control
                .push_reserved(slots.end, ToControl::Release(call_sid));
            return Err(Refusal::new(
                RefusalCode::Internal,
                Fault::Caller,
                "the session is closed",
            ));
        };
        let mailbox = std::rc::Rc::clone(&session.mailbox);
        let identity = CallIdentity {
            call_sid,
            tenant_id,
            trunk_id,
            client_id: request.client_id.clone(),
        };
        let (mut machine, created) = CallMachine::create(identity, unix_now());
        mailbox.put(SessionEvent::Event(Box::new(created.clone())));
        self.to_control
            .push_reserved(slots.create, ToControl::Event(Box::new(created)));
        self.metrics.calls_total.increment();

        // Asked again: others have begun while this one waited for the desk.
        let granted = granted.and_then(|()| self.has_capacity(LoadRefusal::Dial));
        let set_up = granted.and_then(|()| match trunk {
            Some(trunk) => self.new_trunk_side(&trunk).map(|side| (trunk, side)),
            None => Err(Refusal::new(
                RefusalCode::NotFound,
                Fault::Config,
                "no trunk",
            )),
        });
        let (trunk, side) = match set_up {
            Ok(set_up) => set_up,
            Err(refusal) => {
                info!(%call_sid, shard = self.shard.0, code = refusal.code.as_str(), fault = refusal.fault.as_str(),
                    reason = refusal.message, "call refused");
                self.to_control.release(slots.answer);
                let reason = HangupReason::from(refusal.clone());
                if let Some(record) = machine.end(unix_now(), reason, CallAccount::default()) {
                    mailbox.put(SessionEvent::Event(Box::new(record.event.clone())));
                    self.to_control
                        .push_reserved(slots.end, ToControl::Ended(Box::new(record)));
                }
                return Err(refusal);
            }
        };
        let local_rtp = side.advertised_rtp();
        let vendor = VendorSide::Session(key);
        let mut call = Call::new(now, machine, vendor, side, slots.answer, slots.end);
        call.stages.admitted_in = Some(now.saturating_duration_since(asked));
        call.parties = Parties {
            from: request.call_from.clone(),
            to: to.clone(),
        };
        let call = CallKey(self.calls.insert(call));
        self.reserve_timers();
        self.register_trunk_sockets(call);
        self.calls_by_sid.insert(call_sid, call);
        if let Some(session) = self.sessions.get_mut(key.0) {
            session.call = Some(call);
            info!(%call_sid, tenant_id = %session.tenant.tenant_id, shard = self.shard.0, trunk_id = %trunk.trunk_id, "call created");
        }
        self.arm_call(call);
        let dial = TrunkDial {
            call_sid,
            trunk_id: trunk.trunk_id.clone(),
            to,
            from: request.call_from,
            local_rtp,
        };
        if self
            .to_control
            .push(ToControl::TrunkDial(Box::new(dial)))
            .is_err()
        {
            self.end_call(
                now,
                call,
                HangUp::ours(
                    Q850Cause::CONGESTION,
                    "the ring to the control thread is full",
                ),
            );
        }
        self.wake();
        Ok(call_sid)
    }
}
