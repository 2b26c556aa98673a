//! One socket for all calls, as the WebRTC port is: `recvmmsg` and `sendmmsg` of so many datagrams.

use std::io;

use shards::udp::{ReceiveBatch, SendBatch, UdpSocket};

use crate::design::{Ages, Design};

pub struct OneSocket {
    socket: UdpSocket,
    received: ReceiveBatch,
    answers: SendBatch,
    batch: usize,
}

impl OneSocket {
    pub fn new(mut sockets: Vec<UdpSocket>, batch: usize) -> io::Result<Self> {
        let socket = sockets.pop().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            socket,
            received: ReceiveBatch::new(batch, 1500),
            answers: SendBatch::new(batch, 1500),
            batch,
        })
    }
}

impl Design for OneSocket {
    /// Only driven by the tick.
    fn wait(&mut self) {}

    fn turn(&mut self, ages: &mut Ages) {
        while let Ok(count @ 1..) = self.socket.receive(&mut self.received) {
            for packet in self.received.packets_mut() {
                let _ = self.answers.push(packet.from, packet.bytes);
            }
            self.socket.send(&mut self.answers);
            for packet in self.received.packets_mut() {
                ages.add_now(packet.bytes);
            }
            if count < self.batch {
                return;
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        2 * self.batch * 1500
    }
}
