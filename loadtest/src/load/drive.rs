//! The calls of one run, whoever makes them: warm-up, ramp, the steady time, hang-ups, and the judge.
//!
//! Calls are tasks of one tokio thread; the media threads and the observer run beside it. Who places a call, over which
//! gateway, is the [`Parties`]' business.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::LocalSet;

use super::admin::GatewayFigures;
use super::assemble::Times;
use super::call::{CallClocks, CallFailure, CallNumber, CallOutcome, StageTimes};
use super::host;
use super::judges::{CallVerdict, Judges, Standard};
use super::listening::Listening;
use super::media::{LegRecord, MediaThreads, PHASES};
use super::observer::{Counters, Observer, Sample};
use super::run::{RunError, RunPlan};

/// The steady time begins so long after the last set-up.
const SETTLE: Duration = Duration::from_secs(2);
/// Hang-ups follow each other so much faster than set-ups.
const HANG_UP_SPEED: f64 = 4.0;
/// A warm-up call lasts so long.
const WARM_UP_LASTS: Duration = Duration::from_secs(1);

/// Who makes the calls, and who answers them.
pub(super) trait Parties: 'static {
    /// A call that is up.
    type Call;

    /// Of a new call. One and the same at both ends when the far end sends back what it hears.
    fn clocks(&self, number: CallNumber) -> CallClocks;

    /// Makes a call, up to its answer. Its frames are sent at `phase` of [`PHASES`].
    async fn place(
        &self,
        number: CallNumber,
        phase: u8,
        clocks: &CallClocks,
    ) -> Result<Placed<Self::Call>, NotPlaced>;

    /// Waits until the gateway ends the call by itself. Safe to drop at any time.
    async fn ended_by_gateway(call: &mut Self::Call) -> CallFailure;

    /// Hangs up, unless the gateway has (`say_so`); what was heard.
    async fn hang_up(&self, number: CallNumber, call: Self::Call, say_so: bool) -> Ended;
}

/// A call that was answered.
pub(super) struct Placed<C> {
    /// To go on with.
    pub(super) call: C,
    /// The gateway's name of it, if it tells of calls by one.
    pub(super) call_sid: Option<String>,
    /// Its set-up.
    pub(super) setup: StageTimes,
}

/// A call that was not.
pub(super) struct NotPlaced {
    /// Why.
    pub(super) failure: CallFailure,
    /// What the trunk's side heard all the same.
    pub(super) at_trunk: Option<LegRecord>,
}

/// A call that is over.
pub(super) struct Ended {
    /// What the vendor's side heard.
    pub(super) at_vendor: Option<LegRecord>,
    /// What the trunk's side heard.
    pub(super) at_trunk: Option<LegRecord>,
    /// The end was not as it should be.
    pub(super) failure: Option<CallFailure>,
}

/// How the gateway's own figures are had.
pub(super) type Look = Arc<dyn Fn() -> Result<GatewayFigures, RunError> + Send + Sync>;

/// The calls were made; the observer still looks, and the judges have begun.
pub(super) struct Made {
    times: Times,
    outcomes: Vec<CallOutcome>,
    after_warm_up: GatewayFigures,
    observer: Observer,
    judges: Judges,
}

/// All that was seen of the calls.
pub(super) struct Seen {
    pub(super) times: Times,
    pub(super) outcomes: Vec<CallOutcome>,
    pub(super) verdicts: Vec<CallVerdict>,
    pub(super) samples: Vec<Sample>,
    pub(super) after_warm_up: GatewayFigures,
}

