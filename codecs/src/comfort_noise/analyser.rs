//! A description from sound.

use super::{ComfortNoise, LEVEL_MAX, ORDER_MAX};
use crate::SampleRate;

/// Sound fades out of the description with this time constant, in ms: long enough for a level to within half a dB, short
/// enough to follow a room.
const TIME_CONSTANT_MS: u32 = 200;
/// Added to the energy, as a part of it: noise 60 dB below keeps the model of a pure tone within reason.
const WHITE_NOISE_PART: f64 = 1e-6;

/// Describes the noise that it is given: level and spectrum of about the last 0.4 s, under an exponential window. Blocks may
/// have any length; give it only what is no speech.
#[derive(Debug, Clone)]
pub struct NoiseAnalyser {
    order: usize,
    /// What one sample leaves of all before it.
    decay: f64,
    /// Autocorrelation at lags 0 to [`ORDER_MAX`].
    autocorrelation: [f64; ORDER_MAX + 1],
    /// Sum of the window so far.
    weight: f64,
    /// The newest samples, the very newest first.
    newest: [f64; ORDER_MAX],
}

impl NoiseAnalyser {
    /// An analyser that has heard nothing, for a model with `order` coefficients, at most [`ORDER_MAX`]; 0 is the level alone.
    pub fn new(rate: SampleRate, order: usize) -> Self {
        Self {
            order: order.min(ORDER_MAX),
            decay: (-1.0 / rate.samples(TIME_CONSTANT_MS) as f64).exp(),
            autocorrelation: [0.0; ORDER_MAX + 1],
            weight: 0.0,
            newest: [0.0; ORDER_MAX],
        }
    }

    /// Listens to the next samples.
    pub fn process(&mut self, pcm: &[i16]) {
        for &sample in pcm {
            let sample = f64::from(sample);
            let [energy, lags @ ..] = &mut self.autocorrelation;
            *energy = *energy * self.decay + sample * sample;
            for (lag, earlier) in lags.iter_mut().zip(&self.newest) {
                *lag = *lag * self.decay + sample * earlier;
            }
            self.weight = self.weight * self.decay + 1.0;
            self.newest.copy_within(..ORDER_MAX - 1, 1);
            self.newest[0] = sample;
        }
    }

    /// What was heard; silence if nothing was.
    pub fn describe(&self) -> ComfortNoise {
        let [energy, lags @ ..] = self.autocorrelation;
        let mean_square = energy / self.weight.max(1.0);
        let level_dbov = 10.0 * (mean_square / (32_768.0 * 32_768.0)).log10();
        // Minus infinity for silence: the cast saturates. Never above 0 dBov.
        let level = (-level_dbov).round() as u8;
        if level >= LEVEL_MAX {
            return ComfortNoise::new(LEVEL_MAX, &[]);
        }
        let mut corrected = [energy * (1.0 + WHITE_NOISE_PART); ORDER_MAX + 1];
        // Half of the window's decay for each lag makes this the autocorrelation of the windowed samples, for which the
        // recursion is known to be stable.
        let mut decay = 1.0;
        for (corrected, lag) in corrected[1..].iter_mut().zip(lags) {
            decay *= self.decay.sqrt();
            *corrected = lag * decay;
        }
        let reflection = reflection_coefficients(&corrected);
        ComfortNoise::new(level, &reflection[..self.order])
    }

    /// Forgets all that was heard.
    pub fn reset(&mut self) {
        self.autocorrelation = [0.0; ORDER_MAX + 1];
        self.weight = 0.0;
        self.newest = [0.0; ORDER_MAX];
    }
}

/// The Levinson-Durbin recursion. Its signs are those of G.729 and of RFC 3389: the first is `-r(1) / r(0)`.
fn reflection_coefficients(autocorrelation: &[f64; ORDER_MAX + 1]) -> [f64; ORDER_MAX] {
    let mut reflection = [0.0; ORDER_MAX];
    // Of the prediction error filter: 1 + a(1) z^-1 + ...
    let mut filter = [0.0; ORDER_MAX + 1];
    filter[0] = 1.0;
    let mut error = autocorrelation[0];
    for order in 1..=ORDER_MAX {
        if error <= 0.0 {
            break;
        }
        let correlation: f64 = (0..order)
            .map(|i| filter[i] * autocorrelation[order - i])
            .sum();
        let coefficient = -correlation / error;
        // Rounding alone leads here, and with it the model has all that can be known.
        if coefficient.abs() >= 1.0 {
            break;
        }
        let before = filter;
        for i in 1..=order {
            filter[i] = before[i] + coefficient * before[order - i];
        }
        reflection[order - 1] = coefficient;
        error *= 1.0 - coefficient * coefficient;
    }
    reflection
}
