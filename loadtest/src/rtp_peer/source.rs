//! One call at the far end: what it sends, what it heard, and its RTCP accounts, kept apart from those of the gateway's own
//! code so that both have to be right.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use server::rtp::{
    CompactNtp, NtpTime, PayloadType, ReportBlock, RtcpPacket, RtcpWriter, RtpHeader, RtpPacket,
    RtpTimestamp, SenderInfo, SequenceNumber, Ssrc, rtcp_packets,
};

use super::RtpPeerConfig;
use crate::media::{MediaError, Outgoing, OutgoingFormat, PACKET_MS, ReceivedPacket, Recorder};
use crate::random_u16;

/// The most packets and reports of one kind that are kept.
const KEPT_MAX: usize = 100_000;
/// An SR with one block, an SDES and a BYE fit well.
const RTCP_BYTES_MAX: usize = 256;
/// The longest RTP packet: 20 ms of L16 or Opus.
const RTP_BYTES_MAX: usize = 1_500;

/// What came by RTCP, and where.
#[derive(Debug, Clone, Default)]
pub struct RtcpSeen {
    /// Sender reports.
    pub sender_reports: Vec<(Instant, SenderInfo)>,
    /// Report blocks about our stream, from sender and receiver reports.
    pub report_blocks: Vec<(Instant, ReportBlock)>,
    /// CNAMEs, each once.
    pub canonical_names: Vec<String>,
    /// BYE packets.
    pub goodbyes: usize,
    /// Packets that can't be parsed.
    pub malformed: usize,
    /// The address that the last compound came from.
    pub remote: Option<SocketAddr>,
}

pub(super) struct Source {
    pub(super) remote: SocketAddr,
    pub(super) recorder: Recorder,
    pub(super) telephone_events: Vec<ReceivedPacket>,
    pub(super) rtcp: RtcpSeen,
    pub(super) spoken_at: Option<Instant>,
    pub(super) sending: bool,
    pub(super) outgoing: Outgoing,
    pub(super) next_due: Instant,
    next_report: Instant,
    lose_every: Option<u32>,
    ssrc: Ssrc,
    sequence: SequenceNumber,
    packets_sent: u32,
    octets_sent: u32,
    last_sent: Option<(Instant, u32)>,
    incoming: Option<Incoming>,
}

/// The account of what the source sends (RFC 3550 appendix A).
struct Incoming {
    ssrc: u32,
    base: u16,
    cycles: u32,
    highest: u16,
    received: u32,
    expected_before: u32,
    received_before: u32,
    jitter: f64,
    last_transit: f64,
    began: Instant,
    last_sender_report: Option<(CompactNtp, Instant)>,
}

impl Source {
    pub(super) fn new(
        remote: SocketAddr,
        config: &RtpPeerConfig,
        now: Instant,
    ) -> Result<Self, MediaError> {
        let mut outgoing = Outgoing::new(config.format, u32::from(random_u16()))?;
        if let Some((speech, playback)) = &config.speech {
            outgoing.speak(speech, *playback);
        }
        Ok(Self {
            remote,
            recorder: Recorder::new(now),
            telephone_events: Vec::new(),
            rtcp: RtcpSeen::default(),
            spoken_at: None,
            sending: true,
            outgoing,
            next_due: now + Duration::from_millis(u64::from(PACKET_MS)),
            next_report: now + config.report_interval,
            lose_every: config.lose_every,
            ssrc: Ssrc(u32::from(random_u16()) << 16 | u32::from(random_u16())),
            sequence: SequenceNumber(random_u16()),
            packets_sent: 0,
            octets_sent: 0,
            last_sent: None,
            incoming: None,
        })
    }

    /// From now on it is sent to in another format; what is being said goes on.
    pub(super) fn send_in(&mut self, format: OutgoingFormat) {
        self.outgoing.renumber(format);
    }

