//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): records when each
//! transport-wide sequence number arrived and writes the feedback packets; reads those of a peer.
//!
//! It estimates no bandwidth. The sequence number itself travels in a header extension, which the media leg reads.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::rtcp_writer::transport_feedback_header;
use super::{SequenceNumber, Ssrc};

/// The header extension's URI in SDP.
pub const TRANSPORT_CC_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// Packets that one recorder remembers: 5 s of audio.
pub const TRANSPORT_CC_WINDOW: usize = 256;
/// Longest feedback packet that [`TransportFeedbackRecorder::poll_feedback`] writes, in bytes.
pub const TRANSPORT_FEEDBACK_LEN_MAX: usize =
    20 + 2 * TRANSPORT_CC_WINDOW.div_ceil(7) + 2 * TRANSPORT_CC_WINDOW + 4;

const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
const TICK_US: u128 = 250;
/// Ticks in one unit of the reference time (64 ms).
const REFERENCE_TICKS: u32 = 256;
const FIXED_BODY_LEN: usize = 16;

/// A packet's status symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    NotReceived = 0,
    SmallDelta = 1,
    LargeDelta = 2,
}

/// With its `Option` eight bytes, for each peer keeps many.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// The lower half of the unwrapped number. What would be zero, once in a few years, is not recorded.
    sequence: NonZeroU32,
    /// 250 us ticks since the first packet; wraps after 12 days, as the reference time on the wire does.
    ticks: u32,
}

impl Arrival {
    fn is_of(&self, sequence: u64) -> bool {
        self.sequence.get() == sequence as u32
    }
}

/// What one peer's packets did, and when to tell it.
///
/// Feedback is due 100 ms after the first packet that it does not cover yet; without packets there is none.
#[derive(Debug)]
pub struct TransportFeedbackRecorder {
    sender_ssrc: Ssrc,
    media_ssrc: Ssrc,
    epoch: Option<Instant>,
    /// Indexed by unwrapped sequence modulo the window.
    arrivals: Box<[Option<Arrival>; TRANSPORT_CC_WINDOW]>,
    /// First sequence that the next feedback tells.
    next_to_report: u64,
    highest: u64,
    due: Option<Instant>,
    feedback_count: u8,
}

impl TransportFeedbackRecorder {
    /// A recorder whose feedback names `sender_ssrc` as its source.
    pub fn new(sender_ssrc: Ssrc) -> Self {
        Self {
            sender_ssrc,
            media_ssrc: Ssrc(0),
            epoch: None,
            arrivals: Box::new([None; TRANSPORT_CC_WINDOW]),
            next_to_report: 0,
            highest: 0,
            due: None,
            feedback_count: 0,
        }
    }

