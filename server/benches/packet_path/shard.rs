//! A shard without sockets: the library's own demultiplexer, legs, bridges, timer wheel and packet path, put together in the order
//! of `switch::media`, in virtual time. `Switch` itself, its sockets and its rings are not in it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use codecs::opus::{Conditions, Limits};
use server::bridge::{Bridge, Codec, DigitTones, DirectionOptions, StreamFormat};
use server::call::RtpMedia;
use server::config::{CodecName, DtlsVersions};
use server::id::LegId;
use server::metrics::DropReason;
use server::rtp::{
    PayloadType, RtpHeader, RtpPacket, RtpTimestamp, SequenceNumber, Ssrc, StreamDirection, is_rtcp,
};
use server::switch::SessionKey;
use server::switch::demux::Demux;
use server::switch::media_path::{MediaPath, PacketBuffers, PathEnd, Wire};
use server::trunk::{RtpLeg, RtpLegConfig, TrunkReceived};
use server::webrtc::dtls::DtlsIdentity;
use server::webrtc::{Peer, PeerConfig, PeerEvent, Received, TRANSMIT_LEN_MAX};
use shards::wheel::{Alarm, TimerWheel};

use super::allocations;
use super::media::Speech;
use super::page::{self, Browser, Page};

/// Which of our addresses all datagrams of pages come to.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MS: Duration = Duration::from_millis(1);
/// A packet's duration, in ticks of 1 ms: the calls' packets come spread over it.
pub const PACKET_TICKS: usize = 20;
/// The longest datagram that is made here.
const DATAGRAM_LEN: usize = 400;

/// What is done to the audio between both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    OpusToPcmu,
    Pcmu,
    Opus,
}

impl Plan {
    pub const ALL: [Self; 3] = [Self::OpusToPcmu, Self::Pcmu, Self::Opus];

    pub fn name(self) -> &'static str {
        match self {
            Self::OpusToPcmu => "Opus <-> PCMU",
            Self::Pcmu => "PCMU passthrough",
            Self::Opus => "Opus passthrough",
        }
    }

    pub fn codecs(self) -> (Codec, Codec) {
        match self {
            Self::OpusToPcmu => (Codec::Opus, Codec::Pcmu),
            Self::Pcmu => (Codec::Pcmu, Codec::Pcmu),
            Self::Opus => (Codec::Opus, Codec::Opus),
        }
    }
}

/// Whose deadline a timer is.
#[derive(Debug, Clone, Copy)]
enum Timer {
    Session(usize),
    Call(usize),
}

struct Call {
    peer: Box<Peer>,
    leg: Box<RtpLeg>,
    bridge: Bridge,
    peer_alarm: Alarm,
    call_alarm: Alarm,
    next_check: Instant,
}

/// The other side of the trunk.
struct FarEnd {
    address: SocketAddr,
    format: StreamFormat,
    sent: u16,
    heard: u64,
}

/// Datagrams on their way in or out, without an allocation each.
#[derive(Default)]
struct Post {
    bytes: Vec<u8>,
    letters: Vec<(SocketAddr, usize, usize)>,
}

impl Post {
    fn push(&mut self, address: SocketAddr, datagram: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.letters.push((address, start, self.bytes.len()));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.letters.clear();
    }

    fn reserve(&mut self, datagrams: usize) {
        self.bytes.reserve(datagrams * DATAGRAM_LEN);
        self.letters.reserve(datagrams);
    }
}

/// What would be the sockets.
#[derive(Default)]
struct Memory {
    to_peers: Post,
    to_trunks: Post,
    dropped: u64,
}

impl Wire for Memory {
    fn send_to_peer(&mut self, remote: SocketAddr, datagram: &[u8]) {
        self.to_peers.push(remote, datagram);
    }

    fn send_to_trunk(&mut self, remote: SocketAddr, datagram: &[u8]) {
        self.to_trunks.push(remote, datagram);
    }

    fn dropped(&mut self, _reason: DropReason) {
        self.dropped += 1;
    }
}

