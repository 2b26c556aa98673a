//! A bounded lock-free ring from one thread to one other (over `rtrb`), with slots that can be reserved.
//!
//! A reserved slot is taken away from ordinary pushes until it is used or dropped, so the message it is for (the final
//! event of a call) always finds room. A full ring is an error for the sender and counted; nothing ever waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::doorbell::Doorbell;

/// There was no free slot; the value comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full")]
pub struct Full<T>(pub T);

/// The sending end; may move to another thread.
#[derive(Debug)]
pub struct Producer<T> {
    ring: rtrb::Producer<T>,
    reserved: Arc<AtomicUsize>,
    full_total: u64,
    /// Below `ring`, so that it is dropped, and rings, after the ring's half is gone.
    doorbell: Option<RingOnDrop>,
}

/// The receiving end; may move to another thread.
#[derive(Debug)]
pub struct Consumer<T> {
    ring: rtrb::Consumer<T>,
}

/// One slot of one ring, kept free for [`Producer::push_reserved`]. Dropping it gives the slot back.
#[derive(Debug)]
#[must_use = "dropping a reservation gives its slot back"]
pub struct Reservation {
    reserved: Arc<AtomicUsize>,
}

/// A ring of `slots` slots. With a doorbell every push rings it; without one the receiver polls.
///
/// A ring of 0 slots is always full.
pub fn ring<T>(slots: usize, doorbell: Option<Arc<Doorbell>>) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(slots);
    let producer = Producer {
        ring: producer,
        reserved: Arc::new(AtomicUsize::new(0)),
        full_total: 0,
        doorbell: doorbell.map(RingOnDrop),
    };
    (producer, Consumer { ring: consumer })
}

impl<T> Producer<T> {
    /// Sends `value`, if a slot is free that nobody reserved.
    ///
    /// # Errors
    /// No such slot; counted in [`Producer::full_total`].
    pub fn push(&mut self, value: T) -> Result<(), Full<T>> {
        if self.free_slots() == 0 {
            self.full_total += 1;
            return Err(Full(value));
        }
        self.write(value);
        Ok(())
    }

    /// Takes a free slot away from [`Producer::push`]. None when there is none, which is counted.
    pub fn reserve(&mut self) -> Option<Reservation> {
        if self.free_slots() == 0 {
            self.full_total += 1;
            return None;
        }
        self.reserved.fetch_add(1, Ordering::Relaxed);
        Some(Reservation {
            reserved: self.reserved.clone(),
        })
    }

    /// Sends `value` in the slot that was reserved for it. There is always room.
    ///
    /// # Panics
    /// The reservation is one of another ring.
    pub fn push_reserved(&mut self, reservation: Reservation, value: T) {
        assert!(
            Arc::ptr_eq(&self.reserved, &reservation.reserved),
            "a reservation of another ring"
        );
        self.write(value);
        // Only now: until the value is in, its slot counts as taken.
        drop(reservation);
    }

    /// Gives a slot back, as dropping the reservation does.
    pub fn release(&mut self, reservation: Reservation) {
        drop(reservation);
    }

    /// How many values wait in the ring.
    pub fn depth(&self) -> usize {
        self.capacity() - self.ring.slots()
    }

    /// How many slots are reserved now.
    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.ring.buffer().capacity()
    }

    /// How often [`Producer::push`] or [`Producer::reserve`] found no slot.
    pub fn full_total(&self) -> u64 {
        self.full_total
    }

    /// The consumer is gone: what is pushed is never read, and dropped with the ring.
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Slots that are neither taken nor reserved.
    fn free_slots(&self) -> usize {
        // Never below zero: reserved slots are never pushed into, and only this end takes slots.
        self.ring.slots().saturating_sub(self.reserved())
    }

    fn write(&mut self, value: T) {
        let pushed = self.ring.push(value);
        debug_assert!(pushed.is_ok(), "callers have counted the free slots");
        if let Some(doorbell) = &self.doorbell {
            doorbell.0.ring();
        }
    }
}

