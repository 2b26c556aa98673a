//! The trunk side of a call on its shard: which leg it is, and the media sockets that it owns while it lives.
//!
//! One even port per call from the trunk's range, RTCP on the next one unless it is muxed (contracts section 1). What
//! is said to the far end about the call is the control thread's; what is on the wire is [`crate::trunk`]'s.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use shards::ShardIndex;
use shards::udp::UdpSocket;
use tracing::warn;

use super::calls::HangUp;
use super::media_path::PathEnd;
use super::pcm_socket::PcmKey;
use super::{CallKey, DATAGRAM_BYTES_MAX, Switch, entropy, ntp_now};
use crate::bridge::{DigitTones, LegFormat, StreamFormat};
use crate::call::TrunkMedia;
use crate::call::q850::Q850Cause;
use crate::config::{DtmfMethod, EchoCodec, IpCidr, TrunkConfig, TrunkKind};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::metrics::{DropReason, ShardMetrics};
use crate::rtp::{LegStatistics, PayloadType, StreamDirection};
use crate::trunk::{AllocatedPort, MediaPorts, RtpLeg, RtpLegConfig, Strays};

/// Ports tried before a set-up is refused, when others on this host sit on ours.
const BIND_TRIES_MAX: usize = 8;
/// Socket buffers of one call: 200 ms of the fattest codec is below a tenth of it.
const SOCKET_BUFFER_BYTES: usize = 64 << 10;
/// Datagrams taken from one trunk socket per tick; a flood waits, or is dropped by the kernel.
const DATAGRAMS_PER_TURN_MAX: usize = 32;
/// Sockets that were read in one of so many turns before have more than packets that come apart.
const TURNS_APART: u64 = 2;

/// One side of a call: the far end.
pub(super) struct TrunkSide {
    pub(super) config: Arc<TrunkConfig>,
    pub(super) leg: TrunkLeg,
    sockets: Option<MediaSockets>,
    /// The far end has answered, or we have answered it.
    pub(super) answered: bool,
    /// The control thread knows that the far end is gone.
    pub(super) ended: bool,
}

/// The media leg, once signalling knows of the far end's media.
pub(super) enum TrunkLeg {
    /// Not yet.
    Pending,
    /// Our own echo.
    Echo(EchoCodec),
    /// RTP with a far end.
    Rtp(Box<RtpLeg>),
    /// An AI agent's WebSocket.
    Pcm {
        /// Which.
        key: PcmKey,
        /// What is spoken on it.
        format: LegFormat,
    },
}

/// Which of a call's two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrunkPort {
    Rtp,
    Rtcp,
}

/// A call's own sockets.
pub(super) struct MediaSockets {
    port: u16,
    /// What may still come for the call before.
    strays: Option<Strays>,
    range: (u16, u16),
    rtp: UdpSocket,
    rtcp: Option<UdpSocket>,
    /// The media loop's turn in which they were read last.
    read_in_turn: Cell<u64>,
}

/// What the trunk sockets of a shard are read with, used again at every tick.
#[derive(Debug)]
pub(super) struct TrunkInbox {
    pub(super) ready: Vec<u64>,
    pub(super) datagram: Box<[u8]>,
}

impl Default for TrunkInbox {
    fn default() -> Self {
        Self {
            ready: Vec::new(),
            datagram: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
        }
    }
}

/// Who owns which port of which range on this shard.
#[derive(Debug)]
pub(super) struct TrunkPorts {
    shard: ShardIndex,
    shards: u16,
    by_range: BTreeMap<(u16, u16), MediaPorts>,
}

impl TrunkPorts {
    pub(super) fn new(shard: ShardIndex, shards: u16) -> Self {
        Self {
            shard,
            shards,
            by_range: BTreeMap::new(),
        }
    }

    /// Ports in use now, over all ranges.
    pub(super) fn in_use(&self) -> usize {
        self.by_range.values().map(MediaPorts::in_use).sum()
    }

    /// Gives every port back; their sockets are gone.
    pub(super) fn release_all(&mut self) {
        self.by_range.clear();
    }

    fn of(&mut self, range: (u16, u16)) -> &mut MediaPorts {
        let (shard, shards) = (self.shard, self.shards);
        self.by_range
            .entry(range)
            .or_insert_with(|| MediaPorts::new(range.0..=range.1, shard, shards))
    }
}

