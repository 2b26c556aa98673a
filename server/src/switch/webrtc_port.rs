//! The shard's one UDP port for WebRTC: what leaves is queued and sent in batches, from the address that was asked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use shards::udp::{ReceiveBatch, SendBatch, UdpSocket};

use super::DATAGRAM_BYTES_MAX;
use crate::metrics::{DropReason, ShardMetrics};

/// The socket with its send queue.
pub(super) struct WebRtcPort {
    socket: UdpSocket,
    outbound: SendBatch,
    metrics: Arc<ShardMetrics>,
}

impl WebRtcPort {
    pub(super) fn new(socket: UdpSocket, batch_packets: usize, metrics: Arc<ShardMetrics>) -> Self {
        let outbound = SendBatch::new(batch_packets, DATAGRAM_BYTES_MAX);
        Self {
            socket,
            outbound,
            metrics,
        }
    }

    /// One batch of what waits in the socket.
    pub(super) fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        let count = self.socket.receive(batch)?;
        self.metrics.webrtc_packets_received.add(count as u64);
        Ok(count)
    }

    /// Queues `datagram`, sending what waits if the queue is full. `local`: the address of ours that it leaves from, where
    /// it is known.
    pub(super) fn send(&mut self, local: Option<IpAddr>, remote: SocketAddr, datagram: &[u8]) {
        if self.outbound.push_from(local, remote, datagram).is_err() {
            self.flush();
            if self.outbound.push_from(local, remote, datagram).is_err() {
                self.metrics.dropped(DropReason::SendQueueFull);
            }
        }
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        if self.outbound.is_empty() {
            return;
        }
        let outcome = self.socket.send(&mut self.outbound);
        self.metrics.webrtc_packets_sent.add(outcome.sent as u64);
        for _ in 0..outcome.failed {
            self.metrics.dropped(DropReason::SendFailed);
        }
    }
}
