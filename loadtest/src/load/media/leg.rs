//! One leg inside its media thread: sends the frame that is due, reads what came, keeps the accounts.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use server::rtp::{
    NtpTime, PayloadType, RtcpPacket, RtcpWriter, RtpHeader, RtpPacket, RtpTimestamp, SenderInfo,
    SequenceNumber, Ssrc, is_rtcp, rtcp_packets,
};
use tokio::sync::watch;

use super::consent::{Consent, is_binding_success, is_stun, write_check};
use super::frame_clock::FrameClock;
use super::hearing::Hearing;
use super::histogram::DelayHistogram;
use super::protection::{Protection, Transform};
use super::speech::EncodedSpeech;
use super::stream_leg::StreamEnd;
use super::sys;
use super::window::{MediaWindow, Now};
use crate::load::report::BothWays;
use crate::media::ReceivedPacket;
use crate::random_u64;

/// The longest datagram that is sent or read.
pub(super) const DATAGRAM_BYTES_MAX: usize = 1_500;
/// Datagrams that one leg reads in a turn; the rest waits for the next.
const DATAGRAMS_PER_TURN_MAX: usize = 16;
/// A packet that waited longer was not the only one.
const TURN_NS: u64 = 20_000_000;
/// Every so many turns the socket is read until it is empty.
const TURNS_TO_EMPTY: u64 = 16;
/// A report each second, a consent check each 5 s.
const FRAMES_PER_REPORT: u64 = 50;
const FRAMES_PER_CHECK: u64 = 250;

/// Which way a leg sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It is the vendor's side.
    AToB,
    /// It is the trunk's side.
    BToA,
}

impl Direction {
    /// The other way.
    pub fn reverse(self) -> Self {
        match self {
            Self::AToB => Self::BToA,
            Self::BToA => Self::AToB,
        }
    }

    pub(super) fn of<T>(self, both: &mut BothWays<T>) -> &mut T {
        match self {
            Self::AToB => &mut both.a_to_b,
            Self::BToA => &mut both.b_to_a,
        }
    }
}

/// What a leg is to do.
pub struct LegPlan {
    /// Not connected; it is closed with the leg.
    pub socket: UdpSocket,
    /// Where the packets go to.
    pub remote: SocketAddr,
    /// How they are protected.
    pub protection: Protection,
    /// ICE consent checks, if the far end wants them.
    pub consent: Option<Consent>,
    /// Which way it sends.
    pub direction: Direction,
    /// What it says, over and over. What it hears is expected in the same codec.
    pub frames: Arc<EncodedSpeech>,
    /// Both ways.
    pub payload_type: u8,
    /// Its grid of 20 ms begins so many times 500 us later; taken modulo 40.
    pub phase: u8,
    /// Where it notes when it sent which frame.
    pub clock: Arc<FrameClock>,
    /// Where the other leg of the call notes it.
    pub heard_clock: Arc<FrameClock>,
    /// Packets are kept so long from the first one on; later ones are only counted.
    pub record: Duration,
    /// A report each second, on the same port.
    pub rtcp: bool,
}

/// What a leg sent and heard.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LegRecord {
    /// RTP packets sent.
    pub sent: u64,
    /// Frames that the socket or the protection refused to send.
    pub send_failures: u64,
    /// When frame 0 was sent.
    pub first_sent_at: Option<Instant>,
    /// When it was due: the frames after it are due 20 ms after each other.
    pub first_due_at: Option<Instant>,
    /// The frame of its speech that was said first: what stands below as frame 0.
    pub first_frame: u64,
    /// The RTP timestamp of frame 0.
    pub first_timestamp: u32,
    /// RTP packets received, without duplicates.
    pub received: u64,
    /// When the kernel received the first of them.
    pub first_received_at: Option<Instant>,
    /// Sequence numbers between the first and the last received that never came.
    pub lost: i64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Sources, and restarts of a source.
    pub streams: u64,
    /// Packets whose protection was not the peer's.
    pub undecryptable: u64,
    /// RTP packets of another payload type.
    pub unknown_payload_type: u64,
    /// Datagrams that are neither RTP, RTCP nor STUN, or can't be parsed.
    pub other_datagrams: u64,
    /// Interarrival jitter at the end (RFC 3550 section 6.4.1), in ms.
    pub jitter_ms: f64,
    /// RTCP compounds received.
    pub rtcp_received: u64,
    /// Consent checks sent.
    pub consent_checks: u64,
    /// Consent checks answered.
    pub consent_answers: u64,
    /// Of the packets received.
    pub delays: DelayHistogram,
    /// The packets of the recorded time, in the order of arrival.
    pub packets: Vec<ReceivedPacket>,
    /// Packets of the recorded time that were too many to be kept.
    pub unrecorded: u64,
    /// Of a stream: messages with audio of another length than 20 ms.
    pub odd_sized: u64,
    /// Of a stream: messages other than audio.
    pub other_messages: u64,
    /// Of a stream: how it ended; none: our close was not answered.
    pub end: Option<StreamEnd>,
    /// Of a stream: the first message that its dialect does not have, and why.
    pub wrong: Option<String>,
}

