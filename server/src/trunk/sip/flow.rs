//! Where a message goes or came from: transport, our listening address, the far end's address, the connection.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::SipTransport;

/// One connection of a stream transport, as the sockets' owner names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A way between us and a far end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// How messages travel.
    pub transport: SipTransport,
    /// Our listening address: whose socket sends.
    pub local: SocketAddr,
    /// Our address as the far end is told it, in Via and Contact.
    pub advertised: SocketAddr,
    /// The far end's address.
    pub remote: SocketAddr,
    /// The connection that a message came on; an answer goes back on it while it lives.
    pub connection: Option<ConnectionId>,
    /// Whose certificate must be shown when a TLS connection is opened.
    pub server_name: Option<Arc<str>>,
}

impl Flow {
    /// Whether the transport itself delivers or fails: no retransmissions.
    pub fn is_reliable(&self) -> bool {
        self.transport != SipTransport::Udp
    }
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Which way.
    pub flow: Flow,
    /// The whole message.
    pub payload: Arc<[u8]>,
}

/// The name on the wire.
pub fn transport_name(transport: SipTransport) -> &'static str {
    match transport {
        SipTransport::Udp => "UDP",
        SipTransport::Tcp => "TCP",
        SipTransport::Tls => "TLS",
    }
}
