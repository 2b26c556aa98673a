//! How an encoder of ours works for its listener: bitrate, complexity, LBRR. Pure arithmetic, asked about once a second;
//! who knows the path, the configuration and the CPU is the caller.
//!
//! Bits are cheaper than CPU: the knees ([`EncoderConfig::for_rate`]) are complexity 0 up to 16 kHz, and 5 above. Loss
//! brings LBRR and the bits that it takes, a narrow path takes bits away, a scarce CPU brings every encoder to
//! complexity 0.

use super::EncoderConfig;
use super::encoder::{BITRATE_MAX_BPS, BITRATE_MIN_BPS};
use crate::SampleRate;

/// From this loss on packets carry LBRR; a fraction.
pub const FEC_LOSS_MIN: f64 = 0.02;
/// Below this loss they carry none again: half of the above, so that it does not come and go.
const FEC_LOSS_GONE: f64 = 0.01;
/// The expected loss that an encoder is told at least with LBRR, in percent; below it libopus saves on redundancy.
const EXPECTED_LOSS_PCT_MIN: f64 = 5.0;
/// The most that it is told, in percent.
const EXPECTED_LOSS_PCT_MAX: f64 = 30.0;
/// The complexity when CPU is scarce.
const COMPLEXITY_SCARCE: u8 = 0;
/// The highest complexity of libopus.
const COMPLEXITY_MAX: u8 = 10;

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Never less, however little the path takes; bits per second of payload.
    pub bitrate_min_bps: u32,
    /// Never more, with LBRR against loss neither.
    pub bitrate_max_bps: u32,
    /// The complexity that every encoder works at while CPU is to be had, 0 to 10; none: the knee of its rate.
    pub complexity_max: Option<u8>,
    /// Silence is not encoded ([`GatedEncoder`](super::GatedEncoder)).
    pub voice_activity_gate: bool,
}

impl Default for Limits {
    /// What Opus can do, at the knees.
    fn default() -> Self {
        Self {
            bitrate_min_bps: BITRATE_MIN_BPS,
            bitrate_max_bps: BITRATE_MAX_BPS,
            complexity_max: None,
            voice_activity_gate: true,
        }
    }
}

/// How things are now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// What the path to the listener takes, in bits per second of payload; [`u32::MAX`] if nobody knows.
    pub available_bps: u32,
    /// What the listener lost of late, 0..=1.
    pub loss_fraction: f64,
    /// The machine has no time to spare. Who says so has the hysteresis.
    pub cpu_is_scarce: bool,
}

/// The decision, and what it was last: LBRR has a hysteresis. Starts with the knee of its rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    knee: EncoderConfig,
    current: EncoderConfig,
}

impl Policy {
    /// For an encoder of PCM at `rate`.
    pub const fn new(rate: SampleRate) -> Self {
        let knee = EncoderConfig::for_rate(rate);
        Self {
            knee,
            current: knee,
        }
    }

    /// What was decided last: how an encoder is made, and what it works with.
    pub const fn config(&self) -> EncoderConfig {
        self.current
    }

    /// What the encoder is to be given ([`Encoder::apply`](super::Encoder::apply)); none if nothing changes. Values
    /// outside of what Opus can do are brought into it, and a floor above the ceiling wins.
    pub fn decide(&mut self, limits: &Limits, conditions: &Conditions) -> Option<EncoderConfig> {
        let has_fec = self.current.inband_fec;
        let threshold = if has_fec { FEC_LOSS_GONE } else { FEC_LOSS_MIN };
        let wanted = if conditions.loss_fraction >= threshold {
            let expected_pct = conditions.loss_fraction * 100.0;
            self.knee
                .with_fec(expected_pct.clamp(EXPECTED_LOSS_PCT_MIN, EXPECTED_LOSS_PCT_MAX) as u8)
        } else {
            self.knee
        };
        let complexity = match limits.complexity_max {
            _ if conditions.cpu_is_scarce => COMPLEXITY_SCARCE,
            Some(complexity) => complexity.min(COMPLEXITY_MAX),
            None => wanted.complexity,
        };
        let bitrate_bps = wanted
            .bitrate_bps
            .min(conditions.available_bps)
            .min(limits.bitrate_max_bps)
            .max(limits.bitrate_min_bps)
            .clamp(BITRATE_MIN_BPS, BITRATE_MAX_BPS);
        let decided = EncoderConfig {
            bitrate_bps,
            complexity,
            ..wanted
        };
        if decided == self.current {
            return None;
        }
        self.current = decided;
        Some(decided)
    }
}
