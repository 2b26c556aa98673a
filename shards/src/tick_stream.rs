//! A TCP or TLS stream that is driven by hand, without an executor's task.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::tls::LiveConnection;

/// A connection in the middle of its life, between two owners. It may travel to another thread.
pub struct LiveStream {
    /// The TCP socket.
    pub fd: OwnedFd,
    /// The TLS session; none on plain TCP.
    pub tls: Option<rustls::Connection>,
    /// Plaintext that was read from it already and belongs to the new owner.
    pub head: Vec<u8>,
    /// Who is connected.
    pub peer: SocketAddr,
}

impl From<LiveConnection> for LiveStream {
    fn from(connection: LiveConnection) -> Self {
        let LiveConnection {
            fd,
            tls,
            head,
            peer,
        } = connection;
        Self {
            fd,
            tls: Some(rustls::Connection::Server(tls)),
            head,
            peer,
        }
    }
}

/// What was read may be a caller's: only its length is shown.
impl fmt::Debug for LiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveStream")
            .field("fd", &self.fd)
            .field("is_tls", &self.tls.is_some())
            .field("head_len", &self.head.len())
            .field("peer", &self.peer)
            .finish()
    }
}
