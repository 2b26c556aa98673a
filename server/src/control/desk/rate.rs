//! A token bucket as one instant (GCRA, ITU-T I.371): so many per second, bursts up to one second's worth.

use std::time::{Duration, Instant};

/// The rate at which something was allowed lately.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    /// When the bucket would be full again; none: it is full.
    full_at: Option<Instant>,
}

impl Rate {
    /// Takes one of `per_s` per second. False, and nothing taken, when this second's worth is used up.
    pub fn take(&mut self, now: Instant, per_s: u32) -> bool {
        if per_s == 0 {
            return false;
        }
        let refill = Duration::from_secs(1) / per_s;
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        if full_at.duration_since(now) + refill > Duration::from_secs(1) {
            return false;
        }
        self.full_at = Some(full_at + refill);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: &mut Rate, now: Instant, tries: usize, per_s: u32) -> usize {
        (0..tries).filter(|_| rate.take(now, per_s)).count()
    }

    #[test]
    fn a_burst_is_one_seconds_worth_and_refills_evenly() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert_eq!(taken(&mut rate, start, 50, 20), 20);
        let later = start + Duration::from_millis(100);
        assert_eq!(taken(&mut rate, later, 50, 20), 2);
        assert_eq!(
            taken(&mut rate, start + Duration::from_secs(60), 50, 20),
            20
        );
    }

    #[test]
    fn odd_rates_give_their_whole_burst() {
        for per_s in [1, 3, 7, 999, 1_000_000] {
            let mut rate = Rate::default();
            let tries = per_s as usize + 10;
            assert_eq!(
                taken(&mut rate, Instant::now(), tries, per_s),
                per_s as usize
            );
        }
        assert_eq!(taken(&mut Rate::default(), Instant::now(), 5, 0), 0);
    }
}
