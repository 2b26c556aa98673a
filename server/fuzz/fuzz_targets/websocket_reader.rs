//! Any bytes of a peer, as server and as client: what is read does not depend on how the bytes were cut, stays within its
//! limits, and is read again alike when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::websocket::{Message, ProtocolError, Reader, Role, Writer};

const MESSAGE_LEN_MAX: usize = 1000;
/// The longest head of a frame.
const HEAD_LEN_MAX: usize = 14;

#[derive(Debug, PartialEq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

fn owned(message: Message<'_>) -> Owned {
    match message {
        Message::Text(text) => Owned::Text(text.to_owned()),
        Message::Binary(bytes) => Owned::Binary(bytes.to_vec()),
        Message::Ping(bytes) => Owned::Ping(bytes.to_vec()),
        Message::Pong(bytes) => Owned::Pong(bytes.to_vec()),
        Message::Close { code, reason } => Owned::Close(code, reason.to_owned()),
    }
}

fn read(role: Role, bytes: &[u8], piece_len: usize) -> (Vec<Owned>, Option<ProtocolError>) {
    let mut reader = Reader::new(role, MESSAGE_LEN_MAX);
    let mut messages = Vec::new();
    for piece in bytes.chunks(piece_len) {
        reader.push(piece);
        assert!(reader.buffer().len() <= MESSAGE_LEN_MAX + HEAD_LEN_MAX + piece.len());
        loop {
            match reader.next() {
                Ok(Some(message)) => messages.push(owned(message)),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next(), Err(error), "an error stays");
                    return (messages, Some(error));
                }
            }
        }
    }
    (messages, None)
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

fuzz_target!(|input: &[u8]| {
    let [choice, cut, bytes @ ..] = input else {
        return;
    };
    let (role, mut writer) = match choice & 1 {
        0 => (Role::Server, Writer::client([*cut; 32])),
        _ => (Role::Client, Writer::server()),
    };
    let (mut messages, error) = read(role, bytes, bytes.len().max(1));
    let in_pieces = read(role, bytes, 1 + usize::from(*cut));
    assert_eq!(in_pieces, (messages, error));
    messages = in_pieces.0;
    for message in &messages {
        match message {
            Owned::Text(text) => assert!(text.len() <= MESSAGE_LEN_MAX),
            Owned::Binary(bytes) => assert!(bytes.len() <= MESSAGE_LEN_MAX),
            Owned::Ping(bytes) | Owned::Pong(bytes) => assert!(bytes.len() <= 125),
            Owned::Close(_, reason) => assert!(reason.len() <= 123),
        }
    }
    if let Some(Owned::Close(code, _)) = messages.last_mut() {
        // It is written with a code in any case.
        code.get_or_insert(1000);
    }
    for message in &messages {
        write(&mut writer, message);
    }
    let len = writer.buffer.len().max(1);
    assert_eq!(read(role, &writer.buffer, len), (messages, None));
});
