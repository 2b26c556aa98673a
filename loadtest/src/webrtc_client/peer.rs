//! The media side of a caller: a socket for each of its addresses, one `str0m` peer, one thread that sends every 20 ms and
//! keeps what comes.
//!
//! The thread sleeps until the peer's own timer, the next frame or a datagram, whichever is first; each socket has a
//! thread that reads it so that arrival times are those of the kernel's wake-up and not of our turn.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use server::rtp;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::config::DtlsVersion;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite, SeqNo};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

use super::answer::chosen_format;
use super::{CallError, DtlsChoice};
use crate::audio::Audio;
use crate::judge::Playback;
use crate::media::{
    AudioCodec, DigitPlan, Outgoing, OutgoingFormat, PACKET_MS, ReceivedPacket, Recorder, Recording,
};
use crate::random_u16;

/// The longest datagram that is read.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// The reader looks so often whether it should end.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest sleep of the media thread.
const SLEEP_MAX: Duration = Duration::from_millis(200);
/// The most lateness samples and telephone-event packets that are kept.
const SAMPLES_MAX: usize = 100_000;

/// What was measured on the media path.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct MediaStatistics {
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP packets with a payload type that was not negotiated.
    pub packets_unknown: u64,
    /// How late packets left, 99th percentile, in ms.
    pub late_ms_p99: f64,
    /// From the answer to ICE and DTLS done, in ms.
    pub connect_ms: f64,
    /// The DTLS version, such as `DTLS1_3`.
    pub dtls: String,
    /// The SRTP profile as the length of its tag tells: `AES_CM_128_HMAC_SHA1_80` or `AEAD_AES_GCM`.
    pub srtp: String,
}

/// What the thread shows.
struct View {
    recorder: Recorder,
    telephone_events: Vec<ReceivedPacket>,
    format: Option<OutgoingFormat>,
    connected_at: Option<Instant>,
    spoken_at: Option<Instant>,
    silent: bool,
    late_ms: Vec<f32>,
    lookahead_ms: f64,
    statistics: MediaStatistics,
    ended: Option<String>,
}