/// Where time goes within a packet; see [`Shard::stages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Stage {
    Demux,
    Unprotect,
    ToTrunk,
    AfterPeer,
    TrunkIn,
    ToPeer,
    ArmCall,
    Timers,
}

impl Stage {
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Demux, "demux"),
        (Self::Unprotect, "SRTP, RTP, reports in"),
        (Self::ToTrunk, "bridge, RTP out"),
        (Self::AfterPeer, "peer's events, timers"),
        (Self::TrunkIn, "RTP in"),
        (Self::ToPeer, "bridge, SRTP out"),
        (Self::ArmCall, "call's timers"),
        (Self::Timers, "wheel, RTCP out"),
    ];
}

/// What each stage took each time, in ns.
pub type Laps = [Vec<u64>; Stage::ALL.len()];

/// What a run took.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Packets of pages.
    pub from_pages: u64,
    /// Packets of far ends.
    pub from_trunks: u64,
    /// Allocations while packets or timers were handled.
    pub allocations: u64,
    /// Time per tick in ns: packets of pages, of far ends, timers; and how many packets each way.
    pub ticks: Vec<[u64; 4]>,
}

pub struct Shard {
    now: Instant,
    tick: usize,
    demux: Demux,
    wheel: TimerWheel<Timer>,
    due: Vec<Timer>,
    buffers: PacketBuffers,
    calls: Vec<Call>,
    pages: Vec<Page>,
    far_ends: Vec<FarEnd>,
    from_pages: Post,
    from_trunks: Post,
    wire: Memory,
    /// With a clock at every stage: what each took, in ns.
    pub stages: Option<Laps>,
    lap: Instant,
}

impl Shard {
    pub fn new(plan: Plan, calls: usize) -> Self {
        let now = Instant::now();
        let (at_page, at_trunk) = plan.codecs();
        let browser = Browser::new();
        let codec = match at_page {
            Codec::Opus => CodecName::Opus,
            _ => CodecName::Pcmu,
        };
        let config = Arc::new(PeerConfig {
            local_addresses: vec![SocketAddr::from(([127, 0, 0, 1], 10_000))],
            identity: Arc::new(DtlsIdentity::generate().unwrap()),
            codecs: vec![codec],
            dtls: DtlsVersions::Auto,
        });
        let mut shard = Self {
            now,
            tick: 0,
            demux: Demux::default(),
            wheel: TimerWheel::new(now, MS),
            due: Vec::with_capacity(4 * calls + 16),
            buffers: PacketBuffers::default(),
            calls: Vec::new(),
            pages: Vec::new(),
            far_ends: Vec::new(),
            from_pages: Post::default(),
            from_trunks: Post::default(),
            wire: Memory::default(),
            stages: None,
            lap: now,
        };
        shard.wheel.reserve(2 * 3 * calls);
        for number in 0..calls {
            let (page, peer) = Page::connect(&browser, &config, number as u16, at_page, now);
            shard.add(page, peer, at_trunk);
        }
        // The bench's own memory does not grow while it counts.
        for post in [
            &mut shard.from_pages,
            &mut shard.from_trunks,
            &mut shard.wire.to_peers,
            &mut shard.wire.to_trunks,
        ] {
            post.reserve(4 * calls + 64);
        }
        shard
    }

