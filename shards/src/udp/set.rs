//! Many sockets with little traffic each (a trunk's port per call, a [`crate::tick_stream::TickStream`] per call): which
//! of them have something, asked once per tick.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::sys;

/// Sockets that one [`SocketSet::ready`] names at most; the kernel goes round, so the others come at the next tick.
const READY_MAX: usize = 1024;

/// An epoll instance that is never waited on.
pub struct SocketSet {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
}

impl SocketSet {
    /// An empty set.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: sys::epoll_create()?,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; READY_MAX].into_boxed_slice(),
        })
    }

    /// Watches `socket` under `key`. A socket leaves the set when it is closed.
    ///
    /// # Errors
    /// `EEXIST` when it is in the set, `ENOSPC` beyond `fs.epoll.max_user_watches`.
    pub fn insert(&mut self, key: u64, socket: &impl AsFd) -> io::Result<()> {
        sys::epoll_add(self.epoll.as_fd(), socket.as_fd(), key)
    }

    /// Watches `socket` no more.
    ///
    /// # Errors
    /// `ENOENT` when it is not in the set.
    pub fn remove(&mut self, socket: &impl AsFd) -> io::Result<()> {
        sys::epoll_remove(self.epoll.as_fd(), socket.as_fd())
    }

    /// Calls `each` with the key of every socket that has a datagram, bytes, an end or an error now, without waiting.
    /// A stream at its end is named until it is removed or closed.
    pub fn ready(&mut self, mut each: impl FnMut(u64)) {
        // The only errors of a poll without waiting are a signal and a bad descriptor; ours is open.
        let ready = sys::epoll_poll(self.epoll.as_fd(), &mut self.events).unwrap_or(0);
        for event in self.events.iter().take(ready) {
            each(event.u64);
        }
    }
}
