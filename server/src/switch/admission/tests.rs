#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use super::*;
use crate::vendors::browser::CLOSE_REASON_LEN_MAX;

const MS: Duration = Duration::from_millis(1);
const LIMITS: AdmissionLimits = AdmissionLimits {
    busy_share_max: 0.85,
    tick_late_max: Duration::from_millis(5),
};

/// A shard whose load is made up: so much of its core for each call with media, and something besides.
struct Shard {
    admission: Admission,
    now: Instant,
    cpu: Duration,
    media: Duration,
    /// When each call will have media.
    calls: Vec<Instant>,
    call_cost: f64,
    /// Handshakes and the like.
    besides: f64,
    late: Duration,
    /// The busiest that it ever was.
    peak: f64,
}

impl Shard {
    fn new(call_cost: f64) -> Self {
        Self::with_limits(call_cost, LIMITS)
    }

    fn with_limits(call_cost: f64, limits: AdmissionLimits) -> Self {
        Self {
            admission: Admission::new(limits),
            now: Instant::now(),
            cpu: Duration::ZERO,
            media: Duration::ZERO,
            calls: Vec::new(),
            call_cost,
            besides: 0.05,
            late: Duration::ZERO,
            peak: 0.0,
        }
    }

    fn with_media(&self) -> usize {
        self.calls.iter().filter(|from| **from <= self.now).count()
    }

    /// Time passes; the shard looks at itself every 100 ms.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            let step = 100 * MS;
            let media = self.with_media() as f64 * self.call_cost;
            self.peak = self.peak.max(media + self.besides);
            self.media += step.mul_f64(media.min(1.0));
            self.cpu += step.mul_f64((media + self.besides).min(1.0));
            self.now += step;
            assert!(self.admission.is_due(self.now));
            let measures = Measures {
                cpu: self.cpu,
                media: self.media,
                ticks: Lateness {
                    ticks: 100,
                    sum: self.late * 100,
                },
                calls: self.calls.len(),
                calls_with_media: self.with_media(),
            };
            self.admission.look(self.now, &measures);
            assert!(!self.admission.is_due(self.now + 99 * MS));
        }
    }

    /// Somebody asks for so many calls, which get media after `media_after`; how many were let in.
    fn offer(&mut self, count: usize, media_after: Duration) -> usize {
        let admitted = (0..count).filter(|_| {
            let has_room = self.admission.overload(self.calls.len()).is_none();
            if has_room {
                self.calls.push(self.now + media_after);
            }
            has_room
        });
        admitted.count()
    }
}

#[test]
fn an_idle_shard_takes_calls_and_a_busy_one_says_how_busy() {
    let mut shard = Shard::new(0.003);
    assert_eq!(shard.offer(1, Duration::ZERO), 1);
    shard.offer(1_000, 5_000 * MS);
    let refusal = Refusal::from(shard.admission.overload(shard.calls.len()).unwrap());
    assert_eq!(
        refusal.message,
        "the shard is 0 % busy, 85 % with this call and those that begin; its limit is 85 % (admission_busy_pct_max)"
    );
    shard.calls.truncate(1);
    shard.besides = 0.9;
    shard.pass(2_000 * MS);
    let overload = shard.admission.overload(1).unwrap();
    let refusal = Refusal::from(overload);
    assert_eq!(refusal.code.close_code(), 1013);
    assert_eq!((refusal.fault, refusal.cause.0), (Fault::Us, 42));
    assert_eq!(
        refusal.message,
        "the shard is 90 % busy; its limit is 85 % (admission_busy_pct_max)"
    );
}

#[test]
fn a_short_peak_closes_nothing() {
    let mut shard = Shard::new(0.003);
    shard.besides = 0.3;
    shard.pass(3_000 * MS);
    shard.besides = 1.0;
    shard.pass(200 * MS);
    assert_eq!(shard.offer(1, Duration::ZERO), 1);
    shard.pass(800 * MS);
    assert_eq!(shard.offer(1, Duration::ZERO), 0, "a second is no peak");
}

/// Whatever comes at once, and however late its media begins, the shard ends up below its limit.
#[test]
fn a_burst_does_not_overshoot() {
    for (call_cost, media_after) in [
        (0.003, 300 * MS),
        (0.003, 20_000 * MS),
        (0.0005, 300 * MS),
        (0.0005, 20_000 * MS),
    ] {
        let mut shard = Shard::new(call_cost);
        shard.pass(1_000 * MS);
        let mut refused = 0;
        for _ in 0..3_000 {
            refused += 500 - shard.offer(500, media_after);
            shard.pass(100 * MS);
        }
        assert!(refused > 0);
        assert!(shard.peak <= 0.85, "{} at {call_cost}", shard.peak);
        // And it is used: a burst does not scare the shard for good.
        assert!(shard.peak > 0.75, "{} at {call_cost}", shard.peak);
    }
}

