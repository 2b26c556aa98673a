//! Reads WAV files (RIFF WAVE) of 16-bit mono PCM, for announcements.
//!
//! Bounded by the bytes that it is given: lengths in the file are believed only as far as there is a file. Not here: other
//! sample formats, several channels, RF64, playing.

use std::fmt;

use crate::{SampleRate, linear16};

/// `WAVE_FORMAT_PCM`
const FORMAT_PCM: u16 = 1;
/// `WAVE_FORMAT_EXTENSIBLE`: the real format begins the sub-format.
const FORMAT_EXTENSIBLE: u16 = 0xfffe;
/// Where the sub-format of an extensible format begins.
const SUB_FORMAT_OFFSET: usize = 24;

/// The audio of a WAV file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wav {
    /// Samples per second.
    pub sample_rate: SampleRate,
    /// All of them.
    pub samples: Vec<i16>,
}

/// Why a file can't be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WavError {
    /// It does not begin like a WAV file, or lacks a part.
    Malformed(&'static str),
    /// Another sample format.
    Format {
        /// `wFormatTag`
        format: u16,
        /// Bits per sample.
        bits: u16,
    },
    /// More than one channel, or none.
    Channels(u16),
    /// A rate that nothing here works at.
    Rate(u32),
}

impl fmt::Display for WavError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "no WAV file: {what}"),
            Self::Format { format, bits } => {
                write!(
                    f,
                    "16-bit PCM is wanted, not format {format} with {bits} bits"
                )
            }
            Self::Channels(channels) => write!(f, "one channel is wanted, not {channels}"),
            Self::Rate(hz) => write!(f, "8, 16, 24 or 48 kHz is wanted, not {hz} Hz"),
        }
    }
}

impl std::error::Error for WavError {}

/// Reads a whole file. A last chunk that is cut short is taken as far as it goes.
///
/// # Errors
/// [`WavError`]
pub fn read(file: &[u8]) -> Result<Wav, WavError> {
    let rest = file
        .strip_prefix(b"RIFF")
        .and_then(|rest| rest.get(4..))
        .and_then(|rest| rest.strip_prefix(b"WAVE"));
    let mut rest = rest.ok_or(WavError::Malformed("it does not begin with RIFF and WAVE"))?;
    let mut sample_rate = None;
    while let Some((id, body, after)) = chunk(rest) {
        match id {
            b"fmt " => sample_rate = Some(rate_of(body)?),
            b"data" => {
                let sample_rate = sample_rate.ok_or(WavError::Malformed("data before fmt"))?;
                let mut samples = vec![0; body.len() / 2];
                linear16::from_le_bytes(body, &mut samples);
                return Ok(Wav {
                    sample_rate,
                    samples,
                });
            }
            _ => {}
        }
        rest = after;
    }
    Err(WavError::Malformed("there is no data chunk"))
}

/// The first chunk: its id, its body, and what follows it.
fn chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (id, rest) = bytes.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
    let body = rest.get(..len).unwrap_or(rest);
    // Chunks begin at even offsets.
    let after = rest.get(len.saturating_add(len & 1)..).unwrap_or_default();
    Some((id, body, after))
}

fn rate_of(format: &[u8]) -> Result<SampleRate, WavError> {
    let [t0, t1, c0, c1, r0, r1, r2, r3, _, _, _, _, _, _, b0, b1, ..] = *format else {
        return Err(WavError::Malformed("its fmt chunk is too short"));
    };
    let bits = u16::from_le_bytes([b0, b1]);
    let format = match (
        u16::from_le_bytes([t0, t1]),
        format.get(SUB_FORMAT_OFFSET..),
    ) {
        (FORMAT_EXTENSIBLE, Some([s0, s1, ..])) => u16::from_le_bytes([*s0, *s1]),
        (format, _) => format,
    };
    if format != FORMAT_PCM || bits != 16 {
        return Err(WavError::Format { format, bits });
    }
    let channels = u16::from_le_bytes([c0, c1]);
    if channels != 1 {
        return Err(WavError::Channels(channels));
    }
    let rate_hz = u32::from_le_bytes([r0, r1, r2, r3]);
    SampleRate::from_hz(rate_hz).ok_or(WavError::Rate(rate_hz))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use proptest::prelude::*;

    fn wav(format: u16, channels: u16, rate_hz: u32, bits: u16, samples: &[i16]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        file.extend(format.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate_hz.to_le_bytes());
        file.extend([0; 6]);
        file.extend(bits.to_le_bytes());
        file.extend(b"data");
        file.extend((samples.len() as u32 * 2).to_le_bytes());
        file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        file
    }

    #[test]
    fn reads_mono_pcm_past_other_chunks() {
        let read = read(&wav(1, 1, 16_000, 16, &[1, -2, 300])).unwrap();
        assert_eq!(read.sample_rate, SampleRate::Hz16000);
        assert_eq!(read.samples, [1, -2, 300]);
    }

    #[test]
    fn a_file_that_is_cut_short_is_read_as_far_as_it_goes() {
        let mut file = wav(1, 1, 8_000, 16, &[5; 100]);
        file.truncate(file.len() - 31);
        assert_eq!(read(&file).unwrap().samples, [5; 84]);
    }

    #[test]
    fn what_it_does_not_read_it_names() {
        let cases = [
            (
                wav(7, 1, 8_000, 8, &[]),
                "16-bit PCM is wanted, not format 7 with 8 bits",
            ),
            (wav(1, 2, 8_000, 16, &[]), "one channel is wanted, not 2"),
            (
                wav(1, 1, 44_100, 16, &[]),
                "8, 16, 24 or 48 kHz is wanted, not 44100 Hz",
            ),
            (
                b"OggS".to_vec(),
                "no WAV file: it does not begin with RIFF and WAVE",
            ),
            (
                b"RIFF\0\0\0\0WAVE".to_vec(),
                "no WAV file: there is no data chunk",
            ),
            (
                b"RIFF\0\0\0\0WAVEdata\0\0\0\0".to_vec(),
                "no WAV file: data before fmt",
            ),
        ];
        for (file, message) in cases {
            assert_eq!(read(&file).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), header: bool) {
            if header {
                bytes.splice(..0, wav(1, 1, 8_000, 16, &[1, 2, 3]).into_iter().take(40));
            }
            let _ = read(&bytes);
        }
    }
}
