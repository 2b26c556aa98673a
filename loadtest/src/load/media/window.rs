//! What happened in one second, in one thread or in all of them; and the two clocks of one moment.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::histogram::DelayHistogram;
use super::sys;
use crate::load::report::BothWays;

/// Seconds that are kept until they are taken; then the oldest are dropped.
pub const WINDOWS_MAX: usize = 900;

/// One second of all legs. The direction of a received packet is that in which the other leg of the call sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaWindow {
    /// Its end.
    pub at: Instant,
    /// RTP packets sent.
    pub sent: BothWays<u64>,
    /// RTP packets received, without duplicates.
    pub received: BothWays<u64>,
    /// Packets that are missing, by sequence numbers; those that came late after all are taken off in the second in
    /// which they came.
    pub lost: BothWays<i64>,
    /// From the send of a frame to the kernel's receipt of the packet that carries it.
    pub delays: BothWays<DelayHistogram>,
    /// How much later than due the packets were sent.
    pub lateness: DelayHistogram,
    /// What the threads used of their cores.
    pub thread_cpu: Duration,
}

impl MediaWindow {
    /// A window in which nothing happened.
    pub fn new(at: Instant) -> Self {
        Self {
            at,
            sent: BothWays::default(),
            received: BothWays::default(),
            lost: BothWays::default(),
            delays: BothWays::default(),
            lateness: DelayHistogram::default(),
            thread_cpu: Duration::ZERO,
        }
    }

    /// Adds what happened elsewhere in the same second, or, for a summary, in another one.
    pub fn merge(&mut self, other: &Self) {
        self.at = self.at.max(other.at);
        self.sent.a_to_b += other.sent.a_to_b;
        self.sent.b_to_a += other.sent.b_to_a;
        self.received.a_to_b += other.received.a_to_b;
        self.received.b_to_a += other.received.b_to_a;
        self.lost.a_to_b += other.lost.a_to_b;
        self.lost.b_to_a += other.lost.b_to_a;
        self.delays.a_to_b.merge(&other.delays.a_to_b);
        self.delays.b_to_a.merge(&other.delays.b_to_a);
        self.lateness.merge(&other.lateness);
        self.thread_cpu += other.thread_cpu;
    }
}

/// The seconds of one thread that nobody took yet.
#[derive(Default)]
pub(super) struct Windows(Mutex<VecDeque<MediaWindow>>);

impl Windows {
    pub(super) fn push(&self, window: MediaWindow) {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= WINDOWS_MAX {
            windows.pop_front();
        }
        windows.push_back(window);
    }

    fn first_at(&self) -> Option<Instant> {
        let windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.front().map(|window| window.at)
    }

    /// The oldest, if it is of this second.
    fn take(&self, at: Instant) -> Option<MediaWindow> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.pop_front_if(|window| window.at == at)
    }
}

/// The seconds that every thread has ended, each merged.
pub(super) fn take_merged(threads: &[impl AsRef<Windows>]) -> Vec<MediaWindow> {
    let mut merged = Vec::new();
    loop {
        let firsts: Option<Vec<Instant>> = threads
            .iter()
            .map(|windows| windows.as_ref().first_at())
            .collect();
        let Some(at) = firsts.and_then(|firsts| firsts.into_iter().min()) else {
            return merged;
        };
        let mut sum = MediaWindow::new(at);
        for windows in threads {
            if let Some(window) = windows.as_ref().take(at) {
                sum.merge(&window);
            }
        }
        merged.push(sum);
    }
}

/// One moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) monotonic_ns: u64,
    pub(super) realtime_ns: u64,
}

impl Now {
    pub(super) fn read() -> Self {
        Self {
            instant: Instant::now(),
            monotonic_ns: sys::monotonic_ns(),
            realtime_ns: sys::realtime_ns(),
        }
    }

    /// A time of the wall clock near this moment as an `Instant`.
    pub(super) fn instant_of(&self, realtime_ns: u64) -> Option<Instant> {
        match realtime_ns.checked_sub(self.realtime_ns) {
            Some(after) => self.instant.checked_add(Duration::from_nanos(after)),
            None => {
                let before = Duration::from_nanos(self.realtime_ns - realtime_ns);
                self.instant.checked_sub(before)
            }
        }
    }

    /// A time of the wall clock near this moment by the monotonic clock.
    pub(super) fn monotonic_ns_of(&self, realtime_ns: u64) -> u64 {
        self.monotonic_ns
            .wrapping_add(realtime_ns.wrapping_sub(self.realtime_ns))
    }
}
