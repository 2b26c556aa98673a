//! Digits of the source (RFC 4733 events 0-15) on their way to the sink: re-sent packet by packet with the sink's
//! clock, and told once each.
//!
//! Markers are not needed, lost begin and end packets are made good, segments of long events (section 2.5.1.3) are
//! joined and cut again where the sink's clock needs it.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::TelephoneEventFormat;
use super::outgoing_event::{
    END_PACKETS, EventPackets, OutgoingEvent, SEGMENT_TICKS_MAX, digit_of, event_clock_hz,
};
use crate::rtp::RtpTimestamp;

/// An event whose packets cease for so long is over: three times the longest usual interval of updates, and some.
const SILENCE_MAX: Duration = Duration::from_millis(200);
/// By how many ticks a following segment may miss the end of the one before.
const SEGMENT_TOLERANCE: i32 = 4_800;

/// A digit that was sent to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RelayedDigit {
    pub digit: char,
    pub duration_ms: u32,
}

/// What an arrival or a timeout leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Relayed {
    pub packets: EventPackets,
    pub digits: SmallVec<[RelayedDigit; 2]>,
}

/// The payload of section 2.3.
#[derive(Debug, Clone, Copy)]
struct EventPayload {
    event: u8,
    end: bool,
    volume: u8,
    duration: u16,
}

impl EventPayload {
    fn parse(payload: &[u8]) -> Option<Self> {
        let (&[event, flags, high, low], _) = payload.split_first_chunk()?;
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }
}

#[derive(Debug)]
struct ActiveEvent {
    event: u8,
    outgoing: OutgoingEvent,
    /// The source's timestamp of the current segment.
    segment_timestamp: RtpTimestamp,
    /// Source ticks of the segments before.
    earlier_ticks: u64,
    /// Source ticks of all segments.
    total_ticks: u64,
    ended: bool,
    ends_sent: u8,
    last_packet_at: Instant,
}

/// Event clocks, neither of them 0.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    source_hz: u64,
    sink_hz: u64,
}

#[derive(Debug)]
pub(super) struct EventRelay {
    clocks: Clocks,
    active: Option<ActiveEvent>,
}

impl EventRelay {
    /// A relay between two formats. Without a sink's format digits are told, and the packets of no use.
    pub fn new(source: TelephoneEventFormat, sink: Option<TelephoneEventFormat>) -> Self {
        let source_hz = event_clock_hz(source);
        let sink_hz = sink.map_or(source_hz, event_clock_hz);
        Self {
            clocks: Clocks { source_hz, sink_hz },
            active: None,
        }
    }

    /// Whether an event goes on now: audio beside it would double it.
    pub fn is_active(&self) -> bool {
        self.active.as_ref().is_some_and(|active| !active.ended)
    }

    /// When the current event is over if nothing more of it comes.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let active = self.active.as_ref().filter(|active| !active.ended)?;
        Some(active.last_packet_at + SILENCE_MAX)
    }

    /// A packet of the source. `sink_timestamp` is where a new event would begin on the sink's clock.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        marker: bool,
        timestamp: RtpTimestamp,
        payload: &[u8],
        sink_timestamp: RtpTimestamp,
    ) -> Relayed {
        let mut relayed = Relayed::default();
        let clocks = self.clocks;
        let Some(packet) = EventPayload::parse(payload) else {
            return relayed;
        };
        let is_digit = digit_of(packet.event).is_some();
        let role = self.active.as_ref().map_or(Role::Begins, |active| {
            active.role_of(marker, timestamp, packet)
        });
        if role == Role::Stale || !is_digit {
            return relayed;
        }
        if role == Role::Begins {
            self.finish(&mut relayed);
            self.active = Some(ActiveEvent {
                event: packet.event,
                outgoing: OutgoingEvent::new(packet.event, packet.volume, sink_timestamp),
                segment_timestamp: timestamp,
                earlier_ticks: 0,
                total_ticks: 0,
                ended: false,
                ends_sent: 0,
                last_packet_at: now,
            });
        }
        let Some(active) = &mut self.active else {
            return relayed;
        };
        if role == Role::ContinuesInSegment {
            active.earlier_ticks = active.total_ticks;
            active.segment_timestamp = timestamp;
        }
        active.last_packet_at = now;
        if active.ended {
            if packet.end && active.ends_sent < END_PACKETS {
                active.send(true, clocks, &mut relayed);
            }
            return relayed;
        }
        let total_ticks = active.earlier_ticks + u64::from(packet.duration);
        let is_news = role == Role::Begins || packet.end || total_ticks > active.total_ticks;
        if !is_news {
            return relayed;
        }
        active.total_ticks = active.total_ticks.max(total_ticks);
        active.send(packet.end, clocks, &mut relayed);
        if packet.end {
            active.ended = true;
            relayed.digits.push(active.digit(clocks));
        }
        relayed
    }

    /// Ends an event whose packets ceased.
    pub fn handle_timeout(&mut self, now: Instant) -> Relayed {
        let mut relayed = Relayed::default();
        if self.poll_timeout().is_some_and(|deadline| now >= deadline) {
            self.finish(&mut relayed);
        }
        relayed
    }

    /// Ends the current event now, as if its end had come.
    pub fn finish(&mut self, relayed: &mut Relayed) {
        let Some(active) = self.active.as_mut().filter(|active| !active.ended) else {
            return;
        };
        active.ended = true;
        for _ in 0..END_PACKETS {
            active.send(true, self.clocks, relayed);
        }
        relayed.digits.push(active.digit(self.clocks));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Begins,
    Continues,
    ContinuesInSegment,
    Stale,
}

impl ActiveEvent {
    fn role_of(&self, marker: bool, timestamp: RtpTimestamp, packet: EventPayload) -> Role {
        let distance = timestamp.distance_from(self.segment_timestamp);
        if distance == 0 && packet.event == self.event {
            return Role::Continues;
        }
        if distance < 0 {
            return Role::Stale;
        }
        let segment_ticks = (self.total_ticks - self.earlier_ticks) as i32;
        let joins = !self.ended
            && !marker
            && packet.event == self.event
            && segment_ticks >= SEGMENT_TICKS_MAX as i32 / 2
            && (distance - segment_ticks).abs() <= SEGMENT_TOLERANCE;
        if joins {
            Role::ContinuesInSegment
        } else {
            Role::Begins
        }
    }

    fn send(&mut self, end: bool, clocks: Clocks, relayed: &mut Relayed) {
        let sink_ticks = self.total_ticks * clocks.sink_hz / clocks.source_hz;
        self.outgoing.send(sink_ticks, end, &mut relayed.packets);
        self.ends_sent += u8::from(end);
    }

    fn digit(&self, clocks: Clocks) -> RelayedDigit {
        let duration_ms = self.total_ticks * 1_000 / clocks.source_hz;
        RelayedDigit {
            // Only digits become active.
            digit: digit_of(self.event).unwrap_or('?'),
            duration_ms: u32::try_from(duration_ms).unwrap_or(u32::MAX),
        }
    }
}
