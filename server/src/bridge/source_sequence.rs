//! Order of a source's packets: which are new, which came late, which are copies (after RFC 3550 appendix A.1).
//!
//! Every packet gets an ordinal that never wraps and never goes back, also when the source begins anew with another
//! SSRC or sequence.

use std::time::{Duration, Instant};

use crate::rtp::{SequenceNumber, Ssrc};

/// How far back packets are told from their copies; older ones are late.
pub(super) const WINDOW: i32 = 64;
/// A jump ahead that still counts as loss; a longer one needs a second packet to be believed.
const DROPOUT_MAX: i32 = 1000;
/// How long packets of a replaced SSRC are taken for stragglers.
const STRAGGLER_TIME: Duration = Duration::from_secs(1);

/// The place of a packet among all of a direction, ascending.
pub(super) type Ordinal = i64;

/// What a packet's arrival means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Newer than all before.
    Newest {
        /// Its place.
        ordinal: Ordinal,
        /// It is the first packet of its source.
        restarted: bool,
    },
    /// Older than the newest, and not seen before.
    Reordered {
        /// Its place.
        ordinal: Ordinal,
    },
    /// Seen before.
    Duplicate,
    /// Too old to tell, or of a source that was replaced, or not believed yet.
    Late,
}

#[derive(Debug)]
struct Source {
    ssrc: Ssrc,
    newest: SequenceNumber,
    /// The ordinal of this source's first packet.
    first_ordinal: Ordinal,
    /// Bit i: the packet i before the newest was received.
    received: u64,
    /// Where a jump would go on, if it was no stray packet.
    jump_candidate: Option<SequenceNumber>,
}

#[derive(Debug, Default)]
pub(super) struct SourceSequence {
    source: Option<Source>,
    replaced: Option<(Ssrc, Instant)>,
    newest_ordinal: Ordinal,
}

impl SourceSequence {
    /// The next packet begins a new source, whatever its SSRC and number.
    pub fn restart(&mut self) {
        self.source = None;
        self.replaced = None;
    }

    /// Takes note of a packet.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        sequence_number: SequenceNumber,
    ) -> Arrival {
        let Some(source) = &mut self.source else {
            return self.begin(ssrc, sequence_number);
        };
        if source.ssrc != ssrc {
            let is_straggler = self
                .replaced
                .is_some_and(|(replaced, until)| replaced == ssrc && now < until);
            if is_straggler {
                return Arrival::Late;
            }
            self.replaced = Some((source.ssrc, now + STRAGGLER_TIME));
            return self.begin(ssrc, sequence_number);
        }
        let distance = sequence_number.distance_from(source.newest);
        match distance {
            0 => Arrival::Duplicate,
            1..=DROPOUT_MAX => {
                source.received = match distance {
                    1..WINDOW => source.received << distance | 1,
                    _ => 1,
                };
                source.newest = sequence_number;
                source.jump_candidate = None;
                self.newest_ordinal += i64::from(distance);
                Arrival::Newest {
                    ordinal: self.newest_ordinal,
                    restarted: false,
                }
            }
            _ if distance < 0 && -distance < WINDOW => {
                let ordinal = self.newest_ordinal + i64::from(distance);
                let bit = 1u64 << -distance;
                if ordinal < source.first_ordinal {
                    return Arrival::Late;
                }
                if source.received & bit != 0 {
                    return Arrival::Duplicate;
                }
                source.received |= bit;
                Arrival::Reordered { ordinal }
            }
            _ if source.jump_candidate == Some(sequence_number) => {
                self.begin(ssrc, sequence_number)
            }
            _ => {
                source.jump_candidate = Some(sequence_number.next());
                Arrival::Late
            }
        }
    }

    fn begin(&mut self, ssrc: Ssrc, newest: SequenceNumber) -> Arrival {
        self.newest_ordinal += 1;
        self.source = Some(Source {
            ssrc,
            newest,
            first_ordinal: self.newest_ordinal,
            received: 1,
            jump_candidate: None,
        });
        Arrival::Newest {
            ordinal: self.newest_ordinal,
            restarted: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(packets: &[(u32, u16)]) -> Vec<Arrival> {
        let mut sequence = SourceSequence::default();
        let now = Instant::now();
        packets
            .iter()
            .map(|(ssrc, number)| sequence.handle_packet(now, Ssrc(*ssrc), SequenceNumber(*number)))
            .collect()
    }

    fn newest(ordinal: Ordinal) -> Arrival {
        Arrival::Newest {
            ordinal,
            restarted: false,
        }
    }

    fn first(ordinal: Ordinal) -> Arrival {
        Arrival::Newest {
            ordinal,
            restarted: true,
        }
    }

    #[test]
    fn wraps_reorders_and_copies() {
        assert_eq!(
            arrivals(&[
                (1, 65_534),
                (1, 1),
                (1, 65_535),
                (1, 65_535),
                (1, 0),
                (1, 1),
                (1, 2)
            ]),
            [
                first(1),
                newest(4),
                Arrival::Reordered { ordinal: 2 },
                Arrival::Duplicate,
                Arrival::Reordered { ordinal: 3 },
                Arrival::Duplicate,
                newest(5),
            ]
        );
    }

    #[test]
    fn a_jump_needs_two_packets() {
        assert_eq!(
            arrivals(&[
                (1, 10),
                (1, 40_000),
                (1, 11),
                (1, 30_000),
                (1, 30_001),
                (1, 30_002)
            ]),
            [
                first(1),
                Arrival::Late,
                newest(2),
                Arrival::Late,
                first(3),
                newest(4),
            ]
        );
    }

    #[test]
    fn a_new_source_goes_on_and_the_old_ones_stragglers_are_late() {
        assert_eq!(
            arrivals(&[(1, 10), (2, 500), (1, 11), (2, 499), (2, 501)]),
            [first(1), first(2), Arrival::Late, Arrival::Late, newest(3)]
        );
    }
}
