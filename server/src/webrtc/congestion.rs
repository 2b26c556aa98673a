//! How much the path towards a peer takes: a target for what we send, from its transport-cc feedback or, without that,
//! from its receiver reports.
//!
//! After the delay-based and the loss-based controller of draft-ietf-rmcat-gcc-02, made for one audio stream: it never
//! probes, it rises only while nothing waits in a queue, and a line that takes all that we send is never asked how much
//! more it took. It changes no codec: what the target leaves for audio is the caller's to spend.

mod sent_packets;

use std::time::{Duration, Instant};

use self::sent_packets::{SentPackets, Ticks};
use crate::rtp::{SequenceNumber, TransportFeedback};

/// The target of a path that nothing bad is known of, in bits per second: more than any audio codec here sends.
pub const TARGET_MAX_BPS: u32 = 256_000;
/// The lowest target in bits per second: what a packet's headers alone need at 50 a second.
pub const TARGET_MIN_BPS: u32 = 16_000;

/// A queue this long is congestion: three packets of audio. Shorter ones come and go with every Wi-Fi.
const QUEUE_DELAY_MAX: Ticks = Ticks::from_ms(60);
/// A queue this short is none.
const QUEUE_DELAY_MIN: Ticks = Ticks::from_ms(20);
/// Arrivals whose quickest tells the length of the queue: jitter delays some packets, a queue all.
const QUEUE_WINDOW: Duration = Duration::from_millis(200);
/// The quickest packet of the last one to two of these is what the path takes without a queue. A queue that we made is gone
/// in less; a longer way (a handover to another cell) is no queue for longer than that; clocks drift apart by 1 ms.
const BASE_WINDOW: Duration = Duration::from_secs(5);
/// What arrived in so long is the rate that the path delivers.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// Losses are averaged over this long: of 200 packets of 20 ms, 5 % by chance look like 10 % once in a thousand times.
const LOSS_WINDOW: Duration = Duration::from_secs(4);
/// Without a feedback for so long, the reports are what is known.
const FEEDBACK_TIMEOUT: Duration = Duration::from_secs(2);
/// Packets that a fraction of loss is computed from at least.
const LOSS_PACKETS_MIN: u32 = 10;

/// We are quiet, and what fills the path is not ours, while we send less than this part of what we send while somebody speaks.
const QUIET_SHARE: f64 = 0.5;
/// What we sent while somebody spoke is remembered for so long: it halves in that time.
const SPOKEN_HALF_LIFE: Duration = Duration::from_secs(60);

/// Of the rate that a congested path delivers, what we send: the rest empties its queue.
const BACK_OFF: f64 = 0.85;
/// From one decrease to the next. The path's answer to the first comes after a round trip and a queue.
const DECREASE_INTERVAL: Duration = Duration::from_millis(500);
/// From a decrease to the first increase.
const HOLD: Duration = Duration::from_secs(2);
/// Growth in one second.
const INCREASE_PER_S: f64 = 1.08;
/// The same around the rate at which the path was congested last.
const CAREFUL_INCREASE_PER_S: f64 = 1.02;
/// Around: from so much below to so much above.
const CAREFUL_BELOW: f64 = 0.93;
const CAREFUL_ABOVE: f64 = 1.10;
/// From this loss on the path is congested, however short its queue (GCC section 6).
const LOSS_MAX: f64 = 0.10;
/// Up to this loss the path takes more (GCC section 6).
const LOSS_MIN: f64 = 0.02;

/// The controller of what we send to one peer.
#[derive(Debug)]
pub struct CongestionController {
    epoch: Instant,
    sent: SentPackets,
    base: BaseDelay,
    target_bps: f64,
    last_feedback: Option<Instant>,
    last_decrease: Option<Instant>,
    /// What passed when the path was congested last.
    congested_bps: f64,
    /// What we send while somebody speaks.
    spoken_bps: f64,
    last_control: Instant,
}