struct Shared {
    view: Mutex<View>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Order {
    Accept(String),
    Speak(Box<Audio>, Playback),
    Mute(bool),
    Digits(Vec<DigitPlan>),
    Offer(Direction, Sender<Result<String, String>>),
}

enum Wake {
    Datagram {
        local: SocketAddr,
        at: Instant,
        source: SocketAddr,
        contents: Vec<u8>,
    },
    Order(Order),
}

/// The handle of a peer. Dropping it ends the peer's threads without a word to the other side, as a closed page does.
pub(super) struct MediaPeer {
    shared: Arc<Shared>,
    wakes: Sender<Wake>,
    threads: Vec<JoinHandle<()>>,
    offer: String,
}

impl MediaPeer {
    /// Binds a socket at each of `local_ips`, and makes the offer for `codec`.
    pub(super) fn start(
        codec: AudioCodec,
        dtls: DtlsChoice,
        local_ips: &[IpAddr],
    ) -> Result<Self, CallError> {
        let mut rtc = configuration(codec, dtls).build(Instant::now());
        let mut sockets = Vec::new();
        for local_ip in local_ips {
            let socket = UdpSocket::bind((*local_ip, 0)).map_err(media_error)?;
            socket
                .set_read_timeout(Some(READ_TIMEOUT))
                .map_err(media_error)?;
            let local = socket.local_addr().map_err(media_error)?;
            rtc.add_local_candidate(Candidate::host(local, "udp").map_err(media_error)?);
            sockets.push((local, socket));
        }
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let Some((offer, pending)) = changes.apply() else {
            return Err(CallError::Media("no offer was made".to_owned()));
        };

        let shared = Arc::new(Shared {
            view: Mutex::new(View {
                recorder: Recorder::new(Instant::now()),
                telephone_events: Vec::new(),
                format: None,
                connected_at: None,
                spoken_at: None,
                silent: true,
                late_ms: Vec::new(),
                lookahead_ms: 0.0,
                statistics: MediaStatistics::default(),
                ended: None,
            }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let (wakes, wake) = mpsc::channel();
        let mut threads = Vec::new();
        for (local, socket) in &sockets {
            let (local, socket) = (*local, socket.try_clone().map_err(media_error)?);
            let (wakes, shared) = (wakes.clone(), Arc::clone(&shared));
            threads.push(std::thread::spawn(move || {
                read_datagrams(local, &socket, &wakes, &shared)
            }));
        }
        let mut driver = Driver {
            rtc,
            sockets,
            mid,
            pending: Some(pending),
            outgoing: None,
            sequence: u64::from(random_u16() >> 2),
            next_due: None,
            now: Instant::now(),
            answered_at: None,
            body_len: 0,
            shared: Arc::clone(&shared),
        };
        threads.push(std::thread::spawn(move || {
            let result = driver.run(&wake);
            let mut view = driver.shared.view();
            view.ended = Some(result.err().unwrap_or_else(|| "stopped".to_owned()));
            driver.shared.changed.notify_all();
        }));
        Ok(Self {
            shared,
            wakes,
            threads,
            offer: offer.to_sdp_string(),
        })
    }

    /// The first offer.
    pub(super) fn offer(&self) -> &str {
        &self.offer
    }

    /// Takes the answer to the offer before.
    pub(super) fn accept(&self, answer: String) {
        self.order(Order::Accept(answer));
    }

    /// A further offer with another direction.
    pub(super) fn offer_direction(&self, direction: Direction) -> Result<String, CallError> {
        let (reply, answer) = mpsc::channel();
        self.order(Order::Offer(direction, reply));
        match answer.recv_timeout(Duration::from_secs(2)) {
            Ok(offer) => offer.map_err(CallError::Media),
            Err(_) => Err(CallError::Media("the media thread has ended".to_owned())),
        }
    }

    pub(super) fn speak(&self, speech: &Audio, playback: Playback) {
        let mut view = self.shared.view();
        view.silent = false;
        view.spoken_at = None;
        drop(view);
        // Here and not in the media thread, which has a packet to send every 20 ms.
        let rate_hz = self
            .format()
            .map_or(speech.sample_rate_hz, |format| format.codec.clock_rate_hz());
        self.order(Order::Speak(Box::new(speech.resampled(rate_hz)), playback));
    }

    pub(super) fn set_muted(&self, muted: bool) {
        self.order(Order::Mute(muted));
    }

    pub(super) fn send_digits(&self, digits: Vec<DigitPlan>) {
        self.order(Order::Digits(digits));
    }

    fn order(&self, order: Order) {
        // An ended thread shows in the next wait.
        let _ = self.wakes.send(Wake::Order(order));
    }

    /// Waits for ICE, DTLS and the first packet out.
    pub(super) fn wait_connected(&self, deadline: Instant) -> Result<Instant, CallError> {
        self.wait("ICE and DTLS", deadline, |view| view.connected_at)
    }

    /// Waits until the speech has been sent to its end.
    pub(super) fn wait_silent(&self, deadline: Instant) -> Result<(), CallError> {
        self.wait("the end of the speech", deadline, |view| {
            (view.silent && view.spoken_at.is_some()).then_some(())
        })
    }

    fn wait<T>(
        &self,
        what: &str,
        deadline: Instant,
        look: impl Fn(&View) -> Option<T>,
    ) -> Result<T, CallError> {
        let mut view = self.shared.view();
        loop {
            if let Some(found) = look(&view) {
                return Ok(found);
            }
            if let Some(ended) = &view.ended {
                return Err(CallError::Media(ended.clone()));
            }
            let Some(left) = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return Err(CallError::Media(format!("timed out waiting for {what}")));
            };
            (view, _) = self
                .shared
                .changed
                .wait_timeout(view, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Codec and payload types that the answer chose.
    pub(super) fn format(&self) -> Option<OutgoingFormat> {
        self.shared.view().format
    }

    pub(super) fn spoken_at(&self) -> Option<Instant> {
        self.shared.view().spoken_at
    }

    pub(super) fn lookahead_ms(&self) -> f64 {
        self.shared.view().lookahead_ms
    }

    /// What was heard so far.
    pub(super) fn recording(&self) -> Result<Recording, CallError> {
        let (recorder, format) = {
            let view = self.shared.view();
            (view.recorder.clone(), view.format)
        };
        let codec = format.map_or(AudioCodec::Opus, |format| format.codec);
        recorder.recording(codec).map_err(media_error)
    }

    /// Telephone-event packets that came so far.
    pub(super) fn telephone_events(&self) -> Vec<ReceivedPacket> {
        self.shared.view().telephone_events.clone()
    }

    pub(super) fn statistics(&self) -> MediaStatistics {
        let mut view = self.shared.view();
        view.late_ms.sort_unstable_by(f32::total_cmp);
        let p99 = view
            .late_ms
            .get(view.late_ms.len() * 99 / 100)
            .copied()
            .unwrap_or(0.0);
        MediaStatistics {
            late_ms_p99: f64::from(p99),
            ..view.statistics.clone()
        }
    }
}

impl Drop for MediaPeer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn configuration(codec: AudioCodec, dtls: DtlsChoice) -> RtcConfig {
    let mut config = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .set_rtp_mode(true)
        .set_rtcp_report_interval_audio(Duration::from_secs(1))
        .set_dtls_version(match dtls {
            DtlsChoice::Auto => DtlsVersion::Auto,
            DtlsChoice::Only12 => DtlsVersion::Dtls12,
            DtlsChoice::Only13 => DtlsVersion::Dtls13,
        })
        .clear_codecs();
    let (event_payload_type, event_clock) = match codec {
        AudioCodec::Opus => (110, Frequency::FORTY_EIGHT_KHZ),
        _ => (126, Frequency::EIGHT_KHZ),
    };
    let codecs = config.codec_config();
    match codec {
        // WebRTC has no L16: such a plan is refused before it comes here, see `CallPlan::codec`.
        AudioCodec::Opus | AudioCodec::L16 => codecs.enable_opus(true, false),
        AudioCodec::Pcmu => codecs.enable_pcmu(true, false),
        AudioCodec::Pcma => codecs.enable_pcma(true, false),
    }
    let digits = FormatParams {
        telephone_event_max: Some(15),
        ..Default::default()
    };
    codecs.add_config(
        event_payload_type.into(),
        None,
        Codec::Tele,
        event_clock,
        None,
        digits,
    );
    config
}

fn read_datagrams(local: SocketAddr, socket: &UdpSocket, wakes: &Sender<Wake>, shared: &Shared) {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    while !shared.stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((len, source)) => {
                let contents = buffer.get(..len).unwrap_or_default().to_vec();
                if wakes
                    .send(Wake::Datagram {
                        local,
                        at: Instant::now(),
                        source,
                        contents,
                    })
                    .is_err()
                {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // An ICMP error of an earlier datagram: the peer's own timers decide what it means.
            Err(_) => {}
        }
    }
}

struct Driver {
    rtc: Rtc,
    sockets: Vec<(SocketAddr, UdpSocket)>,
    mid: Mid,
    pending: Option<SdpPendingOffer>,
    outgoing: Option<Outgoing>,
    sequence: u64,
    next_due: Option<Instant>,
    /// The peer's clock must not go back.
    now: Instant,
    answered_at: Option<Instant>,
    /// Bytes behind the RTP header of the datagram that is handled now: payload and SRTP tag.
    body_len: usize,
    shared: Arc<Shared>,
}

impl Driver {
    fn run(&mut self, wakes: &Receiver<Wake>) -> Result<(), String> {
        while !self.shared.stop.load(Ordering::Relaxed) && self.rtc.is_alive() {
            let timeout = self.drain()?;
            let now = Instant::now();
            if let Some(due) = self.next_due
                && now >= due
            {
                self.send_frame(due, now)?;
                self.advance(now)?;
                continue;
            }
            if now >= timeout {
                self.advance(now)?;
                continue;
            }
            let until = self
                .next_due
                .map_or(timeout, |due| due.min(timeout))
                .min(now + SLEEP_MAX);
            match wakes.recv_timeout(until.saturating_duration_since(now)) {
                Ok(Wake::Datagram {
                    local,
                    at,
                    source,
                    contents,
                }) => self.receive(local, at, source, &contents)?,
                Ok(Wake::Order(order)) => self.obey(order)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    fn advance(&mut self, now: Instant) -> Result<(), String> {
        self.now = self.now.max(now);
        self.rtc
            .handle_input(Input::Timeout(self.now))
            .map_err(to_text)
    }

    /// Takes everything that the peer has to say; returns when it wants to be called next.
    fn drain(&mut self) -> Result<Instant, String> {
        loop {
            match self.rtc.poll_output().map_err(to_text)? {
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(transmit) => {
                    let socket = self
                        .sockets
                        .iter()
                        .find(|(local, _)| *local == transmit.source);
                    if let Some((_, socket)) = socket {
                        // A full socket loses the datagram, as any network may.
                        let _ = socket.send_to(&transmit.contents, transmit.destination);
                    }
                }
                Output::Event(event) => self.handle_event(event)?,
            }
        }
    }

    fn receive(
        &mut self,
        local: SocketAddr,
        at: Instant,
        source: SocketAddr,
        contents: &[u8],
    ) -> Result<(), String> {
        self.now = self.now.max(at);
        // What is neither STUN, DTLS nor SRTP is dropped, as a browser does.
        let Ok(parsed) = contents.try_into() else {
            return Ok(());
        };
        self.body_len =
            rtp::header_len(contents).map_or(0, |header_len| contents.len() - header_len);
        let receive = Receive {
            proto: Protocol::Udp,
            source,
            destination: local,
            contents: parsed,
        };
        self.rtc
            .handle_input(Input::Receive(self.now, receive))
            .map_err(to_text)
    }

    fn handle_event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Connected => self.connected(),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                Err("ICE disconnected".to_owned())
            }
            Event::RtpPacket(packet) => {
                self.record(packet);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn connected(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let version = self.rtc.direct_api().dtls_protocol_version();
        let mut view = self.shared.view();
        let Some(format) = view.format else {
            return Err("connected without an answer".to_owned());
        };
        view.connected_at = Some(now);
        view.recorder = Recorder::new(now);
        view.statistics.dtls = version.map_or_else(String::new, |version| format!("{version:?}"));
        view.statistics.connect_ms = self
            .answered_at
            .map_or(0.0, |at| now.duration_since(at).as_secs_f64() * 1000.0);
        if self.outgoing.is_none() {
            let outgoing = Outgoing::new(format, u32::from(random_u16())).map_err(to_text)?;
            view.lookahead_ms = outgoing.lookahead_ms();
            self.outgoing = Some(outgoing);
            self.next_due = Some(now + Duration::from_millis(u64::from(PACKET_MS)));
        }
        self.shared.changed.notify_all();
        Ok(())
    }

    fn record(&mut self, packet: RtpPacket) {
        let received = ReceivedPacket {
            arrival: packet.timestamp,
            ssrc: *packet.header.ssrc,
            sequence_number: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            payload_type: *packet.header.payload_type,
            marker: packet.header.marker,
            payload: packet.payload.to_vec(),
        };
        let tag_len = self.body_len.checked_sub(received.payload.len());
        let mut view = self.shared.view();
        if view.statistics.srtp.is_empty() {
            view.statistics.srtp = match tag_len {
                Some(10) => "AES_CM_128_HMAC_SHA1_80".to_owned(),
                Some(16) => "AEAD_AES_GCM".to_owned(),
                other => format!("a tag of {other:?} bytes"),
            };
        }
        let Some(format) = view.format else { return };
        if received.payload_type == format.payload_type {
            view.recorder.handle_packet(received);
        } else if format
            .telephone_event
            .is_some_and(|(payload_type, _)| payload_type == received.payload_type)
        {
            if view.telephone_events.len() < SAMPLES_MAX {
                view.telephone_events.push(received);
            }
        } else {
            view.statistics.packets_unknown += 1;
        }
    }

    fn send_frame(&mut self, due: Instant, now: Instant) -> Result<(), String> {
        self.next_due = Some(due + Duration::from_millis(u64::from(PACKET_MS)));
        let Some(outgoing) = &mut self.outgoing else {
            return Ok(());
        };
        let packet = outgoing.next_packet(due).map_err(to_text)?;
        let sequence: SeqNo = self.sequence.into();
        self.sequence += 1;
        let sends = self
            .rtc
            .media(self.mid)
            .is_some_and(|media| media.direction().is_sending());
        if sends && let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(self.mid, None) {
            let payload_type = packet.payload_type.into();
            let write = RtpWrite::new(
                payload_type,
                sequence,
                packet.timestamp,
                now,
                packet.payload,
            )
            .marker(packet.marker);
            stream.write_rtp(write);
        }
        let mut view = self.shared.view();
        view.statistics.packets_sent += 1;
        if view.late_ms.len() < SAMPLES_MAX {
            view.late_ms
                .push(now.duration_since(due).as_secs_f32() * 1000.0);
        }
        let silent = outgoing.is_silent();
        if view.silent != silent || view.spoken_at != outgoing.spoken_at() {
            view.silent = silent;
            view.spoken_at = outgoing.spoken_at();
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Result<(), String> {
        match order {
            Order::Accept(answer) => {
                let format =
                    chosen_format(&answer).ok_or("the answer has no audio that we know")?;
                let answer = SdpAnswer::from_sdp_string(&answer).map_err(to_text)?;
                let pending = self.pending.take().ok_or("an answer without an offer")?;
                self.shared.view().format = Some(format);
                self.answered_at.get_or_insert_with(Instant::now);
                self.rtc
                    .sdp_api()
                    .accept_answer(pending, answer)
                    .map_err(to_text)
            }
            Order::Speak(speech, playback) => {
                if let Some(outgoing) = &mut self.outgoing {
                    outgoing.speak(&speech, playback);
                }
                Ok(())
            }
            Order::Mute(muted) => {
                if let Some(outgoing) = &mut self.outgoing {
                    outgoing.set_muted(muted);
                }
                Ok(())
            }
            Order::Digits(digits) => match &mut self.outgoing {
                Some(outgoing) => outgoing.send_digits(digits).map_err(to_text),
                None => Ok(()),
            },
            Order::Offer(direction, reply) => {
                let mut changes = self.rtc.sdp_api();
                changes.set_direction(self.mid, direction);
                let offer = match changes.apply() {
                    Some((offer, pending)) => {
                        self.pending = Some(pending);
                        Ok(offer.to_sdp_string())
                    }
                    None => Err("the direction is that already".to_owned()),
                };
                // Who asked may have given up.
                let _ = reply.send(offer);
                Ok(())
            }
        }
    }
}

fn media_error(error: impl std::fmt::Display) -> CallError {
    CallError::Media(error.to_string())
}

fn to_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
