//! Comfort noise payloads of any bytes: each that is read can be written, and makes noise that can be described again. And
//! any sound has a description.
//!
//! The input is one byte of length, a payload of that length, then sound.
#![no_main]

use codecs::SampleRate;
use codecs::comfort_noise::{
    ComfortNoise, LEVEL_MAX, NoiseAnalyser, NoiseGenerator, ORDER_MAX, PAYLOAD_BYTES_MAX,
};
use codecs::level::rms_dbov;
use libfuzzer_sys::fuzz_target;

const RATE: SampleRate = SampleRate::Hz8000;

fuzz_target!(|input: &[u8]| {
    let Some((&length, rest)) = input.split_first() else {
        return;
    };
    let (payload, sound) = rest.split_at(usize::from(length % 16).min(rest.len()));
    let mut generator = NoiseGenerator::new(RATE, u64::from(length));
    let mut pcm = [0; 800];
    match ComfortNoise::parse(payload) {
        Ok(noise) => {
            same_when_written(&noise);
            generator.update(&noise);
            generator.fill(&mut pcm);
            if noise.level() == LEVEL_MAX {
                assert_eq!(pcm, [0; 800]);
            }
            // Short noise with a sharp peak may be louder by chance, but it does not run away.
            assert!(rms_dbov(&pcm) < 20.0 - f32::from(noise.level()) || noise.level() > 85);
        }
        Err(_) => assert!(payload.is_empty()),
    }

    let mut analyser = NoiseAnalyser::new(RATE, usize::from(length >> 4));
    let (samples, _) = sound.as_chunks::<2>();
    let sound: Vec<i16> = samples
        .iter()
        .map(|&bytes| i16::from_le_bytes(bytes))
        .collect();
    analyser.process(&sound);
    let noise = analyser.describe();
    same_when_written(&noise);
    assert!(
        noise
            .reflection()
            .all(|coefficient| coefficient.abs() <= 1.0)
    );
    generator.update(&noise);
    generator.fill(&mut pcm);
});

fn same_when_written(noise: &ComfortNoise) {
    let mut payload = [0; PAYLOAD_BYTES_MAX];
    let bytes = noise.write(&mut payload).expect("room for all");
    assert!(bytes <= 1 + ORDER_MAX);
    assert_eq!(ComfortNoise::parse(&payload[..bytes]).as_ref(), Ok(noise));
}