/// Makes the calls of `plan` between the parties that `start` starts within the calls' `LocalSet`.
pub(super) fn make_calls<P: Parties>(
    plan: &RunPlan,
    standard: &Standard,
    look: &Look,
    on_sample: impl FnMut(&Sample, Option<&Sample>) + Send + 'static,
    on_phase: &impl Fn(&str),
    start: impl FnOnce(&Arc<MediaThreads>) -> Result<P, RunError>,
) -> Result<Made, RunError> {
    let media = Arc::new(MediaThreads::start(&plan.load_cores)?);
    let counters = Arc::new(Counters::default());
    let observer = Observer::start(
        {
            let look = Arc::clone(look);
            move || look().map_err(|error| error.to_string())
        },
        Arc::clone(&media),
        Arc::clone(&counters),
        on_sample,
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    let mut judges = Judges::start(plan.load_cores.len(), standard);
    let driven = local.block_on(&runtime, async {
        let calls = Rc::new(Calls {
            parties: start(&media)?,
            counters,
            outcomes: RefCell::default(),
            seed: plan.seed,
            lossless: plan.impairment.is_none(),
        });
        drive(plan, &calls, look, &mut judges, on_phase).await
    })?;
    Ok(Made {
        times: driven.times,
        outcomes: driven.outcomes,
        after_warm_up: driven.after_warm_up,
        observer,
        judges,
    })
}

impl Made {
    /// Looks no more, and waits for the judges.
    pub(super) fn finish(mut self, plan: &RunPlan, on_phase: &impl Fn(&str)) -> Seen {
        // CPU of the judges would stand in the samples.
        let samples = self.observer.finish();
        let other_cores: Vec<usize> = (0..host::cores())
            .filter(|core| !plan.load_cores.contains(core))
            .collect();
        self.judges.hurry(&other_cores);
        Seen {
            times: self.times,
            outcomes: self.outcomes,
            verdicts: finish_judging(self.judges, on_phase),
            samples,
            after_warm_up: self.after_warm_up,
        }
    }
}

fn finish_judging(judges: Judges, on_phase: &impl Fn(&str)) -> Vec<CallVerdict> {
    loop {
        let (done, given) = judges.progress();
        on_phase(&format!("judging {done}/{given}"));
        if done == given {
            return judges.finish();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

struct Driven {
    times: Times,
    outcomes: Vec<CallOutcome>,
    after_warm_up: GatewayFigures,
}

struct Calls<P> {
    parties: P,
    counters: Arc<Counters>,
    outcomes: RefCell<Vec<CallOutcome>>,
    seed: u64,
    /// Nothing is lost on purpose.
    lossless: bool,
}

/// What is done now, for the calls that are up.
#[derive(Clone, Copy)]
enum Phase {
    SetUps,
    Steady,
    HangUps { since: Instant },
}

/// How long a call is up, and what of it is measured.
enum Lasts {
    /// So long; nothing.
    WarmUp(Duration),
    /// So long, whatever the others do; all but the beginning.
    Own(Duration),
    /// Until the steady time, which is measured, is over, and then its share of the hang-ups.
    Shared {
        phase: watch::Receiver<Phase>,
        order_s: f64,
    },
}

/// A call before its answer: counted as unanswered when it is dropped, so also when its task panics. Whoever waits for all set-ups
/// would wait for ever.
struct Unanswered<'a>(&'a Counters);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.unanswered.fetch_add(1, Ordering::Relaxed);
    }
}

impl<P: Parties> Calls<P> {
    /// One call from its first packet to what is left of it.
    async fn call(&self, number: CallNumber, lasts: Lasts) -> CallOutcome {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        count(&self.counters.begun);
        // 17 and 40 have no common factor: neighbours are far apart, and forty in a row fill all phases.
        let phase = ((u64::from(number.0) * 17 + self.seed) % PHASES as u64) as u8;
        let mut outcome = CallOutcome {
            number,
            call_sid: None,
            setup: None,
            failure: None,
            at_vendor: None,
            at_trunk: None,
        };
        let clocks = self.parties.clocks(number);
        let unanswered = Unanswered(&self.counters);
        let placed = match self.parties.place(number, phase, &clocks).await {
            Ok(placed) => {
                std::mem::forget(unanswered);
                placed
            }
            Err(not_placed) => {
                drop(unanswered);
                outcome.failure = Some(not_placed.failure);
                outcome.at_trunk = not_placed.at_trunk;
                return outcome;
            }
        };
        count(&self.counters.answered);
        count(&self.counters.up);
        let mut call = placed.call;
        outcome.call_sid = placed.call_sid;
        outcome.setup = Some(placed.setup);
        let listening = Listening::new(&clocks);
        let ended_itself: Option<CallFailure> = tokio::select! {
            () = lasts.end(&listening) => None,
            failure = P::ended_by_gateway(&mut call) => Some(failure),
        };
        self.counters.up.fetch_sub(1, Ordering::Relaxed);
        let ended = self
            .parties
            .hang_up(number, call, ended_itself.is_none())
            .await;
        outcome.at_vendor = ended.at_vendor;
        outcome.at_trunk = ended.at_trunk;
        let silent = listening.failure().filter(|_| self.lossless);
        outcome.failure = ended_itself.or(silent).or(ended.failure);
        if outcome.failure.is_some() {
            count(&self.counters.broken);
        }
        outcome
    }

    /// Runs a call as a task and keeps its outcome.
    fn start(self: &Rc<Self>, number: CallNumber, lasts: Lasts) -> tokio::task::JoinHandle<()> {
        let calls = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let outcome = calls.call(number, lasts).await;
            calls.outcomes.borrow_mut().push(outcome);
        })
    }
}

