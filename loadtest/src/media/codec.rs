//! The audio codecs that callers and far ends speak, and one encoder over all of them.

use codecs::SampleRate;
use codecs::g711::{self, Law};
use codecs::linear16;
use codecs::opus::{Encoder, EncoderConfig, OpusError};
use serde::Serialize;
use thiserror::Error;

use super::PACKET_MS;

/// The longest payload of 20 ms: Opus at its highest rate.
const PAYLOAD_BYTES_MAX: usize = codecs::opus::PACKET_BYTES_MAX_20_MS;

/// An audio codec in RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum AudioCodec {
    /// RFC 7587, at 48 kHz.
    Opus,
    /// G.711 mu-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// RFC 3551 L16 mono, 16 kHz.
    L16,
}

impl AudioCodec {
    /// The rate of the PCM on our side; also the RTP clock.
    pub fn sample_rate(self) -> SampleRate {
        match self {
            Self::Opus => SampleRate::Hz48000,
            Self::Pcmu | Self::Pcma => SampleRate::Hz8000,
            Self::L16 => SampleRate::Hz16000,
        }
    }

    /// Nothing above 4 kHz comes through it.
    pub fn has_telephone_band(self) -> bool {
        matches!(self, Self::Pcmu | Self::Pcma)
    }

    /// The RTP clock in Hz.
    pub fn clock_rate_hz(self) -> u32 {
        self.sample_rate().hz()
    }

    /// Samples in one packet.
    pub fn packet_samples(self) -> usize {
        self.sample_rate().samples(PACKET_MS)
    }

    /// The payload type by RFC 3551, or the usual dynamic one.
    pub fn usual_payload_type(self) -> u8 {
        match self {
            Self::Opus => 111,
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::L16 => 97,
        }
    }

    /// The name in SDP and CallEvents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::L16 => "L16",
        }
    }
}

/// Audio that can't be encoded or decoded.
#[derive(Debug, Error)]
pub enum MediaError {
    /// libopus refused.
    #[error("opus: {0}")]
    Opus(#[from] OpusError),
}

/// Turns 20 ms frames into payloads.
pub struct FrameEncoder {
    codec: AudioCodec,
    opus: Option<Encoder>,
    payload: Vec<u8>,
}

impl FrameEncoder {
    /// An encoder; Opus with in-band FEC, as browsers send it.
    ///
    /// # Errors
    /// [`MediaError`] when libopus has no memory.
    pub fn new(codec: AudioCodec) -> Result<Self, MediaError> {
        let opus = match codec {
            AudioCodec::Opus => Some(Encoder::new(EncoderConfig::fullband().with_fec(5))?),
            _ => None,
        };
        Ok(Self {
            codec,
            opus,
            payload: vec![0; PAYLOAD_BYTES_MAX],
        })
    }

    /// By how many samples the codec delays the sound beyond its packet.
    pub fn lookahead_ms(&self) -> f64 {
        let samples = self
            .opus
            .as_ref()
            .and_then(|opus| opus.lookahead_samples().ok())
            .unwrap_or(0);
        samples as f64 * 1000.0 / f64::from(self.codec.clock_rate_hz())
    }

    /// The payload of one frame of [`AudioCodec::packet_samples`] samples.
    ///
    /// # Errors
    /// [`MediaError`] for a frame of another length.
    pub fn encode(&mut self, frame: &[i16]) -> Result<&[u8], MediaError> {
        let len = match self.codec {
            AudioCodec::Opus => match &mut self.opus {
                Some(opus) => opus.encode(frame, &mut self.payload)?,
                None => 0,
            },
            AudioCodec::Pcmu => g711::encode(Law::Mu, frame, &mut self.payload),
            AudioCodec::Pcma => g711::encode(Law::A, frame, &mut self.payload),
            // Two bytes per sample that was written.
            AudioCodec::L16 => 2 * linear16::to_be_bytes(frame, &mut self.payload),
        };
        Ok(self.payload.get(..len).unwrap_or_default())
    }
}
