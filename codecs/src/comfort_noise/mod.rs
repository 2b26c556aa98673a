//! Comfort noise (RFC 3389): what a silent line sounds like, described in a few bytes and made again from them.
//!
//! [`ComfortNoise`] is the payload: a level and the reflection coefficients of an all-pole filter. [`NoiseAnalyser`] makes one
//! from sound, [`NoiseGenerator`] sound from one. Codecs that have silence of their own (Opus) do not need it. Whether
//! somebody speaks is not decided here.
//!
//! Who will call this: an RTP or SIP trunk that negotiates `CN/8000` (payload type 13). A far end that suppresses silence
//! sends it instead of G.711; and we may, when the voice-activity gate has closed.

mod analyser;
mod generator;

pub use analyser::NoiseAnalyser;
pub use generator::NoiseGenerator;

use std::error::Error;
use std::fmt;

/// Reflection coefficients of a description at most; those of a longer payload are passed over, as the RFC allows.
pub const ORDER_MAX: usize = 10;
/// Bytes of the longest payload that is written.
pub const PAYLOAD_BYTES_MAX: usize = 1 + ORDER_MAX;
/// The quietest level: -127 dBov.
pub const LEVEL_MAX: u8 = 127;

/// The index of a coefficient that is 0.
const ZERO_INDEX: u8 = 127;
/// The highest index; 255 is reserved.
const INDEX_MAX: u8 = 254;
/// Indices by which a coefficient of 1 would lie above [`ZERO_INDEX`] (RFC 3389 section 3.2: steps of 258/32768).
const INDICES_OF_1: f64 = 32_768.0 / 258.0;

/// A description of noise: what one payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComfortNoise {
    level: u8,
    order: usize,
    /// As they are sent; only the first `order` mean anything, the rest is [`ZERO_INDEX`].
    indices: [u8; ORDER_MAX],
}

impl ComfortNoise {
    /// Noise of a level below 0 dBov (0 to [`LEVEL_MAX`], more is taken as that): 60 is -60 dBov. White, unless there are
    /// coefficients of an all-pole model, each between -1 and 1 and at most [`ORDER_MAX`] of them (more are passed over):
    /// the first is `-r(1) / r(0)` of the autocorrelation, so it is negative where low frequencies prevail. They are
    /// rounded to 1/127.
    pub fn new(level: u8, reflection: &[f64]) -> Self {
        let mut indices = [ZERO_INDEX; ORDER_MAX];
        for (index, &coefficient) in indices.iter_mut().zip(reflection) {
            let steps = f64::from(ZERO_INDEX) + (coefficient * INDICES_OF_1).round();
            // The cast saturates, and takes what is no number as 0: a coefficient of almost -1.
            *index = (steps as u8).min(INDEX_MAX);
        }
        Self {
            level: level.min(LEVEL_MAX),
            order: reflection.len().min(ORDER_MAX),
            indices,
        }
    }

    /// Reads a payload. The first bit is ignored. From a reserved index (255) on, coefficients are passed over.
    ///
    /// # Errors
    /// [`ComfortNoiseError::Empty`]: the sender's fault.
    pub fn parse(payload: &[u8]) -> Result<Self, ComfortNoiseError> {
        let (&level, coefficients) = payload.split_first().ok_or(ComfortNoiseError::Empty)?;
        let mut indices = [ZERO_INDEX; ORDER_MAX];
        let mut order = 0;
        for (slot, &index) in indices.iter_mut().zip(coefficients) {
            if index > INDEX_MAX {
                break;
            }
            *slot = index;
            order += 1;
        }
        Ok(Self {
            level: level & LEVEL_MAX,
            order,
            indices,
        })
    }

    /// Writes the payload, one byte and one for each coefficient, and returns its length: at most [`PAYLOAD_BYTES_MAX`].
    ///
    /// # Errors
    /// [`ComfortNoiseError::NoRoom`]; `payload` is as it was then.
    pub fn write(&self, payload: &mut [u8]) -> Result<usize, ComfortNoiseError> {
        let needed = 1 + self.order;
        let available = payload.len();
        let Some((level, coefficients)) =
            payload.get_mut(..needed).and_then(<[u8]>::split_first_mut)
        else {
            return Err(ComfortNoiseError::NoRoom { needed, available });
        };
        *level = self.level;
        coefficients.copy_from_slice(&self.indices[..self.order]);
        Ok(needed)
    }

    /// The level below 0 dBov: 60 is -60 dBov. 127 is silence as well.
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The reflection coefficients, each between -1 and 1.
    pub fn reflection(&self) -> impl Iterator<Item = f64> + '_ {
        self.indices[..self.order]
            .iter()
            .map(|&index| (f64::from(index) - f64::from(ZERO_INDEX)) / INDICES_OF_1)
    }
}

/// Why a comfort noise payload can't be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComfortNoiseError {
    /// Received: not even a level.
    Empty,
    /// To be written: the caller's buffer is too small, in bytes.
    NoRoom {
        /// What the payload takes.
        needed: usize,
        /// What the buffer has.
        available: usize,
    },
}

impl fmt::Display for ComfortNoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(
                f,
                "the comfort noise payload is empty: its level is missing"
            ),
            Self::NoRoom { needed, available } => write!(
                f,
                "a comfort noise payload of {needed} bytes does not fit into {available}"
            ),
        }
    }
}

impl Error for ComfortNoiseError {}

#[cfg(test)]
mod tests;
