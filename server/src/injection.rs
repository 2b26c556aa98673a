//! Faults on purpose, for the tests of what contracts section 7 promises: a panic at a chosen place of one shard. And work
//! on purpose, for those of admission by load.
//!
//! This file is part of test builds alone (`debug_assertions`): a release build has neither the traps nor the route that
//! sets them, and code that named them would not compile.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::id::CallSid;

/// Where a shard panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// While a packet of a call is handled.
    Packet,
    /// While a timer of a call is handled.
    Timer,
    /// In the session that speaks the vendor's dialect.
    Adapter,
    /// In the media loop itself, outside of any call.
    Tick,
    /// While the figures of a call that ends are put together.
    Ending,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packet => "packet",
            Self::Timer => "timer",
            Self::Adapter => "adapter",
            Self::Tick => "tick",
            Self::Ending => "ending",
        })
    }
}

/// What a shard has to carry besides its calls, at every tick.
#[derive(Debug, Clone, Copy, Default)]
pub struct Burden {
    /// It works so long.
    pub busy: Duration,
    /// It is held up so long without working, as by another process on its core.
    pub held_up: Duration,
}

impl Burden {
    /// Carries it for one tick.
    pub fn carry(&self) {
        let begun = Instant::now();
        while begun.elapsed() < self.busy {
            std::hint::spin_loop();
        }
        if !self.held_up.is_zero() {
            std::thread::sleep(self.held_up);
        }
    }
}

/// One panic to come.
#[derive(Debug, Clone, Copy)]
pub struct PanicOrder {
    /// Where.
    pub at: Place,
    /// For this call alone; none: for whoever comes first.
    pub call_sid: Option<CallSid>,
}

/// The panic that a shard has before it.
#[derive(Debug, Default)]
pub struct Trap(Cell<Option<PanicOrder>>);

impl Trap {
    /// Sets the trap, in place of an earlier one.
    pub fn set(&self, order: PanicOrder) {
        self.0.set(Some(order));
    }

    /// Panics if the trap is set for this place and call; once.
    pub fn step_on(&self, at: Place, call_sid: impl FnOnce() -> Option<CallSid>) {
        let Some(order) = self.0.get().filter(|order| order.at == at) else {
            return;
        };
        if order.call_sid.is_none() || order.call_sid == call_sid() {
            self.0.set(None);
            panic!("injected at {at}");
        }
    }
}

#[cfg(test)]
mod tests {
    use shards::ShardIndex;
    use shards::guard::catch;

    use super::*;

    #[test]
    fn a_trap_goes_off_once_for_its_place_and_call() {
        let call_sid = |number| CallSid::new(ShardIndex(0), [number; CallSid::ENTROPY_LEN]);
        let trap = Trap::default();
        let goes_off = |at, number| catch(|| trap.step_on(at, || Some(call_sid(number)))).is_err();
        assert!(!goes_off(Place::Packet, 1));
        trap.set(PanicOrder {
            at: Place::Packet,
            call_sid: Some(call_sid(1)),
        });
        assert!(!goes_off(Place::Timer, 1));
        assert!(!goes_off(Place::Packet, 2));
        assert!(goes_off(Place::Packet, 1));
        assert!(!goes_off(Place::Packet, 1));
        trap.set(PanicOrder {
            at: Place::Tick,
            call_sid: None,
        });
        assert!(goes_off(Place::Tick, 2));
    }
}
