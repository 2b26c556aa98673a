//! The RTCP side of one leg (RFC 3550 section 6): when to report, what to say, what the far end said.
//!
//! Sans-I/O and the same for plain RTP and WebRTC legs. Two parties only, so the interval does not scale with members;
//! it is randomised as section 6.2 asks. No XR, no APP; transport-cc is
//! [`TransportFeedbackRecorder`](super::TransportFeedbackRecorder)'s.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{
    CNAME_LEN_MAX, LegStatistics, LossEstimate, MediaPacket, NtpTime, ReceiveStatistics,
    ReportBlock, RoundTripTime, RtcpError, RtcpPacket, RtcpWriter, RtpTimestamp, SendStatistics,
    SenderInfo, Ssrc, rtcp_packets,
};

/// Sources that one leg keeps accounts of; a ninth takes the place of the one heard longest ago.
pub const SOURCES_MAX: usize = 8;
/// Bytes that suffice for any report or goodbye of a session.
pub const RTCP_REPORT_LEN_MAX: usize = 28 + 24 * SOURCES_MAX + 12 + CNAME_LEN_MAX + 4 + 8;

/// The usual interval (RFC 3550 section 6.2).
pub const REPORT_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
const REPORT_INTERVAL_MIN: Duration = Duration::from_secs(1);
const FIRST_REPORT_AFTER: Duration = Duration::from_secs(1);

/// What a session is told once.
#[derive(Debug, Clone)]
pub struct RtcpSessionConfig {
    /// Our source.
    pub ssrc: Ssrc,
    /// Our canonical name, at most [`CNAME_LEN_MAX`] bytes; what is longer is cut.
    pub cname: String,
    /// The clock of the stream that we send, in Hz.
    pub clock_rate_hz: u32,
    /// Mean time between reports, at least 1 s. Each interval is 0.5 to 1.5 times as long.
    pub report_interval: Duration,
    /// Seeds the randomised intervals.
    pub random_seed: u64,
}

/// What one incoming compound brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtcpReceived {
    /// The source that sends to us said BYE.
    pub bye: bool,
    /// A report block told of what we send.
    pub reported: bool,
    /// Packets that could be read.
    pub packets: usize,
    /// The first packet that could not be read, if any.
    pub malformed: Option<RtcpError>,
}

/// One leg's RTCP session.
///
/// Tell it of every RTP packet received and sent and every RTCP datagram received; ask [`RtcpSession::poll_report`] at
/// [`RtcpSession::poll_timeout`]. Only the first packet of a source may allocate.
#[derive(Debug)]
pub struct RtcpSession {
    cname: String,
    ssrc: Ssrc,
    clock_rate_hz: u32,
    report_interval: Duration,
    random: u64,
    next_report_at: Instant,
    previous_report_at: Instant,
    sources: SmallVec<[ReceiveStatistics; 1]>,
    /// Of sources that gave up their place.
    retired: RetiredSources,
    /// Who reports to us, before or without RTP.
    remote_ssrc: Option<Ssrc>,
    /// Who sent RTP last.
    speaking: Option<Ssrc>,
    sent: SendStatistics,
    round_trip: RoundTripTime,
    /// Over all that we sent.
    remote_loss_fraction: f64,
    /// Of late.
    remote_loss: LossEstimate,
    remote_jitter_ticks: u32,
}

#[derive(Debug, Default)]
struct RetiredSources {
    received: u64,
    lost: u64,
    bytes: u64,
}

impl RtcpSession {
    /// A session that begins now; its first report is due 0.5 to 1.5 s later.
    pub fn new(config: RtcpSessionConfig, now: Instant) -> Self {
        let RtcpSessionConfig {
            ssrc,
            mut cname,
            clock_rate_hz,
            report_interval,
            random_seed,
        } = config;
        cname.truncate(cname.floor_char_boundary(CNAME_LEN_MAX));
        let mut session = Self {
            cname,
            ssrc,
            clock_rate_hz: clock_rate_hz.max(1),
            report_interval: report_interval.max(REPORT_INTERVAL_MIN),
            random: random_seed,
            next_report_at: now,
            previous_report_at: now,
            sources: SmallVec::new(),
            retired: RetiredSources::default(),
            remote_ssrc: None,
            speaking: None,
            sent: SendStatistics::new(ssrc, clock_rate_hz),
            round_trip: RoundTripTime::default(),
            remote_loss_fraction: 0.0,
            remote_loss: LossEstimate::default(),
            remote_jitter_ticks: 0,
        };
        session.next_report_at = now + session.randomised(FIRST_REPORT_AFTER);
        session
    }

