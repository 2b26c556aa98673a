//! The control thread's loop: rings, clock and signals in; answers, events and an orderly end out.
//!
//! It polls: a wake-up would cost the sending shard 12 us of its media time, while a question may well wait for 2 to
//! 5 ms. Polling an idle gateway costs below 1 % of a core.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shards::ShardIndex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::admin::{AdminContext, AdminListener, AdminServer, AdminToken};
use super::links::{Received, ShardLink, ShardLinks};
use super::outbound::driver::OutboundDriver;
use super::reload::{ReloadSource, Reloading};
use super::shutdown::{Remaining, Shutdown, Step};
use super::sip_driver::SipDriver;
use super::state::{ControlState, Now};
use crate::call::rings::ToShard;
use crate::config::GatewayConfig;
use crate::fault::Fault;
use crate::id::UnixMillis;
use crate::metrics::ProcessState;

/// Pause between two looks at the rings.
const POLL_PERIOD: Duration = Duration::from_millis(2);
/// Pause when nothing came for [`IDLE_TURNS`].
const POLL_PERIOD_IDLE: Duration = Duration::from_millis(5);
const IDLE_TURNS: u32 = 16;
/// Turns under load without looking at signals; the admin window has its turn in between.
const TURNS_MAX: usize = 16;
/// How long the admin window may take to hand out the last events.
const ADMIN_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the control thread works with.
#[derive(Debug)]
pub struct ControlInputs {
    /// Tenants, trunks, admin token and drain timeout.
    pub config: Arc<GatewayConfig>,
    /// The gateway's certificate, for SIP over TLS.
    pub tls: Arc<rustls::ServerConfig>,
    /// Where they are read from again.
    pub reload: ReloadSource,
    /// One link per shard, by index.
    pub shards: Vec<ShardLink>,
    /// Drain and health, for `/readyz` and `/healthz`.
    pub process: Arc<ProcessState>,
    /// The admin window's socket, bound at start-up so that a taken port is found before any shard runs.
    pub admin: AdminListener,
}

/// Why the control thread could not start, or ended the process.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The admin window's address is taken or not ours.
    #[error("[admin] listen = \"{address}\": {source}")]
    AdminBind {
        /// As configured.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A SIP trunk's address is taken or not ours.
    #[error("[[trunks]] internal_sip_ip and source_pbx_port = \"{address}\": {source}")]
    SipBind {
        /// As configured.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The runtime, its signal handlers or the admin socket.
    #[error("{what}: {source}")]
    Runtime {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A shard's thread ended by itself; its calls were ended, those of others had their drain.
    #[error("shard {0} died")]
    ShardDied(ShardIndex),
    /// Shards went on after they were told to stop.
    #[error("{0} shards did not stop in time")]
    ShardsDidNotStop(usize),
}

impl ControlError {
    /// Who has to change something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::AdminBind { .. } | Self::SipBind { .. } => Fault::Config,
            Self::Runtime { .. } | Self::ShardDied(_) | Self::ShardsDidNotStop(_) => Fault::Us,
        }
    }
}

/// Runs until SIGTERM or SIGINT has drained the process, or a shard died. Blocks the calling thread.
///
/// # Errors
/// It could not start, a shard died, or shards did not stop.
pub fn run(inputs: ControlInputs) -> Result<(), ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(runtime_error("starting the control runtime"))?;
    runtime.block_on(async {
        let requests = Requests {
            stop: signals(&[SignalKind::terminate(), SignalKind::interrupt()])?,
            reload: signals(&[SignalKind::hangup()])?,
        };
        serve(inputs, requests).await
    })
}

/// What the process is asked from outside, by signals.
#[derive(Debug)]
pub struct Requests {
    /// The first message drains, the second stops at once.
    pub stop: mpsc::Receiver<()>,
    /// Each message reloads.
    pub reload: mpsc::Receiver<()>,
}