/// Calls that end make room for as many, after one good second too.
#[test]
fn room_is_given_by_the_call() {
    let mut shard = Shard::new(0.003);
    for _ in 0..100 {
        shard.offer(500, 300 * MS);
        shard.pass(100 * MS);
    }
    let full = shard.calls.len();
    shard.calls.truncate(full - 30);
    shard.pass(1_000 * MS);
    let admitted = shard.offer(500, 20_000 * MS);
    // The door opens 5 % below the limit, so there was room for some more.
    assert!((20..=45).contains(&admitted), "{admitted}");
    assert_eq!(shard.offer(500, 20_000 * MS), 0);
    shard.pass(10_000 * MS);
    assert!(
        shard.offer(500, 300 * MS) <= 5,
        "they are still on their way"
    );
}

/// Dearer calls than the first guess are learned from, and the burst after them is smaller.
#[test]
fn what_a_call_costs_is_learned() {
    let mut shard = Shard::new(0.008);
    for _ in 0..50 {
        shard.offer(1, Duration::ZERO);
        shard.pass(200 * MS);
    }
    let share = shard.admission.busy_share();
    let room = ((0.85 - share) / 0.008) as usize;
    let admitted = shard.offer(500, Duration::ZERO);
    assert!(
        admitted <= room + room / 3,
        "{admitted}, there is room for {room}"
    );
    shard.pass(5_000 * MS);
    assert!(shard.peak < 0.95, "{}", shard.peak);
}

#[test]
fn around_its_limit_the_door_does_not_flap() {
    let mut shard = Shard::new(0.003);
    let mut changes = 0;
    let mut was_closed = false;
    for turn in 0..600 {
        // Noise of 2 points around the limit.
        shard.besides = 0.847 + if turn % 2 == 0 { 0.02 } else { -0.02 };
        shard.pass(100 * MS);
        changes += usize::from(shard.admission.is_closed() != was_closed);
        was_closed = shard.admission.is_closed();
    }
    assert!(changes <= 1, "{changes} changes in a minute");
    assert!(was_closed);
    shard.besides = 0.75;
    shard.pass(2_000 * MS);
    assert!(!shard.admission.is_closed());
}

/// A core that is shared with others: the thread hardly works, and comes late.
#[test]
fn late_ticks_close_the_door_too() {
    let mut shard = Shard::new(0.003);
    shard.besides = 0.3;
    shard.late = 8 * MS;
    shard.pass(2_000 * MS);
    let refusal = Refusal::from(shard.admission.overload(0).unwrap());
    assert_eq!(refusal.cause.0, 42);
    assert_eq!(
        refusal.message,
        "the shard's ticks are 8 ms late; its limit is 5 ms (admission_tick_late_ms_max)"
    );
    shard.late = Duration::ZERO;
    shard.pass(1_000 * MS);
    assert!(!shard.admission.is_closed());
}

/// A host that stands still, once or for a second, is no load.
#[test]
fn one_standstill_closes_nothing() {
    let mut shard = Shard::new(0.003);
    shard.besides = 0.3;
    shard.pass(2_000 * MS);
    shard.late = Duration::from_secs(1);
    shard.pass(300 * MS);
    assert!(!shard.admission.is_closed());
    shard.late = Duration::ZERO;
    shard.pass(1_000 * MS);
    assert!(!shard.admission.is_closed());
}

#[test]
fn both_limits_can_be_switched_off() {
    let none = AdmissionLimits {
        busy_share_max: 1.0,
        tick_late_max: Duration::ZERO,
    };
    let mut shard = Shard::with_limits(0.003, none);
    shard.besides = 1.0;
    shard.late = Duration::from_secs(1);
    shard.pass(5_000 * MS);
    assert_eq!(shard.offer(1_000, Duration::ZERO), 1_000);
}

/// An hour without a look is one measure: what was before it is forgotten.
#[test]
fn after_a_rest_only_the_rest_counts() {
    let mut shard = Shard::new(0.003);
    shard.besides = 1.0;
    shard.pass(2_000 * MS);
    assert!(shard.admission.is_closed());
    shard.now += Duration::from_secs(3_600);
    shard.besides = 0.0;
    shard.pass(100 * MS);
    assert!(!shard.admission.is_closed());
    assert!(shard.admission.busy_share() < 0.01);
}

#[test]
fn every_sentence_fits_a_close_frame() {
    let all = [
        Overload::Busy {
            share: 0.98,
            expected: 9.99,
            share_max: 0.99,
        },
        Overload::Late {
            tick: Duration::from_secs(100),
            tick_max: Duration::from_secs(1),
        },
    ];
    for overload in all {
        let refusal = Refusal::from(overload);
        assert!(refusal.message.len() <= CLOSE_REASON_LEN_MAX, "{refusal}");
    }
}