    /// The stream that we send has another codec from now on.
    pub fn set_clock_rate(&mut self, clock_rate_hz: u32) {
        self.clock_rate_hz = clock_rate_hz.max(1);
        self.sent.set_clock_rate(clock_rate_hz);
    }

    /// Counts an RTP packet that the leg accepted; `clock_rate_hz` is that of its payload type.
    pub fn handle_rtp_received(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        clock_rate_hz: u32,
    ) {
        self.speaking = Some(packet.ssrc);
        if let Some(source) = self.source(packet.ssrc) {
            source.handle_packet(now, packet, clock_rate_hz);
            return;
        }
        let statistics = ReceiveStatistics::new(now, packet, clock_rate_hz);
        if self.sources.len() < SOURCES_MAX {
            self.sources.push(statistics);
        } else if let Some(oldest) = self
            .sources
            .iter_mut()
            .min_by_key(|source| source.last_heard())
        {
            self.retired.received += oldest.received();
            self.retired.lost += oldest.lost();
            self.retired.bytes += oldest.bytes();
            *oldest = statistics;
        }
    }

    /// Counts an RTP packet that we send.
    pub fn handle_rtp_sent(&mut self, now: Instant, timestamp: RtpTimestamp, payload_len: usize) {
        self.sent.handle_sent(now, timestamp, payload_len);
    }

