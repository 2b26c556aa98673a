//! Packets that wait to be decoded, in the source's order, and the decision when a missing one is given up.
//!
//! A gap opens when a later packet arrives and is given up `wait` after that, or when no more packets fit in. Without a
//! later packet nothing is missing: that is silence.

use std::time::{Duration, Instant};

use super::source_sequence::Ordinal;
use super::timeline::Position;

/// Packets that wait at most, which is more than arrive within any sensible wait.
const PACKETS_MAX: usize = 8;
/// How many the queue has room for at first.
const PACKETS_USUAL: usize = 2;

/// What a packet means to the audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// To be decoded.
    Audio,
    /// Audio or an event that was dealt with: it only fills its place in the sequence.
    Nothing,
}

#[derive(Debug)]
pub(super) struct WaitingPacket {
    pub ordinal: Ordinal,
    pub position: Position,
    pub arrived: Instant,
    /// The first of a new source or clock.
    pub restarted: bool,
    pub marker: bool,
    pub content: Content,
    pub payload: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct ReorderQueue {
    wait: Duration,
    /// Ascending by ordinal.
    waiting: Vec<WaitingPacket>,
    spare_payloads: Vec<Vec<u8>>,
    /// The ordinal that is due; none before the first packet.
    next: Option<Ordinal>,
}

impl ReorderQueue {
    pub fn new(wait: Duration) -> Self {
        Self {
            wait,
            // Hardly a call ever has more waiting; one that does keeps the room.
            waiting: Vec::with_capacity(PACKETS_USUAL),
            spare_payloads: Vec::with_capacity(PACKETS_USUAL),
            next: None,
        }
    }

    /// The place was played or given up.
    pub fn is_past(&self, ordinal: Ordinal) -> bool {
        self.next.is_some_and(|next| ordinal < next)
    }

    pub fn has_room(&self) -> bool {
        self.waiting.len() < PACKETS_MAX
    }

    /// A buffer for [`WaitingPacket::payload`] that holds a copy of `payload`.
    pub fn payload_buffer(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare_payloads.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(payload);
        buffer
    }

    /// Adds a packet that is not past; ask [`ReorderQueue::has_room`] before.
    pub fn insert(&mut self, packet: WaitingPacket) {
        self.next.get_or_insert(packet.ordinal);
        let place = self
            .waiting
            .partition_point(|other| other.ordinal < packet.ordinal);
        self.waiting.insert(place, packet);
    }

    /// The packet to go on with at `now`, and how many before it were given up.
    ///
    /// It stays in the queue until [`ReorderQueue::pop`].
    pub fn ready(&self, now: Instant) -> Option<(&WaitingPacket, u32)> {
        let first = self.waiting.first()?;
        let missing = first.ordinal - self.next?;
        let given_up = missing > 0
            && (!self.has_room()
                || first.restarted
                || self.gap_deadline().is_none_or(|deadline| now >= deadline));
        if missing > 0 && !given_up {
            return None;
        }
        Some((first, u32::try_from(missing).unwrap_or(u32::MAX)))
    }

    /// Takes the first packet and goes on after it. Its payload comes back by [`ReorderQueue::recycle`].
    pub fn pop(&mut self) -> Option<WaitingPacket> {
        if self.waiting.is_empty() {
            return None;
        }
        let packet = self.waiting.remove(0);
        self.next = Some(packet.ordinal + 1);
        Some(packet)
    }

    pub fn recycle(&mut self, payload: Vec<u8>) {
        if self.spare_payloads.len() < PACKETS_MAX {
            self.spare_payloads.push(payload);
        }
    }

    /// When the gap before the first waiting packet is given up.
    pub fn gap_deadline(&self) -> Option<Instant> {
        let first = self.waiting.first()?;
        if first.ordinal == self.next? {
            return None;
        }
        let opened = self.waiting.iter().map(|packet| packet.arrived).min()?;
        Some(opened + self.wait)
    }
}
