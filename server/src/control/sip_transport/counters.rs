//! What was thrown away, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a message or a connection was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Discard {
    /// An unknown address sent more than it may.
    RateLimited,
    /// The agent did not keep up; UDP only.
    ArrivalsFull,
    /// A datagram that is no SIP message, or is cut.
    NotSip,
    /// A stream without messages, or with too long ones; it was closed.
    Framing,
    /// A connection beyond those of its listener.
    ListenerFull,
    /// A connection beyond those of its address.
    AddressFull,
    /// A handshake or a message that took too long.
    TimedOut,
    /// TLS that came to nothing.
    TlsFailed,
    /// A message of ours that did not get out.
    NotSent,
}

impl Discard {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::RateLimited,
        Self::ArrivalsFull,
        Self::NotSip,
        Self::Framing,
        Self::ListenerFull,
        Self::AddressFull,
        Self::TimedOut,
        Self::TlsFailed,
        Self::NotSent,
    ];

    /// As a label of a metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::ArrivalsFull => "arrivals_full",
            Self::NotSip => "not_sip",
            Self::Framing => "framing",
            Self::ListenerFull => "listener_full",
            Self::AddressFull => "address_full",
            Self::TimedOut => "timed_out",
            Self::TlsFailed => "tls_failed",
            Self::NotSent => "not_sent",
        }
    }
}

/// One count for each reason.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; Discard::ALL.len()]);

impl Counters {
    pub(super) fn add(&self, reason: Discard) {
        // The order of `ALL` is that of the variants: a test holds it.
        if let Some(count) = self.0.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Discard, u64)> + '_ {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Discard::ALL.into_iter().zip(self.0.iter().map(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place() {
        for (index, reason) in Discard::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
    }
}
