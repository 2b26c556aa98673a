//! One UDP socket: its messages to the agent, and the agent's out of it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shards::udp::{DatagramSocket, ReceiveBatch, ReceivedPacket};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::AbortHandle;

use super::framing::is_sip;
use super::{Arrival, Discard, FlowId, MESSAGE_LEN_MAX, Received, SendError, Shared, Transmit};
use crate::config::SipTransport;

/// Datagrams of one system call.
const BATCH_LEN: usize = 8;
/// What the kernel keeps while the control thread is busy, in bytes: about 1000 messages.
const KERNEL_BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// After an error of the socket, which should not happen, before it is tried again.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// The socket with its task.
#[derive(Debug)]
pub(super) struct Datagrams {
    pub(super) flow: FlowId,
    socket: Arc<DatagramSocket>,
    task: AbortHandle,
}

impl Datagrams {
    pub(super) fn bind(address: SocketAddr, shared: &Arc<Shared>) -> io::Result<Self> {
        let socket = DatagramSocket::bind(address, KERNEL_BUFFER_BYTES, KERNEL_BUFFER_BYTES)?;
        if socket.local_addr().ip().is_unspecified() {
            socket.tell_addressed()?;
        }
        // tokio only tells when something came: its sockets do not know which of our addresses was asked.
        let readiness = std::net::UdpSocket::from(socket.as_fd().try_clone_to_owned()?);
        let readiness = UdpSocket::from_std(readiness)?;
        let socket = Arc::new(socket);
        let flow = shared.new_flow();
        let receiving = receive(Arc::clone(&socket), readiness, flow, Arc::clone(shared));
        let task = tokio::spawn(receiving);
        Ok(Self {
            flow,
            socket,
            task: task.abort_handle(),
        })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    /// Sends from `transmit.source`, where the socket is at every address.
    pub(super) fn send(&self, transmit: &Transmit) -> Result<FlowId, SendError> {
        let socket = &self.socket;
        let (payload, destination) = (&transmit.payload, transmit.destination);
        let source = transmit.source.ip();
        let sent = if socket.local_addr().ip().is_unspecified() && !source.is_unspecified() {
            socket.send_from(payload, destination, source)
        } else {
            socket.send_to(payload, destination)
        };
        match sent {
            Ok(()) => Ok(self.flow),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(SendError::Full(destination))
            }
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                Err(SendError::TooLong(payload.len()))
            }
            Err(source) => Err(SendError::Kernel {
                destination,
                source,
            }),
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(
    socket: Arc<DatagramSocket>,
    readiness: UdpSocket,
    flow: FlowId,
    shared: Arc<Shared>,
) {
    let mut batch = ReceiveBatch::new(BATCH_LEN, MESSAGE_LEN_MAX);
    let local = socket.local_addr();
    loop {
        let received = readiness
            .async_io(Interest::READABLE, || match socket.receive(&mut batch)? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            })
            .await;
        if let Err(error) = received {
            tracing::warn!(%local, %error, "receiving SIP");
            tokio::time::sleep(ERROR_PAUSE).await;
            continue;
        }
        for packet in batch.packets_mut() {
            if take(&packet, flow, local, &shared).is_none() {
                return;
            }
        }
        // Others have their turn also while datagrams come without end.
        tokio::task::yield_now().await;
    }
}

/// Hands a datagram on, or counts why not; none: nobody listens any more.
fn take(
    packet: &ReceivedPacket<'_>,
    flow: FlowId,
    bound: SocketAddr,
    shared: &Shared,
) -> Option<()> {
    // Empty lines are keepalives, and may stand before a message (RFC 3261 section 7.5).
    let message = packet.bytes.trim_ascii_start();
    if message.is_empty() || message.iter().all(|byte| *byte == 0) {
        return Some(());
    }
    if !shared.admits(packet.from) {
        shared.counters.add(Discard::RateLimited);
        return Some(());
    }
    if packet.truncated || !is_sip(message) {
        shared.counters.add(Discard::NotSip);
        return Some(());
    }
    let received = Received {
        transport: SipTransport::Udp,
        local: SocketAddr::new(packet.addressed.unwrap_or(bound.ip()), bound.port()),
        remote: packet.from,
        payload: Bytes::copy_from_slice(message),
        flow,
    };
    match shared.arrivals.try_send(Arrival::Message(received)) {
        Ok(()) => Some(()),
        Err(TrySendError::Full(_)) => {
            shared.counters.add(Discard::ArrivalsFull);
            Some(())
        }
        Err(TrySendError::Closed(_)) => None,
    }
}
