//! The switch: one per shard. It owns the shard's sessions, calls and media sockets, and the clock that drives them.
//!
//! * [`turn`] is the media loop: once a tick it drains the sockets, lets the timers fire and sends what came of it.
//! * `media` is a packet's way: socket -> WebRTC peer -> bridge -> trunk leg -> socket, and back; [`media_path`] what of it
//!   needs no socket.
//! * `calls` is a call's life: dial or incoming, answer, hold, end. Exactly one final event per call, whatever happens.
//! * `pcm_sockets` are the WebSockets that carry audio, drained at the tick; `pcm_calls` is what their peers do to calls,
//!   `pcm_legs` how their media legs are set up.
//! * `death` is what a panic ends: one call, or the shard.
//! * `admission` is whether the shard has room for another call, `cpu_pressure` whether it has CPU for better Opus.
//! * `sessions` is what a signalling session may ask for; [`mailbox`] is what it is told.
//!
//! Everything here runs on one core behind one `RefCell`; nothing is held across an `await`. Protocol logic lives in
//! the rooms below, which see neither socket nor clock.

pub mod demux;
pub mod mailbox;
pub mod media_path;
pub mod turn;

mod accounts;
mod admission;
mod asks;
mod call_media;
mod call_setup;
mod call_watch;
mod calls;
mod control_line;
mod cpu_pressure;
mod death;
mod incoming;
mod local_addresses;
mod media;
mod pcm_begin;
mod pcm_calls;
mod pcm_lag;
mod pcm_legs;
mod pcm_socket;
mod pcm_sockets;
mod sessions;
mod set_up_stages;
mod trunk_media;
mod vendor_side;
mod waiting;
mod webrtc_port;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shards::ShardIndex;
use shards::doorbell::Doorbell;
use shards::executor::thread_cpu_time;
use shards::ring::Producer;
use shards::tick::Lateness;
use shards::udp::{SocketSet, UdpSocket};
use shards::wheel::TimerWheel;
use slab::Slab;

pub use local_addresses::interface_addresses;
pub use pcm_legs::PcmVendor;
pub use sessions::{DialRequest, SessionEnd};

use crate::call::rings::ToControl;
use crate::config::ShardsConfig;
use crate::fault::Refusal;
use crate::id::{CallSid, UnixMillis};
use crate::metrics::{LoadRefusal, ShardMetrics};
use crate::rtp::NtpTime;
use crate::settings::Settings;
use crate::webrtc::PeerConfig;
use admission::{Admission, AdmissionLimits, Measures};
use asks::Asks;
use calls::Call;
use control_line::ControlLine;
use cpu_pressure::CpuPressure;
use demux::Demux;
use mailbox::ToldSessions;
use media::Way;
use media_path::PacketBuffers;
use pcm_begin::AskedCall;
use pcm_socket::PcmKey;
use pcm_sockets::PcmSockets;
use sessions::Session;
use trunk_media::TrunkPorts;
use webrtc_port::WebRtcPort;

/// The longest datagram that we take or make: more than any path MTU that carries voice.
pub const DATAGRAM_BYTES_MAX: usize = 2048;

/// Timers that a session or a call has on the wheel, with those that fire for nothing.
const TIMERS_PER_OWNER: usize = 3;

/// A signalling session of this shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey(pub usize);

/// A call of this shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct CallKey(usize);

/// Whose deadline a timer is.
#[derive(Debug, Clone, Copy)]
enum Timer {
    Session(SessionKey),
    Call(CallKey),
    Pcm(PcmKey),
}

/// What a switch is made of.
pub struct SwitchParts {
    /// Which shard.
    pub shard: ShardIndex,
    /// How many there are.
    pub shards: u16,
    /// `gateway.toml` with its files, as they are now.
    pub settings: Arc<Settings>,
    /// `shards.toml`
    pub shards_config: Arc<ShardsConfig>,
    /// This shard's counters.
    pub metrics: Arc<ShardMetrics>,
    /// The ring to the control thread.
    pub to_control: Producer<ToControl>,
    /// Wakes this shard's media loop.
    pub doorbell: Arc<Doorbell>,
    /// The WebRTC port.
    pub socket: UdpSocket,
    /// What every WebRTC peer of the shard shares.
    pub peer_config: Arc<PeerConfig>,
}