/// Rings when the producer is dropped, so that a sleeping receiver learns that it is alone.
#[derive(Debug)]
struct RingOnDrop(Arc<Doorbell>);

impl Drop for RingOnDrop {
    fn drop(&mut self) {
        self.0.ring();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reserved.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Consumer<T> {
    /// The oldest value, if there is one.
    pub fn pop(&mut self) -> Option<T> {
        self.ring.pop().ok()
    }

    /// How many values wait in the ring.
    pub fn depth(&self) -> usize {
        self.ring.slots()
    }

    /// The producer is gone: what waits in the ring is the last.
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reserved_slot_outlives_a_full_ring() {
        let (mut producer, mut consumer) = ring(2, None);
        let last_word = producer.reserve().unwrap();
        producer.push("created").unwrap();
        assert_eq!(producer.push("held"), Err(Full("held")));
        assert!(producer.reserve().is_none());
        assert_eq!(producer.full_total(), 2);
        producer.push_reserved(last_word, "ended");
        assert_eq!((producer.depth(), consumer.depth()), (2, 2));
        assert_eq!(consumer.pop(), Some("created"));
        assert_eq!(consumer.pop(), Some("ended"));
        assert_eq!(consumer.pop(), None);
    }

    #[test]
    fn a_reservation_outlives_its_producer() {
        let (mut producer, consumer) = ring::<u8>(1, None);
        let reservation = producer.reserve().unwrap();
        drop(producer);
        assert!(consumer.is_abandoned());
        drop(reservation);
    }

    #[test]
    #[should_panic(expected = "a reservation of another ring")]
    fn a_reservation_is_good_for_its_own_ring_only() {
        let (mut one, _one) = ring::<u8>(1, None);
        let (mut other, _other) = ring(1, None);
        let reservation = one.reserve().unwrap();
        other.push_reserved(reservation, 1);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push,
        Pop,
        Reserve,
        PushReserved,
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Push),
            4 => Just(Step::Pop),
            3 => Just(Step::Reserve),
            2 => Just(Step::PushReserved),
            1 => Just(Step::Release),
        ]
    }

    proptest! {
        /// A queue with a count of reservations is the oracle: never more taken plus reserved than there are slots, and
        /// a push fails exactly when all are.
        #[test]
        fn slots_are_taken_reserved_or_free(slots in 0_usize..6, steps in prop::collection::vec(step(), 0..200)) {
            let (mut producer, mut consumer) = ring(slots, None);
            let mut queue = VecDeque::new();
            let mut reservations = Vec::new();
            let mut full = 0;
            for (number, step) in steps.into_iter().enumerate() {
                let free = slots - queue.len() - reservations.len();
                match step {
                    Step::Push if free > 0 => {
                        prop_assert_eq!(producer.push(number), Ok(()));
                        queue.push_back(number);
                    }
                    Step::Push => {
                        prop_assert_eq!(producer.push(number), Err(Full(number)));
                        full += 1;
                    }
                    Step::Pop => prop_assert_eq!(consumer.pop(), queue.pop_front()),
                    Step::Reserve => {
                        let reservation = producer.reserve();
                        prop_assert_eq!(reservation.is_some(), free > 0);
                        full += u64::from(free == 0);
                        reservations.extend(reservation);
                    }
                    Step::PushReserved => if let Some(reservation) = reservations.pop() {
                        producer.push_reserved(reservation, number);
                        queue.push_back(number);
                    }
                    Step::Release => if let Some(reservation) = reservations.pop() {
                        producer.release(reservation);
                    }
                }
                prop_assert_eq!(producer.depth(), queue.len());
                prop_assert_eq!(producer.reserved(), reservations.len());
                prop_assert_eq!(producer.full_total(), full);
            }
        }
    }
}
