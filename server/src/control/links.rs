//! The rings between the control thread and its shards, with an overflow queue each, so that no answer is lost.
//!
//! A message that the ring to a shard has no room for waits here in order. While much waits, nothing more is read from
//! that shard: its own ring fills, and it refuses calls until it has read its answers. The wait is therefore bounded by
//! what one shard asked before, plus one message to end each of its calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shards::ShardIndex;
use shards::ring::{Consumer, Full, Producer};

use super::desk::LIVE_CALLS_MAX;
use crate::call::rings::{ToControl, ToShard};
use crate::metrics::{Gauge, ShardMetrics};

/// As many waiting messages keep the control thread from reading more of that shard.
pub const OVERFLOW_HIGH_WATER: usize = 1024;
/// Messages that wait for room in the ring to one shard; beyond, they are lost, counted and logged.
pub const OVERFLOW_MAX: usize = OVERFLOW_HIGH_WATER + 2 * LIVE_CALLS_MAX;
/// Messages that are taken from one shard before the next has its turn.
pub const RING_BATCH_MAX: usize = 256;

/// The control thread's ends of one shard's rings.
#[derive(Debug)]
pub struct ShardLink {
    /// What the shard counts.
    pub metrics: Arc<ShardMetrics>,
    /// Towards the shard; rings its doorbell.
    pub to_shard: Producer<ToShard>,
    /// From the shard; polled.
    pub from_shard: Consumer<ToControl>,
    /// Set when the shard's thread has ended, however it did: a task that leaks in a panic may keep the rings open.
    pub exited: Arc<AtomicBool>,
}

/// What the control thread counts about the way to one shard.
#[derive(Debug, Default)]
pub struct LinkMetrics {
    /// Messages that wait for room in the ring.
    pub waiting: Gauge,
    /// How often the ring had no room.
    pub ring_full: Gauge,
    /// Messages that were lost because too many waited.
    pub lost: Gauge,
}

/// All shards' links, by index.
#[derive(Debug)]
pub(super) struct ShardLinks {
    links: Vec<Link>,
}

#[derive(Debug)]
struct Link {
    ends: ShardLink,
    overflow: VecDeque<ToShard>,
    metrics: Arc<LinkMetrics>,
    gone: bool,
}

/// How a turn of reading one shard's ring ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// The ring is empty.
    All,
    /// A full batch; more may wait in the ring.
    Part,
    /// Nothing was read: too many answers wait for room.
    HeldBack,
    /// The ring is empty and the shard is gone; said once.
    LastOfAll,
}

impl ShardLinks {
    /// The link at position i is that of shard i.
    pub(super) fn new(links: Vec<ShardLink>) -> Self {
        let links = links
            .into_iter()
            .map(|ends| Link {
                ends,
                overflow: VecDeque::new(),
                metrics: Arc::default(),
                gone: false,
            })
            .collect();
        Self { links }
    }

    /// The shards, gone or not.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardIndex> + use<> {
        // Start-up makes at most 65 536 shards: an index is 16 bits wide.
        (0..self.links.len() as u16).map(ShardIndex)
    }

    /// What is counted per shard, on both sides of its rings.
    pub(super) fn metrics(&self) -> Vec<(Arc<ShardMetrics>, Arc<LinkMetrics>)> {
        self.links
            .iter()
            .map(|link| (Arc::clone(&link.ends.metrics), Arc::clone(&link.metrics)))
            .collect()
    }

    /// Takes a batch of messages of one shard.
    pub(super) fn receive(
        &mut self,
        shard: ShardIndex,
        mut handle: impl FnMut(ToControl),
    ) -> Received {
        let Some(link) = self.links.get_mut(usize::from(shard.0)) else {
            return Received::All;
        };
        if link.gone {
            return Received::All;
        }
        // Asked before the last message is taken: what a shard sent before it ended is never missed.
        let ended = link.ends.exited.load(Ordering::Acquire) || link.ends.from_shard.is_abandoned();
        let depth = link.ends.from_shard.depth() as u64;
        link.ends.metrics.control_ring_depth.set(depth);
        if !ended && link.overflow.len() >= OVERFLOW_HIGH_WATER {
            return Received::HeldBack;
        }
        for _ in 0..RING_BATCH_MAX {
            match link.ends.from_shard.pop() {
                Some(message) => handle(message),
                None if ended => {
                    link.gone = true;
                    link.overflow.clear();
                    link.metrics.waiting.set(0);
                    link.ends.metrics.control_ring_depth.set(0);
                    return Received::LastOfAll;
                }
                None => return Received::All,
            }
        }
        Received::Part
    }

    /// Sends a message after those that wait already. One to a shard that is gone is dropped.
    pub(super) fn send(&mut self, shard: ShardIndex, message: ToShard) {
        let Some(link) = self.links.get_mut(usize::from(shard.0)) else {
            tracing::error!(shard = shard.0, "a message to a shard that does not exist");
            return;
        };
        if link.gone {
            return;
        }
        if link.overflow.len() >= OVERFLOW_MAX {
            link.metrics.lost.increment();
            tracing::error!(
                shard = shard.0,
                "a message is lost: the shard does not read its ring"
            );
            return;
        }
        link.overflow.push_back(message);
        link.flush();
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        for link in &mut self.links {
            link.flush();
        }
    }

    /// Shards that are not gone.
    pub(super) fn running(&self) -> usize {
        self.links.iter().filter(|link| !link.gone).count()
    }

    /// Open signalling sessions on the shards that are not gone.
    pub(super) fn sessions(&self) -> u64 {
        self.links
            .iter()
            .filter(|link| !link.gone)
            .map(|link| link.ends.metrics.sessions.value())
            .sum()
    }
}

impl Link {
    fn flush(&mut self) {
        while let Some(message) = self.overflow.pop_front() {
            if let Err(Full(message)) = self.ends.to_shard.push(message) {
                self.overflow.push_front(message);
                break;
            }
        }
        self.metrics.waiting.set(self.overflow.len() as u64);
        self.metrics.ring_full.set(self.ends.to_shard.full_total());
    }
}

#[cfg(test)]
mod tests;
