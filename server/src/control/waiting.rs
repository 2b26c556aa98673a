//! The browser sessions that can be called, over all shards. Told by the shards, bounded, and only a hint: the session that
//! is chosen may be gone when the call reaches it.

use std::collections::BTreeMap;

use shards::ShardIndex;

use crate::call::rings::{SessionAddress, WaitingSession};
use crate::id::TenantId;

/// Sessions that are remembered; those beyond can't be called.
pub const WAITING_MAX: usize = 100_000;

/// The sessions.
#[derive(Debug, Default)]
pub struct WaitingSessions {
    /// By when they were told, so that the one that waits for the longest is called first.
    sessions: BTreeMap<u64, WaitingSession>,
    places: BTreeMap<SessionAddress, u64>,
    next_place: u64,
}

impl WaitingSessions {
    /// A session can be called from now on.
    pub fn add(&mut self, session: WaitingSession) {
        self.remove(session.session);
        if self.sessions.len() >= WAITING_MAX {
            return;
        }
        self.next_place += 1;
        self.places.insert(session.session, self.next_place);
        self.sessions.insert(self.next_place, session);
    }

    /// It can't any more.
    pub fn remove(&mut self, session: SessionAddress) {
        if let Some(place) = self.places.remove(&session) {
            self.sessions.remove(&place);
        }
    }

    /// All of a shard are gone with it.
    pub fn shard_died(&mut self, shard: ShardIndex) {
        self.places.retain(|session, _| session.shard != shard);
        self.sessions
            .retain(|_, session| session.session.shard != shard);
    }

    /// Takes the session of `tenant_id` that waits for the longest; with `subject` only one that signed on so.
    pub fn take(&mut self, tenant_id: &TenantId, subject: Option<&str>) -> Option<SessionAddress> {
        let found = self.sessions.values().find(|session| {
            session.tenant_id == *tenant_id
                && subject.is_none_or(|subject| session.subject == subject)
        })?;
        let session = found.session;
        self.remove(session);
        Some(session)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::tenant;
    use super::*;

    fn waiting(shard: u16, serial: u64, tenant_id: &str, subject: &str) -> WaitingSession {
        WaitingSession {
            session: SessionAddress {
                shard: ShardIndex(shard),
                serial,
            },
            tenant_id: tenant(tenant_id),
            subject: subject.into(),
        }
    }

    #[test]
    fn the_one_that_waits_for_the_longest_is_called_once() {
        let mut sessions = WaitingSessions::default();
        for (serial, tenant_id, subject) in [
            (1, "other", "alice"),
            (2, "acme", "alice"),
            (3, "acme", "bob"),
            (4, "acme", "alice"),
        ] {
            sessions.add(waiting(0, serial, tenant_id, subject));
        }
        let mut take = |subject: Option<&str>| {
            let session = sessions.take(&tenant("acme"), subject);
            session.map(|session| session.serial)
        };
        assert_eq!(take(Some("bob")), Some(3));
        assert_eq!(take(Some("bob")), None);
        assert_eq!(take(None), Some(2));
        assert_eq!(take(None), Some(4));
        assert_eq!(take(None), None);
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn who_leaves_or_dies_is_not_called() {
        let mut sessions = WaitingSessions::default();
        sessions.add(waiting(0, 1, "acme", "alice"));
        sessions.add(waiting(1, 1, "acme", "alice"));
        sessions.shard_died(ShardIndex(0));
        sessions.remove(SessionAddress {
            shard: ShardIndex(1),
            serial: 1,
        });
        assert_eq!((sessions.len(), sessions.places.len()), (0, 0));
    }
}
