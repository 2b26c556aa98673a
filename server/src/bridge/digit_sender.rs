//! Digits that we send to the sink (RFC 4733), one after the other, in real time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::outgoing_event::{END_PACKETS, EventPackets, OutgoingEvent, event_clock_hz, event_of};
use super::{BridgeError, TelephoneEventFormat};
use crate::rtp::RtpTimestamp;

/// Digits that wait at most.
const DIGITS_MAX: usize = 64;
/// The shortest and the longest press, in ms; ITU-T Q.24 wants 40 at least, and RFC 4733 calls no press longer.
const DURATION_MS: std::ops::RangeInclusive<u32> = 40..=6_000;
/// Between two packets of an event.
const INTERVAL: Duration = Duration::from_millis(20);
/// Silence between two digits, counted from the first end packet.
const PAUSE: Duration = Duration::from_millis(100);
/// The power that we claim, in dB below 0 dBm0.
const VOLUME: u8 = 10;

#[derive(Debug)]
struct Press {
    event: OutgoingEvent,
    began: Instant,
    duration: Duration,
    ends_sent: u8,
}

/// A queue of digits and the one that is being sent.
#[derive(Debug)]
pub(super) struct DigitSender {
    format: Option<TelephoneEventFormat>,
    waiting: VecDeque<(u8, Duration)>,
    press: Option<Press>,
    /// When the next packet is due.
    due: Option<Instant>,
    digits_begun: u64,
}

impl DigitSender {
    pub fn new(format: Option<TelephoneEventFormat>) -> Self {
        Self {
            format,
            waiting: VecDeque::new(),
            press: None,
            due: None,
            digits_begun: 0,
        }
    }

    /// The sink renegotiated: digits under way and waiting are dropped.
    pub fn replace_format(&mut self, format: Option<TelephoneEventFormat>) {
        self.format = format;
        self.waiting.clear();
        self.press = None;
        self.due = None;
    }

    /// Adds digits to the queue, all or none.
    pub fn start(
        &mut self,
        now: Instant,
        digits: &str,
        duration_ms: u32,
    ) -> Result<(), BridgeError> {
        if self.format.is_none() {
            return Err(BridgeError::NoTelephoneEvent);
        }
        if let Some(invalid) = digits.chars().find(|digit| event_of(*digit).is_none()) {
            return Err(BridgeError::InvalidDigit(invalid));
        }
        // All digits are ASCII now: a byte is a digit.
        if self.waiting.len() + digits.len() > DIGITS_MAX {
            return Err(BridgeError::TooManyDigits);
        }
        let duration_ms = duration_ms.clamp(*DURATION_MS.start(), *DURATION_MS.end());
        let duration = Duration::from_millis(duration_ms.into());
        let events = digits.chars().filter_map(event_of);
        self.waiting.extend(events.map(|event| (event, duration)));
        if !self.waiting.is_empty() {
            self.due.get_or_insert(now);
        }
        Ok(())
    }

    /// Whether a digit is being sent or waits.
    pub fn is_active(&self) -> bool {
        self.due.is_some()
    }

    /// Digits whose first packet was sent.
    pub fn digits_begun(&self) -> u64 {
        self.digits_begun
    }

    /// When the next packet is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The packets that are due. `sink_timestamp` is the sink's clock at `now`.
    pub fn handle_timeout(&mut self, now: Instant, sink_timestamp: RtpTimestamp) -> EventPackets {
        let mut packets = EventPackets::new();
        let (Some(due), Some(format)) = (self.due, self.format) else {
            return packets;
        };
        if now < due {
            return packets;
        }
        if self.press.is_none() {
            let Some((event, duration)) = self.waiting.pop_front() else {
                self.due = None;
                return packets;
            };
            self.digits_begun += 1;
            self.press = Some(Press {
                event: OutgoingEvent::new(event, VOLUME, sink_timestamp),
                began: now,
                duration,
                ends_sent: 0,
            });
        }
        let Some(press) = &mut self.press else {
            return packets;
        };
        // The first packet tells the interval that follows it, as audio packets do.
        let lasted = now.saturating_duration_since(press.began) + INTERVAL;
        let end = lasted >= press.duration;
        let told_ms = lasted.min(press.duration).as_millis() as u64;
        let ticks = told_ms * event_clock_hz(format) / 1_000;
        press.event.send(ticks, end, &mut packets);
        press.ends_sent += u8::from(end);
        self.due = Some(now + INTERVAL);
        if press.ends_sent == END_PACKETS {
            let repeats = INTERVAL * u32::from(END_PACKETS - 1);
            self.due = Some(now + PAUSE.saturating_sub(repeats));
            self.press = None;
        }
        packets
    }
}