pub(super) struct LegState {
    pub(super) id: u64,
    pub(super) phase: usize,
    plan: LegPlan,
    transform: Transform,
    ssrc: Ssrc,
    sequence: SequenceNumber,
    timestamp: RtpTimestamp,
    frame: u64,
    octets: u32,
    turns: u64,
    hearing: Hearing,
    record: LegRecord,
}

impl LegState {
    pub(super) fn new(
        id: u64,
        plan: LegPlan,
        first_packet: watch::Sender<Option<Instant>>,
    ) -> Result<Self, super::OpenError> {
        plan.socket.set_nonblocking(true)?;
        sys::stamp_arrivals(&plan.socket)?;
        let transform = Transform::new(&plan.protection).map_err(super::OpenError::Protection)?;
        let (identity, begin) = (random_u64(), random_u64());
        let timestamp = begin as u32;
        Ok(Self {
            id,
            phase: usize::from(plan.phase) % super::PHASES,
            transform,
            ssrc: Ssrc(identity as u32),
            // In the lower half, so that a first loss can't hide a roll-over from SRTP (RFC 3711 section 3.3.1).
            sequence: SequenceNumber((identity >> 48) as u16 & 0x7fff),
            timestamp: RtpTimestamp(timestamp),
            frame: 0,
            octets: 0,
            turns: 0,
            hearing: Hearing::new(
                plan.direction.reverse(),
                plan.frames.codec(),
                Arc::clone(&plan.heard_clock),
                plan.record,
                first_packet,
            ),
            record: LegRecord {
                first_timestamp: timestamp,
                first_frame: plan.clock.first_frame(),
                ..LegRecord::default()
            },
            plan,
        })
    }

