//! Packets that are ready for the sink, in order, until the owner polls them. Bounded; buffers are used again.

use super::direction::PacketKind;
use crate::rtp::{PayloadType, RtpTimestamp, SequenceNumber};

/// Packets that wait at most: those of one arrival fit in (a long event's segments, an end thrice), and more.
const OUTBOX_MAX: usize = 16;

/// A packet that waits, all but its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadyPacket {
    pub kind: PacketKind,
    pub marker: bool,
    pub payload_type: PayloadType,
    pub sequence_number: SequenceNumber,
    pub timestamp: RtpTimestamp,
}

#[derive(Debug, Default)]
struct Place {
    packet: Option<ReadyPacket>,
    payload: Vec<u8>,
}

/// A ring of packets.
#[derive(Debug)]
pub(super) struct Outbox {
    places: [Place; OUTBOX_MAX],
    first: usize,
    waiting: usize,
}

impl Outbox {
    pub fn new() -> Self {
        Self {
            places: std::array::from_fn(|_| Place::default()),
            first: 0,
            waiting: 0,
        }
    }

    /// Whether one more packet fits in. Asked before a sequence number is taken for it.
    pub fn has_room(&self) -> bool {
        self.waiting < OUTBOX_MAX
    }

    /// Adds a packet; without room it is dropped.
    pub fn push(&mut self, packet: ReadyPacket, payload: &[u8]) {
        if !self.has_room() {
            return;
        }
        // The remainder is below the length of the array.
        let place = &mut self.places[(self.first + self.waiting) % OUTBOX_MAX];
        place.packet = Some(packet);
        place.payload.clear();
        place.payload.extend_from_slice(payload);
        self.waiting += 1;
    }

    /// Takes the oldest packet, which stays borrowed from its place.
    pub fn pop(&mut self) -> Option<(ReadyPacket, &[u8])> {
        if self.waiting == 0 {
            return None;
        }
        let place = &mut self.places[self.first % OUTBOX_MAX];
        self.waiting -= 1;
        // An empty ring begins at its first place again, so that one warm buffer serves a call that is polled in time.
        self.first = match self.waiting {
            0 => 0,
            _ => (self.first + 1) % OUTBOX_MAX,
        };
        Some((place.packet.take()?, &place.payload))
    }
}
