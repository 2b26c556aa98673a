//! Datagrams in batches on sockets of our own, drained and filled on the shard's tick.
//!
//! glommio's UDP is not used: its `send_to` sends one byte of the datagram once the socket is full, and it pays about
//! 18 us per packet where a `recvmmsg`/`sendmmsg` on a tick pays 5 (50 000 packets/s). glommio only tells when an idle
//! socket becomes readable.
//!
//! On a socket that takes both families IPv4 peers have v4-mapped addresses; they are shown as IPv4 and mapped again
//! when sent to, so one peer has one address.

mod address;
mod batch;
mod control;
mod datagram;
mod set;
mod socket;
mod sys;

pub(crate) use address::unmapped;

pub use batch::{PushError, ReceiveBatch, ReceivedPacket, SendBatch, SendOutcome};
pub use datagram::DatagramSocket;
pub use set::SocketSet;
pub use socket::UdpSocket;
