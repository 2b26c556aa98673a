//! The sink's clock: where on it each packet of the source lies.
//!
//! Positions are ticks of the sink's RTP clock since the direction began, extended to 64 bits, so that they compare.
//! The distance between two packets of the source stays what the source made it. A jump of the source's clock that the
//! wall clock can't explain begins a new piece of the same timeline: the sink sees time pass, never its clock jump.

use std::time::{Duration, Instant};

use crate::rtp::RtpTimestamp;

/// How far the source's clock may run ahead of the time that passed between two packets.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(2);
/// How far a packet that is not the newest may lie from it: longer than any reordering and any digit.
const STRAGGLER_DISTANCE_MAX: Duration = Duration::from_secs(30);
/// The least distance between the last packet of a source and the first of its successor.
const RESTART_DISTANCE: Duration = Duration::from_millis(20);

/// A point on the sink's clock, in its ticks since the direction began.
pub(super) type Position = i64;

/// Where a packet lies, and whether its source's clock began anew with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// In sink ticks.
    pub position: Position,
    /// The first packet of a new piece of the timeline.
    pub restarted: bool,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    /// The newest timestamp of the source.
    newest: RtpTimestamp,
    /// Source ticks from the begin of this piece to `newest`.
    source_ticks: i64,
    /// Where this piece begins.
    base: Position,
}

#[derive(Debug)]
pub(super) struct Timeline {
    source_clock_hz: u32,
    sink_clock_hz: u32,
    anchor: Option<Anchor>,
    /// The piece before, for packets of it that come after the clock has jumped.
    before: Option<Anchor>,
    /// The latest known point and when it was reached.
    latest: Option<(Position, Instant)>,
    initial_timestamp: RtpTimestamp,
}

impl Timeline {
    pub fn new(source_clock_hz: u32, sink_clock_hz: u32, initial_timestamp: RtpTimestamp) -> Self {
        Self {
            source_clock_hz: source_clock_hz.max(1),
            sink_clock_hz: sink_clock_hz.max(1),
            anchor: None,
            before: None,
            latest: None,
            initial_timestamp,
        }
    }

    /// The timeline after a renegotiation: its clocks are new, its timestamps go on from the latest packet.
    pub fn continued(&self, source_clock_hz: u32, sink_clock_hz: u32) -> Self {
        let latest = self.latest.map_or(0, |(position, _)| position);
        let mut continued = Self::new(source_clock_hz, sink_clock_hz, self.timestamp(latest));
        continued.latest = self.latest.map(|(_, at)| (0, at));
        continued
    }

    /// The sink's RTP timestamp at `position`.
    pub fn timestamp(&self, position: Position) -> RtpTimestamp {
        // RTP timestamps wrap: the low 32 bits are meant.
        self.initial_timestamp.wrapping_add(position as u32)
    }

    /// Places a packet that is newer, by its sequence number, than all before.
    pub fn place_newest(&mut self, now: Instant, timestamp: RtpTimestamp) -> Placed {
        let placed = match self.anchor {
            Some(anchor) if self.is_plausible(now, timestamp.distance_from(anchor.newest)) => {
                let anchor = Anchor {
                    newest: timestamp,
                    source_ticks: anchor.source_ticks
                        + i64::from(timestamp.distance_from(anchor.newest)),
                    base: anchor.base,
                };
                self.anchor = Some(anchor);
                Placed {
                    position: self.position_of(anchor, 0),
                    restarted: false,
                }
            }
            _ => {
                let base = self.restart_position(now);
                self.before = self.anchor;
                self.anchor = Some(Anchor {
                    newest: timestamp,
                    source_ticks: 0,
                    base,
                });
                Placed {
                    position: base,
                    restarted: true,
                }
            }
        };
        self.latest = Some((placed.position, now));
        placed
    }