/// The switch itself; see the module's documentation.
pub struct Switch {
    shard: ShardIndex,
    settings: Arc<Settings>,
    shards_config: Arc<ShardsConfig>,
    metrics: Arc<ShardMetrics>,
    to_control: ControlLine,
    doorbell: Arc<Doorbell>,
    peer_config: Arc<PeerConfig>,
    sessions: Slab<Session>,
    /// The [`Session::serial`] of the next session.
    next_serial: u64,
    calls: Slab<Call>,
    calls_by_sid: HashMap<CallSid, CallKey>,
    demux: Demux,
    asks: Asks,
    wheel: TimerWheel<Timer>,
    port: WebRtcPort,
    /// The check that is being handled: its answer leaves the way it came.
    checked_on: Option<Way>,
    /// Sessions that have a media leg.
    peers: usize,
    /// Calls that have a bridge.
    bridged_calls: usize,
    trunk_sockets: SocketSet,
    trunk_ports: TrunkPorts,
    /// WebSockets that carry audio.
    pcm: PcmSockets,
    /// Sessions without a task that have something in their mailboxes.
    told: Rc<ToldSessions>,
    /// Calls that such sessions ask for, to be begun outside of the turn.
    asked_calls: Vec<AskedCall>,
    /// Where bridges write payloads and legs datagrams; one pair for all.
    buffers: PacketBuffers,
    /// Whether our Opus encoders must save CPU.
    cpu_pressure: CpuPressure,
    /// Whether there is room for another call.
    admission: Admission,
    /// Timers that are due now; kept so that firing allocates nothing.
    due: Vec<Timer>,
    /// Turns of the media loop so far.
    turn: u64,
    /// When the trunk sockets were read last, and whether that was late: then more than one packet of a stream may wait.
    trunks_read: Instant,
    is_late: bool,
    /// The media loop sleeps on the doorbell, not on the tick.
    idle: bool,
    draining: bool,
    /// The media loop panicked: nothing here is to be trusted, and nothing is told any more.
    dead: bool,
    #[cfg(debug_assertions)]
    trap: crate::injection::Trap,
    #[cfg(debug_assertions)]
    burden: crate::injection::Burden,
}

/// The switch as the shard's tasks share it.
#[derive(Clone)]
pub struct SwitchHandle(Rc<RefCell<Switch>>);

impl SwitchHandle {
    /// Puts a switch together.
    ///
    /// # Errors
    /// If the kernel gives no epoll instance.
    pub fn new(parts: SwitchParts) -> std::io::Result<Self> {
        let SwitchParts {
            shard,
            shards,
            settings,
            shards_config,
            metrics,
            to_control,
            doorbell,
            socket,
            peer_config,
        } = parts;
        let port = WebRtcPort::new(
            socket,
            shards_config.udp_batch_packets,
            Arc::clone(&metrics),
        );
        let switch = Switch {
            shard,
            to_control: ControlLine::new(to_control, Arc::clone(&metrics)),
            metrics,
            doorbell,
            peer_config,
            sessions: Slab::new(),
            next_serial: 0,
            calls: Slab::new(),
            calls_by_sid: HashMap::new(),
            demux: Demux::default(),
            asks: Asks::default(),
            wheel: TimerWheel::new(Instant::now(), Duration::from_millis(1)),
            port,
            checked_on: None,
            peers: 0,
            bridged_calls: 0,
            trunk_sockets: SocketSet::new()?,
            trunk_ports: TrunkPorts::new(shard, shards),
            pcm: PcmSockets::new()?,
            told: Rc::default(),
            asked_calls: Vec::new(),
            buffers: PacketBuffers::default(),
            cpu_pressure: CpuPressure::default(),
            admission: Admission::new(admission_limits(&shards_config)),
            due: Vec::new(),
            turn: 0,
            trunks_read: Instant::now(),
            is_late: false,
            idle: false,
            draining: false,
            dead: false,
            #[cfg(debug_assertions)]
            trap: crate::injection::Trap::default(),
            #[cfg(debug_assertions)]
            burden: crate::injection::Burden::default(),
            settings,
            shards_config,
        };
        Ok(Self(Rc::new(RefCell::new(switch))))
    }

    /// Tenants, trunks, certificate and keys, for what begins now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.0.borrow().settings)
    }

    /// Whether a page that comes now may have a call: asked before the shard does anything for it.
    ///
    /// # Errors
    /// The shard is overloaded.
    pub fn has_room_for_a_page(&self) -> Result<(), Refusal> {
        self.0.borrow_mut().has_room(LoadRefusal::Upgrade)
    }
}

