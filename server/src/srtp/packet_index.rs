//! Packet indices: the rollover counter's estimate (RFC 3711 section 3.3.1) and the replay window (section 3.3.2).

use super::{STREAMS_MAX, SrtpError};
use crate::rtp::Ssrc;

/// Indices that one window tells apart.
pub(super) const REPLAY_WINDOW: u64 = 128;
const RTP_INDEX_MAX: u64 = (1 << 48) - 1;

/// The newest index of a stream and which of the 128 up to it were used.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplayWindow {
    highest: u64,
    /// Bit i: index `highest - i` was used.
    used: u128,
}

impl ReplayWindow {
    /// A window in which only `index` was used.
    pub(super) fn new(index: u64) -> Self {
        Self {
            highest: index,
            used: 1,
        }
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Refuses indices that were used, and those that are too old to tell.
    pub(super) fn check(&self, index: u64) -> Result<(), SrtpError> {
        let age = self.highest.saturating_sub(index);
        if index <= self.highest && (age >= REPLAY_WINDOW || self.used >> age & 1 == 1) {
            return Err(SrtpError::Replay);
        }
        Ok(())
    }

    /// Marks an index that [`ReplayWindow::check`] let pass.
    pub(super) fn mark(&mut self, index: u64) {
        if index > self.highest {
            let step = u32::try_from(index - self.highest).unwrap_or(u32::MAX);
            self.used = self.used.checked_shl(step).unwrap_or(0) | 1;
            self.highest = index;
        } else if self.highest - index < REPLAY_WINDOW {
            self.used |= 1 << (self.highest - index);
        }
    }
}

/// The index of an RTP packet with this sequence number: the one closest to the stream's newest.
pub(super) fn estimate_index(highest: u64, sequence_number: u16) -> Result<u64, SrtpError> {
    let distance = i64::from(sequence_number.wrapping_sub(highest as u16) as i16);
    match highest.checked_add_signed(distance) {
        Some(index) if index > RTP_INDEX_MAX => Err(SrtpError::KeysUsedUp),
        Some(index) => Ok(index),
        // Before the stream's beginning: its rollover counter would be negative.
        None => Err(SrtpError::Replay),
    }
}

/// The streams of one peer and direction.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams {
    windows: [Option<(Ssrc, ReplayWindow)>; STREAMS_MAX],
}

impl Streams {
    pub(super) fn window(&self, ssrc: Ssrc) -> Option<&ReplayWindow> {
        let mut windows = self.windows.iter().flatten();
        windows.find_map(|(found, window)| (*found == ssrc).then_some(window))
    }

    /// Would [`Streams::mark`] find a place for this stream?
    pub(super) fn has_room_for(&self, ssrc: Ssrc) -> bool {
        self.windows
            .iter()
            .any(|slot| slot.is_none_or(|(found, _)| found == ssrc))
    }

    /// Marks a packet that was authenticated; a stream's first makes its state. No-op without room.
    pub(super) fn mark(&mut self, ssrc: Ssrc, index: u64) {
        for slot in &mut self.windows {
            match slot {
                Some((found, window)) if *found == ssrc => return window.mark(index),
                Some(_) => {}
                None => {
                    *slot = Some((ssrc, ReplayWindow::new(index)));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_estimate_follows_the_rfc_over_the_wrap() {
        assert_eq!(estimate_index(65_535, 0), Ok(65_536));
        assert_eq!(estimate_index(65_536 + 2, 65_535), Ok(65_535));
        assert_eq!(estimate_index(65_536 + 40_000, 1), Ok(2 * 65_536 + 1));
        assert_eq!(estimate_index(3, 65_000), Err(SrtpError::Replay));
        assert_eq!(estimate_index(RTP_INDEX_MAX, 0), Err(SrtpError::KeysUsedUp));
    }

    proptest! {
        #[test]
        fn the_estimate_is_the_closest(highest in 100_000_u64..(1 << 47), distance in -32_768_i64..32_768) {
            let index = highest.saturating_add_signed(distance);
            prop_assert_eq!(estimate_index(highest, index as u16), Ok(index));
        }

        #[test]
        fn the_window_agrees_with_a_set(first in 0_u64..1000, indices in proptest::collection::vec(0_u64..1000, 0..300)) {
            let mut window = ReplayWindow::new(first);
            let mut used = BTreeSet::from([first]);
            for index in indices {
                let highest = used.last().copied().unwrap_or(0);
                let fresh = !used.contains(&index) && index + REPLAY_WINDOW > highest;
                prop_assert_eq!(window.check(index).is_ok(), fresh);
                if fresh {
                    window.mark(index);
                    used.insert(index);
                }
            }
        }
    }
}
