//! How often which delay: buckets of 10 us below 1 ms, of 100 us below 10 ms, of 1 ms below 1 s, and one for all above.
//!
//! Only as long as its highest bucket in use, so that a histogram for each second of a long run stays small.

use std::time::Duration;

use crate::load::report::Bucket;

const FINE_NS: u64 = 10_000;
const MIDDLE_NS: u64 = 100_000;
const COARSE_NS: u64 = 1_000_000;
/// Where the buckets of 100 us, of 1 ms, and the last one begin.
const MIDDLE_FROM: usize = 100;
const COARSE_FROM: usize = MIDDLE_FROM + 90;
const BUCKETS_MAX: usize = COARSE_FROM + 990 + 1;

/// A distribution of delays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DelayHistogram {
    counts: Vec<u64>,
    total: u64,
}

impl DelayHistogram {
    /// Counts one delay.
    pub fn record(&mut self, delay: Duration) {
        self.record_ns(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), 1);
    }

    /// Counts a delay `times` times.
    pub(super) fn record_ns(&mut self, delay_ns: u64, times: u64) {
        let bucket = bucket_of(delay_ns);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += times;
            self.total += times;
        }
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// Delays counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Is nothing counted?
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The delay in ms that the share `quantile` (0 to 1) of all did not pass: the upper end of its bucket, so never
    /// too good. Infinite above 1 s; none without any.
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let wanted = ((self.total as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut passed = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            passed += count;
            if passed >= wanted {
                return Some(upper_ms(bucket));
            }
        }
        None
    }

    /// The buckets that hold something, for a picture; delays above 1 s stand at 1001 ms.
    pub fn buckets(&self) -> Vec<Bucket> {
        let used = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        used.map(|(bucket, count)| Bucket {
            up_to: upper_ms(bucket).min(1001.0),
            count: *count,
        })
        .collect()
    }
}

fn bucket_of(delay_ns: u64) -> usize {
    let (from, first_ns, width_ns) = match delay_ns {
        ..1_000_000 => (0, 0, FINE_NS),
        1_000_000..10_000_000 => (MIDDLE_FROM, 1_000_000, MIDDLE_NS),
        10_000_000..1_000_000_000 => (COARSE_FROM, 10_000_000, COARSE_NS),
        _ => return BUCKETS_MAX - 1,
    };
    from + ((delay_ns - first_ns) / width_ns) as usize
}

fn upper_ms(bucket: usize) -> f64 {
    let steps = bucket as f64 + 1.0;
    match bucket {
        0..MIDDLE_FROM => steps * 0.01,
        MIDDLE_FROM..COARSE_FROM => 1.0 + (steps - MIDDLE_FROM as f64) * 0.1,
        _ if bucket < BUCKETS_MAX - 1 => 10.0 + (steps - COARSE_FROM as f64),
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_us(delays_us: &[u64]) -> DelayHistogram {
        let mut histogram = DelayHistogram::default();
        for delay_us in delays_us {
            histogram.record(Duration::from_micros(*delay_us));
        }
        histogram
    }

    #[test]
    fn a_delay_stands_in_the_bucket_that_ends_above_it() {
        for (delay_us, upper_ms) in [
            (0, 0.01),
            (9, 0.01),
            (10, 0.02),
            (999, 1.0),
            (1_000, 1.1),
            (9_999, 10.0),
            (10_000, 11.0),
            (999_999, 1_000.0),
            (1_000_000, f64::INFINITY),
        ] {
            let found = of_us(&[delay_us]).quantile_ms(0.5).unwrap_or_default();
            let same = found == upper_ms || (found - upper_ms).abs() < 1e-9;
            assert!(same, "{delay_us} us: {found} instead of {upper_ms}");
        }
    }

    #[test]
    fn quantiles_are_of_all_that_was_merged() {
        let mut all = of_us(&[100; 98]);
        assert_eq!(DelayHistogram::default().quantile_ms(0.5), None);
        all.merge(&of_us(&[5_000, 700_000]));
        assert_eq!(all.count(), 100);
        let near = |quantile, ms: f64| {
            let found = all.quantile_ms(quantile).unwrap_or_default();
            assert!((found - ms).abs() < 1e-9, "{quantile}: {found}");
        };
        near(0.5, 0.11);
        near(0.99, 5.1);
        near(1.0, 701.0);
        assert_eq!(all.buckets().len(), 3);
    }
}
