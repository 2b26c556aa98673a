//! The one tick of a shard: absolute deadlines, so it does not drift; ticks that were missed are skipped and counted.

use std::time::{Duration, Instant};

use futures_lite::future::or;
use glommio::timer::Timer;

use crate::executor::sleep;
use crate::pacemaker;

/// A clock that ticks on this executor.
#[derive(Debug)]
pub struct Tick {
    period: Duration,
    next: Instant,
    missed: u64,
    lateness: Lateness,
    /// Fires one period after the tick, should glommio oversleep the tick itself (see `executor::heartbeat`). It is put
    /// off before it fires, so it wakes nobody as long as all is well.
    backup: Timer,
}

impl Tick {
    /// The first tick is one `period` from now. A period of zero counts as 1 ns.
    ///
    /// # Panics
    /// Outside of an executor.
    pub fn new(period: Duration) -> Self {
        let period = period.max(Duration::from_nanos(1));
        Self {
            period,
            next: Instant::now() + period,
            missed: 0,
            lateness: Lateness::default(),
            backup: Timer::new(period * 2),
        }
    }

    /// Waits for the next tick and returns the time then. A tick that is due already returns at once, but lets other
    /// tasks run first when they have waited too long.
    pub async fn next(&mut self) -> Instant {
        pacemaker::set_ticking(true);
        let now = Instant::now();
        let wait = self.next.saturating_duration_since(now);
        if wait.is_zero() {
            glommio::yield_if_needed().await;
        } else {
            self.backup.reset(wait + self.period);
            let tick = async {
                sleep(wait).await;
            };
            let backup = async {
                (&mut self.backup).await;
            };
            or(tick, backup).await;
        }
        pacemaker::beat();
        let now = Instant::now();
        self.advance(now);
        now
    }

    /// No tick is awaited for now.
    pub fn pause(&mut self) {
        pacemaker::set_ticking(false);
    }

    /// Ticks after a pause begin anew: the time since the last tick counts as no missed ones.
    pub fn restart(&mut self) {
        self.next = Instant::now() + self.period;
    }

    /// How many ticks were skipped because the executor was late.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// How late ticks were since this was asked last.
    pub fn take_lateness(&mut self) -> Lateness {
        std::mem::take(&mut self.lateness)
    }

    /// Moves the deadline beyond `now`, on the same grid.
    fn advance(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.next);
        let skipped = late.as_nanos() / self.period.as_nanos();
        let skipped = u32::try_from(skipped).unwrap_or(u32::MAX);
        self.missed += u64::from(skipped);
        self.lateness.add(late, skipped, self.period);
        self.next += self.period * (skipped + 1);
    }
}

/// How late some ticks were, those that were skipped included: they came with the one that was made in their place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lateness {
    /// How many ticks were due.
    pub ticks: u64,
    /// How late they were together.
    pub sum: Duration,
}

impl Lateness {
    /// How late a tick was on average: what a packet waited beyond the tick that was due. Zero without ticks.
    pub fn mean(&self) -> Duration {
        let nanos = self.sum.as_nanos() / u128::from(self.ticks.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// A tick was `late`, `skipped` others were due before it: each a period later than the one before.
    fn add(&mut self, late: Duration, skipped: u32, period: Duration) {
        self.ticks += u64::from(skipped) + 1;
        // `late` is that of the first of them, and of each one after it a period less.
        let all_as_first = late.saturating_mul(skipped.saturating_add(1));
        let less = period.as_nanos() * u128::from(skipped) * (u128::from(skipped) + 1) / 2;
        let less = Duration::from_nanos(u64::try_from(less).unwrap_or(u64::MAX));
        self.sum = self.sum.saturating_add(all_as_first.saturating_sub(less));
    }
}

impl Drop for Tick {
    fn drop(&mut self) {
        self.pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn skipped_ticks_are_late_too() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.mean(), Duration::ZERO);
        lateness.add(MS / 2, 0, MS);
        assert_eq!(lateness.mean(), MS / 2);
        // 3.5, 2.5, 1.5 and 0.5 ms late.
        lateness.add(7 * MS / 2, 3, MS);
        assert_eq!((lateness.ticks, lateness.sum), (5, 17 * MS / 2));
        // An absurd one overflows nothing.
        lateness.add(Duration::MAX, u32::MAX, MS);
        lateness.add(Duration::MAX, 0, MS);
        assert_eq!(lateness.sum, Duration::MAX);
    }
}
