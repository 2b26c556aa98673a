//! The calls of a far end that is dialled over WebSockets: which are expected, which are up, what was heard.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::call::{CallClocks, CallNumber};
use super::media::{Leg, LegRecord};

/// Lives on one thread.
#[derive(Default)]
pub(super) struct FarEndCalls {
    state: RefCell<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    expected: HashMap<CallNumber, (CallClocks, u8)>,
    live: HashSet<CallNumber>,
    records: HashMap<CallNumber, LegRecord>,
}

impl FarEndCalls {
    /// A call with this number will come.
    pub(super) fn expect(&self, number: CallNumber, clocks: CallClocks, phase: u8) {
        let mut state = self.state.borrow_mut();
        state.expected.insert(number, (clocks, phase));
    }

    /// It came; none if nobody expects it.
    pub(super) fn take(&self, number: CallNumber) -> Option<(CallClocks, u8)> {
        self.state.borrow_mut().expected.remove(&number)
    }

    /// Its sound flows: its record is kept when the gateway has ended it. Must be called within a `LocalSet`.
    pub(super) fn run(self: &Rc<Self>, number: CallNumber, mut leg: Leg) {
        self.state.borrow_mut().live.insert(number);
        let calls = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::select! {
                _ = leg.ended() => {}
                () = calls.given_up(number) => {}
            }
            let record = leg.close_later().await;
            {
                let mut state = calls.state.borrow_mut();
                // One that was given up is told by nobody.
                if state.live.remove(&number)
                    && let Ok(record) = record
                {
                    state.records.insert(number, record);
                }
            }
            calls.changed.notify_waiters();
        });
    }

    /// Waits until the call has been ended by the gateway; what was heard. None: it never came, or was not ended in time; then it
    /// is ended here.
    pub(super) async fn record_of(
        &self,
        number: CallNumber,
        within: Duration,
    ) -> Option<LegRecord> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let changed = self.changed.notified();
            let came = {
                let mut state = self.state.borrow_mut();
                if let Some(record) = state.records.remove(&number) {
                    return Some(record);
                }
                state.expected.remove(&number);
                state.live.contains(&number)
            };
            if !came {
                return None;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                self.state.borrow_mut().live.remove(&number);
                self.changed.notify_waiters();
                return None;
            }
        }
    }

    async fn given_up(&self, number: CallNumber) {
        loop {
            let changed = self.changed.notified();
            if !self.state.borrow().live.contains(&number) {
                return;
            }
            changed.await;
        }
    }
}

/// `+15550000042`: the last seven digits.
pub(super) fn number_of(user: &str) -> Option<CallNumber> {
    let digits = user.get(user.len().checked_sub(7)?..)?;
    digits.parse().ok().map(CallNumber)
}
