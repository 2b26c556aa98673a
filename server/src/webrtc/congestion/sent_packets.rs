//! What became of the last 256 packets that we sent: when they left, whether and when they arrived.
//!
//! All times are [`Ticks`] of 250 us, the unit of transport-cc, in 32 bits that wrap: a call's packets fit in 3 KB.

use std::time::{Duration, Instant};

use crate::rtp::{PacketArrival, SequenceNumber, TransportFeedback};

/// Packets that are remembered: 5 s of audio.
const PACKETS_MAX: usize = 256;
const TICK_US: u128 = 250;

/// A time or a distance in ticks of 250 us. Wraps after 12 days, as transport-cc's reference time does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ticks(u32);

impl Ticks {
    pub const fn from_ms(ms: u32) -> Self {
        Self(ms * 4)
    }

    pub fn of(duration: Duration) -> Self {
        Self((duration.as_micros() / TICK_US) as u32)
    }

    pub fn since(epoch: Instant, now: Instant) -> Self {
        Self::of(now.saturating_duration_since(epoch))
    }

    /// How much later than `other`; 0 if it is not.
    pub fn later_than(self, other: Self) -> Self {
        Self(self.distance(other).max(0) as u32)
    }

    pub fn earlier_of(self, other: Self) -> Self {
        if self.distance(other) <= 0 {
            self
        } else {
            other
        }
    }

    pub fn later_of(self, other: Self) -> Self {
        if self.distance(other) >= 0 {
            self
        } else {
            other
        }
    }

    fn distance(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }
}

impl PartialOrd for Ticks {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.distance(*other).cmp(&0))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// No feedback has told yet.
    Unknown,
    Lost,
    /// By the receiver's clock.
    Arrived(Unaligned),
}

/// Without padding around it a packet takes 12 bytes, not 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(Rust, packed)]
struct Unaligned(Ticks);

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Ticks,
    len: u16,
    fate: Fate,
}

#[derive(Debug)]
pub(super) struct SentPackets {
    /// Indexed by the transport-wide number modulo the room: a power of two, so the numbers wrap with it.
    packets: Box<[Sent; PACKETS_MAX]>,
    next: u16,
    /// How many of the last ones a feedback may tell of.
    count: usize,
    /// The latest arrival that was told, and when that packet was sent.
    latest: Option<(Ticks, Ticks)>,
    /// Of the last feedback: its count, and the number after the last that it told of.
    told_until: Option<(u8, u16)>,
}

impl SentPackets {
    pub fn new() -> Self {
        let nothing = Sent {
            at: Ticks(0),
            len: 0,
            fate: Fate::Unknown,
        };
        Self {
            packets: Box::new([nothing; PACKETS_MAX]),
            next: 0,
            count: 0,
            latest: None,
            told_until: None,
        }
    }

    pub fn next_sequence_number(&self) -> SequenceNumber {
        SequenceNumber(self.next)
    }

    pub fn push(&mut self, at: Ticks, len: usize) {
        let slot = usize::from(self.next) % PACKETS_MAX;
        self.packets[slot] = Sent {
            at,
            len: u16::try_from(len).unwrap_or(u16::MAX),
            fate: Fate::Unknown,
        };
        self.next = self.next.wrapping_add(1);
        self.count = (self.count + 1).min(PACKETS_MAX);
    }

    /// Nothing that was sent so far counts any more, nor what is told of it later.
    pub fn forget(&mut self) {
        for packet in self.packets.iter_mut() {
            packet.fate = Fate::Unknown;
        }
        self.count = 0;
        self.latest = None;
        self.told_until = None;
    }

    /// Some receivers (str0m) begin each feedback with a packet that arrived and so never tell what was lost before it. If no
    /// feedback is missing, what lies between two of them is lost.
    pub fn handle_feedback_begin(&mut self, feedback: &TransportFeedback<'_>) {
        let base = feedback.base_sequence_number.0;
        if let Some((count, told_until)) = self.told_until
            && feedback.feedback_count == count.wrapping_add(1)
        {
            let untold = base.wrapping_sub(told_until);
            // A feedback that goes back leaves nothing untold.
            let untold = if usize::from(untold) < PACKETS_MAX {
                untold
            } else {
                0
            };
            for index in 0..untold {
                let packet = self.remembered(told_until.wrapping_add(index));
                if let Some(packet) = packet.filter(|packet| packet.fate == Fate::Unknown) {
                    packet.fate = Fate::Lost;
                }
            }
        }
        let until = base.wrapping_add(feedback.packet_count);
        self.told_until = Some((feedback.feedback_count, until));
    }

