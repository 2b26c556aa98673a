//! A TCP listener that every shard binds for itself (`SO_REUSEPORT`); the kernel spreads connections over them.
//!
//! The socket is our own, for the backlog, dual stack and close-on-exec; waiting is glommio's.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use glommio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use crate::udp::unmapped;

/// How long to wait when the process or the host has run out of something.
const EXHAUSTED_BACKOFF: Duration = Duration::from_millis(100);

type Accepting = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

/// Listens on one shard.
pub struct Listener {
    listener: Rc<TcpListener>,
    /// The listening socket; the same descriptor as in `listener`, which owns it.
    fd: RawFd,
    local_addr: SocketAddr,
    /// The accept that is under way in the kernel. It outlives an `accept` that is dropped, because a cancelled one may
    /// already have taken a connection from the queue.
    accepting: Option<Accepting>,
}

impl Listener {
    /// Listens on `addr` together with every other listener on it. `[::]` takes IPv4 as well. `backlog` connections wait
    /// at most, and no more than `net.core.somaxconn`.
    ///
    /// # Errors
    /// As `bind(2)` and `listen(2)`.
    ///
    /// # Panics
    /// Outside of an executor.
    pub fn bind(addr: SocketAddr, backlog: u32) -> io::Result<Self> {
        let domain = Domain::for_address(addr);
        // The type carries close-on-exec; the socket stays blocking, because io_uring answers EAGAIN to an accept on a
        // non-blocking one instead of waiting.
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let socket = StdTcpListener::from(socket);
        let local_addr = socket.local_addr()?;
        let fd = socket.into_raw_fd();
        // SAFETY: the descriptor is open and given away here.
        let listener = unsafe { TcpListener::from_raw_fd(fd) };
        Ok(Self {
            listener: Rc::new(listener),
            fd,
            local_addr,
            accepting: None,
        })
    }

    /// The next connection and its peer: `TCP_NODELAY` and close-on-exec are set, a v4-mapped peer is shown as IPv4.
    /// Dropping the wait loses no connection.
    ///
    /// # Errors
    /// As `accept(2)`; the listener stays usable. [`retry_after`] says how long to wait before the next accept.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let accepting = self
                .accepting
                .get_or_insert_with(|| start(self.listener.clone()));
            let accepted = accepting.await;
            self.accepting = None;
            let stream = accepted?;
            close_on_exec(stream.as_raw_fd())?;
            // Either fails when the peer is gone already: that is no concern of the caller.
            let Ok(peer) = stream.peer_addr() else {
                continue;
            };
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            return Ok((stream, unmapped(peer)));
        }
    }

    /// Where it listens, with the port that the kernel chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops listening: connections that wait in the queue are reset, and none is accepted any more.
    pub async fn close(mut self) {
        // SAFETY: `self.listener` keeps the descriptor open. The call ends an accept that is under way with EINVAL.
        unsafe { libc::shutdown(self.fd, libc::SHUT_RDWR) };
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.await);
        }
    }
}

/// How long to wait after a failed [`Listener::accept`]: not at all when only that connection was lost (`accept(2)`
/// passes its network errors on), 100 ms when descriptors or memory have run out. None: the listener itself is broken.
pub fn retry_after(error: &io::Error) -> Option<Duration> {
    match error.raw_os_error()? {
        libc::ECONNABORTED
        | libc::EINTR
        | libc::EAGAIN
        | libc::EPROTO
        | libc::ENOPROTOOPT
        | libc::EPERM
        | libc::ENETDOWN
        | libc::ENETUNREACH
        | libc::EHOSTDOWN
        | libc::EHOSTUNREACH
        | libc::ENONET
        | libc::ECONNRESET
        | libc::ETIMEDOUT => Some(Duration::ZERO),
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => Some(EXHAUSTED_BACKOFF),
        _ => None,
    }
}

fn start(listener: Rc<TcpListener>) -> Accepting {
    Box::pin(async move { Ok(listener.accept().await?) })
}

fn close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: fcntl takes no pointers here; glommio accepts without SOCK_CLOEXEC when a connection waits already.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
