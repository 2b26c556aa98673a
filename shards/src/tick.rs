//! The one tick of a shard: absolute deadlines, so it does not drift; ticks that were missed are skipped and counted.

use std::time::{Duration, Instant};

/// A clock that ticks on this executor.
#[derive(Debug)]
pub struct Tick {
    period: Duration,
    next: Instant,
    missed: u64,
}

impl Tick {
    /// The first tick is one `period` from now. A period of zero counts as 1 ns.
    pub fn new(period: Duration) -> Self {
        let period = period.max(Duration::from_nanos(1));
        Self {
            period,
            next: Instant::now() + period,
            missed: 0,
        }
    }

    /// Waits for the next tick and returns the time then. A tick that is due already returns at once, but lets other
    /// tasks run first when they have waited too long.
    pub async fn next(&mut self) -> Instant {
        let now = Instant::now();
        if let Some(wait) = self.next.checked_duration_since(now)
            && !wait.is_zero()
        {
            glommio::timer::sleep(wait).await;
        } else {
            glommio::yield_if_needed().await;
        }
        let now = Instant::now();
        self.advance(now);
        now
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
