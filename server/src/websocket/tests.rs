//! The protocol against vectors of RFC 6455, against tungstenite, and cut anywhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod against_tungstenite;
mod any_cut;
mod frames;
mod upgrade;

use super::{Message, ProtocolError, Reader, Role, Writer};

/// A message that outlives its reader's next one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Message::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// All messages that are complete, and the error behind them.
fn drain(reader: &mut Reader) -> (Vec<Owned>, Option<ProtocolError>) {
    let mut messages = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(message)) => messages.push(message.into()),
            Ok(None) => return (messages, None),
            Err(error) => return (messages, Some(error)),
        }
    }
}

fn read_all(role: Role, len_max: usize, bytes: &[u8]) -> (Vec<Owned>, Option<ProtocolError>) {
    let mut reader = Reader::new(role, len_max);
    reader.push(bytes);
    drain(&mut reader)
}

fn write(writer: &mut Writer, message: &Owned) {
    match message {
        Owned::Text(text) => writer.text(|buffer| buffer.extend_from_slice(text.as_bytes())),
        Owned::Binary(bytes) => writer.binary(bytes),
        Owned::Ping(bytes) => writer.ping(bytes),
        Owned::Pong(bytes) => writer.pong(bytes),
        Owned::Close(code, reason) => writer.close(code.unwrap_or(1000), reason),
    }
}

/// The writer whose peer reads as `reader`.
fn writer_for(reader: Role) -> Writer {
    match reader {
        Role::Server => Writer::client([7; super::MASK_ENTROPY_LEN]),
        Role::Client => Writer::server(),
    }
}
