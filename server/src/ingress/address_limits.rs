//! How many connections one address may open and hold on this shard. Pure: the clock is passed in.
//!
//! Per shard on purpose: the kernel spreads one address over the shards, so the whole gateway takes up to n times as
//! many (contracts section 2). IPv6 is counted by /64, because that is what one host is given.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::metrics::ConnectionRefusal;

/// Addresses remembered at once. When it is full and nothing can be forgotten, new addresses are refused.
const ADDRESSES_MAX: usize = 65_536;
/// A address without connections is forgotten after so long.
const FORGET_AFTER: Duration = Duration::from_secs(2);

/// The limits and who holds what.
#[derive(Debug)]
pub struct AddressLimits {
    open_max: usize,
    per_s: u32,
    addresses: HashMap<IpAddr, Held>,
}

#[derive(Debug)]
struct Held {
    open: usize,
    tokens: f64,
    refilled_at: Instant,
}

impl AddressLimits {
    /// `open_max` connections at once and `per_s` new ones a second (bursts up to one second's worth).
    pub fn new(open_max: usize, per_s: u32) -> Self {
        Self {
            open_max,
            per_s,
            addresses: HashMap::new(),
        }
    }

    /// Takes a place for a new connection of `address`; pairs with [`AddressLimits::close`].
    ///
    /// # Errors
    /// The reason to count when there is no place.
    pub fn open(&mut self, now: Instant, address: IpAddr) -> Result<(), ConnectionRefusal> {
        let key = host(address);
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&key) {
            self.addresses
                .retain(|_, held| held.open > 0 || now < held.refilled_at + FORGET_AFTER);
            if self.addresses.len() >= ADDRESSES_MAX {
                return Err(ConnectionRefusal::Address);
            }
        }
        let burst = f64::from(self.per_s);
        let held = self.addresses.entry(key).or_insert(Held {
            open: 0,
            tokens: burst,
            refilled_at: now,
        });
        let elapsed = now.saturating_duration_since(held.refilled_at);
        held.tokens = (held.tokens + elapsed.as_secs_f64() * burst).min(burst);
        held.refilled_at = now;
        if held.open >= self.open_max {
            return Err(ConnectionRefusal::Address);
        }
        if held.tokens < 1.0 {
            return Err(ConnectionRefusal::AddressRate);
        }
        held.tokens -= 1.0;
        held.open += 1;
        Ok(())
    }

    /// Gives a place back.
    pub fn close(&mut self, address: IpAddr) {
        if let Some(held) = self.addresses.get_mut(&host(address)) {
            debug_assert!(held.open > 0, "close without open");
            held.open = held.open.saturating_sub(1);
        }
    }
}

fn host(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_number_and_the_rate() {
        let start = Instant::now();
        let address: IpAddr = [192, 0, 2, 1].into();
        let mut limits = AddressLimits::new(3, 2);
        assert_eq!(limits.open(start, address), Ok(()));
        assert_eq!(limits.open(start, address), Ok(()));
        assert_eq!(
            limits.open(start, address),
            Err(ConnectionRefusal::AddressRate)
        );
        let later = start + Duration::from_secs(1);
        assert_eq!(limits.open(later, address), Ok(()));
        assert_eq!(limits.open(later, address), Err(ConnectionRefusal::Address));
        limits.close(address);
        assert_eq!(limits.open(later, address), Ok(()));
        assert_eq!(
            limits.open(later, [192, 0, 2, 2].into()),
            Ok(()),
            "another address has its own"
        );
    }

    #[test]
    fn one_ipv6_host_is_a_64() {
        let start = Instant::now();
        let mut limits = AddressLimits::new(1, 100);
        let one: IpAddr = "2001:db8::1"
            .parse()
            .unwrap_or(IpAddr::V6(Ipv6Addr::LOCALHOST));
        let two: IpAddr = "2001:db8::ffff"
            .parse()
            .unwrap_or(IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!(limits.open(start, one), Ok(()));
        assert_eq!(limits.open(start, two), Err(ConnectionRefusal::Address));
    }
}
