//! SRTP against its RFCs' vectors, against `rtc-srtp` as oracle, and against forgers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
use proptest::prelude::*;
use rtc_srtp::context::Context as Oracle;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::key_derivation::{Label, apply_key_stream, counter_mode_key, derive};
use super::transform::Transform;
use super::*;
use crate::rtp::{PayloadType, RtcpWriter, RtpHeader, RtpTimestamp, SequenceNumber, Ssrc};

const PROFILES: [Profile; 4] = [
    Profile::Aes128CmHmacSha1_80,
    Profile::Aes128CmHmacSha1_32,
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[test]
fn rfc_3711_appendix_b3_key_derivation() {
    let keys = SrtpKeys::new(
        Profile::Aes128CmHmacSha1_80,
        &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
        &hex("0EC675AD498AFEEBB6960B3AABE6"),
    )
    .unwrap();
    let derived = |label, len| {
        let mut out = vec![0xaa; len];
        derive(&keys, label, &mut out).unwrap();
        out
    };
    assert_eq!(
        derived(Label::RtpEncryption, 16),
        hex("C61E7A93744F39EE10734AFE3FF7A087")
    );
    assert_eq!(
        derived(Label::RtpSalt, 14),
        hex("30CBBC08863D8C85D49DB34A9AE1")
    );
    assert_eq!(
        derived(Label::RtpAuthentication, 20),
        hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
    );
}

#[test]
fn rfc_3711_appendix_b2_key_stream() {
    let key = counter_mode_key(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let mut key_stream = [0; 48];
    let counter = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
    apply_key_stream(&key, counter, &mut key_stream).unwrap();
    let expected = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
                    41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(key_stream[..], hex(expected));
}

/// The session key and salt of RFC 7714 sections 16 and 17.
fn rfc_7714_transform(profile: Profile) -> Transform {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    let algorithm = match profile {
        Profile::AeadAes256Gcm => &AES_256_GCM,
        _ => &AES_128_GCM,
    };
    Transform::Gcm {
        cipher: LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap()),
        salt: *b"Quid pro quo",
    }
}

#[test]
fn rfc_7714_section_16_srtp() {
    let plain = hex("8040f17b8041f8d35501a0b2")
        .into_iter()
        .chain(*b"Gallia est omnis divisa in partes tres");
    let plain: Vec<u8> = plain.collect();
    let vectors = [
        (
            Profile::AeadAes128Gcm,
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf
             8833899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            Profile::AeadAes256Gcm,
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799
             b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ];
    for (profile, protected) in vectors {
        let transform = rfc_7714_transform(profile);
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + 16, 0);
        let len = transform
            .seal_rtp(&mut buffer, 12, plain.len(), Ssrc(0x5501_a0b2), 0xf17b)
            .unwrap();
        assert_eq!(buffer[..len], hex(protected), "{profile:?}");
        let len = transform
            .open_rtp(&mut buffer, 12, Ssrc(0x5501_a0b2), 0xf17b)
            .unwrap();
        assert_eq!(buffer[..len], plain);
    }
}

#[test]
fn rfc_7714_section_17_srtcp() {
    let plain = hex(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    );
    let vectors = [
        (
            Profile::AeadAes128Gcm,
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded
             0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
        ),
        (
            Profile::AeadAes256Gcm,
            "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047
             6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
        ),
    ];
    let ssrc = Ssrc(0x4d61_7273);
    for (profile, protected) in vectors {
        let transform = rfc_7714_transform(profile);
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + 20, 0);
        let len = transform
            .seal_rtcp(&mut buffer, plain.len(), ssrc, 0x5d4)
            .unwrap();
        assert_eq!(buffer[..len], hex(protected), "{profile:?}");
        assert_eq!(transform.rtcp_index(&buffer), Ok(0x5d4));
        let len = transform.open_rtcp(&mut buffer, ssrc, 0x5d4).unwrap();
        assert_eq!(buffer[..len], plain);
    }
}

fn keys(profile: Profile) -> SrtpKeys {
    let key: Vec<u8> = (0..profile.key_len() as u8)
        .map(|byte| byte.wrapping_mul(37))
        .collect();
    let salt: Vec<u8> = (0..profile.salt_len() as u8)
        .map(|byte| byte.wrapping_mul(91))
        .collect();
    SrtpKeys::new(profile, &key, &salt).unwrap()
}

fn pair(profile: Profile) -> (SendContext, ReceiveContext) {
    let keys = keys(profile);
    (
        SendContext::new(&keys).unwrap(),
        ReceiveContext::new(&keys).unwrap(),
    )
}

