//! Digits in SIP INFO: `application/dtmf-relay` (`Signal=5`, `Duration=160`), which nearly everybody writes, and
//! `application/dtmf` (`5`), which some do. Neither has an RFC; RFC 6086 names such INFOs legacy usage.

/// What we write.
pub const CONTENT_TYPE: &str = "application/dtmf-relay";
/// What a digit without a duration lasted.
const DURATION_MS_DEFAULT: u32 = 160;
/// The longest duration that is believed.
const DURATION_MS_MAX: u32 = 10_000;

/// The body for one digit.
pub fn write(digit: char, duration_ms: u32) -> String {
    format!("Signal={digit}\r\nDuration={duration_ms}\r\n")
}

/// Reads a body: the digit and how long it was held in ms. None: no digit, or another type of content.
pub fn read(content_type: &str, body: &[u8]) -> Option<(char, u32)> {
    let content_type = content_type.split(';').next()?.trim();
    let text = std::str::from_utf8(body).ok()?;
    if content_type.eq_ignore_ascii_case("application/dtmf") {
        return Some((digit(text.trim())?, DURATION_MS_DEFAULT));
    }
    if !content_type.eq_ignore_ascii_case(CONTENT_TYPE) {
        return None;
    }
    let (mut signal, mut duration_ms) = (None, DURATION_MS_DEFAULT);
    for line in text.lines() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        match name.trim() {
            name if name.eq_ignore_ascii_case("Signal") => signal = digit(value.trim()),
            name if name.eq_ignore_ascii_case("Duration") => {
                duration_ms = value.trim().parse().unwrap_or(DURATION_MS_DEFAULT);
            }
            _ => {}
        }
    }
    Some((signal?, duration_ms.min(DURATION_MS_MAX)))
}

/// Also by its event number, as old gateways write `10` for `*`.
fn digit(text: &str) -> Option<char> {
    match text {
        "10" => return Some('*'),
        "11" => return Some('#'),
        _ => {}
    }
    let mut chars = text.chars();
    let digit = chars.next()?.to_ascii_uppercase();
    let is_digit = digit.is_ascii_digit() || matches!(digit, '*' | '#' | 'A'..='D');
    (is_digit && chars.next().is_none()).then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for digit in "0123456789*#ABCD".chars() {
            assert_eq!(
                read(CONTENT_TYPE, write(digit, 250).as_bytes()),
                Some((digit, 250))
            );
        }
    }

    #[test]
    fn others_write_it_otherwise() {
        let relay = "Application/DTMF-Relay; charset=utf-8";
        assert_eq!(read(relay, b"signal= 11 \nDuration = x"), Some(('#', 160)));
        assert_eq!(read("application/dtmf", b" a\r\n"), Some(('A', 160)));
        assert_eq!(
            read(relay, b"Signal=5\r\nDuration=99999999"),
            Some(('5', 10_000))
        );
        for wrong in ["", "Signal=", "Signal=55", "Signal=x", "Duration=5"] {
            assert_eq!(read(relay, wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(read("text/plain", b"Signal=5"), None);
    }
}
