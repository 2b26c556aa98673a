//! The ring to the control thread, and what waits while it is full.
//!
//! A message that a far end depends on (a hang-up, an acceptance) must not be lost to a full ring: it waits here, in order,
//! and goes with the next turn. What has a reserved slot, or an asker who hears of the full ring, goes past the queue.

use std::collections::VecDeque;
use std::sync::Arc;

use shards::ring::{Full, Producer, Reservation};

use crate::call::rings::ToControl;
use crate::metrics::ShardMetrics;

/// Messages that wait at most: more than the calls and sessions of a shard can cause before its next turn. What is told
/// beyond that is lost and counted.
const WAITING_MAX: usize = 16_384;

/// See the module's documentation.
pub(super) struct ControlLine {
    ring: Producer<ToControl>,
    waiting: VecDeque<ToControl>,
    metrics: Arc<ShardMetrics>,
}

impl ControlLine {
    pub fn new(ring: Producer<ToControl>, metrics: Arc<ShardMetrics>) -> Self {
        Self {
            ring,
            waiting: VecDeque::new(),
            metrics,
        }
    }

    /// Tells `message`, now or as soon as there is room.
    pub fn tell(&mut self, message: ToControl) {
        let message = match self.waiting.is_empty() {
            true => match self.ring.push(message) {
                Ok(()) => return,
                Err(Full(message)) => message,
            },
            false => message,
        };
        self.metrics.ring_full.increment();
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(message);
        }
    }

    /// Tells what waits, as far as there is room.
    pub fn tell_waiting(&mut self) {
        while let Some(message) = self.waiting.pop_front() {
            if let Err(Full(message)) = self.ring.push(message) {
                return self.waiting.push_front(message);
            }
        }
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells `message` now, or gives it back and counts the full ring.
    pub fn push(&mut self, message: ToControl) -> Result<(), Full<ToControl>> {
        let pushed = self.ring.push(message);
        if pushed.is_err() {
            self.metrics.ring_full.increment();
        }
        pushed
    }

    pub fn reserve(&mut self) -> Option<Reservation> {
        self.ring.reserve()
    }

    pub fn push_reserved(&mut self, reservation: Reservation, message: ToControl) {
        self.ring.push_reserved(reservation, message);
    }

    pub fn release(&mut self, reservation: Reservation) {
        self.ring.release(reservation);
    }

    /// For questions, whose askers hear of a full ring themselves.
    pub fn ring_mut(&mut self) -> &mut Producer<ToControl> {
        &mut self.ring
    }
}

#[cfg(test)]
mod tests {
    use shards::ShardIndex;

    use super::*;
    use crate::call::rings::SessionAddress;

    fn message(serial: u64) -> ToControl {
        let shard = ShardIndex(0);
        ToControl::NotWaiting(SessionAddress { shard, serial })
    }

    #[test]
    fn what_a_full_ring_keeps_back_goes_in_order() {
        let (producer, mut consumer) = shards::ring::ring(2, None);
        let mut line = ControlLine::new(producer, Arc::default());
        for serial in 0..5 {
            line.tell(message(serial));
        }
        let mut heard = Vec::new();
        for _ in 0..3 {
            while let Some(ToControl::NotWaiting(session)) = consumer.pop() {
                heard.push(session.serial);
            }
            line.tell_waiting();
        }
        assert_eq!(heard, [0, 1, 2, 3, 4]);
        assert!(!line.has_waiting());
    }
}
