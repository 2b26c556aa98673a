//! A plain RTP far end: what a gateway's RTP trunk talks to. One socket for many calls, each told apart by its address.
//!
//! It answers every source with a stream of its own (silence until told to speak), records what it hears, sends and collects
//! RFC 4733 digits packet by packet, reports by RTCP on the same port or the next, and hangs up with a BYE. No signalling.

mod driver;
mod source;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use source::RtcpSeen;

use crate::audio::Audio;
use crate::judge::Playback;
use crate::media::{
    AudioCodec, DigitPlan, MediaError, OutgoingFormat, ReceivedPacket, Recording, TelephoneEvent,
    TelephoneEventError, telephone_events,
};
use driver::{Driver, Order, Port, Shared, Wake};

/// The readers look so often whether they should end.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// How often an even port with a free neighbour is looked for.
const PORT_TRIES_MAX: u32 = 200;

/// How a far end behaves.
#[derive(Debug, Clone)]
pub struct RtpPeerConfig {
    /// Where it listens.
    pub ip: IpAddr,
    /// Its RTP port, even; 0: any even one whose neighbour is free too.
    pub port: u16,
    /// RTCP on the RTP port (RFC 5761) instead of the next.
    pub rtcp_mux: bool,
    /// Codec, payload types and the clock of telephone-event; the same for both directions.
    pub format: OutgoingFormat,
    /// Said to every source from its first packet on.
    pub speech: Option<(Audio, Playback)>,
    /// Time between two RTCP reports.
    pub report_interval: Duration,
    /// Every so manieth packet is numbered and not sent, as if the network had lost it.
    pub lose_every: Option<u32>,
}

impl RtpPeerConfig {
    /// On `ip` at any port, with separate RTCP, telephone-event 101 in the codec's clock, and nothing to say.
    pub fn new(ip: IpAddr, codec: AudioCodec) -> Self {
        Self {
            ip,
            port: 0,
            rtcp_mux: false,
            format: OutgoingFormat {
                codec,
                payload_type: codec.usual_payload_type(),
                telephone_event: Some((101, codec.clock_rate_hz())),
            },
            speech: None,
            report_interval: Duration::from_secs(1),
            lose_every: None,
        }
    }
}