/// The grid of the other end of a call is not the caller's.
pub(super) fn opposite(phase: u8) -> u8 {
    (phase + (PHASES / 2) as u8) % PHASES as u8
}

async fn drive<P: Parties>(
    plan: &RunPlan,
    calls: &Rc<Calls<P>>,
    look: &Look,
    judges: &mut Judges,
    on_phase: &impl Fn(&str),
) -> Result<Driven, RunError> {
    on_phase("warm-up");
    warm_up(plan, calls).await?;
    let after_warm_up = look()?;

    on_phase("ramp");
    let (tell_phase, phase) = watch::channel(Phase::SetUps);
    let first_setup = Instant::now();
    let mut tasks = Vec::new();
    let mut outcomes = Vec::new();
    for index in 0..plan.calls {
        let due = first_setup + due_after(plan, index);
        tokio::time::sleep_until(due.into()).await;
        let number = CallNumber(plan.warm_up_calls + index);
        let lasts = match plan.call_duration {
            Some(duration) => Lasts::Own(duration),
            None => Lasts::Shared {
                phase: phase.clone(),
                order_s: f64::from(index) / (plan.setups_per_s * HANG_UP_SPEED),
            },
        };
        tasks.push(calls.start(number, lasts));
        if plan.call_duration.is_some() && tasks.len() > 1_024 {
            tasks.retain(|task| !task.is_finished());
            take_outcomes(plan, calls, judges, &mut outcomes);
        }
    }
    wait_for_setups(calls, plan.warm_up_calls + plan.calls).await;
    let last_setup = Instant::now();
    let mut first_hang_up = last_setup;
    if plan.call_duration.is_none() {
        tokio::time::sleep(SETTLE).await;
        on_phase("steady");
        let _ = tell_phase.send(Phase::Steady);
        tokio::time::sleep(plan.duration).await;
        on_phase("hang-ups");
        first_hang_up = Instant::now();
        let _ = tell_phase.send(Phase::HangUps {
            since: first_hang_up,
        });
    }
    for task in tasks {
        // A task that panicked left no outcome, and the report tells of a call that is missing.
        let _ = task.await;
    }
    take_outcomes(plan, calls, judges, &mut outcomes);
    Ok(Driven {
        times: Times {
            first_setup,
            last_setup,
            steady_from: last_setup + SETTLE,
            first_hang_up,
            last_hang_up: Instant::now(),
        },
        outcomes,
        after_warm_up,
    })
}

/// When call `index` begins: at the rate, which grows from nothing during the ramp.
fn due_after(plan: &RunPlan, index: u32) -> Duration {
    let (rate, ramp_s) = (plan.setups_per_s.max(0.01), plan.ramp.as_secs_f64());
    let in_ramp = rate * ramp_s / 2.0;
    let index = f64::from(index);
    let seconds = if index < in_ramp {
        (2.0 * index * ramp_s / rate).sqrt()
    } else {
        ramp_s + (index - in_ramp) / rate
    };
    Duration::from_secs_f64(seconds)
}

impl Lasts {
    /// Waits for the end of the call.
    async fn end(self, listening: &Listening) {
        match self {
            Self::WarmUp(duration) => tokio::time::sleep(duration).await,
            Self::Own(duration) => {
                let unmeasured = SETTLE.min(duration / 2);
                tokio::time::sleep(unmeasured).await;
                listening.begin();
                tokio::time::sleep(duration - unmeasured).await;
                listening.end();
            }
            Self::Shared { mut phase, order_s } => {
                let steady = phase.wait_for(|phase| !matches!(phase, Phase::SetUps));
                if steady.await.is_err() {
                    // Nobody will say it any more: the run has ended.
                    return;
                }
                listening.begin();
                let over = phase.wait_for(|phase| matches!(phase, Phase::HangUps { .. }));
                let Ok(Phase::HangUps { since }) = over.await.map(|phase| *phase) else {
                    return;
                };
                listening.end();
                let at = since + Duration::from_secs_f64(order_s);
                tokio::time::sleep_until(at.into()).await;
            }
        }
    }
}

