//! Digits as named events in RTP (RFC 4733): [`TelephoneEventReceiver`] turns packets into digits that begin and end
//! exactly once, [`TelephoneEventSender`] turns digits into packets.
//!
//! Events 0 to 15 only (0-9 * # A-D); others are no digits and are passed over. Volume is not looked at.

mod receiver;
mod sender;

pub use receiver::*;
pub use sender::*;

use thiserror::Error;

const END_BIT: u8 = 0x80;
/// The longest duration of one segment, in ticks; a longer event goes on in another.
const SEGMENT_TICKS_MAX: u32 = 0xffff;

const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

/// The digit of an event code; `None` for codes over 15.
pub fn digit_of_event(event: u8) -> Option<char> {
    DIGITS
        .get(usize::from(event))
        .map(|digit| char::from(*digit))
}

/// The event code of a digit, `a` to `d` included.
pub fn event_of_digit(digit: char) -> Option<u8> {
    let digit = digit.to_ascii_uppercase();
    let position = DIGITS.iter().position(|known| char::from(*known) == digit);
    position.and_then(|event| u8::try_from(event).ok())
}

/// What is wrong with a digit to send, or with a received event payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TelephoneEventError {
    /// A received payload shorter than 4 bytes.
    #[error("a telephone-event payload has 4 bytes, this one {0}")]
    TooShort(usize),
    /// A character that is no digit.
    #[error("{0:?} is no digit: 0-9, *, #, A-D")]
    NoDigit(char),
    /// More digits than a sender queues.
    #[error("more than {DIGITS_QUEUED_MAX} digits wait to be sent")]
    QueueFull,
}

#[cfg(test)]
mod tests;
