//! The threads of a far end: one reader per socket, and one that sends what is due and keeps what came.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use server::rtp::is_rtcp;

use super::source::Source;
use super::{RtpPeerConfig, RtpPeerError};
use crate::audio::Audio;
use crate::judge::Playback;
use crate::media::{DigitPlan, OutgoingFormat};

/// The longest datagram that is read.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// The most sources; further ones are not heard.
const SOURCES_MAX: usize = 10_000;
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(200);

/// Which socket a datagram came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Rtp,
    Rtcp,
}

pub(super) enum Order {
    Speak(Box<Audio>, Playback),
    Digits(Vec<DigitPlan>),
    Sending(bool),
    Goodbye,
}

pub(super) enum Wake {
    Datagram {
        port: Port,
        at: Instant,
        remote: SocketAddr,
        contents: Vec<u8>,
    },
    Open(SocketAddr),
    Adopt {
        remote: SocketAddr,
        format: Option<OutgoingFormat>,
        sending: bool,
        anew: bool,
    },
    Order(SocketAddr, Order),
    Stop,
}

#[derive(Default)]
pub(super) struct Shared {
    sources: Mutex<Vec<Source>>,
    changed: Condvar,
    pub(super) stop: AtomicBool,
}

impl Shared {
    pub(super) fn sources(&self) -> MutexGuard<'_, Vec<Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with_source<T>(
        &self,
        remote: SocketAddr,
        look: impl FnOnce(&Source) -> T,
    ) -> Result<T, RtpPeerError> {
        let sources = self.sources();
        let source = sources.iter().find(|source| source.remote == remote);
        source.map(look).ok_or(RtpPeerError::UnknownSource(remote))
    }

    pub(super) fn wait<T>(
        &self,
        deadline: Instant,
        look: impl Fn(&[Source]) -> Option<T>,
    ) -> Option<T> {
        let mut sources = self.sources();
        loop {
            if let Some(found) = look(&sources) {
                return Some(found);
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())?;
            (sources, _) = self
                .changed
                .wait_timeout(sources, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

pub(super) fn read_datagrams(
    port: Port,
    socket: &UdpSocket,
    wakes: &Sender<Wake>,
    shared: &Shared,
) {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    while !shared.stop.load(Ordering::Relaxed) {
        // Errors are timeouts, and ICMP answers to earlier datagrams.
        if let Ok((len, remote)) = socket.recv_from(&mut buffer) {
            let contents = buffer.get(..len).unwrap_or_default().to_vec();
            if wakes
                .send(Wake::Datagram {
                    port,
                    at: Instant::now(),
                    remote,
                    contents,
                })
                .is_err()
            {
                return;
            }
        }
    }
}

pub(super) struct Driver {
    config: RtpPeerConfig,
    rtp: UdpSocket,
    rtcp: Option<UdpSocket>,
    shared: Arc<Shared>,
}

impl Driver {
    pub(super) fn new(
        config: RtpPeerConfig,
        rtp: UdpSocket,
        rtcp: Option<UdpSocket>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            config,
            rtp,
            rtcp,
            shared,
        }
    }

    pub(super) fn run(&mut self, wakes: &Receiver<Wake>) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let next = self.send_due(now);
            let sleep = next.map_or(SLEEP_MAX, |next| {
                next.saturating_duration_since(Instant::now())
                    .min(SLEEP_MAX)
            });
            match wakes.recv_timeout(sleep) {
                Ok(Wake::Datagram {
                    port,
                    at,
                    remote,
                    contents,
                }) => self.receive(port, at, remote, &contents),
                Ok(Wake::Open(remote)) => {
                    self.open(&mut self.shared.sources(), remote, Instant::now())
                }
                Ok(Wake::Adopt {
                    remote,
                    format,
                    sending,
                    anew,
                }) => self.adopt(remote, format, sending, anew),
                Ok(Wake::Order(remote, order)) => self.obey(remote, order),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Sends every packet that is due at `now`; returns when the next one is.
    fn send_due(&mut self, now: Instant) -> Option<Instant> {
        let clock_rate_hz = self.config.format.codec.clock_rate_hz();
        let mut sources = self.shared.sources();
        for source in sources.iter_mut() {
            while source.next_due <= now {
                // An encoder that fails sends nothing, which the judge hears.
                if let Ok(Some(datagram)) = source.next_datagram(now) {
                    let _ = self.rtp.send_to(&datagram, source.remote);
                }
            }
            if let Some(report) = source.report(now, self.config.report_interval, clock_rate_hz) {
                send_rtcp(&self.rtp, self.rtcp.as_ref(), source.remote, &report);
            }
        }
        sources.iter().map(|source| source.next_due).min()
    }

    /// A source for `remote`, if there is none.
    fn open(&self, sources: &mut Vec<Source>, remote: SocketAddr, now: Instant) {
        if !sources.iter().any(|source| source.remote == remote)
            && sources.len() < SOURCES_MAX
            && let Ok(source) = Source::new(remote, &self.config, now)
        {
            sources.push(source);
        }
    }

    fn adopt(&self, remote: SocketAddr, format: Option<OutgoingFormat>, sending: bool, anew: bool) {
        let now = Instant::now();
        let mut sources = self.shared.sources();
        let known = sources.iter().position(|source| source.remote == remote);
        if let Some(known) = known.filter(|_| anew)
            && let Ok(source) = Source::new(remote, &self.config, now)
        {
            sources[known] = source;
        }
        if sending || anew {
            self.open(&mut sources, remote, now);
        }
        if let Some(source) = sources.iter_mut().find(|source| source.remote == remote) {
            source.sending = sending;
            if let Some(format) = format {
                source.send_in(format);
            }
        }
        drop(sources);
        self.shared.changed.notify_all();
    }

    fn receive(&mut self, port: Port, at: Instant, remote: SocketAddr, contents: &[u8]) {
        let mut sources = self.shared.sources();
        if port == Port::Rtcp || is_rtcp(contents) {
            // Separate RTCP comes from the port after that of the RTP.
            let mut rtp_remote = remote;
            if port == Port::Rtcp {
                rtp_remote.set_port(remote.port().wrapping_sub(1));
            }
            if let Some(source) = sources
                .iter_mut()
                .find(|source| source.remote == rtp_remote)
            {
                source.handle_rtcp(at, remote, contents);
            }
        } else {
            self.open(&mut sources, remote, at);
            if let Some(source) = sources.iter_mut().find(|source| source.remote == remote) {
                source.handle_rtp(at, contents, &self.config);
            }
        }
        drop(sources);
        self.shared.changed.notify_all();
    }

    fn obey(&mut self, remote: SocketAddr, order: Order) {
        let mut sources = self.shared.sources();
        let Some(source) = sources.iter_mut().find(|source| source.remote == remote) else {
            return;
        };
        match order {
            Order::Speak(speech, playback) => source.outgoing.speak(&speech, playback),
            // Whether digits were negotiated is the configuration's own.
            Order::Digits(digits) => drop(source.outgoing.send_digits(digits)),
            Order::Sending(sending) => source.sending = sending,
            Order::Goodbye => {
                if let Some(goodbye) =
                    source.goodbye(Instant::now(), self.config.format.codec.clock_rate_hz())
                {
                    send_rtcp(&self.rtp, self.rtcp.as_ref(), source.remote, &goodbye);
                }
                source.sending = false;
            }
        }
    }
}

/// RTCP goes to the port after the RTP port, or with it where it is muxed. A lost datagram is the network's right.
fn send_rtcp(rtp: &UdpSocket, rtcp: Option<&UdpSocket>, remote: SocketAddr, datagram: &[u8]) {
    let _ = match rtcp {
        Some(rtcp) => {
            let mut remote = remote;
            remote.set_port(remote.port().wrapping_add(1));
            rtcp.send_to(datagram, remote)
        }
        None => rtp.send_to(datagram, remote),
    };
}
