//! Real speech with frames lost by chance: concealment is nearer to what was said than silence, and than the last frame
//! played again.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use codecs::SampleRate;
use codecs::plc::Concealer;
use codecs::resample::Resampler;
use std::f64::consts::TAU;

const RATE: SampleRate = SampleRate::Hz8000;
/// 20 ms.
const FRAME: usize = 160;
/// Frames quieter than this (RMS) are pauses, which nobody misses.
const SPEECH_RMS: f64 = 200.0;
const SEEDS: u64 = 5;

#[test]
fn lost_speech_is_concealed_better_than_by_silence_or_repetition() {
    let voices = [
        narrowband(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../loadtest/speech/alpha.wav"
        )),
        narrowband(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../loadtest/speech/bravo.wav"
        )),
    ];
    for loss_percent in [3, 10] {
        let [concealed, silent, repeated] = [conceal as Fill, fill_with_silence, repeat_last_frame]
            .map(|fill| {
                let mut score = Score::default();
                for voice in &voices {
                    for seed in 1..=SEEDS {
                        let lost = losses(voice.len() / FRAME, loss_percent, seed);
                        score.add(voice, &fill(voice, &lost), &lost);
                    }
                }
                score
            });
        println!(
            "{loss_percent} %: concealed {concealed:?}, silence {silent:?}, repeated {repeated:?}"
        );
        // Silence has 0 dB by definition.
        assert!(
            concealed.snr_db() > 1.0,
            "{loss_percent} %: SNR of {} dB",
            concealed.snr_db()
        );
        assert!(
            concealed.snr_db() > repeated.snr_db() + 2.0,
            "{loss_percent} %"
        );
        assert!(
            concealed.spectral_distance_db() < 0.5 * silent.spectral_distance_db(),
            "{loss_percent} %"
        );
        assert!(
            concealed.spectral_distance_db() < repeated.spectral_distance_db(),
            "{loss_percent} %"
        );
    }
}

/// Plays a voice with those frames lost.
type Fill = fn(&[i16], &[bool]) -> Vec<i16>;

fn conceal(voice: &[i16], lost: &[bool]) -> Vec<i16> {
    let mut concealer = Concealer::new(RATE);
    let mut played = voice.to_vec();
    for (frame, &is_lost) in played.chunks_exact_mut(FRAME).zip(lost) {
        if is_lost {
            concealer.conceal(frame);
        } else {
            concealer.good_frame(frame);
        }
    }
    played
}

fn fill_with_silence(voice: &[i16], lost: &[bool]) -> Vec<i16> {
    let mut played = voice.to_vec();
    for (frame, _) in played
        .chunks_exact_mut(FRAME)
        .zip(lost)
        .filter(|(_, is_lost)| **is_lost)
    {
        frame.fill(0);
    }
    played
}

fn repeat_last_frame(voice: &[i16], lost: &[bool]) -> Vec<i16> {
    let mut played = voice.to_vec();
    for (index, _) in lost.iter().enumerate().filter(|(_, is_lost)| **is_lost) {
        // The first frame is never lost.
        played.copy_within((index - 1) * FRAME..index * FRAME, index * FRAME);
    }
    played
}

/// Means over the lost frames in which somebody spoke.
#[derive(Debug, Default)]
struct Score {
    frames: f64,
    snr_db_sum: f64,
    spectral_distance_db_sum: f64,
}

impl Score {
    fn add(&mut self, voice: &[i16], played: &[i16], lost: &[bool]) {
        let frames = voice.chunks_exact(FRAME).zip(played.chunks_exact(FRAME));
        for ((said, heard), _) in frames.zip(lost).filter(|(_, is_lost)| **is_lost) {
            let energy: f64 = said.iter().map(|&x| f64::from(x).powi(2)).sum();
            if energy < FRAME as f64 * SPEECH_RMS.powi(2) {
                continue;
            }
            let errors = said
                .iter()
                .zip(heard)
                .map(|(&x, &y)| f64::from(x) - f64::from(y));
            let error: f64 = errors.map(|error| error.powi(2)).sum();
            self.frames += 1.0;
            self.snr_db_sum += (10.0 * (energy / error.max(1.0)).log10()).clamp(-10.0, 35.0);
            self.spectral_distance_db_sum += spectral_distance_db(said, heard);
        }
    }

    fn snr_db(&self) -> f64 {
        self.snr_db_sum / self.frames
    }

    fn spectral_distance_db(&self) -> f64 {
        self.spectral_distance_db_sum / self.frames
    }
}

/// Root mean square of the difference of two spectra in dB, from 50 Hz to 3.4 kHz.
fn spectral_distance_db(a: &[i16], b: &[i16]) -> f64 {
    const BINS: std::ops::RangeInclusive<usize> = 1..=3_400 * FRAME / 8_000;
    let squares = BINS.map(|bin| (power_db(a, bin) - power_db(b, bin)).powi(2));
    let count = BINS.count() as f64;
    (squares.sum::<f64>() / count).sqrt()
}

/// Power of a Hann-windowed frame in one bin of its Fourier transform, not below that of faint noise.
fn power_db(frame: &[i16], bin: usize) -> f64 {
    const FAINT: f64 = 10.0 * 10.0 * FRAME as f64;
    let (mut re, mut im) = (0.0, 0.0);
    for (n, &sample) in frame.iter().enumerate() {
        let position = n as f64 / FRAME as f64;
        let windowed = f64::from(sample) * (0.5 - 0.5 * (TAU * position).cos());
        let (sin, cos) = (TAU * position * bin as f64).sin_cos();
        re += windowed * cos;
        im += windowed * sin;
    }
    10.0 * (re * re + im * im + FAINT).log10()
}

/// Which of `frames` are lost, by chance but always the same. Never the first.
fn losses(frames: usize, percent: u64, seed: u64) -> Vec<bool> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut dice = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) % 100
    };
    (0..frames)
        .map(|index| dice() < percent && index > 0)
        .collect()
}

/// The samples of a 16-bit mono WAV file at 8 kHz.
fn narrowband(path: &str) -> Vec<i16> {
    let file = std::fs::read(path).unwrap();
    let rate_hz = u32::from_le_bytes(file[24..28].try_into().unwrap());
    let rate = SampleRate::ALL
        .into_iter()
        .find(|rate| rate.hz() == rate_hz)
        .unwrap();
    let data = file.windows(4).position(|tag| tag == b"data").unwrap() + 8;
    let (samples, _) = file[data..].as_chunks::<2>();
    let pcm: Vec<i16> = samples
        .iter()
        .map(|&bytes| i16::from_le_bytes(bytes))
        .collect();
    let mut resampler = Resampler::new(rate, RATE);
    let mut voice = vec![0; resampler.output_len_max(pcm.len())];
    let written = resampler.process(&pcm, &mut voice);
    voice.truncate(written);
    voice
}
