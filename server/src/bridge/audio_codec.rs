//! The codecs of a direction behind one shape: payload to samples, samples to payload, and what to do about loss.
//!
//! Nothing here allocates after the first packet, and any payload is safe to decode.

use std::time::Duration;

use codecs::SampleRate;
use codecs::g711::{self, Law};
use codecs::linear16;
use codecs::opus::{self, Encoded};
use codecs::plc::Concealer;

use super::{BridgeError, Codec};

/// A payload that can't be decoded, or a frame that can't be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodecFault;

/// Payloads of one codec to samples.
pub(super) enum AudioDecoder {
    Opus(opus::Decoder),
    G711 { law: Law, concealer: Concealer },
    L16(Concealer),
}

impl AudioDecoder {
    pub fn new(codec: Codec, rate: SampleRate) -> Result<Self, BridgeError> {
        let g711 = |law| Self::G711 {
            law,
            concealer: Concealer::new(rate),
        };
        Ok(match codec {
            Codec::Opus => {
                let decoder = opus::Decoder::new(rate);
                Self::Opus(decoder.map_err(|error| codec_error(codec, error))?)
            }
            Codec::Pcmu => g711(Law::Mu),
            Codec::Pcma => g711(Law::A),
            Codec::L16(_) => Self::L16(Concealer::new(rate)),
        })
    }

    /// Forgets the audio so far.
    pub fn restart(&mut self) {
        match self {
            Self::Opus(decoder) => decoder.reset(),
            Self::G711 { concealer, .. } | Self::L16(concealer) => concealer.reset(),
        }
    }

    /// Decodes a whole payload into the front of `out` and says how many samples it made.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecFault> {
        match self {
            Self::Opus(decoder) => decoder.decode(payload, out).map_err(|_| CodecFault),
            Self::G711 { law, concealer, .. } => {
                let pcm = out.get_mut(..payload.len()).ok_or(CodecFault)?;
                if pcm.is_empty() {
                    return Err(CodecFault);
                }
                g711::decode(*law, payload, pcm);
                concealer.good_frame(pcm);
                Ok(pcm.len())
            }
            Self::L16(concealer) => {
                if payload.is_empty() || !payload.len().is_multiple_of(2) {
                    return Err(CodecFault);
                }
                let pcm = out.get_mut(..payload.len() / 2).ok_or(CodecFault)?;
                linear16::from_be_bytes(payload, pcm);
                concealer.good_frame(pcm);
                Ok(pcm.len())
            }
        }
    }

    /// How many samples `payload` decodes to; 0 for one that can't be decoded.
    pub fn samples_of(&self, payload: &[u8]) -> usize {
        match self {
            Self::Opus(decoder) => {
                opus::packet_duration_samples(payload, decoder.sample_rate()).unwrap_or(0)
            }
            Self::G711 { .. } => payload.len(),
            Self::L16(_) => payload.len() / 2,
        }
    }

    /// The unit of [`AudioDecoder::conceal`].
    pub fn concealment_step(&self) -> Duration {
        match self {
            Self::Opus(_) => Duration::from_micros(2_500),
            Self::G711 { .. } | Self::L16(_) => Duration::from_millis(1),
        }
    }

    /// Fills `missing` with what the lost audio may have been.
    pub fn conceal(&mut self, missing: &mut [i16]) -> Result<(), CodecFault> {
        match self {
            Self::Opus(decoder) => match decoder.conceal(missing) {
                Ok(_) => Ok(()),
                Err(_) => Err(CodecFault),
            },
            Self::G711 { concealer, .. } | Self::L16(concealer) => {
                concealer.conceal(missing);
                Ok(())
            }
        }
    }

    /// How many samples before `next` its in-band FEC can bring back; none without FEC.
    pub fn recoverable_samples(&self, next: &[u8]) -> Option<usize> {
        let Self::Opus(decoder) = self else {
            return None;
        };
        if !opus::has_lbrr(next) {
            return None;
        }
        let frame_us = opus::Toc::of(next)?.frame_duration_us() as usize;
        // SILK frames last 10 ms or more and every rate is a multiple of 1 kHz: exact.
        Some(frame_us / 1_000 * (decoder.sample_rate().hz() as usize / 1_000))
    }

    /// Fills `missing` from the in-band FEC of the packet after it.
    pub fn recover(&mut self, next: &[u8], missing: &mut [i16]) -> Result<(), CodecFault> {
        let Self::Opus(decoder) = self else {
            return Err(CodecFault);
        };
        match decoder.decode_fec(next, missing) {
            Ok(_) => Ok(()),
            Err(_) => Err(CodecFault),
        }
    }
}

/// Samples to payloads of one codec.
pub(super) enum AudioEncoder {
    Opus {
        encoder: opus::GatedEncoder,
        policy: opus::Policy,
    },
    G711 {
        law: Law,
    },
    L16,
}

impl AudioEncoder {
    pub fn new(codec: Codec, rate: SampleRate) -> Result<Self, BridgeError> {
        Ok(match codec {
            Codec::Opus => {
                let policy = opus::Policy::new(rate);
                let mut encoder = opus::GatedEncoder::new(policy.config())
                    .map_err(|error| codec_error(codec, error))?;
                // Until the operator's word comes, a second later at most.
                encoder.set_gated(false);
                Self::Opus { encoder, policy }
            }
            Codec::Pcmu => Self::G711 { law: Law::Mu },
            Codec::Pcma => Self::G711 { law: Law::A },
            Codec::L16(_) => Self::L16,
        })
    }

    /// Encodes one frame into the front of `payload`.
    pub fn encode(&mut self, frame: &[i16], payload: &mut [u8]) -> Result<Encoded, CodecFault> {
        let len = match self {
            Self::Opus { encoder, .. } => {
                return encoder.encode(frame, payload).map_err(|_| CodecFault);
            }
            Self::G711 { law } => {
                let payload = payload.get_mut(..frame.len()).ok_or(CodecFault)?;
                g711::encode(*law, frame, payload);
                payload.len()
            }
            Self::L16 => {
                let payload = payload.get_mut(..frame.len() * 2).ok_or(CodecFault)?;
                linear16::to_be_bytes(frame, payload);
                payload.len()
            }
        };
        Ok(Encoded {
            len,
            is_silence: false,
        })
    }

    /// Follows the path to the listener, the operator and the CPU; only Opus can.
    pub fn adapt(
        &mut self,
        limits: &opus::Limits,
        conditions: &opus::Conditions,
    ) -> Result<(), CodecFault> {
        let Self::Opus { encoder, policy } = self else {
            return Ok(());
        };
        encoder.set_gated(limits.voice_activity_gate);
        match policy.decide(limits, conditions) {
            Some(config) => encoder.apply(&config).map_err(|_| CodecFault),
            None => Ok(()),
        }
    }
}

fn codec_error(codec: Codec, error: opus::OpusError) -> BridgeError {
    BridgeError::Codec(codec.name(), error.to_string())
}
