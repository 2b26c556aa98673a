//! One decoder through a stream of arbitrary packets, losses and FEC: it must answer each with samples or an error.
//!
//! The input is the rate, then steps: one byte of operation, one of length, that many bytes of packet.
#![no_main]

use codecs::SampleRate;
use codecs::opus::{Decoder, packet_duration_samples, packet_samples_max};
use libfuzzer_sys::fuzz_target;

/// Steps per input, so that one input stays fast.
const STEPS_MAX: usize = 32;

fuzz_target!(|input: &[u8]| {
    let Some((&rate_byte, mut rest)) = input.split_first() else {
        return;
    };
    let rate = SampleRate::ALL[usize::from(rate_byte) % SampleRate::ALL.len()];
    let mut decoder = Decoder::new(rate).expect("memory for a decoder");
    let mut pcm = vec![0; packet_samples_max(rate)];
    for _ in 0..STEPS_MAX {
        let [operation, length, after @ ..] = rest else {
            return;
        };
        let (packet, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        let gap = pcm
            .len()
            .min(usize::from(operation >> 2) * rate.samples(5) / 2);
        match operation & 3 {
            0 => {
                let _filled_or_refused = decoder.conceal(&mut pcm[..gap]);
            }
            1 => {
                if let Ok(samples) = decoder.decode_fec(packet, &mut pcm[..gap]) {
                    assert_eq!(samples, gap);
                }
            }
            _ => {
                if let Ok(samples) = decoder.decode(packet, &mut pcm) {
                    assert_eq!(Ok(samples), packet_duration_samples(packet, rate));
                }
            }
        }
    }
});
