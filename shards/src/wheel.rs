//! Many deadlines on one tick: a hashed timing wheel (Varghese and Lauck, 1987, scheme 6).
//!
//! Scheduling is O(1) and allocates only while more timers are pending than ever before. There is no cancel: the owner
//! of a key keeps its own deadline and ignores, or schedules anew, what comes too soon for it. A timer never fires
//! early, and at most one tick of the wheel late, given an [`TimerWheel::expire`] per tick. The wheel itself has no
//! limit: whoever schedules limits how many keys it has.

use std::time::{Duration, Instant};

/// Slots of the wheel: at a granularity of 1 ms a turn takes 4 s, and a timer that is further away is looked at once a
/// turn.
const SLOTS: u64 = 4096;

/// End of a list.
const NONE: u32 = u32::MAX;

/// What an owner of a key knows of its timers on the wheel: the two earliest. It keeps them few. A timer can't be taken back: when
/// the deadline was put forward, the later one still fires. Were each of those answered with a new one, they would never get
/// fewer, and would grow with time.
#[derive(Debug, Default)]
pub struct Alarm {
    earliest: Option<Instant>,
    /// Pending too, not before `earliest`.
    later: Option<Instant>,
}

impl Alarm {
    /// `key` is to fire at `due`, unless it fires before that anyway.
    pub fn set<K: Copy>(&mut self, wheel: &mut TimerWheel<K>, due: Instant, key: K) {
        if self.earliest.is_none_or(|earliest| due < earliest) {
            self.later = self.earliest.replace(due).or(self.later);
            wheel.schedule(due, key);
        }
    }

    /// The key fired. False: nothing is due, it was put off or forgotten. True: do what is due, then set it again.
    pub fn fired(&mut self, now: Instant) -> bool {
        let is_due = self.earliest.is_some_and(|earliest| earliest <= now);
        if is_due {
            self.earliest = self.later.take();
        }
        is_due
    }
}

/// Pending timers with keys of type `K`.
#[derive(Debug)]
pub struct TimerWheel<K: Copy> {
    start: Instant,
    granularity_ns: u128,
    /// The last tick that was expired.
    expired_tick: u64,
    /// First timer of each slot.
    slots: Box<[u32]>,
    /// All timers, pending and free, linked into lists.
    timers: Vec<Timer<K>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
struct Timer<K> {
    tick: u64,
    key: K,
    next: u32,
}

impl<K: Copy> TimerWheel<K> {
    /// An empty wheel whose ticks are counted from `start`, `granularity` apart. A granularity of zero counts as 1 ns.
    pub fn new(start: Instant, granularity: Duration) -> Self {
        Self {
            start,
            granularity_ns: granularity.as_nanos().max(1),
            expired_tick: 0,
            slots: vec![NONE; SLOTS as usize].into_boxed_slice(),
            timers: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// Makes room for so many pending timers in all, so that scheduling them allocates nothing.
    pub fn reserve(&mut self, timers: usize) {
        let stored = self.timers.len();
        self.timers.reserve(timers.saturating_sub(stored));
    }

    /// `key` is due at `at`; a time in the past is due at the next tick. The same key may be pending many times.
    ///
    /// # Panics
    /// More than 2^32 - 2 timers are pending.
    pub fn schedule(&mut self, at: Instant, key: K) {
        let since_start_ns = at.saturating_duration_since(self.start).as_nanos();
        let tick = u64::try_from(since_start_ns.div_ceil(self.granularity_ns)).unwrap_or(u64::MAX);
        let tick = tick.max(self.expired_tick + 1);
        let slot = slot_of(tick);
        let timer = Timer {
            tick,
            key,
            next: self.slots[slot],
        };
        let index = self.store(timer);
        self.slots[slot] = index;
        self.len += 1;
    }

    /// Calls `due` for every key whose time has come at `now`; within one tick in no particular order.
    pub fn expire(&mut self, now: Instant, mut due: impl FnMut(K)) {
        let since_start_ns = now.saturating_duration_since(self.start).as_nanos();
        let now_tick = u64::try_from(since_start_ns / self.granularity_ns).unwrap_or(u64::MAX);
        if now_tick <= self.expired_tick {
            return;
        }
        // After a long pause every slot is visited once, not once per tick.
        let first_tick = (self.expired_tick + 1).max(now_tick.saturating_sub(SLOTS - 1));
        for tick in first_tick..=now_tick {
            self.expire_slot(slot_of(tick), now_tick, &mut due);
        }
        self.expired_tick = now_tick;
    }

    /// How many timers are pending.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No timer is pending.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fires what is due in `slot` and keeps the rest for a later turn.
    fn expire_slot(&mut self, slot: usize, now_tick: u64, due: &mut impl FnMut(K)) {
        let mut index = std::mem::replace(&mut self.slots[slot], NONE);
        while index != NONE {
            let timer = &mut self.timers[index as usize];
            let next = timer.next;
            if timer.tick <= now_tick {
                timer.next = self.free;
                self.free = index;
                self.len -= 1;
                due(timer.key);
            } else {
                timer.next = self.slots[slot];
                self.slots[slot] = index;
            }
            index = next;
        }
    }

    fn store(&mut self, timer: Timer<K>) -> u32 {
        if self.free == NONE {
            let index = u32::try_from(self.timers.len()).unwrap_or(NONE);
            assert!(index != NONE, "more than 2^32 - 2 timers are pending");
            self.timers.push(timer);
            return index;
        }
        let index = self.free;
        self.free = std::mem::replace(&mut self.timers[index as usize], timer).next;
        index
    }
}

fn slot_of(tick: u64) -> usize {
    (tick % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn fired(wheel: &mut TimerWheel<u32>, now: Instant) -> Vec<u32> {
        let mut keys = Vec::new();
        wheel.expire(now, |key| keys.push(key));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_timer_fires_at_its_tick_not_before() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start, MS);
        wheel.schedule(start + MS * 20, 1);
        wheel.schedule(start + MS * 20 + Duration::from_nanos(1), 2);
        assert!(fired(&mut wheel, start + MS * 20 - Duration::from_nanos(1)).is_empty());
        assert_eq!(fired(&mut wheel, start + MS * 20), [1]);
        assert_eq!(fired(&mut wheel, start + MS * 21), [2]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_time_in_the_past_is_due_at_the_next_tick() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start, MS);
        assert!(fired(&mut wheel, start + MS * 100).is_empty());
        wheel.schedule(start, 1);
        assert!(fired(&mut wheel, start + MS * 100).is_empty());
        assert_eq!(fired(&mut wheel, start + MS * 101), [1]);
    }

    #[test]
    fn a_timer_many_turns_away_fires_after_one_long_pause() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start, MS);
        wheel.schedule(start + Duration::from_secs(3600), 1);
        wheel.schedule(start + Duration::from_secs(7200), 2);
        assert_eq!(fired(&mut wheel, start + Duration::from_secs(3600)), [1]);
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn pending_timers_are_stored_once() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start, MS);
        for round in 0..10_000 {
            wheel.schedule(start + MS * (round + 20), round);
            wheel.expire(start + MS * round, |_| ());
        }
        assert!(wheel.timers.len() < 30, "{}", wheel.timers.len());
    }