impl Switch {
    /// Lets the media loop run: there is something to drive.
    fn wake(&mut self) {
        if self.idle {
            self.doorbell.ring();
        }
    }

    /// Something lives that needs the tick.
    fn is_busy(&self) -> bool {
        !self.calls.is_empty()
            || self.peers > 0
            || !self.pcm.is_empty()
            || self.to_control.has_waiting()
    }

    /// Looks how much of its time the media loop worked, and whether there is room for more.
    fn watch_load(&mut self, now: Instant, take_lateness: impl FnOnce() -> Lateness) {
        if self.idle {
            self.cpu_pressure.rest();
        } else {
            self.cpu_pressure.look(now, self.metrics.busy_ns.value());
        }
        let scarce = self.cpu_pressure.is_scarce();
        self.metrics.cpu_scarce.set(scarce.into());
        if self.admission.is_due(now) {
            self.look_at_load(now, take_lateness());
        }
        if self.idle {
            // Nobody looks while the loop sleeps, and the gauges shall not show the last call's load for ever.
            self.metrics.busy_ppm.set(0);
            self.metrics.tick_late_us.set(0);
            self.metrics.admission_closed.set(0);
        }
    }

    fn look_at_load(&mut self, now: Instant, ticks: Lateness) {
        let measures = Measures {
            // Every kernel with io_uring has the clock.
            cpu: thread_cpu_time().unwrap_or_default(),
            media: Duration::from_nanos(self.metrics.busy_ns.value()),
            ticks,
            calls: self.calls.len(),
            calls_with_media: self.bridged_calls,
        };
        self.admission.look(now, &measures);
        if self.idle {
            return; // Nobody would put the gauges back while the loop sleeps.
        }
        let metrics = &self.metrics;
        let busy_ppm = self.admission.busy_share() * 1e6;
        metrics.busy_ppm.set(busy_ppm as u64);
        let late_us = self.admission.tick_late().as_micros();
        metrics.tick_late_us.set(late_us as u64);
        metrics
            .admission_closed
            .set(self.admission.is_closed().into());
    }

    /// Why the shard's load leaves no room for another call, if it leaves none. Counted.
    fn has_room(&mut self, at: LoadRefusal) -> Result<(), Refusal> {
        let now = Instant::now();
        // The media loop, which looks all the time, is asleep.
        if self.idle && self.admission.is_due(now) {
            self.look_at_load(now, Lateness::default());
        }
        match self.admission.overload(self.calls.len()) {
            Some(overload) => {
                self.metrics.refused_by_load(at);
                Err(overload.into())
            }
            None => Ok(()),
        }
    }

    /// Timers of what lives allocate nothing.
    fn reserve_timers(&mut self) {
        let owners = self.sessions.len() + self.calls.len() + self.pcm.len();
        self.wheel.reserve(owners * TIMERS_PER_OWNER);
    }

    /// Tells the gauges what lives here now.
    fn publish_gauges(&self) {
        let metrics = &self.metrics;
        metrics.calls.set(self.calls.len() as u64);
        metrics.sessions.set(self.sessions.len() as u64);
        metrics.peers.set(self.peers as u64);
        metrics.pcm_sockets.set(self.pcm.len() as u64);
        metrics.media_ports.set(self.trunk_ports.in_use() as u64);
        let entries = self.sessions.len()
            + self.calls.len()
            + self.calls_by_sid.len()
            + self.demux.len()
            + self.pcm.len()
            + self.asks.len();
        metrics.slab_entries.set(entries as u64);
    }
}

fn admission_limits(shards_config: &ShardsConfig) -> AdmissionLimits {
    AdmissionLimits {
        busy_share_max: f64::from(shards_config.admission_busy_pct_max) / 100.0,
        tick_late_max: Duration::from_millis(shards_config.admission_tick_late_ms_max.into()),
    }
}

/// The wall clock of events.
fn unix_now() -> UnixMillis {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The wall clock of RTCP.
fn ntp_now() -> NtpTime {
    NtpTime::from_unix(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// Random bytes for names, keys and first sequence numbers.
fn entropy<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Invariant: getrandom fails only on kernels without it, which can't run io_uring either.
    #[expect(clippy::expect_used, reason = "see the line above")]
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

#[cfg(test)]
mod tests;