/// As [`run`], inside a current-thread runtime.
///
/// # Errors
/// As [`run`].
pub async fn serve(inputs: ControlInputs, mut requests: Requests) -> Result<(), ControlError> {
    let links = ShardLinks::new(inputs.shards);
    // Start-up makes at most 65 536 shards: an index is 16 bits wide.
    let shards = links.shards().count() as u16;
    let mut sip = SipDriver::bind(&inputs.config, &inputs.tls).map_err(|(listen, source)| {
        ControlError::SipBind {
            address: listen.address,
            source,
        }
    })?;
    let mut outbound = OutboundDriver::new(&inputs.config);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| ControlError::Runtime {
        what: "asking the kernel for random bytes",
        source: io::Error::other(error),
    })?;
    let state = ControlState::new(now(), &inputs.config, shards, seed);
    let state = Arc::new(Mutex::new(state));
    let token = inputs.config.admin.token.as_ref().map(AdminToken::new);
    let token = Arc::new(Mutex::new(token));
    let reloading = Reloading::new(inputs.reload, Arc::clone(&state), Arc::clone(&token));
    let reloading = Arc::new(reloading);
    let context = AdminContext::new(
        Arc::clone(&state),
        links.metrics(),
        Arc::clone(&inputs.process),
        token,
        Arc::clone(&reloading),
    );
    let admin = AdminServer::start(inputs.admin, context)
        .map_err(runtime_error("starting the admin window"))?;
    let mut control = ControlLoop {
        links,
        state: Arc::clone(&state),
        process: inputs.process,
        shutdown: Shutdown::new(Duration::from_secs(
            inputs.config.server.drain_timeout_s.into(),
        )),
        died: None,
        finished: false,
    };
    let mut idle_turns = 0;
    while !control.finished {
        let pause = if idle_turns < IDLE_TURNS {
            POLL_PERIOD
        } else {
            POLL_PERIOD_IDLE
        };
        tokio::select! {
            Some(()) = requests.stop.recv() => control.shutdown.handle_signal(now().instant),
            Some(()) = requests.reload.recv() => {
                let reloading = Arc::clone(&reloading);
                // How it ends is logged and counted.
                tokio::spawn(async move { reloading.reload().await.is_ok() });
            }
            input = sip.receive() => {
                sip.handle(now(), &mut lock(&state), input);
                idle_turns = 0;
            }
            dialled = outbound.receive() => {
                lock(&state).handle_dialled(now(), dialled);
                idle_turns = 0;
            }
            () = tokio::time::sleep(pause) => {}
        }
        idle_turns = idle_turns.saturating_add(1);
        for _ in 0..TURNS_MAX {
            match control.turn(&mut sip, &mut outbound) {
                Turn::Idle => break,
                Turn::Worked => {
                    idle_turns = 0;
                    break;
                }
                Turn::MoreWaits => {
                    idle_turns = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    lock(&control.state).events().close();
    admin.close(ADMIN_CLOSE_TIMEOUT).await;
    control.outcome()
}

/// The state is locked for the length of one batch or one answer, always on this one thread.
pub(super) fn lock(state: &Mutex<ControlState>) -> MutexGuard<'_, ControlState> {
    // A handler that panicked has at worst left an answer unsent; the state itself is changed in whole steps.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The two clocks now. The monotonic one is the runtime's, so that tests can move it.
pub(super) fn now() -> Now {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        instant: tokio::time::Instant::now().into_std(),
        unix: UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)),
    }
}

#[derive(Debug)]
struct ControlLoop {
    links: ShardLinks,
    state: Arc<Mutex<ControlState>>,
    process: Arc<ProcessState>,
    shutdown: Shutdown,
    died: Option<ShardIndex>,
    finished: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// All rings were empty.
    Idle,
    /// All rings were read to their end.
    Worked,
    /// A full batch was taken of some ring.
    MoreWaits,
}

