//! What a far end loses of late, out of the fractions of its report blocks (RFC 3550 section 6.4.1).

use std::time::{Duration, Instant};

/// A fraction from so long ago has lost two thirds of its weight.
const TIME_CONSTANT: Duration = Duration::from_secs(4);
/// Reports come every 5 s; after so long without one nothing is known any more.
const STALE_AFTER: Duration = Duration::from_secs(20);
/// The share of time that the first report stands for.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// An average of reported losses that weighs each report by the time it stands for.
#[derive(Debug, Clone, Copy, Default)]
pub struct LossEstimate {
    last: Option<(Instant, f64)>,
}

impl LossEstimate {
    /// Takes the loss since the report before, 0..=1.
    pub fn handle_report(&mut self, now: Instant, fraction: f64) {
        let (interval, before) = match self.last {
            Some((at, before)) => (now.saturating_duration_since(at), before),
            None => (FIRST_INTERVAL, 0.0),
        };
        let weight = 1.0 - (-interval.as_secs_f64() / TIME_CONSTANT.as_secs_f64()).exp();
        self.last = Some((now, before + weight * (fraction - before)));
    }

    /// The average, 0..=1; 0 without a report in the last 20 s.
    pub fn fraction(&self, now: Instant) -> f64 {
        let fresh = self
            .last
            .filter(|(at, _)| now.saturating_duration_since(*at) < STALE_AFTER);
        fresh.map_or(0.0, |(_, fraction)| fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports of 10 s without, 10 s with 5 % and 30 s without loss; when the estimate was above 2 %, below 1 % again.
    fn seconds_until(report_every_s: u64) -> (u64, u64) {
        let start = Instant::now();
        let mut estimate = LossEstimate::default();
        let (mut seen, mut gone) = (None, None);
        for second in 1..=50 {
            let now = start + Duration::from_secs(second);
            if second % report_every_s == 0 {
                let lossy = (11..=20).contains(&second);
                estimate.handle_report(now, if lossy { 0.05 } else { 0.0 });
            }
            if estimate.fraction(now) >= 0.02 {
                seen.get_or_insert(second - 10);
            }
            if seen.is_some() && second > 20 && estimate.fraction(now) < 0.01 {
                gone.get_or_insert(second - 20);
            }
        }
        (seen.unwrap_or(u64::MAX), gone.unwrap_or(u64::MAX))
    }

    #[test]
    fn it_follows_within_one_report_of_5_s_or_a_few_of_1_s() {
        assert_eq!(seconds_until(5), (5, 10));
        let (seen, gone) = seconds_until(1);
        assert!(seen <= 3 && gone <= 8, "{seen}, {gone}");
    }

    #[test]
    fn old_news_is_no_news() {
        let start = Instant::now();
        let mut estimate = LossEstimate::default();
        assert_eq!(estimate.fraction(start), 0.0);
        estimate.handle_report(start, 1.0);
        assert!(estimate.fraction(start) > 0.1);
        assert_eq!(estimate.fraction(start + STALE_AFTER), 0.0);
    }
}
