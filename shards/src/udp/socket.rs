//! A UDP socket of one shard.

use std::cell::OnceCell;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd};

use super::datagram::DatagramSocket;

/// A bound UDP socket on which an executor can wait. It stays on the thread where [`UdpSocket::readable`] was first
/// called, so it is not `Send`.
#[derive(Debug)]
pub struct UdpSocket {
    socket: DatagramSocket,
    /// Only there to be told by glommio when the socket becomes readable; made when first needed, because most sockets
    /// are polled in a [`super::SocketSet`].
    readiness: OnceCell<glommio::net::UdpSocket>,
}

impl UdpSocket {
    /// As [`DatagramSocket::bind`].
    ///
    /// # Errors
    /// As `bind(2)`.
    pub fn bind(
        addr: SocketAddr,
        receive_buffer_bytes: usize,
        send_buffer_bytes: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            socket: DatagramSocket::bind(addr, receive_buffer_bytes, send_buffer_bytes)?,
            readiness: OnceCell::new(),
        })
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
                let own = self.socket.as_fd().try_clone_to_owned()?;
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

impl Deref for UdpSocket {
    type Target = DatagramSocket;

    fn deref(&self) -> &DatagramSocket {
        &self.socket
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
