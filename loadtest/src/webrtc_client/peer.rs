//! The media side of a caller: a socket for each of its addresses, one `str0m` peer, and the threads of [`super::driver`] that
//! send every 20 ms and keep what comes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use str0m::config::DtlsVersion;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, MediaKind};
use str0m::{Candidate, RtcConfig};

use super::driver::{Driver, Order, Shared, View, Wake, read_datagrams};
use super::{CallError, DtlsChoice};
use crate::audio::Audio;
use crate::judge::Playback;
use crate::media::{AudioCodec, DigitPlan, OutgoingFormat, ReceivedPacket, Recorder, Recording};
use crate::random_u16;

/// The reader looks so often whether it should end.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

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
    /// What the gateway reported to have lost of our packets (RTCP), averaged over each second: 0..=1, the newest last.
    pub reported_loss: Vec<f32>,
    /// How many in all, by its last report.
    pub reported_lost: u64,
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
        let sockets = bind(local_ips)?;
        for (local, _) in &sockets {
            rtc.add_local_candidate(Candidate::host(*local, "udp").map_err(media_error)?);
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
        let mut threads = read(&sockets, &wakes, &shared)?;
        let mut driver = Driver {
            rtc,
            sockets,
            mid,
            pending: Some(pending),
            moving_to: None,
            restarting: false,
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
        self.offer_by(|reply| Order::Offer(direction, reply))
    }

    /// An offer that restarts ICE. With its answer, new sockets at `local_ips` take the place of the old ones.
    pub(super) fn restart_ice(&mut self, local_ips: &[IpAddr]) -> Result<String, CallError> {
        let sockets = bind(local_ips)?;
        self.threads
            .extend(read(&sockets, &self.wakes, &self.shared)?);
        self.offer_by(|reply| Order::RestartIce(sockets, reply))
    }

    fn offer_by(
        &self,
        order: impl FnOnce(Sender<Result<String, String>>) -> Order,
    ) -> Result<String, CallError> {
        let (reply, answer) = mpsc::channel();
        self.order(order(reply));
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

    /// The audio packets that came so far, in the order of arrival.
    pub(super) fn audio_packets(&self) -> Vec<ReceivedPacket> {
        self.shared.view().recorder.packets().to_vec()
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

/// A socket at each of `local_ips`.
fn bind(local_ips: &[IpAddr]) -> Result<Vec<(SocketAddr, UdpSocket)>, CallError> {
    let bind = |local_ip: &IpAddr| {
        let socket = UdpSocket::bind((*local_ip, 0))?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok((socket.local_addr()?, socket))
    };
    let sockets: std::io::Result<_> = local_ips.iter().map(bind).collect();
    sockets.map_err(media_error)
}

/// A thread for each socket that reads it.
fn read(
    sockets: &[(SocketAddr, UdpSocket)],
    wakes: &Sender<Wake>,
    shared: &Arc<Shared>,
) -> Result<Vec<JoinHandle<()>>, CallError> {
    let read = |(local, socket): &(SocketAddr, UdpSocket)| {
        let (local, socket) = (*local, socket.try_clone().map_err(media_error)?);
        let (wakes, shared) = (wakes.clone(), Arc::clone(shared));
        Ok(std::thread::spawn(move || {
            read_datagrams(local, &socket, &wakes, &shared)
        }))
    };
    sockets.iter().map(read).collect()
}

fn configuration(codec: AudioCodec, dtls: DtlsChoice) -> RtcConfig {
    let mut config = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .set_rtp_mode(true)
        .set_rtcp_report_interval_audio(Duration::from_secs(1))
        .set_stats_interval(Some(Duration::from_secs(1)))
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

fn media_error(error: impl std::fmt::Display) -> CallError {
    CallError::Media(error.to_string())
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
