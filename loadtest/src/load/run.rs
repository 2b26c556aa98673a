//! One run: warm-up, ramp, the steady time, hang-ups, what is left behind, and the judge.
//!
//! Calls are tasks of one tokio thread; the media threads and the observer run beside it. What was found is put together by
//! [`super::assemble`].

use std::cell::RefCell;
use std::net::{IpAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::admin::{Admin, AdminError, EventReader, GatewayFigures};
use super::assemble::{self, Found, Times};
use super::browser::BrowserCaller;
use super::call::{CallClocks, CallFailure, CallNumber, CallOutcome};
use super::host;
use super::impaired::Impairment;
use super::judges::{Judges, Standard};
use super::media::{EncodedSpeech, FrameClock, LegRecord, MediaThreads};
use super::observer::{Counters, Observer, Sample};
use super::report::Report;
use super::scenario::{FarEnd, Scenario};
use super::signalling::Endpoint;
use super::sip_answerer::{Answerer, AnswererConfig};
use super::token::TokenSigner;
use super::webrtc::{ConnectError, Identity};
use crate::judge::Bar;
use crate::media::MediaError;
use crate::speech;

/// Calls before the run, after which memory is looked at.
pub const WARM_UP_CALLS: u32 = 20;
/// The steady time begins so long after the last set-up.
const SETTLE: Duration = Duration::from_secs(2);
/// What is left behind is looked at so long after the last hang-up.
const LEAK_AFTER: Duration = Duration::from_secs(5);
/// From the gateway's end of a call to its BYE at the far end.
const BYE_WITHIN: Duration = Duration::from_secs(10);
/// Hang-ups follow each other so much faster than set-ups.
const HANG_UP_SPEED: f64 = 4.0;
/// Grid positions of a frame, 500 us each.
const PHASES: u32 = 40;
/// Calls with a relay: it has threads of its own.
const IMPAIRED_CALLS_MAX: u32 = 100;
/// A warm-up call lasts so long.
const WARM_UP_LASTS: Duration = Duration::from_secs(1);

/// What is done.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// Whom against whom.
    pub scenario: Scenario,
    /// How many.
    pub calls: u32,
    /// Set-ups a second.
    pub setups_per_s: f64,
    /// The first seconds in which the rate grows to that.
    pub ramp: Duration,
    /// All calls are up for so long.
    pub duration: Duration,
    /// Instead: each call ends after so long, and others follow until all were made.
    pub call_duration: Option<Duration>,
    /// Spreads the calls' phases.
    pub seed: u64,
    /// So much of each call is judged.
    pub judged: Duration,
    /// Every so manieth call is judged; 0: none.
    pub judge_every: u32,
    /// What is done to the media of the vendor's side.
    pub impairment: Option<Impairment>,
    /// Cores of the media threads.
    pub load_cores: Vec<usize>,
    /// Where our sockets are bound.
    pub local_ip: IpAddr,
    /// Calls before the run.
    pub warm_up_calls: u32,
    /// What else stands in the report's settings.
    pub notes: Vec<(String, String)>,
}

/// The gateway under test.
pub struct Target {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whose calls these are.
    pub tenant: String,
    /// Makes their tokens.
    pub tokens: TokenSigner,
    /// Its admin window.
    pub admin: Admin,
    /// The trunk; none: the tenant's route.
    pub trunk_id: Option<String>,
    /// Where its SIP trunk calls; bound before the gateway was configured.
    pub sip_socket: Option<UdpSocket>,
}

/// Why there was no run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The gateway's admin window.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A socket or thread of this machine.
    #[error("this machine: {0}")]
    Io(#[from] std::io::Error),
    /// Speech could not be encoded.
    #[error("encoding the speech: {0}")]
    Media(#[from] MediaError),
    /// A certificate could not be made.
    #[error(transparent)]
    Identity(#[from] ConnectError),
    /// The scenario needs what the target does not have.
    #[error("the scenario {0} needs a SIP far end, and none was bound")]
    NoFarEnd(Scenario),
    /// The gateway could not be started or reached.
    #[error("{0}")]
    Target(String),
    /// A relay of its own for each call is too much for many.
    #[error(
        "{0} calls are too many for --impairment: it takes {IMPAIRED_CALLS_MAX} at most, as each has a relay of its own"
    )]
    TooManyImpaired(u32),
    /// Not one of the warm-up calls came about.
    #[error("the first call failed: {0}")]
    FirstCall(String),
}

