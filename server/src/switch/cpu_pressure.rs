//! Whether the shard has CPU to spare for better Opus, judged once a second by the share of time that its media loop
//! worked. Pure; the loop tells its counter and the time.
//!
//! Scarce at once, to spare again only after a while of much less work: when the encoders go down, the load falls with
//! them, to a quarter if they are all there is, and must not bring them back up by that alone.

use std::time::{Duration, Instant};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// From this share of a second on CPU is scarce.
const BUSY_SHARE_SCARCE: f64 = 0.75;
/// Below this one, for [`PLENTY_FOR`], it is to be had again.
const BUSY_SHARE_PLENTY: f64 = 0.35;
/// How long the shard must have been that idle.
const PLENTY_FOR: Duration = Duration::from_secs(10);

/// The shard's busy share and what follows from it. Starts with CPU to spare.
#[derive(Debug, Default)]
pub(super) struct CpuPressure {
    looked: Option<Look>,
    scarce: bool,
    /// Since when the busy share has been below [`BUSY_SHARE_PLENTY`].
    plenty_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    busy_ns: u64,
}

impl CpuPressure {
    pub fn is_scarce(&self) -> bool {
        self.scarce
    }

    /// Takes the counter of busy time; does nothing until a second has passed since the last look.
    pub fn look(&mut self, now: Instant, busy_ns: u64) {
        let Some(last) = self.looked else {
            self.looked = Some(Look { at: now, busy_ns });
            return;
        };
        let passed = now.saturating_duration_since(last.at);
        if passed < LOOK_EVERY {
            return;
        }
        self.looked = Some(Look { at: now, busy_ns });
        let busy = Duration::from_nanos(busy_ns.saturating_sub(last.busy_ns));
        let share = busy.as_secs_f64() / passed.as_secs_f64();
        if share >= BUSY_SHARE_PLENTY {
            self.plenty_since = None;
            self.scarce |= share >= BUSY_SHARE_SCARCE;
            return;
        }
        let since = *self.plenty_since.get_or_insert(last.at);
        if now.saturating_duration_since(since) >= PLENTY_FOR {
            self.scarce = false;
        }
    }

    /// The media loop sleeps: nothing is encoded, and what comes next begins anew.
    pub fn rest(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard that is `percent` busy for some seconds each, looked at ten times a second; after each what is judged.
    fn judged(seconds: &[(u64, u64)]) -> Vec<bool> {
        let mut pressure = CpuPressure::default();
        let mut now = Instant::now();
        let mut busy_ns = 0;
        pressure.look(now, busy_ns);
        seconds
            .iter()
            .map(|(duration_s, percent)| {
                for _ in 0..duration_s * 10 {
                    now += Duration::from_millis(100);
                    busy_ns += percent * 1_000_000;
                    pressure.look(now, busy_ns);
                }
                pressure.is_scarce()
            })
            .collect()
    }

    #[test]
    fn scarce_at_once_and_plenty_after_a_while() {
        assert_eq!(judged(&[(60, 74)]), [false]);
        assert_eq!(judged(&[(1, 75), (60, 40)]), [true, true]);
        assert_eq!(judged(&[(1, 100), (9, 20), (1, 20)]), [true, true, false]);
    }

    /// Encoders that go down to a quarter of their cost do not come back by that.
    #[test]
    fn what_is_saved_does_not_count_as_plenty_for_a_moment() {
        assert_eq!(
            judged(&[(1, 80), (9, 20), (1, 50), (9, 20), (1, 20)]),
            [true, true, true, true, false]
        );
    }

    #[test]
    fn a_rest_begins_anew() {
        let mut pressure = CpuPressure::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        pressure.look(start, 0);
        pressure.look(start + second, 900_000_000);
        assert!(pressure.is_scarce());
        pressure.rest();
        assert!(!pressure.is_scarce());
        // The hour of sleep is no idle share, and no busy one.
        pressure.look(start + 3_600 * second, 900_000_000);
        pressure.look(start + 3_601 * second, 1_800_000_000);
        assert!(pressure.is_scarce());
    }
}