    /// Places a packet that is older than the newest one, or another thing of the source's clock. None if it is of no
    /// clock that we know.
    pub fn place(&self, timestamp: RtpTimestamp) -> Option<Position> {
        let anchor = self.anchor?;
        let distance = i64::from(timestamp.distance_from(anchor.newest));
        // What lies before this piece's begin was sent before the clock jumped.
        if anchor.source_ticks + distance < 0
            && let Some(before) = self.before
        {
            let distance = i64::from(timestamp.distance_from(before.newest));
            return self.near(before, distance);
        }
        self.near(anchor, distance)
    }

    /// Where the sink's clock is at `now`, going on from the latest packet at the pace of the wall clock.
    pub fn position_at(&mut self, now: Instant) -> Position {
        let (position, at) = *self.latest.get_or_insert((0, now));
        position + ticks(now.saturating_duration_since(at), self.sink_clock_hz)
    }

    /// Whether the source's clock is known.
    pub fn is_anchored(&self) -> bool {
        self.anchor.is_some()
    }

    /// The source begins anew: its next packet may have any timestamp.
    pub fn restart_source(&mut self) {
        self.anchor = None;
    }

    fn is_plausible(&self, now: Instant, distance: i32) -> bool {
        let elapsed = self
            .latest
            .map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(at));
        let ahead_max = ticks(elapsed + CLOCK_AHEAD_MAX, self.source_clock_hz);
        distance >= 0 && i64::from(distance) <= ahead_max
    }

    fn restart_position(&mut self, now: Instant) -> Position {
        let Some((latest, _)) = self.latest else {
            return 0;
        };
        let distance = ticks(RESTART_DISTANCE, self.sink_clock_hz);
        self.position_at(now).max(latest + distance)
    }

    fn near(&self, anchor: Anchor, distance: i64) -> Option<Position> {
        let distance_max = ticks(STRAGGLER_DISTANCE_MAX, self.source_clock_hz);
        (distance.abs() <= distance_max).then(|| self.position_of(anchor, distance))
    }

    fn position_of(&self, anchor: Anchor, offset: i64) -> Position {
        let source_ticks = anchor.source_ticks + offset;
        let sink_ticks = (source_ticks * i64::from(self.sink_clock_hz))
            .div_euclid(i64::from(self.source_clock_hz));
        anchor.base + sink_ticks
    }
}

/// Ticks of a clock in a duration.
pub(super) fn ticks(duration: Duration, clock_hz: u32) -> i64 {
    /// Longer than any call: keeps the arithmetic far from its limits.
    const MICROS_MAX: u128 = 365 * 86_400 * 1_000_000;
    let micros = duration.as_micros().min(MICROS_MAX) as i64;
    micros * i64::from(clock_hz) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn distances_are_kept_across_clocks_and_wraps() {
        let mut timeline = Timeline::new(48_000, 8_000, RtpTimestamp(u32::MAX - 79));
        let start = Instant::now();
        let first = RtpTimestamp(u32::MAX - 479);
        assert_eq!(timeline.place_newest(start, first).position, 0);
        let second = timeline.place_newest(start + 20 * MS, first.wrapping_add(960));
        assert_eq!(
            second,
            Placed {
                position: 160,
                restarted: false
            }
        );
        assert_eq!(timeline.timestamp(second.position), RtpTimestamp(80));
        assert_eq!(timeline.place(first.wrapping_add(480)), Some(80));
    }

    #[test]
    fn silence_keeps_its_length_and_a_new_clock_does_not_jump() {
        let mut timeline = Timeline::new(8_000, 8_000, RtpTimestamp(0));
        let start = Instant::now();
        timeline.place_newest(start, RtpTimestamp(0));
        let after_silence = timeline.place_newest(start + 5_000 * MS, RtpTimestamp(40_000));
        assert_eq!(
            after_silence,
            Placed {
                position: 40_000,
                restarted: false
            }
        );
        let new_clock = timeline.place_newest(start + 5_020 * MS, RtpTimestamp(3_000_000_000));
        assert_eq!(
            new_clock,
            Placed {
                position: 40_160,
                restarted: true
            }
        );
        timeline.restart_source();
        let next_source = timeline.place_newest(start + 6_020 * MS, RtpTimestamp(17));
        assert_eq!(
            next_source,
            Placed {
                position: 48_160,
                restarted: true
            }
        );
    }
}