    fn add(&mut self, page: Page, mut peer: Peer, at_trunk: Codec) {
        let (now, number) = (self.now, self.calls.len());
        let key = SessionKey(number);
        assert!(self.demux.add_ufrag(peer.local_ufrag(), key));
        for event in page::told(&mut peer) {
            if let PeerEvent::AddressBound(address) = event {
                self.demux.bind(address, None, key);
            }
        }
        let format = StreamFormat {
            codec: at_trunk,
            payload_type: PayloadType(if at_trunk == Codec::Opus { 96 } else { 0 }),
            ptime_ms: 20,
            telephone_event: None,
        };
        let address = SocketAddr::from(([10, 2, (number >> 8) as u8, number as u8], 16_384));
        let media = RtpMedia {
            remote: address,
            remote_rtcp: Some(SocketAddr::new(address.ip(), 16_385)),
            sends: format,
            receives: format,
            direction: StreamDirection::SendRecv,
            srtp: None,
        };
        let leg = RtpLegConfig {
            media,
            strays: None,
            allowed: Vec::new(),
            entropy: [number as u8; RtpLegConfig::ENTROPY_LEN],
        };
        let options = DirectionOptions {
            reorder_wait: 20 * MS,
            force_transcode: false,
            tones_to_sink: DigitTones::Never,
            tones_from_source: DigitTones::Never,
            initial_sequence_number: peer.first_sequence_number(),
            initial_timestamp: peer.first_timestamp(),
        };
        let bridge = Bridge::connect(
            (LegId::VENDOR, &peer.format().into(), options),
            (LegId::TRUNK, &format.into(), options),
        );
        self.calls.push(Call {
            peer: Box::new(peer),
            leg: Box::new(RtpLeg::new(leg, now).unwrap()),
            bridge: bridge.unwrap(),
            peer_alarm: Alarm::default(),
            call_alarm: Alarm::default(),
            next_check: now + Duration::from_secs(1),
        });
        self.pages.push(page);
        self.far_ends.push(FarEnd {
            address,
            format,
            sent: 0,
            heard: 0,
        });
        self.arm_session(number);
        self.arm_call(number);
    }

    /// How media is protected towards pages.
    pub fn profile(&self) -> String {
        format!("{:?}", self.pages[0].profile)
    }

    /// Time passes: so many packets from each side of each call.
    pub fn talk(&mut self, packets: usize, speech: (&Speech, &Speech)) -> Account {
        let mut account = Account {
            ticks: Vec::with_capacity(packets * PACKET_TICKS),
            ..Account::default()
        };
        for _ in 0..packets * PACKET_TICKS {
            self.tick(speech, &mut account);
        }
        account
    }

    /// Timers that are pending, for each call.
    pub fn timers_per_call(&self) -> f64 {
        self.wheel.len() as f64 / self.calls.len() as f64
    }

    /// Every packet that went in came out.
    pub fn assert_nothing_lost(&self) {
        assert_eq!(self.wire.dropped, 0, "datagrams dropped");
        for (call, (page, far_end)) in self.pages.iter().zip(&self.far_ends).enumerate() {
            assert_eq!(page.heard, u64::from(far_end.sent), "at page {call}");
            assert_eq!(far_end.heard, u64::from(far_end.sent), "at far end {call}");
        }
    }

    fn tick(&mut self, speech: (&Speech, &Speech), account: &mut Account) {
        self.now += MS;
        self.say(speech);
        let pages = self.from_pages.letters.len() as u64;
        let trunks = self.from_trunks.letters.len() as u64;
        let allocations = allocations::so_far();
        let begun = Instant::now();
        for letter in 0..self.from_pages.letters.len() {
            let (from, start, end) = self.from_pages.letters[letter];
            self.lap_begins();
            self.webrtc_datagram(from, start, end);
        }
        let pages_done = Instant::now();
        for letter in 0..self.from_trunks.letters.len() {
            let (from, start, end) = self.from_trunks.letters[letter];
            self.lap_begins();
            self.trunk_datagram(from, start, end);
        }
        let trunks_done = Instant::now();
        self.lap_begins();
        self.fire_timers();
        self.lap(Stage::Timers);
        let timers_done = Instant::now();
        account.allocations += allocations::so_far() - allocations;
        account.from_pages += pages;
        account.from_trunks += trunks;
        let ns = |until: Instant, since: Instant| (until - since).as_nanos() as u64;
        account.ticks.push([
            ns(pages_done, begun),
            ns(trunks_done, pages_done),
            ns(timers_done, trunks_done),
            pages << 32 | trunks,
        ]);
        self.hear();
    }

