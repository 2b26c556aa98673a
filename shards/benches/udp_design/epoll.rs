//! Designs around an epoll instance that names the sockets with something to read.

use std::io;

use shards::udp::{ReceiveBatch, UdpSocket};

use crate::design::{Ages, Design};
use crate::sys::Epoll;

/// How a socket that has something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// `recvfrom` until it says that there is no more.
    UntilEmpty,
    /// One `recvfrom` each, then epoll is asked again, until it names none.
    InRounds,
    /// One `recvmmsg` with room for this many datagrams.
    Batch(usize),
}

/// Rounds of one turn at most.
const ROUNDS_MAX: usize = 32;

pub struct EpollDesign {
    sockets: Vec<UdpSocket>,
    epoll: Epoll,
    reading: Reading,
    batch: ReceiveBatch,
    ready: Vec<usize>,
}

impl EpollDesign {
    pub fn new(sockets: Vec<UdpSocket>, reading: Reading) -> io::Result<Self> {
        let room = if let Reading::Batch(packets) = reading {
            packets
        } else {
            1
        };
        Ok(Self {
            epoll: Epoll::of(&sockets)?,
            sockets,
            reading,
            batch: ReceiveBatch::new(room, 1500),
            ready: Vec::with_capacity(1024),
        })
    }

    /// Answers one datagram; `false` when there was none.
    fn answer_one(&self, socket: usize, ages: &mut Ages) -> bool {
        let socket = &self.sockets[socket];
        let mut datagram = [0; 1500];
        let Ok(Some((len, from, _))) = socket.receive_one(&mut datagram) else {
            return false;
        };
        let _ = socket.send_to(&datagram[..len], from);
        ages.add_now(&datagram[..len]);
        true
    }
}

impl Design for EpollDesign {
    fn wait(&mut self) {
        let _ = self.epoll.ready(50);
    }

    fn turn(&mut self, ages: &mut Ages) {
        for _ in 0..ROUNDS_MAX {
            self.ready.clear();
            self.ready.extend(self.epoll.ready(0));
            if self.ready.is_empty() {
                return;
            }
            for index in 0..self.ready.len() {
                let socket = self.ready[index];
                match self.reading {
                    Reading::UntilEmpty => while self.answer_one(socket, ages) {},
                    Reading::InRounds => {
                        self.answer_one(socket, ages);
                    }
                    Reading::Batch(_) => {
                        let _ = self.sockets[socket].receive(&mut self.batch);
                        for packet in self.batch.packets_mut() {
                            let _ = self.sockets[socket].send_to(packet.bytes, packet.from);
                            ages.add_now(packet.bytes);
                        }
                    }
                }
            }
            if self.reading != Reading::InRounds {
                return;
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        1024 * size_of::<libc::epoll_event>() + 1500
    }
}
