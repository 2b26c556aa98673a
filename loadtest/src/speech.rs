//! The speech that goes through calls: two sentences, two voices, 16 kHz mono, in the binary itself.

use std::path::Path;

use crate::audio::{Audio, AudioError};

/// A high voice; about 9 s at 16 kHz. `speech/README.md` has the text.
pub fn alpha() -> Audio {
    embedded(include_bytes!("../speech/alpha.wav"), "alpha.wav")
}

/// A low voice with another text; about 9 s at 16 kHz.
pub fn bravo() -> Audio {
    embedded(include_bytes!("../speech/bravo.wav"), "bravo.wav")
}

/// A WAV file of the user's at the rate that a codec wants.
///
/// # Errors
/// [`AudioError`] when the file can't be read.
pub fn load(path: &Path, sample_rate_hz: u32) -> Result<Audio, AudioError> {
    Ok(Audio::read_wav(path)?.resampled(sample_rate_hz))
}

#[expect(
    clippy::expect_used,
    reason = "the bytes are compiled in and the tests read both"
)]
fn embedded(bytes: &[u8], name: &str) -> Audio {
    Audio::from_wav_bytes(bytes, name).expect("an embedded WAV is a WAV")
}
