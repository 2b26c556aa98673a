//! The socket's audio that waits to be played, with the marks between: bounded, the oldest goes first.

use std::collections::VecDeque;

use super::Encoding;

/// A queue that was longer than this gives its memory back when it is empty.
const KEPT_MS_MAX: u32 = 1_000;
/// The least bound that makes sense.
const QUEUE_MS_MIN: u32 = 60;

#[derive(Debug)]
struct Mark {
    name: String,
    /// Bytes that leave before it, counted from the begin of the queue's life.
    position: u64,
}

#[derive(Debug)]
pub(super) struct AudioQueue {
    encoding: Encoding,
    bytes_max: usize,
    /// Whole samples.
    bytes: VecDeque<u8>,
    /// The first half of a sample whose second did not come yet.
    half_sample: Option<u8>,
    /// Bytes that left, whichever way.
    left: u64,
    marks: VecDeque<Mark>,
}

impl AudioQueue {
    pub fn new(encoding: Encoding, queue_ms_max: u32) -> Self {
        Self {
            encoding,
            bytes_max: encoding.bytes_of_ms(queue_ms_max.max(QUEUE_MS_MIN)),
            bytes: VecDeque::new(),
            half_sample: None,
            left: 0,
            marks: VecDeque::new(),
        }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How long what waits lasts, in whole ms.
    pub fn ms(&self) -> u64 {
        self.encoding.ms_of_bytes(self.bytes.len())
    }

    /// Adds audio and says how many bytes went for it.
    pub fn push(&mut self, wire: &[u8]) -> usize {
        if self.encoding.sample_bytes() == 1 {
            return self.push_samples(wire);
        }
        let mut wire = wire;
        let mut dropped = 0;
        if let Some(half) = self.half_sample
            && let Some((other_half, rest)) = wire.split_first()
        {
            self.half_sample = None;
            dropped += self.push_samples(&[half, *other_half]);
            wire = rest;
        }
        let (whole, rest) = wire.split_at(wire.len() / 2 * 2);
        dropped += self.push_samples(whole);
        self.half_sample = rest.first().copied().or(self.half_sample);
        dropped
    }

    fn push_samples(&mut self, wire: &[u8]) -> usize {
        let after = self.bytes.len() + wire.len();
        // Whole frames go, so that a flood costs a step per frame and not per byte.
        let dropped = match after.checked_sub(self.bytes_max) {
            None | Some(0) => 0,
            Some(over) => over
                .next_multiple_of(self.encoding.frame_bytes())
                .min(after),
        };
        let of_queue = dropped.min(self.bytes.len());
        self.skip(of_queue);
        let unheard = dropped - of_queue;
        self.left += unheard as u64;
        let wire = wire.get(unheard..).unwrap_or_default();
        self.reserve(wire.len());
        self.bytes.extend(wire);
        dropped
    }

    /// Takes bytes for the front of `wire`; says how many.
    pub fn take(&mut self, wire: &mut [u8]) -> usize {
        let taken = self.peek(wire);
        self.skip(taken);
        taken
    }

    /// As [`AudioQueue::take`], but they stay.
    pub fn peek(&self, wire: &mut [u8]) -> usize {
        let (front, back) = self.bytes.as_slices();
        let from_front = front.len().min(wire.len());
        let (place, rest) = wire.split_at_mut(from_front);
        place.copy_from_slice(front.get(..from_front).unwrap_or_default());
        let from_back = back.len().min(rest.len());
        let (place, _unused) = rest.split_at_mut(from_back);
        place.copy_from_slice(back.get(..from_back).unwrap_or_default());
        from_front + from_back
    }

    /// Lets bytes go.
    pub fn skip(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes.len());
        self.bytes.drain(..bytes);
        self.left += bytes as u64;
    }

    /// All audio goes. The half of a sample stays: its other half is still to come.
    pub fn clear(&mut self) {
        self.skip(self.bytes.len());
        self.give_back();
    }

    /// Gives memory back that only a long queue needs. Called when a pause begins, not for each frame.
    pub fn give_back(&mut self) {
        let kept = self.encoding.bytes_of_ms(KEPT_MS_MAX);
        if self.bytes.capacity() > kept {
            self.bytes.shrink_to(kept);
        }
    }

    /// A mark behind all audio so far.
    pub fn push_mark(&mut self, name: &str) {
        self.marks.push_back(Mark {
            name: name.to_owned(),
            position: self.left + self.bytes.len() as u64,
        });
    }

    /// The next mark that has no audio before it any more.
    pub fn pop_mark(&mut self) -> Option<String> {
        let first = self.marks.front()?;
        if first.position > self.left {
            return None;
        }
        self.marks.pop_front().map(|mark| mark.name)
    }

    /// Marks that wait.
    pub fn marks(&self) -> usize {
        self.marks.len()
    }

    /// Grows by doubling, but not beyond what may wait.
    fn reserve(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let doubled = self.bytes.capacity() * 2;
            let wanted = needed.max(doubled.min(self.bytes_max));
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use codecs::SampleRate;

    use super::*;

    const NARROW: Encoding = Encoding::Linear16(SampleRate::Hz8000);

    fn taken(queue: &mut AudioQueue, bytes: usize) -> Vec<u8> {
        let mut wire = vec![0; bytes];
        let taken = queue.take(&mut wire);
        wire.truncate(taken);
        wire
    }

    #[test]
    fn samples_cut_in_two_are_joined_even_across_a_clear() {
        let mut queue = AudioQueue::new(NARROW, 1_000);
        queue.push(&[1, 2, 3]);
        assert_eq!(queue.len(), 2);
        queue.push(&[]);
        queue.push(&[4]);
        assert_eq!(taken(&mut queue, 100), [1, 2, 3, 4]);
        queue.push(&[5, 6, 7]);
        queue.clear();
        queue.push(&[8, 9, 10]);
        assert_eq!(taken(&mut queue, 100), [7, 8, 9, 10]);
    }

    #[test]
    fn the_oldest_goes_in_whole_frames() {
        let mut queue = AudioQueue::new(Encoding::Mulaw, 100);
        let sent: Vec<u8> = (0..900_u32).map(|n| (n % 251) as u8).collect();
        assert_eq!(queue.push(&sent[..700]), 0);
        queue.push_mark("gone");
        assert_eq!(queue.push(&sent[700..]), 160);
        assert_eq!(queue.len(), 740);
        assert_eq!(taken(&mut queue, 10), sent[160..170]);
        assert_eq!(queue.pop_mark(), None);
        // More than fits at once: the end of it stays.
        let flood = vec![9; 5_000];
        assert_eq!(queue.push(&flood), 730 + 4_230);
        assert_eq!(queue.len(), 770);
        assert_eq!(queue.pop_mark().as_deref(), Some("gone"));
        assert!(queue.bytes.capacity() <= 1_600);
    }

    #[test]
    fn a_long_queue_gives_its_memory_back() {
        let mut queue = AudioQueue::new(NARROW, 60_000);
        queue.push(&vec![0; 500_000]);
        assert!((500_000..1_000_000).contains(&queue.bytes.capacity()));
        queue.clear();
        assert!(queue.bytes.capacity() <= 20_000);
    }
}