impl CongestionController {
    /// A path that nothing is known of.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            sent: SentPackets::new(),
            base: BaseDelay::default(),
            target_bps: f64::from(TARGET_MAX_BPS),
            last_feedback: None,
            last_decrease: None,
            congested_bps: 0.0,
            spoken_bps: 0.0,
            last_control: now,
        }
    }

    /// The transport-wide number of the packet that is sent next.
    pub fn next_sequence_number(&self) -> SequenceNumber {
        self.sent.next_sequence_number()
    }

    /// Notes the packet that bears [`CongestionController::next_sequence_number`]; `len` in bytes of UDP payload.
    pub fn handle_sent(&mut self, now: Instant, len: usize) {
        self.sent.push(Ticks::since(self.epoch, now), len);
    }

    /// Takes the peer's feedback. What it says of packets that were never sent, or long ago, is ignored.
    pub fn handle_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        let at = Ticks::since(self.epoch, now);
        self.sent.handle_feedback_begin(feedback);
        let mut told_any = false;
        for packet in feedback.packets() {
            if let Some(delay) = self.sent.handle_arrival(&packet) {
                self.base.handle_delay(at, delay);
                told_any = true;
            }
        }
        if !told_any {
            return;
        }
        self.last_feedback = Some(now);
        let loss = self.loss_fraction(now).unwrap_or(0.0);
        self.control(now, self.queue_delay(), loss);
    }

    /// Takes the loss of a receiver report, 0..=1. Ignored while feedback comes, which knows it sooner and better.
    pub fn handle_report(&mut self, now: Instant, loss_fraction: f64) {
        if !self.has_feedback(now) {
            self.control(now, None, loss_fraction);
        }
    }

    /// What we send takes another path from now on: what was learnt of delays holds no more, what was learnt of the rate
    /// may.
    pub fn handle_path_change(&mut self) {
        self.sent.forget();
        self.base = BaseDelay::default();
    }

    /// What may be sent, in bits per second of UDP payload.
    pub fn target_bps(&self) -> u32 {
        self.target_bps as u32
    }

    /// Of what we sent in the last 4 s, what the feedback says was lost, 0..=1. None without fresh feedback, or before
    /// there is enough of it.
    pub fn loss_fraction(&self, now: Instant) -> Option<f64> {
        if !self.has_feedback(now) {
            return None;
        }
        self.sent
            .loss_fraction(Ticks::of(LOSS_WINDOW), LOSS_PACKETS_MIN)
    }

    fn has_feedback(&self, now: Instant) -> bool {
        self.last_feedback
            .is_some_and(|last| now.saturating_duration_since(last) < FEEDBACK_TIMEOUT)
    }

    /// How long packets wait on the path; none while that is not known.
    fn queue_delay(&self) -> Option<Ticks> {
        let quickest = self.sent.quickest(Ticks::of(QUEUE_WINDOW))?;
        Some(quickest.later_than(self.base.quickest()?))
    }

    fn control(&mut self, now: Instant, queue: Option<Ticks>, loss: f64) {
        let elapsed = now.saturating_duration_since(self.last_control);
        self.last_control = now;
        let faded = 0.5_f64.powf(elapsed.as_secs_f64() / SPOKEN_HALF_LIFE.as_secs_f64());
        self.spoken_bps = self.sent_bps(now).max(self.spoken_bps * faded);
        let since_decrease = self
            .last_decrease
            .map(|last| now.saturating_duration_since(last));
        let is_queueing = queue.is_some_and(|queue| queue > QUEUE_DELAY_MAX);
        let is_losing = loss > LOSS_MAX;
        if is_queueing || is_losing {
            if since_decrease.is_none_or(|since| since >= DECREASE_INTERVAL) {
                self.decrease(now, is_queueing, loss);
            }
            return;
        }
        let is_empty = queue.is_none_or(|queue| queue < QUEUE_DELAY_MIN) && loss < LOSS_MIN;
        if is_empty && since_decrease.is_some_and(|since| since >= HOLD) {
            // At most a second's worth: after a pause nothing is known of the time in between.
            let seconds = elapsed.min(Duration::from_secs(1)).as_secs_f64();
            let careful = self.congested_bps * CAREFUL_BELOW..self.congested_bps * CAREFUL_ABOVE;
            let per_s = match careful.contains(&self.target_bps) {
                true => CAREFUL_INCREASE_PER_S,
                false => INCREASE_PER_S,
            };
            self.set_target(self.target_bps * per_s.powf(seconds));
        }
    }

    fn decrease(&mut self, now: Instant, is_queueing: bool, loss: f64) {
        let sent_bps = self.sent_bps(now);
        let passed_bps = if sent_bps < QUIET_SHARE * self.spoken_bps.min(self.target_bps) {
            // A pause in what is said: that little passed says nothing of what the path takes. If it takes less than a voice,
            // the voice will show it.
            self.spoken_bps
        } else if self.has_feedback(now) {
            self.sent.delivered_bps(Ticks::of(RATE_WINDOW))
        } else {
            // Nothing tells what arrived.
            sent_bps * (1.0 - loss)
        };
        // Without a queue to empty, what passes is what the path takes.
        let factor = if is_queueing { BACK_OFF } else { 1.0 };
        self.set_target(self.target_bps.min(passed_bps * factor));
        self.last_decrease = Some(now);
        self.congested_bps = passed_bps;
    }

    fn sent_bps(&self, now: Instant) -> f64 {
        let at = Ticks::since(self.epoch, now);
        self.sent.sent_bps(at, Ticks::of(RATE_WINDOW))
    }

    fn set_target(&mut self, target_bps: f64) {
        self.target_bps = target_bps.clamp(f64::from(TARGET_MIN_BPS), f64::from(TARGET_MAX_BPS));
    }
}

/// The quickest packet of late. Delays are differences of two clocks: only their distance from each other means something.
#[derive(Debug, Default)]
struct BaseDelay {
    /// Of the window that runs, and when that began.
    current: Option<(Ticks, Ticks)>,
    /// Of the window before it.
    previous: Option<Ticks>,
}

impl BaseDelay {
    fn handle_delay(&mut self, at: Ticks, delay: Ticks) {
        self.current = match self.current {
            Some((quickest, began)) if at.later_than(began) < Ticks::of(BASE_WINDOW) => {
                Some((quickest.earlier_of(delay), began))
            }
            before => {
                self.previous = before.map(|(quickest, _)| quickest);
                Some((delay, at))
            }
        };
    }

    fn quickest(&self) -> Option<Ticks> {
        let (current, _) = self.current?;
        Some(
            self.previous
                .map_or(current, |previous| current.earlier_of(previous)),
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