impl TrunkSide {
    /// What the trunk leg sends and takes: `None` before there is media, `Some(None)` for an echo that takes the caller's
    /// own format.
    pub(super) fn format(&self) -> Option<Option<LegFormat>> {
        match &self.leg {
            TrunkLeg::Pending => None,
            TrunkLeg::Echo(codec) => Some(echo_format(*codec)),
            TrunkLeg::Pcm { format, .. } => Some(Some(*format)),
            TrunkLeg::Rtp(leg) => {
                let mut format = LegFormat {
                    source: *leg.receives(),
                    sink: *leg.sends(),
                };
                // A trunk that wants another method gets no telephone-events, whatever was negotiated.
                let method = self.digit_method();
                if matches!(method, DtmfMethod::Info | DtmfMethod::InBand) {
                    format.sink.telephone_event = None;
                }
                if method == DtmfMethod::InBand {
                    format.source.telephone_event = None;
                }
                Some(Some(format))
            }
        }
    }

    /// Its WebSocket of audio, if it has one.
    pub(super) fn pcm(&self) -> Option<PcmKey> {
        match &self.leg {
            TrunkLeg::Pcm { key, .. } => Some(*key),
            TrunkLeg::Pending | TrunkLeg::Echo(_) | TrunkLeg::Rtp(_) => None,
        }
    }

    fn digit_method(&self) -> DtmfMethod {
        match &self.config.kind {
            TrunkKind::Sip(sip) => sip.dtmf,
            TrunkKind::Echo(_) | TrunkKind::Rtp { .. } => DtmfMethod::Auto,
            // By messages of its dialect; nobody listens for tones in what an agent says.
            TrunkKind::WebSocket(_) => DtmfMethod::Rfc4733,
        }
    }

    /// Which digits are tones, on the way to the far end and from it.
    pub(super) fn digit_tones(&self) -> DigitTones {
        match self.digit_method() {
            DtmfMethod::Auto => DigitTones::WhereCarried,
            DtmfMethod::InBand => DigitTones::Always,
            DtmfMethod::Rfc4733 | DtmfMethod::Info => DigitTones::Never,
        }
    }

    /// Digits to the far end go by signalling: the trunk wants it so, or media has no way for them.
    pub(super) fn signals_digits(&self) -> bool {
        if !matches!(self.config.kind, TrunkKind::Sip(_)) {
            return false;
        }
        match self.digit_method() {
            DtmfMethod::Info => true,
            DtmfMethod::Auto => self.format().flatten().is_some_and(|format| {
                format.sink.telephone_event.is_none()
                    && !DigitTones::WhereCarried.apply_to(&format.sink)
            }),
            DtmfMethod::Rfc4733 | DtmfMethod::InBand => false,
        }
    }

    /// Takes what signalling agreed on, for the first time or again.
    pub(super) fn set_media(&mut self, now: Instant, media: TrunkMedia) -> Result<(), Refusal> {
        let media = match media {
            TrunkMedia::Echo(codec) => {
                self.leg = TrunkLeg::Echo(codec);
                return Ok(());
            }
            TrunkMedia::Rtp(media) => *media,
            // The switch has attached it.
            TrunkMedia::Socket(_) => return Ok(()),
        };
        let set = match &mut self.leg {
            TrunkLeg::Rtp(leg) => leg.update(media, now),
            TrunkLeg::Pending | TrunkLeg::Echo(_) | TrunkLeg::Pcm { .. } => {
                let sockets = self.sockets.as_ref();
                let config = RtpLegConfig {
                    media,
                    strays: sockets.and_then(|sockets| sockets.strays),
                    allowed: allowed_ranges(&self.config.kind),
                    entropy: entropy(),
                };
                RtpLeg::new(config, now).map(|leg| self.leg = TrunkLeg::Rtp(Box::new(leg)))
            }
        };
        set.map_err(|error| Refusal::new(RefusalCode::Internal, Fault::Us, error.to_string()))
    }

    /// Who sends, seen from us; both for legs that negotiate nothing.
    pub(super) fn direction(&self) -> StreamDirection {
        match &self.leg {
            TrunkLeg::Rtp(leg) => leg.direction(),
            TrunkLeg::Pending | TrunkLeg::Echo(_) | TrunkLeg::Pcm { .. } => {
                StreamDirection::SendRecv
            }
        }
    }

    /// `terminate_on_hold`
    pub(super) fn terminates_on_hold(&self) -> bool {
        matches!(&self.config.kind, TrunkKind::Sip(sip) if sip.terminate_on_hold)
    }

