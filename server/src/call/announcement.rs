//! What a far end can be played: a recording, read once and shared by all calls that play it.

use codecs::resample::Resampler;
use codecs::wav::{self, WavError};
use codecs::{SampleRate, linear16};
use thiserror::Error;

/// The longest file, in bytes: 87 s at 48 kHz, nine minutes at 8 kHz.
pub const ANNOUNCEMENT_FILE_LEN_MAX: usize = 8 << 20;

/// A recording in the form that the bridge takes: L16 at 16 kHz (RFC 3551), in network byte order.
#[derive(Clone, PartialEq, Eq)]
pub struct Announcement {
    l16: Vec<u8>,
}

/// Why a file is no announcement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnnouncementError {
    /// Not a WAV file of the kind that is read.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// Nothing to hear.
    #[error("the file has no samples")]
    Empty,
    /// Longer than [`ANNOUNCEMENT_FILE_LEN_MAX`].
    #[error("the file is longer than {ANNOUNCEMENT_FILE_LEN_MAX} bytes")]
    TooLong,
}

impl Announcement {
    /// What it is sampled at.
    pub const RATE: SampleRate = SampleRate::Hz16000;

    /// Reads a WAV file of 16-bit mono PCM at 8, 16, 24 or 48 kHz.
    ///
    /// # Errors
    /// [`AnnouncementError`]
    pub fn from_wav(file: &[u8]) -> Result<Self, AnnouncementError> {
        if file.len() > ANNOUNCEMENT_FILE_LEN_MAX {
            return Err(AnnouncementError::TooLong);
        }
        let wav = wav::read(file)?;
        if wav.samples.is_empty() {
            return Err(AnnouncementError::Empty);
        }
        let mut resampler = Resampler::new(wav.sample_rate, Self::RATE);
        let mut samples = vec![0; resampler.output_len_max(wav.samples.len())];
        let written = resampler.process(&wav.samples, &mut samples);
        let mut l16 = vec![0; written * 2];
        linear16::to_be_bytes(&samples, &mut l16);
        Ok(Self { l16 })
    }

    /// All of it, as the payloads of L16 packets follow each other.
    pub fn l16(&self) -> &[u8] {
        &self.l16
    }
}

impl std::fmt::Debug for Announcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Announcement({} bytes)", self.l16.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn wav(rate_hz: u32, samples: usize) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(rate_hz.to_le_bytes());
        file.extend([0, 0, 0, 0, 2, 0, 16, 0]);
        file.extend(b"data");
        file.extend((samples as u32 * 2).to_le_bytes());
        file.extend(std::iter::repeat_n([0x34, 0x12], samples).flatten());
        file
    }

    #[test]
    fn every_rate_becomes_sixteen_kilohertz() {
        for rate_hz in [8_000, 16_000, 24_000, 48_000] {
            let announcement =
                Announcement::from_wav(&wav(rate_hz, rate_hz as usize / 10)).unwrap();
            assert_eq!(announcement.l16().len(), 3_200, "{rate_hz}");
            let late = &announcement.l16()[2_000..2_002];
            let sample = i16::from_be_bytes([late[0], late[1]]);
            assert!((sample - 0x1234).abs() < 20, "{rate_hz}: {sample}");
        }
    }

    #[test]
    fn what_can_not_be_played_is_refused() {
        assert_eq!(
            Announcement::from_wav(&wav(8_000, 0)),
            Err(AnnouncementError::Empty)
        );
        assert_eq!(
            Announcement::from_wav(&vec![0; ANNOUNCEMENT_FILE_LEN_MAX + 1]),
            Err(AnnouncementError::TooLong)
        );
        assert!(matches!(
            Announcement::from_wav(b"no"),
            Err(AnnouncementError::Wav(_))
        ));
    }
}
