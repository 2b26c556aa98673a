//! The account of one received stream: lost packets, copies, jitter (RFC 3550 appendices A.1, A.3, A.8).
//!
//! One deliberate difference to RFC 3550: copies of a packet count as duplicates, not as received, so that they can't
//! hide loss in reports and records.

use std::time::{Duration, Instant};

use super::statistics::ticks;
use super::{CompactNtp, MediaPacket, ReportBlock, RtpTimestamp, SenderInfo, SequenceNumber, Ssrc};

/// No RTP clock of audio is faster; bounds the arithmetic of jitter.
const CLOCK_RATE_HZ_MAX: u32 = 192_000;
/// A jump forward of up to so many packets is loss; RFC 3550 MAX_DROPOUT.
const DROPOUT_MAX: i32 = 3000;
/// A packet up to so many numbers late is reordered; RFC 3550 MAX_MISORDER.
const MISORDER_MAX: i32 = 100;
/// A transit time that moves by more than this is a clock that jumped, no jitter.
const TRANSIT_STEP_MAX: Duration = Duration::from_secs(5);

/// What became of a received packet's sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before it.
    InOrder,
    /// Older than the newest, not seen before.
    Reordered,
    /// Seen before.
    Duplicate,
    /// Far from all before it: nothing is concluded until its successor comes.
    Suspect,
}

/// The account of one received stream.
#[derive(Debug, Clone)]
pub struct ReceiveStatistics {
    ssrc: Ssrc,
    clock_rate_hz: u32,
    /// Arrival times are counted from here.
    epoch: Instant,
    last_heard: Instant,
    /// Extended by cycles in the upper bits, as in A.1.
    first_sequence: u64,
    highest_sequence: u64,
    /// Bit i: the number `highest_sequence - i` came.
    seen: u128,
    /// What would continue a stream that jumped (A.1 `bad_seq`).
    suspect_next: Option<SequenceNumber>,
    received: u64,
    duplicates: u64,
    bytes: u64,
    /// Lost before the source began its numbers anew.
    lost_earlier: u64,
    /// Received since the source began its numbers anew.
    received_in_run: u64,
    expected_at_report: u64,
    received_at_report: u64,
    transit: Option<Transit>,
    /// In clock units, scaled by 16 (A.8).
    jitter_q4: u32,
    last_sender_report: Option<(CompactNtp, Instant)>,
}

/// Arrival time minus timestamp, and the timestamp that it was taken at.
#[derive(Debug, Clone, Copy)]
struct Transit {
    ticks: u32,
    timestamp: RtpTimestamp,
}

impl ReceiveStatistics {
    /// Begins with the stream's first packet, which it counts.
    pub fn new(now: Instant, first: &MediaPacket<'_>, clock_rate_hz: u32) -> Self {
        // One cycle up, so that packets before the first have an extended number too.
        let sequence = 0x1_0000 + u64::from(first.sequence_number.0);
        let mut statistics = Self {
            ssrc: first.ssrc,
            clock_rate_hz: clock_rate_hz.clamp(1, CLOCK_RATE_HZ_MAX),
            epoch: now,
            last_heard: now,
            first_sequence: sequence,
            highest_sequence: sequence,
            seen: 1,
            suspect_next: None,
            received: 1,
            duplicates: 0,
            bytes: first.payload.len() as u64,
            lost_earlier: 0,
            received_in_run: 1,
            expected_at_report: 0,
            received_at_report: 0,
            transit: None,
            jitter_q4: 0,
            last_sender_report: None,
        };
        statistics.measure_jitter(now, first.timestamp);
        statistics
    }

