//! Single frames: the examples of RFC 6455 section 5.7, lengths, and everything that is refused.

use super::super::{CONTROL_LEN_MAX, ProtocolError, Reader, Role, Writer};
use super::{Owned, drain, read_all, writer_for};

const MAX: usize = 1 << 20;

fn text(text: &str) -> Owned {
    Owned::Text(text.to_owned())
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    let masked = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(
        read_all(Role::Server, MAX, &masked),
        (vec![text("Hello")], None)
    );
    let masked_pong = [
        0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(
        read_all(Role::Server, MAX, &masked_pong),
        (vec![Owned::Pong(b"Hello".to_vec())], None)
    );
    let plain = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let mut all = [&plain[..], &fragments, &ping].concat();
    all.extend([0x82, 0x7e, 0x01, 0x00]);
    all.extend([9; 256]);
    all.extend([0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    all.extend([8; 65536]);
    let expected = vec![
        text("Hello"),
        text("Hello"),
        Owned::Ping(b"Hello".to_vec()),
        Owned::Binary(vec![9; 256]),
        Owned::Binary(vec![8; 65536]),
    ];
    assert_eq!(read_all(Role::Client, MAX, &all), (expected, None));
}

#[test]
fn a_server_writes_the_examples_of_the_rfc() {
    let mut writer = Writer::server();
    writer.text(|buffer| buffer.extend_from_slice(b"Hello"));
    writer.ping(b"Hello");
    assert_eq!(
        writer.buffer,
        [
            0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f
        ]
    );
    writer.buffer.clear();
    writer.binary(&[9; 256]);
    assert_eq!(writer.buffer[..5], [0x82, 0x7e, 0x01, 0x00, 9]);
    writer.buffer.clear();
    writer.binary(&[8; 65536]);
    assert_eq!(writer.buffer[..11], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0, 8]);
    assert_eq!(writer.buffer.len(), 65536 + 10);
}

#[test]
fn every_length_is_written_in_its_shortest_form() {
    for role in [Role::Server, Role::Client] {
        for len in [
            0, 1, 7, 8, 124, 125, 126, 127, 128, 255, 256, 65535, 65536, 70000,
        ] {
            let mut writer = writer_for(role);
            writer.ping(b"before");
            writer.binary(&vec![len as u8; len]);
            writer.ping(b"after");
            // The reader refuses any longer form.
            let expected = vec![
                Owned::Ping(b"before".to_vec()),
                Owned::Binary(vec![len as u8; len]),
                Owned::Ping(b"after".to_vec()),
            ];
            assert_eq!(
                read_all(role, MAX, &writer.buffer),
                (expected, None),
                "{len}"
            );
        }
    }
}

#[test]
fn a_clients_masks_change_and_depend_on_its_entropy() {
    let masks = |entropy: u8| {
        let mut writer = Writer::client([entropy; 32]);
        let mut masks = Vec::new();
        for _ in 0..100 {
            writer.buffer.clear();
            writer.binary(&[0; 4]);
            assert_eq!(writer.buffer[2..6], writer.buffer[6..10]);
            masks.push(writer.buffer[2..6].to_vec());
        }
        masks
    };
    let mut all = [masks(1), masks(2)].concat();
    assert_eq!(masks(1), masks(1));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 200);
}

#[test]
fn what_breaks_the_protocol_is_refused_with_its_code() {
    use ProtocolError as E;
    let cases: &[(Role, &[u8], E, u16)] = &[
        (Role::Client, &[0xc1, 0], E::ReservedBits, 1002),
        (Role::Client, &[0x91, 0], E::ReservedBits, 1002),
        (Role::Client, &[0x83, 0], E::ReservedOpcode(3), 1002),
        (Role::Client, &[0x8f, 0], E::ReservedOpcode(15), 1002),
        (Role::Server, &[0x81, 0], E::NotMasked, 1002),
        (Role::Client, &[0x81, 0x80, 0, 0, 0, 0], E::Masked, 1002),
        (Role::Client, &[0x81, 126, 0, 125], E::LongLength, 1002),
        (
            Role::Client,
            &[0x81, 127, 0, 0, 0, 0, 0, 0, 255, 255],
            E::LongLength,
            1002,
        ),
        (Role::Client, &[0x09, 0], E::FragmentedControl, 1002),
        (Role::Client, &[0x89, 126], E::LongControl, 1002),
        (Role::Client, &[0x80, 0], E::NothingToContinue, 1002),
        (Role::Client, &[0x00, 0], E::NothingToContinue, 1002),
        (Role::Client, &[0x01, 0, 0x81, 0], E::Interrupted, 1002),
        (Role::Client, &[0x01, 0, 0x02, 0], E::Interrupted, 1002),
        (Role::Client, &[0x88, 1, 3], E::CloseTooShort, 1002),
        (Role::Client, &[0x88, 2, 3, 0xed], E::CloseCode(1005), 1002),
        (Role::Client, &[0x88, 2, 3, 0xee], E::CloseCode(1006), 1002),
        (Role::Client, &[0x88, 2, 3, 0xf7], E::CloseCode(1015), 1002),
        (Role::Client, &[0x88, 2, 0, 0], E::CloseCode(0), 1002),
        (Role::Client, &[0x88, 3, 3, 0xe8, 0xff], E::NotUtf8, 1007),
        (Role::Client, &[0x81, 1, 0xff], E::NotUtf8, 1007),
        // Half a letter at the end of the message; between fragments it is none.
        (Role::Client, &[0x01, 1, 0xc3, 0x80, 0], E::NotUtf8, 1007),
        (
            Role::Client,
            &[0x82, 126, 3, 0xe9],
            E::MessageTooLong { len_max: 1000 },
            1009,
        ),
        (
            Role::Client,
            &[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255],
            E::MessageTooLong { len_max: 1000 },
            1009,
        ),
    ];
    for (role, bytes, error, code) in cases {
        let mut reader = Reader::new(*role, 1000);
        reader.push(bytes);
        assert_eq!(drain(&mut reader), (vec![], Some(*error)), "{bytes:x?}");
        assert_eq!(error.close_code(), *code);
        assert!(!error.to_string().is_empty());
        // It stays an error, and nothing more is kept.
        reader.push(&[0x89, 0]);
        assert_eq!(drain(&mut reader), (vec![], Some(*error)));
        assert!(reader.buffer().is_empty());
    }
}

#[test]
fn fragments_count_together() {
    let mut writer = Writer::server();
    writer.binary(&[1; 600]);
    writer.binary(&[2; 401]);
    writer.buffer[0] = 0x02;
    writer.buffer[604] = 0x80;
    assert_eq!(
        read_all(Role::Client, 1000, &writer.buffer),
        (
            vec![],
            Some(ProtocolError::MessageTooLong { len_max: 1000 })
        )
    );
    let (messages, error) = read_all(Role::Client, 1001, &writer.buffer);
    assert_eq!(error, None);
    assert_eq!(
        messages,
        [Owned::Binary([vec![1; 600], vec![2; 401]].concat())]
    );
}

#[test]
fn control_frames_may_come_between_fragments() {
    let bytes = [
        0x01, 2, b'a', 0xc3, 0x89, 1, b'!', 0x00, 1, 0xa4, 0x8a, 0, 0x80, 1, b'b', 0x81, 1, b'c',
    ];
    let expected = vec![
        Owned::Ping(b"!".to_vec()),
        Owned::Pong(vec![]),
        text("a\u{e4}b"),
        text("c"),
    ];
    assert_eq!(read_all(Role::Client, 100, &bytes), (expected, None));
}

#[test]
fn nothing_follows_a_close() {
    let mut reader = Reader::new(Role::Client, 100);
    reader.push(&[0x88, 4, 3, 0xe8, b'o', b'k', 0x81, 1, b'c']);
    let closed = vec![Owned::Close(Some(1000), "ok".to_owned())];
    assert_eq!(drain(&mut reader), (closed, None));
    reader.push(&[0xff; 50]);
    assert_eq!(drain(&mut reader), (vec![], None));
    assert!(reader.buffer().is_empty());
    let bare = (vec![Owned::Close(None, String::new())], None);
    assert_eq!(read_all(Role::Client, 100, &[0x88, 0]), bare);

    let mut writer = Writer::server();
    writer.close(1008, &"\u{e4}".repeat(100));
    let len = writer.buffer.len();
    assert_eq!(len, 2 + CONTROL_LEN_MAX - 1, "cut before half a letter");
    writer.ping(b"late");
    writer.close(1000, "twice");
    assert_eq!(writer.buffer.len(), len);
    let reason = "\u{e4}".repeat(61);
    let cut = (vec![Owned::Close(Some(1008), reason)], None);
    assert_eq!(read_all(Role::Client, 100, &writer.buffer), cut);
}

#[test]
fn memory_is_given_back_after_a_large_message() {
    let mut reader = Reader::new(Role::Client, MAX);
    let mut writer = Writer::server();
    writer.binary(&vec![1; 500_000]);
    writer.binary(&vec![1; 500_000]);
    writer.buffer[0] = 0x02;
    writer.buffer[500_010] = 0x80;
    reader.push(&writer.buffer);
    assert_eq!(drain(&mut reader).0[0], Owned::Binary(vec![1; 1_000_000]));
    assert!(reader.buffer().capacity() <= 4096);
}

#[test]
fn a_warm_reader_keeps_its_buffer() {
    let mut reader = Reader::new(Role::Client, MAX);
    let mut writer = Writer::server();
    writer.binary(&[1; 300]);
    reader.push(&writer.buffer);
    let mut places = Vec::new();
    for _ in 0..50 {
        assert_eq!(drain(&mut reader).0.len(), 1);
        reader.push(&writer.buffer);
        places.push(reader.buffer().as_ptr());
    }
    places.dedup();
    assert_eq!(places.len(), 1);
}
