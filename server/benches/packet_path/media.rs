//! What is said: recorded speech in the codec of each side, encoded before anything is measured.

use codecs::SampleRate;
use codecs::g711::{self, Law};
use codecs::opus::{Encoder, EncoderConfig};
use codecs::resample::Resampler;
use codecs::wav;
use server::bridge::Codec;

/// One packet's payload per 20 ms.
pub struct Speech(Vec<Vec<u8>>);

impl Speech {
    pub fn new(codec: Codec) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../loadtest/speech/alpha.wav");
        let file = wav::read(&std::fs::read(path).unwrap()).unwrap();
        let rate = match codec {
            Codec::Opus => SampleRate::Hz48000,
            _ => SampleRate::Hz8000,
        };
        let mut resampler = Resampler::new(file.sample_rate, rate);
        let mut pcm = vec![0; resampler.output_len_max(file.samples.len())];
        let len = resampler.process(&file.samples, &mut pcm);
        let frames = pcm[..len].chunks_exact(rate.samples(20));
        match codec {
            Codec::Opus => {
                // As Chromium sends it.
                let mut encoder = Encoder::new(EncoderConfig::fullband()).unwrap();
                let encoded = frames.map(|frame| {
                    let mut packet = [0; 1_276];
                    let len = encoder.encode(frame, &mut packet).unwrap();
                    packet[..len].to_vec()
                });
                Self(encoded.collect())
            }
            _ => {
                let encoded = frames.map(|frame| {
                    let mut octets = vec![0; frame.len()];
                    g711::encode(Law::Mu, frame, &mut octets);
                    octets
                });
                Self(encoded.collect())
            }
        }
    }

    /// The `index`th frame; speech goes round.
    pub fn frame(&self, index: usize) -> &[u8] {
        &self.0[index % self.0.len()]
    }
}
