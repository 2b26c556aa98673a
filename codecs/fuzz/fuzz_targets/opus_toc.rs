//! Packet inspection on any bytes must agree with libopus, which is the oracle.
#![no_main]

use codecs::SampleRate;
use codecs::opus::{has_lbrr, packet_duration_samples};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let duration = packet_duration_samples(packet, SampleRate::Hz48000);
    let lbrr = has_lbrr(packet);
    if packet.is_empty() {
        assert!(duration.is_err() && !lbrr);
        return;
    }
    let bytes = i32::try_from(packet.len()).expect("libFuzzer inputs are small");
    // SAFETY: both read at most `bytes` bytes, and at least one, which is there.
    let (expected_lbrr, expected_samples) = unsafe {
        (
            opusic_sys::opus_packet_has_lbrr(packet.as_ptr(), bytes) == 1,
            opusic_sys::opus_packet_get_nb_samples(packet.as_ptr(), bytes, 48_000),
        )
    };
    assert_eq!(
        duration.ok(),
        usize::try_from(expected_samples)
            .ok()
            .filter(|&samples| samples > 0)
    );
    assert_eq!(lbrr, expected_lbrr && expected_samples > 0);
});
