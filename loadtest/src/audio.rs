//! Mono 16-bit audio and its WAV files.
//!
//! Does not play, capture, encode or judge anything.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use thiserror::Error;

use crate::spectrum;

/// The longest WAV that is read, in samples of all channels: 10 minutes of 48 kHz stereo.
const WAV_SAMPLES_MAX: u32 = 10 * 60 * 48_000 * 2;

/// Mono linear PCM at some sampling rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// Samples per second.
    pub sample_rate_hz: u32,
    /// Signed 16-bit samples; full scale is 0 dBov.
    pub samples: Vec<i16>,
}

/// A WAV file that can't be used, or not be written.
#[derive(Debug, Error)]
pub enum AudioError {
    /// The file system or the WAV reader refused.
    #[error("{file}: {source}")]
    Wav {
        /// The file, as the caller named it.
        file: String,
        /// What the reader said.
        source: hound::Error,
    },
    /// A WAV of a kind that is not read here.
    #[error("{file}: {what}; wanted is 16-bit PCM (or 32-bit float) of at most 10 minutes")]
    Unsupported {
        /// The file, as the caller named it.
        file: String,
        /// What it is instead.
        what: String,
    },
}

impl Audio {
    /// Silence of `duration_ms` at `sample_rate_hz`.
    pub fn silence(sample_rate_hz: u32, duration_ms: u32) -> Self {
        let samples = u64::from(sample_rate_hz) * u64::from(duration_ms) / 1000;
        Self {
            sample_rate_hz,
            samples: vec![0; samples as usize],
        }
    }

    /// How long it plays, in ms.
    pub fn duration_ms(&self) -> f64 {
        self.samples.len() as f64 * 1000.0 / f64::from(self.sample_rate_hz.max(1))
    }

    /// Reads a WAV file: 16-bit PCM or 32-bit float, any rate; of several channels the first is taken.
    ///
    /// # Errors
    /// [`AudioError`] names the file and what is wrong with it.
    pub fn read_wav(path: &Path) -> Result<Self, AudioError> {
        let file = path.display().to_string();
        let open = File::open(path).map_err(|source| AudioError::Wav {
            file: file.clone(),
            source: source.into(),
        })?;
        Self::from_reader(BufReader::new(open), file)
    }

    /// Reads a WAV that is in memory; `name` stands in errors.
    ///
    /// # Errors
    /// As [`Audio::read_wav`].
    pub fn from_wav_bytes(bytes: &[u8], name: &str) -> Result<Self, AudioError> {
        Self::from_reader(Cursor::new(bytes), name.to_owned())
    }

    fn from_reader(reader: impl Read, file: String) -> Result<Self, AudioError> {
        let wav_error = |source| AudioError::Wav {
            file: file.clone(),
            source,
        };
        let unsupported = |what: String| AudioError::Unsupported {
            file: file.clone(),
            what,
        };
        let mut wav = hound::WavReader::new(reader).map_err(wav_error)?;
        let spec = wav.spec();
        if wav.len() > WAV_SAMPLES_MAX {
            return Err(unsupported(format!("{} samples", wav.len())));
        }
        if spec.channels == 0 || spec.sample_rate < 8_000 || spec.sample_rate > 192_000 {
            return Err(unsupported(format!(
                "{} channels at {} Hz",
                spec.channels, spec.sample_rate
            )));
        }
        let channels = usize::from(spec.channels);
        let samples = match (spec.sample_format, spec.bits_per_sample) {
            (hound::SampleFormat::Int, 16) => wav
                .samples::<i16>()
                .step_by(channels)
                .collect::<Result<Vec<_>, _>>()
                .map_err(wav_error)?,
            (hound::SampleFormat::Float, 32) => wav
                .samples::<f32>()
                .step_by(channels)
                .map(|sample| sample.map(|sample| (sample * 32_768.0).round() as i16))
                .collect::<Result<Vec<_>, _>>()
                .map_err(wav_error)?,
            (format, bits) => return Err(unsupported(format!("{bits}-bit {format:?} samples"))),
        };
        Ok(Self {
            sample_rate_hz: spec.sample_rate,
            samples,
        })
    }

    /// Writes a 16-bit mono WAV.
    ///
    /// # Errors
    /// [`AudioError::Wav`] when the file can't be written.
    pub fn write_wav(&self, path: &Path) -> Result<(), AudioError> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: self.sample_rate_hz,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let write = || -> Result<(), hound::Error> {
            let mut wav = hound::WavWriter::create(path, spec)?;
            for sample in &self.samples {
                wav.write_sample(*sample)?;
            }
            wav.finalize()
        };
        write().map_err(|source| AudioError::Wav {
            file: path.display().to_string(),
            source,
        })
    }

    /// The same sound at another rate: the whole signal at once in the frequency domain, without delay.
    ///
    /// For preparing and judging signals; the streaming resampler of the product is in `codecs`, and deliberately not used
    /// here, so that a fault of it shows.
    pub fn resampled(&self, sample_rate_hz: u32) -> Self {
        if sample_rate_hz == self.sample_rate_hz {
            return self.clone();
        }
        let nyquist_hz = f64::from(self.sample_rate_hz.min(sample_rate_hz)) / 2.0;
        let samples = spectrum::band_limited(self, 0.0, nyquist_hz * 0.98, sample_rate_hz);
        Self {
            sample_rate_hz,
            samples: samples.iter().map(|sample| sample.round() as i16).collect(),
        }
    }

    /// Root mean square level in dB below full scale (0 dBov: a square wave of full scale); -120 for silence.
    pub fn level_dbov(&self) -> f64 {
        let energy: f64 = self.samples.iter().map(|s| f64::from(*s).powi(2)).sum();
        let mean = energy / self.samples.len().max(1) as f64;
        (10.0 * (mean / 32_768f64.powi(2)).log10()).max(-120.0)
    }
}
