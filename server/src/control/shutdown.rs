//! In which order the process ends: drain, deadline, stop. Pure; contracts section 7.
//!
//! A first signal drains: no new calls, running ones go on until they end or `drain_timeout_s` has passed, then they are
//! ended. A second signal stops at once. What is told outside (hang-ups at Twilio and Vapi, webhooks) is waited for at the very end.
//! A dead shard drains the others the same way, so that its panic does not cut the
//! calls of its neighbours; the process then ends as failed and the service manager starts a new one.

use std::time::{Duration, Instant};

/// How long an otherwise idle gateway waits for its signalling sessions to take their close frame.
pub const SESSIONS_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an otherwise idle gateway waits for registrars that do not answer.
pub const REGISTRATIONS_END_TIMEOUT: Duration = Duration::from_secs(2);
/// How long hang-ups at Twilio and Vapi, and webhooks, may take after the last call.
pub const ERRANDS_END_TIMEOUT: Duration = Duration::from_secs(2);
/// How long calls that were told to end may take to tell their final event.
pub const CALLS_END_TIMEOUT: Duration = Duration::from_secs(2);
/// How long shards that were told to stop may take.
pub const SHARDS_STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What is to be done now. Each comes at most once, in this order; `Drain` and `EndCalls` may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Refuse new calls and sessions; tell the shards to drain.
    Drain,
    /// Tell the shards to end each live call.
    EndCalls,
    /// Tell the shards to stop.
    Stop,
    /// Tell the ends that no shard told, and leave.
    Finish,
}

/// What the order depends on.
#[derive(Debug, Clone, Copy)]
pub struct Remaining {
    /// Live calls.
    pub calls: usize,
    /// Open signalling sessions.
    pub sessions: u64,
    /// Registrations of SIP trunks that are being given back: a registrar may ask who we are first.
    pub registrations: usize,
    /// Shards whose executor still runs.
    pub shards: usize,
    /// What somebody outside is being told: callers on the telephone network whose call is to be ended there.
    pub errands: usize,
}

/// The order of the end.
#[derive(Debug)]
pub struct Shutdown {
    phase: Phase,
    drain_timeout: Duration,
    /// Decided by a signal or a death, not handed out yet.
    requested: Option<Step>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Serving,
    Draining { since: Instant },
    EndingCalls { since: Instant },
    Stopping { since: Instant },
    Finished,
}

impl Shutdown {
    /// Running calls may go on for `drain_timeout` after the first signal.
    pub fn new(drain_timeout: Duration) -> Self {
        Self {
            phase: Phase::Serving,
            drain_timeout,
            requested: None,
        }
    }

    /// A reload changed how long running calls may go on.
    pub fn set_drain_timeout(&mut self, drain_timeout: Duration) {
        self.drain_timeout = drain_timeout;
    }

    /// SIGTERM or SIGINT arrived.
    pub fn handle_signal(&mut self, now: Instant) {
        match self.phase {
            Phase::Serving => self.begin_drain(now),
            Phase::Draining { .. } | Phase::EndingCalls { .. } => {
                self.phase = Phase::Stopping { since: now };
                self.requested = Some(Step::Stop);
            }
            Phase::Stopping { .. } | Phase::Finished => {}
        }
    }

    /// A shard died while the gateway served.
    pub fn handle_shard_death(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Serving) {
            self.begin_drain(now);
        }
    }

    /// No shard was told to stop yet, so one that is gone has died.
    pub fn shards_should_run(&self) -> bool {
        matches!(
            self.phase,
            Phase::Serving | Phase::Draining { .. } | Phase::EndingCalls { .. }
        )
    }

    /// The next step, if its time has come. Call until none is left.
    pub fn poll_step(&mut self, now: Instant, remaining: Remaining) -> Option<Step> {
        if let Some(step) = self.requested.take() {
            return Some(step);
        }
        let passed = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        let stop = Phase::Stopping { since: now };
        let (phase, step) = match self.phase {
            Phase::Draining { since } => {
                let sessions_closed =
                    remaining.sessions == 0 || passed(since, SESSIONS_CLOSE_TIMEOUT);
                let unregistered =
                    remaining.registrations == 0 || passed(since, REGISTRATIONS_END_TIMEOUT);
                if remaining.calls == 0 && sessions_closed && unregistered {
                    (stop, Step::Stop)
                } else if remaining.calls > 0 && passed(since, self.drain_timeout) {
                    (Phase::EndingCalls { since: now }, Step::EndCalls)
                } else {
                    return None;
                }
            }
            Phase::EndingCalls { since }
                if remaining.calls == 0 || passed(since, CALLS_END_TIMEOUT) =>
            {
                (stop, Step::Stop)
            }
            Phase::Stopping { since } => {
                let told = remaining.errands == 0 || passed(since, ERRANDS_END_TIMEOUT);
                if (remaining.shards == 0 && told) || passed(since, SHARDS_STOP_TIMEOUT) {
                    (Phase::Finished, Step::Finish)
                } else {
                    return None;
                }
            }
            Phase::Serving | Phase::EndingCalls { .. } | Phase::Finished => return None,
        };
        self.phase = phase;
        Some(step)
    }

    fn begin_drain(&mut self, now: Instant) {
        self.phase = Phase::Draining { since: now };
        self.requested = Some(Step::Drain);
    }
}

#[cfg(test)]
mod tests;
