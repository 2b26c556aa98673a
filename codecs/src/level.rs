//! Levels of audio: of a frame, of a stream frame by frame, and as RFC 6464 tells them in an RTP header extension.
//!
//! Who will call the last two: the browser leg, once it reads and writes the `ssrc-audio-level` that every browser offers;
//! `auto_barge_in` of the AI agent's WebSocket, which has to know when somebody speaks up; the load test's report.

use crate::SampleRate;

/// The level that stands for silence, in dBov: the lowest that RFC 6464 can express.
pub const SILENCE_DBOV: f32 = -127.0;

/// RMS level in dBov (RFC 6464 section 3): 0 is a full-scale square wave, a full-scale sine is -3. Never below
/// [`SILENCE_DBOV`], which is also the answer for an empty slice.
pub fn rms_dbov(pcm: &[i16]) -> f32 {
    dbov_of(energy_of(pcm), pcm.len())
}

fn energy_of(pcm: &[i16]) -> u64 {
    // Each at most 2^30, so that 2^34 samples fit.
    let square = |&sample: &i16| u64::from(sample.unsigned_abs()).pow(2);
    pcm.iter().map(square).sum()
}

fn dbov_of(energy: u64, samples: usize) -> f32 {
    if energy == 0 {
        return SILENCE_DBOV;
    }
    let mean_square = energy as f64 / samples as f64;
    let level_dbov = 10.0 * (mean_square / (32_768.0 * 32_768.0)).log10();
    (level_dbov as f32).max(SILENCE_DBOV)
}

/// The byte of the client-to-mixer audio level (RFC 6464 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AudioLevel {
    /// The sender takes the packet for speech. False as well when it does not say (`vad=off`).
    pub voice: bool,
    /// Level below 0 dBov: 30 is -30 dBov, 127 silence. 0 to 127; more is written as 127.
    pub below_dbov: u8,
}

impl AudioLevel {
    /// The level of a frame.
    pub fn of(pcm: &[i16], voice: bool) -> Self {
        Self {
            voice,
            // 0 to 127, and so it stays.
            below_dbov: (-rms_dbov(pcm)).round() as u8,
        }
    }

    /// Reads the byte; every one is valid.
    pub const fn from_byte(byte: u8) -> Self {
        Self {
            voice: byte & 0x80 != 0,
            below_dbov: byte & 0x7f,
        }
    }

    /// The byte as it is sent.
    pub const fn to_byte(self) -> u8 {
        let level = if self.below_dbov > 0x7f {
            0x7f
        } else {
            self.below_dbov
        };
        if self.voice { 0x80 | level } else { level }
    }
}

/// The level of a stream, frame by frame, whatever blocks it comes in.
#[derive(Debug, Clone)]
pub struct LevelMeter {
    frame_samples: usize,
    /// Of the frame under way.
    samples: usize,
    energy: u64,
}

impl LevelMeter {
    /// A meter for frames of `frame_ms`, 1 to 1 000 (else the nearer of the two).
    pub fn new(rate: SampleRate, frame_ms: u32) -> Self {
        Self {
            frame_samples: rate.samples(frame_ms.clamp(1, 1_000)),
            samples: 0,
            energy: 0,
        }
    }

    /// Measures the next samples and tells the level of each frame that they complete, in dBov as [`rms_dbov`] does.
    pub fn process(&mut self, mut pcm: &[i16], mut told_dbov: impl FnMut(f32)) {
        while !pcm.is_empty() {
            let missing = self.frame_samples - self.samples;
            let (block, rest) = pcm.split_at(missing.min(pcm.len()));
            pcm = rest;
            self.energy += energy_of(block);
            self.samples += block.len();
            if self.samples == self.frame_samples {
                told_dbov(dbov_of(self.energy, self.frame_samples));
                self.samples = 0;
                self.energy = 0;
            }
        }
    }

    /// Forgets the frame under way.
    pub fn reset(&mut self) {
        self.samples = 0;
        self.energy = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::{noise, tone};

    #[test]
    fn levels_of_known_signals() {
        assert_eq!(rms_dbov(&[]), SILENCE_DBOV);
        assert_eq!(rms_dbov(&[0; 160]), SILENCE_DBOV);
        assert_eq!(rms_dbov(&[i16::MIN; 160]), 0.0);
        let sine = tone(SampleRate::Hz8000, 1_000.0, 32_767.0, 8_000);
        assert!((rms_dbov(&sine) + 3.01).abs() < 0.01);
        let mut one_step = [0; 160];
        one_step[0] = 1;
        assert!(rms_dbov(&one_step) > SILENCE_DBOV);
    }

    #[test]
    fn the_byte_of_rfc_6464() {
        for byte in 0..=255 {
            assert_eq!(AudioLevel::from_byte(byte).to_byte(), byte);
        }
        let level = AudioLevel::from_byte(0x80 | 30);
        assert!(level.voice && level.below_dbov == 30);
        let below = AudioLevel {
            voice: false,
            below_dbov: 200,
        };
        assert_eq!(below.to_byte(), 127);
        assert_eq!(AudioLevel::of(&[i16::MIN; 160], true).to_byte(), 0x80);
        assert_eq!(AudioLevel::of(&[0; 160], false).to_byte(), 127);
        let sine = tone(SampleRate::Hz8000, 1_000.0, 3_277.0, 8_000);
        assert_eq!(AudioLevel::of(&sine, false).below_dbov, 23);
    }

    #[test]
    fn a_meter_tells_each_frame_whatever_the_blocks() {
        let pcm: Vec<i16> = (1..=10)
            .flat_map(|loud| noise(loud * 1_000, 480))
            .chain([7; 100])
            .collect();
        let expected: Vec<f32> = pcm.chunks_exact(480).map(rms_dbov).collect();
        for block_samples in [1, 100, 480, 481, 5_000] {
            let mut meter = LevelMeter::new(SampleRate::Hz24000, 20);
            let mut told = Vec::new();
            for block in pcm.chunks(block_samples) {
                meter.process(block, |level_dbov| told.push(level_dbov));
            }
            assert_eq!(told, expected);
        }
    }
}
