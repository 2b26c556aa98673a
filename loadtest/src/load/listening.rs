//! Did each end of a call hear what the other one sent?
//!
//! Losses are counted between the first and the last packet that came, so a direction that is never heard, or that falls silent,
//! has none. Here what was sent is held against what was heard, while a call is measured. Nothing is said of a network that loses
//! on purpose: there the judge decides.

use std::cell::Cell;
use std::sync::Arc;

use super::call::{CallClocks, CallFailure};
use super::media::Tally;
use super::report::{A_TO_B, B_TO_A};

/// So many packets may be under way at the end that were not at the beginning, or not be read yet: half a second's.
const UNHEARD_MAX: u64 = 25;
/// Of so many, one at least should have come, however short the call is.
const HEARD_OF_MIN: u64 = 10;

/// One call's.
pub(super) struct Listening {
    clocks: CallClocks,
    began: Cell<Option<Both>>,
    ended: Cell<Option<Both>>,
}

/// Of what the vendor's side sent, and of what the trunk's.
#[derive(Clone, Copy)]
struct Both {
    vendor: Tally,
    trunk: Tally,
}

impl Listening {
    /// Of a call with these clocks, which is not measured yet.
    pub(super) fn new(clocks: &CallClocks) -> Self {
        Self {
            clocks: clocks.clone(),
            began: Cell::new(None),
            ended: Cell::new(None),
        }
    }

    /// From now on it is measured.
    pub(super) fn begin(&self) {
        self.began.set(Some(self.now()));
    }

    /// Up to now.
    pub(super) fn end(&self) {
        self.ended.set(Some(self.now()));
    }

    /// The first direction of which too much was not heard. None of a call that was not measured.
    pub(super) fn failure(&self) -> Option<CallFailure> {
        let (began, ended) = (self.began.get()?, self.ended.get()?);
        let vendor = unheard(began.vendor, ended.vendor);
        if Arc::ptr_eq(&self.clocks.vendor, &self.clocks.trunk) {
            // An echo.
            return vendor.map(|told| silent("there and back", &told));
        }
        let trunk = || unheard(began.trunk, ended.trunk);
        vendor
            .map(|told| silent(A_TO_B, &told))
            .or_else(|| trunk().map(|told| silent(B_TO_A, &told)))
    }

    fn now(&self) -> Both {
        Both {
            vendor: self.clocks.vendor.tally(),
            trunk: self.clocks.trunk.tally(),
        }
    }
}

fn unheard(began: Tally, ended: Tally) -> Option<String> {
    let sent = ended.sent.saturating_sub(began.sent);
    let heard = ended.heard.saturating_sub(began.heard);
    let unheard = sent.saturating_sub(heard);
    let nothing = heard == 0 && sent >= HEARD_OF_MIN;
    (nothing || unheard > UNHEARD_MAX).then(|| format!("{unheard} of {sent} packets never came"))
}

fn silent(direction: &str, told: &str) -> CallFailure {
    CallFailure {
        stage: None,
        reason: format!("{direction}: {told}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(sent: u64, heard: u64) -> Tally {
        Tally { sent, heard }
    }

    #[test]
    fn what_is_under_way_at_the_edges_is_no_silence() {
        assert_eq!(unheard(tally(100, 90), tally(500, 490)), None);
        // Under way at the end, and not at the beginning.
        assert_eq!(unheard(tally(100, 100), tally(500, 475)), None);
        // What was under way at the beginning came later, so more was heard than sent.
        assert_eq!(unheard(tally(100, 60), tally(500, 500)), None);
        // Of a short call nothing can be told.
        assert_eq!(unheard(tally(0, 0), tally(9, 0)), None);
    }

    #[test]
    fn a_leg_that_falls_silent_or_is_never_heard_is_told() {
        let told = |began, ended| unheard(began, ended).unwrap_or_default();
        let never = "400 of 400 packets never came";
        assert_eq!(told(tally(100, 0), tally(500, 0)), never);
        assert_eq!(
            told(tally(0, 0), tally(10, 0)),
            "10 of 10 packets never came"
        );
        // Half of it, or the second half.
        let half = "200 of 400 packets never came";
        assert_eq!(told(tally(100, 90), tally(500, 290)), half);
    }
}
