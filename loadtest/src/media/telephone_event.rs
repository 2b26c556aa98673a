//! Digits as RFC 4733 telephone-events: the packets that a sender makes, and what a receiver got, packet by packet, so that
//! a test can look at clock, marker and end packets.

use codecs::telephone_event::{self, EVENT_BYTES, Event, event_of_digit};
use thiserror::Error;

use super::recording::ReceivedPacket;

/// How often the last packet of an event is sent (RFC 4733 section 2.5.1.4).
const END_PACKETS: u32 = 3;
/// Volume of the tone: -10 dBm0.
const VOLUME: u8 = 10;

/// What is no digit, or can't be sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TelephoneEventError {
    /// A character other than 0-9 * # A-D.
    #[error("{0:?} is no digit; digits are 0-9 * # A-D")]
    NoDigit(char),
    /// No telephone-event was negotiated.
    #[error("the other side took no telephone-event")]
    NotNegotiated,
}

/// One digit as it is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigitPlan {
    event: u8,
    duration_ms: u32,
    marker: bool,
}

impl DigitPlan {
    /// `digit` for `duration_ms`, rounded up to 20 ms; `marker` is the bit on the first packet, which some senders forget.
    ///
    /// # Errors
    /// [`TelephoneEventError::NoDigit`].
    pub fn new(digit: char, duration_ms: u32, marker: bool) -> Result<Self, TelephoneEventError> {
        let event = event_of_digit(digit).ok_or(TelephoneEventError::NoDigit(digit))?;
        Ok(Self {
            event,
            duration_ms: duration_ms.max(1),
            marker,
        })
    }

    /// How many packets it takes: one each 20 ms, and the last one three times.
    pub(super) fn packets(&self) -> u32 {
        self.duration_ms.div_ceil(super::PACKET_MS) + END_PACKETS - 1
    }

    /// Payload and marker of packet `number`, from 0.
    pub(super) fn packet(&self, number: u32, clock_rate_hz: u32) -> ([u8; EVENT_BYTES], bool) {
        let updates = self.duration_ms.div_ceil(super::PACKET_MS);
        let end = number + 1 >= updates;
        let elapsed_ms = (number + 1).min(updates) * super::PACKET_MS;
        let event = Event {
            code: self.event,
            end,
            volume: VOLUME,
            duration_ticks: (clock_rate_hz / 1000 * elapsed_ms).min(0xffff) as u16,
        };
        (event.to_bytes(), self.marker && number == 0)
    }
}

/// One event as it was received: its packets put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// 0-9 * # A-D, or `?` for an event that is no digit.
    pub digit: char,
    /// When it began: the timestamp of its packets, in the event's clock.
    pub timestamp: u32,
    /// The longest duration that was told, in the event's clock.
    pub duration: u16,
    /// Packets received.
    pub packets: usize,
    /// Those of them with the end bit.
    pub end_packets: usize,
    /// Was the marker bit on the first packet?
    pub marker: bool,
}

/// Puts the packets of a telephone-event stream together: one event per source, event code and beginning, in the order of
/// their first packets. Payloads that can't be read are passed over.
pub fn telephone_events(packets: &[ReceivedPacket]) -> Vec<TelephoneEvent> {
    let mut events: Vec<(u32, TelephoneEvent)> = Vec::new();
    for packet in packets {
        for packed in telephone_event::events(&packet.payload)
            .into_iter()
            .flatten()
        {
            let heard = packed.event;
            let digit = heard.digit().unwrap_or('?');
            let timestamp = packet.timestamp.wrapping_add(packed.offset_ticks);
            let known = events.iter_mut().find(|(ssrc, event)| {
                *ssrc == packet.ssrc && event.digit == digit && event.timestamp == timestamp
            });
            match known {
                Some((_, event)) => {
                    event.duration = event.duration.max(heard.duration_ticks);
                    event.packets += 1;
                    event.end_packets += usize::from(heard.end);
                }
                None => events.push((
                    packet.ssrc,
                    TelephoneEvent {
                        digit,
                        timestamp,
                        duration: heard.duration_ticks,
                        packets: 1,
                        end_packets: usize::from(heard.end),
                        marker: packet.marker,
                    },
                )),
            }
        }
    }
    events.into_iter().map(|(_, event)| event).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_digit_is_one_event_with_three_end_packets() {
        let plan = DigitPlan::new('#', 100, true).unwrap();
        let packets: Vec<_> = (0..plan.packets())
            .map(|number| {
                let (payload, marker) = plan.packet(number, 8_000);
                ReceivedPacket {
                    arrival: Instant::now(),
                    ssrc: 7,
                    sequence_number: number as u16,
                    timestamp: 1_000,
                    payload_type: 101,
                    marker,
                    payload: payload.to_vec(),
                }
            })
            .collect();
        assert_eq!(packets.len(), 7);
        assert_eq!(
            telephone_events(&packets),
            [TelephoneEvent {
                digit: '#',
                timestamp: 1_000,
                duration: 800,
                packets: 7,
                end_packets: 3,
                marker: true
            }]
        );
    }

    #[test]
    fn what_is_no_digit_is_refused() {
        assert_eq!(
            DigitPlan::new('x', 100, true),
            Err(TelephoneEventError::NoDigit('x'))
        );
        assert!(DigitPlan::new('d', 100, true).is_ok());
    }
}
