//! What an Opus encoder does about the path to its listener: bitrate, in-band FEC, expected loss. Pure arithmetic; who
//! knows the path is the leg.

use codecs::opus::{EncoderConfig, fec_bitrate_bps};

/// From this loss on Opus carries in-band FEC.
const FEC_LOSS_MIN: f64 = 0.02;
/// Below this loss it leaves it out again: half of the above, so that it does not come and go.
const FEC_LOSS_GONE: f64 = 0.01;
/// The expected loss that Opus is told at least with FEC, in percent; below it libopus saves on redundancy.
const EXPECTED_LOSS_PCT_MIN: f64 = 5.0;
/// The most that Opus is told, in percent.
const EXPECTED_LOSS_PCT_MAX: f64 = 30.0;
/// The lowest bitrate of Opus (RFC 6716 section 2.1.1).
const BITRATE_MIN_BPS: u32 = 6_000;

/// How the path to a sink is now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SinkPath {
    /// What the path leaves for the payload, in bits per second.
    pub bitrate_max_bps: u32,
    /// What the sink loses of late, 0..=1.
    pub loss_fraction: f64,
}

/// What an encoder is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpusSettings {
    pub bitrate_bps: u32,
    /// 0: no in-band FEC.
    pub expected_loss_pct: u8,
}

/// The decision, and what it was last.
#[derive(Debug)]
pub(super) struct Adaptation {
    clean: OpusSettings,
    /// Below it libopus silently leaves the FEC out.
    fec_bitrate_bps: u32,
    current: OpusSettings,
}

impl Adaptation {
    /// For an encoder that was made with this configuration.
    pub fn new(config: &EncoderConfig) -> Self {
        let clean = OpusSettings {
            bitrate_bps: config.bitrate_bps,
            expected_loss_pct: 0,
        };
        Self {
            clean,
            fec_bitrate_bps: fec_bitrate_bps(config.sample_rate),
            current: clean,
        }
    }

    /// What to change, if anything.
    pub fn adapt(&mut self, path: &SinkPath) -> Option<OpusSettings> {
        let has_fec = self.current.expected_loss_pct > 0;
        let threshold = if has_fec { FEC_LOSS_GONE } else { FEC_LOSS_MIN };
        let wanted = if path.loss_fraction >= threshold {
            let expected = path.loss_fraction * 100.0;
            OpusSettings {
                bitrate_bps: self.clean.bitrate_bps.max(self.fec_bitrate_bps),
                expected_loss_pct: expected.clamp(EXPECTED_LOSS_PCT_MIN, EXPECTED_LOSS_PCT_MAX)
                    as u8,
            }
        } else {
            self.clean
        };
        let bitrate_max_bps = path.bitrate_max_bps.max(BITRATE_MIN_BPS);
        let settings = OpusSettings {
            bitrate_bps: wanted.bitrate_bps.min(bitrate_max_bps),
            ..wanted
        };
        if settings == self.current {
            return None;
        }
        self.current = settings;
        Some(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: u32 = 100_000;

    fn path(bitrate_max_bps: u32, loss_fraction: f64) -> SinkPath {
        SinkPath {
            bitrate_max_bps,
            loss_fraction,
        }
    }

    fn settings(bitrate_bps: u32, expected_loss_pct: u8) -> Option<OpusSettings> {
        Some(OpusSettings {
            bitrate_bps,
            expected_loss_pct,
        })
    }

    #[test]
    fn fec_comes_with_the_loss_and_goes_below_half_of_it() {
        let mut adaptation = Adaptation::new(&EncoderConfig::narrowband());
        for (loss, expected) in [
            (0.0, None),
            (0.019, None),
            (0.02, settings(32_000, 5)),
            (0.08, settings(32_000, 8)),
            (0.015, settings(32_000, 5)),
            (0.9, settings(32_000, 30)),
            (0.009, settings(24_000, 0)),
            (0.015, None),
        ] {
            assert_eq!(adaptation.adapt(&path(WIDE, loss)), expected, "{loss}");
        }
    }

    #[test]
    fn the_path_limits_the_bitrate_with_and_without_fec() {
        let mut adaptation = Adaptation::new(&EncoderConfig::fullband());
        for (bitrate_max_bps, loss, expected) in [
            (WIDE, 0.0, None),
            (20_000, 0.0, settings(20_000, 0)),
            (20_000, 0.05, settings(20_000, 5)),
            (40_000, 0.05, settings(40_000, 5)),
            (WIDE, 0.05, settings(48_000, 5)),
            (0, 0.0, settings(6_000, 0)),
            (WIDE, 0.0, settings(32_000, 0)),
        ] {
            let settings = adaptation.adapt(&path(bitrate_max_bps, loss));
            assert_eq!(settings, expected, "{bitrate_max_bps}, {loss}");
        }
    }
}