/// Why the far end can't do what was asked.
#[derive(Debug, Error)]
pub enum RtpPeerError {
    /// A socket.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// An encoder or decoder.
    #[error("codec: {0}")]
    Media(#[from] MediaError),
    /// Digits.
    #[error("digits: {0}")]
    Digits(#[from] TelephoneEventError),
    /// Nobody has sent from there.
    #[error("no packet came from {0}")]
    UnknownSource(SocketAddr),
    /// It did not come in time.
    #[error("timed out waiting for {0}")]
    Timeout(String),
}

/// A running far end. Dropping it closes its sockets without a BYE.
pub struct RtpPeer {
    shared: Arc<Shared>,
    wakes: Sender<Wake>,
    threads: Vec<JoinHandle<()>>,
    local: SocketAddr,
    codec: AudioCodec,
}

impl RtpPeer {
    /// Binds the ports and begins to listen.
    ///
    /// # Errors
    /// [`RtpPeerError::Socket`] when the ports are taken.
    pub fn start(mut config: RtpPeerConfig) -> Result<Self, RtpPeerError> {
        if let Some((speech, _)) = &mut config.speech {
            *speech = speech.resampled(config.format.codec.clock_rate_hz());
        }
        let (rtp, rtcp) = bind(&config)?;
        let local = rtp.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (wakes, wake) = mpsc::channel();
        let codec = config.format.codec;
        let mut threads = Vec::new();
        let rtcp_sender = rtcp.as_ref().map(UdpSocket::try_clone).transpose()?;
        let ports = [(Port::Rtp, Some(rtp.try_clone()?)), (Port::Rtcp, rtcp)];
        for (port, socket) in ports {
            if let Some(socket) = socket {
                socket.set_read_timeout(Some(READ_TIMEOUT))?;
                let (wakes, shared) = (wakes.clone(), Arc::clone(&shared));
                threads.push(std::thread::spawn(move || {
                    driver::read_datagrams(port, &socket, &wakes, &shared)
                }));
            }
        }
        let mut driver = Driver::new(config, rtp, rtcp_sender, Arc::clone(&shared));
        threads.push(std::thread::spawn(move || driver.run(&wake)));
        Ok(Self {
            shared,
            wakes,
            threads,
            local,
            codec,
        })
    }

    /// Where it listens for RTP.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The addresses that RTP came from, in the order of their first packets.
    pub fn sources(&self) -> Vec<SocketAddr> {
        self.shared
            .sources()
            .iter()
            .map(|source| source.remote)
            .collect()
    }

    /// Waits for the `number`th source (from 0) since the start.
    ///
    /// # Errors
    /// [`RtpPeerError::Timeout`].
    pub fn wait_for_source(
        &self,
        number: usize,
        deadline: Instant,
    ) -> Result<SocketAddr, RtpPeerError> {
        let what = format!("source {number}");
        self.shared
            .wait(deadline, |sources| {
                sources.get(number).map(|source| source.remote)
            })
            .ok_or(RtpPeerError::Timeout(what))
    }

    /// Waits until `source` has sent so many digits to their end.
    ///
    /// # Errors
    /// [`RtpPeerError::Timeout`].
    pub fn wait_for_digits(
        &self,
        source: SocketAddr,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<TelephoneEvent>, RtpPeerError> {
        let found = self.shared.wait(deadline, |sources| {
            let source = sources.iter().find(|known| known.remote == source)?;
            let events = telephone_events(&source.telephone_events);
            (events.iter().filter(|event| event.end_packets > 0).count() >= count).then_some(events)
        });
        found.ok_or_else(|| RtpPeerError::Timeout(format!("{count} digits")))
    }

    /// Waits until `source` said goodbye by RTCP.
    ///
    /// # Errors
    /// [`RtpPeerError::Timeout`].
    pub fn wait_for_goodbye(
        &self,
        source: SocketAddr,
        deadline: Instant,
    ) -> Result<(), RtpPeerError> {
        let found = self.shared.wait(deadline, |sources| {
            sources
                .iter()
                .find(|known| known.remote == source && known.rtcp.goodbyes > 0)
                .map(|_| ())
        });
        found.ok_or_else(|| RtpPeerError::Timeout("a BYE".to_owned()))
    }

    /// What was heard from `source` so far.
    ///
    /// # Errors
    /// [`RtpPeerError::UnknownSource`], or a codec error.
    pub fn recording(&self, source: SocketAddr) -> Result<Recording, RtpPeerError> {
        let recorder = self
            .shared
            .with_source(source, |source| source.recorder.clone())?;
        Ok(recorder.recording(self.codec)?)
    }

    /// The audio packets of `source` as they came.
    ///
    /// # Errors
    /// [`RtpPeerError::UnknownSource`].
    pub fn audio_packets(&self, source: SocketAddr) -> Result<Vec<ReceivedPacket>, RtpPeerError> {
        self.shared
            .with_source(source, |source| source.recorder.packets().to_vec())
    }

    /// The telephone-event packets of `source` as they came; [`telephone_events`] puts them together.
    ///
    /// # Errors
    /// [`RtpPeerError::UnknownSource`].
    pub fn telephone_event_packets(
        &self,
        source: SocketAddr,
    ) -> Result<Vec<ReceivedPacket>, RtpPeerError> {
        self.shared
            .with_source(source, |source| source.telephone_events.clone())
    }

    /// What came from `source` by RTCP.
    ///
    /// # Errors
    /// [`RtpPeerError::UnknownSource`].
    pub fn rtcp(&self, source: SocketAddr) -> Result<RtcpSeen, RtpPeerError> {
        self.shared
            .with_source(source, |source| source.rtcp.clone())
    }

    /// When the first sample of the speech to `source` was spoken, once it was.
    ///
    /// # Errors
    /// [`RtpPeerError::UnknownSource`].
    pub fn spoken_at(&self, source: SocketAddr) -> Result<Option<Instant>, RtpPeerError> {
        self.shared.with_source(source, |source| source.spoken_at)
    }

    /// Begins to send to `remote` without waiting for its first packet.
    pub fn open(&self, remote: SocketAddr) {
        // The driver runs until the peer is dropped.
        let _ = self.wakes.send(Wake::Open(remote));
    }

    /// What signalling says about `remote`: it is sent to, or is not, in `format` where that differs from the far end's own.
    /// `anew` forgets what an earlier call at the same address said.
    pub fn adopt(
        &self,
        remote: SocketAddr,
        format: Option<OutgoingFormat>,
        sending: bool,
        anew: bool,
    ) {
        // The driver runs until the peer is dropped.
        let _ = self.wakes.send(Wake::Adopt {
            remote,
            format,
            sending,
            anew,
        });
    }

    /// Says something to `source` from the next frame on.
    ///
    /// # Errors
    /// [`RtpPeerError::UnknownSource`].
    pub fn speak(
        &self,
        source: SocketAddr,
        speech: &Audio,
        playback: Playback,
    ) -> Result<(), RtpPeerError> {
        // Here and not in the sending thread, which has packets to send every 20 ms.
        let speech = speech.resampled(self.codec.clock_rate_hz());
        self.order(source, Order::Speak(Box::new(speech), playback))
    }

    /// Sends digits to `source`, each `duration_ms` long, with or without the marker bit on their first packets.
    ///
    /// # Errors
    /// [`RtpPeerError::Digits`], [`RtpPeerError::UnknownSource`].
    pub fn send_digits(
        &self,
        source: SocketAddr,
        digits: &str,
        duration_ms: u32,
        marker: bool,
    ) -> Result<(), RtpPeerError> {
        let plans = digits
            .chars()
            .map(|digit| DigitPlan::new(digit, duration_ms, marker))
            .collect::<Result<_, _>>()?;
        self.order(source, Order::Digits(plans))
    }

    /// Stops sending to `source`, RTCP too, or goes on.
    ///
    /// # Errors
    /// [`RtpPeerError::UnknownSource`].
    pub fn set_sending(&self, source: SocketAddr, sending: bool) -> Result<(), RtpPeerError> {
        self.order(source, Order::Sending(sending))
    }

    /// Hangs up: an RTCP BYE, then nothing more.
    ///
    /// # Errors
    /// [`RtpPeerError::UnknownSource`].
    pub fn hang_up(&self, source: SocketAddr) -> Result<(), RtpPeerError> {
        self.order(source, Order::Goodbye)
    }

    fn order(&self, source: SocketAddr, order: Order) -> Result<(), RtpPeerError> {
        self.shared.with_source(source, |_| ())?;
        // The driver runs until the peer is dropped.
        let _ = self.wakes.send(Wake::Order(source, order));
        Ok(())
    }
}

impl Drop for RtpPeer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.wakes.send(Wake::Stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn bind(config: &RtpPeerConfig) -> io::Result<(UdpSocket, Option<UdpSocket>)> {
    if config.rtcp_mux {
        return Ok((UdpSocket::bind((config.ip, config.port))?, None));
    }
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_TRIES_MAX {
        let rtp = UdpSocket::bind((config.ip, config.port))?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 0 {
            match UdpSocket::bind((config.ip, port + 1)) {
                Ok(rtcp) => return Ok((rtp, Some(rtcp))),
                Err(error) => last = error,
            }
        }
        if config.port != 0 {
            break;
        }
    }
    Err(last)
}
