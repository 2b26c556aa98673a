//! Any bytes as an RTP packet: its parts lie inside it, and what is written again is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::rtp::{RtpPacket, header_len};

fuzz_target!(|datagram: &[u8]| {
    let Ok(packet) = RtpPacket::parse(datagram) else {
        return;
    };
    let payload_at = header_len(datagram).expect("the header of a packet that was read");
    let payload = packet.payload();
    assert_eq!(
        datagram.get(payload_at..payload_at + payload.len()),
        Some(payload)
    );
    assert!(packet.contributing_sources().count() <= 15);

    let elements: Vec<(u8, &[u8])> = packet.extensions().collect();
    let mut out = vec![0; datagram.len() + 64];
    // Two-byte elements may be too long for the one-byte form; then nothing is written.
    let Some(len) = packet.header.write_with_extensions(&elements, &mut out) else {
        assert!(
            elements
                .iter()
                .any(|(id, value)| !(1..=14).contains(id) || !(1..=16).contains(&value.len()))
        );
        return;
    };
    out.truncate(len);
    out.extend_from_slice(payload);
    let again = RtpPacket::parse(&out).expect("what we wrote");
    assert_eq!(again.media(), packet.media());
    assert!(again.extensions().eq(elements.iter().copied()));
    for (id, _) in &elements {
        assert_eq!(again.extension(*id), packet.extension(*id));
    }
});