impl ControlLoop {
    /// Reads a batch of each ring, sends what came of it, and takes the steps towards the end that are due.
    fn turn(&mut self, sip: &mut SipDriver, outbound: &mut OutboundDriver) -> Turn {
        let now = now();
        let state = Arc::clone(&self.state);
        let mut state = lock(&state);
        let mut turn = Turn::Idle;
        self.links.flush();
        self.shutdown.set_drain_timeout(state.drain_timeout());
        for shard in self.links.shards() {
            let received = self.links.receive(shard, |message| {
                state.handle_message(now, shard, message);
                if turn == Turn::Idle {
                    turn = Turn::Worked;
                }
            });
            // Sent per shard, so that its answers count before more of its questions are read.
            self.send_all(&mut state);
            match received {
                Received::All | Received::HeldBack => {}
                Received::Part => turn = Turn::MoreWaits,
                Received::LastOfAll => self.handle_gone(now, shard, &mut state),
            }
        }
        state.handle_timeout(now);
        sip.flush(now, &mut state);
        outbound.flush(&mut state);
        self.send_all(&mut state);
        loop {
            let remaining = Remaining {
                calls: state.desk().live_call_count(),
                sessions: self.links.sessions(),
                registrations: state.signalling().sip().registrations_ending(),
                shards: self.links.running(),
                errands: state.errand_count() + outbound.errands_under_way(),
            };
            let Some(step) = self.shutdown.poll_step(now.instant, remaining) else {
                break;
            };
            self.take_step(step, now, &mut state);
        }
        turn
    }

    fn send_all(&mut self, state: &mut ControlState) {
        while let Some((shard, message)) = state.poll_message() {
            self.links.send(shard, message);
        }
    }

    fn handle_gone(&mut self, now: Now, shard: ShardIndex, state: &mut ControlState) {
        let calls = state.handle_shard_death(now, shard);
        if self.shutdown.shards_should_run() {
            tracing::error!(
                shard = shard.0,
                calls,
                "a shard died; the others drain, then the process ends"
            );
            self.process.unhealthy.store(true, Ordering::Relaxed);
            self.died.get_or_insert(shard);
            self.shutdown.handle_shard_death(now.instant);
        }
    }

    fn take_step(&mut self, step: Step, now: Now, state: &mut ControlState) {
        tracing::info!(
            ?step,
            calls = state.desk().live_call_count(),
            "shutting down"
        );
        match step {
            Step::Drain => {
                self.refuse_new(now, state);
                self.tell_all(|| ToShard::Drain);
            }
            Step::EndCalls => {
                state.end_all_calls();
                self.send_all(state);
            }
            Step::Stop => {
                self.refuse_new(now, state);
                self.tell_all(|| ToShard::Stop);
            }
            Step::Finish => {
                for shard in self.links.shards() {
                    state.handle_shard_death(now, shard);
                }
                self.finished = true;
            }
        }
    }

    fn refuse_new(&self, now: Now, state: &mut ControlState) {
        self.process.draining.store(true, Ordering::Relaxed);
        state.begin_drain(now);
    }

    fn tell_all(&mut self, message: impl Fn() -> ToShard) {
        for shard in self.links.shards() {
            self.links.send(shard, message());
        }
    }

    fn outcome(&self) -> Result<(), ControlError> {
        match (self.died, self.links.running()) {
            (Some(shard), _) => Err(ControlError::ShardDied(shard)),
            (None, 0) => Ok(()),
            (None, running) => Err(ControlError::ShardsDidNotStop(running)),
        }
    }
}

/// One message per signal. A third one in a row finds the queue full, and has nothing to add to the second.
fn signals(kinds: &[SignalKind]) -> Result<mpsc::Receiver<()>, ControlError> {
    let (sender, receiver) = mpsc::channel(2);
    for kind in kinds {
        let mut signals = signal(*kind).map_err(runtime_error("installing a signal handler"))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = sender.try_send(());
            }
        });
    }
    Ok(receiver)
}

fn runtime_error(what: &'static str) -> impl Fn(io::Error) -> ControlError {
    move |source| ControlError::Runtime { what, source }
}

#[cfg(test)]
mod tests;