    /// Sends the next frame, which is due at `due_at`, and what is due besides. Returns when, by the wall clock.
    pub(super) fn send(
        &mut self,
        window: &mut MediaWindow,
        now: &Now,
        due_at: Instant,
        buffer: &mut [u8],
    ) -> u64 {
        let payload = self
            .plan
            .frames
            .payload(self.plan.clock.first_frame() + self.frame);
        let header = RtpHeader {
            marker: self.frame == 0,
            payload_type: PayloadType(self.plan.payload_type),
            sequence_number: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        let len = header.write_packet(payload, buffer).unwrap_or(0);
        let datagram = self
            .transform
            .protect_rtp(buffer.get(..len).unwrap_or_default());
        let at_ns = sys::realtime_ns();
        self.plan.clock.note(at_ns);
        let sent = datagram.is_some_and(|datagram| {
            self.plan
                .socket
                .send_to(&datagram, self.plan.remote)
                .is_ok()
        });
        if sent {
            self.sequence = self.sequence.next();
            self.record.sent += 1;
            self.octets = self.octets.wrapping_add(payload.len() as u32);
            *self.plan.direction.of(&mut window.sent) += 1;
        } else {
            // No sequence number: a gap would be a loss of the gateway's.
            self.plan.clock.note_not_sent();
            self.record.send_failures += 1;
        }
        if self.frame == 0 {
            self.record.first_sent_at = now.instant_of(at_ns);
            self.record.first_due_at = Some(due_at);
        }
        self.timestamp = self.timestamp.wrapping_add(self.frame_ticks());
        self.frame += 1;
        self.send_besides(at_ns, buffer);
        at_ns
    }

    fn send_besides(&mut self, at_ns: u64, buffer: &mut [u8]) {
        if self.plan.rtcp && self.frame.is_multiple_of(FRAMES_PER_REPORT) {
            self.send_report(at_ns, buffer);
        }
        if let Some(consent) = &self.plan.consent
            && self.frame.is_multiple_of(FRAMES_PER_CHECK)
            && let Some(len) = write_check(consent, buffer)
        {
            let check = buffer.get(..len).unwrap_or_default();
            let sent = self.plan.socket.send_to(check, self.plan.remote).is_ok();
            self.record.consent_checks += u64::from(sent);
        }
    }

    /// Follows a frame at once, so its timestamp is now.
    fn send_report(&mut self, at_ns: u64, buffer: &mut [u8]) {
        let block = self.hearing.reception.report_block(at_ns);
        let sender = SenderInfo {
            ssrc: self.ssrc,
            ntp: NtpTime::from_unix(Duration::from_nanos(at_ns)),
            rtp_timestamp: RtpTimestamp(self.timestamp.0.wrapping_sub(self.frame_ticks())),
            packets: self.record.sent as u32,
            octets: self.octets,
        };
        let mut writer = RtcpWriter::new(buffer);
        if writer.sender_report(&sender, block.as_slice()).is_none()
            || writer
                .source_description(self.ssrc, "load@loadtest")
                .is_none()
        {
            return;
        }
        let len = writer.len();
        let compound = buffer.get(..len).unwrap_or_default();
        if let Some(datagram) = self.transform.protect_rtcp(compound) {
            // A lost report is replaced by the next one.
            let _ = self.plan.socket.send_to(&datagram, self.plan.remote);
        }
    }

    /// Reads what came since the turn before. One packet is expected: after a fresh one the socket is not asked
    /// again, which saves half of the calls; the stamps tell when there was more.
    pub(super) fn receive(&mut self, window: &mut MediaWindow, now: &Now, buffer: &mut [u8]) {
        self.turns += 1;
        let empty_it = self.turns.is_multiple_of(TURNS_TO_EMPTY);
        for _ in 0..DATAGRAMS_PER_TURN_MAX {
            let Some((len, arrival_ns)) = sys::receive(&self.plan.socket, buffer) else {
                return;
            };
            let datagram = buffer.get(..len).unwrap_or_default();
            self.handle(datagram, arrival_ns, window, now);
            let media = matches!(datagram, [128..=191, ..]) && !is_rtcp(datagram);
            if media && !empty_it && now.realtime_ns.saturating_sub(arrival_ns) <= TURN_NS {
                return;
            }
        }
    }

    /// Reads the rest, closes the socket and tells what there was.
    pub(super) fn close(
        mut self,
        window: &mut MediaWindow,
        now: &Now,
        buffer: &mut [u8],
    ) -> LegRecord {
        self.turns = TURNS_TO_EMPTY - 1;
        self.receive(window, now, buffer);
        self.hearing.tell(&mut self.record);
        self.record
    }

    fn handle(&mut self, datagram: &[u8], arrival_ns: u64, window: &mut MediaWindow, now: &Now) {
        if is_stun(datagram) {
            self.record.consent_answers += u64::from(is_binding_success(datagram));
        } else if matches!(datagram, [20..=63, ..]) {
            // DTLS (RFC 7983): the gateway says goodbye.
        } else if !matches!(datagram, [128..=191, ..]) {
            self.record.other_datagrams += 1;
        } else if is_rtcp(datagram) {
            self.handle_rtcp(datagram, arrival_ns);
        } else if let Some(datagram) = self.transform.unprotect_rtp(datagram) {
            match RtpPacket::parse(&datagram) {
                Ok(packet) if packet.media().payload_type.0 == self.plan.payload_type => {
                    let record = &mut self.record;
                    let packet = packet.media();
                    self.hearing.hear(&packet, arrival_ns, window, now, record);
                }
                Ok(_) => self.record.unknown_payload_type += 1,
                Err(_) => self.record.other_datagrams += 1,
            }
        } else {
            self.record.undecryptable += 1;
        }
    }

    fn handle_rtcp(&mut self, datagram: &[u8], arrival_ns: u64) {
        let Some(compound) = self.transform.unprotect_rtcp(datagram) else {
            self.record.undecryptable += 1;
            return;
        };
        self.record.rtcp_received += 1;
        for packet in rtcp_packets(&compound).flatten() {
            if let RtcpPacket::SenderReport(report) = packet {
                let ntp = report.sender.ntp.compact();
                self.hearing.reception.handle_sender_report(ntp, arrival_ns);
            }
        }
    }

    fn frame_ticks(&self) -> u32 {
        self.plan.frames.codec().packet_samples() as u32
    }
}
