//! One run against our gateway: its calls (`load::drive`), what is left behind, and the report.
//!
//! What was found is put together by [`super::assemble`].

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::admin::{Admin, AdminError, EventReader};
use super::assemble::{self, Found};
use super::browser::{BrowserCall, BrowserCaller};
use super::call::{CallClocks, CallFailure, CallNumber};
use super::drive::{self, Ended, Look, NotPlaced, Parties, Placed};
use super::impaired::Impairment;
use super::judges::Standard;
use super::media::{FrameClock, MediaThreads};
use super::observer::Sample;
use super::report::Report;
use super::scenario::Scenario;
use super::signalling::Endpoint;
use super::sip_answerer::{Answerer, AnswererConfig};
use super::token::TokenSigner;
use super::webrtc::{ConnectError, Identity};
use crate::judge::Bar;
use crate::media::MediaError;

/// Calls before the run, after which memory is looked at.
pub const WARM_UP_CALLS: u32 = 20;
/// What is left behind is looked at so long after the last hang-up.
const LEAK_AFTER: Duration = Duration::from_secs(5);
/// From the gateway's end of a call to its BYE at the far end.
const BYE_WITHIN: Duration = Duration::from_secs(10);
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
    let mut standard = Standard::of(plan.scenario)?;
    if plan.impairment.is_some() {
        standard.bar = Bar::Loss5;
    }
    let look: Look = {
        let admin = target.admin.clone();
        Arc::new(move || Ok(admin.figures()?))
    };
    let made = drive::make_calls(plan, &standard, &look, on_sample, &on_phase, |media| {
        BrowserCalls::new(plan, target, media, &standard)
    })?;
    on_phase("what is left behind");
    std::thread::sleep(LEAK_AFTER);
    let at_end = look()?;
    let seen = made.finish(plan, &on_phase);
    let stories = events.stories().clone();
    Ok(assemble::report(
        plan,
        &Found {
            began,
            times: seen.times,
            outcomes: seen.outcomes,
            verdicts: seen.verdicts,
            samples: seen.samples,
            stories,
            at_start,
            after_warm_up: seen.after_warm_up,
            at_end,
            standard,
        },
    ))
}

/// Browsers call; the trunk's side is ours, or the gateway's own echo.
struct BrowserCalls {
    caller: BrowserCaller,
    answerer: Option<Answerer>,
}

impl BrowserCalls {
    fn new(
        plan: &RunPlan,
        target: Target,
        media: &Arc<MediaThreads>,
        standard: &Standard,
    ) -> Result<Self, RunError> {
        let answerer = match (&standard.said_by_trunk, target.sip_socket) {
            (Some(speech), Some(socket)) => Some(Answerer::start(AnswererConfig {
                socket,
                codec: plan.scenario.codec_b(),
                speech: Arc::clone(speech),
                media: Arc::clone(media),
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
            media: Arc::clone(media),
            record: plan.judged,
            impairment: plan.impairment.clone(),
            seed: plan.seed,
        };
        Ok(Self { caller, answerer })
    }
}

impl Parties for BrowserCalls {
    type Call = BrowserCall;

    fn clocks(&self) -> CallClocks {
        let vendor = Arc::new(FrameClock::default());
        CallClocks {
            trunk: match &self.answerer {
                Some(_) => Arc::new(FrameClock::default()),
                // What the echo sends is what the caller sent.
                None => Arc::clone(&vendor),
            },
            vendor,
        }
    }

    async fn place(
        &self,
        number: CallNumber,
        phase: u8,
        clocks: &CallClocks,
    ) -> Result<Placed<BrowserCall>, NotPlaced> {
        if let Some(answerer) = &self.answerer {
            answerer.expect(number, clocks.clone(), drive::opposite(phase));
        }
        match self.caller.place(number, phase, clocks).await {
            Ok(call) => Ok(Placed {
                call_sid: Some(call.call_sid.clone()),
                setup: call.setup.clone(),
                call,
            }),
            Err(failure) => Err(NotPlaced {
                failure,
                at_trunk: match &self.answerer {
                    Some(answerer) => answerer.record_of(number, Duration::ZERO).await,
                    None => None,
                },
            }),
        }
    }

    async fn ended_by_gateway(call: &mut BrowserCall) -> CallFailure {
        call.ended_by_gateway().await
    }

    async fn hang_up(&self, number: CallNumber, call: BrowserCall, say_so: bool) -> Ended {
        let (at_vendor, failure) = call.hang_up(say_so).await;
        let mut ended = Ended {
            at_vendor,
            at_trunk: None,
            failure,
        };
        if let Some(answerer) = &self.answerer {
            ended.at_trunk = answerer.record_of(number, BYE_WITHIN).await;
            if ended.at_trunk.is_none() && ended.failure.is_none() {
                ended.failure = Some(CallFailure {
                    stage: None,
                    refused: false,
                    reason: "the far end got no BYE".to_owned(),
                });
            }
        }
        ended
    }
}