    /// What both sides of the calls whose turn it is send.
    fn say(&mut self, (of_page, of_far_end): (&Speech, &Speech)) {
        self.from_pages.clear();
        self.from_trunks.clear();
        let turn = self.tick % PACKET_TICKS;
        self.tick += 1;
        let whose = (turn..self.calls.len()).step_by(PACKET_TICKS);
        for call in whose {
            let page = &mut self.pages[call];
            let address = page.address;
            let post = &mut self.from_pages;
            page.send(self.now, &self.calls[call].peer, of_page, |datagram| {
                post.push(address, datagram);
            });
            let far_end = &mut self.far_ends[call];
            let header = RtpHeader {
                marker: far_end.sent == 0,
                payload_type: far_end.format.payload_type,
                sequence_number: SequenceNumber(far_end.sent),
                timestamp: RtpTimestamp(
                    u32::from(far_end.sent) * far_end.format.codec.clock_rate_hz() / 50,
                ),
                ssrc: Ssrc(7),
            };
            let mut datagram = [0; DATAGRAM_LEN];
            let payload = of_far_end.frame(usize::from(far_end.sent));
            let len = header.write_packet(payload, &mut datagram).unwrap();
            self.from_trunks.push(far_end.address, &datagram[..len]);
            far_end.sent += 1;
        }
    }

    /// Both sides read what they were sent.
    fn hear(&mut self) {
        let mut to_peers = std::mem::take(&mut self.wire.to_peers);
        for (address, start, end) in to_peers.letters.drain(..) {
            let page = &mut self.pages[number_of(address)];
            page.hear(self.now, &mut to_peers.bytes[start..end]);
        }
        to_peers.clear();
        self.wire.to_peers = to_peers;
        let to_trunks = &mut self.wire.to_trunks;
        for (address, start, end) in to_trunks.letters.drain(..) {
            let datagram = &to_trunks.bytes[start..end];
            if !is_rtcp(datagram) {
                RtpPacket::parse(datagram).unwrap();
                self.far_ends[number_of(address)].heard += 1;
            }
        }
        to_trunks.clear();
    }

    fn webrtc_datagram(&mut self, from: SocketAddr, start: usize, end: usize) {
        let datagram = &mut self.from_pages.bytes[start..end];
        let is_check = datagram[0] <= 3;
        let Ok(found) = self.demux.find(from, datagram) else {
            self.wire.dropped += 1;
            return;
        };
        let SessionKey(number) = found.session;
        let now = self.now;
        lap(&mut self.stages, &mut self.lap, Stage::Demux);
        let call = &mut self.calls[number];
        let received = call.peer.handle_datagram(now, from, datagram);
        let local = Some(LOCAL);
        if received.is_ok() && !is_check && found.local != local {
            self.demux.heard(from, local);
        }
        lap(&mut self.stages, &mut self.lap, Stage::Unprotect);
        match received {
            Ok(Received::Control) => {}
            Ok(Received::Media(packet)) => {
                call.bridge.handle_packet(LegId::VENDOR, now, &packet);
                self.pump(number);
                self.lap(Stage::ToTrunk);
                self.arm_call(number);
                self.lap(Stage::ArmCall);
            }
            Err(_) => self.wire.dropped += 1,
        }
        self.after_peer(number);
        self.lap(Stage::AfterPeer);
    }

    fn trunk_datagram(&mut self, from: SocketAddr, start: usize, end: usize) {
        // A socket of its own names the call.
        let number = number_of(from);
        let now = self.now;
        let call = &mut self.calls[number];
        let datagram = &mut self.from_trunks.bytes[start..end];
        match call.leg.handle_datagram(now, from, datagram) {
            Ok(TrunkReceived::Media(packet)) => {
                lap(&mut self.stages, &mut self.lap, Stage::TrunkIn);
                call.bridge.handle_packet(LegId::TRUNK, now, &packet);
            }
            Ok(TrunkReceived::Control(_)) => {}
            Err(_) => self.wire.dropped += 1,
        }
        self.pump(number);
        self.lap(Stage::ToPeer);
        self.arm_call(number);
        self.lap(Stage::ArmCall);
    }

