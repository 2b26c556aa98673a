//! How SIP messages travel: UDP, TCP and TLS sockets of the control thread (RFC 3261 section 18), and names to addresses
//! (RFC 3263). No transaction, dialog or header but `Content-Length` is known here.
//!
//! Whole messages come out of one bounded channel as [`Arrival`]s, and [`SipTransports::send`] takes whole messages without
//! waiting. Every connection, and every UDP socket, is a flow (RFC 5626): an answer names the flow that its request came on;
//! what names none, or one that is gone, goes to its destination by a socket of the listener that it is sent from.
//!
//! | file | what it does |
//! | --- | --- |
//! | `framing` | messages in a byte stream, keepalives between them |
//! | `datagrams` | one UDP socket |
//! | `stream` | one TCP or TLS connection, from its handshake to its end |
//! | `connections` | which connections there are, and how many there may be |
//! | `rate` | how many messages an unknown address may send |
//! | `counters` | what was thrown away, by reason |
//! | [`tls`](TlsTrust) | who is trusted, and who we are |
//! | [`resolver`](SipResolver) | SRV, A and AAAA records |

mod connections;
mod counters;
mod datagrams;
mod framing;
mod listeners;
mod rate;
mod resolver;
mod stream;
mod tls;

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc;

pub use counters::Discard;
pub use resolver::{ResolveError, SipResolver};
pub use tls::{TlsTrust, TlsTrustError};

use connections::Connections;
use counters::Counters;
use listeners::Listeners;
use rate::RateLimiter;

use crate::config::SipTransport;

/// A connection, or a UDP socket. Never used again for another.
pub use crate::trunk::sip::flow::ConnectionId as FlowId;

/// The longest message, in bytes: as long as a datagram can be.
pub const MESSAGE_LEN_MAX: usize = 64 * 1024;
/// Messages that wait for the agent. UDP beyond is thrown away and sent again by its sender; streams wait.
pub const ARRIVALS_MAX: usize = 1024;

/// A place to listen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenAddress {
    /// How messages travel there.
    pub transport: SipTransport,
    /// `[::]` takes IPv4 too.
    pub address: SocketAddr,
}

/// One message that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// How it came.
    pub transport: SipTransport,
    /// Our address that it was sent to, also where we listen at every address. As `source` of the answer it makes the
    /// answer leave from there.
    pub local: SocketAddr,
    /// Who sent it.
    pub remote: SocketAddr,
    /// Start line, headers and body; of a stream exactly as long as `Content-Length` says.
    pub payload: Bytes,
    /// Where an answer goes.
    pub flow: FlowId,
}

/// What the transports tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A message.
    Message(Received),
    /// A connection is there: one that was accepted, or one that [`SipTransports::send`] asked for.
    Connected {
        /// The connection.
        flow: FlowId,
        /// TCP or TLS.
        transport: SipTransport,
        /// Our end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// A connection is gone, or never came to be: what was sent on it may not have arrived.
    Closed {
        /// The connection.
        flow: FlowId,
        /// The other end.
        remote: SocketAddr,
        /// Why; none: the other end closed it in peace, or it was idle.
        error: Option<String>,
    },
}

/// One message to send.
#[derive(Debug, Clone)]
pub struct Transmit {
    /// How it travels.
    pub transport: SipTransport,
    /// The listening address that it is of, or [`Received::local`]; the port of a connection is the kernel's choice.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// The flow that is tried first: that of a request for its answer.
    pub flow: Option<FlowId>,
    /// With TLS who has to be at the other end; without it no new connection is opened.
    pub tls: Option<TlsPeer>,
    /// The whole message.
    pub payload: Bytes,
}

/// Who has to be at the other end of a TLS connection.
#[derive(Debug, Clone)]
pub struct TlsPeer {
    /// SNI, and the name or address in the certificate.
    pub server_name: String,
    /// Who signs certificates.
    pub trust: TlsTrust,
}

/// Why a message was not sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// Nobody listens at `source`.
    #[error("there is no {transport:?} socket at {listen}")]
    NoListener {
        /// As asked for.
        transport: SipTransport,
        /// As asked for.
        listen: SocketAddr,
    },
    /// The flow is gone, and there is no [`TlsPeer`] to open another to.
    #[error("the TLS connection to {0} is gone, and nothing tells whom to expect on another")]
    NoTlsPeer(SocketAddr),
    /// The name of the TLS peer is none.
    #[error("\"{0}\" is no host name or address")]
    ServerName(String),
    /// The other end does not read, or a UDP socket is full.
    #[error("too much waits to be sent to {0}")]
    Full(SocketAddr),
    /// Longer than [`MESSAGE_LEN_MAX`], or than a datagram.
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// No socket is left for another connection.
    #[error("{0} outgoing connections are too many")]
    TooManyConnections(usize),
    /// The kernel refuses to send.
    #[error("{destination}: {source}")]
    Kernel {
        /// As asked for.
        destination: SocketAddr,
        /// What it says.
        source: io::Error,
    },
}