    /// `codec = "opus"` of an echo: decoded and encoded again though both sides speak Opus.
    pub(super) fn forces_transcoding(&self) -> bool {
        matches!(self.leg, TrunkLeg::Echo(EchoCodec::Opus))
    }

    pub(super) fn is_echo(&self) -> bool {
        matches!(self.leg, TrunkLeg::Echo(_))
    }

    /// When the far end's last packet came; `None` for legs that can't fall silent, or may.
    pub(super) fn last_media_at(&self) -> Option<Instant> {
        match &self.leg {
            TrunkLeg::Rtp(leg) if leg.direction().receives() => Some(leg.last_media_at()),
            TrunkLeg::Rtp(_) | TrunkLeg::Pending | TrunkLeg::Echo(_) | TrunkLeg::Pcm { .. } => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.leg {
            TrunkLeg::Rtp(leg) => leg.poll_timeout(),
            TrunkLeg::Pending | TrunkLeg::Echo(_) | TrunkLeg::Pcm { .. } => None,
        }
    }

    /// Format and figures of the leg; none for an echo, which has no network of its own.
    pub(super) fn statistics(&self) -> Option<(StreamFormat, LegStatistics)> {
        match &self.leg {
            TrunkLeg::Rtp(leg) => Some((*leg.sends(), leg.statistics())),
            TrunkLeg::Echo(_) | TrunkLeg::Pending | TrunkLeg::Pcm { .. } => None,
        }
    }

    /// What the far end lost of late, 0..=1; none for an echo.
    pub(super) fn remote_loss(&self, now: Instant) -> Option<f64> {
        match &self.leg {
            TrunkLeg::Rtp(leg) => Some(leg.remote_loss(now)),
            TrunkLeg::Echo(_) | TrunkLeg::Pending | TrunkLeg::Pcm { .. } => None,
        }
    }

    /// Where the far end finds our media socket.
    pub(super) fn advertised_rtp(&self) -> Option<SocketAddr> {
        let sockets = self.sockets.as_ref()?;
        let bound = self
            .config
            .internal_rtp_ip
            .unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        Some(SocketAddr::new(
            self.config.external_rtp_ip.unwrap_or(bound),
            sockets.port,
        ))
    }

    /// The leg, as packets meet it, and the sockets that they leave by.
    pub(super) fn path_end(&mut self) -> (PathEnd<'_>, Option<&MediaSockets>) {
        let end = match &mut self.leg {
            TrunkLeg::Rtp(leg) => PathEnd::Rtp(leg),
            TrunkLeg::Echo(_) => PathEnd::Echo,
            // Its leg is the socket's.
            TrunkLeg::Pending | TrunkLeg::Pcm { .. } => PathEnd::None,
        };
        (end, self.sockets.as_ref())
    }
}

impl MediaSockets {
    pub(super) fn send_rtp(&self, datagram: &[u8], remote: SocketAddr, metrics: &ShardMetrics) {
        match self.rtp.send_to(datagram, remote) {
            Ok(_) => metrics.trunk_packets_sent.increment(),
            Err(_) => metrics.dropped(DropReason::SendFailed),
        }
    }
}

impl Switch {
    /// A trunk side for a new call, with its sockets bound.
    ///
    /// # Errors
    /// "no media ports" with cause 34.
    pub(super) fn new_trunk_side(
        &mut self,
        trunk: &Arc<TrunkConfig>,
    ) -> Result<TrunkSide, Refusal> {
        let sockets = match &trunk.kind {
            TrunkKind::Echo(_) | TrunkKind::WebSocket(_) => None,
            TrunkKind::Rtp { rtcp_mux, .. } => Some(self.bind_media_sockets(trunk, *rtcp_mux)?),
            // Whether RTCP is muxed is known after the far end's SDP: till then we have a port for it.
            TrunkKind::Sip(_) => Some(self.bind_media_sockets(trunk, false)?),
        };
        Ok(TrunkSide {
            config: Arc::clone(trunk),
            leg: TrunkLeg::Pending,
            sockets,
            answered: false,
            ended: false,
        })
    }

