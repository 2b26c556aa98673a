//! Everything that tungstenite writes is read, and tungstenite reads everything that is written, in both roles.

use std::io::{self, Read, Write};

use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role as TheirRole, WebSocket};
use async_tungstenite::tungstenite::{Error, Message as TheirMessage};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::Role;
use super::{Owned, read_all, write, writer_for};

/// What a socket would carry.
#[derive(Default)]
struct Memory {
    to_read: io::Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.to_read.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn theirs(message: &Owned) -> TheirMessage {
    match message {
        Owned::Text(text) => TheirMessage::text(text.as_str()),
        Owned::Binary(bytes) => TheirMessage::binary(bytes.clone()),
        Owned::Ping(bytes) => TheirMessage::Ping(bytes.clone().into()),
        Owned::Pong(bytes) => TheirMessage::Pong(bytes.clone().into()),
        Owned::Close(code, reason) => TheirMessage::Close(code.map(|code| CloseFrame {
            code: CloseCode::from(code),
            reason: reason.as_str().into(),
        })),
    }
}

fn ours(message: TheirMessage) -> Owned {
    match message {
        TheirMessage::Text(text) => Owned::Text(text.as_str().to_owned()),
        TheirMessage::Binary(bytes) => Owned::Binary(bytes.to_vec()),
        TheirMessage::Ping(bytes) => Owned::Ping(bytes.to_vec()),
        TheirMessage::Pong(bytes) => Owned::Pong(bytes.to_vec()),
        TheirMessage::Close(None) => Owned::Close(None, String::new()),
        TheirMessage::Close(Some(frame)) => {
            Owned::Close(Some(frame.code.into()), frame.reason.as_str().to_owned())
        }
        TheirMessage::Frame(_) => unreachable!("is never read"),
    }
}

/// Messages as they may follow each other; a Close ends them.
fn messages() -> impl Strategy<Value = Vec<Owned>> {
    let sizes = prop_oneof![0_usize..130, 65_530_usize..65_540, Just(300)];
    let binary = sizes.prop_flat_map(|len| vec(any::<u8>(), len).prop_map(Owned::Binary));
    let control = || vec(any::<u8>(), 0..=125);
    let one = prop_oneof![
        "\\PC{0,300}".prop_map(Owned::Text),
        binary,
        control().prop_map(Owned::Ping),
        control().prop_map(Owned::Pong),
    ];
    let codes = prop_oneof![Just(1000_u16), Just(1008), Just(1011), 3000_u16..5000];
    let close =
        (codes, "[a-z \u{e4}]{0,40}").prop_map(|(code, reason)| Owned::Close(Some(code), reason));
    (vec(one, 1..8), close).prop_map(|(mut messages, close)| {
        messages.push(close);
        messages
    })
}

proptest! {
    #[test]
    fn what_tungstenite_writes_is_read(we in prop_oneof![Just(Role::Server), Just(Role::Client)], messages in messages()) {
        let they = match we {
            Role::Server => TheirRole::Client,
            Role::Client => TheirRole::Server,
        };
        let mut socket = WebSocket::from_raw_socket(Memory::default(), they, None);
        for message in &messages {
            socket.write(theirs(message)).unwrap();
        }
        socket.flush().unwrap();
        let (read, error) = read_all(we, 1 << 20, &socket.get_ref().written);
        prop_assert_eq!(error, None);
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn tungstenite_reads_what_is_written(they in prop_oneof![Just(Role::Server), Just(Role::Client)], messages in messages()) {
        let mut writer = writer_for(they);
        for message in &messages {
            write(&mut writer, message);
        }
        let memory = Memory {
            to_read: io::Cursor::new(writer.buffer),
            written: Vec::new(),
        };
        let role = match they {
            Role::Server => TheirRole::Server,
            Role::Client => TheirRole::Client,
        };
        let mut socket = WebSocket::from_raw_socket(memory, role, None);
        for message in messages {
            let read = match socket.read() {
                Ok(read) => read,
                Err(Error::Io(error)) => return Err(TestCaseError::fail(error.to_string())),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            prop_assert_eq!(ours(read), message);
        }
    }
}
