//! Transaction ids of the last authenticated checks: one that comes again from another address is a recording.
//!
//! A check carries no time and no place, so MESSAGE-INTEGRITY holds for a copy as well (RFC 8489 section 16.1.2). A
//! retransmission comes from where the first came. What is older than this memory is left to the rules of paths.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::webrtc::stun::TransactionId;

/// How many are remembered: more than a minute of checks on two paths.
pub const SEEN_CHECKS_MAX: usize = 64;

/// The memory of one agent.
#[derive(Debug)]
pub(super) struct SeenChecks {
    /// Oldest first. At its final size from the start, so that no check of a running call allocates.
    checks: VecDeque<(TransactionId, SocketAddr)>,
}

impl Default for SeenChecks {
    fn default() -> Self {
        Self {
            checks: VecDeque::with_capacity(SEEN_CHECKS_MAX),
        }
    }
}

impl SeenChecks {
    /// Remembers a check that was authenticated; `false` if another address sent it before.
    pub(super) fn is_new(&mut self, id: TransactionId, from: SocketAddr) -> bool {
        if let Some((_, first_from)) = self.checks.iter().find(|(seen, _)| *seen == id) {
            return *first_from == from;
        }
        if self.checks.len() >= SEEN_CHECKS_MAX {
            self.checks.pop_front();
        }
        self.checks.push_back((id, from));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_known_and_the_memory_is_bounded() {
        let (caller, thief) = (
            SocketAddr::from(([192, 0, 2, 1], 1)),
            SocketAddr::from(([192, 0, 2, 2], 2)),
        );
        let id = |number: usize| TransactionId([number as u8; 12]);
        let mut seen = SeenChecks::default();
        assert!(seen.is_new(id(0), caller));
        assert!(seen.is_new(id(0), caller), "a retransmission");
        assert!(!seen.is_new(id(0), thief));
        for number in 1..=SEEN_CHECKS_MAX {
            assert!(seen.is_new(id(number), caller));
        }
        assert!(seen.is_new(id(0), thief), "forgotten");
        assert_eq!(seen.checks.len(), SEEN_CHECKS_MAX);
    }
}
