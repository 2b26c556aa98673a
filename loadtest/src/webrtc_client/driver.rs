//! The threads of a caller's media side. The one that owns the `str0m` peer sleeps until the peer's own timer, the next frame or a
//! datagram, whichever is first; each socket has one that reads it, so that arrival times are those of the kernel's wake-up and
//! not of our turn.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use server::rtp;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite, SeqNo};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};

use super::peer::MediaStatistics;
use crate::audio::Audio;
use crate::judge::Playback;
use crate::media::chosen_format;
use crate::media::{DigitPlan, Outgoing, OutgoingFormat, PACKET_MS, ReceivedPacket, Recorder};
use crate::random_u16;

/// The longest datagram that is read.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// The longest sleep of the media thread.
const SLEEP_MAX: Duration = Duration::from_millis(200);
/// The most lateness samples and telephone-event packets that are kept.
const SAMPLES_MAX: usize = 100_000;

/// Each by the address at which it is bound.
pub(super) type Sockets = Vec<(SocketAddr, UdpSocket)>;

pub(super) enum Order {
    Accept(String),
    Speak(Box<Audio>, Playback),
    Mute(bool),
    Digits(Vec<DigitPlan>),
    Offer(Direction, Sender<Result<String, String>>),
    RestartIce(Sockets, Sender<Result<String, String>>),
}

pub(super) enum Wake {
    Datagram {
        local: SocketAddr,
        at: Instant,
        source: SocketAddr,
        contents: Vec<u8>,
    },
    Order(Order),
}

/// What the thread shows.
pub(super) struct View {
    pub(super) recorder: Recorder,
    pub(super) telephone_events: Vec<ReceivedPacket>,
    pub(super) format: Option<OutgoingFormat>,
    pub(super) connected_at: Option<Instant>,
    pub(super) spoken_at: Option<Instant>,
    pub(super) silent: bool,
    pub(super) late_ms: Vec<f32>,
    pub(super) lookahead_ms: f64,
    pub(super) statistics: MediaStatistics,
    pub(super) ended: Option<String>,
}

pub(super) struct Shared {
    pub(super) view: Mutex<View>,
    pub(super) changed: Condvar,
    pub(super) stop: AtomicBool,
}

impl Shared {
    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn read_datagrams(
    local: SocketAddr,
    socket: &UdpSocket,
    wakes: &Sender<Wake>,
    shared: &Shared,
) {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    while !shared.stop.load(Ordering::Relaxed) {
        // Errors are timeouts, and ICMP answers to earlier datagrams: the peer's own timers decide what those mean.
        if let Ok((len, source)) = socket.recv_from(&mut buffer) {
            let contents = buffer.get(..len).unwrap_or_default().to_vec();
            let at = Instant::now();
            let wake = Wake::Datagram {
                local,
                at,
                source,
                contents,
            };
            if wakes.send(wake).is_err() {
                return;
            }
        }
    }
}

pub(super) struct Driver {
    pub(super) rtc: Rtc,
    pub(super) sockets: Sockets,
    pub(super) mid: Mid,
    pub(super) pending: Option<SdpPendingOffer>,
    /// Takes the place of the sockets with the answer to an offer that restarts ICE.
    pub(super) moving_to: Option<Sockets>,
    /// ICE has no new path yet.
    pub(super) restarting: bool,
    pub(super) outgoing: Option<Outgoing>,
    pub(super) sequence: u64,
    pub(super) next_due: Option<Instant>,
    /// The peer's clock must not go back.
    pub(super) now: Instant,
    pub(super) answered_at: Option<Instant>,
    /// Bytes behind the RTP header of the datagram that is handled now: payload and SRTP tag.
    pub(super) body_len: usize,
    pub(super) shared: Arc<Shared>,
}

impl Driver {
    pub(super) fn run(&mut self, wakes: &Receiver<Wake>) -> Result<(), String> {
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
        if self.sockets.iter().all(|(current, _)| *current != local) {
            // A network that was left.
            return Ok(());
        }
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
            Event::IceConnectionStateChange(IceConnectionState::Disconnected)
                if !self.restarting =>
            {
                Err("ICE disconnected".to_owned())
            }
            Event::IceConnectionStateChange(
                IceConnectionState::Connected | IceConnectionState::Completed,
            ) => {
                self.restarting = false;
                Ok(())
            }
            Event::RtpPacket(packet) => {
                self.record(packet);
                Ok(())
            }
            Event::MediaEgressStats(seen) => {
                let statistics = &mut self.shared.view().statistics;
                let has_room = statistics.reported_loss.len() < SAMPLES_MAX;
                statistics
                    .reported_loss
                    .extend(seen.loss.filter(|_| has_room));
                if let Some(remote) = seen.remote {
                    statistics.reported_lost = remote.packets_lost;
                }
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
                    .map_err(to_text)?;
                self.move_to_new_sockets()
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
            Order::RestartIce(sockets, reply) => {
                let mut changes = self.rtc.sdp_api();
                changes.ice_restart(false);
                let (offer, pending) = changes.apply().ok_or("no offer was made")?;
                self.pending = Some(pending);
                self.moving_to = Some(sockets);
                let _ = reply.send(Ok(offer.to_sdp_string()));
                Ok(())
            }
        }
    }

    /// The answer to an ICE restart is there: the new sockets are the only ones from now on.
    fn move_to_new_sockets(&mut self) -> Result<(), String> {
        let Some(sockets) = self.moving_to.take() else {
            return Ok(());
        };
        for (local, _) in &sockets {
            let candidate = Candidate::host(*local, "udp").map_err(to_text)?;
            self.rtc.add_local_candidate(candidate);
        }
        self.sockets = sockets;
        self.restarting = true;
        Ok(())
    }
}

fn to_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
