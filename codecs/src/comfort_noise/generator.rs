//! Sound from a description.

use super::{ComfortNoise, LEVEL_MAX, ORDER_MAX};
use crate::SampleRate;

/// Level and spectrum go to those of a new description with this time constant, in ms: no step is heard.
const TIME_CONSTANT_MS: f64 = 40.0;
/// How often they take a step, in ms.
const STEP_MS: u32 = 1;
/// A coefficient is taken as this at most: nearer to 1 the filter would ring for longer than descriptions last.
const REFLECTION_MAX: f64 = 0.99;
/// Standard deviation of the sum of four numbers that are even between -0.5 and 0.5.
const SUM_DEVIATION: f64 = 0.577_350_269_189_625_8;

/// Makes the noise of one description after another: white noise of its own through a lattice filter. The same seed makes
/// the same noise. Allocates nothing.
#[derive(Debug, Clone)]
pub struct NoiseGenerator {
    step_samples: usize,
    /// Samples of the step under way.
    stepped: usize,
    /// What one step leaves of the way to the target.
    decay: f64,
    target: Model,
    now: Model,
    /// Of the white noise that goes in, so that what comes out has the model's amplitude.
    excitation: f64,
    /// State of the lattice.
    backward: [f64; ORDER_MAX + 1],
    random: u64,
}

#[derive(Debug, Clone, Copy)]
struct Model {
    /// RMS of the noise, in 16-bit samples.
    amplitude: f64,
    reflection: [f64; ORDER_MAX],
}

impl Model {
    const SILENCE: Self = Self {
        amplitude: 0.0,
        reflection: [0.0; ORDER_MAX],
    };

    fn of(noise: &ComfortNoise) -> Self {
        let mut reflection = [0.0; ORDER_MAX];
        for (slot, coefficient) in reflection.iter_mut().zip(noise.reflection()) {
            *slot = coefficient.clamp(-REFLECTION_MAX, REFLECTION_MAX);
        }
        let amplitude = if noise.level() >= LEVEL_MAX {
            0.0
        } else {
            32_768.0 * 10f64.powf(f64::from(noise.level()) / -20.0)
        };
        Self {
            amplitude,
            reflection,
        }
    }
}

impl NoiseGenerator {
    /// A generator for a stream of this rate, which has to be the one that was analysed (8 kHz for `CN/8000`). Silent until
    /// it is told a description.
    pub fn new(rate: SampleRate, seed: u64) -> Self {
        Self {
            step_samples: rate.samples(STEP_MS),
            stepped: 0,
            decay: (-f64::from(STEP_MS) / TIME_CONSTANT_MS).exp(),
            target: Model::SILENCE,
            now: Model::SILENCE,
            excitation: 0.0,
            backward: [0.0; ORDER_MAX + 1],
            // Neighbouring seeds shall make different noise from the first sample on, and the state may not be 0.
            random: (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1,
        }
    }

    /// From here on the noise goes to that of `noise`: most of the way in 0.1 s. The first description after silence keeps
    /// its spectrum and swells.
    pub fn update(&mut self, noise: &ComfortNoise) {
        self.target = Model::of(noise);
        if self.now.amplitude == 0.0 {
            self.now.reflection = self.target.reflection;
        }
    }

    /// Fills `pcm` with the next samples.
    pub fn fill(&mut self, pcm: &mut [i16]) {
        for slot in pcm {
            if self.stepped == 0 {
                self.step();
            }
            self.stepped = (self.stepped + 1) % self.step_samples;
            let sample = self.excitation * self.white();
            // The cast saturates.
            *slot = self.filtered(sample).round() as i16;
        }
    }

    /// One step towards the target. Reflection coefficients between two stable filters make a stable filter.
    fn step(&mut self) {
        let decay = self.decay;
        let glide = |now: &mut f64, target: f64| *now = target + (*now - target) * decay;
        glide(&mut self.now.amplitude, self.target.amplitude);
        // Half of the last bit is nothing any more.
        if self.target.amplitude == 0.0 && self.now.amplitude < 0.25 {
            self.now.amplitude = 0.0;
        }
        // What the filter adds to the energy is known exactly: the product of 1 / (1 - k^2).
        let mut loss = 1.0;
        for (now, target) in self.now.reflection.iter_mut().zip(self.target.reflection) {
            glide(now, target);
            loss *= 1.0 - *now * *now;
        }
        self.excitation = self.now.amplitude * loss.sqrt();
    }

    /// The all-pole filter as a lattice.
    fn filtered(&mut self, excitation: f64) -> f64 {
        let mut forward = excitation;
        for (order, &coefficient) in self.now.reflection.iter().enumerate().rev() {
            forward -= coefficient * self.backward[order];
            self.backward[order + 1] = self.backward[order] + coefficient * forward;
        }
        self.backward[0] = forward;
        forward
    }

    /// Nearly Gaussian, of variance 1: the sum of the four parts of one xorshift64*.
    fn white(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let bits = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let sum: i32 = (0..4)
            .map(|part| i32::from((bits >> (16 * part)) as u16 as i16))
            .sum();
        f64::from(sum) / 65_536.0 / SUM_DEVIATION
    }
}
