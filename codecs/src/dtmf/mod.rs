//! Digits as pairs of tones (DTMF, ITU-T Q.23): [`ToneGenerator`] makes them, [`ToneDetector`] hears them in audio that
//! carries them nowhere else.
//!
//! Named events (RFC 4733, [`crate::telephone_event`]) are better wherever a peer takes them. Who will call this: the
//! Twilio leg, to which digits can only be played; the trunk that asks for in-band digits; the AI agent's and Vapi's
//! WebSocket, which bring audio alone.

mod detector;
mod generator;

pub use detector::ToneDetector;
pub use generator::{
    DIGITS_QUEUED_MAX, DURATION_MAX_MS, DURATION_MIN_MS, ToneError, ToneGenerator, ToneLevels,
};

use crate::telephone_event::{digit_of_event, event_of_digit};

/// One tone of this group says the row of the key, in Hz.
const LOW_GROUP_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
/// One of this its column.
const HIGH_GROUP_HZ: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];

/// Event codes (RFC 4733 section 3.2) by row and column.
const KEYPAD: [[u8; 4]; 4] = [[1, 2, 3, 12], [4, 5, 6, 13], [7, 8, 9, 14], [10, 0, 11, 15]];

/// Peak amplitude of a sine of 0 dBm0, in 16-bit samples: 3.17 dB below full scale, as in mu-law (ITU-T G.711 table 5).
const AMPLITUDE_OF_0_DBM0: f32 = 22_748.0;

/// The two tones of a digit, low and high, in Hz; `None` for what is no digit.
pub fn frequencies_hz(digit: char) -> Option<(f32, f32)> {
    let code = event_of_digit(digit)?;
    KEYPAD.iter().zip(LOW_GROUP_HZ).find_map(|(row, low_hz)| {
        let column = row.iter().position(|&key| key == code)?;
        Some((low_hz, HIGH_GROUP_HZ[column]))
    })
}

/// The digit of a key; both are 0 to 3.
fn digit_of_key(row: usize, column: usize) -> Option<char> {
    digit_of_event(*KEYPAD.get(row)?.get(column)?)
}

#[cfg(test)]
mod tests;