    /// Notes what the feedback says of a packet, and says how long it took by both clocks if that is news. A packet that
    /// was told as lost may arrive yet; one that arrived is not lost again.
    pub fn handle_arrival(&mut self, told: &PacketArrival) -> Option<Ticks> {
        let packet = self.remembered(told.sequence_number.0)?;
        if matches!(packet.fate, Fate::Arrived(_)) {
            return None;
        }
        let Some(arrival_ticks) = told.arrival_ticks else {
            packet.fate = Fate::Lost;
            return None;
        };
        // Modulo 2^32, as the reference time wraps.
        let arrived = Ticks(arrival_ticks as u32);
        packet.fate = Fate::Arrived(Unaligned(arrived));
        let sent_at = packet.at;
        if self
            .latest
            .is_none_or(|(latest, _)| latest.distance(arrived) <= 0)
        {
            self.latest = Some((arrived, sent_at));
        }
        Some(Ticks(arrived.0.wrapping_sub(sent_at.0)))
    }

    /// The shortest way by both clocks of what arrived in the last `window` before the latest arrival.
    pub fn quickest(&self, window: Ticks) -> Option<Ticks> {
        let delays = self
            .arrived_within(window)
            .map(|(packet, arrived)| Ticks(arrived.0.wrapping_sub(packet.at.0)));
        delays.reduce(Ticks::earlier_of)
    }

    /// Bits per second of UDP payload that arrived in the last `window` before the latest arrival; over less time while
    /// there is less, but never less than a quarter of it.
    pub fn delivered_bps(&self, window: Ticks) -> f64 {
        let (mut bits, mut span) = (0, Ticks(window.0 / 4));
        for (packet, arrived) in self.arrived_within(window) {
            bits += 8 * u64::from(packet.len);
            let since = self
                .latest
                .map_or(Ticks(0), |(latest, _)| latest.later_than(arrived));
            span = span.later_of(since);
        }
        bits_per_s(bits, span)
    }

    /// Bits per second of UDP payload that we sent in the last `window` before `now`.
    pub fn sent_bps(&self, now: Ticks, window: Ticks) -> f64 {
        let recent = self
            .packets
            .iter()
            .filter(|packet| now.distance(packet.at) < window.0 as i32);
        bits_per_s(recent.map(|packet| 8 * u64::from(packet.len)).sum(), window)
    }

    /// What was lost of the packets sent in the last `window` before the one that arrived latest; none for fewer than
    /// `packets_min` of known fate.
    pub fn loss_fraction(&self, window: Ticks, packets_min: u32) -> Option<f64> {
        let (_, latest_sent) = self.latest?;
        let (mut arrived, mut lost) = (0, 0);
        for packet in self.packets.iter() {
            if latest_sent.distance(packet.at) >= window.0 as i32 {
                continue;
            }
            match packet.fate {
                Fate::Unknown => {}
                Fate::Lost => lost += 1,
                Fate::Arrived(_) => arrived += 1,
            }
        }
        let told: u32 = arrived + lost;
        (told >= packets_min).then(|| f64::from(lost) / f64::from(told))
    }

    /// The packet of this number, if it was sent lately.
    fn remembered(&mut self, number: u16) -> Option<&mut Sent> {
        let age = self.next.wrapping_sub(number);
        let is_known = age > 0 && usize::from(age) <= self.count;
        is_known.then(|| &mut self.packets[usize::from(number) % PACKETS_MAX])
    }

    fn arrived_within(&self, window: Ticks) -> impl Iterator<Item = (&Sent, Ticks)> {
        let latest = self.latest.map(|(latest, _)| latest);
        self.packets.iter().filter_map(move |packet| {
            let Fate::Arrived(Unaligned(arrived)) = packet.fate else {
                return None;
            };
            (latest?.distance(arrived) < window.0 as i32).then_some((packet, arrived))
        })
    }
}

fn bits_per_s(bits: u64, span: Ticks) -> f64 {
    bits as f64 * 4_000.0 / f64::from(span.0)
}