    /// A deadline that is now near, now far, as of somebody who hears packets.
    #[test]
    fn an_alarm_that_is_put_forward_again_and_again_stays_cheap() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start, MS);
        let mut alarm = Alarm::default();
        let (mut far, mut fired, mut spurious) = (start + MS * 1_000, 0, 0);
        for now in (0..60_000).map(|ms| start + MS * ms) {
            let mut due = Vec::new();
            wheel.expire(now, |key| due.push(key));
            for key in due {
                if alarm.fired(now) {
                    fired += 1;
                    if far <= now {
                        far = now + MS * 1_000;
                    }
                } else {
                    spurious += 1;
                }
                alarm.set(&mut wheel, far, key);
            }
            // A packet wants an answer within 100 ms.
            alarm.set(&mut wheel, far.min(now + MS * 100), 7);
            assert!(wheel.len() <= 3, "{} timers", wheel.len());
        }
        assert!((590..=700).contains(&fired), "{fired}");
        assert!(spurious <= 70, "{spurious} for nothing");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Schedule { in_us: u64 },
        Pass { us: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0_u64..30_000_000).prop_map(|in_us| Step::Schedule { in_us }),
            3 => (0_u64..50_000).prop_map(|in_us| Step::Schedule { in_us }),
            6 => (0_u64..3_000).prop_map(|us| Step::Pass { us }),
            1 => (0_u64..20_000_000).prop_map(|us| Step::Pass { us }),
        ]
    }

    proptest! {
        /// The oracle is a heap of exact times: what it holds due one tick ago must have fired, what it holds due later
        /// than now must not.
        #[test]
        fn fires_what_a_heap_would(steps in prop::collection::vec(step(), 1..300)) {
            let start = Instant::now();
            let mut now = start;
            let mut wheel = TimerWheel::new(start, MS);
            let mut heap = BinaryHeap::new();
            let mut deadlines = Vec::new();
            let mut has_fired = Vec::new();
            for step in steps {
                match step {
                    Step::Schedule { in_us } => {
                        let at = now + Duration::from_micros(in_us);
                        let key = u32::try_from(deadlines.len()).unwrap_or(0);
                        wheel.schedule(at, key);
                        heap.push(Reverse((at, key)));
                        deadlines.push(at);
                        has_fired.push(false);
                    }
                    Step::Pass { us } => {
                        now += Duration::from_micros(us);
                        let mut early = None;
                        wheel.expire(now, |key| {
                            let key = key as usize;
                            if deadlines[key] > now || has_fired[key] {
                                early = Some(key);
                            }
                            has_fired[key] = true;
                        });
                        prop_assert_eq!(early, None, "fired early or twice");
                        while let Some(Reverse((at, key))) = heap.peek().copied() {
                            if at + MS > now {
                                break;
                            }
                            heap.pop();
                            prop_assert!(has_fired[key as usize], "{key} is late");
                        }
                    }
                }
                prop_assert_eq!(wheel.len(), has_fired.iter().filter(|fired| !**fired).count());
            }
        }
    }
}
