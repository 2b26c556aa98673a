//! Packets from digits, in the clock of one sink.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use codecs::telephone_event::{EVENT_BYTES, Event};

use super::{SEGMENT_TICKS_MAX, TelephoneEventError, event_of_digit};
use crate::rtp::RtpTimestamp;

/// Digits that wait in one sender at most.
pub const DIGITS_QUEUED_MAX: usize = 64;
/// Longest digit that we send, in ms; an open one ends by itself then.
pub const DIGIT_DURATION_MAX_MS: u32 = 10_000;
/// Shortest digit that we send, in ms: what detectors ask for (ITU-T Q.24).
pub const DIGIT_DURATION_MIN_MS: u32 = 40;
/// Time between packets of one event, in ms.
pub const EVENT_PACKET_INTERVAL_MS: u32 = 20;

/// -10 dBm0.
const VOLUME: u8 = 10;
const END_PACKETS: u8 = 3;
/// A sender polled so late does not catch up with a burst; its event takes longer instead.
const CATCH_UP_MAX: Duration = Duration::from_millis(100);

/// One packet to send: the bridge adds payload type, sequence number and source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPacket {
    /// Set on the first packet of an event.
    pub marker: bool,
    /// The event's beginning in the sink's clock; the same for all its packets.
    pub timestamp: RtpTimestamp,
    /// The telephone-event payload.
    pub payload: [u8; EVENT_BYTES],
}

/// Digits as packets in the clock of one sink: every 20 ms with growing duration, the end three times.
///
/// While [`TelephoneEventSender::is_sending`], the sink's audio gives way to the event.
#[derive(Debug)]
pub struct TelephoneEventSender {
    clock_rate_hz: u32,
    queue: VecDeque<QueuedDigit>,
    sending: Option<SendingEvent>,
    /// No event begins earlier: the gap after the one before.
    not_before: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct QueuedDigit {
    event: u8,
    /// `None`: until [`TelephoneEventSender::release`].
    duration_ms: Option<u32>,
    gap_ms: u32,
}

#[derive(Debug, Clone, Copy)]
struct SendingEvent {
    digit: QueuedDigit,
    started_at: Instant,
    next_packet_at: Instant,
    /// Of the segment under way.
    timestamp: RtpTimestamp,
    /// What the packets before told, all segments.
    told_ticks: u32,
    /// Of the segments before.
    earlier_ticks: u32,
    is_first_packet: bool,
    end_packets_left: u8,
}

impl TelephoneEventSender {
    /// A sender for a sink whose telephone-event clock has this rate.
    pub fn new(clock_rate_hz: u32) -> Self {
        Self {
            clock_rate_hz: clock_rate_hz.clamp(1000, 192_000),
            queue: VecDeque::with_capacity(DIGITS_QUEUED_MAX),
            sending: None,
            not_before: None,
        }
    }