    /// Records a packet of `media_ssrc` with this transport-wide sequence number. Copies and packets older than the
    /// window change nothing.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        media_ssrc: Ssrc,
        sequence_number: SequenceNumber,
    ) {
        self.media_ssrc = media_ssrc;
        let first = self.epoch.is_none();
        let epoch = *self.epoch.get_or_insert(now);
        if first {
            // One cycle up, so that packets before the first have an unwrapped number too.
            self.highest = 0x1_0000 + u64::from(sequence_number.0);
            self.next_to_report = self.highest;
        }
        let distance = sequence_number.distance_from(SequenceNumber(self.highest as u16));
        let Some(sequence) = self.highest.checked_add_signed(i64::from(distance)) else {
            return;
        };
        let window = TRANSPORT_CC_WINDOW as u64;
        if sequence + window <= self.highest {
            return;
        }
        if sequence > self.highest {
            // A jump over the whole window is a sender that began anew: what lies between was never sent.
            let restarted = sequence - self.highest >= window;
            let oldest = sequence + 1 - window;
            self.next_to_report =
                self.next_to_report
                    .max(if restarted { sequence } else { oldest });
            self.highest = sequence;
        }
        let slot = &mut self.arrivals[(sequence % window) as usize];
        if slot.is_some_and(|arrival| arrival.is_of(sequence)) {
            return;
        }
        let ticks = (now.saturating_duration_since(epoch).as_micros() / TICK_US) as u32;
        *slot = NonZeroU32::new(sequence as u32).map(|sequence| Arrival { sequence, ticks });
        // A packet that was told as missing is told again with its neighbours.
        self.next_to_report = self.next_to_report.min(sequence);
        self.due.get_or_insert(now + FEEDBACK_INTERVAL);
    }

    /// When [`TransportFeedbackRecorder::poll_feedback`] has something next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Writes one RTCP feedback packet (not a compound) if it is due and returns its length in bytes. `None`: nothing
    /// due, or `out` is shorter than [`TRANSPORT_FEEDBACK_LEN_MAX`]. Call it until it returns `None`.
    pub fn poll_feedback(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.due.filter(|due| *due <= now)?;
        let out = out.get_mut(..TRANSPORT_FEEDBACK_LEN_MAX)?;
        let Some(base) =
            (self.next_to_report..=self.highest).find(|sequence| self.arrival(*sequence).is_some())
        else {
            self.due = None;
            return None;
        };
        // Losses before the first arrival are told with it: the count begins at the first number not told yet.
        let first_ticks = self.arrival(base).map_or(0, |arrival| arrival.ticks);
        let reference = first_ticks / REFERENCE_TICKS;
        let mut statuses = [Status::NotReceived; TRANSPORT_CC_WINDOW];
        let mut deltas = [0; TRANSPORT_CC_WINDOW];
        let mut previous_ticks = reference.wrapping_mul(REFERENCE_TICKS);
        let mut count = 0;
        for sequence in self.next_to_report..=self.highest {
            if let Some(arrival) = self.arrival(sequence) {
                let Ok(delta) = i16::try_from(arrival.ticks.wrapping_sub(previous_ticks) as i32)
                else {
                    break; // More than 8 s between two packets: the rest is told with a reference time of its own.
                };
                previous_ticks = arrival.ticks;
                deltas[count] = delta;
                statuses[count] = if u8::try_from(delta).is_ok() {
                    Status::SmallDelta
                } else {
                    Status::LargeDelta
                };
            }
            count += 1;
        }

        let base_sequence = self.next_to_report as u16;
        self.next_to_report += count as u64;
        if self.next_to_report > self.highest {
            self.due = None;
        }
        let mut writer = FeedbackWriter { out, len: 4 };
        writer.put(&self.sender_ssrc.0.to_be_bytes());
        writer.put(&self.media_ssrc.0.to_be_bytes());
        writer.put(&base_sequence.to_be_bytes());
        writer.put(&(count as u16).to_be_bytes());
        writer.put(&reference.to_be_bytes()[1..]);
        writer.put(&[self.feedback_count]);
        self.feedback_count = self.feedback_count.wrapping_add(1);
        writer.put_chunks(&statuses[..count]);
        for (status, delta) in statuses.iter().zip(deltas).take(count) {
            match status {
                Status::NotReceived => {}
                Status::SmallDelta => writer.put(&[delta as u8]),
                Status::LargeDelta => writer.put(&delta.to_be_bytes()),
            }
        }
        Some(writer.finish())
    }

    fn arrival(&self, sequence: u64) -> Option<Arrival> {
        let slot = self.arrivals[(sequence % TRANSPORT_CC_WINDOW as u64) as usize];
        slot.filter(|arrival| arrival.is_of(sequence))
    }
}

/// Appends to a buffer of [`TRANSPORT_FEEDBACK_LEN_MAX`] bytes: the fixed part, at most one chunk for each 7 packets,
/// at most 2 bytes of delta for each packet, and padding.
struct FeedbackWriter<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl FeedbackWriter<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_chunks(&mut self, mut statuses: &[Status]) {
        while let Some(first) = statuses.first() {
            let run = statuses
                .iter()
                .take_while(|status| *status == first)
                .count();
            let one_bit = &statuses[..statuses.len().min(14)];
            let covered = if run >= 14 || run == statuses.len() {
                self.put(&(((*first as u16) << 13) | run as u16).to_be_bytes());
                run
            } else if one_bit.iter().all(|status| *status != Status::LargeDelta) {
                let bits = one_bit.iter().enumerate();
                let symbols = bits.fold(0, |chunk, (i, status)| {
                    chunk | ((*status as u16) << (13 - i))
                });
                self.put(&(0x8000 | symbols).to_be_bytes());
                one_bit.len()
            } else {
                let two_bit = &statuses[..statuses.len().min(7)];
                let pairs = two_bit.iter().enumerate();
                let symbols = pairs.fold(0, |chunk, (i, status)| {
                    chunk | ((*status as u16) << (12 - 2 * i))
                });
                self.put(&(0xc000 | symbols).to_be_bytes());
                two_bit.len()
            };
            statuses = &statuses[covered..];
        }
    }

    fn finish(mut self) -> usize {
        let padding_len = self.len.next_multiple_of(4) - self.len;
        let padded = padding_len > 0;
        if padded {
            let padding = [0, 0, 0, padding_len as u8];
            self.put(&padding[4 - padding_len..]);
        }
        let words = (self.len / 4 - 1) as u16;
        self.out[..4].copy_from_slice(&transport_feedback_header(words, padded));
        self.len
    }
}

