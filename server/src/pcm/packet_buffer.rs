//! Packets of the bridge that wait to be played, by their place on its clock. Buffers are used again.

/// Packets that wait at most: 640 ms of the shortest.
const PACKETS_MAX: usize = 64;

/// A place on the bridge's clock, in samples since the leg began.
pub(super) type Position = i64;

#[derive(Debug)]
struct Waiting {
    position: Position,
    /// As the bridge codes them.
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct PacketBuffer {
    sample_bytes: usize,
    /// Ascending by position.
    waiting: Vec<Waiting>,
    spare: Vec<Vec<u8>>,
}

impl PacketBuffer {
    pub fn new(sample_bytes: usize) -> Self {
        Self {
            sample_bytes,
            waiting: Vec::new(),
            spare: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Where the last of them ends.
    pub fn end(&self) -> Option<Position> {
        self.waiting.last().map(|packet| self.end_of(packet))
    }

    /// Adds a packet; false if its place is taken or there is no room.
    pub fn insert(&mut self, position: Position, payload: &[u8]) -> bool {
        let place = self
            .waiting
            .partition_point(|other| other.position < position);
        let is_taken = self
            .waiting
            .get(place)
            .is_some_and(|other| other.position == position);
        if is_taken || self.waiting.len() >= PACKETS_MAX {
            return false;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(payload);
        self.waiting.insert(place, Waiting { position, bytes });
        true
    }

    /// Copies what lies at `from` and after it to `wire`, and tells the parts that nothing lies at, in samples of
    /// `wire`. Gives how many samples were copied.
    pub fn copy(
        &self,
        from: Position,
        wire: &mut [u8],
        mut missing: impl FnMut(usize, usize),
    ) -> usize {
        let samples = wire.len() / self.sample_bytes;
        let end = from + samples as Position;
        let (mut at, mut copied) = (from, 0);
        for packet in &self.waiting {
            let packet_end = self.end_of(packet);
            let (begins, ends) = (packet.position.max(at), packet_end.min(end));
            if begins >= ends {
                continue;
            }
            if begins > at {
                missing((at - from) as usize, (begins - from) as usize);
            }
            // Both lie within the frame and within the packet.
            let place = self.bytes(begins - from)..self.bytes(ends - from);
            let of_packet =
                self.bytes(begins - packet.position)..self.bytes(ends - packet.position);
            if let (Some(place), Some(audio)) = (wire.get_mut(place), packet.bytes.get(of_packet)) {
                place.copy_from_slice(audio);
            }
            copied += (ends - begins) as usize;
            at = ends;
        }
        if at < end {
            missing((at - from) as usize, samples);
        }
        copied
    }

    /// Whether anything lies at `from` and the `samples` after it.
    pub fn has_any(&self, from: Position, samples: usize) -> bool {
        let end = from + samples as Position;
        self.waiting
            .iter()
            .any(|packet| packet.position < end && self.end_of(packet) > from)
    }

    /// Lets go what lies before `position`, of which all before `unplayed_from` was played. Gives the samples that
    /// were not.
    pub fn forget_before(&mut self, position: Position, unplayed_from: Position) -> usize {
        let mut unplayed = 0;
        while let Some(first) = self.waiting.first() {
            let end = self.end_of(first);
            let gone = end.min(position) - first.position.max(unplayed_from);
            unplayed += usize::try_from(gone).unwrap_or(0);
            if end > position {
                break;
            }
            let packet = self.waiting.remove(0);
            self.spare.push(packet.bytes);
        }
        unplayed
    }

    /// Lets everything go.
    pub fn clear(&mut self) {
        self.spare
            .extend(self.waiting.drain(..).map(|packet| packet.bytes));
    }

    fn end_of(&self, packet: &Waiting) -> Position {
        packet.position + (packet.bytes.len() / self.sample_bytes) as Position
    }

    fn bytes(&self, samples: Position) -> usize {
        usize::try_from(samples).unwrap_or(0) * self.sample_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_put_together_wherever_packets_lie() {
        let mut buffer = PacketBuffer::new(1);
        assert!(buffer.insert(10, &[10, 11, 12, 13]));
        assert!(buffer.insert(4, &[4, 5, 6]));
        assert!(!buffer.insert(4, &[0; 3]), "its place is taken");
        let mut wire = [0; 8];
        let mut gaps = Vec::new();
        let copied = buffer.copy(5, &mut wire, |begins, ends| gaps.push((begins, ends)));
        assert_eq!(copied, 5);
        assert_eq!(wire, [5, 6, 0, 0, 0, 10, 11, 12]);
        assert_eq!(gaps, [(2, 5)]);
        assert!(buffer.has_any(13, 8) && !buffer.has_any(14, 8) && !buffer.has_any(7, 3));
        gaps.clear();
        assert_eq!(
            buffer.copy(12, &mut wire, |begins, ends| gaps.push((begins, ends))),
            2
        );
        assert_eq!(gaps, [(2, 8)]);
    }

    #[test]
    fn only_what_was_not_played_counts_as_lost() {
        let mut buffer = PacketBuffer::new(2);
        for position in [0, 3, 6] {
            assert!(buffer.insert(position, &[0; 6]));
        }
        assert_eq!(buffer.forget_before(3, 3), 0);
        assert_eq!(buffer.forget_before(8, 4), 4);
        assert_eq!(buffer.forget_before(20, 8), 1);
        assert!(buffer.is_empty());
        for position in 0..100 {
            assert_eq!(buffer.insert(position, &[0; 2]), position < 64);
        }
        buffer.clear();
        assert!(buffer.is_empty());
    }
}
