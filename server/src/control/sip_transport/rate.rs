//! How many messages an unknown address may send: a token bucket for each, in a table of bounded size.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Messages a second that an address may send for ever.
const MESSAGES_PER_S: f64 = 200.0;
/// Messages that it may send at once.
const BURST_MAX: f64 = 400.0;
/// Addresses that are counted at once. Beyond it new ones are refused: those of trunks are not counted.
const ADDRESSES_MAX: usize = 4096;
/// Between two looks for addresses that may be forgotten.
const SWEEP_PERIOD: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct RateLimiter {
    buckets: HashMap<IpAddr, Bucket>,
    swept_at: Option<Instant>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimiter {
    /// Takes one message of `ip`, if it may send one.
    pub(super) fn admits(&mut self, ip: IpAddr, now: Instant) -> bool {
        let network = network(ip);
        if !self.buckets.contains_key(&network) && self.buckets.len() >= ADDRESSES_MAX {
            self.sweep(now);
            if self.buckets.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let bucket = self.buckets.entry(network).or_insert(Bucket {
            tokens: BURST_MAX,
            at: now,
        });
        bucket.tokens = bucket.tokens_at(now);
        bucket.at = now;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }

    /// Forgets the addresses that have their whole burst again.
    fn sweep(&mut self, now: Instant) {
        let due = self
            .swept_at
            .is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_PERIOD);
        if due {
            self.swept_at = Some(now);
            self.buckets
                .retain(|_, bucket| bucket.tokens_at(now) < BURST_MAX);
        }
    }
}

impl Bucket {
    fn tokens_at(&self, now: Instant) -> f64 {
        let elapsed_s = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + elapsed_s * MESSAGES_PER_S).min(BURST_MAX)
    }
}

/// Who has one IPv6 address has the other 2^64 of its network too.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut limiter = RateLimiter::default();
        let start = Instant::now();
        let ip = IpAddr::from([192, 0, 2, 1]);
        let admitted = (0..1000).filter(|_| limiter.admits(ip, start)).count();
        assert_eq!(admitted, 400);
        assert!(limiter.admits(IpAddr::from([192, 0, 2, 2]), start));
        let later = start + Duration::from_millis(500);
        let admitted = (0..1000).filter(|_| limiter.admits(ip, later)).count();
        assert_eq!(admitted, 100);
    }

    #[test]
    fn networks_of_ipv6_are_counted_as_one() {
        let mut limiter = RateLimiter::default();
        let start = Instant::now();
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, last]);
        let admitted = (0..1000)
            .filter(|last| limiter.admits(address(*last), start))
            .count();
        assert_eq!(admitted, 400);
    }

    #[test]
    fn the_table_is_bounded_and_empties_by_itself() {
        let mut limiter = RateLimiter::default();
        let start = Instant::now();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let admitted = (0..10_000)
            .filter(|n| limiter.admits(address(*n), start))
            .count();
        assert_eq!((admitted, limiter.buckets.len()), (4096, 4096));
        assert!(limiter.admits(address(0), start), "who is known stays");
        let later = start + Duration::from_secs(1);
        assert!(limiter.admits(address(20_000), later));
        assert_eq!(limiter.buckets.len(), 1);
    }
}
