//! Digits from packets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use codecs::digit::{DigitProgress, DigitReceived};
use codecs::telephone_event::{self, EVENTS_MAX, Event};

use super::{SEGMENT_TICKS_MAX, TelephoneEventError};
use crate::rtp::{MediaPacket, RtpTimestamp, Ssrc};

/// An event of which nothing was heard for so long has ended: its end packets were lost. Updates come every 20 to
/// 50 ms.
pub const EVENT_TIMEOUT: Duration = Duration::from_millis(250);

/// A segment at least so long may be followed by another before it is full: some senders split on a packet's boundary.
const SEGMENT_TICKS_MIN: u32 = 0xf000;
/// Packets this far behind the newest event are stragglers (2 s at 48 kHz), and beyond it a clock that jumped.
const STRAGGLER_TICKS_MAX: i32 = 96_000;
/// A packet brings at most the end of an event that it does not tell of, and beginning and end of each that it does.
const OUTPUTS_MAX: usize = 1 + 2 * EVENTS_MAX;

/// Digits from packets. An event is known by its timestamp, so copies, a missing marker, lost beginnings and lost ends
/// make neither a second digit nor none.
#[derive(Debug)]
pub struct TelephoneEventReceiver {
    active: Option<ActiveEvent>,
    /// The newest event that is over or under way.
    newest: Option<(Ssrc, RtpTimestamp)>,
    outputs: VecDeque<DigitProgress>,
}

#[derive(Debug, Clone, Copy)]
struct ActiveEvent {
    digit: char,
    clock_rate_hz: u32,
    /// Of the segment under way.
    timestamp: RtpTimestamp,
    segment_ticks: u32,
    /// Of the segments before.
    earlier_ticks: u32,
    last_heard: Instant,
}

impl Default for TelephoneEventReceiver {
    fn default() -> Self {
        Self::new()
    }
}

impl TelephoneEventReceiver {
    /// A receiver that has heard nothing.
    pub fn new() -> Self {
        Self {
            active: None,
            newest: None,
            outputs: VecDeque::with_capacity(OUTPUTS_MAX),
        }
    }

    /// Reads a packet of the leg's telephone-event payload type; `clock_rate_hz` is that of its `rtpmap`. Then ask
    /// [`TelephoneEventReceiver::poll`] until it is empty.
    ///
    /// # Errors
    /// [`TelephoneEventError::Payload`]; nothing changed then.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        clock_rate_hz: u32,
    ) -> Result<(), TelephoneEventError> {
        let events = telephone_event::events(packet.payload)?;
        self.handle_timeout(now);
        for packed in events {
            let timestamp = packet.timestamp.wrapping_add(packed.offset_ticks);
            self.handle_event(now, packet.ssrc, timestamp, packed.event, clock_rate_hz);
        }
        Ok(())
    }

    fn handle_event(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        timestamp: RtpTimestamp,
        event: Event,
        clock_rate_hz: u32,
    ) {
        let Some(digit) = event.digit() else {
            return;
        };
        if self.is_straggler(ssrc, timestamp) {
            return;
        }
        let continues = self
            .active
            .filter(|active| active.continues_with(digit, timestamp));
        let mut active = match continues {
            Some(active) => active,
            None => {
                // The end of the event before was lost.
                self.end_active();
                self.output(DigitProgress::Started(digit));
                ActiveEvent {
                    digit,
                    clock_rate_hz: clock_rate_hz.max(1),
                    timestamp,
                    segment_ticks: 0,
                    earlier_ticks: 0,
                    last_heard: now,
                }
            }
        };
        if active.timestamp != timestamp {
            let segment = timestamp.distance_from(active.timestamp).unsigned_abs();
            active.earlier_ticks = active.earlier_ticks.saturating_add(segment);
            active.timestamp = timestamp;
            active.segment_ticks = 0;
        }
        let ticks = u32::from(event.duration_ticks);
        active.segment_ticks = active.segment_ticks.max(ticks);
        active.last_heard = now;
        self.newest = Some((ssrc, timestamp));
        self.active = Some(active);
        if event.end {
            self.end_active();
        }
    }

    /// When an event under way counts as ended unless more of it is heard.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.active.map(|active| active.last_heard + EVENT_TIMEOUT)
    }

    /// Ends an event of which nothing was heard for [`EVENT_TIMEOUT`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|timeout| timeout <= now) {
            self.end_active();
        }
    }

    /// What happened, oldest first.
    pub fn poll(&mut self) -> Option<DigitProgress> {
        self.outputs.pop_front()
    }

    /// Older than the newest event, or of one that is over.
    fn is_straggler(&self, ssrc: Ssrc, timestamp: RtpTimestamp) -> bool {
        let Some((_, newest)) = self.newest.filter(|(known, _)| *known == ssrc) else {
            return false;
        };
        let ahead = timestamp.distance_from(newest);
        let is_over = self.active.is_none();
        (ahead == 0 && is_over) || (-STRAGGLER_TICKS_MAX..0).contains(&ahead)
    }

    fn end_active(&mut self) {
        if let Some(active) = self.active.take() {
            let ticks = u64::from(active.earlier_ticks) + u64::from(active.segment_ticks);
            let duration_ms = ticks * 1000 / u64::from(active.clock_rate_hz);
            self.output(DigitProgress::Ended(DigitReceived {
                digit: active.digit,
                duration_ms: u32::try_from(duration_ms).unwrap_or(u32::MAX),
            }));
        }
    }

    /// A caller that polls after every packet never meets the limit; one that does not loses the oldest.
    fn output(&mut self, output: DigitProgress) {
        if self.outputs.len() == OUTPUTS_MAX {
            self.outputs.pop_front();
        }
        self.outputs.push_back(output);
    }
}

impl ActiveEvent {
    /// The same segment, or the next one of the same long event (RFC 4733 section 2.5.1.3).
    fn continues_with(&self, digit: char, timestamp: RtpTimestamp) -> bool {
        let ahead = timestamp.0.wrapping_sub(self.timestamp.0);
        let follows = ahead == SEGMENT_TICKS_MAX
            || (ahead == self.segment_ticks && ahead >= SEGMENT_TICKS_MIN);
        digit == self.digit && (ahead == 0 || follows)
    }
}
