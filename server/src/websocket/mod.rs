//! WebSocket after the upgrade (RFC 6455), both roles, and the client's side of the upgrade. Sans-I/O: bytes in,
//! messages out, and messages in, bytes out; sockets are `shards::tick_stream`'s.
//!
//! For sockets that carry audio, 50 messages a second each way: a message is read where it was received and written
//! where it leaves from, without an allocation of its own. The owner answers a Ping with [`Writer::pong`] and a Close with
//! [`Writer::close`], and closes with [`ProtocolError::close_code`] when the peer breaks the protocol.
//!
//! Not here: extensions (none is offered, so every reserved bit is an error), subprotocols, fragmenting what is sent.

mod error;
mod frame;
pub mod handshake;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use error::ProtocolError;
pub use reader::{Message, Reader};
pub use writer::{MASK_ENTROPY_LEN, Writer};

/// The longest payload of a Ping, Pong or Close (section 5.5).
pub const CONTROL_LEN_MAX: usize = 125;

/// Which side we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// We were dialled; what the peer sends is masked.
    Server,
    /// We dialled; what we send is masked.
    Client,
}