/// A peer's feedback, checked as a whole: chunks and deltas are there for every packet that it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportFeedback<'a> {
    /// Who reports.
    pub sender_ssrc: Ssrc,
    /// A stream that it reports on.
    pub media_ssrc: Ssrc,
    /// The first packet's transport-wide number.
    pub base_sequence_number: SequenceNumber,
    /// Packets that it tells, received or not.
    pub packet_count: u16,
    /// Units of 64 ms since a time of the sender's choice; 24 bits.
    pub reference_time: u32,
    /// One higher for each feedback.
    pub feedback_count: u8,
    chunks: &'a [[u8; 2]],
    deltas: &'a [u8],
}

/// What a feedback says of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketArrival {
    /// Its transport-wide number.
    pub sequence_number: SequenceNumber,
    /// When it arrived, in ticks of 250 us of the receiver's clock; `None`: it did not.
    pub arrival_ticks: Option<i64>,
}

impl<'a> TransportFeedback<'a> {
    /// Reads a feedback packet's body: what follows the 4-byte RTCP header, padding removed.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = body.split_first_chunk::<FIXED_BODY_LEN>()?;
        let [
            s0,
            s1,
            s2,
            s3,
            m0,
            m1,
            m2,
            m3,
            b0,
            b1,
            c0,
            c1,
            r0,
            r1,
            r2,
            feedback_count,
        ] = *fixed;
        let packet_count = u16::from_be_bytes([c0, c1]);

        let (all_chunks, _) = rest.as_chunks::<2>();
        let mut covered = 0;
        let mut deltas_len = 0;
        let mut chunk_count = 0;
        while covered < usize::from(packet_count) {
            let chunk = Chunk::parse(*all_chunks.get(chunk_count)?);
            chunk_count += 1;
            let counted = chunk.len().min(usize::from(packet_count) - covered);
            deltas_len += chunk.deltas_len(counted)?;
            covered += counted;
            if counted == 0 {
                return None; // An empty run: no progress, no sense.
            }
        }
        Some(Self {
            sender_ssrc: Ssrc(u32::from_be_bytes([s0, s1, s2, s3])),
            media_ssrc: Ssrc(u32::from_be_bytes([m0, m1, m2, m3])),
            base_sequence_number: SequenceNumber(u16::from_be_bytes([b0, b1])),
            packet_count,
            reference_time: u32::from_be_bytes([0, r0, r1, r2]),
            feedback_count,
            chunks: all_chunks.get(..chunk_count)?,
            deltas: rest.get(2 * chunk_count..2 * chunk_count + deltas_len)?,
        })
    }

    /// What it says of each packet, in the order of their numbers.
    pub fn packets(&self) -> impl Iterator<Item = PacketArrival> + use<'a> {
        let base = self.base_sequence_number;
        let mut ticks = i64::from(self.reference_time) * i64::from(REFERENCE_TICKS);
        let mut deltas = self.deltas;
        let symbols = self.chunks.iter().flat_map(|bytes| {
            let chunk = Chunk::parse(*bytes);
            (0..chunk.len()).map(move |i| chunk.symbol(i))
        });
        let counted = symbols.zip(0..self.packet_count);
        counted.map(move |(symbol, offset)| {
            let delta = match (symbol, deltas) {
                (1, [delta, rest @ ..]) => {
                    deltas = rest;
                    Some(i64::from(*delta))
                }
                (2, [high, low, rest @ ..]) => {
                    deltas = rest;
                    Some(i64::from(i16::from_be_bytes([*high, *low])))
                }
                _ => None,
            };
            ticks += delta.unwrap_or(0);
            PacketArrival {
                sequence_number: base.wrapping_add(offset),
                arrival_ticks: delta.map(|_| ticks),
            }
        })
    }
}

