//! The payload of RTP telephone-events (RFC 4733 section 2.3): four bytes for each event.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     event     |E|R| volume    |          duration             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Bytes only. When a digit begins and ends is for who has the RTP header and a clock: the gateway's
//! `rtp::TelephoneEventReceiver` and `TelephoneEventSender`.

use std::error::Error;
use std::fmt;

/// Bytes of one event.
pub const EVENT_BYTES: usize = 4;
/// Events of one payload that are read or written at most. Senders have no reason to pack more than two or three digits.
pub const EVENTS_MAX: usize = 8;
/// The longest duration that one event tells, in ticks of the RTP clock; a longer one goes on in another segment
/// (RFC 4733 section 2.5.1.3).
pub const DURATION_TICKS_MAX: u16 = u16::MAX;
/// The quietest volume: -63 dBm0.
pub const VOLUME_MAX: u8 = 63;

const END_BIT: u8 = 0x80;
const VOLUME_MASK: u8 = 0x3f;

/// The digits in the order of their event codes, 0 to 15 (RFC 4733 section 3.2).
pub const DIGITS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
];

/// The digit of an event code; `None` for codes over 15, which are no digits.
pub fn digit_of_event(code: u8) -> Option<char> {
    DIGITS.get(usize::from(code)).copied()
}

/// The event code of a digit, `a` to `d` included; `None` for what is no digit.
pub fn event_of_digit(digit: char) -> Option<u8> {
    let digit = digit.to_ascii_uppercase();
    let position = DIGITS.iter().position(|&known| known == digit);
    position.and_then(|code| u8::try_from(code).ok())
}

/// One named event as one packet tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    /// Event code; 0 to 15 are digits.
    pub code: u8,
    /// The event (or its last segment) is over.
    pub end: bool,
    /// Level of the tone below 0 dBm0: 10 is -10 dBm0. 0 to [`VOLUME_MAX`]; more is written as [`VOLUME_MAX`].
    pub volume: u8,
    /// How long it has lasted so far, in ticks of the RTP clock, from the event's own beginning.
    pub duration_ticks: u16,
}

impl Event {
    /// Reads one event. Every four bytes are one; the reserved bit is ignored, as the RFC asks.
    pub const fn from_bytes(bytes: [u8; EVENT_BYTES]) -> Self {
        let [code, flags, high, low] = bytes;
        Self {
            code,
            end: flags & END_BIT != 0,
            volume: flags & VOLUME_MASK,
            duration_ticks: u16::from_be_bytes([high, low]),
        }
    }

    /// The event as it is sent, with the reserved bit 0.
    pub const fn to_bytes(self) -> [u8; EVENT_BYTES] {
        let volume = if self.volume > VOLUME_MAX {
            VOLUME_MAX
        } else {
            self.volume
        };
        let end = if self.end { END_BIT } else { 0 };
        let [high, low] = self.duration_ticks.to_be_bytes();
        [self.code, end | volume, high, low]
    }

    /// The digit, if the event is one.
    pub fn digit(self) -> Option<char> {
        digit_of_event(self.code)
    }
}

/// An event of a payload, and how long after the packet's RTP timestamp it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedEvent {
    /// Ticks from the packet's timestamp to the event's beginning: the events before it in the payload.
    pub offset_ticks: u32,
    /// The event.
    pub event: Event,
}

/// Reads a payload: one event, or several that followed each other without a pause (RFC 4733 section 2.5.1.5), oldest
/// first. The packet's timestamp is the beginning of the first; each other begins where the one before it ended.
///
/// Up to three bytes behind the last whole event are passed over, and so is a later event without a duration: old
/// equipment pads with zeroes, which would be the digit 0.
///
/// # Errors
/// [`PayloadError::TooShort`], [`PayloadError::TooManyEvents`]: the sender's fault.
pub fn events(payload: &[u8]) -> Result<impl Iterator<Item = PackedEvent> + '_, PayloadError> {
    let (whole, _) = payload.as_chunks::<EVENT_BYTES>();
    if whole.is_empty() {
        return Err(PayloadError::TooShort(payload.len()));
    }
    if whole.len() > EVENTS_MAX {
        return Err(PayloadError::TooManyEvents(whole.len()));
    }
    let packed = whole.iter().scan(0, |offset_ticks, &bytes| {
        let event = Event::from_bytes(bytes);
        let packed = PackedEvent {
            offset_ticks: *offset_ticks,
            event,
        };
        // At most EVENTS_MAX times 65 535.
        *offset_ticks += u32::from(event.duration_ticks);
        Some(packed)
    });
    Ok(packed
        .enumerate()
        .filter(|(index, packed)| *index == 0 || packed.event.duration_ticks > 0)
        .map(|(_, packed)| packed))
}