/// Makes the calls and says what was found. `on_sample` is shown a look each second, `on_phase` what is done now.
///
/// # Errors
/// [`RunError`]: there was no run. Failed calls are no error; they are in the report.
pub fn run(
    plan: &RunPlan,
    target: Target,
    on_sample: impl FnMut(&Sample, Option<&Sample>) + Send + 'static,
    on_phase: impl Fn(&str),
) -> Result<Report, RunError> {
    if plan.impairment.is_some() && plan.calls > IMPAIRED_CALLS_MAX {
        return Err(RunError::TooManyImpaired(plan.calls));
    }
    let began = Instant::now();
    // The subscription is a file descriptor of the gateway's, so it is there before they are counted.
    let events = EventReader::start(&target.admin)?;
    let at_start = target.admin.figures()?;
    let media = Arc::new(MediaThreads::start(&plan.load_cores)?);
    let counters = Arc::new(Counters::default());
    let standard = Standard {
        said_by_vendor: Arc::new(EncodedSpeech::encode(
            plan.scenario.codec_a(),
            &speech::alpha(),
        )?),
        said_by_trunk: match plan.scenario.far_end() {
            FarEnd::Echo => None,
            FarEnd::Sip => Some(Arc::new(EncodedSpeech::encode(
                plan.scenario.codec_b(),
                &speech::bravo(),
            )?)),
        },
        codec_a: plan.scenario.codec_a(),
        codec_b: plan.scenario.codec_b(),
        bar: match &plan.impairment {
            Some(_) => Bar::Loss5,
            None => plan.scenario.bar(),
        },
    };
    let admin = target.admin.clone();
    let observer = Observer::start(
        admin.clone(),
        Arc::clone(&media),
        Arc::clone(&counters),
        on_sample,
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    let mut judges = Judges::start(plan.load_cores.len(), &standard);
    let driven = local.block_on(&runtime, async {
        let calls = Rc::new(Calls::new(plan, target, media, counters, &standard)?);
        drive(plan, &calls, &admin, &mut judges, &on_phase).await
    })?;
    on_phase("what is left behind");
    std::thread::sleep(LEAK_AFTER);
    let at_end = admin.figures()?;
    // CPU of the judges would stand in the samples.
    let samples = observer.finish();
    let other_cores: Vec<usize> = (0..host::cores())
        .filter(|core| !plan.load_cores.contains(core))
        .collect();
    judges.hurry(&other_cores);
    let verdicts = finish_judging(judges, &on_phase);
    let stories = events.stories().clone();
    Ok(assemble::report(
        plan,
        &Found {
            began,
            times: driven.times,
            outcomes: driven.outcomes,
            verdicts,
            samples,
            stories,
            at_start,
            after_warm_up: driven.after_warm_up,
            at_end,
            standard,
        },
    ))
}

fn finish_judging(judges: Judges, on_phase: &impl Fn(&str)) -> Vec<super::judges::CallVerdict> {
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

/// Who makes the calls, and who answers them.
struct Calls {
    caller: BrowserCaller,
    answerer: Option<Answerer>,
    counters: Arc<Counters>,
    outcomes: RefCell<Vec<CallOutcome>>,
    seed: u64,
}

impl Calls {
    fn new(
        plan: &RunPlan,
        target: Target,
        media: Arc<MediaThreads>,
        counters: Arc<Counters>,
        standard: &Standard,
    ) -> Result<Self, RunError> {
        let answerer = match (&standard.said_by_trunk, target.sip_socket) {
            (Some(speech), Some(socket)) => Some(Answerer::start(AnswererConfig {
                socket,
                codec: plan.scenario.codec_b(),
                speech: Arc::clone(speech),
                media: Arc::clone(&media),
                record: plan.judged,
            })?),
            (Some(_), None) => return Err(RunError::NoFarEnd(plan.scenario)),
            (None, _) => None,
        };
        let caller = BrowserCaller {
            endpoint: target.endpoint,
            tokens: target.tokens,
            tenant: target.tenant,
            identity: Identity::new()?,
            local_ip: plan.local_ip,
            codec: plan.scenario.codec_a(),
            speech: Arc::clone(&standard.said_by_vendor),
            trunk_id: target.trunk_id,
            number_prefix: "+1555".to_owned(),
            media,
            record: plan.judged,
            impairment: plan.impairment.clone(),
            seed: plan.seed,
        };
        Ok(Self {
            caller,
            answerer,
            counters,
            outcomes: RefCell::default(),
            seed: plan.seed,
        })
    }

    /// One call from its first packet to what is left of it.
    async fn call(&self, number: CallNumber, end: impl Future<Output = ()>) -> CallOutcome {
        let count =
            |counter: &std::sync::atomic::AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        count(&self.counters.begun);
        let vendor = Arc::new(FrameClock::default());
        let clocks = CallClocks {
            trunk: match &self.answerer {
                Some(_) => Arc::new(FrameClock::default()),
                // What the echo sends is what the caller sent.
                None => Arc::clone(&vendor),
            },
            vendor,
        };
        // 17 and 40 have no common factor: neighbours are far apart, and forty in a row fill all phases.
        let phase = ((u64::from(number.0) * 17 + self.seed) % u64::from(PHASES)) as u8;
        if let Some(answerer) = &self.answerer {
            // The far end's grid is not the caller's.
            answerer.expect(number, clocks.clone(), (phase + 20) % PHASES as u8);
        }
        let mut outcome = CallOutcome {
            number,
            call_sid: None,
            setup: None,
            failure: None,
            at_vendor: None,
            at_trunk: None,
        };
        let mut call = match self.caller.place(number, phase, &clocks).await {
            Ok(call) => call,
            Err(failure) => {
                count(&self.counters.unanswered);
                outcome.failure = Some(failure);
                if let Some(answerer) = &self.answerer {
                    outcome.at_trunk = answerer.record_of(number, Duration::ZERO).await;
                }
                return outcome;
            }
        };
        count(&self.counters.answered);
        count(&self.counters.up);
        outcome.call_sid = Some(call.call_sid.clone());
        outcome.setup = Some(call.setup.clone());
        let ended: Option<CallFailure> = tokio::select! {
            () = end => None,
            failure = call.ended_by_gateway() => Some(failure),
        };
        self.counters.up.fetch_sub(1, Ordering::Relaxed);
        let (record, failure) = call.hang_up(ended.is_none()).await;
        outcome.at_vendor = record;
        outcome.failure = ended.or(failure);
        if let Some(answerer) = &self.answerer {
            outcome.at_trunk = answerer.record_of(number, BYE_WITHIN).await;
            if outcome.at_trunk.is_none() && outcome.failure.is_none() {
                outcome.failure = Some(CallFailure {
                    stage: None,
                    refused: false,
                    reason: "the far end got no BYE".to_owned(),
                });
            }
        }
        if outcome.failure.is_some() {
            count(&self.counters.broken);
        }
        outcome
    }

    /// Runs a call as a task and keeps its outcome.
    fn start(
        self: &Rc<Self>,
        number: CallNumber,
        end: impl Future<Output = ()> + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let calls = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let outcome = calls.call(number, end).await;
            calls.outcomes.borrow_mut().push(outcome);
        })
    }
}

