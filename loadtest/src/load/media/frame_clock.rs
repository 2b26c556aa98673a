//! Which frame a received packet carries, and so how long it was on its way.
//!
//! A gateway gives the packets that it sends its own SSRC, sequence numbers and timestamps, and may change the codec.
//! What it keeps is the distance of timestamps, so one number is unknown: which frame the first packet carried. It is
//! taken for the last one that was sent when the packet came. Whenever a packet would have come before its frame was
//! sent, one frame less is presumed; so it ends at the shortest delays that are possible. Whole frames cannot be seen
//! this way: of a gateway that holds each frame back for 20 ms, 0 ms is told here. The judge's alignment of the sound
//! finds these, and corrects them later.

use std::sync::atomic::{AtomicU64, Ordering};

/// Frames whose times are kept: 20 s.
pub const FRAMES_KEPT_MAX: usize = 1024;
/// Two clock readings may disagree by so much before a frame counts as received before it was sent.
const TOLERANCE_NS: i64 = 50_000;
/// A packet that would have to be so many frames off is of a stream that began anew.
const FRAMES_BACK_MAX: i64 = 50;

/// When a leg sent which frame, by the wall clock: written by one thread, read by another, which counts what it heard of them.
pub struct FrameClock {
    first_frame: u64,
    sent_at_ns: Vec<AtomicU64>,
    count: AtomicU64,
    not_sent: AtomicU64,
    heard: AtomicU64,
}

/// What a leg has sent so far, and how much of it the other leg has heard, in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// By the leg, which its own socket did not refuse.
    pub sent: u64,
    /// By the other one, without duplicates.
    pub heard: u64,
}

impl Default for FrameClock {
    fn default() -> Self {
        Self::beginning_with(0)
    }
}

impl FrameClock {
    /// Of a leg that begins with this frame of its speech.
    pub fn beginning_with(first_frame: u64) -> Self {
        Self {
            first_frame,
            sent_at_ns: (0..FRAMES_KEPT_MAX).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            not_sent: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        }
    }

    /// The frame of its speech that the leg begins with: how calls are told apart.
    pub fn first_frame(&self) -> u64 {
        self.first_frame
    }

    /// Frames sent so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Sent and heard so far.
    pub fn tally(&self) -> Tally {
        // In this order: what is heard meanwhile must not seem to be more than was sent.
        let heard = self.heard.load(Ordering::Acquire);
        let not_sent = self.not_sent.load(Ordering::Acquire);
        Tally {
            sent: self.count().saturating_sub(not_sent),
            heard,
        }
    }

    /// The frame that was noted last was not sent after all.
    pub(super) fn note_not_sent(&self) {
        self.not_sent.fetch_add(1, Ordering::Release);
    }

    /// The next frame is sent at this time.
    pub(super) fn note(&self, at_ns: u64) {
        let frame = self.count.load(Ordering::Relaxed);
        if let Some(slot) = self.sent_at_ns.get(frame as usize % FRAMES_KEPT_MAX) {
            slot.store(at_ns, Ordering::Relaxed);
        }
        self.count.store(frame + 1, Ordering::Release);
    }

    /// When this frame was sent; none when it was not yet, or too long ago. One place is left free for the writer.
    fn sent_at_ns(&self, frame: i64) -> Option<u64> {
        let count = self.count() as i64;
        if frame < 0 || frame >= count || count - frame >= FRAMES_KEPT_MAX as i64 {
            return None;
        }
        let slot = self.sent_at_ns.get(frame as usize % FRAMES_KEPT_MAX)?;
        Some(slot.load(Ordering::Relaxed))
    }

    /// The last frame that had been sent at this time.
    fn latest_at(&self, at_ns: u64) -> Option<i64> {
        let count = self.count() as i64;
        let oldest = (count - FRAMES_KEPT_MAX as i64 + 1).max(0);
        (oldest..count).rev().find(|frame| {
            self.sent_at_ns(*frame)
                .is_some_and(|sent_at| delay_ns(sent_at, at_ns) >= -TOLERANCE_NS)
        })
    }
}

/// Maps the timestamps of one received stream to frames of the other leg.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FrameAnchor {
    anchor: Option<Anchor>,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    ssrc: u32,
    timestamp: u32,
    frame: i64,
}

