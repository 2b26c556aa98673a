//! The admin window's TCP side: how many connections, how long a head may take, how long a reader may stall.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use super::super::thread::ControlError;
use super::{AdminContext, router};

/// Connections at once; one more gets a 503.
pub const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request head.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Time for a request head, from the connection or the last answer on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A socket that stays full for so long is closed.
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept, which is mostly for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const TOO_MANY_BODY: &str =
    r#"{"code":"overload","message":"the admin window has no free connection","fault":"caller"}"#;

/// The admin window's bound socket.
#[derive(Debug)]
pub struct AdminListener {
    socket: std::net::TcpListener,
    local_address: SocketAddr,
}

impl AdminListener {
    /// Binds the admin window.
    ///
    /// # Errors
    /// The address is taken, or not of this host: a fault of the configuration.
    pub fn bind(address: SocketAddr) -> Result<Self, ControlError> {
        let bind = || {
            let socket = std::net::TcpListener::bind(address)?;
            socket.set_nonblocking(true)?;
            let local_address = socket.local_addr()?;
            Ok(Self {
                socket,
                local_address,
            })
        };
        bind().map_err(|source| ControlError::AdminBind { address, source })
    }

    /// Where it listens; tells the port when 0 was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }
}

/// The running admin window.
#[derive(Debug)]
pub(in super::super) struct AdminServer {
    accepting: JoinHandle<()>,
    connections: Arc<AtomicUsize>,
}

impl AdminServer {
    /// Serves from now on, on the runtime of the caller.
    pub(in super::super) fn start(
        listener: AdminListener,
        context: AdminContext,
    ) -> io::Result<Self> {
        let listener = TcpListener::from_std(listener.socket)?;
        let connections = Arc::clone(&context.connections);
        let accepting = tokio::spawn(accept(listener, context));
        Ok(Self {
            accepting,
            connections,
        })
    }

    /// Takes no more connections, and waits for those that are open, at most `timeout`.
    pub(in super::super) async fn close(self, timeout: Duration) {
        self.accepting.abort();
        let deadline = Instant::now() + timeout;
        while open(&self.connections) > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// How many connections are open.
pub(super) fn open(connections: &AtomicUsize) -> usize {
    connections.load(Ordering::Relaxed)
}

async fn accept(listener: TcpListener, context: AdminContext) {
    let connections = Arc::clone(&context.connections);
    let service = TowerToHyperService::new(router(context));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin window can't accept");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if open(&connections) >= CONNECTIONS_MAX {
            // A fresh socket has room for it; if not, the stranger just sees a close.
            let _ = stream.try_write(too_many().as_bytes());
            continue;
        }
        let counted = Counted::new(&connections);
        let io = TokioIo::new(StallGuard::new(stream));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(io, service.clone());
        tokio::spawn(async move {
            let _counted = counted;
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "an admin connection failed");
            }
        });
    }
}

fn too_many() -> String {
    let length = TOO_MANY_BODY.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{TOO_MANY_BODY}"
    )
}

/// One open connection, for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose writes fail after [`WRITE_STALL_TIMEOUT`] without progress: nothing else ends the connection of a
/// subscriber that does not read.
struct StallGuard {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl StallGuard {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            stalled: None,
        }
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_STALL_TIMEOUT)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for StallGuard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for StallGuard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
