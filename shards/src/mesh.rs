//! A ring from every shard to every shard, to hand connections to their owner.

use std::sync::Arc;

use crate::ShardIndex;
use crate::doorbell::Doorbell;
use crate::ring::{Consumer, Full, Producer, ring};

/// One shard's end: a sender to every shard and a receiver from every shard, itself included.
#[derive(Debug)]
pub struct MeshEnd<T> {
    shard: ShardIndex,
    to: Vec<Producer<T>>,
    from: Vec<Consumer<T>>,
    /// Where the next [`MeshEnd::receive`] begins, so that no sender starves another.
    next: usize,
}

/// The ends for as many shards as there are doorbells, in their order; every ring has `slots` slots and rings the
/// doorbell of its receiver.
pub fn mesh<T: Send>(doorbells: &[Arc<Doorbell>], slots: usize) -> Vec<MeshEnd<T>> {
    let mut ends: Vec<MeshEnd<T>> = (0..doorbells.len())
        .map(|index| MeshEnd {
            shard: ShardIndex(u16::try_from(index).unwrap_or(u16::MAX)),
            to: Vec::with_capacity(doorbells.len()),
            from: Vec::with_capacity(doorbells.len()),
            next: 0,
        })
        .collect();
    for (receiver, doorbell) in doorbells.iter().enumerate() {
        for sender in 0..doorbells.len() {
            let (producer, consumer) = ring(slots, Some(doorbell.clone()));
            ends[sender].to.push(producer);
            ends[receiver].from.push(consumer);
        }
    }
    ends
}

impl<T: Send> MeshEnd<T> {
    /// Which shard this end belongs to.
    pub fn shard(&self) -> ShardIndex {
        self.shard
    }

    /// Sends `value` to shard `to` and wakes it. What a shard sends to itself it receives as well.
    ///
    /// # Errors
    /// The ring to it is full, the shard has ended, or there is no such shard; the value comes back.
    pub fn send(&mut self, to: ShardIndex, value: T) -> Result<(), Full<T>> {
        match self.to.get_mut(usize::from(to.0)) {
            Some(producer) if !producer.is_abandoned() => producer.push(value),
            _ => Err(Full(value)),
        }
    }

    /// The next value and who sent it; senders take turns.
    pub fn receive(&mut self) -> Option<(ShardIndex, T)> {
        let shards = self.from.len();
        for step in 0..shards {
            let sender = (self.next + step) % shards;
            if let Some(value) = self.from[sender].pop() {
                self.next = (sender + 1) % shards;
                return Some((ShardIndex(u16::try_from(sender).unwrap_or(u16::MAX)), value));
            }
        }
        None
    }

    /// How many values wait in the ring to shard `to`.
    pub fn depth(&self, to: ShardIndex) -> usize {
        self.to.get(usize::from(to.0)).map_or(0, Producer::depth)
    }

    /// How many values found their ring full.
    pub fn full_total(&self) -> u64 {
        self.to.iter().map(Producer::full_total).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn values_arrive_with_their_sender_and_senders_take_turns() {
        let doorbells: Vec<_> = (0..3).map(|_| Doorbell::new().unwrap()).collect();
        let mut ends = mesh::<&str>(&doorbells, 2);
        let (mut two, mut one, mut zero) = (
            ends.pop().unwrap(),
            ends.pop().unwrap(),
            ends.pop().unwrap(),
        );
        zero.send(ShardIndex(2), "0a").unwrap();
        zero.send(ShardIndex(2), "0b").unwrap();
        assert_eq!(zero.send(ShardIndex(2), "0c"), Err(Full("0c")));
        one.send(ShardIndex(2), "1a").unwrap();
        two.send(ShardIndex(2), "2a").unwrap();
        assert_eq!(zero.depth(ShardIndex(2)), 2);
        assert_eq!(zero.full_total(), 1);
        let received: Vec<_> = std::iter::from_fn(|| two.receive()).collect();
        let expected = [(0, "0a"), (1, "1a"), (2, "2a"), (0, "0b")];
        assert_eq!(
            received,
            expected.map(|(sender, value)| (ShardIndex(sender), value))
        );
    }

    #[test]
    fn an_unknown_or_ended_shard_gives_the_value_back() {
        let doorbells: Vec<_> = (0..2).map(|_| Doorbell::new().unwrap()).collect();
        let mut ends = mesh::<u8>(&doorbells, 2);
        drop(ends.pop());
        let mut zero = ends.pop().unwrap();
        assert_eq!(zero.send(ShardIndex(1), 1), Err(Full(1)));
        assert_eq!(zero.send(ShardIndex(2), 2), Err(Full(2)));
    }
}
