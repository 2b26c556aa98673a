//! Encoder, decoder and packet inspection together, on sound and on garbage.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod gated;
mod inspection;
mod loss;
mod policy;
mod repacketizing;
mod sound;

use super::*;
use crate::signals::vowel;
use opusic_sys as ffi;

const CONFIGS: [EncoderConfig; 4] = [
    EncoderConfig::narrowband(),
    EncoderConfig::wideband(),
    EncoderConfig {
        sample_rate: SampleRate::Hz24000,
        ..EncoderConfig::wideband()
    },
    EncoderConfig::fullband(),
];

const WITH_FEC: EncoderConfig = EncoderConfig {
    bitrate_bps: 32_000,
    inband_fec: true,
    expected_loss_pct: 10,
    ..EncoderConfig::narrowband()
};

fn encode_all(config: EncoderConfig, pcm: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(config).unwrap();
    pcm.chunks_exact(config.sample_rate.samples(20))
        .map(|frame| {
            let mut packet = vec![0; PACKET_BYTES_MAX_20_MS];
            let written = encoder.encode(frame, &mut packet).unwrap();
            packet.truncate(written);
            packet
        })
        .collect()
}

fn decode_all(rate: SampleRate, packets: &[Vec<u8>]) -> Vec<i16> {
    let mut decoder = Decoder::new(rate).unwrap();
    let mut sound = Vec::new();
    let mut pcm = vec![0; packet_samples_max(rate)];
    for packet in packets {
        let written = decoder.decode(packet, &mut pcm).unwrap();
        assert_eq!(written, packet_duration_samples(packet, rate).unwrap());
        sound.extend_from_slice(&pcm[..written]);
    }
    sound
}

/// Syllables of changing pitch with pauses between them, three seconds: what a guess from the past cannot foresee, and
/// what libopus takes for speech. It sends LBRR for nothing else.
fn changing_voice(rate: SampleRate) -> Vec<i16> {
    let (spoken, pause) = (rate.samples(120), rate.samples(80));
    (0..15_u8)
        .flat_map(|syllable| {
            let pitch_hz = 90.0 + 23.0 * f64::from(syllable % 7);
            let swelling =
                vowel(rate, pitch_hz, spoken)
                    .into_iter()
                    .enumerate()
                    .map(move |(n, sample)| {
                        let envelope = (std::f64::consts::PI * n as f64 / spoken as f64).sin();
                        (f64::from(sample) * envelope) as i16
                    });
            swelling.chain(std::iter::repeat_n(0, pause))
        })
        .collect()
}

/// 20 ms packets of interleaved stereo sound at 48 kHz, forced to stay stereo.
fn stereo_packets(interleaved: Vec<i16>) -> Vec<Vec<u8>> {
    let mut error = 0;
    // SAFETY: plain values and a pointer to a live local; two channels.
    let state =
        unsafe { ffi::opus_encoder_create(48_000, 2, ffi::OPUS_APPLICATION_VOIP, &raw mut error) };
    assert_eq!(error, ffi::OPUS_OK);
    for (request, value) in [
        (ffi::OPUS_SET_FORCE_CHANNELS_REQUEST, 2),
        (ffi::OPUS_SET_BITRATE_REQUEST, 64_000),
        (ffi::OPUS_SET_INBAND_FEC_REQUEST, 1),
        (ffi::OPUS_SET_PACKET_LOSS_PERC_REQUEST, 20),
    ] {
        // SAFETY: the state is live; each of these requests takes one int.
        let returned = unsafe { ffi::opus_encoder_ctl(state, request, value) };
        assert_eq!(returned, ffi::OPUS_OK);
    }
    let packets = interleaved
        .chunks_exact(2 * 960)
        .map(|frame| {
            let mut packet = vec![0; PACKET_BYTES_MAX_20_MS];
            // SAFETY: 960 stereo samples are there to read and the packet's bytes to write.
            let written = unsafe {
                ffi::opus_encode(
                    state,
                    frame.as_ptr(),
                    960,
                    packet.as_mut_ptr(),
                    packet.len() as i32,
                )
            };
            packet.truncate(written.try_into().unwrap());
            packet
        })
        .collect();
    // SAFETY: made above, freed once.
    unsafe { ffi::opus_encoder_destroy(state) };
    packets
}
