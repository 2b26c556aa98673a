//! The plan of a direction: passthrough, or the shortest chain of decode, resample and encode.
//!
//! Chosen once per negotiation from the two codecs. Opus does the resampling where it takes part: its decoder and
//! encoder run at the other side's rate, which costs a quarter of decoding at 48 kHz and needs no resampler.

use std::fmt;

use codecs::SampleRate;
use codecs::dtmf::ToneError;
use thiserror::Error;

use super::Codec;
use crate::rtp::TelephoneEventError;

/// How audio gets from a source's codec to a sink's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Both sides speak the same codec: payloads go on untouched.
    Passthrough {
        /// The codec of both sides.
        codec: Codec,
    },
    /// Decode and encode again.
    Transcode {
        /// The source's codec.
        from: Codec,
        /// The sink's codec.
        to: Codec,
        /// What the decoder gives.
        decode_rate: SampleRate,
        /// What the encoder takes.
        encode_rate: SampleRate,
        /// The resampling between the two, when they differ.
        resample: Option<(SampleRate, SampleRate)>,
    },
}

impl Plan {
    /// The plan from `from` to `to`. `force_transcode` decodes and encodes again even when the codecs match.
    pub fn new(from: Codec, to: Codec, force_transcode: bool) -> Self {
        if from == to && !force_transcode {
            return Self::Passthrough { codec: from };
        }
        let (decode_rate, encode_rate) = match (pcm_rate(from), pcm_rate(to)) {
            (Some(source), Some(sink)) => (source, sink),
            (Some(rate), None) | (None, Some(rate)) => (rate, rate),
            (None, None) => (SampleRate::Hz48000, SampleRate::Hz48000),
        };
        Self::Transcode {
            from,
            to,
            decode_rate,
            encode_rate,
            resample: (decode_rate != encode_rate).then_some((decode_rate, encode_rate)),
        }
    }

    /// Whether audio is decoded and encoded again.
    pub fn is_transcode(&self) -> bool {
        matches!(self, Self::Transcode { .. })
    }
}

/// The only rate that a codec has, or none for Opus, which runs at any.
fn pcm_rate(codec: Codec) -> Option<SampleRate> {
    match codec {
        Codec::Opus => None,
        Codec::Pcmu | Codec::Pcma => Some(SampleRate::Hz8000),
        Codec::L16(rate) => Some(rate),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passthrough { codec } => write!(f, "{} passthrough", codec.name()),
            Self::Transcode {
                from,
                to,
                decode_rate,
                encode_rate,
                resample,
            } => {
                write!(f, "{}>pcm{}k", from.name(), decode_rate.hz() / 1000)?;
                if resample.is_some() {
                    write!(f, ">pcm{}k", encode_rate.hz() / 1000)?;
                }
                write!(f, ">{}", to.name())
            }
        }
    }
}

/// Why a direction can't be built or used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BridgeError {
    /// libopus could not make a decoder or encoder: out of memory. Our fault.
    #[error("the codec {0} could not be set up: {1}")]
    Codec(&'static str, String),
    /// The sink negotiated no telephone-event, so digits can't be sent to it. The far end's choice.
    #[error("the far end negotiated no telephone-event")]
    NoTelephoneEvent,
    /// A character that is no digit, or more digits than wait at most. The caller's fault.
    #[error(transparent)]
    Digits(#[from] TelephoneEventError),
    /// The same for digits that go as tones. The caller's fault.
    #[error(transparent)]
    Tones(#[from] ToneError),
    /// The bridge has no such leg. Our fault.
    #[error("leg {0} has no route")]
    UnknownLeg(u8),
    /// A route more than a bridge takes. Our fault.
    #[error("a bridge takes at most {0} routes")]
    TooManyRoutes(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_the_shortest_chain() {
        let [narrow, wide, widest] =
            [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000].map(Codec::L16);
        let cases = [
            (Codec::Opus, Codec::Pcmu, false, "opus>pcm8k>PCMU"),
            (Codec::Pcma, Codec::Opus, false, "PCMA>pcm8k>opus"),
            (Codec::Opus, wide, false, "opus>pcm16k>L16"),
            (Codec::Pcmu, wide, false, "PCMU>pcm8k>pcm16k>L16"),
            (wide, Codec::Pcma, false, "L16>pcm16k>pcm8k>PCMA"),
            (narrow, Codec::Pcmu, false, "L16>pcm8k>PCMU"),
            (Codec::Opus, widest, false, "opus>pcm24k>L16"),
            (widest, narrow, false, "L16>pcm24k>pcm8k>L16"),
            (wide, wide, false, "L16 passthrough"),
            (Codec::Pcmu, Codec::Pcma, false, "PCMU>pcm8k>PCMA"),
            (Codec::Opus, Codec::Opus, true, "opus>pcm48k>opus"),
            (Codec::Opus, Codec::Opus, false, "opus passthrough"),
        ];
        for (from, to, forced, text) in cases {
            assert_eq!(Plan::new(from, to, forced).to_string(), text);
        }
    }
}
