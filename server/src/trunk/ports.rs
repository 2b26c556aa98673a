//! Which even RTP ports of a trunk's range belong to this shard, and which of them are free (contracts: of n shards,
//! shard i owns the even ports p with (p/2) % n == i; RTCP is on p+1 unless muxed).
//!
//! It binds nothing.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use shards::ShardIndex;

use crate::rtp::Ssrc;

/// How long a port stays closed after its call: as long as packets of a far end that has not heard of the end may come.
pub const QUARANTINE: Duration = Duration::from_secs(30);
/// How long after its release a port that had to be used again drops what the call before was sent: a far end that heard of
/// the end is silent by then. Not longer, because some far ends have one SSRC for all calls.
pub const STRAYS_FOR: Duration = Duration::from_secs(2);

/// One shard's ports of one range.
///
/// A released port is closed for [`QUARANTINE`], so that packets of the call before never enter the next one. When nothing
/// else is free the port that has been closed for the longest serves all the same: a call is refused only when every port is
/// in use. Such a call is told of the SSRC that the call before heard ([`Strays`]). A range that is larger than the calls that
/// begin in half a minute never comes to that.
#[derive(Debug, Clone)]
pub struct MediaPorts {
    /// Longest free first.
    free: VecDeque<FreePort>,
    in_use: Vec<u16>,
}

#[derive(Debug, Clone, Copy)]
struct FreePort {
    port: u16,
    /// None: it was never used.
    released: Option<Released>,
}

#[derive(Debug, Clone, Copy)]
struct Released {
    at: Instant,
    heard: Option<Ssrc>,
}

/// A port that was allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocatedPort {
    /// The port.
    pub port: u16,
    /// What may still come for the call before.
    pub strays: Option<Strays>,
}

/// Packets of the call before on the same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strays {
    /// Their source.
    pub ssrc: Ssrc,
    /// From then on they are no strays any more.
    pub until: Instant,
}

impl MediaPorts {
    /// The ports of `range` that belong to `shard` of `shards`. The RTCP port p+1 lies in the range too.
    pub fn new(range: RangeInclusive<u16>, shard: ShardIndex, shards: u16) -> Self {
        let shards = shards.max(1);
        let is_ours = |port: &u16| {
            *port != 0
                && port.is_multiple_of(2)
                && *port < *range.end()
                && (port / 2) % shards == shard.0
        };
        let free = range.clone().filter(is_ours).map(|port| FreePort {
            port,
            released: None,
        });
        Self {
            free: free.collect(),
            in_use: Vec::new(),
        }
    }

    /// The port that has been free for the longest; `None`: all are in use.
    pub fn allocate(&mut self, now: Instant) -> Option<AllocatedPort> {
        let FreePort { port, released } = self.free.pop_front()?;
        self.in_use.push(port);
        let strays = released.and_then(|released| {
            let until = released.at + STRAYS_FOR;
            let ssrc = released.heard.filter(|_| now < until)?;
            Some(Strays { ssrc, until })
        });
        Some(AllocatedPort { port, strays })
    }

    /// Gives a port back, with the source that its call heard. Ports that are not in use are passed over.
    pub fn release(&mut self, now: Instant, port: u16, heard: Option<Ssrc>) {
        if let Some(position) = self.in_use.iter().position(|used| *used == port) {
            self.in_use.swap_remove(position);
            self.free.push_back(FreePort {
                port,
                released: Some(Released { at: now, heard }),
            });
        }
    }

    /// Ports in use now.
    pub fn in_use(&self) -> usize {
        self.in_use.len()
    }

    /// Ports that could be allocated now, closed ones too.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Ports that are closed at `now`.
    pub fn closed(&self, now: Instant) -> usize {
        let is_closed =
            |released: Released| now.saturating_duration_since(released.at) < QUARANTINE;
        let closed = self.free.iter().filter_map(|free| free.released);
        closed.filter(|released| is_closed(*released)).count()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn all(ports: &mut MediaPorts) -> Vec<u16> {
        let now = Instant::now();
        std::iter::from_fn(|| ports.allocate(now))
            .map(|allocated| allocated.port)
            .collect()
    }

    #[test]
    fn a_shard_owns_its_even_ports() {
        let mut ports = MediaPorts::new(16384..=16400, ShardIndex(1), 3);
        assert_eq!(all(&mut ports), [16388, 16394]);
        let mut odd_end = MediaPorts::new(10..=13, ShardIndex(0), 1);
        assert_eq!(all(&mut odd_end), [10, 12]);
        let mut even_end = MediaPorts::new(10..=12, ShardIndex(0), 1);
        assert_eq!(all(&mut even_end), [10], "RTCP of 12 would lie outside");
        assert_eq!(
            all(&mut MediaPorts::new(65534..=65535, ShardIndex(0), 1)),
            [65534]
        );
    }

    #[test]
    fn a_released_port_comes_last_and_is_closed_meanwhile() {
        let now = Instant::now();
        let mut ports = MediaPorts::new(100..=109, ShardIndex(0), 1);
        let first = ports.allocate(now).unwrap();
        assert_eq!((first.port, first.strays), (100, None));
        ports.release(now, 100, Some(Ssrc(7)));
        assert_eq!(ports.closed(now + QUARANTINE / 2), 1);
        assert_eq!(ports.closed(now + QUARANTINE), 0);
        assert_eq!(all(&mut ports), [102, 104, 106, 108, 100]);
        assert_eq!(ports.allocate(now), None);
        assert_eq!(ports.in_use(), 5);
    }

    #[test]
    fn a_port_that_is_used_again_at_once_knows_the_strays() {
        let now = Instant::now();
        let mut ports = MediaPorts::new(100..=101, ShardIndex(0), 1);
        ports.allocate(now).unwrap();
        ports.release(now, 100, Some(Ssrc(7)));
        let again = ports.allocate(now + STRAYS_FOR / 2).unwrap();
        let strays = Strays {
            ssrc: Ssrc(7),
            until: now + STRAYS_FOR,
        };
        assert_eq!(again.strays, Some(strays));
        ports.release(now, 100, Some(Ssrc(7)));
        let late = ports.allocate(now + STRAYS_FOR).unwrap();
        assert_eq!(late.strays, None);
    }

    #[test]
    fn a_port_is_given_back_once() {
        let now = Instant::now();
        let mut ports = MediaPorts::new(100..=103, ShardIndex(0), 1);
        let port = ports.allocate(now).unwrap().port;
        assert_eq!(port, 100);
        ports.release(now, 100, None);
        ports.release(now, 100, None);
        ports.release(now, 9, None);
        assert_eq!((ports.free(), ports.in_use()), (2, 0));
    }

    proptest! {
        #[test]
        fn shards_share_no_port_and_leave_none(start in 1_u16..60_000, len in 0_u16..400, shards in 1_u16..16) {
            let range = start..=start.saturating_add(len);
            let mut owned = BTreeSet::new();
            for shard in 0..shards {
                for port in all(&mut MediaPorts::new(range.clone(), ShardIndex(shard), shards)) {
                    prop_assert!(owned.insert(port), "two shards own {}", port);
                }
            }
            let expected: BTreeSet<_> = range.clone().filter(|p| p % 2 == 0 && p < range.end()).collect();
            prop_assert_eq!(owned, expected);
        }
    }
}
