//! Sequence numbers towards the sink: one for each packet that goes out, never two packets with one number.
//!
//! Passthrough keeps the source's gaps: a missing packet's number is set aside until it comes. Packets that we keep
//! (digits, hold) take no number, and packets that we add push the following ones on. One number for two packets would
//! be one SRTP keystream for two texts.

use super::source_sequence::{Ordinal, WINDOW};
use crate::rtp::SequenceNumber;

#[derive(Debug)]
pub(super) struct SinkNumbers {
    next: SequenceNumber,
    newest_ordinal: Ordinal,
    /// The numbers of the last packets of the source, by ordinal modulo the window.
    set_aside: [SequenceNumber; WINDOW as usize],
}

impl SinkNumbers {
    pub fn new(next: SequenceNumber) -> Self {
        Self {
            next,
            newest_ordinal: 0,
            set_aside: [SequenceNumber(0); WINDOW as usize],
        }
    }

    /// The number of a packet that we add or make.
    pub fn take(&mut self) -> SequenceNumber {
        let number = self.next;
        self.next = number.next();
        number
    }

    /// The source's newest packet is `ordinal`: sets numbers aside for those missing before it.
    pub fn advance_to(&mut self, ordinal: Ordinal) {
        let missing = (ordinal - self.newest_ordinal - 1).max(0);
        let window = i64::from(WINDOW);
        // Numbers of packets that are beyond the window need no entry: they will be late.
        let unlisted = (missing - window).max(0);
        self.next = self.next.wrapping_add(unlisted as u16);
        for ordinal in self.newest_ordinal + 1 + unlisted..ordinal {
            *self.entry(ordinal) = self.take();
        }
        self.newest_ordinal = ordinal.max(self.newest_ordinal);
    }

    /// `ordinal` is the first packet of its source: nothing is missing before it.
    pub fn restart_at(&mut self, ordinal: Ordinal) {
        self.newest_ordinal = ordinal - 1;
    }

    /// The number that was set aside for a packet within the window that came late.
    pub fn set_aside_for(&mut self, ordinal: Ordinal) -> SequenceNumber {
        *self.entry(ordinal)
    }

    fn entry(&mut self, ordinal: Ordinal) -> &mut SequenceNumber {
        // The remainder is below the length of the array.
        &mut self.set_aside[ordinal.rem_euclid(i64::from(WINDOW)) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_kept_and_additions_shift() {
        let mut numbers = SinkNumbers::new(SequenceNumber(65_535));
        numbers.advance_to(1);
        assert_eq!(numbers.take(), SequenceNumber(65_535));
        numbers.advance_to(4);
        assert_eq!(numbers.take(), SequenceNumber(2));
        assert_eq!(numbers.take(), SequenceNumber(3), "an added packet");
        assert_eq!(numbers.set_aside_for(2), SequenceNumber(0));
        assert_eq!(numbers.set_aside_for(3), SequenceNumber(1));
        numbers.advance_to(5);
        assert_eq!(numbers.take(), SequenceNumber(4));
        numbers.advance_to(206);
        assert_eq!(numbers.take(), SequenceNumber(205));
        assert_eq!(numbers.set_aside_for(205), SequenceNumber(204));
    }
}
