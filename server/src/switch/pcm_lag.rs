//! Whether a peer that plays audio as it comes has fallen behind what it is sent.
//!
//! Such a peer (Twilio) never makes up for a stall of its network: what came late is played late, and so is all that follows. So
//! it is not sent more than [`BEHIND_MS`] that it has not acknowledged; and when it has caught up after that, what it still has is
//! cleared, for it is old. What it has received and not played is not seen from here.

use std::time::{Duration, Instant};

use crate::pcm::FRAME_MS;

/// More than this on the way, and the rest is not sent. Twice what the longest way there and back takes.
const BEHIND_MS: usize = 500;
/// So little on the way again, and it has caught up.
const CAUGHT_UP_MS: usize = 40;
/// Frames from one look to the next: the kernel is asked ten times a second.
const FRAMES_PER_LOOK: u32 = 5;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// What the last frame was on the wire.
    frame_bytes: usize,
    frames: u32,
    behind_since: Option<Instant>,
}

/// What is to be done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Send {
    /// It goes.
    Now,
    /// It goes behind a clear.
    AfterClear,
    /// It would come too late.
    Not,
}

impl Lag {
    /// The next frame. `on_the_way` gives the bytes that the peer has not acknowledged, at the price of a system call.
    pub(super) fn next(&mut self, now: Instant, on_the_way: impl FnOnce() -> usize) -> Send {
        self.frames = self.frames.wrapping_add(1);
        let looks = self.behind_since.is_some() || self.frames.is_multiple_of(FRAMES_PER_LOOK);
        if self.frame_bytes == 0 || !looks {
            return Send::Now;
        }
        let on_the_way_ms = on_the_way() / self.frame_bytes * FRAME_MS as usize;
        match self.behind_since {
            None if on_the_way_ms > BEHIND_MS => {
                self.behind_since = Some(now);
                Send::Not
            }
            None => Send::Now,
            Some(_) if on_the_way_ms <= CAUGHT_UP_MS => {
                self.behind_since = None;
                Send::AfterClear
            }
            Some(_) => Send::Not,
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind_since.is_some()
    }

    /// For how long the peer has been behind; none: it is not.
    pub(super) fn duration(&self, now: Instant) -> Option<Duration> {
        let since = self.behind_since?;
        Some(now.saturating_duration_since(since))
    }

    /// A frame was written, as so many bytes.
    pub(super) fn written(&mut self, bytes: usize) {
        self.frame_bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 320;

    /// What becomes of `frames` while so much is on the way.
    fn sends(lag: &mut Lag, frames: usize, on_the_way: usize) -> Vec<Send> {
        (0..frames)
            .map(|_| {
                let send = lag.next(Instant::now(), || on_the_way);
                if send != Send::Not {
                    lag.written(FRAME);
                }
                send
            })
            .collect()
    }

    #[test]
    fn a_long_way_is_no_lag() {
        let mut lag = Lag::default();
        assert_eq!(sends(&mut lag, 100, 25 * FRAME), [Send::Now; 100]);
    }

    #[test]
    fn who_falls_behind_is_sent_nothing_until_it_has_caught_up_and_then_a_clear() {
        let mut lag = Lag::default();
        sends(&mut lag, 4, 0);
        assert_eq!(sends(&mut lag, 10, 26 * FRAME), [Send::Not; 10]);
        assert_eq!(sends(&mut lag, 10, 3 * FRAME), [Send::Not; 10], "not yet");
        assert!(lag.duration(Instant::now()).is_some());
        let after = sends(&mut lag, 3, 2 * FRAME);
        assert_eq!(after, [Send::AfterClear, Send::Now, Send::Now]);
        assert_eq!(lag.duration(Instant::now()), None);
    }

    #[test]
    fn the_kernel_is_seldom_asked() {
        let mut lag = Lag::default();
        let mut asked = 0;
        for _ in 0..50 {
            lag.next(Instant::now(), || {
                asked += 1;
                0
            });
            lag.written(FRAME);
        }
        assert_eq!(asked, 10);
    }
}
