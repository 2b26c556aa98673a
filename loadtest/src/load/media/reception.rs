//! The account of one received stream (RFC 3550 appendix A): lost, doubled and late packets, jitter, and the report
//! block that tells the sender of it.

use server::rtp::{CompactNtp, MediaPacket, ReportBlock, Ssrc};

/// Farther on, or back, the source began to count anew (RFC 3550 appendix A.1: MAX_DROPOUT).
const STEP_MAX: i64 = 3_000;
/// Sequence numbers behind the highest of which it is known whether they came.
const SEEN_MAX: i64 = 128;
const NS_PER_S: f64 = 1e9;

/// What came in all, over restarts of the source.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Totals {
    pub(super) received: u64,
    pub(super) lost: i64,
    pub(super) duplicates: u64,
    pub(super) reordered: u64,
    pub(super) streams: u64,
}

#[derive(Debug, Default)]
pub(super) struct Reception {
    pub(super) totals: Totals,
    stream: Option<Stream>,
    last_sender_report: Option<(CompactNtp, u64)>,
}

/// One source's run of sequence numbers, extended.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    base: i64,
    highest: i64,
    /// Bit i: the packet i before the highest came.
    seen: u128,
    received: i64,
    expected_before: i64,
    received_before: i64,
    jitter_ticks: f64,
    last_arrival_ns: u64,
    last_timestamp: u32,
}

/// What a packet changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// It came before.
    pub(super) duplicate: bool,
    /// By how many more (or fewer) packets are missing.
    pub(super) lost: i64,
}

impl Reception {
    /// Counts a packet.
    pub(super) fn handle(
        &mut self,
        packet: &MediaPacket<'_>,
        clock_rate_hz: u32,
        arrival_ns: u64,
    ) -> Change {
        let totals = &mut self.totals;
        let sequence = packet.sequence_number.0;
        let known = self.stream.as_mut().filter(|stream| {
            stream.ssrc == packet.ssrc.0 && stream.step(sequence).abs() <= STEP_MAX
        });
        let Some(stream) = known else {
            self.stream = Some(Stream::new(packet, arrival_ns));
            totals.streams += 1;
            totals.received += 1;
            return Change {
                duplicate: false,
                lost: 0,
            };
        };
        let step = stream.step(sequence);
        let change = stream.count(step);
        if change.duplicate {
            totals.duplicates += 1;
            return change;
        }
        totals.received += 1;
        totals.reordered += u64::from(step < 0);
        totals.lost += change.lost;
        stream.hear(packet.timestamp.0, clock_rate_hz, arrival_ns);
        change
    }

    /// A sender report came.
    pub(super) fn handle_sender_report(&mut self, report: CompactNtp, arrival_ns: u64) {
        self.last_sender_report = Some((report, arrival_ns));
    }

    /// Interarrival jitter in ms.
    pub(super) fn jitter_ms(&self, clock_rate_hz: u32) -> f64 {
        let ticks = self
            .stream
            .as_ref()
            .map_or(0.0, |stream| stream.jitter_ticks);
        ticks * 1000.0 / f64::from(clock_rate_hz.max(1))
    }

    /// What is to be told of the stream, if there is one.
    pub(super) fn report_block(&mut self, now_ns: u64) -> Option<ReportBlock> {
        let stream = self.stream.as_mut()?;
        let expected = stream.highest - stream.base + 1;
        let expected_now = expected - stream.expected_before;
        let lost_now = expected_now - (stream.received - stream.received_before);
        (stream.expected_before, stream.received_before) = (expected, stream.received);
        let fraction = (lost_now.max(0) * 256)
            .checked_div(expected_now)
            .unwrap_or(0);
        let (last_sender_report, since_ns) = match self.last_sender_report {
            Some((report, at_ns)) => (report, now_ns.saturating_sub(at_ns)),
            None => (CompactNtp(0), 0),
        };
        Some(ReportBlock {
            ssrc: Ssrc(stream.ssrc),
            fraction_lost: fraction.clamp(0, 255) as u8,
            cumulative_lost: (expected - stream.received).clamp(-0x80_0000, 0x7f_ffff) as i32,
            extended_highest_sequence: stream.highest as u32,
            jitter: stream.jitter_ticks as u32,
            last_sender_report,
            delay_since_last_sender_report: CompactNtp(
                ((u128::from(since_ns) << 16) / 1_000_000_000) as u32,
            ),
        })
    }
}