async fn drive(
    plan: &RunPlan,
    calls: &Rc<Calls>,
    admin: &Admin,
    judges: &mut Judges,
    on_phase: &impl Fn(&str),
) -> Result<Driven, RunError> {
    on_phase("warm-up");
    warm_up(plan, calls).await?;
    let after_warm_up = admin.figures()?;

    on_phase("ramp");
    let (hang_up, hung_up) = watch::channel(Instant::now() + Duration::from_secs(86_400 * 365));
    let first_setup = Instant::now();
    let mut tasks = Vec::new();
    let mut outcomes = Vec::new();
    for index in 0..plan.calls {
        let due = first_setup + due_after(plan, index);
        tokio::time::sleep_until(due.into()).await;
        let number = CallNumber(plan.warm_up_calls + index);
        let order = f64::from(index) / (plan.setups_per_s * HANG_UP_SPEED);
        let end = end_of_call(hung_up.clone(), plan.call_duration, order);
        tasks.push(calls.start(number, end));
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
        tokio::time::sleep(plan.duration).await;
        on_phase("hang-ups");
        first_hang_up = Instant::now();
        let _ = hang_up.send(first_hang_up);
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

/// Ends after the call's own time, or its share of the hang-ups after everybody's.
async fn end_of_call(
    mut hung_up: watch::Receiver<Instant>,
    call_duration: Option<Duration>,
    order_s: f64,
) {
    if let Some(duration) = call_duration {
        tokio::time::sleep(duration).await;
        return;
    }
    let since = loop {
        if hung_up.changed().await.is_err() {
            // Nobody will say it any more: the run has ended.
            return;
        }
        let since = *hung_up.borrow();
        if since <= Instant::now() {
            break since;
        }
    };
    let at = since + Duration::from_secs_f64(order_s);
    tokio::time::sleep_until(at.into()).await;
}

/// Calls before the run: what is loaded once is loaded then. Their outcomes count only when all of them fail.
async fn warm_up(plan: &RunPlan, calls: &Rc<Calls>) -> Result<(), RunError> {
    let mut tasks = Vec::new();
    for index in 0..plan.warm_up_calls {
        tasks.push(calls.start(CallNumber(index), tokio::time::sleep(WARM_UP_LASTS)));
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
async fn wait_for_setups(calls: &Calls, count: u32) {
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
fn take_outcomes(
    plan: &RunPlan,
    calls: &Calls,
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
