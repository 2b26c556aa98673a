//! What can go wrong in the Opus wrapper, and whose fault it is.

use crate::SampleRate;
use std::{error::Error, fmt};

/// Why an Opus operation failed. [`InvalidPacket`](Self::InvalidPacket) is the sender's fault, everything else ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpusError {
    /// The bytes are not an Opus packet (RFC 6716 section 3.4). Decoder state is as it was before.
    InvalidPacket,
    /// The output buffer is too short for what the packet holds, or for one encoded frame.
    OutputTooShort {
        /// Room that the caller gave: samples when decoding, bytes when encoding.
        room: usize,
    },
    /// The number of samples is no duration that Opus has: when encoding 2.5, 5, 10, 20, 40, 60, 80, 100 or 120 ms,
    /// when concealing a multiple of 2.5 ms up to 120 ms.
    FrameLength {
        /// Samples given.
        samples: usize,
        /// The rate of encoder or decoder.
        rate: SampleRate,
    },
    /// A setting outside its range.
    Setting {
        /// Name of the setting as in [`EncoderConfig`](super::EncoderConfig).
        name: &'static str,
        /// The value given.
        value: u32,
    },
    /// libopus could not allocate its state.
    OutOfMemory,
    /// libopus refused for a reason that this wrapper should have caught before; its error code.
    Internal(i32),
}

impl fmt::Display for OpusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPacket => write!(f, "not a valid Opus packet"),
            Self::OutputTooShort { room } => write!(f, "output buffer of {room} is too short"),
            Self::FrameLength { samples, rate } => {
                write!(
                    f,
                    "{samples} samples at {} Hz are not an Opus frame duration",
                    rate.hz()
                )
            }
            Self::Setting { name, value } => write!(f, "{name} = {value} is out of range"),
            Self::OutOfMemory => write!(f, "no memory for Opus state"),
            Self::Internal(code) => write!(f, "libopus error {code}"),
        }
    }
}

impl Error for OpusError {}

/// Turns a libopus return value (negative: error code) into a count. `room` is what the caller gave, for the message.
pub(super) fn count_from(returned: i32, room: usize) -> Result<usize, OpusError> {
    usize::try_from(returned).map_err(|_negative| match returned {
        opusic_sys::OPUS_INVALID_PACKET => OpusError::InvalidPacket,
        opusic_sys::OPUS_BUFFER_TOO_SMALL => OpusError::OutputTooShort { room },
        opusic_sys::OPUS_ALLOC_FAIL => OpusError::OutOfMemory,
        code => OpusError::Internal(code),
    })
}
