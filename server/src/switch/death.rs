//! What a panic ends (contracts section 7): of a packet, a timer or a message, that one call; of the media loop itself, the
//! shard with all its calls. What it had in hand is not to be trusted, so it is dropped without a goodbye.

use std::collections::HashMap;
use std::time::Instant;

use shards::guard;
use tracing::error;

use super::calls::{HangUp, INTERNAL_ERROR};
use super::mailbox::SessionEvent;
use super::pcm_socket::PcmOwner;
use super::{CallKey, SessionKey, Switch, SwitchHandle, Timer};
use crate::call::q850::Q850Cause;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::CallSid;

impl SwitchHandle {
    /// The media loop has panicked. From now on nothing is told of any call: the control thread tells their ends. The
    /// sessions hear it, and close.
    pub fn die(&self) {
        // Unwinding has given the switch back, whoever held it.
        let Ok(mut switch) = self.0.try_borrow_mut() else {
            return;
        };
        switch.metrics.panics.increment();
        switch.dead = true;
        let call_sids: HashMap<CallKey, CallSid> = switch
            .calls_by_sid
            .iter()
            .map(|(call_sid, key)| (*key, *call_sid))
            .collect();
        if let Err(panicked) = guard::catch(|| switch.drop_all(Instant::now())) {
            error!(
                shard = switch.shard.0,
                "dropping a dead shard's calls {panicked}"
            );
        }
        for key in switch.session_keys() {
            let call = (switch.sessions.get_mut(key.0)).and_then(|session| session.call.take());
            let event = match call.and_then(|call| call_sids.get(&call)) {
                Some(call_sid) => SessionEvent::Ended {
                    call_sid: *call_sid,
                    cause: Q850Cause::TEMPORARY_FAILURE,
                    reason: INTERNAL_ERROR.into(),
                },
                None => SessionEvent::Failed(internal_error()),
            };
            switch.tell(Some(key), event);
        }
        switch.publish_gauges();
    }

    /// In test builds: panics if that is ordered for the session's call.
    #[cfg(debug_assertions)]
    pub fn step_on_adapter_trap(&self, key: SessionKey) {
        let switch = self.0.borrow();
        switch.step_on_trap(crate::injection::Place::Adapter, Timer::Session(key));
    }
}

impl Switch {
    /// Does what the control thread wants of one call. A panic in it ends that call.
    pub(super) fn for_call(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        work: impl FnOnce(&mut Self),
    ) {
        let whose = self.calls_by_sid.get(&call_sid).copied();
        if let Err(panicked) = guard::catch(|| work(self)) {
            match whose {
                Some(key) => self.after_panic(now, Timer::Call(key), &panicked.message),
                None => self.count_panic(&panicked.message, "a message about a call that ended"),
            }
        }
    }

    /// A packet, a timer or a message of one call panicked: that call ends, the shard goes on.
    pub(super) fn after_panic(&mut self, now: Instant, whose: Timer, message: &str) {
        self.count_panic(message, "the media path; its call ends");
        self.checked_on = None;
        let (session, call) = self.owners_of(whose);
        if let Err(panicked) = guard::catch(|| self.close_after_panic(now, session, call)) {
            self.count_panic(&panicked.message, "closing a call's sockets of audio");
        }
        if let Some(call) = call {
            self.end_call(now, call, HangUp::internal_error());
        }
        if let Timer::Pcm(key) = whose {
            self.forget_pcm_socket(key);
        }
        let Some(key) = session else { return };
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        if session.mailbox.is_delivered() {
            // Nothing more is delivered to it: that may be what panicked.
            session.pcm = None;
            self.hang_up_on_vendor(key);
            return self.remove_session(now, key, HangUp::internal_error());
        }
        if call.is_none() {
            session.tell(SessionEvent::Failed(internal_error()));
        }
        self.drop_peer(key);
    }

    /// Does something for one session, call or socket; a panic in it ends that call.
    pub(super) fn guarded(&mut self, now: Instant, whose: Timer, work: impl FnOnce(&mut Self)) {
        if let Err(panicked) = guard::catch(|| work(self)) {
            self.after_panic(now, whose, &panicked.message);
        }
    }

    pub(super) fn count_panic(&self, message: &str, place: &str) {
        self.metrics.panics.increment();
        error!(shard = self.shard.0, message, "a panic in {place}");
    }

    pub(super) fn owners_of(&self, whose: Timer) -> (Option<SessionKey>, Option<CallKey>) {
        match whose {
            Timer::Session(key) => {
                let session = self.sessions.get(key.0);
                (Some(key), session.and_then(|session| session.call))
            }
            Timer::Call(key) => {
                let call = self.calls.get(key.0);
                (call.and_then(|call| call.vendor.session()), Some(key))
            }
            Timer::Pcm(key) => match self.pcm.get(key).map(|socket| socket.owner) {
                Some(PcmOwner::Session(session)) => self.owners_of(Timer::Session(session)),
                Some(PcmOwner::Trunk(call)) => self.owners_of(Timer::Call(call)),
                Some(PcmOwner::Nobody) | None => (None, None),
            },
        }
    }

    /// In test builds: panics if that is ordered for this place and call.
    #[cfg(debug_assertions)]
    pub(super) fn step_on_trap(&self, at: crate::injection::Place, whose: Timer) {
        self.trap.step_on(at, || {
            let (_, call) = self.owners_of(whose);
            let call = self.calls.get(call?.0)?;
            Some(call.machine.identity().call_sid)
        });
    }

    fn drop_all(&mut self, now: Instant) {
        self.calls_by_sid.clear();
        self.calls.clear();
        self.trunk_ports.release_all();
        self.drop_pcm_sockets(now);
        for key in self.session_keys() {
            self.drop_peer(key);
        }
    }
}

fn internal_error() -> Refusal {
    Refusal::new(RefusalCode::Internal, Fault::Us, INTERNAL_ERROR)
}