impl FrameAnchor {
    /// Counts a packet as heard and tells how long it was on its way, in ns; none when nothing was sent that it could carry.
    pub(super) fn delay_ns(
        &mut self,
        ssrc: u32,
        timestamp: u32,
        frame_ticks: u32,
        arrival_ns: u64,
        sent: &FrameClock,
    ) -> Option<u64> {
        sent.heard.fetch_add(1, Ordering::Release);
        let presumed = self.anchor.filter(|anchor| anchor.ssrc == ssrc);
        if let Some(delay) = presumed
            .and_then(|anchor| self.follow(anchor, timestamp, frame_ticks, arrival_ns, sent))
        {
            return Some(delay);
        }
        let frame = sent.latest_at(arrival_ns)?;
        self.anchor = Some(Anchor {
            ssrc,
            timestamp,
            frame,
        });
        let delay = delay_ns(sent.sent_at_ns(frame)?, arrival_ns);
        Some(u64::try_from(delay).unwrap_or(0))
    }

    fn follow(
        &mut self,
        anchor: Anchor,
        timestamp: u32,
        frame_ticks: u32,
        arrival_ns: u64,
        sent: &FrameClock,
    ) -> Option<u64> {
        let ticks = i64::from(timestamp.wrapping_sub(anchor.timestamp) as i32);
        let frame_ticks = i64::from(frame_ticks.max(1));
        let distance = (ticks + frame_ticks / 2).div_euclid(frame_ticks);
        let presumed = anchor.frame + distance;
        let count = sent.count() as i64;
        // What was not even sent by now needs no look at its time.
        let mut frame = presumed.min(count - 1);
        let delay = loop {
            if presumed - frame > FRAMES_BACK_MAX {
                return None;
            }
            let delay = delay_ns(sent.sent_at_ns(frame)?, arrival_ns);
            if delay >= -TOLERANCE_NS {
                break delay;
            }
            frame -= 1;
        };
        // Moves along, so that distances stay small, but keeps to the grid of frames.
        self.anchor = Some(Anchor {
            ssrc: anchor.ssrc,
            timestamp: anchor
                .timestamp
                .wrapping_add((distance * frame_ticks) as u32),
            frame,
        });
        Some(u64::try_from(delay).unwrap_or(0))
    }
}

fn delay_ns(sent_at_ns: u64, arrival_ns: u64) -> i64 {
    arrival_ns.wrapping_sub(sent_at_ns) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const BEGIN: u64 = 1_000_000 * MS;

    /// Delays in ms as they are told, of packets with these frames and delays in ms.
    fn told(packets: &[(u64, u64)]) -> Vec<Option<u64>> {
        let clock = FrameClock::default();
        let mut anchor = FrameAnchor::default();
        let mut sent = 0;
        packets
            .iter()
            .map(|(frame, delay_ms)| {
                let arrival = BEGIN + frame * 20 * MS + delay_ms * MS;
                while BEGIN + sent * 20 * MS <= arrival {
                    clock.note(BEGIN + sent * 20 * MS);
                    sent += 1;
                }
                let timestamp = 0xffff_ff00_u32.wrapping_add(*frame as u32 * 160);
                let delay = anchor.delay_ns(7, timestamp, 160, arrival, &clock)?;
                Some(delay / MS)
            })
            .collect()
    }

    #[test]
    fn short_delays_are_told_as_they_are() {
        let told = told(&[(0, 1), (1, 3), (3, 2), (2, 45), (4, 19), (5, 1)]);
        assert_eq!(told, [1, 3, 2, 45, 19, 1].map(Some));
    }

    #[test]
    fn a_first_packet_that_came_late_is_seen_through_later() {
        // 25 ms late, taken for the frame after it; the next packet comes before that one's successor was sent.
        let told = told(&[(3, 25), (4, 1), (5, 2), (6, 25)]);
        assert_eq!(told, [5, 1, 2, 25].map(Some));
    }

    #[test]
    fn whole_frames_of_delay_stay_unseen() {
        assert_eq!(told(&[(3, 21), (4, 21), (5, 22)]), [1, 1, 2].map(Some));
    }

    #[test]
    fn a_clock_that_begins_anew_is_anchored_anew() {
        let clock = FrameClock::default();
        for frame in 0..3_000 {
            clock.note(BEGIN + frame * 20 * MS);
        }
        let now = BEGIN + 2_999 * 20 * MS + 2 * MS;
        let mut anchor = FrameAnchor::default();
        for timestamp in [0, 160 * 500_000, 5] {
            let told = anchor.delay_ns(7, timestamp, 160, now, &clock);
            assert_eq!(told, Some(2 * MS), "{timestamp}");
        }
        assert_eq!(
            FrameAnchor::default().delay_ns(7, 0, 160, now, &FrameClock::default()),
            None
        );
    }
}
