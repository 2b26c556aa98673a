//! One run against our gateway: its calls (`load::drive`), what is left behind, and the report.
//!
//! What was found is put together by [`super::assemble`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::admin::{AdminError, EventReader};
use super::assemble::{self, Found};
use super::drive::{self, Look};
use super::impaired::Impairment;
use super::judges::Standard;
use super::observer::Sample;
use super::parties::CallParties;
use super::report::Report;
use super::scenario::{Callers, Scenario};
use super::target::Target;
use super::webrtc::ConnectError;
use crate::judge::Bar;
use crate::media::MediaError;

/// Calls before the run, after which memory is looked at.
pub const WARM_UP_CALLS: u32 = 20;
/// What is left behind is looked at so long after the last hang-up.
const LEAK_AFTER: Duration = Duration::from_secs(5);
/// Calls with a relay: it has threads of its own.
const IMPAIRED_CALLS_MAX: u32 = 100;

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

impl RunPlan {
    /// So much of each call is kept: where every frame is compared, all of it.
    pub(super) fn recorded(&self) -> Duration {
        if self.scenario.is_frame_exact() && self.judge_every > 0 {
            Duration::MAX
        } else {
            self.judged
        }
    }
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
    #[error("the scenario {0} needs a far end, and none was bound")]
    NoFarEnd(Scenario),
    /// The gateway could not be started or reached.
    #[error("{0}")]
    Target(String),
    /// A relay of its own for each call is too much for many.
    #[error(
        "{0} calls are too many for --impairment: it takes {IMPAIRED_CALLS_MAX} at most, as each has a relay of its own"
    )]
    TooManyImpaired(u32),
    /// The vendor's side has no RTP.
    #[error(
        "--impairment is for the media of pages; the vendor's side of {0} has none that loses packets"
    )]
    NotImpaired(Scenario),
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
    if plan.impairment.is_some() && plan.scenario.callers() != Callers::Browser {
        return Err(RunError::NotImpaired(plan.scenario));
    }
    let began = Instant::now();
    // The subscription is a file descriptor of the gateway's, so it is there before they are counted.
    let events = EventReader::start(&target.admin, &target.tenant)?;
    let at_start = target.admin.figures()?;
    let mut standard = Standard::of(plan.scenario)?;
    standard.judged = plan.judged;
    if plan.impairment.is_some() {
        standard.bar = Bar::Loss5;
    }
    let look: Look = {
        let admin = target.admin.clone();
        Arc::new(move || Ok(admin.figures()?))
    };
    let made = drive::make_calls(plan, &standard, &look, on_sample, &on_phase, |media| {
        CallParties::start(plan, target, media, &standard)
    })?;
    on_phase("what is left behind");
    std::thread::sleep(LEAK_AFTER);
    let at_end = look()?;
    let seen = made.finish(plan, &on_phase);
    let (stories, events_broken) = (events.stories().clone(), events.broken());
    Ok(assemble::report(
        plan,
        &Found {
            began,
            times: seen.times,
            outcomes: seen.outcomes,
            verdicts: seen.verdicts,
            samples: seen.samples,
            stories,
            events_broken,
            at_start,
            after_warm_up: seen.after_warm_up,
            at_end,
            standard,
        },
    ))
}
