//! Chance that comes out the same for the same seed: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
//! generators", 2014). Good enough for losses, not for secrets.

use std::time::Duration;

use super::profile::Jitter;

/// How many deviations or means a drawn delay is at most, so that no datagram is delayed for ever.
const TAIL_MAX: f64 = 5.0;

#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The `purpose`th of several independent dice of one seed: what is drawn for one leaves the others alone.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut dice = Self(seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        // Neighbouring seeds begin far apart.
        dice.0 = dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In `0..limit`; 0 where nothing is.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        // Drawn in any case, so that another probability changes no later draw.
        self.unit() < probability
    }

    pub(super) fn delay(&mut self, jitter: Jitter) -> Duration {
        // Two draws in any case, for the same reason.
        let (first, second) = (self.unit(), self.unit());
        match jitter {
            Jitter::None => Duration::ZERO,
            Jitter::Uniform { max } => max.mul_f64(first),
            Jitter::Exponential { mean } => mean.mul_f64((-(1.0 - first).ln()).min(TAIL_MAX)),
            Jitter::Normal { mean, deviation } => {
                // Box and Muller.
                let normal =
                    (-2.0 * (1.0 - first).ln()).sqrt() * (std::f64::consts::TAU * second).cos();
                let off = deviation.mul_f64(normal.abs().min(TAIL_MAX));
                match normal < 0.0 {
                    true => mean.saturating_sub(off),
                    false => mean + off,
                }
            }
        }
    }
}
