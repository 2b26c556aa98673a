//! A UDP socket of one shard.

use std::cell::OnceCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::address::{Family, RawAddress};
use super::batch::{ReceiveBatch, SendBatch, SendOutcome};
use super::sys;

/// A bound UDP socket. It stays on the thread where [`UdpSocket::readable`] was first called, so it is not `Send`.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    family: Family,
    local_addr: SocketAddr,
    /// Only there to be told by glommio when the socket becomes readable; made when first needed, because most sockets
    /// are polled in a [`super::SocketSet`].
    readiness: OnceCell<glommio::net::UdpSocket>,
}

impl UdpSocket {
    /// A socket on `addr` with these kernel buffers (0: the system's default); `[::]` takes IPv4 as well. The kernel caps
    /// the buffers at `net.core.rmem_max` and `net.core.wmem_max`; see [`UdpSocket::buffer_bytes`].
    ///
    /// # Errors
    /// As `bind(2)`.
    pub fn bind(
        addr: SocketAddr,
        receive_buffer_bytes: usize,
        send_buffer_bytes: usize,
    ) -> io::Result<Self> {
        // The type carries close-on-exec.
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        if receive_buffer_bytes > 0 {
            socket.set_recv_buffer_size(receive_buffer_bytes)?;
        }
        if send_buffer_bytes > 0 {
            socket.set_send_buffer_size(send_buffer_bytes)?;
        }
        socket.bind(&addr.into())?;
        let socket = std::net::UdpSocket::from(socket);
        Ok(Self {
            local_addr: socket.local_addr()?,
            family: if addr.is_ipv6() {
                Family::V6
            } else {
                Family::V4
            },
            fd: socket.into(),
            readiness: OnceCell::new(),
        })
    }

    /// From now on received packets tell which of our addresses they were sent to: for a socket on the wildcard address
    /// whose answers must leave from there.
    ///
    /// # Errors
    /// As `setsockopt(2)`.
    pub fn tell_addressed(&self) -> io::Result<()> {
        sys::tell_addressed(self.fd.as_fd(), self.family)
    }

    /// Where it is bound, with the port that the kernel chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The kernel buffers it really has, for receiving and for sending, in bytes: twice what was asked for (the kernel
    /// counts its own overhead), unless the system's maximum is lower.
    ///
    /// # Errors
    /// As `getsockopt(2)`.
    pub fn buffer_bytes(&self) -> io::Result<(usize, usize)> {
        let socket = socket2::SockRef::from(&self.fd);
        Ok((socket.recv_buffer_size()?, socket.send_buffer_size()?))
    }

    /// Fills `batch` with what waits in the socket, without waiting, and returns how many datagrams that is: 0 when
    /// there is none. A full batch means that more may wait.
    ///
    /// # Errors
    /// As `recvmmsg(2)`.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.receive(self.fd.as_fd())
    }

    /// Receives one datagram without waiting: its length in `buffer`, who sent it, and whether it was cut at the end of
    /// `buffer`. None when there is none.
    ///
    /// # Errors
    /// As `recvfrom(2)`.
    pub fn receive_one(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr, bool)>> {
        loop {
            match sys::receive_from(self.fd.as_fd(), buffer) {
                Ok(arrival) => {
                    let from = arrival.from.decode();
                    return Ok(from.map(|from| (arrival.bytes, from, arrival.truncated)));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// Sends what waits in `batch`, in order and without waiting. When the socket is full the rest stays in the batch
    /// for the next call; a datagram that the kernel refuses is dropped and counted, and the others go on.
    pub fn send(&self, batch: &mut SendBatch) -> SendOutcome {
        batch.send(self.fd.as_fd(), self.family)
    }

    /// Sends one datagram without waiting.
    ///
    /// # Errors
    /// As `sendto(2)`; `WouldBlock` when the socket is full, `EAFNOSUPPORT` for an IPv6 peer on an IPv4 socket.
    pub fn send_to(&self, datagram: &[u8], remote: SocketAddr) -> io::Result<()> {
        let to = RawAddress::encode(remote, self.family)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        loop {
            match sys::send_to(self.fd.as_fd(), datagram, to) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Waits until a datagram can be received; takes none. May return once too often. Dropping the wait loses
    /// nothing.
    ///
    /// # Errors
    /// An error that waits on the socket, or out of file descriptors.
    ///
    /// # Panics
    /// Outside of an executor.
    pub async fn readable(&self) -> io::Result<()> {
        let socket = match self.readiness.get() {
            Some(socket) => socket,
            None => {
                let own = self.fd.try_clone()?;
                // SAFETY: the duplicate is open and given away here.
                let socket = unsafe { glommio::net::UdpSocket::from_raw_fd(own.into_raw_fd()) };
                self.readiness.get_or_init(|| socket)
            }
        };
        // Peeking is the one read of glommio's that takes no datagram away.
        match socket.peek_from(&mut [0; 1]).await.map_err(io::Error::from) {
            // glommio numbers its operations anew when they end, so a late cancellation may hit the wrong one: the
            // caller finds the socket empty and waits again.
            Err(error) if error.raw_os_error() != Some(libc::ECANCELED) => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