    /// Queues digits of `duration_ms` each ([`DIGIT_DURATION_MIN_MS`] to [`DIGIT_DURATION_MAX_MS`], else the nearer of
    /// the two) with silence of `gap_ms` after each.
    ///
    /// # Errors
    /// A character that is no digit, or too many digits; nothing is queued then.
    pub fn start(
        &mut self,
        digits: &str,
        duration_ms: u32,
        gap_ms: u32,
    ) -> Result<(), TelephoneEventError> {
        let before = self.queue.len();
        for digit in digits.chars() {
            let queued = self.enqueue(digit, Some(clamp_duration(duration_ms)), gap_ms);
            if let Err(error) = queued {
                self.queue.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Queues a digit whose length is not known yet: a far end holds the key down. [`TelephoneEventSender::release`]
    /// ends it, and so does [`DIGIT_DURATION_MAX_MS`].
    ///
    /// # Errors
    /// As [`TelephoneEventSender::start`].
    pub fn press(&mut self, digit: char, gap_ms: u32) -> Result<(), TelephoneEventError> {
        self.enqueue(digit, None, gap_ms)
    }

    /// Says how long the oldest digit of [`TelephoneEventSender::press`] that has no end yet lasts: at least what was
    /// told of it already. No-op when there is none.
    pub fn release(&mut self, duration_ms: u32) {
        let sending = self.sending.iter_mut().map(|sending| &mut sending.digit);
        let mut digits = sending.chain(self.queue.iter_mut());
        if let Some(open) = digits.find(|digit| digit.duration_ms.is_none()) {
            open.duration_ms = Some(clamp_duration(duration_ms));
        }
    }

    /// The sink's telephone-event clock.
    pub fn clock_rate_hz(&self) -> u32 {
        self.clock_rate_hz
    }

    /// Is an event under way or waiting?
    pub fn is_sending(&self) -> bool {
        self.sending.is_some() || !self.queue.is_empty()
    }

    /// When [`TelephoneEventSender::poll`] has the next packet.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        match &self.sending {
            Some(sending) => Some(sending.next_packet_at),
            None if self.queue.is_empty() => None,
            None => Some(
                self.not_before
                    .map_or(now, |not_before| not_before.max(now)),
            ),
        }
    }

    /// The next packet, if it is due. `sink_timestamp` is what an audio packet sent now would bear: an event that
    /// begins takes it. Call it until it returns `None`.
    pub fn poll(&mut self, now: Instant, sink_timestamp: RtpTimestamp) -> Option<EventPacket> {
        if self.sending.is_none() {
            if self.not_before.is_some_and(|not_before| now < not_before) {
                return None;
            }
            let digit = self.queue.pop_front()?;
            self.sending = Some(SendingEvent {
                digit,
                started_at: now,
                next_packet_at: now,
                timestamp: sink_timestamp,
                told_ticks: 0,
                earlier_ticks: 0,
                is_first_packet: true,
                end_packets_left: END_PACKETS,
            });
        }
        let clock_rate_hz = self.clock_rate_hz;
        let sending = self
            .sending
            .as_mut()
            .filter(|sending| sending.next_packet_at <= now)?;
        if now.saturating_duration_since(sending.next_packet_at) > CATCH_UP_MAX {
            sending.next_packet_at = now;
        }
        let packet = sending.next_packet(clock_rate_hz);
        if sending.end_packets_left == 0 {
            let told_ms = u64::from(sending.told_ticks) * 1000 / u64::from(clock_rate_hz);
            let gap = Duration::from_millis(u64::from(sending.digit.gap_ms));
            let gap_ends = sending.started_at + Duration::from_millis(told_ms) + gap;
            // The last end packet's interval is part of the event on the wire.
            self.not_before = Some(gap_ends.max(sending.next_packet_at));
            self.sending = None;
        }
        Some(packet)
    }

    fn enqueue(
        &mut self,
        digit: char,
        duration_ms: Option<u32>,
        gap_ms: u32,
    ) -> Result<(), TelephoneEventError> {
        let event = event_of_digit(digit).ok_or(TelephoneEventError::NoDigit(digit))?;
        if self.queue.len() >= DIGITS_QUEUED_MAX {
            return Err(TelephoneEventError::QueueFull);
        }
        self.queue.push_back(QueuedDigit {
            event,
            duration_ms,
            gap_ms,
        });
        Ok(())
    }
}

impl SendingEvent {
    fn next_packet(&mut self, clock_rate_hz: u32) -> EventPacket {
        let ticks_of = |ms: u32| (u64::from(ms) * u64::from(clock_rate_hz) / 1000) as u32;
        // What was told already can't be taken back.
        let duration_ticks = ticks_of(self.digit.duration_ms.unwrap_or(DIGIT_DURATION_MAX_MS));
        let last_ticks = duration_ticks.max(self.told_ticks).max(self.earlier_ticks);
        let next_ticks = (self.told_ticks + ticks_of(EVENT_PACKET_INTERVAL_MS)).min(last_ticks);

        if next_ticks - self.earlier_ticks > SEGMENT_TICKS_MAX {
            // RFC 4733 section 2.5.1.3: the full segment is told without E, and the next one begins where it ends.
            let packet = self.packet(SEGMENT_TICKS_MAX, false);
            self.earlier_ticks += SEGMENT_TICKS_MAX;
            self.timestamp = self.timestamp.wrapping_add(SEGMENT_TICKS_MAX);
            return packet;
        }
        let ends = next_ticks == last_ticks;
        self.told_ticks = next_ticks;
        if ends {
            self.end_packets_left -= 1;
        }
        self.next_packet_at += Duration::from_millis(u64::from(EVENT_PACKET_INTERVAL_MS));
        self.packet(next_ticks - self.earlier_ticks, ends)
    }

    fn packet(&mut self, segment_ticks: u32, ends: bool) -> EventPacket {
        let event = Event {
            code: self.digit.event,
            end: ends,
            volume: VOLUME,
            // Never more: the next segment begins before.
            duration_ticks: segment_ticks.min(SEGMENT_TICKS_MAX) as u16,
        };
        EventPacket {
            marker: std::mem::take(&mut self.is_first_packet),
            timestamp: self.timestamp,
            payload: event.to_bytes(),
        }
    }
}

fn clamp_duration(duration_ms: u32) -> u32 {
    duration_ms.clamp(DIGIT_DURATION_MIN_MS, DIGIT_DURATION_MAX_MS)
}
