//! Digits of the source (RFC 4733 events 0-15) on their way to the sink: re-sent packet by packet with the sink's
//! clock, and told once each.
//!
//! Markers are not needed, lost begin and end packets are made good, segments of long events (section 2.5.1.3) are
//! joined and cut again where the sink's clock needs it.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::TelephoneEventFormat;
use crate::rtp::RtpTimestamp;

/// An event whose packets cease for so long is over: three times the longest usual interval of updates, and some.
const SILENCE_MAX: Duration = Duration::from_millis(200);
/// How often an event's last packet is sent (section 2.5.1.4).
const END_PACKETS: u8 = 3;
/// The longest duration that one segment can tell, in ticks.
const SEGMENT_TICKS_MAX: u64 = 0xffff;
/// Packets that one packet can cause: seven segments of the highest ratio of clocks (6), the end of the event before
/// thrice, the end itself.
const PACKETS_MAX: usize = 12;
/// How much time a continued segment may miss or overlap, in ticks of 48 kHz.
const SEGMENT_TOLERANCE: i32 = 4_800;

/// A digit that was sent to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RelayedDigit {
    pub digit: char,
    pub duration_ms: u32,
}

/// A packet for the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RelayedPacket {
    pub marker: bool,
    pub timestamp: RtpTimestamp,
    pub payload: [u8; 4],
}

/// What an arrival or a timeout leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Relayed {
    pub packets: SmallVec<[RelayedPacket; PACKETS_MAX]>,
    pub digits: SmallVec<[RelayedDigit; 2]>,
}

#[derive(Debug)]
struct ActiveEvent {
    event: u8,
    volume: u8,
    /// The source's timestamp of the current segment.
    segment_timestamp: RtpTimestamp,
    /// Source ticks of the segments before.
    earlier_ticks: u64,
    /// Source ticks of all segments.
    total_ticks: u64,
    /// The sink's timestamp of its current segment.
    sink_timestamp: RtpTimestamp,
    /// Sink ticks of the sink's segments before.
    sink_earlier_ticks: u64,
    first_sent: bool,
    ended: bool,
    ends_sent: u8,
    last_packet_at: Instant,
}

#[derive(Debug)]
pub(super) struct EventRelay {
    source_clock_hz: u64,
    sink_clock_hz: u64,
    active: Option<ActiveEvent>,
}

impl EventRelay {
    /// A relay between two formats. Without a sink's format digits are told, and the packets of no use.
    pub fn new(source: TelephoneEventFormat, sink: Option<TelephoneEventFormat>) -> Self {
        let source_clock_hz = event_clock_hz(source);
        Self {
            source_clock_hz,
            sink_clock_hz: sink.map_or(source_clock_hz, event_clock_hz),
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
        let Some(packet) = EventPacket::parse(payload) else {
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
                volume: packet.volume,
                segment_timestamp: timestamp,
                earlier_ticks: 0,
                total_ticks: 0,
                sink_timestamp,
                sink_earlier_ticks: 0,
                first_sent: false,
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
        let total_ticks = active.earlier_ticks + u64::from(packet.duration);
        let is_news = total_ticks > active.total_ticks || !active.first_sent || packet.end;
        if active.ended {
            if packet.end && active.ends_sent < END_PACKETS {
                active.send(true, self.source_clock_hz, self.sink_clock_hz, &mut relayed);
            }
            return relayed;
        }
        if !is_news {
            return relayed;
        }
        active.total_ticks = active.total_ticks.max(total_ticks);
        active.send(packet.end, self.source_clock_hz, self.sink_clock_hz, &mut relayed);
        if packet.end {
            active.ended = true;
            relayed.digits.push(active.digit(self.source_clock_hz));
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
            active.send(true, self.source_clock_hz, self.sink_clock_hz, relayed);
        }
        relayed.digits.push(active.digit(self.source_clock_hz));
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
    fn role_of(&self, marker: bool, timestamp: RtpTimestamp, packet: EventPacket) -> Role {
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

    fn send(&mut self, end: bool, source_clock_hz: u64, sink_clock_hz: u64, relayed: &mut Relayed) {
        let sink_ticks = self.total_ticks * sink_clock_hz / source_clock_hz;
        let mut segment_ticks = sink_ticks.saturating_sub(self.sink_earlier_ticks);
        while segment_ticks > SEGMENT_TICKS_MAX {
            self.push(false, SEGMENT_TICKS_MAX, relayed);
            self.sink_earlier_ticks += SEGMENT_TICKS_MAX;
            self.sink_timestamp = self.sink_timestamp.wrapping_add(SEGMENT_TICKS_MAX as u32);
            segment_ticks -= SEGMENT_TICKS_MAX;
        }
        self.push(end, segment_ticks, relayed);
        self.ends_sent += u8::from(end);
    }

    fn push(&mut self, end: bool, segment_ticks: u64, relayed: &mut Relayed) {
        let packet = EventPacket {
            event: self.event,
            end,
            volume: self.volume,
            duration: segment_ticks.min(SEGMENT_TICKS_MAX) as u16,
        };
        relayed.packets.push(RelayedPacket {
            marker: !self.first_sent,
            timestamp: self.sink_timestamp,
            payload: packet.to_bytes(),
        });
        self.first_sent = true;
    }

    fn digit(&self, source_clock_hz: u64) -> RelayedDigit {
        let duration_ms = self.total_ticks * 1000 / source_clock_hz;
        RelayedDigit {
            digit: digit_of(self.event).unwrap_or('?'),
            duration_ms: u32::try_from(duration_ms).unwrap_or(u32::MAX),
        }
    }
}