    /// Keeps an RTP packet by its kind; unknown payload types are kept with the audio and fail the decoder.
    pub(super) fn handle_rtp(&mut self, at: Instant, datagram: &[u8], config: &RtpPeerConfig) {
        let Ok(packet) = RtpPacket::parse(datagram) else {
            return;
        };
        let media = packet.media();
        let received = ReceivedPacket {
            arrival: at,
            ssrc: media.ssrc.0,
            sequence_number: media.sequence_number.0,
            timestamp: media.timestamp.0,
            payload_type: media.payload_type.0,
            marker: media.marker,
            payload: media.payload.to_vec(),
        };
        self.account(at, &received, config.format.codec.clock_rate_hz());
        let is_event = config
            .format
            .telephone_event
            .is_some_and(|(payload_type, _)| payload_type == received.payload_type);
        if !is_event {
            self.recorder.handle_packet(received);
        } else if self.telephone_events.len() < KEPT_MAX {
            self.telephone_events.push(received);
        }
    }

    fn account(&mut self, at: Instant, packet: &ReceivedPacket, clock_rate_hz: u32) {
        let incoming = match &mut self.incoming {
            Some(incoming) if incoming.ssrc == packet.ssrc => incoming,
            other => other.insert(Incoming {
                ssrc: packet.ssrc,
                base: packet.sequence_number,
                cycles: 0,
                highest: packet.sequence_number,
                received: 0,
                expected_before: 0,
                received_before: 0,
                jitter: 0.0,
                last_transit: f64::NAN,
                began: at,
                last_sender_report: None,
            }),
        };
        incoming.received += 1;
        if packet.sequence_number.wrapping_sub(incoming.highest) < 0x8000 {
            if packet.sequence_number < incoming.highest {
                incoming.cycles += 1 << 16;
            }
            incoming.highest = packet.sequence_number;
        }
        let arrival = at.duration_since(incoming.began).as_secs_f64() * f64::from(clock_rate_hz);
        let transit = arrival - f64::from(packet.timestamp);
        let difference = (transit - incoming.last_transit).abs();
        // NaN before the second packet.
        if difference.is_finite() {
            incoming.jitter += (difference - incoming.jitter) / 16.0;
        }
        incoming.last_transit = transit;
    }

    /// Reads one compound.
    pub(super) fn handle_rtcp(&mut self, at: Instant, remote: SocketAddr, datagram: &[u8]) {
        self.rtcp.remote = Some(remote);
        for packet in rtcp_packets(datagram) {
            match packet {
                Ok(RtcpPacket::SenderReport(report)) => {
                    if let Some(incoming) = &mut self.incoming {
                        incoming.last_sender_report = Some((report.sender.ntp.compact(), at));
                    }
                    keep(&mut self.rtcp.sender_reports, (at, report.sender));
                    for block in report.reports {
                        keep(&mut self.rtcp.report_blocks, (at, block));
                    }
                }
                Ok(RtcpPacket::ReceiverReport(report)) => {
                    for block in report.reports {
                        keep(&mut self.rtcp.report_blocks, (at, block));
                    }
                }
                Ok(RtcpPacket::SourceDescription(description)) => {
                    for (_, name) in description.canonical_names() {
                        let name = String::from_utf8_lossy(name).into_owned();
                        if !self.rtcp.canonical_names.contains(&name) {
                            keep(&mut self.rtcp.canonical_names, name);
                        }
                    }
                }
                Ok(RtcpPacket::Goodbye(_)) => self.rtcp.goodbyes += 1,
                Ok(_) => {}
                Err(_) => self.rtcp.malformed += 1,
            }
        }
    }