    fn bind_media_sockets(
        &mut self,
        trunk: &TrunkConfig,
        rtcp_mux: bool,
    ) -> Result<MediaSockets, Refusal> {
        let range = (trunk.rtp_start_port, trunk.rtp_end_port);
        let ip = trunk
            .internal_rtp_ip
            .unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let bind = |port: u16| {
            UdpSocket::bind(
                SocketAddr::new(ip, port),
                SOCKET_BUFFER_BYTES,
                SOCKET_BUFFER_BYTES,
            )
        };
        let now = Instant::now();
        let mut busy = Vec::new();
        let mut bound = None;
        while bound.is_none() && busy.len() < BIND_TRIES_MAX {
            let Some(allocated) = self.trunk_ports.of(range).allocate(now) else {
                break;
            };
            let AllocatedPort { port, strays } = allocated;
            let pair = bind(port).and_then(|rtp| {
                Ok((
                    rtp,
                    if rtcp_mux {
                        None
                    } else {
                        Some(bind(port + 1)?)
                    },
                ))
            });
            match pair {
                Ok((rtp, rtcp)) => {
                    bound = Some(MediaSockets {
                        port,
                        strays,
                        range,
                        rtp,
                        rtcp,
                        read_in_turn: Cell::new(0),
                    })
                }
                Err(error) => {
                    warn!(port, %error, trunk_id = %trunk.trunk_id, "a media port of the trunk's range is not ours");
                    busy.push(port);
                }
            }
        }
        for port in busy {
            self.trunk_ports.of(range).release(now, port, None);
        }
        bound.ok_or_else(|| {
            Refusal::new(RefusalCode::Limit, Fault::Us, "no media ports")
                .with_cause(Q850Cause::NO_CIRCUIT)
        })
    }

    /// Lets the media loop hear a call's trunk sockets.
    pub(super) fn register_trunk_sockets(&mut self, key: CallKey) {
        let Some(sockets) = self
            .calls
            .get(key.0)
            .and_then(|call| call.trunk.sockets.as_ref())
        else {
            return;
        };
        let rtp = self
            .trunk_sockets
            .insert(socket_key(key, TrunkPort::Rtp), &sockets.rtp);
        let rtcp = match &sockets.rtcp {
            Some(rtcp) => self
                .trunk_sockets
                .insert(socket_key(key, TrunkPort::Rtcp), rtcp),
            None => Ok(()),
        };
        if let Err(error) = rtp.and(rtcp) {
            warn!(%error, "a trunk socket can't be polled; its call will end for lack of media");
        }
    }

    /// Takes what waits on a trunk socket, one after the other into `datagram`.
    ///
    /// A far end's packets come apart, so after one the socket is empty, and asking it once more would be every third system call
    /// of a packet's. What is there all the same is named again at the next tick; a socket that has something tick after tick,
    /// or one that is read late, is emptied.
    pub(super) fn drain_trunk_socket(&mut self, now: Instant, socket: u64, datagram: &mut [u8]) {
        let (key, port) = socket_of(socket);
        let turn = self.turn;
        let mut datagrams_max = DATAGRAMS_PER_TURN_MAX;
        if let Some(sockets) = self
            .calls
            .get(key.0)
            .and_then(|call| call.trunk.sockets.as_ref())
        {
            let before = sockets.read_in_turn.replace(turn);
            if turn - before > TURNS_APART && !self.is_late {
                datagrams_max = 1;
            }
        }
        for _ in 0..datagrams_max {
            let Some(sockets) = self
                .calls
                .get(key.0)
                .and_then(|call| call.trunk.sockets.as_ref())
            else {
                return;
            };
            let socket = match (port, &sockets.rtcp) {
                (TrunkPort::Rtcp, Some(rtcp)) => rtcp,
                _ => &sockets.rtp,
            };
            let received = socket.receive_one(datagram);
            // An error is an ICMP answer to an earlier send: the next call tells the truth.
            let Ok(Some((len, from, truncated))) = received else {
                return;
            };
            if truncated {
                self.metrics.dropped(DropReason::Oversized);
                continue;
            }
            self.metrics.trunk_packets_received.increment();
            self.handle_trunk_datagram(now, key, port, from, &mut datagram[..len]);
        }
    }

    /// The trunk leg's own timers: RTCP.
    pub(super) fn trunk_due(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let (TrunkLeg::Rtp(leg), Some(sockets)) = (&mut call.trunk.leg, &call.trunk.sockets) else {
            return;
        };
        if leg.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        let datagram = &mut self.buffers.datagram;
        while let Some((len, remote)) = leg.poll_report(now, ntp_now(), datagram) {
            send_rtcp(sockets, leg, &datagram[..len], remote, &self.metrics);
        }
    }

