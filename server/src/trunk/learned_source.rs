//! Where a plain RTP far end really sends from (symmetric RTP, RFC 4961): the SDP's address, or what a NAT made of it.
//!
//! The rule: the SDP's own address is always right, from its first packet on and for good. Until then, and only in the
//! first [`LEARNING_WINDOW`], another address may be learned after [`LEARNING_PACKETS`] packets in sequence of one
//! source. Everybody else is a stranger.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::rtp::{MediaPacket, SequenceNumber, Ssrc};

/// How long after the leg's beginning another address may be learned.
pub const LEARNING_WINDOW: Duration = Duration::from_secs(5);
/// Packets in sequence that another address must show.
pub const LEARNING_PACKETS: u8 = 3;

/// The source of a leg's RTP.
#[derive(Debug)]
pub(super) struct LearnedSource {
    signalled: SocketAddr,
    current: SocketAddr,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has been heard.
    Learning {
        until: Instant,
        candidate: Option<Candidate>,
    },
    /// Another address was learned; the SDP's own still wins.
    Learned,
    /// The SDP's own address has spoken.
    Confirmed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    address: SocketAddr,
    ssrc: Ssrc,
    next: SequenceNumber,
    packets: u8,
}

impl LearnedSource {
    pub(super) fn new(signalled: SocketAddr, now: Instant) -> Self {
        let signalled = canonical(signalled);
        Self {
            signalled,
            current: signalled,
            state: State::Learning {
                until: now + LEARNING_WINDOW,
                candidate: None,
            },
        }
    }

    /// What the SDP says.
    pub(super) fn signalled(&self) -> SocketAddr {
        self.signalled
    }

    /// Where to send to: as the SDP says until something better is learned.
    pub(super) fn current(&self) -> SocketAddr {
        self.current
    }

    /// May packets of this address still turn out to be the far end's?
    pub(super) fn may_be_far_end(&self, now: Instant, from: SocketAddr) -> bool {
        let from = canonical(from);
        let learning = matches!(self.state, State::Learning { until, .. } if now < until);
        from == self.signalled || (self.state == State::Learned && from == self.current) || learning
    }

    /// Takes a packet that could be parsed and has a payload type of the leg. Is it the far end's?
    pub(super) fn accept(
        &mut self,
        now: Instant,
        from: SocketAddr,
        packet: &MediaPacket<'_>,
    ) -> bool {
        let from = canonical(from);
        if from == self.signalled {
            self.current = from;
            self.state = State::Confirmed;
            return true;
        }
        match &mut self.state {
            State::Confirmed => false,
            State::Learned => from == self.current,
            State::Learning { until, .. } if now >= *until => false,
            State::Learning { candidate, .. } => {
                let next = packet.sequence_number.next();
                let follows = candidate.filter(|candidate| {
                    let Candidate {
                        address,
                        ssrc,
                        next,
                        ..
                    } = *candidate;
                    address == from && ssrc == packet.ssrc && next == packet.sequence_number
                });
                let packets = follows.map_or(1, |candidate| candidate.packets + 1);
                *candidate = Some(Candidate {
                    address: from,
                    ssrc: packet.ssrc,
                    next,
                    packets,
                });
                if packets < LEARNING_PACKETS {
                    return false;
                }
                self.current = from;
                self.state = State::Learned;
                true
            }
        }
    }
}

/// IPv4 peers of a dual-stack socket may be written as IPv6; they are the same far end.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
