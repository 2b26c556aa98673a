//! Datagrams on their way in and out: all memory is taken when a batch is made, none while packets flow.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::address::{Family, RawAddress};
use super::sys::Messages;

/// Room for datagrams of one `recvmmsg`.
pub struct ReceiveBatch {
    messages: Messages,
    buffer: Box<[u8]>,
    bytes_each: usize,
    received: usize,
}

impl ReceiveBatch {
    /// Room for `packets` datagrams of at most `bytes_each` bytes; what is longer is cut and marked so.
    ///
    /// # Panics
    /// Either is 0.
    pub fn new(packets: usize, bytes_each: usize) -> Self {
        assert!(packets > 0 && bytes_each > 0, "a batch without room");
        Self {
            messages: Messages::new(packets),
            buffer: vec![0; packets * bytes_each].into_boxed_slice(),
            bytes_each,
            received: 0,
        }
    }

    /// How many datagrams fit.
    pub fn capacity(&self) -> usize {
        self.buffer.len() / self.bytes_each
    }

    /// The datagrams of the last receive: who sent it, its bytes, and whether it was cut at the batch's `bytes_each`.
    pub fn packets_mut(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8], bool)> {
        let messages = &self.messages;
        let pieces = self.buffer.chunks_exact_mut(self.bytes_each);
        pieces
            .take(self.received)
            .enumerate()
            .filter_map(|(index, piece)| {
                let arrival = messages.arrival(index);
                // Only these two families exist on our sockets, so nothing is lost here.
                let from = arrival.from.decode()?;
                Some((from, piece.get_mut(..arrival.bytes)?, arrival.truncated))
            })
    }

    pub(super) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        self.received = loop {
            match self.messages.receive(fd, &mut self.buffer, self.bytes_each) {
                Ok(received) => break received,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break 0,
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        };
        Ok(self.received)
    }
}

/// Datagrams that wait to be sent, in order.
pub struct SendBatch {
    messages: Messages,
    buffer: Box<[u8]>,
    bytes_each: usize,
    /// One per slot of the buffer; the queue is a window of them that goes round.
    queue: Box<[Queued]>,
    head: usize,
    len: usize,
}

#[derive(Clone, Copy)]
struct Queued {
    bytes: usize,
    remote: SocketAddr,
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Every slot is taken.
    #[error("the send batch is full")]
    Full,
    /// The datagram is longer than a slot.
    #[error("the datagram is longer than the {bytes_max} bytes of a slot")]
    TooLong {
        /// Bytes of a slot.
        bytes_max: usize,
    },
}

/// What became of the datagrams of one send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendOutcome {
    /// Given to the kernel.
    pub sent: usize,
    /// Dropped, because the kernel refuses this destination or datagram.
    pub failed: usize,
    /// Kept for the next send, because the socket is full.
    pub left: usize,
}

impl SendBatch {
    /// Room for `packets_max` datagrams of at most `bytes_each` bytes.
    ///
    /// # Panics
    /// Either is 0.
    pub fn new(packets_max: usize, bytes_each: usize) -> Self {
        assert!(packets_max > 0 && bytes_each > 0, "a batch without room");
        let nothing = Queued {
            bytes: 0,
            remote: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        Self {
            messages: Messages::new(packets_max),
            buffer: vec![0; packets_max * bytes_each].into_boxed_slice(),
            bytes_each,
            queue: vec![nothing; packets_max].into_boxed_slice(),
            head: 0,
            len: 0,
        }
    }

    /// How many datagrams wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every slot is taken.
    pub fn is_full(&self) -> bool {
        self.len == self.queue.len()
    }

    /// The next free slot, `bytes_each` long, to write a datagram into; [`SendBatch::commit`] queues it. None when every
    /// slot is taken.
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        if self.is_full() {
            return None;
        }
        let start = self.tail() * self.bytes_each;
        self.buffer.get_mut(start..start + self.bytes_each)
    }

    /// Queues the first `bytes` of what was written into [`SendBatch::slot`].
    ///
    /// # Panics
    /// There was no free slot, or `bytes` is more than a slot has.
    pub fn commit(&mut self, bytes: usize, remote: SocketAddr) {
        assert!(!self.is_full(), "commit without a slot");
        assert!(
            bytes <= self.bytes_each,
            "commit of {bytes} bytes into {}",
            self.bytes_each
        );
        self.queue[self.tail()] = Queued { bytes, remote };
        self.len += 1;
    }

    /// Queues a copy of `datagram`.
    ///
    /// # Errors
    /// It does not fit.
    pub fn push(&mut self, remote: SocketAddr, datagram: &[u8]) -> Result<(), PushError> {
        let bytes_max = self.bytes_each;
        let slot = self.slot().ok_or(PushError::Full)?;
        let slot = slot
            .get_mut(..datagram.len())
            .ok_or(PushError::TooLong { bytes_max })?;
        slot.copy_from_slice(datagram);
        self.commit(datagram.len(), remote);
        Ok(())
    }

    pub(super) fn send(&mut self, fd: BorrowedFd<'_>, family: Family) -> SendOutcome {
        let mut outcome = SendOutcome::default();
        while self.len > 0 {
            match self.send_once(fd, family) {
                Ok(sent) => {
                    outcome.sent += sent;
                    self.pop(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => break,
                // The error is that of the first datagram, and of nobody else.
                Err(_) => {
                    outcome.failed += 1;
                    self.pop(1);
                }
            }
        }
        outcome.left = self.len;
        outcome
    }

    fn send_once(&mut self, fd: BorrowedFd<'_>, family: Family) -> io::Result<usize> {
        let Self {
            messages,
            buffer,
            bytes_each,
            queue,
            head,
            len,
        } = self;
        let mut waiting = (0..*len).map_while(|offset| {
            let index = (*head + offset) % queue.len();
            let Queued { bytes, remote } = queue[index];
            let start = index * *bytes_each;
            let to = RawAddress::encode(remote, family)?;
            Some((&buffer[start..start + bytes], to))
        });
        // An address that the socket can't speak ends the run before it, and fails when it is first.
        let Some(first) = waiting.next() else {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        };
        messages.send(fd, std::iter::once(first).chain(waiting))
    }

    fn pop(&mut self, count: usize) {
        self.head = (self.head + count) % self.queue.len();
        self.len -= count;
    }

    fn tail(&self) -> usize {
        (self.head + self.len) % self.queue.len()
    }
}

/// The socket's buffer, or the device's queue, takes no more now.
pub(super) fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}
