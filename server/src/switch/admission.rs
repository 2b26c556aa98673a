//! Whether the shard has room for one call more: by the share of its core that its thread uses, and by how late its ticks
//! are. New calls are refused before running ones suffer. Pure: clocks and counts are told.
//!
//! Two measures, since either alone is blind: a thread that uses its core up still ticks in time for a while, and on a core
//! that it shares with others it ticks late without using much. The busy share is that of the whole thread: handshakes and
//! signalling run there as well as media.
//!
//! What was measured is about a second old, and a call costs nothing before its media flows. So the calls that the measure
//! does not show yet are counted in, at what a call costs here, and a burst of set-ups finds the door closed before its media
//! begins. The door opens again a step below its limit, so that it does not flap around it.
//!
//! Deliberately not here: Opus that gives CPU back (`cpu_pressure`), and limits in numbers (`calls_max`).

use std::time::{Duration, Instant};

use shards::tick::Lateness;

use crate::call::q850::Q850Cause;
use crate::fault::{Fault, Refusal, RefusalCode};

/// How often the measures are taken.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What was measured so long ago counts a third: within a second a measure follows by 96 %.
const MEMORY: Duration = Duration::from_millis(300);
/// Lateness is the median of so many looks: a host that stands still once, for however long, is no reason to refuse calls.
const LATENESS_LOOKS: usize = 10;
/// How long it takes to believe that calls cost less than they did: a call that has its bridge may still be silent.
const COST_MEMORY: Duration = Duration::from_secs(5);
/// The share of a core that a call is taken to cost before enough of them have been seen: what a transcoded one may cost.
const CALL_COST_AT_FIRST: f64 = 1.0 / 300.0;
/// So many calls must have media before their cost is believed, and the first guess counts as much as so many.
const CALLS_TO_LEARN_FROM: f64 = 20.0;
/// Calls on hold cost nearly nothing, and may all come back.
const CALL_COST_MIN: f64 = CALL_COST_AT_FIRST / 10.0;
/// Closed, it opens again at this share of its limit.
const OPENS_AT: f64 = 0.95;

/// What `shards.toml` allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AdmissionLimits {
    /// Busy share of the core; 1: no limit.
    pub busy_share_max: f64,
    /// Lateness of the ticks; zero: no limit.
    pub tick_late_max: Duration,
}

/// What is told at a look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measures {
    /// CPU time of the shard's thread since its start.
    pub cpu: Duration,
    /// Of it, time in which the media loop worked.
    pub media: Duration,
    /// Ticks since the last look.
    pub ticks: Lateness,
    /// Calls that exist.
    pub calls: usize,
    /// Of these, calls with media.
    pub calls_with_media: usize,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Overload {
    /// The thread's share of its core now, and with another call once all that are on their way have media.
    Busy {
        share: f64,
        expected: f64,
        share_max: f64,
    },
    /// How late ticks are.
    Late { tick: Duration, tick_max: Duration },
}

/// The shard's door for new calls.
#[derive(Debug)]
pub(super) struct Admission {
    limits: AdmissionLimits,
    last: Option<Last>,
    busy_share: f64,
    media_share: f64,
    /// Calls with media, smoothed like the shares: those that the shares show.
    calls_shown: f64,
    /// The mean of each of the last looks, in a ring.
    ticks_late_s: [f64; LATENESS_LOOKS],
    looks: usize,
    tick_late_s: f64,
    call_cost: f64,
    closed_by_busy: bool,
    closed_by_lateness: bool,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    at: Instant,
    cpu: Duration,
    media: Duration,
    calls_with_media: usize,
}

