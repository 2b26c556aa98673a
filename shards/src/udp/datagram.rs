//! A UDP socket for any thread: everything that does not wait.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use socket2::{Domain, MsgHdr, Protocol, SockAddr, SockRef, Socket, Type};

use super::address::{Family, RawAddress};
use super::batch::{ReceiveBatch, SendBatch, SendOutcome};
use super::control::Control;
use super::sys;

/// A bound UDP socket that never waits. A shard waits on it as [`super::UdpSocket`], another runtime by its descriptor.
#[derive(Debug)]
pub struct DatagramSocket {
    fd: OwnedFd,
    family: Family,
    local_addr: SocketAddr,
}

impl DatagramSocket {
    /// A socket on `addr` with these kernel buffers (0: the system's default); `[::]` takes IPv4 as well. The kernel caps
    /// the buffers at `net.core.rmem_max` and `net.core.wmem_max`; see [`DatagramSocket::buffer_bytes`].
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

    /// As [`DatagramSocket::send_to`], from `leave_from` of our addresses.
    ///
    /// # Errors
    /// As `sendmsg(2)`; `EAFNOSUPPORT` also for an IPv6 address of ours on an IPv4 socket.
    pub fn send_from(
        &self,
        datagram: &[u8],
        remote: SocketAddr,
        leave_from: IpAddr,
    ) -> io::Result<()> {
        let unsupported = || io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
        let to = match (self.family, remote) {
            (Family::V6, SocketAddr::V4(v4)) => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            (Family::V4, SocketAddr::V6(_)) => return Err(unsupported()),
            (_, remote) => remote,
        };
        let (control, control_bytes) =
            Control::leave_from(leave_from, self.family).ok_or_else(unsupported)?;
        let to = SockAddr::from(to);
        let buffers = [IoSlice::new(datagram)];
        let message = MsgHdr::new()
            .with_addr(&to)
            .with_buffers(&buffers)
            .with_control(control.bytes(control_bytes));
        loop {
            match SockRef::from(&self.fd).sendmsg(&message, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(|_| ()),
            }
        }
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for DatagramSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
