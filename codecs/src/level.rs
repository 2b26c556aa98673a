//! Level of a frame of audio.

/// The level that stands for silence, in dBov: the lowest that RFC 6464 can express.
pub const SILENCE_DBOV: f32 = -127.0;

/// RMS level in dBov (RFC 6464 section 3): 0 is a full-scale square wave, a full-scale sine is -3. Never below
/// [`SILENCE_DBOV`], which is also the answer for an empty slice.
pub fn rms_dbov(pcm: &[i16]) -> f32 {
    let energy: i64 = pcm.iter().map(|&sample| i64::from(sample).pow(2)).sum();
    if energy == 0 {
        return SILENCE_DBOV;
    }
    let mean_square = energy as f64 / pcm.len() as f64;
    let level_dbov = 10.0 * (mean_square / (32_768.0 * 32_768.0)).log10();
    (level_dbov as f32).max(SILENCE_DBOV)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SampleRate, signals::tone};

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
}