    /// Reads one RTCP datagram, unprotected.
    ///
    /// # Errors
    /// The first fault, if not a single packet could be read. Faults after that are in [`RtcpReceived::malformed`].
    pub fn handle_rtcp(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<RtcpReceived, RtcpError> {
        let mut received = RtcpReceived::default();
        for packet in rtcp_packets(datagram) {
            let packet = match packet {
                Ok(packet) => packet,
                Err(error) => {
                    received.malformed.get_or_insert(error);
                    continue;
                }
            };
            received.packets += 1;
            match packet {
                RtcpPacket::SenderReport(report) => {
                    self.handle_sender_report(now, &report.sender);
                    for block in report.reports {
                        received.reported |= self.handle_report_block(now, &block);
                    }
                }
                RtcpPacket::ReceiverReport(report) => {
                    self.remote_ssrc = Some(report.ssrc);
                    for block in report.reports {
                        received.reported |= self.handle_report_block(now, &block);
                    }
                }
                RtcpPacket::Goodbye(goodbye) => {
                    let far_end = self.speaking.or(self.remote_ssrc);
                    let leaves = |source| far_end.is_none_or(|far_end| far_end == source);
                    received.bye |= goodbye.sources().any(leaves);
                }
                RtcpPacket::SourceDescription(_)
                | RtcpPacket::TransportFeedback(_)
                | RtcpPacket::Other { .. } => {}
            }
        }
        match received.malformed {
            Some(error) if received.packets == 0 => Err(error),
            _ => Ok(received),
        }
    }

    /// When the next report is due.
    pub fn poll_timeout(&self) -> Instant {
        self.next_report_at
    }

    /// Writes the report that is due as a compound (SR or RR, SDES) and returns its length in bytes. `None`: nothing
    /// is due, or `out` is shorter than [`RTCP_REPORT_LEN_MAX`].
    pub fn poll_report(&mut self, now: Instant, wall: NtpTime, out: &mut [u8]) -> Option<usize> {
        if now < self.next_report_at || out.len() < RTCP_REPORT_LEN_MAX {
            return None;
        }
        let mut writer = RtcpWriter::new(out);
        self.write_report(now, wall, &mut writer)?;
        self.next_report_at = now + self.randomised(self.report_interval);
        Some(writer.len())
    }

    /// Writes the last report with a BYE and returns its length in bytes; `None` when `out` is shorter than
    /// [`RTCP_REPORT_LEN_MAX`].
    pub fn write_goodbye(&mut self, now: Instant, wall: NtpTime, out: &mut [u8]) -> Option<usize> {
        let mut writer = RtcpWriter::new(out);
        self.write_report(now, wall, &mut writer)?;
        writer.goodbye(self.ssrc)?;
        Some(writer.len())
    }

    /// The leg's account so far, over all of the far end's sources. Jitter is that of the source that spoke last.
    pub fn summary(&self) -> LegStatistics {
        let sum = |of: fn(&ReceiveStatistics) -> u64| self.sources.iter().map(of).sum::<u64>();
        let speaking = self
            .sources
            .iter()
            .find(|source| Some(source.ssrc()) == self.speaking);
        LegStatistics {
            packets_sent: self.sent.packets(),
            packets_received: self.retired.received + sum(ReceiveStatistics::received),
            packets_lost: self.retired.lost + sum(ReceiveStatistics::lost),
            bytes_sent: self.sent.bytes(),
            bytes_received: self.retired.bytes + sum(ReceiveStatistics::bytes),
            jitter_ms: speaking.map_or(0.0, ReceiveStatistics::jitter_ms),
            remote_loss_fraction: self.remote_loss_fraction,
            remote_jitter_ms: f64::from(self.remote_jitter_ticks) * 1000.0
                / f64::from(self.clock_rate_hz),
            round_trip_time_ms: self.round_trip.smoothed_ms(),
        }
    }

    /// What the far end lost of late by its reports, 0..=1; over the whole call it is in [`RtcpSession::summary`].
    pub fn remote_loss(&self, now: Instant) -> f64 {
        self.remote_loss.fraction(now)
    }

    /// The source that sent RTP last.
    pub fn speaking(&self) -> Option<Ssrc> {
        self.speaking
    }

    fn source(&mut self, ssrc: Ssrc) -> Option<&mut ReceiveStatistics> {
        self.sources.iter_mut().find(|source| source.ssrc() == ssrc)
    }

    fn handle_sender_report(&mut self, now: Instant, sender: &SenderInfo) {
        self.remote_ssrc = Some(sender.ssrc);
        if let Some(source) = self.source(sender.ssrc) {
            source.handle_sender_report(now, sender);
        }
    }

    /// Is it about our source? Then it counts.
    fn handle_report_block(&mut self, now: Instant, block: &ReportBlock) -> bool {
        if block.ssrc != self.ssrc {
            return false;
        }
        self.round_trip.handle_report_block(now, block);
        self.remote_jitter_ticks = block.jitter;
        self.remote_loss
            .handle_report(now, f64::from(block.fraction_lost) / 256.0);
        if self.sent.packets() > 0 {
            // Packets still under way are in the divisor; a round trip of them is little beside a call.
            let lost = f64::from(block.cumulative_lost.max(0));
            self.remote_loss_fraction = (lost / self.sent.packets() as f64).min(1.0);
        }
        true
    }

    /// An SR if we sent since the report before last (RFC 3550 section 6.4), else an RR; then SDES.
    fn write_report(
        &mut self,
        now: Instant,
        wall: NtpTime,
        writer: &mut RtcpWriter<'_>,
    ) -> Option<()> {
        let since = self.previous_report_at;
        let heard = self
            .sources
            .iter_mut()
            .filter(|source| source.last_heard() >= since);
        let blocks: SmallVec<[ReportBlock; SOURCES_MAX]> =
            heard.map(|source| source.report_block(now)).collect();
        let sent_lately = self
            .sent
            .last_sent()
            .is_some_and(|sent_at| sent_at + 2 * self.report_interval >= now);
        match self.sent.sender_info(now, wall).filter(|_| sent_lately) {
            Some(sender) => {
                writer.sender_report(&sender, &blocks)?;
                self.round_trip.handle_sender_report_sent(now, wall);
            }
            None => writer.receiver_report(self.ssrc, &blocks)?,
        }
        self.previous_report_at = now;
        writer.source_description(self.ssrc, &self.cname)
    }

    /// 0.5 to 1.5 times `mean`. SplitMix64: spreads reports, keeps no secret.
    fn randomised(&mut self, mean: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let fraction = (mixed ^ (mixed >> 31)) >> 32;
        mean / 2
            + Duration::from_nanos(
                ((mean.as_nanos() as u64 as u128 * u128::from(fraction)) >> 32) as u64,
            )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::rtp::{PayloadType, SequenceNumber};

    const WALL: NtpTime = NtpTime(0x1111_2222_3333_4444);
    const OURS: Ssrc = Ssrc(1);
    const THEIRS: Ssrc = Ssrc(2);

    fn session(ssrc: Ssrc, now: Instant, random_seed: u64) -> RtcpSession {
        let config = RtcpSessionConfig {
            ssrc,
            cname: "gateway".to_owned(),
            clock_rate_hz: 8000,
            report_interval: REPORT_INTERVAL_DEFAULT,
            random_seed,
        };
        RtcpSession::new(config, now)
    }

    fn packet(ssrc: Ssrc, sequence: u16) -> MediaPacket<'static> {
        MediaPacket {
            marker: false,
            payload_type: PayloadType(0),
            sequence_number: SequenceNumber(sequence),
            timestamp: RtpTimestamp(160 * u32::from(sequence)),
            ssrc,
            payload: &[0; 160],
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn two_sessions_learn_round_trip_and_loss_of_each_other() {
        let start = Instant::now();
        let (mut near, mut far) = (session(OURS, start, 1), session(THEIRS, start, 2));
        let mut buffer = [0; RTCP_REPORT_LEN_MAX];
        let one_way = ms(30);
        // 60 s of audio from near to far, every tenth packet lost; reports cross whenever they are due.
        for i in 0..3000_u16 {
            let now = start + ms(20 * u64::from(i));
            near.handle_rtp_sent(now, RtpTimestamp(160 * u32::from(i)), 160);
            if i % 10 != 5 {
                far.handle_rtp_received(now + one_way, &packet(OURS, i), 8000);
            }
            let wall = NtpTime::from_unix(now.duration_since(start));
            if let Some(len) = near.poll_report(now, wall, &mut buffer) {
                far.handle_rtcp(now + one_way, &buffer[..len]).unwrap();
            }
            let now = now + one_way;
            let wall = NtpTime::from_unix(now.duration_since(start));
            if let Some(len) = far.poll_report(now, wall, &mut buffer) {
                near.handle_rtcp(now + one_way, &buffer[..len]).unwrap();
            }
        }
        let near = near.summary();
        let round_trip_ms = near.round_trip_time_ms.unwrap();
        assert!((round_trip_ms - 60.0).abs() < 1.0, "{round_trip_ms}");
        assert!(
            (near.remote_loss_fraction - 0.1).abs() < 0.01,
            "{}",
            near.remote_loss_fraction
        );
        assert!(near.remote_jitter_ms < 0.5);
        assert_eq!((near.packets_sent, near.bytes_sent), (3000, 480_000));
        let far = far.summary();
        assert_eq!((far.packets_received, far.packets_lost), (2700, 300));
        assert_eq!(
            far.round_trip_time_ms, None,
            "it sent nothing that could be echoed"
        );
    }

    #[test]
    fn reports_are_spread_around_the_interval() {
        let start = Instant::now();
        let mut buffer = [0; RTCP_REPORT_LEN_MAX];
        let mut session = session(OURS, start, 7);
        let first = session.poll_timeout() - start;
        assert!((ms(500)..=ms(1500)).contains(&first), "{first:?}");
        let mut total = Duration::ZERO;
        for _ in 0..100 {
            let due = session.poll_timeout();
            assert_eq!(session.poll_report(due - ms(1), WALL, &mut buffer), None);
            assert!(session.poll_report(due, WALL, &mut buffer).is_some());
            let interval = session.poll_timeout() - due;
            assert!((ms(2500)..=ms(7500)).contains(&interval), "{interval:?}");
            total += interval;
        }
        assert!((ms(4500)..ms(5500)).contains(&(total / 100)), "{total:?}");
    }

    #[test]
    fn who_sends_gives_a_sender_report_and_who_is_silent_a_receiver_report() {
        let start = Instant::now();
        let mut session = session(OURS, start, 7);
        let mut buffer = [0; RTCP_REPORT_LEN_MAX];
        let mut first_type = |session: &mut RtcpSession, now| {
            let len = session.poll_report(now, WALL, &mut buffer).unwrap();
            let names = rtcp_packets(&buffer[..len])
                .flatten()
                .filter_map(|packet| match packet {
                    RtcpPacket::SourceDescription(description) => {
                        description.canonical_names().next()
                    }
                    _ => None,
                });
            assert_eq!(names.collect::<Vec<_>>(), [(OURS, &b"gateway"[..])]);
            buffer[1]
        };
        let mut now = start + ms(2000);
        assert_eq!(first_type(&mut session, now), 201);
        session.handle_rtp_sent(now, RtpTimestamp(0), 160);
        now += ms(8000);
        assert_eq!(first_type(&mut session, now), 200);
        now += ms(8000);
        assert_eq!(
            first_type(&mut session, now),
            201,
            "nothing was sent for two intervals"
        );
    }

    #[test]
    fn a_goodbye_of_the_far_end_is_seen_and_others_are_not() {
        let start = Instant::now();
        let mut far = session(THEIRS, start, 1);
        let mut near = session(OURS, start, 2);
        let mut buffer = [0; RTCP_REPORT_LEN_MAX];
        near.handle_rtp_received(start, &packet(Ssrc(99), 1), 8000);
        let len = far.write_goodbye(start, WALL, &mut buffer).unwrap();
        assert!(
            !near.handle_rtcp(start, &buffer[..len]).unwrap().bye,
            "another source speaks"
        );
        near.handle_rtp_received(start, &packet(THEIRS, 1), 8000);
        assert!(near.handle_rtcp(start, &buffer[..len]).unwrap().bye);
    }

    #[test]
    fn a_goodbye_of_a_silent_far_end_is_seen() {
        let start = Instant::now();
        let mut far = session(THEIRS, start, 1);
        let mut near = session(OURS, start, 2);
        let mut buffer = [0; RTCP_REPORT_LEN_MAX];
        let len = far.write_goodbye(start, WALL, &mut buffer).unwrap();
        assert!(near.handle_rtcp(start, &buffer[..len]).unwrap().bye);
    }

    #[test]
    fn sources_are_bounded_and_none_is_forgotten_in_the_sums() {
        let start = Instant::now();
        let mut session = session(OURS, start, 1);
        for source in 0..100 {
            let now = start + ms(u64::from(source));
            session.handle_rtp_received(now, &packet(Ssrc(source), 1), 8000);
            session.handle_rtp_received(now, &packet(Ssrc(source), 3), 8000);
        }
        let summary = session.summary();
        assert_eq!((summary.packets_received, summary.packets_lost), (200, 100));
        assert_eq!(session.sources.len(), SOURCES_MAX);
        let mut buffer = [0; RTCP_REPORT_LEN_MAX];
        let now = start + ms(2000);
        session.handle_rtp_sent(now, RtpTimestamp(0), 160);
        assert!(
            session.poll_report(now, WALL, &mut buffer).is_some(),
            "the longest report fits"
        );
    }

    #[test]
    fn what_can_be_read_counts() {
        let start = Instant::now();
        let mut session = session(OURS, start, 1);
        assert_eq!(
            session.handle_rtcp(start, &[0x40, 200, 0, 0]),
            Err(RtcpError::Version(1))
        );
        let received = session
            .handle_rtcp(start, &[0x80, 204, 0, 0, 0x80, 200])
            .unwrap();
        assert_eq!(received.packets, 1);
        assert_eq!(
            received.malformed,
            Some(RtcpError::Truncated { needed: 4, len: 2 })
        );
    }
}