    /// The RTP datagram that is due.
    pub(super) fn next_datagram(&mut self, now: Instant) -> Result<Option<Vec<u8>>, MediaError> {
        let due = self.next_due;
        self.next_due = due + Duration::from_millis(u64::from(PACKET_MS));
        let packet = self.outgoing.next_packet(due)?;
        self.spoken_at = self.outgoing.spoken_at();
        if !self.sending {
            return Ok(None);
        }
        let header = RtpHeader {
            marker: packet.marker,
            payload_type: PayloadType(packet.payload_type),
            sequence_number: self.sequence,
            timestamp: RtpTimestamp(packet.timestamp),
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.next();
        self.packets_sent = self.packets_sent.wrapping_add(1);
        self.octets_sent = self.octets_sent.wrapping_add(packet.payload.len() as u32);
        self.last_sent = Some((now, packet.timestamp));
        if self
            .lose_every
            .is_some_and(|every| self.packets_sent.is_multiple_of(every))
        {
            return Ok(None);
        }
        let mut datagram = vec![0; RTP_BYTES_MAX];
        let len = header
            .write_packet(&packet.payload, &mut datagram)
            .unwrap_or(0);
        datagram.truncate(len);
        Ok(Some(datagram))
    }

    /// The RTCP report, when one is due.
    pub(super) fn report(
        &mut self,
        now: Instant,
        interval: Duration,
        clock_rate_hz: u32,
    ) -> Option<Vec<u8>> {
        if !self.sending || now < self.next_report {
            return None;
        }
        self.next_report = now + interval;
        self.compound(now, clock_rate_hz, false)
    }

    /// A last report with a BYE.
    pub(super) fn goodbye(&mut self, now: Instant, clock_rate_hz: u32) -> Option<Vec<u8>> {
        self.compound(now, clock_rate_hz, true)
    }

    fn compound(&mut self, now: Instant, clock_rate_hz: u32, goodbye: bool) -> Option<Vec<u8>> {
        let block: Vec<ReportBlock> = self
            .incoming
            .as_mut()
            .map(|incoming| incoming.report_block(now))
            .into_iter()
            .collect();
        let mut datagram = vec![0; RTCP_BYTES_MAX];
        let mut writer = RtcpWriter::new(&mut datagram);
        match self.last_sent {
            Some((sent_at, timestamp)) => {
                let since_s = now.saturating_duration_since(sent_at).as_secs_f64();
                let wall = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                let sender = SenderInfo {
                    ssrc: self.ssrc,
                    ntp: NtpTime::from_unix(wall),
                    rtp_timestamp: RtpTimestamp(timestamp)
                        .wrapping_add((since_s * f64::from(clock_rate_hz)) as u32),
                    packets: self.packets_sent,
                    octets: self.octets_sent,
                };
                writer.sender_report(&sender, &block)?;
            }
            None => writer.receiver_report(self.ssrc, &block)?,
        }
        writer.source_description(self.ssrc, "far-end@loadtest")?;
        if goodbye {
            writer.goodbye(self.ssrc)?;
        }
        let len = writer.len();
        datagram.truncate(len);
        Some(datagram)
    }
}

impl Incoming {
    fn report_block(&mut self, now: Instant) -> ReportBlock {
        let highest = self.cycles + u32::from(self.highest);
        let expected = highest.wrapping_sub(u32::from(self.base)).wrapping_add(1);
        let lost = i64::from(expected) - i64::from(self.received);
        let expected_now = expected.wrapping_sub(self.expected_before);
        let received_now = self.received.wrapping_sub(self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction_lost = (u64::from(lost_now) * 256)
            .checked_div(u64::from(expected_now))
            .unwrap_or(0);
        let (last, delay) = match self.last_sender_report {
            Some((last, at)) => (
                last,
                CompactNtp::from_duration(now.saturating_duration_since(at)),
            ),
            None => (CompactNtp(0), CompactNtp(0)),
        };
        ReportBlock {
            ssrc: Ssrc(self.ssrc),
            fraction_lost: fraction_lost.min(255) as u8,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            extended_highest_sequence: highest,
            jitter: self.jitter as u32,
            last_sender_report: last,
            delay_since_last_sender_report: delay,
        }
    }
}

fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() < KEPT_MAX {
        list.push(item);
    }
}
