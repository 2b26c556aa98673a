//! The whole gateway as one running process: what starts in which order, and how it ends.
//!
//! Everything that can fail at start fails before `/readyz` says yes: limits, key files, ports, executors. The control
//! thread is the calling thread; when it returns, the shards have been told to stop and are joined.

mod control_core;
mod hang_up;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use codecs::simd::Simd;
use shards::ShardIndex;
use shards::doorbell::{Doorbell, DoorbellListener};
use shards::executor::{self, Executor, ExecutorError, ExecutorSettings, MemlockError, task};
use shards::guard::guarded;
use shards::listener::Listener;
use shards::mesh::{MeshEnd, mesh};
use shards::ring::{Consumer, Producer, ring};
use shards::tls::LiveConnection;
use shards::udp::UdpSocket;
use thiserror::Error;
use tracing::{info, warn};

use crate::call::rings::{ToControl, ToShard};
use crate::config::{ConfigFiles, Loaded, ShardsConfig};
use crate::control::{self, AdminListener, ControlError, ControlInputs, ReloadSource, ShardLink};
use crate::ingress::{AddressLimits, Front, Resumable, accept_loop, adopt_handed_over};
use crate::metrics::{ProcessState, ShardMetrics};
use crate::settings::{Settings, SettingsError};
use crate::switch::turn::media_loop;
use crate::switch::{SwitchHandle, SwitchParts, interface_addresses};
use crate::webrtc::PeerConfig;
use crate::webrtc::dtls::{DtlsIdentity, DtlsIdentityError};

/// Connections that the kernel keeps for a listener that is busy.
const BACKLOG: u32 = 1024;
/// How long sessions may take to say goodbye when the gateway stops.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// How long the threads of shards that have said goodbye may take to close their files.
const THREADS_END_WITHIN: Duration = Duration::from_secs(2);

