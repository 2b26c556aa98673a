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

    /// Moves the deadline beyond `now`, on the same grid.
    fn advance(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.next);
        let skipped = late.as_nanos() / self.period.as_nanos();
        let skipped = u32::try_from(skipped).unwrap_or(u32::MAX);
        self.missed += u64::from(skipped);
        self.next += self.period * (skipped + 1);
    }
}

impl Drop for Tick {
    fn drop(&mut self) {
        self.pause();
    }
}
