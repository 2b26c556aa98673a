//! Speech that was encoded before the load begins, as an endless loop of payloads.

use crate::audio::Audio;
use crate::media::{AudioCodec, FrameEncoder, MediaError};

/// The longest speech: 10 minutes. What is longer is cut.
const FRAMES_MAX: usize = 10 * 60 * 50;

/// The payloads of a speech, and what they were made of.
pub struct EncodedSpeech {
    codec: AudioCodec,
    lookahead_ms: f64,
    reference: Audio,
    payloads: Vec<u8>,
    /// Where each payload ends in `payloads`.
    ends: Vec<usize>,
}

impl EncodedSpeech {
    /// Encodes `speech`, cut to whole frames of 20 ms; of less than one, a frame of silence.
    ///
    /// It is said twice and the second round is kept, so that the encoder has the same past at the beginning of each
    /// round.
    ///
    /// # Errors
    /// [`MediaError`] when the encoder refuses.
    pub fn encode(codec: AudioCodec, speech: &Audio) -> Result<Self, MediaError> {
        let frame_samples = codec.packet_samples();
        let mut reference = speech.resampled(codec.clock_rate_hz());
        let frames = (reference.samples.len() / frame_samples).clamp(1, FRAMES_MAX);
        reference.samples.resize(frames * frame_samples, 0);
        let mut encoder = FrameEncoder::new(codec)?;
        let (mut payloads, mut ends) = (Vec::new(), Vec::with_capacity(frames));
        for frame in reference.samples.chunks_exact(frame_samples) {
            encoder.encode(frame)?;
        }
        for frame in reference.samples.chunks_exact(frame_samples) {
            payloads.extend_from_slice(encoder.encode(frame)?);
            ends.push(payloads.len());
        }
        Ok(Self {
            codec,
            lookahead_ms: encoder.lookahead_ms(),
            reference,
            payloads,
            ends,
        })
    }

    /// As what it was encoded.
    pub fn codec(&self) -> AudioCodec {
        self.codec
    }

    /// By how much the codec delays the sound beyond its packet, in ms.
    pub fn lookahead_ms(&self) -> f64 {
        self.lookahead_ms
    }

    /// One round of what is said, at the codec's rate.
    pub fn reference(&self) -> &Audio {
        &self.reference
    }

    /// Frames of one round.
    pub fn frames(&self) -> usize {
        self.ends.len()
    }

    /// The payload of frame `number`, counted over all rounds.
    pub fn payload(&self, number: u64) -> &[u8] {
        let frame = (number % self.ends.len().max(1) as u64) as usize;
        let begin = match frame {
            0 => 0,
            _ => self.ends.get(frame - 1).copied().unwrap_or(0),
        };
        let end = self.ends.get(frame).copied().unwrap_or(0);
        self.payloads.get(begin..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::speech;

    #[test]
    fn whole_frames_are_kept_and_looped() {
        let speech = speech::alpha();
        let encoded = EncodedSpeech::encode(AudioCodec::Pcmu, &speech).unwrap();
        assert_eq!(encoded.reference().samples.len(), encoded.frames() * 160);
        assert!((encoded.reference().duration_ms() - speech.duration_ms()).abs() < 20.0);
        let frames = encoded.frames() as u64;
        assert!((0..frames).all(|frame| encoded.payload(frame).len() == 160));
        assert_eq!(encoded.payload(3), encoded.payload(frames + 3));
        assert_ne!(encoded.payload(30), encoded.payload(31));

        let opus = EncodedSpeech::encode(AudioCodec::Opus, &speech).unwrap();
        assert!(opus.lookahead_ms() > 2.0);
        assert!((0..frames).all(|frame| !opus.payload(frame).is_empty()));
        let nothing = EncodedSpeech::encode(AudioCodec::Pcmu, &Audio::silence(8_000, 5)).unwrap();
        assert_eq!((nothing.frames(), nothing.payload(7).len()), (1, 160));
    }
}
