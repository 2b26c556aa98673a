//! Which even RTP ports of a trunk's range belong to this shard, and which of them are free (contracts: of n shards,
//! shard i owns the even ports p with (p/2) % n == i; RTCP is on p+1 unless muxed).
//!
//! It binds nothing.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use shards::ShardIndex;

/// One shard's ports of one range. A port that was released comes last again, so that stray packets of the call before
/// have as long as possible to die out.
#[derive(Debug, Clone)]
pub struct MediaPorts {
    free: VecDeque<u16>,
    in_use: Vec<u16>,
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
        Self {
            free: range.clone().filter(is_ours).collect(),
            in_use: Vec::new(),
        }
    }

    /// The port that has been free for the longest; `None`: exhausted.
    pub fn allocate(&mut self) -> Option<u16> {
        let port = self.free.pop_front()?;
        self.in_use.push(port);
        Some(port)
    }

    /// Gives a port back. Ports that are not in use are passed over.
    pub fn release(&mut self, port: u16) {
        if let Some(position) = self.in_use.iter().position(|used| *used == port) {
            self.in_use.swap_remove(position);
            self.free.push_back(port);
        }
    }

    /// Ports in use now.
    pub fn in_use(&self) -> usize {
        self.in_use.len()
    }

    /// Ports that could be allocated now.
    pub fn free(&self) -> usize {
        self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn all(ports: &mut MediaPorts) -> Vec<u16> {
        std::iter::from_fn(|| ports.allocate()).collect()
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
    fn a_released_port_comes_last() {
        let mut ports = MediaPorts::new(100..=109, ShardIndex(0), 1);
        assert_eq!(ports.allocate(), Some(100));
        ports.release(100);
        assert_eq!(all(&mut ports), [102, 104, 106, 108, 100]);
        assert_eq!(ports.allocate(), None);
        assert_eq!(ports.in_use(), 5);
    }

    #[test]
    fn a_port_is_given_back_once() {
        let mut ports = MediaPorts::new(100..=103, ShardIndex(0), 1);
        let port = ports.allocate();
        assert_eq!(port, Some(100));
        ports.release(100);
        ports.release(100);
        ports.release(9);
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
