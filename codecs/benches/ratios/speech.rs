//! Real speech for codecs whose work depends on what is said: the load test's, at 16 kHz.

use codecs::SampleRate;
use codecs::resample::Resampler;
use std::path::Path;

/// Bytes before the samples of these files.
const WAV_HEADER_BYTES: usize = 44;

/// Nine seconds of speech at `rate`, in frames of 20 ms.
pub fn frames(rate: SampleRate) -> Vec<Vec<i16>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../loadtest/speech/alpha.wav");
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let (pairs, _) = bytes[WAV_HEADER_BYTES..].as_chunks::<2>();
    let pcm: Vec<i16> = pairs.iter().map(|&pair| i16::from_le_bytes(pair)).collect();
    let mut resampler = Resampler::new(SampleRate::Hz16000, rate);
    let mut converted = vec![0; resampler.output_len_max(pcm.len())];
    let written = resampler.process(&pcm, &mut converted);
    let frames = converted[..written].chunks_exact(rate.samples(20));
    frames.map(<[i16]>::to_vec).collect()
}

/// Goes through frames for ever.
pub struct Frames<T> {
    frames: Vec<Vec<T>>,
    next: usize,
}

impl<T> Frames<T> {
    pub fn new(frames: Vec<Vec<T>>) -> Self {
        assert!(!frames.is_empty());
        Self { frames, next: 0 }
    }

    pub fn next(&mut self) -> &[T] {
        let frame = &self.frames[self.next];
        self.next = (self.next + 1) % self.frames.len();
        frame
    }
}
