//! The filters of the resampler: Kaiser-windowed sinc, cut into polyphase branches.
//!
//! The prototype runs at the least common multiple of both rates and lasts 48 samples of the lower one. Its cut-off is
//! the Nyquist frequency of the lower rate, which makes it an L-th band filter: when interpolating, one branch is a pure
//! delay. With a stop band of 80 dB it passes 0.44 and stops 0.56 of the lower rate: 3.5 and 4.5 kHz for telephony.

use crate::SampleRate;
use std::f64::consts::PI;
use std::sync::OnceLock;

/// Length of the prototype, in samples of the lower of both rates.
const SPAN_LOW_SAMPLES: usize = 48;
/// Shape of the Kaiser window, 0.1102 (A - 8.7) for a stop band of A = 80 dB.
const KAISER_BETA: f64 = 7.857;

/// The filter for one pair of rates, shared by all resamplers of that pair.
#[derive(Debug)]
pub(super) struct Polyphase {
    interpolation: usize,
    decimation: usize,
    taps: usize,
    /// Branch after branch, each in the order of the input: oldest sample's coefficient first.
    coefficients: Box<[f32]>,
}

impl Polyphase {
    /// The filter between two rates, made on first use; `None` if they are the same.
    pub(super) fn between(from: SampleRate, to: SampleRate) -> Option<&'static Self> {
        // One slot for each ratio that differs: rates of the same ratio share a filter.
        static FILTERS: [OnceLock<Polyphase>; 8] = [const { OnceLock::new() }; 8];
        let (from_hz, to_hz) = (from.hz() as usize, to.hz() as usize);
        let common_hz = greatest_common_divisor(from_hz, to_hz);
        let (interpolation, decimation) = (to_hz / common_hz, from_hz / common_hz);
        let slot = match (interpolation, decimation) {
            (2, 1) => 0,
            (3, 1) => 1,
            (6, 1) => 2,
            (3, 2) => 3,
            (1, 2) => 4,
            (1, 3) => 5,
            (1, 6) => 6,
            (2, 3) => 7,
            // Only equal rates are left among 8, 16, 24 and 48 kHz.
            _ => return None,
        };
        Some(FILTERS[slot].get_or_init(|| Self::design(interpolation, decimation)))
    }

    /// Output steps per input sample, before decimation.
    pub(super) fn interpolation(&self) -> usize {
        self.interpolation
    }

    /// Steps from one output sample to the next.
    pub(super) fn decimation(&self) -> usize {
        self.decimation
    }

    /// Length of each branch, in input samples; a multiple of 8.
    pub(super) fn taps(&self) -> usize {
        self.taps
    }

    /// The coefficients of one of `interpolation` branches.
    pub(super) fn branch(&self, phase: usize) -> &[f32] {
        &self.coefficients[phase * self.taps..][..self.taps]
    }

    /// Delay of the filter: half of its span.
    pub(super) fn delay_output_samples(&self) -> usize {
        self.half_span() / self.decimation
    }

    fn design(interpolation: usize, decimation: usize) -> Self {
        // Steps of the common multiple rate per sample of the lower rate.
        let steps_per_low_sample = interpolation.max(decimation);
        let span = SPAN_LOW_SAMPLES * steps_per_low_sample;
        let half_span = span / 2;
        let taps = span / interpolation;
        let mut coefficients = vec![0.0; span].into_boxed_slice();
        for phase in 0..interpolation {
            let branch: Vec<f64> = (0..taps)
                .map(|age| {
                    let step = phase + age * interpolation;
                    prototype(
                        step as f64 - half_span as f64,
                        half_span as f64,
                        steps_per_low_sample as f64,
                    )
                })
                .collect();
            // Every branch passes a constant signal unchanged, so that steady input gives steady output.
            let sum: f64 = branch.iter().sum();
            for (age, coefficient) in branch.iter().enumerate() {
                coefficients[phase * taps + taps - 1 - age] = (coefficient / sum) as f32;
            }
        }
        Self {
            interpolation,
            decimation,
            taps,
            coefficients,
        }
    }

    fn half_span(&self) -> usize {
        self.coefficients.len() / 2
    }
}

/// The windowed sinc, `steps` away from its middle.
fn prototype(steps: f64, half_span: f64, steps_per_low_sample: f64) -> f64 {
    let x = steps / steps_per_low_sample;
    let sinc = if x == 0.0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    };
    let within_window = (1.0 - (steps / half_span).powi(2)).max(0.0);
    sinc * bessel_i0(KAISER_BETA * within_window.sqrt())
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let mut sum = 1.0;
    let mut term = 1.0;
    let mut k = 1.0;
    while term > sum * f64::EPSILON {
        term *= (x / (2.0 * k)).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

const fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}
