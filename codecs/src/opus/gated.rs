//! An encoder that does not work while there is nothing to hear.

use super::{Encoder, EncoderConfig, OpusError, Toc};
use crate::voice_activity::VoiceActivityGate;

/// While the gate is closed one frame of so many ms is encoded all the same: what the listener's decoder makes its comfort noise
/// from follows the background by that, as with the DTX of libopus.
const REFRESH_EVERY_MS: u32 = 400;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// Bytes written.
    pub len: usize,
    /// Nothing was encoded: the packet says so by its TOC byte alone.
    pub is_silence: bool,
}

/// An [`Encoder`] behind a [`VoiceActivityGate`].
///
/// Silence costs a look at its level: while the gate is closed each frame becomes a packet of the TOC byte alone, which is what
/// DTX sends (a frame of no bytes, RFC 6716 section 3.4), and to which every decoder makes comfort noise of its own. Packets go on
/// without a gap all the same, so that clocks, jitter buffers and recorders of the far end stay fed. libopus's own DTX would not save
/// CPU: it encodes first and looks then.
#[derive(Debug)]
pub struct GatedEncoder {
    encoder: Encoder,
    gate: VoiceActivityGate,
    is_gated: bool,
    /// What the last encoded packet began with, if it was one frame.
    toc: Option<Toc>,
    /// Samples since the last packet that was encoded.
    silent_samples: usize,
}

impl GatedEncoder {
    /// Makes an encoder with a gate that works.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn new(config: EncoderConfig) -> Result<Self, OpusError> {
        Ok(Self {
            encoder: Encoder::new(config)?,
            gate: VoiceActivityGate::new(config.sample_rate),
            is_gated: true,
            toc: None,
            silent_samples: 0,
        })
    }

    /// As [`Encoder::apply`].
    ///
    /// # Errors
    /// As [`Encoder::apply`].
    pub fn apply(&mut self, config: &EncoderConfig) -> Result<(), OpusError> {
        self.encoder.apply(config)
    }

    /// Whether the gate works; without it everything is encoded.
    pub fn set_gated(&mut self, is_gated: bool) {
        self.is_gated = is_gated;
    }

    /// Encodes one packet from `pcm`, or says that there is silence.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> Result<Encoded, OpusError> {
        // The gate hears everything, so that it knows the background when it is asked.
        let is_open = self.gate.is_open(pcm) || !self.is_gated;
        let refresh_samples = self.encoder.sample_rate().samples(REFRESH_EVERY_MS);
        if !is_open
            && self.silent_samples + pcm.len() < refresh_samples
            && let Some(toc) = self.toc.filter(|toc| self.lasts(*toc, pcm.len()))
            && let Some(first) = packet.first_mut()
        {
            *first = toc.byte();
            self.silent_samples += pcm.len();
            return Ok(Encoded {
                len: 1,
                is_silence: true,
            });
        }
        let len = self.encoder.encode(pcm, packet)?;
        self.silent_samples = 0;
        self.toc = packet.get(..len).and_then(Toc::of);
        Ok(Encoded {
            len,
            is_silence: false,
        })
    }

    /// Whether one frame of this TOC lasts so many samples, and is all that it announces.
    fn lasts(&self, toc: Toc, samples: usize) -> bool {
        let frame_us = u64::from(toc.frame_duration_us());
        let hz = u64::from(self.encoder.sample_rate().hz());
        toc.is_single_frame() && frame_us * hz == samples as u64 * 1_000_000
    }
}