impl Admission {
    pub fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            last: None,
            busy_share: 0.0,
            media_share: 0.0,
            calls_shown: 0.0,
            ticks_late_s: [0.0; LATENESS_LOOKS],
            looks: 0,
            tick_late_s: 0.0,
            call_cost: CALL_COST_AT_FIRST,
            closed_by_busy: false,
            closed_by_lateness: false,
        }
    }

    /// Whether a look would do anything.
    pub fn is_due(&self, now: Instant) -> bool {
        self.last
            .is_none_or(|last| now.saturating_duration_since(last.at) >= LOOK_EVERY)
    }

    /// Takes the measures.
    pub fn look(&mut self, now: Instant, measures: &Measures) {
        let &Measures {
            cpu,
            media,
            calls_with_media,
            ..
        } = measures;
        let Some(last) = self.last.replace(Last {
            at: now,
            cpu,
            media,
            calls_with_media,
        }) else {
            return;
        };
        let passed = now.saturating_duration_since(last.at).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        let weight_of = |memory: Duration| 1.0 - (-passed / memory.as_secs_f64()).exp();
        let weight = weight_of(MEMORY);
        let follow =
            |smoothed: &mut f64, measured: f64| *smoothed += weight * (measured - *smoothed);
        let share = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / passed;
        follow(&mut self.busy_share, share(cpu, last.cpu));
        follow(&mut self.media_share, share(media, last.media));
        // Those that came meanwhile have hardly cost anything yet.
        let calls_shown = calls_with_media.min(last.calls_with_media);
        follow(&mut self.calls_shown, calls_shown as f64);
        if passed > LOOK_EVERY.as_secs_f64() * LATENESS_LOOKS as f64 {
            // A rest, or one long standstill: what was before it is forgotten.
            self.ticks_late_s = [0.0; LATENESS_LOOKS];
        }
        self.look_at_ticks(measures.ticks.mean());
        if self.calls_shown >= CALLS_TO_LEARN_FROM {
            let guessed = CALLS_TO_LEARN_FROM * CALL_COST_AT_FIRST;
            let cost = (self.media_share + guessed) / (self.calls_shown + CALLS_TO_LEARN_FROM);
            let cheaper = weight_of(COST_MEMORY) * (cost.max(CALL_COST_MIN) - self.call_cost);
            self.call_cost = cost.max(self.call_cost + cheaper);
        }
        self.judge(measures.calls);
    }

    fn look_at_ticks(&mut self, late: Duration) {
        if let Some(oldest) = self.ticks_late_s.get_mut(self.looks % LATENESS_LOOKS) {
            *oldest = late.as_secs_f64();
        }
        self.looks += 1;
        let mut sorted = self.ticks_late_s;
        sorted.sort_unstable_by(f64::total_cmp);
        self.tick_late_s = sorted.get(LATENESS_LOOKS / 2).copied().unwrap_or(0.0);
    }

    /// Why no call can begin beside the `calls` that exist, if none can.
    pub fn overload(&mut self, calls: usize) -> Option<Overload> {
        self.judge(calls);
        if self.closed_by_busy {
            return Some(Overload::Busy {
                share: self.busy_share,
                expected: self.expected_share(calls),
                share_max: self.limits.busy_share_max,
            });
        }
        self.closed_by_lateness.then(|| Overload::Late {
            tick: self.tick_late(),
            tick_max: self.limits.tick_late_max,
        })
    }

    /// The thread's share of its core, over about a second.
    pub fn busy_share(&self) -> f64 {
        self.busy_share
    }

    /// How late ticks are, over about a second.
    pub fn tick_late(&self) -> Duration {
        Duration::from_secs_f64(self.tick_late_s.max(0.0))
    }

    /// No call can begin.
    pub fn is_closed(&self) -> bool {
        self.closed_by_busy || self.closed_by_lateness
    }

    /// The busy share once every call has media, with another one.
    fn expected_share(&self, calls: usize) -> f64 {
        let unseen = (calls as f64 - self.calls_shown).max(0.0);
        self.busy_share + (unseen + 1.0) * self.call_cost
    }

    fn judge(&mut self, calls: usize) {
        let AdmissionLimits {
            busy_share_max,
            tick_late_max,
        } = self.limits;
        let is_closed = |was_closed: bool, measured: f64, limit: f64| {
            let limit = if was_closed { limit * OPENS_AT } else { limit };
            measured > limit
        };
        let expected = self.expected_share(calls);
        self.closed_by_busy =
            busy_share_max < 1.0 && is_closed(self.closed_by_busy, expected, busy_share_max);
        let late_max_s = tick_late_max.as_secs_f64();
        self.closed_by_lateness =
            late_max_s > 0.0 && is_closed(self.closed_by_lateness, self.tick_late_s, late_max_s);
    }
}

impl From<Overload> for Refusal {
    fn from(overload: Overload) -> Self {
        let percent = |share: f64| (share * 100.0).round();
        // Short enough for the reason of a WebSocket's close, 123 bytes.
        let message = match overload {
            Overload::Busy {
                share,
                expected,
                share_max,
            } if share < share_max => format!(
                "the shard is {} % busy, {} % with this call and those that begin; its limit is {} % (admission_busy_pct_max)",
                percent(share),
                percent(expected),
                percent(share_max),
            ),
            Overload::Busy {
                share, share_max, ..
            } => format!(
                "the shard is {} % busy; its limit is {} % (admission_busy_pct_max)",
                percent(share),
                percent(share_max),
            ),
            Overload::Late { tick, tick_max } => format!(
                "the shard's ticks are {} ms late; its limit is {} ms (admission_tick_late_ms_max)",
                tick.as_millis(),
                tick_max.as_millis(),
            ),
        };
        Self::new(RefusalCode::Overload, Fault::Us, message).with_cause(Q850Cause::CONGESTION)
    }
}

#[cfg(test)]
mod tests;