/// Why the gateway did not start, or ended other than by a drain.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Too little locked memory for io_uring.
    #[error(transparent)]
    Memlock(#[from] MemlockError),
    /// A certificate or key.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The DTLS certificate could not be made.
    #[error("DTLS: {0}")]
    Dtls(#[from] DtlsIdentityError),
    /// A shard could not bind its sockets.
    #[error("shard {shard}: {what}: {source}")]
    Socket {
        /// Which shard.
        shard: ShardIndex,
        /// Which socket.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No address for ICE candidates.
    #[error("[webrtc] advertised_ips is empty and the interfaces can't be listed: {0}")]
    Interfaces(io::Error),
    /// A doorbell needs a file descriptor.
    #[error("no file descriptor for a doorbell: {0}")]
    Doorbell(io::Error),
    /// A shard's executor.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The control thread.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Runs until the gateway has drained.
///
/// # Errors
/// A part could not start, or died.
pub fn run(files: ConfigFiles, loaded: Loaded) -> Result<(), ServeError> {
    hang_up::ignore();
    let parts = Parts::prepare(files, loaded)?;
    let process = Arc::clone(&parts.process);
    let control_core = parts.shards_config.control_core;
    let started = parts.start_shards()?;

    control_core::place(control_core);
    process.ready.store(true, Ordering::Relaxed);
    info!(
        shards = started.executors.len(),
        simd = %Simd::detected(),
        "the gateway is ready"
    );
    let ended = control::run(started.control);
    process.ready.store(false, Ordering::Relaxed);
    let deadline = Instant::now() + THREADS_END_WITHIN;
    for executor in started.executors {
        while !executor.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        if !executor.is_finished() {
            // Its calls were told and its sessions closed; what is left ends with the process.
            warn!(
                shard = executor.shard().0,
                "a shard's thread does not end; the process ends without it"
            );
        } else if let Err(error) = executor.join() {
            tracing::error!(%error, "a shard ended badly");
        }
    }
    ended.map_err(ServeError::from)
}

/// What all shards share, made once.
struct Parts {
    settings: Arc<Settings>,
    shards_config: Arc<ShardsConfig>,
    process: Arc<ProcessState>,
    dtls: Arc<DtlsIdentity>,
    candidate_ips: Vec<IpAddr>,
    admin: AdminListener,
    reload: ReloadSource,
}

struct Started {
    executors: Vec<Executor<()>>,
    control: ControlInputs,
}

impl Parts {
    fn prepare(files: ConfigFiles, loaded: Loaded) -> Result<Self, ServeError> {
        let Loaded {
            gateway: config,
            shards: shards_config,
            effective: at_start,
            ..
        } = loaded;
        executor::check_memlock(shards_config.cores.len())?;
        // An error means that somebody installed it before us, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let settings = Settings::read(config)?;
        let config = &settings.config;
        let candidate_ips = match config.webrtc.advertised_ips.as_slice() {
            [] => interface_addresses().map_err(ServeError::Interfaces)?,
            ips => ips.to_vec(),
        };
        info!(candidates = ?candidate_ips, "addresses of our ICE candidates");
        let admin = AdminListener::bind(config.admin.listen)?;
        control::check_sip_addresses(config)?;
        Ok(Self {
            dtls: Arc::new(DtlsIdentity::generate()?),
            candidate_ips,
            admin,
            process: Arc::new(ProcessState::default()),
            reload: ReloadSource { files, at_start },
            settings: Arc::new(settings),
            shards_config: Arc::new(shards_config),
        })
    }

    fn start_shards(self) -> Result<Started, ServeError> {
        let settings = Arc::clone(&self.shards_config);
        let count = settings.cores.len();
        let doorbells: Vec<Arc<Doorbell>> = (0..count)
            .map(|_| Doorbell::new())
            .collect::<Result<_, _>>()
            .map_err(ServeError::Doorbell)?;
        let mesh_ends = mesh::<LiveConnection>(&doorbells, settings.hand_off_ring_slots);
        let (report, reports) = mpsc::channel();
        let mut links = Vec::with_capacity(count);
        let mut executors = Vec::with_capacity(count);
        for (index, (core, mesh_end)) in settings.cores.iter().copied().zip(mesh_ends).enumerate() {
            let shard = ShardIndex(index as u16);
            let doorbell = Arc::clone(&doorbells[index]);
            let metrics = Arc::new(ShardMetrics::default());
            let exited = Arc::new(AtomicBool::new(false));
            let (to_control, from_shard) = ring::<ToControl>(settings.control_ring_slots, None);
            let (to_shard, from_control) =
                ring::<ToShard>(settings.shard_ring_slots, Some(Arc::clone(&doorbell)));
            links.push(ShardLink {
                metrics: Arc::clone(&metrics),
                to_shard,
                from_shard,
                exited: Arc::clone(&exited),
            });
            let seed = ShardSeed {
                shard,
                shards: count as u16,
                settings: Arc::clone(&self.settings),
                shards_config: Arc::clone(&settings),
                process: Arc::clone(&self.process),
                dtls: Arc::clone(&self.dtls),
                candidate_ips: self.candidate_ips.clone(),
                metrics,
                doorbell,
                mesh_end,
                to_control,
                from_control,
                exit: Exit(exited),
            };
            let executor_settings = ExecutorSettings {
                core,
                preempt_timer: Duration::from_micros(settings.preempt_timer_us.into()),
                name: format!("shard-{index}"),
            };
            let report = report.clone();
            executors.push(executor::spawn(shard, executor_settings, move || {
                shard_main(seed, report)
            })?);
        }
        drop(report);
        // Each shard reports once; the channel ends when all of them have.
        for outcome in reports {
            outcome?;
        }
        let control = ControlInputs {
            config: Arc::clone(&self.settings.config),
            tls: Arc::clone(&self.settings.tls),
            reload: self.reload,
            shards: links,
            process: self.process,
            admin: self.admin,
        };
        Ok(Started { executors, control })
    }
}

/// What one shard is made of; travels to its thread.
struct ShardSeed {
    shard: ShardIndex,
    shards: u16,
    settings: Arc<Settings>,
    shards_config: Arc<ShardsConfig>,
    process: Arc<ProcessState>,
    dtls: Arc<DtlsIdentity>,
    candidate_ips: Vec<IpAddr>,
    metrics: Arc<ShardMetrics>,
    doorbell: Arc<Doorbell>,
    mesh_end: MeshEnd<LiveConnection>,
    to_control: Producer<ToControl>,
    from_control: Consumer<ToShard>,
    exit: Exit,
}

/// Says that the shard tells nothing more of its calls, however it ended.
struct Exit(Arc<AtomicBool>);

impl Drop for Exit {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

type Report = mpsc::Sender<Result<(), ServeError>>;

/// A shard from its first socket to its last.
async fn shard_main(mut seed: ShardSeed, report: Report) {
    let exit = std::mem::replace(&mut seed.exit, Exit(Arc::default()));
    let (front, listeners, doorbell, from_control) = match build_shard(seed) {
        Ok(built) => built,
        Err(error) => {
            // The receiver is gone only when another shard has failed before.
            let _ = report.send(Err(error));
            return;
        }
    };
    for listener in listeners {
        task("accept", accept_loop(Rc::clone(&front), listener), |_| {});
    }
    let _ = report.send(Ok(()));
    drop(report);
    let adopt = || adopt_handed_over(&front);
    let media = media_loop(front.switch.clone(), from_control, doorbell, adopt);
    match guarded(media).await {
        Ok(()) => {
            say_goodbye(&front).await;
            drop(exit);
        }
        Err(panicked) => {
            tracing::error!(
                shard = front.shard.0,
                "the media loop {panicked}; the shard ends with its calls"
            );
            // No shard takes new callers from now on: the process is about to end.
            front.state.unhealthy.store(true, Ordering::Relaxed);
            front.state.draining.store(true, Ordering::Relaxed);
            front.switch.die();
            // The control thread tells the ends at once.
            drop(exit);
            say_goodbye(&front).await;
        }
    }
}

/// Sessions were told to close; they have a moment for it, those too that come from other shards just now.
async fn say_goodbye(front: &Rc<Front>) {
    let deadline = Instant::now() + GOODBYE_WITHIN;
    while front.metrics.sessions.value() > 0 && Instant::now() < deadline {
        adopt_handed_over(front);
        executor::sleep(Duration::from_millis(5)).await;
    }
}

type BuiltShard = (
    Rc<Front>,
    Vec<Listener>,
    DoorbellListener,
    Consumer<ToShard>,
);

fn build_shard(seed: ShardSeed) -> Result<BuiltShard, ServeError> {
    let shard = seed.shard;
    let settings = &seed.shards_config;
    let socket_error = |what: String| {
        move |source| ServeError::Socket {
            shard,
            what,
            source,
        }
    };
    let port = settings.webrtc_udp_port_base + shard.0;
    let socket =
        bind_webrtc(port, settings).map_err(socket_error(format!("WebRTC port {port}/udp")))?;
    socket
        .tell_addressed()
        .map_err(socket_error(format!("WebRTC port {port}/udp")))?;
    if let Ok((receive, send)) = socket.buffer_bytes() {
        // The kernel counts double, for its own overhead; it gives less than was asked for beyond net.core.rmem_max.
        let (receive_buffer_bytes, send_buffer_bytes) = (receive / 2, send / 2);
        info!(
            shard = shard.0,
            port, receive_buffer_bytes, send_buffer_bytes, "WebRTC port bound"
        );
    }
    let config = Arc::clone(&seed.settings.config);
    let listeners = config.server.listen.iter().map(|&address| {
        Listener::bind(address, BACKLOG).map_err(socket_error(format!("[server] listen {address}")))
    });
    let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
    let doorbell =
        DoorbellListener::new(Arc::clone(&seed.doorbell)).map_err(ServeError::Doorbell)?;
    let peer_config = PeerConfig {
        local_addresses: seed
            .candidate_ips
            .iter()
            .map(|&ip| SocketAddr::new(ip, port))
            .collect(),
        identity: seed.dtls,
        codecs: config.webrtc.codecs.clone(),
        dtls: config.webrtc.dtls,
    };
    let switch = SwitchHandle::new(SwitchParts {
        shard,
        shards: seed.shards,
        settings: seed.settings,
        shards_config: Arc::clone(settings),
        metrics: Arc::clone(&seed.metrics),
        to_control: seed.to_control,
        doorbell: seed.doorbell,
        socket,
        peer_config: Arc::new(peer_config),
    })
    .map_err(socket_error("epoll".into()))?;
    let addresses = AddressLimits::new(
        settings.connections_per_address_max,
        settings.connections_per_address_per_s,
    );
    let front = Front {
        shard,
        shards: seed.shards,
        metrics: seed.metrics,
        state: seed.process,
        switch,
        mesh: RefCell::new(seed.mesh_end),
        addresses: RefCell::new(addresses),
        resumable: Resumable::default(),
        shards_config: seed.shards_config,
    };
    Ok((Rc::new(front), listeners, doorbell, seed.from_control))
}

/// One dual-stack socket; IPv4 alone where the host has no IPv6.
fn bind_webrtc(port: u16, settings: &ShardsConfig) -> io::Result<UdpSocket> {
    let bind = |ip: IpAddr| {
        let address = SocketAddr::new(ip, port);
        UdpSocket::bind(
            address,
            settings.udp_receive_buffer_bytes,
            settings.udp_send_buffer_bytes,
        )
    };
    match bind(Ipv6Addr::UNSPECIFIED.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            warn!("this host has no IPv6; media is IPv4 only");
            bind(Ipv4Addr::UNSPECIFIED.into())
        }
        bound => bound,
    }
}