    /// Counts one more packet of the stream. Packets whose payload type has another clock rate than the stream's first
    /// are counted, and tell nothing about jitter.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        clock_rate_hz: u32,
    ) -> Arrival {
        self.last_heard = now;
        let arrival = self.place(packet.sequence_number);
        match arrival {
            Arrival::Suspect => return arrival,
            Arrival::Duplicate => {
                self.duplicates += 1;
                return arrival;
            }
            Arrival::InOrder if clock_rate_hz == self.clock_rate_hz => {
                self.measure_jitter(now, packet.timestamp);
            }
            Arrival::InOrder | Arrival::Reordered => {}
        }
        self.received += 1;
        self.received_in_run += 1;
        self.bytes += packet.payload.len() as u64;
        arrival
    }

    /// Notes an SR of the source: the next report block echoes it.
    pub fn handle_sender_report(&mut self, now: Instant, sender: &SenderInfo) {
        self.last_sender_report = Some((sender.ntp.compact(), now));
    }

    /// The block for the next SR or RR; loss is counted anew from here.
    pub fn report_block(&mut self, now: Instant) -> ReportBlock {
        let expected = self.expected();
        let expected_in_interval = expected.saturating_sub(self.expected_at_report);
        let received_in_interval = self.received_in_run.saturating_sub(self.received_at_report);
        self.expected_at_report = expected;
        self.received_at_report = self.received_in_run;
        let lost_in_interval = expected_in_interval.saturating_sub(received_in_interval);
        let fraction = (lost_in_interval << 8).checked_div(expected_in_interval);
        let (last_sender_report, delay_since_last_sender_report) = match self.last_sender_report {
            Some((ntp, received_at)) => {
                let delay = now.saturating_duration_since(received_at);
                (ntp, CompactNtp::from_duration(delay))
            }
            None => (CompactNtp(0), CompactNtp(0)),
        };
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction.unwrap_or(0).min(255) as u8,
            cumulative_lost: i32::try_from(self.lost()).unwrap_or(i32::MAX),
            // Minus the cycle that `new` put on top.
            extended_highest_sequence: self.highest_sequence.wrapping_sub(0x1_0000) as u32,
            jitter: self.jitter_q4 >> 4,
            last_sender_report,
            delay_since_last_sender_report,
        }
    }

    /// The source.
    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// When its last packet came.
    pub fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// Packets received, copies left out.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Copies received.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Payload bytes received, copies left out.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Packets lost since the beginning.
    pub fn lost(&self) -> u64 {
        self.lost_earlier + self.expected().saturating_sub(self.received_in_run)
    }

    /// Interarrival jitter in ms.
    pub fn jitter_ms(&self) -> f64 {
        f64::from(self.jitter_q4) / 16.0 * 1000.0 / f64::from(self.clock_rate_hz)
    }

    /// Packets that the source sent in this run of its numbers, as far as we can know.
    fn expected(&self) -> u64 {
        self.highest_sequence - self.first_sequence + 1
    }

    /// A.1, with a window that knows copies.
    fn place(&mut self, sequence_number: SequenceNumber) -> Arrival {
        let distance = sequence_number.distance_from(SequenceNumber(self.highest_sequence as u16));
        if distance > 0 && distance < DROPOUT_MAX {
            self.suspect_next = None;
            self.highest_sequence += u64::from(distance.unsigned_abs());
            self.seen = self.seen.checked_shl(distance.unsigned_abs()).unwrap_or(0) | 1;
            return Arrival::InOrder;
        }
        if distance <= 0 && distance > -MISORDER_MAX {
            let bit = 1 << distance.unsigned_abs();
            if self.seen & bit != 0 {
                return Arrival::Duplicate;
            }
            self.seen |= bit;
            // Packets that overtook the first one widen what is expected.
            let sequence = self.highest_sequence - u64::from(distance.unsigned_abs());
            self.first_sequence = self.first_sequence.min(sequence);
            return Arrival::Reordered;
        }
        if self.suspect_next != Some(sequence_number) {
            self.suspect_next = Some(sequence_number.next());
            return Arrival::Suspect;
        }
        // Two in a row: the source began its numbers anew.
        self.lost_earlier = self.lost();
        let sequence = 0x1_0000 + u64::from(sequence_number.0);
        self.first_sequence = sequence;
        self.highest_sequence = sequence;
        self.seen = 1;
        self.suspect_next = None;
        self.received_in_run = 0;
        self.expected_at_report = 0;
        self.received_at_report = 0;
        self.transit = None;
        Arrival::InOrder
    }

    /// A.8. Packets with the timestamp of their predecessor (updates of one RFC 4733 event) were not sent when the
    /// timestamp says, so they tell nothing about jitter.
    fn measure_jitter(&mut self, now: Instant, timestamp: RtpTimestamp) {
        let arrival = ticks(
            now.saturating_duration_since(self.epoch),
            self.clock_rate_hz,
        );
        let transit = Transit {
            ticks: arrival.wrapping_sub(timestamp.0),
            timestamp,
        };
        let Some(previous) = self.transit.replace(transit) else {
            return;
        };
        if previous.timestamp == timestamp {
            self.transit = Some(previous);
            return;
        }
        let difference = (transit.ticks.wrapping_sub(previous.ticks) as i32).unsigned_abs();
        if difference < ticks(TRANSIT_STEP_MAX, self.clock_rate_hz) {
            self.jitter_q4 = self.jitter_q4 + difference - ((self.jitter_q4 + 8) >> 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{NtpTime, PayloadType};
    use proptest::prelude::*;

    fn packet(sequence: u16, timestamp: u32) -> MediaPacket<'static> {
        MediaPacket {
            marker: false,
            payload_type: PayloadType(0),
            sequence_number: SequenceNumber(sequence),
            timestamp: RtpTimestamp(timestamp),
            ssrc: Ssrc(1),
            payload: &[0; 160],
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A stream of 20 ms packets with these numbers, each on time.
    fn received(numbers: &[u16]) -> ReceiveStatistics {
        let start = Instant::now();
        let first = numbers[0];
        let mut statistics = ReceiveStatistics::new(start, &packet(first, 0), 8000);
        for number in &numbers[1..] {
            let steps = number.wrapping_sub(first);
            let now = start + ms(20 * u64::from(steps));
            statistics.handle_packet(now, &packet(*number, 160 * u32::from(steps)), 8000);
        }
        statistics
    }

    #[test]
    fn loss_is_counted_over_the_wrap() {
        let mut statistics = received(&[65534, 65535, 1, 2]);
        assert_eq!(statistics.lost(), 1);
        assert_eq!(statistics.received(), 4);
        assert_eq!(statistics.bytes(), 640);
        let block = statistics.report_block(Instant::now());
        assert_eq!(block.extended_highest_sequence, 0x1_0002);
        assert_eq!(block.fraction_lost, 51, "one of five in 1/256");
        assert_eq!(block.cumulative_lost, 1);
        assert_eq!(statistics.report_block(Instant::now()).fraction_lost, 0);
    }

    #[test]
    fn late_packets_are_not_lost_and_copies_hide_nothing() {
        assert_eq!(received(&[1, 3, 2]).lost(), 0);
        let statistics = received(&[1, 1, 1, 4, 4]);
        assert_eq!(statistics.lost(), 2);
        assert_eq!(statistics.duplicates(), 3);
        assert_eq!(
            received(&[5, 4]).lost(),
            0,
            "the first packet was overtaken"
        );
    }

    #[test]
    fn a_stray_number_changes_nothing_and_a_restart_keeps_the_account() {
        let mut statistics = received(&[1, 2, 4]);
        let now = Instant::now();
        assert_eq!(
            statistics.handle_packet(now, &packet(30_000, 0), 8000),
            Arrival::Suspect
        );
        assert_eq!(
            statistics.handle_packet(now, &packet(5, 0), 8000),
            Arrival::InOrder
        );
        assert_eq!(statistics.lost(), 1);
        assert_eq!(
            statistics.handle_packet(now, &packet(40_000, 0), 8000),
            Arrival::Suspect
        );
        assert_eq!(
            statistics.handle_packet(now, &packet(40_001, 0), 8000),
            Arrival::InOrder
        );
        assert_eq!(
            statistics.handle_packet(now, &packet(40_003, 0), 8000),
            Arrival::InOrder
        );
        assert_eq!(statistics.lost(), 2);
    }

    #[test]
    fn jitter_follows_the_formula() {
        let start = Instant::now();
        let mut statistics = ReceiveStatistics::new(start, &packet(0, 0), 8000);
        // Every packet 10 ms early or late in turn: |D| is 20 ms or 160 ticks each time, which J converges to.
        for i in 1..400_u32 {
            let late = if i % 2 == 0 { 20 } else { 0 };
            let now = start + ms(u64::from(20 * i) + late);
            statistics.handle_packet(now, &packet(i as u16, 160 * i), 8000);
        }
        assert!(
            (statistics.jitter_ms() - 20.0).abs() < 0.2,
            "{}",
            statistics.jitter_ms()
        );
        let block = statistics.report_block(start);
        assert!((158..=161).contains(&block.jitter), "{}", block.jitter);
    }

    #[test]
    fn updates_of_one_event_are_no_jitter() {
        let start = Instant::now();
        let mut statistics = ReceiveStatistics::new(start, &packet(0, 0), 8000);
        for i in 1..20_u16 {
            statistics.handle_packet(start + ms(20 * u64::from(i)), &packet(i, 160), 8000);
        }
        assert!(statistics.jitter_ms() < 0.1, "{}", statistics.jitter_ms());
    }

    #[test]
    fn a_report_block_echoes_the_last_sender_report() {
        let mut statistics = received(&[1]);
        let now = Instant::now();
        let sender = SenderInfo {
            ssrc: Ssrc(1),
            ntp: NtpTime(0x1111_2222_3333_4444),
            rtp_timestamp: RtpTimestamp(0),
            packets: 0,
            octets: 0,
        };
        statistics.handle_sender_report(now, &sender);
        let block = statistics.report_block(now + ms(5250));
        assert_eq!(block.last_sender_report, CompactNtp(0x2222_3333));
        assert_eq!(
            block.delay_since_last_sender_report,
            CompactNtp(0x0005_4000)
        );
    }

    proptest! {
        #[test]
        fn any_order_with_copies_gives_the_same_account(
            first: u16, steps in proptest::collection::vec(0_u16..60, 1..100)
        ) {
            let numbers: Vec<u16> = steps.iter().map(|step| first.wrapping_add(*step)).collect();
            let statistics = received(&numbers);
            let mut distinct = steps.clone();
            distinct.sort_unstable();
            distinct.dedup();
            let span = u64::from(distinct[distinct.len() - 1] - distinct[0]) + 1;
            prop_assert_eq!(statistics.received(), distinct.len() as u64);
            prop_assert_eq!(statistics.duplicates(), (steps.len() - distinct.len()) as u64);
            prop_assert_eq!(statistics.lost(), span - distinct.len() as u64);
        }

        #[test]
        fn no_stream_is_too_strange(
            packets in proptest::collection::vec((any::<u16>(), any::<u32>(), 0_u64..100_000), 1..200), rate in 1_u32..=192_000
        ) {
            let mut now = Instant::now();
            let (sequence, timestamp, _) = packets[0];
            let mut statistics = ReceiveStatistics::new(now, &packet(sequence, timestamp), rate);
            for (sequence, timestamp, gap_ms) in packets {
                now += ms(gap_ms);
                statistics.handle_packet(now, &packet(sequence, timestamp), rate);
                prop_assert!(statistics.jitter_ms() >= 0.0);
                let _ = statistics.report_block(now);
                let _ = statistics.lost();
            }
        }
    }
}