fn oracle(profile: Profile) -> Oracle {
    let keys = keys(profile);
    let profile = match profile {
        Profile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Profile::Aes128CmHmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let provider: Arc<dyn rtc_srtp::crypto::RTCCryptoProvider> =
        rtc_srtp::crypto::default_provider().unwrap();
    let salt = &keys.master_salt[..keys.profile.salt_len()];
    Oracle::new(
        keys.master_key(),
        salt,
        profile,
        None,
        None,
        provider.crypto(),
    )
    .unwrap()
}

/// An RTP packet with room behind it for protecting.
fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> (Vec<u8>, usize) {
    let header = RtpHeader {
        marker: false,
        payload_type: PayloadType(111),
        sequence_number: SequenceNumber(sequence),
        timestamp: RtpTimestamp(u32::from(sequence) * 960),
        ssrc: Ssrc(ssrc),
    };
    let mut packet = vec![0; 12 + payload.len() + PROTECTION_OVERHEAD_MAX];
    let len = header.write_packet(payload, &mut packet).unwrap();
    (packet, len)
}

fn protected(send: &mut SendContext, ssrc: u32, sequence: u16) -> Vec<u8> {
    let (mut packet, len) = rtp(ssrc, sequence, b"payload");
    let len = send.protect_rtp(&mut packet, len).unwrap();
    packet.truncate(len);
    packet
}

fn report(ssrc: u32, blocks: usize) -> (Vec<u8>, usize) {
    let mut packet = vec![0; 256];
    let mut writer = RtcpWriter::new(&mut packet);
    writer
        .receiver_report(Ssrc(ssrc), &vec![Default::default(); blocks])
        .unwrap();
    let len = writer.len();
    (packet, len)
}

#[test]
fn the_oracle_agrees_over_the_sequence_wrap() {
    for profile in PROFILES {
        let (mut send, mut receive) = pair(profile);
        let (mut oracle_send, mut oracle_receive) = (oracle(profile), oracle(profile));
        // Two wraps, in steps that both sides follow.
        let mut sequence = 60_000_u16;
        for step in 0..20 {
            let payload = vec![step; usize::from(step) * 9];
            let (mut packet, len) = rtp(7, sequence, &payload);
            let plain = packet[..len].to_vec();
            let theirs = oracle_send.encrypt_rtp(&plain).unwrap();
            let len = send.protect_rtp(&mut packet, len).unwrap();
            assert_eq!(packet[..len], theirs[..], "{profile:?} {sequence}");
            assert_eq!(len, plain.len() + profile.rtp_overhead());
            assert_eq!(
                oracle_receive.decrypt_rtp(&packet[..len]).unwrap()[..],
                plain[..]
            );
            let len = receive.unprotect_rtp(&mut packet[..len]).unwrap();
            assert_eq!(packet[..len], plain[..]);
            sequence = sequence.wrapping_add(9_000);
        }
    }
}

#[test]
fn the_oracle_agrees_on_headers_with_everything() {
    for profile in PROFILES {
        let (mut send, mut receive) = pair(profile);
        let mut plain = vec![0xb2, 0xef, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]; // padding, extension, two CSRCs
        plain.extend([0, 0, 0, 10, 0, 0, 0, 11]);
        plain.extend([0xbe, 0xde, 0, 1, 0x31, 0x12, 0x34, 0x00]);
        plain.extend(b"media\0\0\x03");
        let theirs = oracle(profile).encrypt_rtp(&plain).unwrap();
        let mut packet = plain.clone();
        packet.resize(plain.len() + profile.rtp_overhead(), 0);
        assert_eq!(send.protect_rtp(&mut packet, plain.len()), Ok(packet.len()));
        assert_eq!(packet, theirs[..]);
        assert_eq!(receive.unprotect_rtp(&mut packet), Ok(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}

#[test]
fn the_oracle_agrees_on_srtcp() {
    for profile in PROFILES {
        let (mut send, mut receive) = pair(profile);
        let mut oracle_send = oracle(profile);
        let mut oracle_receive = oracle(profile);
        for blocks in 0..4 {
            let (mut packet, len) = report(9, blocks);
            let plain = packet[..len].to_vec();
            // Both implementations may begin their indices as they like, so each reads the other's packets.
            let mut theirs = oracle_send.encrypt_rtcp(&plain).unwrap().to_vec();
            let len = receive.unprotect_rtcp(&mut theirs).unwrap();
            assert_eq!(theirs[..len], plain[..], "{profile:?}");
            let len = send.protect_rtcp(&mut packet, plain.len()).unwrap();
            assert_eq!(len, plain.len() + profile.rtcp_overhead());
            assert_eq!(
                oracle_receive.decrypt_rtcp(&packet[..len]).unwrap()[..],
                plain[..]
            );
        }
    }
}

#[test]
fn a_packet_is_taken_once_in_any_order() {
    for profile in PROFILES {
        let (mut send, mut receive) = pair(profile);
        let packets: Vec<_> = (0..200)
            .map(|i| protected(&mut send, 1, 65_500_u16.wrapping_add(i)))
            .collect();
        // Pairs swapped, over the wrap; then all of them again.
        for pair in packets.chunks(2).take(50) {
            assert!(receive.unprotect_rtp(&mut pair[1].clone()).is_ok());
            assert!(
                receive.unprotect_rtp(&mut pair[0].clone()).is_ok(),
                "{profile:?}"
            );
        }
        for packet in packets.iter().take(100) {
            assert_eq!(
                receive.unprotect_rtp(&mut packet.clone()),
                Err(SrtpError::Replay)
            );
        }
        assert!(receive.unprotect_rtp(&mut packets[199].clone()).is_ok());
        assert!(
            receive.unprotect_rtp(&mut packets[150].clone()).is_ok(),
            "late, but within the window"
        );

        let (mut packet, len) = report(1, 1);
        let len = send.protect_rtcp(&mut packet, len).unwrap();
        assert!(receive.unprotect_rtcp(&mut packet[..len].to_vec()).is_ok());
        assert_eq!(
            receive.unprotect_rtcp(&mut packet[..len].to_vec()),
            Err(SrtpError::Replay)
        );
    }
}

#[test]
fn forged_packets_leave_no_trace() {
    for profile in PROFILES {
        let (mut send, mut receive) = pair(profile);
        for forged_ssrc in 100..200 {
            let mut packet = protected(&mut send, 1, forged_ssrc as u16);
            packet[8..12].copy_from_slice(&u32::to_be_bytes(forged_ssrc));
            assert_eq!(
                receive.unprotect_rtp(&mut packet),
                Err(SrtpError::Auth),
                "{profile:?}"
            );
        }
        // A forged sequence number far ahead must not move the window.
        let mut far_ahead = protected(&mut send, 1, 1000);
        far_ahead[2] = 0x70;
        assert_eq!(receive.unprotect_rtp(&mut far_ahead), Err(SrtpError::Auth));
        for ssrc in 0..STREAMS_MAX as u32 {
            assert!(
                receive
                    .unprotect_rtp(&mut protected(&mut send.fork(), ssrc, 5))
                    .is_ok()
            );
        }
        let mut ninth = protected(&mut send.fork(), 99, 5);
        assert_eq!(
            receive.unprotect_rtp(&mut ninth),
            Err(SrtpError::TooManyStreams)
        );
    }
}

impl SendContext {
    /// The same keys with no stream yet.
    fn fork(&self) -> Self {
        Self::new(&keys(self.profile())).unwrap()
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for profile in PROFILES {
        let (mut send, mut receive) = pair(profile);
        let packet = protected(&mut send, 1, 5);
        let (mut report, len) = report(1, 1);
        let len = send.protect_rtcp(&mut report, len).unwrap();
        for bit in 0..8 * packet.len() {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                receive.unprotect_rtp(&mut changed).is_err(),
                "{profile:?} RTP bit {bit}"
            );
        }
        for bit in 0..8 * len {
            let mut changed = report[..len].to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                receive.unprotect_rtcp(&mut changed).is_err(),
                "{profile:?} RTCP bit {bit}"
            );
        }
        assert!(receive.unprotect_rtp(&mut packet.clone()).is_ok());
        assert!(receive.unprotect_rtcp(&mut report[..len].to_vec()).is_ok());
    }
}

#[test]
fn a_sequence_number_is_never_sent_twice() {
    let (mut send, _) = pair(Profile::AeadAes128Gcm);
    protected(&mut send, 1, 5);
    protected(&mut send, 1, 7);
    protected(&mut send, 1, 6);
    let (mut packet, len) = rtp(1, 5, b"other");
    assert_eq!(send.protect_rtp(&mut packet, len), Err(SrtpError::Replay));
}

#[test]
fn without_room_nothing_is_written() {
    let (mut send, _) = pair(Profile::AeadAes128Gcm);
    let (mut packet, len) = rtp(1, 5, b"payload");
    let plain = packet.clone();
    let needed = len + 16;
    let refused = send.protect_rtp(&mut packet[..needed - 1], len);
    assert_eq!(refused, Err(SrtpError::BufferTooShort { needed }));
    assert_eq!(packet, plain);
    assert!(
        send.protect_rtp(&mut packet, len).is_ok(),
        "the number is still free"
    );
}

#[test]
fn both_directions_come_out_of_one_export() {
    let profile = Profile::Aes128CmHmacSha1_80;
    let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
    let DtlsSrtpKeys {
        client_write,
        server_write,
    } = SrtpKeys::from_keying_material(profile, &material).unwrap();
    assert_eq!(client_write.master_key(), &material[..16]);
    assert_eq!(server_write.master_key(), &material[16..32]);
    assert_eq!(client_write.master_salt[..], material[32..46]);
    assert_eq!(server_write.master_salt[..], material[46..60]);
    let short = SrtpKeys::from_keying_material(profile, &material[..59]);
    assert_eq!(short.err(), Some(SrtpError::KeyLength));
    assert_eq!(
        format!("{client_write:?}"),
        "SrtpKeys(Aes128CmHmacSha1_80, [secret])"
    );
}

proptest! {
    #[test]
    fn no_datagram_is_too_strange(mut datagram in proptest::collection::vec(any::<u8>(), 0..128), version: bool) {
        if let (true, Some(first)) = (version, datagram.first_mut()) {
            *first = 0x80 | (*first & 0x3f);
        }
        for profile in PROFILES {
            let (_, mut receive) = pair(profile);
            prop_assert!(receive.unprotect_rtp(&mut datagram.clone()).is_err());
            prop_assert!(receive.unprotect_rtcp(&mut datagram.clone()).is_err());
        }
    }
}
