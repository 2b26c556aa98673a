//! However the bytes are cut, the messages are the same.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Reader, Role};
use super::{Owned, drain, read_all, write, writer_for};

const LEN_MAX: usize = 2000;

/// One message of any kind, and in how many fragments it goes.
fn message() -> impl Strategy<Value = (Owned, usize)> {
    let text = "\\PC{0,200}".prop_map(Owned::Text);
    let bytes = || vec(any::<u8>(), 0..400);
    let control = || vec(any::<u8>(), 0..=125);
    let data = prop_oneof![text, bytes().prop_map(Owned::Binary)];
    let control = prop_oneof![
        control().prop_map(Owned::Ping),
        control().prop_map(Owned::Pong)
    ];
    prop_oneof![(data, 1_usize..5), (control, Just(1))]
}

/// The frames of a message, made of one frame each by setting opcode and FIN of a whole one.
fn frames(role: Role, message: &Owned, fragments: usize) -> Vec<Vec<u8>> {
    let whole = |message: &Owned| {
        let mut writer = writer_for(role);
        write(&mut writer, message);
        writer.buffer
    };
    let payload = match message {
        Owned::Text(text) => text.as_bytes(),
        Owned::Binary(bytes) => bytes,
        control => return vec![whole(control)],
    };
    let part_len = payload.len() / fragments;
    let mut frames = Vec::new();
    for number in 0..fragments {
        let end = match number + 1 == fragments {
            true => payload.len(),
            false => (number + 1) * part_len,
        };
        let part = payload[number * part_len..end].to_vec();
        let mut frame = whole(&Owned::Binary(part));
        let opcode = match (number, message) {
            (0, Owned::Text(_)) => 1,
            (0, _) => 2,
            _ => 0,
        };
        let fin = if number + 1 == fragments { 0x80 } else { 0 };
        frame[0] = fin | opcode;
        frames.push(frame);
    }
    frames
}

/// Reads in pieces of these lengths, over and over.
fn read_in_pieces(
    role: Role,
    bytes: &[u8],
    lens: &[usize],
) -> (Vec<Owned>, Option<super::ProtocolError>) {
    let mut reader = Reader::new(role, LEN_MAX);
    let mut messages = Vec::new();
    let mut rest = bytes;
    for len in lens.iter().cycle() {
        let (piece, after) = rest.split_at((*len).min(rest.len()));
        reader.push(piece);
        assert!(reader.buffer().len() <= LEN_MAX + 14 + piece.len());
        let (more, error) = drain(&mut reader);
        messages.extend(more);
        if error.is_some() || after.is_empty() {
            return (messages, error);
        }
        rest = after;
    }
    (messages, None)
}

fn roles() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

proptest! {
    #[test]
    fn messages_do_not_depend_on_how_they_arrive(
        role in roles(),
        messages in vec(message(), 1..20),
        lens in vec(1_usize..300, 1..20),
    ) {
        let mut bytes = Vec::new();
        for (message, fragments) in &messages {
            bytes.extend(frames(role, message, *fragments).concat());
        }
        let expected: Vec<Owned> = messages.into_iter().map(|(message, _)| message).collect();
        prop_assert_eq!(&read_all(role, LEN_MAX, &bytes), &(expected.clone(), None));
        prop_assert_eq!(read_in_pieces(role, &bytes, &lens), (expected.clone(), None));
        prop_assert_eq!(read_in_pieces(role, &bytes, &[1]), (expected, None));
    }

    #[test]
    fn nonsense_is_refused_alike_however_it_arrives(
        role in roles(),
        good in message(),
        mut nonsense in vec(any::<u8>(), 0..600),
        lens in vec(1_usize..40, 1..20),
        is_near in any::<bool>(),
    ) {
        if is_near && nonsense.len() > 1 {
            // Nearly a frame, or most of it would fail at its first byte.
            nonsense[0] &= 0x8b;
            nonsense[1] = nonsense[1] & 0x7f | if role == Role::Server { 0x80 } else { 0 };
        }
        let mut bytes = frames(role, &good.0, good.1).concat();
        bytes.extend(nonsense);
        let whole = read_all(role, LEN_MAX, &bytes);
        prop_assert_eq!(&whole.0[0], &good.0);
        prop_assert_eq!(&read_in_pieces(role, &bytes, &lens), &whole);
        prop_assert_eq!(&read_in_pieces(role, &bytes, &[1]), &whole);
    }
}