    /// Says goodbye on the wire, closes the sockets and gives the ports back.
    pub(super) fn release_trunk_side(&mut self, now: Instant, side: &mut TrunkSide) {
        let Some(sockets) = side.sockets.take() else {
            return;
        };
        if let TrunkLeg::Rtp(leg) = &mut side.leg
            && !side.ended
        {
            let datagram = &mut self.buffers.datagram;
            if let Some((len, remote)) = leg.write_bye(now, ntp_now(), datagram) {
                send_rtcp(&sockets, leg, &datagram[..len], remote, &self.metrics);
            }
        }
        for socket in std::iter::once(&sockets.rtp).chain(&sockets.rtcp) {
            if let Err(error) = self.trunk_sockets.remove(socket) {
                warn!(%error, "a trunk socket could not be taken off the poll set");
            }
        }
        let heard = match &side.leg {
            TrunkLeg::Rtp(leg) => leg.heard(),
            TrunkLeg::Echo(_) | TrunkLeg::Pending | TrunkLeg::Pcm { .. } => None,
        };
        self.trunk_ports
            .of(sockets.range)
            .release(now, sockets.port, heard);
    }

    /// RTCP BYE is how a far end without signalling hangs up.
    pub(super) fn trunk_said_bye(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        if matches!(call.trunk.config.kind, TrunkKind::Rtp { .. }) {
            let text = "the far end hung up (RTCP BYE)".into();
            self.end_call(
                now,
                key,
                HangUp {
                    cause: Q850Cause::NORMAL,
                    fault: None,
                    text,
                },
            );
        }
    }
}

/// `media_ip_cidrs`
fn allowed_ranges(kind: &TrunkKind) -> Vec<IpCidr> {
    match kind {
        TrunkKind::Sip(sip) => sip.media_ip_cidrs.clone(),
        TrunkKind::Echo(_) | TrunkKind::Rtp { .. } | TrunkKind::WebSocket(_) => Vec::new(),
    }
}

fn send_rtcp(
    sockets: &MediaSockets,
    leg: &RtpLeg,
    datagram: &[u8],
    remote: SocketAddr,
    metrics: &ShardMetrics,
) {
    let own_socket = sockets.rtcp.as_ref().filter(|_| !leg.is_rtcp_muxed());
    let socket = own_socket.unwrap_or(&sockets.rtp);
    match socket.send_to(datagram, remote) {
        Ok(_) => metrics.trunk_packets_sent.increment(),
        Err(_) => metrics.dropped(DropReason::SendFailed),
    }
}

fn socket_key(key: CallKey, port: TrunkPort) -> u64 {
    (key.0 as u64) << 1 | u64::from(port == TrunkPort::Rtcp)
}

/// The call that owns a socket.
pub(super) fn call_of(socket: u64) -> CallKey {
    socket_of(socket).0
}

fn socket_of(socket: u64) -> (CallKey, TrunkPort) {
    let port = if socket & 1 == 1 {
        TrunkPort::Rtcp
    } else {
        TrunkPort::Rtp
    };
    (CallKey((socket >> 1) as usize), port)
}

/// What an echo speaks; none for one that takes what it is sent.
pub(super) fn echo_format(codec: EchoCodec) -> Option<LegFormat> {
    match codec {
        EchoCodec::Pcmu => Some(echo_pcmu().into()),
        EchoCodec::Opus => Some(echo_opus().into()),
        EchoCodec::Same => None,
    }
}

/// What an echo trunk on PCMU speaks: static payload types of RFC 3551, events at 8 kHz.
fn echo_pcmu() -> StreamFormat {
    StreamFormat {
        codec: crate::bridge::Codec::Pcmu,
        payload_type: PayloadType(0),
        ptime_ms: 20,
        telephone_event: Some(crate::bridge::TelephoneEventFormat {
            payload_type: PayloadType(101),
            clock_rate_hz: 8_000,
        }),
    }
}

/// What an echo trunk on Opus speaks.
fn echo_opus() -> StreamFormat {
    StreamFormat {
        codec: crate::bridge::Codec::Opus,
        payload_type: PayloadType(111),
        ptime_ms: 20,
        telephone_event: Some(crate::bridge::TelephoneEventFormat {
            payload_type: PayloadType(110),
            clock_rate_hz: 48_000,
        }),
    }
}
