//! Generator and detector, each alone and facing each other. The limits are those of ITU-T Q.24 and ETSI ES 201 235-3; each
//! is tried with all 16 digits.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod channels;
mod generator;
mod limits;
mod talk_off;

use std::f64::consts::TAU;

use super::*;
use crate::digit::{DigitProgress, DigitReceived};
use crate::telephone_event::DIGITS;
use crate::{SampleRate, signals};

/// A digit as a test sends it.
#[derive(Debug, Clone, Copy)]
struct Pair {
    digit: char,
    tone_ms: f64,
    low_dbm0: f64,
    high_dbm0: f64,
    /// Of both frequencies, as a factor.
    low_deviation: f64,
    high_deviation: f64,
}

impl Pair {
    fn new(digit: char) -> Self {
        Self {
            digit,
            tone_ms: 100.0,
            low_dbm0: -10.0,
            high_dbm0: -10.0,
            low_deviation: 1.0,
            high_deviation: 1.0,
        }
    }

    /// `lead` of silence, the pair with hard edges, 100 ms of silence. In floating point, so that noise can be added.
    fn signal(self, rate: SampleRate, lead_samples: usize) -> Vec<f64> {
        let hz = f64::from(rate.hz());
        let (low_hz, high_hz) = frequencies_hz(self.digit).unwrap();
        let amplitude = |dbm0: f64| f64::from(AMPLITUDE_OF_0_DBM0) * 10f64.powf(dbm0 / 20.0);
        let mut signal = vec![0.0; lead_samples];
        let samples = (self.tone_ms / 1_000.0 * hz).round() as usize;
        signal.extend((0..samples).map(|n| {
            let t = n as f64 / hz;
            let sine = |hz: f32, deviation: f64| (TAU * f64::from(hz) * deviation * t).sin();
            amplitude(self.low_dbm0) * sine(low_hz, self.low_deviation)
                + amplitude(self.high_dbm0) * sine(high_hz, self.high_deviation)
        }));
        signal.extend(vec![0.0; rate.samples(100)]);
        signal
    }

    fn pcm(self, rate: SampleRate, lead_samples: usize) -> Vec<i16> {
        to_pcm(&self.signal(rate, lead_samples))
    }
}

fn to_pcm(signal: &[f64]) -> Vec<i16> {
    signal.iter().map(|sample| sample.round() as i16).collect()
}

/// All that a detector tells of a stream, whatever it is cut into.
fn heard(rate: SampleRate, pcm: &[i16]) -> Vec<DigitProgress> {
    let mut detector = ToneDetector::new(rate);
    let mut told = Vec::new();
    for block in pcm.chunks(rate.samples(20)) {
        detector.process(block, |progress| told.push(progress));
    }
    told.extend(detector.finish());
    told
}

/// The digits that were told whole, in order; that each begins and ends is asserted.
fn digits_of(told: &[DigitProgress]) -> Vec<DigitReceived> {
    let mut digits = Vec::new();
    for pair in told.chunks(2) {
        let [DigitProgress::Started(started), DigitProgress::Ended(ended)] = *pair else {
            panic!("no beginning and end: {told:?}");
        };
        assert_eq!(started, ended.digit);
        digits.push(ended);
    }
    digits
}

fn text_of(told: &[DigitProgress]) -> String {
    digits_of(told).iter().map(|ended| ended.digit).collect()
}

/// Asserts that exactly this digit is heard, at about its length.
fn assert_heard(rate: SampleRate, pcm: &[i16], digit: char, tone_ms: f64, what: &str) {
    let told = digits_of(&heard(rate, pcm));
    let [ended] = told[..] else {
        panic!("{digit} {what}: {told:?}");
    };
    assert_eq!(ended.digit, digit, "{what}");
    let error_ms = f64::from(ended.duration_ms) - tone_ms;
    assert!(
        error_ms.abs() <= 10.0,
        "{digit} {what}: {} ms",
        ended.duration_ms
    );
}