    fn pump(&mut self, number: usize) {
        let call = &mut self.calls[number];
        let mut path = MediaPath {
            bridge: &mut call.bridge,
            vendor: PathEnd::Peer(&mut call.peer),
            trunk: PathEnd::Rtp(&mut call.leg),
        };
        let digit = path.pump(self.now, &mut self.buffers, &mut self.wire);
        assert_eq!(digit, None);
    }

    fn after_peer(&mut self, number: usize) {
        let peer = &mut self.calls[number].peer;
        while let Some(event) = peer.poll_event() {
            if let PeerEvent::AddressBound(address) = event {
                self.demux.bind(address, None, SessionKey(number));
            }
        }
        let mut datagram = [0; TRANSMIT_LEN_MAX];
        while let Some((len, remote)) = peer.poll_transmit(self.now, &mut datagram) {
            self.wire.send_to_peer(remote, &datagram[..len]);
        }
        self.arm_session(number);
    }

    fn arm_session(&mut self, number: usize) {
        let call = &mut self.calls[number];
        if let Some(due) = call.peer.poll_timeout() {
            let timer = Timer::Session(number);
            call.peer_alarm.set(&mut self.wheel, due, timer);
        }
    }

    fn arm_call(&mut self, number: usize) {
        let call = &mut self.calls[number];
        let due = [
            Some(call.next_check),
            call.bridge.poll_timeout(),
            call.leg.poll_timeout(),
        ];
        if let Some(due) = due.into_iter().flatten().min() {
            let timer = Timer::Call(number);
            call.call_alarm.set(&mut self.wheel, due, timer);
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now;
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now, |timer| due.push(timer));
        for timer in due.drain(..) {
            match timer {
                Timer::Session(number) => {
                    let call = &mut self.calls[number];
                    if !call.peer_alarm.fired(now) {
                        continue;
                    }
                    if call.peer.poll_timeout().is_some_and(|due| due <= now) {
                        call.peer.handle_timeout(now);
                    }
                    self.after_peer(number);
                }
                Timer::Call(number) => self.call_due(number),
            }
        }
        self.due = due;
    }

    fn call_due(&mut self, number: usize) {
        let now = self.now;
        let call = &mut self.calls[number];
        if !call.call_alarm.fired(now) {
            return;
        }
        call.bridge.handle_timeout(now);
        if call.next_check <= now {
            call.next_check = now + Duration::from_secs(1);
            let conditions = Conditions {
                available_bps: call.peer.available_bitrate_bps(),
                loss_fraction: call.peer.remote_loss(now),
                cpu_is_scarce: false,
            };
            for leg in [LegId::VENDOR, LegId::TRUNK] {
                let route = call.bridge.route_towards_mut(leg).unwrap();
                route.direction.adapt(&Limits::default(), &conditions);
            }
        }
        let mut datagram = [0; TRANSMIT_LEN_MAX];
        while let Some((len, remote)) = call.leg.poll_report(now, page::WALL, &mut datagram) {
            self.wire.send_to_trunk(remote, &datagram[..len]);
        }
        self.pump(number);
        self.arm_call(number);
    }

    fn lap_begins(&mut self) {
        if self.stages.is_some() {
            self.lap = Instant::now();
        }
    }

    fn lap(&mut self, stage: Stage) {
        lap(&mut self.stages, &mut self.lap, stage);
    }
}

fn lap(stages: &mut Option<Laps>, since: &mut Instant, stage: Stage) {
    if let Some(stages) = stages {
        let now = Instant::now();
        stages[stage as usize].push((now - *since).as_nanos() as u64);
        *since = now;
    }
}

/// The call of an address that was made for it.
fn number_of(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(address) => {
            let [_, _, high, low] = address.ip().octets();
            usize::from(high) << 8 | usize::from(low)
        }
        SocketAddr::V6(_) => unreachable!("none was made"),
    }
}
