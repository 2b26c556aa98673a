//! Digits as named events in RTP (RFC 4733): [`TelephoneEventReceiver`] turns packets into digits that begin and end
//! exactly once, [`TelephoneEventSender`] turns digits into packets.
//!
//! Events 0 to 15 only (0-9 * # A-D); others are no digits and are passed over. Volume is not looked at. The bytes are
//! [`codecs::telephone_event`]'s.

mod receiver;
mod sender;

pub use receiver::*;
pub use sender::*;

pub use codecs::digit::{DigitProgress, DigitReceived};
pub use codecs::telephone_event::{digit_of_event, event_of_digit};

use codecs::telephone_event::{DURATION_TICKS_MAX, PayloadError};
use thiserror::Error;

/// The longest duration of one segment, in ticks; a longer event goes on in another.
const SEGMENT_TICKS_MAX: u32 = DURATION_TICKS_MAX as u32;

/// What is wrong with a digit to send, or with a received event payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TelephoneEventError {
    /// A received payload that can't be read.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A character that is no digit.
    #[error("{0:?} is no digit: 0-9, *, #, A-D")]
    NoDigit(char),
    /// More digits than a sender queues.
    #[error("more than {DIGITS_QUEUED_MAX} digits wait to be sent")]
    QueueFull,
}

#[cfg(test)]
mod tests;