/// All sockets of the SIP trunks. Dropped, every one is closed.
#[derive(Debug)]
pub struct SipTransports {
    shared: Arc<Shared>,
    listeners: Mutex<Listeners>,
}

/// What the tasks of the sockets share.
#[derive(Debug)]
struct Shared {
    arrivals: mpsc::Sender<Arrival>,
    trusted: Mutex<Arc<HashSet<IpAddr>>>,
    rate: Mutex<RateLimiter>,
    counters: Counters,
    connections: Mutex<Connections>,
    server_tls: Mutex<Arc<rustls::ServerConfig>>,
    next_flow: AtomicU64,
}

impl SipTransports {
    /// Opens the sockets; what they bring comes out of the second value. `server_tls` is the gateway's own certificate. In
    /// a tokio runtime only.
    ///
    /// # Errors
    /// The first address that can't be bound.
    pub fn bind(
        listen: &[ListenAddress],
        server_tls: &rustls::ServerConfig,
    ) -> io::Result<(Self, mpsc::Receiver<Arrival>)> {
        let (arrivals, receiver) = mpsc::channel(ARRIVALS_MAX);
        let shared = Shared {
            arrivals,
            trusted: Mutex::default(),
            rate: Mutex::default(),
            counters: Counters::default(),
            connections: Mutex::default(),
            server_tls: Mutex::new(tls::for_sip(server_tls)),
            next_flow: AtomicU64::new(0),
        };
        let transports = Self {
            shared: Arc::new(shared),
            listeners: Mutex::default(),
        };
        for address in listen {
            transports.listen(*address)?;
        }
        Ok((transports, receiver))
    }

    /// Opens one more socket and tells its address, with the port that the kernel chose for port 0. One that is open
    /// already stays.
    ///
    /// # Errors
    /// As `bind(2)`.
    pub fn listen(&self, listen: ListenAddress) -> io::Result<SocketAddr> {
        lock(&self.listeners).add(listen, &self.shared)
    }

    /// Closes a listening socket; connections that it accepted stay.
    pub fn unlisten(&self, listen: ListenAddress) {
        lock(&self.listeners).remove(listen);
    }

    /// The sockets that listen.
    pub fn listening(&self) -> Vec<ListenAddress> {
        lock(&self.listeners).addresses()
    }

    /// The certificate for connections that come from now on.
    pub fn set_server_tls(&self, server_tls: &rustls::ServerConfig) {
        *lock(&self.shared.server_tls) = tls::for_sip(server_tls);
    }

    /// Addresses that may send as much as they like: those of the trunks.
    pub fn set_trusted(&self, trusted: HashSet<IpAddr>) {
        *lock(&self.shared.trusted) = Arc::new(trusted);
    }

    /// Sends a message, or queues it for a connection that is opened on demand. Never waits. What comes of it later is told
    /// by [`Arrival::Closed`] of the flow that is returned.
    ///
    /// # Errors
    /// It was not sent.
    pub fn send(&self, transmit: Transmit) -> Result<FlowId, SendError> {
        if transmit.payload.len() > MESSAGE_LEN_MAX {
            return Err(SendError::TooLong(transmit.payload.len()));
        }
        let sent = match transmit.transport {
            SipTransport::Udp => lock(&self.listeners).send(&transmit),
            SipTransport::Tcp | SipTransport::Tls => stream::send(&self.shared, transmit),
        };
        if sent.is_err() {
            self.shared.counters.add(Discard::NotSent);
        }
        sent
    }

    /// Closes a connection once what waits on it is sent. Flows of UDP stay.
    pub fn close(&self, flow: FlowId) {
        lock(&self.shared.connections).close(flow);
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        lock(&self.shared.connections).len()
    }

    /// What was thrown away so far, by reason; every reason is there from the start.
    pub fn discards(&self) -> impl Iterator<Item = (Discard, u64)> + '_ {
        self.shared.counters.all()
    }
}

impl Drop for SipTransports {
    fn drop(&mut self) {
        lock(&self.shared.connections).abort_all();
    }
}

impl Shared {
    fn new_flow(&self) -> FlowId {
        FlowId(self.next_flow.fetch_add(1, Ordering::Relaxed))
    }

    /// May `remote` send one more message?
    fn admits(&self, remote: SocketAddr) -> bool {
        let ip = remote.ip();
        let known = lock(&self.trusted).contains(&ip);
        known || lock(&self.rate).admits(ip, Instant::now())
    }
}

/// The address of ours that the kernel would send from to `destination`: what is told a far end when a socket listens at
/// every address.
///
/// # Errors
/// There is no route.
pub fn local_address_towards(destination: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match destination {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a UDP socket looks the route up and sends nothing.
    let probe = UdpSocket::bind(SocketAddr::new(any, 0))?;
    probe.connect(destination)?;
    Ok(probe.local_addr()?.ip())
}

/// A panic while it was held leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
