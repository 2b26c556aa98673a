//! SIP on one UDP socket for thousands of calls: what a carrier that calls and one that answers have in common.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::sip_peer::SipMessage;

/// What is not answered is repeated first after so long (RFC 3261 T1), then after twice that, up to [`T2`].
pub(super) const T1: Duration = Duration::from_millis(500);
/// The longest pause between two repetitions.
pub(super) const T2: Duration = Duration::from_secs(4);
/// The longest message.
const MESSAGE_BYTES_MAX: usize = 65_535;
/// What the kernel keeps while others have their turn, in bytes.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// The socket.
pub(super) struct SipSocket {
    socket: UdpSocket,
    local: SocketAddr,
}

impl SipSocket {
    /// A copy of a bound one. Must be called within a runtime.
    pub(super) fn open(socket: &std::net::UdpSocket) -> io::Result<Self> {
        let socket = socket.try_clone()?;
        super::host::grow_receive_buffer(&socket, RECEIVE_BUFFER_BYTES);
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local })
    }

    /// Where it is bound.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends a message. UDP may lose it; what matters is repeated.
    pub(super) async fn send(&self, message: &str, remote: SocketAddr) {
        let _ = self.socket.send_to(message.as_bytes(), remote).await;
    }

    /// Gives each message that comes to `handle` and sends what it answers, for ever.
    pub(super) async fn serve(
        &self,
        mut handle: impl FnMut(SipMessage, SocketAddr) -> Option<String>,
    ) {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        loop {
            let Ok((len, remote)) = self.socket.recv_from(&mut buffer).await else {
                continue;
            };
            let text = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default());
            // Keep-alives and what is no SIP.
            let Some(message) = SipMessage::parse(&text) else {
                continue;
            };
            if let Some(answer) = handle(message, remote) {
                self.send(&answer, remote).await;
            }
        }
    }
}
