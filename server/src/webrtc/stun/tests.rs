//! RFC 5769 vectors, our own round trips, and arbitrary bytes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
const TRANSACTION: TransactionId = TransactionId([
    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
]);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// RFC 5769 section 2.1.
fn sample_request() -> Vec<u8> {
    bytes(
        "00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74
         00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020
         00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf",
    )
}

#[test]
fn rfc_5769_request_is_read_and_verified() {
    let raw = sample_request();
    let message = StunMessage::parse(&raw).unwrap();
    assert_eq!(message.class(), StunClass::Request);
    assert_eq!(message.transaction_id(), TRANSACTION);
    assert_eq!(message.username(), Some("evtj:h6vY"));
    assert_eq!(message.local_ufrag(), Some("evtj"));
    assert_eq!(message.priority(), Some(0x6e00_01ff));
    assert_eq!(message.ice_controlled(), Some(0x932f_f9b1_5126_3b36));
    assert!(!message.use_candidate());
    assert!(message.integrity_holds(&IntegrityKey::new(PASSWORD)));
    assert!(!message.integrity_holds(&IntegrityKey::new("another")));
}

#[test]
fn rfc_5769_responses_are_read_and_verified() {
    let v4 = bytes(
        "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220
         00200008 0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
         80280004 c07d4c96",
    );
    let v6 = bytes(
        "01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220
         00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
         00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c",
    );
    for (raw, address) in [
        (v4, "192.0.2.1:32853"),
        (v6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let message = StunMessage::parse(&raw).unwrap();
        assert_eq!(message.class(), StunClass::SuccessResponse);
        assert_eq!(message.xor_mapped_address(), Some(address.parse().unwrap()));
        assert!(message.integrity_holds(&IntegrityKey::new(PASSWORD)));
    }
}

#[test]
fn one_changed_bit_in_what_integrity_covers_is_noticed() {
    let key = IntegrityKey::new(PASSWORD);
    const FINGERPRINT_LEN: usize = 8;
    for bit in 0..(sample_request().len() - FINGERPRINT_LEN) * 8 {
        let mut raw = sample_request();
        raw[bit / 8] ^= 1 << (bit % 8);
        let accepted = StunMessage::parse(&raw).is_ok_and(|message| message.integrity_holds(&key));
        assert!(!accepted, "bit {bit}");
    }
}

#[test]
fn success_response_round_trips() {
    let key = IntegrityKey::new(PASSWORD);
    for (from, told) in [
        ("192.0.2.1:32853", "192.0.2.1:32853"),
        ("[::ffff:192.0.2.1]:7", "192.0.2.1:7"),
        ("[2001:db8::1]:65535", "[2001:db8::1]:65535"),
    ] {
        let mut out = [0; RESPONSE_LEN_MAX];
        let len =
            write_binding_success(&mut out, TRANSACTION, from.parse().unwrap(), &key).unwrap();
        let message = StunMessage::parse(&out[..len]).unwrap();
        assert_eq!(message.class(), StunClass::SuccessResponse);
        assert_eq!(message.xor_mapped_address(), Some(told.parse().unwrap()));
        assert!(message.integrity_holds(&key));
    }
}

#[test]
fn every_error_response_fits_and_round_trips() {
    let key = IntegrityKey::new(PASSWORD);
    let mut request = [0; 256];
    let mut writer = StunWriter::new(&mut request, StunClass::Request, TRANSACTION).unwrap();
    for unknown in 0x7f00..0x7f0a {
        writer.attribute(unknown, &[b"?"]).unwrap();
    }
    writer.message_integrity(&key).unwrap();
    let len = writer.len();
    let request = StunMessage::parse(&request[..len]).unwrap();
    assert_eq!(request.unknown_attributes().len(), 8);
    for (refusal, code) in [
        (StunRefusal::BadRequest, 400),
        (StunRefusal::Unauthenticated, 401),
        (StunRefusal::UnknownAttribute, 420),
        (StunRefusal::RoleConflict, 487),
    ] {
        let mut out = [0; RESPONSE_LEN_MAX];
        let len = write_binding_error(&mut out, &request, refusal, Some(&key)).unwrap();
        let message = StunMessage::parse(&out[..len]).unwrap();
        assert_eq!(message.class(), StunClass::ErrorResponse);
        assert_eq!(message.error_code(), Some(code));
        assert!(message.integrity_holds(&key));
    }
}

#[test]
fn attributes_after_message_integrity_do_not_count() {
    let key = IntegrityKey::new(PASSWORD);
    let mut out = [0; 256];
    let mut writer = StunWriter::new(&mut out, StunClass::Request, TRANSACTION).unwrap();
    writer.attribute(attribute::USERNAME, &[b"a:b"]).unwrap();
    writer.message_integrity(&key).unwrap();
    writer.attribute(attribute::USE_CANDIDATE, &[]).unwrap();
    let len = writer.len();
    let message = StunMessage::parse(&out[..len]).unwrap();
    assert!(message.integrity_holds(&key));
    assert!(!message.use_candidate());
}

#[test]
fn errors_name_what_is_wrong() {
    let mut raw = sample_request();
    assert_eq!(
        StunMessage::parse(&raw[..19]).err(),
        Some(StunError::Length)
    );
    assert_eq!(
        StunMessage::parse(&raw[..40]).err(),
        Some(StunError::Length)
    );
    raw[0] = 0x40;
    assert_eq!(StunMessage::parse(&raw).err(), Some(StunError::Header));
    raw[0] = 0x01;
    raw[1] = 0x03;
    assert_eq!(StunMessage::parse(&raw).err(), Some(StunError::Method));
    let mut long = vec![0; MESSAGE_LEN_MAX + 1];
    long[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    assert_eq!(StunMessage::parse(&long).err(), Some(StunError::Length));
    let mut many = bytes("00010000 2112a442 b7e7a701 bc34d686 fa87dfae");
    many.resize(HEADER_LEN + 4 * (ATTRIBUTES_MAX + 1), 0x80);
    many.chunks_exact_mut(4)
        .skip(5)
        .for_each(|word| word.copy_from_slice(&[0x80, 1, 0, 0]));
    many[3] = (4 * (ATTRIBUTES_MAX + 1)) as u8;
    assert_eq!(
        StunMessage::parse(&many).err(),
        Some(StunError::TooManyAttributes)
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = StunMessage::parse(&raw) {
            message.integrity_holds(&IntegrityKey::new(PASSWORD));
        }
    }

    #[test]
    fn arbitrary_attributes_never_panic(
        attributes in proptest::collection::vec((0u16..0x30, proptest::collection::vec(any::<u8>(), 0..24)), 0..40),
    ) {
        let mut out = [0; 2000];
        let mut writer = StunWriter::new(&mut out, StunClass::Request, TRANSACTION).unwrap();
        for (kind, value) in &attributes {
            writer.attribute(*kind, &[value]).unwrap();
        }
        let len = writer.len();
        if let Ok(message) = StunMessage::parse(&out[..len]) {
            message.integrity_holds(&IntegrityKey::new(PASSWORD));
            let mut response = [0; RESPONSE_LEN_MAX];
            let key = IntegrityKey::new(PASSWORD);
            let refusal = StunRefusal::UnknownAttribute;
            prop_assert!(write_binding_error(&mut response, &message, refusal, Some(&key)).is_some());
        }
    }
}
