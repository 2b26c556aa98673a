//! Datagrams on their way in and out: all memory is taken when a batch is made, none while packets flow.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use super::address::{Family, RawAddress};
use super::control::Control;
use super::sys::{Departure, Messages};

/// One received datagram.
#[derive(Debug)]
pub struct ReceivedPacket<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// Which of our addresses it was sent to; told only after [`DatagramSocket::tell_addressed`](super::DatagramSocket::tell_addressed).
    pub addressed: Option<IpAddr>,
    /// Its bytes, to be changed in place.
    pub bytes: &'a mut [u8],
    /// It was longer than the batch's `bytes_each` and was cut.
    pub truncated: bool,
}

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

    /// The datagrams of the last receive.
    pub fn packets_mut(&mut self) -> impl Iterator<Item = ReceivedPacket<'_>> {
        let messages = &self.messages;
        let pieces = self.buffer.chunks_exact_mut(self.bytes_each);
        pieces
            .take(self.received)
            .enumerate()
            .filter_map(|(index, piece)| {
                let arrival = messages.arrival(index);
                // Only these two families exist on our sockets, so nothing is lost here.
                let from = arrival.from.decode()?;
                Some(ReceivedPacket {
                    from,
                    addressed: arrival.addressed,
                    bytes: piece.get_mut(..arrival.bytes)?,
                    truncated: arrival.truncated,
                })
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
    leave_from: Option<IpAddr>,
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
            leave_from: None,
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

    /// Queues the first `bytes` of what was written into [`SendBatch::slot`]; it leaves from `leave_from`, or from the
    /// address that the kernel chooses.
    ///
    /// # Panics
    /// There was no free slot, or `bytes` is more than a slot has.
    pub fn commit(&mut self, bytes: usize, remote: SocketAddr, leave_from: Option<IpAddr>) {
        assert!(!self.is_full(), "commit without a slot");
        assert!(
            bytes <= self.bytes_each,
            "commit of {bytes} bytes into {}",
            self.bytes_each
        );
        self.queue[self.tail()] = Queued {
            bytes,
            remote,
            leave_from,
        };
        self.len += 1;
    }

    /// Queues a copy of `datagram`; see [`SendBatch::push_from`].
    ///
    /// # Errors
    /// It does not fit.
    pub fn push(&mut self, remote: SocketAddr, datagram: &[u8]) -> Result<(), PushError> {
        self.push_from(None, remote, datagram)
    }

    /// Queues a copy of `datagram` that leaves from this address of ours; none: from the one that the kernel chooses.
    ///
    /// # Errors
    /// It does not fit.
    pub fn push_from(
        &mut self,
        leave_from: Option<IpAddr>,
        remote: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), PushError> {
        let bytes_max = self.bytes_each;
        let slot = self.slot().ok_or(PushError::Full)?;
        let slot = slot
            .get_mut(..datagram.len())
            .ok_or(PushError::TooLong { bytes_max })?;
        slot.copy_from_slice(datagram);
        self.commit(datagram.len(), remote, leave_from);
        Ok(())
    }

    pub(super) fn send(&mut self, fd: BorrowedFd<'_>, family: Family) -> SendOutcome {
        self.drain(|batch| batch.send_once(fd, family))
    }

    /// `send_once` sends some of what waits, from the head on, and returns how many, or the error of the first.
    fn drain(&mut self, mut send_once: impl FnMut(&mut Self) -> io::Result<usize>) -> SendOutcome {
        let mut outcome = SendOutcome::default();
        while self.len > 0 {
            match send_once(self) {
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
            let Queued {
                bytes,
                remote,
                leave_from,
            } = queue[index];
            let start = index * *bytes_each;
            let to = RawAddress::encode(remote, family)?;
            Some(Departure {
                bytes: &buffer[start..start + bytes],
                to,
                leave_from: leave_from.and_then(|local| Control::leave_from(local, family)),
            })
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
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    /// What a socket does with what waits.
    #[derive(Debug, Clone)]
    enum Kernel {
        Takes(usize),
        IsFull,
        Refuses,
    }

    fn kernel() -> impl Strategy<Value = Kernel> {
        prop_oneof![
            4 => (1_usize..6).prop_map(Kernel::Takes),
            3 => Just(Kernel::IsFull),
            2 => Just(Kernel::Refuses),
        ]
    }

    fn waiting(batch: &SendBatch) -> Vec<u8> {
        (0..batch.len)
            .map(|offset| {
                batch.buffer[(batch.head + offset) % batch.queue.len() * batch.bytes_each]
            })
            .collect()
    }

    proptest! {
        /// Whatever the socket takes, refuses or is too full for: every datagram is sent or refused once, in order, and
        /// the tail stays for the next call.
        #[test]
        fn datagrams_leave_once_and_in_order(script in prop::collection::vec(kernel(), 0..60)) {
            let to = SocketAddr::from(([127, 0, 0, 1], 9));
            let mut batch = SendBatch::new(8, 2);
            let (mut next, mut left_kernel) = (0_u8, Vec::new());
            let mut script = script.into_iter().peekable();
            while script.peek().is_some() && next < 200 {
                while batch.push(to, &[next, 0]).is_ok() {
                    next += 1;
                }
                let before = batch.len();
                let outcome = batch.drain(|batch| match script.next() {
                    Some(Kernel::Takes(count)) => {
                        let count = count.min(batch.len);
                        left_kernel.extend(&waiting(batch)[..count]);
                        Ok(count)
                    }
                    Some(Kernel::Refuses) => {
                        left_kernel.push(waiting(batch)[0]);
                        Err(io::Error::from_raw_os_error(libc::ENETUNREACH))
                    }
                    Some(Kernel::IsFull) | None => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
                });
                prop_assert_eq!(outcome.sent + outcome.failed + outcome.left, before);
                prop_assert_eq!(outcome.left, batch.len());
            }
            left_kernel.extend(waiting(&batch));
            prop_assert!(left_kernel.into_iter().eq(0..next));
        }
    }
}
