//! Taking connections in: from the listener, and from other shards that accepted what is ours.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shards::ShardIndex;
use shards::executor::{sleep, task};
use shards::listener::{Listener, retry_after};
use shards::mesh::MeshEnd;
use shards::tls::LiveConnection;
use tracing::{debug, warn};

use super::address_limits::AddressLimits;
use super::connection;
use super::line::Doorway;
use super::resumptions::Resumptions;
use crate::config::ShardsConfig;
use crate::metrics::{ConnectionRefusal, ProcessState, ShardMetrics};
use crate::settings::Settings;
use crate::switch::SwitchHandle;

/// How long accepting rests after an error such as "too many open files".
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What every connection of one shard needs.
pub struct Front {
    /// This shard.
    pub shard: ShardIndex,
    /// How many there are.
    pub shards: u16,
    /// `shards.toml`
    pub shards_config: Arc<ShardsConfig>,
    /// This shard's counters.
    pub metrics: Arc<ShardMetrics>,
    /// Ready, draining, unhealthy.
    pub state: Arc<ProcessState>,
    /// This shard's calls.
    pub switch: SwitchHandle,
    /// Rings to the other shards.
    pub mesh: RefCell<MeshEnd<LiveConnection>>,
    /// What each address holds here.
    pub addresses: RefCell<AddressLimits>,
    /// The sessions of this shard that may be resumed.
    pub resumable: Resumable,
}

/// Which resume token opens which session of a shard.
#[derive(Default)]
pub struct Resumable(pub(super) RefCell<Resumptions<Rc<Doorway>>>);

impl Front {
    /// What is configured now; a reload changes it for whoever asks again.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.switch.settings()
    }

    pub(super) fn count_resume_tokens(&self) {
        let tokens = self.resumable.0.borrow().len();
        self.metrics.resume_tokens.set(tokens as u64);
    }
}

/// Accepts connections for ever; the task is dropped when the executor ends.
pub async fn accept_loop(front: Rc<Front>, mut listener: Listener) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, shard = front.shard.0, "accepting a connection failed");
                sleep(retry_after(&error).unwrap_or(ACCEPT_REST)).await;
                continue;
            }
        };
        match Place::take(&front, peer.ip()) {
            Ok(place) => spawn(
                &front,
                connection::serve_accepted(Rc::clone(&front), stream, peer, place),
            ),
            Err(reason) => {
                // Dropping the socket is the whole answer: a TLS handshake is what the limit saves.
                front.metrics.refused(reason);
                debug!(%peer, reason = reason.as_str(), "connection refused");
            }
        }
    }
}

/// Takes everything in that other shards have handed to this one. Called when the shard's doorbell rang.
pub fn adopt_handed_over(front: &Rc<Front>) {
    loop {
        let Some((from, live)) = front.mesh.borrow_mut().receive() else {
            return;
        };
        front.metrics.hand_offs_received.increment();
        debug!(from = from.0, to = front.shard.0, "connection handed over");
        let place = Place::of_handed_over(front);
        spawn(
            front,
            connection::serve_handed_over(Rc::clone(front), live, place),
        );
    }
}

fn spawn(front: &Rc<Front>, connection: impl Future<Output = ()> + 'static) {
    let metrics = Arc::clone(&front.metrics);
    task("connection", connection, move |_| {
        metrics.panics.increment();
        metrics.refused(ConnectionRefusal::Panic);
    });
}

/// One connection's place within the limits; given back when dropped, also after a panic.
pub(super) struct Place {
    front: Rc<Front>,
    address: Option<IpAddr>,
}

impl Place {
    fn take(front: &Rc<Front>, address: IpAddr) -> Result<Self, ConnectionRefusal> {
        let limits = &front.shards_config;
        if front.metrics.connections.value() >= limits.connections_max as u64 {
            return Err(ConnectionRefusal::Connections);
        }
        if front.metrics.handshakes_pending.value() >= limits.handshakes_pending_max as u64 {
            return Err(ConnectionRefusal::Handshakes);
        }
        front.addresses.borrow_mut().open(Instant::now(), address)?;
        front.metrics.connections.increment();
        Ok(Self {
            front: Rc::clone(front),
            address: Some(address),
        })
    }

    /// The accepting shard counted the address already.
    fn of_handed_over(front: &Rc<Front>) -> Self {
        front.metrics.connections.increment();
        Self {
            front: Rc::clone(front),
            address: None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.front.metrics.connections.decrement();
        if let Some(address) = self.address {
            self.front.addresses.borrow_mut().close(address);
        }
    }
}

/// A TLS handshake or HTTP head under way; counted while it lives.
pub(super) struct Pending<'a>(&'a ShardMetrics);

impl<'a> Pending<'a> {
    pub(super) fn new(metrics: &'a ShardMetrics) -> Self {
        metrics.handshakes_pending.increment();
        Self(metrics)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.handshakes_pending.decrement();
    }
}