impl Stream {
    fn new(packet: &MediaPacket<'_>, arrival_ns: u64) -> Self {
        let sequence = i64::from(packet.sequence_number.0);
        Self {
            ssrc: packet.ssrc.0,
            base: sequence,
            highest: sequence,
            seen: 1,
            received: 1,
            expected_before: 0,
            received_before: 0,
            jitter_ticks: 0.0,
            last_arrival_ns: arrival_ns,
            last_timestamp: packet.timestamp.0,
        }
    }

    /// How far from the highest.
    fn step(&self, sequence: u16) -> i64 {
        i64::from(sequence.wrapping_sub(self.highest as u16) as i16)
    }

    fn count(&mut self, step: i64) -> Change {
        let mut lost = -1;
        if step > 0 {
            self.highest += step;
            self.seen = self.seen.checked_shl(step as u32).unwrap_or(0) | 1;
            lost = step - 1;
        } else if -step < SEEN_MAX {
            let bit = 1 << -step;
            if self.seen & bit != 0 {
                return Change {
                    duplicate: true,
                    lost: 0,
                };
            }
            self.seen |= bit;
        }
        let sequence = self.highest + step.min(0);
        if sequence < self.base {
            lost = self.base - sequence - 1;
            self.base = sequence;
        }
        self.received += 1;
        Change {
            duplicate: false,
            lost,
        }
    }

    fn hear(&mut self, timestamp: u32, clock_rate_hz: u32, arrival_ns: u64) {
        let elapsed_ns = arrival_ns.wrapping_sub(self.last_arrival_ns) as i64;
        let elapsed = elapsed_ns as f64 * f64::from(clock_rate_hz) / NS_PER_S;
        let expected = f64::from(timestamp.wrapping_sub(self.last_timestamp) as i32);
        self.jitter_ticks += ((elapsed - expected).abs() - self.jitter_ticks) / 16.0;
        (self.last_arrival_ns, self.last_timestamp) = (arrival_ns, timestamp);
    }
}

#[cfg(test)]
mod tests {
    use server::rtp::{PayloadType, RtpTimestamp, SequenceNumber};

    use super::*;

    /// The account of PCMU packets with these sequence numbers, which come every 20 ms.
    fn account(sequences: &[u16]) -> Reception {
        let mut reception = Reception::default();
        for (number, sequence) in sequences.iter().enumerate() {
            let packet = MediaPacket {
                marker: false,
                payload_type: PayloadType(0),
                sequence_number: SequenceNumber(*sequence),
                timestamp: RtpTimestamp(number as u32 * 160),
                ssrc: Ssrc(7),
                payload: &[],
            };
            reception.handle(&packet, 8_000, number as u64 * 20_000_000);
        }
        reception
    }

    #[test]
    fn gaps_doubles_and_late_packets_are_counted() {
        let mut reception = account(&[65_534, 65_535, 1, 2, 2, 0, 6]);
        let totals = Totals {
            received: 6,
            lost: 3,
            duplicates: 1,
            reordered: 1,
            streams: 1,
        };
        assert_eq!(reception.totals, totals);
        assert!(reception.jitter_ms(8_000) < 5.0);
        let block = reception.report_block(0).unwrap_or_default();
        assert_eq!(block.cumulative_lost, 3);
        assert_eq!(block.extended_highest_sequence, 0x1_0006);
        assert_eq!(block.fraction_lost, (3 * 256 / 9) as u8);
    }

    #[test]
    fn what_is_older_than_the_first_belongs_to_the_stream() {
        let totals = account(&[10, 8, 9, 11]).totals;
        assert_eq!((totals.lost, totals.received, totals.reordered), (0, 4, 2));
    }

    #[test]
    fn a_source_that_begins_anew_has_lost_nothing() {
        let totals = account(&[10, 11, 30_000, 30_001]).totals;
        assert_eq!((totals.lost, totals.received, totals.streams), (0, 4, 2));
    }
}