/// Writes events that followed each other without a pause into one payload, oldest first, and returns its bytes.
///
/// # Errors
/// [`PayloadError::TooShort`] for no event at all, [`PayloadError::TooManyEvents`], [`PayloadError::NoRoom`]; `payload` is
/// as it was then.
pub fn write_events(events: &[Event], payload: &mut [u8]) -> Result<usize, PayloadError> {
    if events.is_empty() {
        return Err(PayloadError::TooShort(0));
    }
    if events.len() > EVENTS_MAX {
        return Err(PayloadError::TooManyEvents(events.len()));
    }
    let needed = events.len() * EVENT_BYTES;
    let available = payload.len();
    let Some(room) = payload.get_mut(..needed) else {
        return Err(PayloadError::NoRoom { needed, available });
    };
    let (slots, _) = room.as_chunks_mut::<EVENT_BYTES>();
    for (slot, event) in slots.iter_mut().zip(events) {
        *slot = event.to_bytes();
    }
    Ok(needed)
}

/// Why a telephone-event payload can't be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadError {
    /// Not one whole event: this many bytes.
    TooShort(usize),
    /// More than [`EVENTS_MAX`] events: this many.
    TooManyEvents(usize),
    /// The caller's buffer is too small, in bytes.
    NoRoom {
        /// What the payload takes.
        needed: usize,
        /// What the buffer has.
        available: usize,
    },
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort(bytes) => write!(
                f,
                "a telephone-event payload has at least {EVENT_BYTES} bytes, this one {bytes}"
            ),
            Self::TooManyEvents(events) => write!(
                f,
                "a telephone-event payload has at most {EVENTS_MAX} events, this one {events}"
            ),
            Self::NoRoom { needed, available } => write!(
                f,
                "a telephone-event payload of {needed} bytes does not fit into {available}"
            ),
        }
    }
}

impl Error for PayloadError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use proptest::prelude::*;

    /// The last packet of the worked example of RFC 4733 section 5: the digit 9, 1 600 ticks, at -7 dBm0.
    const NINE: Event = Event {
        code: 9,
        end: true,
        volume: 7,
        duration_ticks: 1_600,
    };

    #[test]
    fn the_bytes_are_those_of_the_rfc() {
        assert_eq!(NINE.to_bytes(), [9, 0x87, 0x06, 0x40]);
        assert_eq!(Event::from_bytes([9, 0x87, 0x06, 0x40]), NINE);
        // The reserved bit says nothing.
        assert_eq!(Event::from_bytes([9, 0xc7, 0x06, 0x40]), NINE);
        let loud = Event {
            volume: 200,
            ..NINE
        };
        assert_eq!(loud.to_bytes()[1], 0x80 | VOLUME_MAX);
    }

    #[test]
    fn digits_and_codes_are_each_others_inverse() {
        for code in 0..=255 {
            match digit_of_event(code) {
                Some(digit) => assert_eq!(event_of_digit(digit), Some(code)),
                None => assert!(code > 15),
            }
        }
        assert_eq!(event_of_digit('d'), Some(15));
        assert_eq!(event_of_digit('x'), None);
        assert_eq!(NINE.digit(), Some('9'));
    }

    #[test]
    fn each_packed_event_begins_where_the_one_before_it_ended() {
        let payload = [
            1, 0x8a, 0x01, 0x90, 2, 0x8a, 0x00, 0xa0, 3, 0x0a, 0x00, 0x50,
        ];
        let read: Vec<_> = events(&payload)
            .unwrap()
            .map(|packed| (packed.event.digit(), packed.offset_ticks, packed.event.end))
            .collect();
        assert_eq!(
            read,
            [
                (Some('1'), 0, true),
                (Some('2'), 400, true),
                (Some('3'), 560, false)
            ]
        );
    }

    #[test]
    fn padding_is_no_digit() {
        let padded = [1, 0x0a, 0, 160, 0, 0, 0, 0, 0, 0];
        assert_eq!(events(&padded).unwrap().count(), 1);
        // The first packet of an event may come before it has lasted.
        assert_eq!(events(&[0, 0x0a, 0, 0]).unwrap().count(), 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = events(&[1, 2, 3]).err().unwrap();
        assert_eq!(error, PayloadError::TooShort(3));
        assert!(error.to_string().contains("this one 3"));
        let error = events(&[1; 36]).err().unwrap();
        assert_eq!(error, PayloadError::TooManyEvents(9));
        assert!(events(&[1; 35]).is_ok());
        let mut small = [7; 7];
        let (needed, available) = (8, 7);
        assert_eq!(
            write_events(&[NINE, NINE], &mut small),
            Err(PayloadError::NoRoom { needed, available })
        );
        assert_eq!(small, [7; 7]);
        assert_eq!(
            write_events(&[], &mut small),
            Err(PayloadError::TooShort(0))
        );
        assert_eq!(
            write_events(&[NINE; 9], &mut small),
            Err(PayloadError::TooManyEvents(9))
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            fields in proptest::collection::vec((any::<u8>(), any::<bool>(), 0..=VOLUME_MAX, 1..=DURATION_TICKS_MAX), 1..=EVENTS_MAX)
        ) {
            let written: Vec<_> = fields
                .into_iter()
                .map(|(code, end, volume, duration_ticks)| Event { code, end, volume, duration_ticks })
                .collect();
            let mut payload = [0; EVENTS_MAX * EVENT_BYTES];
            let bytes = write_events(&written, &mut payload).unwrap();
            let read: Vec<_> = events(&payload[..bytes]).unwrap().map(|packed| packed.event).collect();
            prop_assert_eq!(read, written);
        }
    }
}
