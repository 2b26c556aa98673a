//! A TCP relay that can be cut: signalling goes through it as through a network that fails now and then.
//!
//! It reads nothing of what it carries, so TLS and WebSocket stay those of the two ends.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the wait for a connection sleeps in between.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long the other side may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much is carried at once.
const BUFFER_LEN: usize = 16 * 1024;

#[derive(Default)]
struct Shared {
    target: Mutex<Option<SocketAddr>>,
    /// Both ends of every connection since the last cut.
    carried: Mutex<Vec<TcpStream>>,
    cut: AtomicBool,
    refused: AtomicUsize,
    stop: AtomicBool,
}

impl Shared {
    fn carried(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn target(&self) -> MutexGuard<'_, Option<SocketAddr>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_all(&self) {
        for stream in self.carried().drain(..) {
            // An error means that it has ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The relay. Dropping it ends what it carries.
pub struct SocketRelay {
    shared: Arc<Shared>,
    local: SocketAddr,
}

impl SocketRelay {
    /// Listens on a free port of loopback. Where to is told later: that may depend on this port.
    ///
    /// # Errors
    /// There is no port.
    pub fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { shared, local })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.local.port()
    }

    /// From now on connections go to `target`.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target() = Some(target);
    }

    /// Ends every connection, and lets none in until [`SocketRelay::mend`].
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        self.shared.end_all();
    }

    /// Carries again.
    pub fn mend(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
    }

    /// Connections that came while it was cut.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }
}

impl Drop for SocketRelay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.end_all();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok(_) if shared.cut.load(Ordering::SeqCst) => {
                shared.refused.fetch_add(1, Ordering::SeqCst);
            }
            Ok((stream, _)) => {
                // One that can't be carried is dropped: its caller sees it end.
                let _ = carry(stream, shared);
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

fn carry(near: TcpStream, shared: &Shared) -> io::Result<()> {
    let target = shared.target().ok_or(io::ErrorKind::NotConnected)?;
    let far = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)?;
    near.set_nonblocking(false)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    shared
        .carried()
        .extend([near.try_clone()?, far.try_clone()?]);
    let (near_reads, far_writes) = (near.try_clone()?, far.try_clone()?);
    std::thread::spawn(move || copy(near_reads, far_writes));
    std::thread::spawn(move || copy(far, near));
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; BUFFER_LEN];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