/// Calls before the run: what is loaded once is loaded then. Their outcomes count only when all of them fail.
async fn warm_up<P: Parties>(plan: &RunPlan, calls: &Rc<Calls<P>>) -> Result<(), RunError> {
    let mut tasks = Vec::new();
    for index in 0..plan.warm_up_calls {
        tasks.push(calls.start(CallNumber(index), Lasts::WarmUp(WARM_UP_LASTS)));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for task in tasks {
        let _ = task.await;
    }
    let outcomes = std::mem::take(&mut *calls.outcomes.borrow_mut());
    let failures = outcomes
        .iter()
        .filter_map(|outcome| outcome.failure.as_ref());
    let failures: Vec<String> = failures.map(ToString::to_string).collect();
    match failures.first() {
        Some(first) if failures.len() == outcomes.len() => Err(RunError::FirstCall(first.clone())),
        _ => Ok(()),
    }
}

/// Every call was answered or failed.
async fn wait_for_setups<P>(calls: &Calls<P>, count: u32) {
    loop {
        let counters = &calls.counters;
        let begun = counters.begun.load(Ordering::Relaxed);
        let answered = counters.answered.load(Ordering::Relaxed);
        let never_up = counters.unanswered.load(Ordering::Relaxed);
        if begun >= u64::from(count) && answered + never_up >= u64::from(count) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Gives ended calls to the judges; what is judged is not kept any longer.
fn take_outcomes<P>(
    plan: &RunPlan,
    calls: &Calls<P>,
    judges: &mut Judges,
    outcomes: &mut Vec<CallOutcome>,
) {
    for mut outcome in calls.outcomes.borrow_mut().drain(..) {
        // Nothing but 0 is a multiple of 0, and the first call is a warm-up's where there is one.
        let chosen = plan.judge_every > 0 && outcome.number.0.is_multiple_of(plan.judge_every);
        let at_vendor = with_packets(&mut outcome.at_vendor);
        let at_trunk = with_packets(&mut outcome.at_trunk);
        if outcome.setup.is_some() && chosen {
            judges.judge(outcome.number, at_vendor, at_trunk);
        }
        outcomes.push(outcome);
    }
}

/// A record with the packets, which are gone from the one that stays.
fn with_packets(record: &mut Option<LegRecord>) -> Option<LegRecord> {
    record.as_mut().map(|record| {
        let packets = std::mem::take(&mut record.packets);
        LegRecord {
            packets,
            ..record.clone()
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::load::media::FrameClock;

    /// Call 0 panics while it is placed; others are answered, and ended by the gateway.
    struct Unlucky;

    impl Parties for Unlucky {
        type Call = ();

        fn clocks(&self, _: CallNumber) -> CallClocks {
            CallClocks {
                vendor: Arc::new(FrameClock::default()),
                trunk: Arc::new(FrameClock::default()),
            }
        }

        async fn place(
            &self,
            number: CallNumber,
            _: u8,
            _: &CallClocks,
        ) -> Result<Placed<()>, NotPlaced> {
            assert_ne!(number.0, 0, "on purpose");
            Ok(Placed {
                call: (),
                call_sid: None,
                setup: StageTimes::default(),
            })
        }

        async fn ended_by_gateway((): &mut ()) -> CallFailure {
            CallFailure {
                stage: None,
                reason: "ended".to_owned(),
            }
        }

        async fn hang_up(&self, _: CallNumber, (): (), say_so: bool) -> Ended {
            assert!(!say_so);
            Ended {
                at_vendor: None,
                at_trunk: None,
                failure: None,
            }
        }
    }

    #[test]
    fn a_call_that_panics_is_not_waited_for_and_one_that_ends_by_itself_has_failed() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let calls = Rc::new(Calls {
            parties: Unlucky,
            counters: Arc::default(),
            outcomes: RefCell::default(),
            seed: 1,
            lossless: true,
        });
        LocalSet::new().block_on(&runtime, async {
            for number in 0..2 {
                let lasts = Lasts::Own(Duration::from_secs(60));
                drop(calls.start(CallNumber(number), lasts));
            }
            let waited = wait_for_setups(&calls, 2);
            tokio::time::timeout(Duration::from_secs(5), waited)
                .await
                .unwrap();
            tokio::task::yield_now().await;
        });
        let outcomes = calls.outcomes.borrow();
        assert_eq!(outcomes.len(), 1);
        assert!(outcomes[0].setup.is_some() && outcomes[0].failure.is_some());
    }
}
