//! The clock of 20 ms: absolute deadlines, so that a late tick does not shift the next.

use std::time::{Duration, Instant};

use super::FRAME_MS;

/// The duration of a frame.
pub(super) const FRAME: Duration = Duration::from_millis(FRAME_MS as u64);

/// A clock that could not be that late would lose frames to every tick that is.
const MAX_AHEAD_MIN: Duration = Duration::from_millis(40);

/// The deadlines of one way. It keeps its phase while it rests.
#[derive(Debug)]
pub(super) struct FrameClock {
    next: Option<Instant>,
    is_running: bool,
    max_ahead: Duration,
}

impl FrameClock {
    /// A clock that rests. When it is late it catches up by `max_ahead` at most.
    pub fn new(max_ahead: Duration) -> Self {
        Self {
            next: None,
            is_running: false,
            max_ahead: max_ahead.max(MAX_AHEAD_MIN),
        }
    }

    /// The first deadline, or another one from here on.
    pub fn start(&mut self, at: Instant) {
        self.next = Some(at);
        self.is_running = true;
    }

    /// Goes on with the deadlines that it had.
    pub fn resume(&mut self) {
        self.is_running = self.next.is_some();
    }

    /// No more deadlines for now.
    pub fn rest(&mut self) {
        self.is_running = false;
    }

    /// The next deadline; none while it rests.
    pub fn deadline(&self) -> Option<Instant> {
        self.next.filter(|_| self.is_running)
    }

    /// The next deadline, whether or not it rests; none before the first start.
    pub fn phase(&self) -> Option<Instant> {
        self.next
    }

    /// The deadline that is due at `now`; goes on to the next.
    pub fn tick(&mut self, now: Instant) -> Option<Instant> {
        let due = self.deadline().filter(|due| *due <= now)?;
        self.next = Some(due + FRAME);
        Some(due)
    }

    /// Gives up what can't be caught up with: the deadlines that went by while it rested, and those that are too late.
    /// Says how many.
    pub fn skip(&mut self, now: Instant) -> u32 {
        let Some(next) = self.next else {
            return 0;
        };
        let allowed = match self.is_running {
            true => self.max_ahead,
            false => Duration::ZERO,
        };
        let late = now.saturating_duration_since(next);
        let Some(too_late) = late.checked_sub(allowed).filter(|late| !late.is_zero()) else {
            return 0;
        };
        let given_up = too_late.as_nanos().div_ceil(FRAME.as_nanos());
        let given_up = u32::try_from(given_up).unwrap_or(u32::MAX);
        self.next = Some(next + FRAME * given_up);
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn late_ticks_shift_nothing() {
        let start = Instant::now();
        let mut clock = FrameClock::new(200 * MS);
        assert_eq!(clock.tick(start), None, "it rests");
        clock.start(start);
        assert_eq!(clock.tick(start + 19 * MS), Some(start));
        assert_eq!(clock.tick(start + 19 * MS), None);
        assert_eq!(clock.deadline(), Some(start + 20 * MS));
        assert_eq!(clock.tick(start + 55 * MS), Some(start + 20 * MS));
        assert_eq!(clock.tick(start + 55 * MS), Some(start + 40 * MS));
        assert_eq!(clock.tick(start + 55 * MS), None);
    }

    #[test]
    fn what_is_too_late_is_given_up() {
        let start = Instant::now();
        let mut clock = FrameClock::new(200 * MS);
        clock.start(start);
        assert_eq!(clock.skip(start + 200 * MS), 0);
        assert_eq!(clock.skip(start + 201 * MS), 1);
        assert_eq!(clock.deadline(), Some(start + 20 * MS));
        assert_eq!(clock.skip(start + 1_220 * MS), 50);
        clock.rest();
        assert_eq!(clock.deadline(), None);
        assert_eq!(clock.skip(start + 5_015 * MS), 200, "all that went by");
        clock.resume();
        assert_eq!(clock.deadline(), Some(start + 5_020 * MS));
    }
}
