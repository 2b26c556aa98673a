//! What a leg tells of itself ([`LegStatistics`]), the account of what it sent, and the round trip (RFC 3550
//! section 6.4.1). What it received is [`ReceiveStatistics`](super::ReceiveStatistics)' subject.

use std::time::{Duration, Instant};

use super::{CompactNtp, NtpTime, ReportBlock, RtpTimestamp, SenderInfo, Ssrc};

/// Sender reports of ours that a report block may still refer to.
const REPORTS_REMEMBERED: usize = 8;

/// The account of one leg, as call records, events and MOS use it. Fractions are 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct LegStatistics {
    /// RTP packets that we sent.
    pub packets_sent: u64,
    /// RTP packets that we received, copies left out.
    pub packets_received: u64,
    /// RTP packets of the far end that never came, by their sequence numbers.
    pub packets_lost: u64,
    /// Payload bytes that we sent.
    pub bytes_sent: u64,
    /// Payload bytes that we received.
    pub bytes_received: u64,
    /// Interarrival jitter of what we receive, in ms.
    pub jitter_ms: f64,
    /// Of all packets that we sent, what the far end says it lost.
    pub remote_loss_fraction: f64,
    /// Interarrival jitter of what the far end receives, in ms, by its last report.
    pub remote_jitter_ms: f64,
    /// Smoothed round trip in ms; `None` until a report of the far end told it.
    pub round_trip_time_ms: Option<f64>,
}

/// The account of the stream that we send.
#[derive(Debug, Clone)]
pub struct SendStatistics {
    ssrc: Ssrc,
    clock_rate_hz: u32,
    packets: u64,
    bytes: u64,
    last: Option<(RtpTimestamp, Instant)>,
}

impl SendStatistics {
    /// Nothing sent yet.
    pub fn new(ssrc: Ssrc, clock_rate_hz: u32) -> Self {
        Self {
            ssrc,
            clock_rate_hz,
            packets: 0,
            bytes: 0,
            last: None,
        }
    }

    /// The clock of what is sent from now on. No report tells a time before its first packet.
    pub fn set_clock_rate(&mut self, clock_rate_hz: u32) {
        if self.clock_rate_hz != clock_rate_hz {
            self.clock_rate_hz = clock_rate_hz;
            self.last = None;
        }
    }

    /// Counts one packet sent now.
    pub fn handle_sent(&mut self, now: Instant, timestamp: RtpTimestamp, payload_len: usize) {
        self.packets += 1;
        self.bytes += payload_len as u64;
        self.last = Some((timestamp, now));
    }

    /// What an SR says now; `None` before the first packet. The RTP timestamp is the last one moved on to `now`.
    pub fn sender_info(&self, now: Instant, wall: NtpTime) -> Option<SenderInfo> {
        let (timestamp, sent_at) = self.last?;
        let since = ticks(now.saturating_duration_since(sent_at), self.clock_rate_hz);
        Some(SenderInfo {
            ssrc: self.ssrc,
            ntp: wall,
            rtp_timestamp: timestamp.wrapping_add(since),
            packets: self.packets as u32,
            octets: self.bytes as u32,
        })
    }

    /// Packets sent.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload bytes sent.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the last packet was sent.
    pub fn last_sent(&self) -> Option<Instant> {
        self.last.map(|(_, sent_at)| sent_at)
    }
}

/// The round trip, from SRs that we sent and report blocks that echo them. Measured on the monotonic clock, so a wall
/// clock that is set during a call does no harm.
#[derive(Debug, Clone, Default)]
pub struct RoundTripTime {
    sent: [Option<(CompactNtp, Instant)>; REPORTS_REMEMBERED],
    next: usize,
    smoothed_ms: Option<f64>,
}

impl RoundTripTime {
    /// Notes an SR that leaves now.
    pub fn handle_sender_report_sent(&mut self, now: Instant, ntp: NtpTime) {
        self.sent[self.next % REPORTS_REMEMBERED] = Some((ntp.compact(), now));
        self.next = (self.next + 1) % REPORTS_REMEMBERED;
    }

    /// Reads what the far end says about our stream. Blocks that echo no SR of ours, or an impossible delay, tell
    /// nothing.
    pub fn handle_report_block(&mut self, now: Instant, block: &ReportBlock) {
        let echoed = |sent: &(CompactNtp, Instant)| sent.0 == block.last_sender_report;
        let Some((_, sent_at)) = self.sent.iter().flatten().copied().find(echoed) else {
            return;
        };
        let held = block.delay_since_last_sender_report.as_duration();
        let Some(round_trip) = now.saturating_duration_since(sent_at).checked_sub(held) else {
            return;
        };
        let sample_ms = round_trip.as_secs_f64() * 1000.0;
        self.smoothed_ms = Some(match self.smoothed_ms {
            Some(smoothed) => smoothed + (sample_ms - smoothed) / 8.0,
            None => sample_ms,
        });
    }

    /// Smoothed over about eight reports, in ms.
    pub fn smoothed_ms(&self) -> Option<f64> {
        self.smoothed_ms
    }
}

/// A duration in units of a media clock, modulo 2^32.
pub(super) fn ticks(duration: Duration, clock_rate_hz: u32) -> u32 {
    let rate = u64::from(clock_rate_hz);
    let whole = duration.as_secs().wrapping_mul(rate);
    let fraction = u64::from(duration.subsec_nanos()) * rate / 1_000_000_000;
    whole.wrapping_add(fraction) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_sender_report_moves_the_timestamp_on() {
        let start = Instant::now();
        let mut statistics = SendStatistics::new(Ssrc(9), 8000);
        assert_eq!(statistics.sender_info(start, NtpTime(0)), None);
        statistics.handle_sent(start, RtpTimestamp(u32::MAX), 160);
        let info = statistics.sender_info(start + ms(1000), NtpTime(5));
        let info = info.into_iter().next();
        assert_eq!(
            info.map(|info| info.rtp_timestamp),
            Some(RtpTimestamp(7999))
        );
        assert_eq!(info.map(|info| (info.packets, info.octets)), Some((1, 160)));
    }

    #[test]
    fn the_round_trip_leaves_out_what_the_far_end_waited() {
        let start = Instant::now();
        let mut round_trip = RoundTripTime::default();
        round_trip.handle_sender_report_sent(start, NtpTime(0x1_0000_0000));
        let block = ReportBlock {
            last_sender_report: CompactNtp(0x1_0000),
            delay_since_last_sender_report: CompactNtp::from_duration(ms(500)),
            ..ReportBlock::default()
        };
        round_trip.handle_report_block(start + ms(400), &block);
        assert_eq!(
            round_trip.smoothed_ms(),
            None,
            "it can't have waited for longer than we did"
        );
        round_trip.handle_report_block(start + ms(580), &block);
        assert!(
            round_trip
                .smoothed_ms()
                .is_some_and(|rtt_ms| (rtt_ms - 80.0).abs() < 0.1)
        );
        let stranger = ReportBlock::default();
        round_trip.handle_report_block(start + ms(9000), &stranger);
        assert!(
            round_trip
                .smoothed_ms()
                .is_some_and(|rtt_ms| (rtt_ms - 80.0).abs() < 0.1)
        );
    }
}