/// A packet status chunk.
#[derive(Debug, Clone, Copy)]
enum Chunk {
    Run { symbol: u8, len: u16 },
    OneBit(u16),
    TwoBit(u16),
}

impl Chunk {
    fn parse(bytes: [u8; 2]) -> Self {
        let chunk = u16::from_be_bytes(bytes);
        match chunk >> 14 {
            0 | 1 => Self::Run {
                symbol: ((chunk >> 13) & 3) as u8,
                len: chunk & 0x1fff,
            },
            2 => Self::OneBit(chunk),
            _ => Self::TwoBit(chunk),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Run { len, .. } => usize::from(len),
            Self::OneBit(_) => 14,
            Self::TwoBit(_) => 7,
        }
    }

    /// The symbol at `i`, which is less than the length.
    fn symbol(self, i: usize) -> u8 {
        match self {
            Self::Run { symbol, .. } => symbol,
            Self::OneBit(chunk) => ((chunk >> (13 - i)) & 1) as u8,
            Self::TwoBit(chunk) => ((chunk >> (12 - 2 * i)) & 3) as u8,
        }
    }

    /// Bytes of delta that its first `counted` symbols need; `None` for the reserved symbol.
    fn deltas_len(self, counted: usize) -> Option<usize> {
        let len_of = |symbol| match symbol {
            0..=2 => Some(usize::from(symbol)),
            _ => None,
        };
        match self {
            Self::Run { symbol, .. } => Some(len_of(symbol)? * counted),
            Self::OneBit(_) | Self::TwoBit(_) => (0..counted).map(|i| len_of(self.symbol(i))).sum(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::rtp::{RtcpPacket, rtcp_packets};
    use proptest::prelude::*;

    const TOLD_BY: Ssrc = Ssrc(1);
    const MEDIA: Ssrc = Ssrc(2);

    fn told(recorder: &mut TransportFeedbackRecorder, now: Instant) -> Vec<PacketArrival> {
        let mut out = [0; TRANSPORT_FEEDBACK_LEN_MAX];
        let mut told = Vec::new();
        while let Some(len) = recorder.poll_feedback(now, &mut out) {
            let packets: Vec<_> = rtcp_packets(&out[..len]).collect();
            let [Ok(RtcpPacket::TransportFeedback(feedback))] = packets.as_slice() else {
                panic!("{packets:?}");
            };
            assert_eq!(
                (feedback.sender_ssrc, feedback.media_ssrc),
                (TOLD_BY, MEDIA)
            );
            assert_eq!(
                feedback.packets().count(),
                usize::from(feedback.packet_count)
            );
            told.extend(feedback.packets());
        }
        told
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn feedback_comes_100_ms_after_the_first_packet() {
        let start = Instant::now();
        let mut recorder = TransportFeedbackRecorder::new(TOLD_BY);
        assert_eq!(recorder.poll_timeout(), None);
        for i in 0..4 {
            recorder.handle_packet(
                start + ms(20 * u64::from(i)),
                MEDIA,
                SequenceNumber(0xfffe).wrapping_add(i),
            );
        }
        assert_eq!(recorder.poll_timeout(), Some(start + ms(100)));
        assert_eq!(told(&mut recorder, start + ms(99)), []);
        let arrivals = told(&mut recorder, start + ms(100));
        let expected = [(0xfffe, 0), (0xffff, 80), (0, 160), (1, 240)].map(|(sequence, ticks)| {
            PacketArrival {
                sequence_number: SequenceNumber(sequence),
                arrival_ticks: Some(ticks),
            }
        });
        assert_eq!(arrivals, expected);
        assert_eq!(recorder.poll_timeout(), None);
        assert_eq!(told(&mut recorder, start + ms(300)), []);
    }

    #[test]
    fn a_late_packet_is_told_after_it_was_told_as_missing() {
        let start = Instant::now();
        let mut recorder = TransportFeedbackRecorder::new(TOLD_BY);
        recorder.handle_packet(start, MEDIA, SequenceNumber(10));
        recorder.handle_packet(start + ms(40), MEDIA, SequenceNumber(12));
        let first: Vec<_> = told(&mut recorder, start + ms(100));
        assert_eq!(first.len(), 3);
        assert_eq!(first[1].arrival_ticks, None);
        recorder.handle_packet(start + ms(110), MEDIA, SequenceNumber(11));
        let second = told(&mut recorder, start + ms(210));
        assert_eq!(second[0].sequence_number, SequenceNumber(11));
        assert_eq!(second[0].arrival_ticks, Some(440));
        assert_eq!(
            second[1].arrival_ticks,
            Some(160),
            "its neighbour is told with its own time"
        );
    }

    #[test]
    fn a_loss_at_the_beginning_of_a_feedback_is_told() {
        let start = Instant::now();
        let mut recorder = TransportFeedbackRecorder::new(TOLD_BY);
        recorder.handle_packet(start, MEDIA, SequenceNumber(1));
        assert_eq!(told(&mut recorder, start + ms(100)).len(), 1);
        recorder.handle_packet(start + ms(120), MEDIA, SequenceNumber(4));
        let arrivals = told(&mut recorder, start + ms(220));
        let received: Vec<_> = arrivals
            .iter()
            .map(|packet| packet.arrival_ticks.is_some())
            .collect();
        assert_eq!(received, [false, false, true]);
    }

    #[test]
    fn silence_of_more_than_8_s_splits_the_feedback() {
        let start = Instant::now();
        let mut recorder = TransportFeedbackRecorder::new(TOLD_BY);
        recorder.handle_packet(start, MEDIA, SequenceNumber(1));
        recorder.handle_packet(start + ms(20_000), MEDIA, SequenceNumber(2));
        let arrivals = told(&mut recorder, start + ms(20_000));
        assert_eq!(arrivals[0].arrival_ticks, Some(0));
        assert_eq!(arrivals[1].arrival_ticks, Some(80_000));
    }

    #[test]
    fn a_sender_that_jumps_is_not_told_of_what_it_never_sent() {
        let start = Instant::now();
        let mut recorder = TransportFeedbackRecorder::new(TOLD_BY);
        recorder.handle_packet(start, MEDIA, SequenceNumber(1));
        recorder.handle_packet(start, MEDIA, SequenceNumber(20_000));
        recorder.handle_packet(start, MEDIA, SequenceNumber(1)); // older than the window now
        assert_eq!(told(&mut recorder, start + ms(100)).len(), 1);
    }

    #[test]
    fn nonsense_is_refused() {
        let reserved_symbol = [0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 1, 0, 0, 0, 0, 0x60, 1];
        assert_eq!(TransportFeedback::parse(&reserved_symbol), None);
        let empty_run = [
            0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 1, 0, 0, 0, 0, 0x20, 0, 9, 9,
        ];
        assert_eq!(TransportFeedback::parse(&empty_run), None);
        let deltas_missing = [0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 2, 0, 0, 0, 0, 0x20, 2, 9];
        assert_eq!(TransportFeedback::parse(&deltas_missing), None);
    }

    proptest! {
        #[test]
        fn every_arrival_survives_the_wire(
            first: u16,
            // For each number: lost, or received so many microseconds after the one before.
            arrivals in proptest::collection::vec(proptest::option::weighted(0.8, 0_u64..400_000), 1..TRANSPORT_CC_WINDOW)
        ) {
            let start = Instant::now();
            let mut recorder = TransportFeedbackRecorder::new(TOLD_BY);
            recorder.handle_packet(start, MEDIA, SequenceNumber(first));
            let mut expected = vec![Some(0)];
            let mut elapsed_us = 0;
            for (i, gap_us) in arrivals.iter().enumerate() {
                expected.push(gap_us.map(|gap_us| {
                    elapsed_us += gap_us;
                    let number = SequenceNumber(first).wrapping_add(i as u16 + 1);
                    recorder.handle_packet(start + Duration::from_micros(elapsed_us), MEDIA, number);
                    (elapsed_us / 250) as i64
                }));
            }
            let last = expected.iter().rposition(Option::is_some).unwrap();
            expected.truncate(last + 1);
            let read = told(&mut recorder, start + Duration::from_micros(elapsed_us) + ms(100));
            prop_assert_eq!(read.first().map(|packet| packet.sequence_number), Some(SequenceNumber(first)));
            let read: Vec<_> = read.iter().map(|packet| packet.arrival_ticks).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
