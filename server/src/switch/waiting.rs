//! Which sessions can be called: authenticated, with a media leg, and never engaged in a call. The control thread is told of
//! each change.

use std::time::Instant;

use super::sessions::Session;
use super::set_up_stages::milliseconds;
use super::{SessionKey, Switch, SwitchHandle};
use crate::call::rings::{IncomingTarget, SessionAddress, ToControl, WaitingSession};

impl SwitchHandle {
    /// The session's token was believed; `subject` is whom it names.
    pub fn authenticated(&self, key: SessionKey, subject: &str) {
        let mut switch = self.0.borrow_mut();
        if let Some(session) = switch.sessions.get_mut(key.0) {
            session.subject = Some(subject.to_owned());
            session.authenticated_ms = Some(milliseconds(session.opened.elapsed()));
        }
        switch.tell_waiting(key);
    }
}

impl Session {
    /// A page has one call in its life: after it, it goes.
    pub(super) fn can_be_called(&self) -> bool {
        self.subject.is_some() && self.peer.is_some() && !self.engaged
    }
}

impl Switch {
    /// The session has a call, or asks for one: it takes no other.
    pub(super) fn engage(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key.0) {
            session.engaged = true;
        }
        self.tell_waiting(key);
    }

    /// The session was called, and the call refused for what is no fault of its: it waits as before. The control thread took it
    /// for called.
    pub(super) fn wait_again(&mut self, target: &IncomingTarget) {
        let IncomingTarget::Session(address) = target else {
            return;
        };
        let found = self
            .sessions
            .iter_mut()
            .find(|(_, session)| session.serial == address.serial);
        if let Some((key, session)) = found {
            session.is_waiting = false;
            self.tell_waiting(SessionKey(key));
        }
    }

    /// Tells the control thread whether the session can be called, if that changed.
    pub(super) fn tell_waiting(&mut self, key: SessionKey) {
        let shard = self.shard;
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let waits = session.can_be_called();
        if std::mem::replace(&mut session.is_waiting, waits) == waits {
            return;
        }
        let address = SessionAddress {
            shard,
            serial: session.serial,
        };
        let message = match &session.subject {
            Some(subject) if waits => ToControl::Waiting(Box::new(WaitingSession {
                session: address,
                tenant_id: session.tenant.tenant_id.clone(),
                subject: subject.clone(),
            })),
            _ => ToControl::NotWaiting(address),
        };
        self.to_control.tell(message);
    }

    pub(super) fn mark_connected(&mut self, now: Instant, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key.0) {
            session.connected = true;
            let took = session.offered.map(|offered| now - offered);
            session.media_ms = session.media_ms.or(took.map(milliseconds));
        }
    }
}
