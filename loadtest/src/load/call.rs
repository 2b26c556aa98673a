//! One call of a load test: what it is told, how far it came, what is left of it.
//!
//! What each vendor's caller and each far end have in common; a further vendor adds a caller beside [`super::browser`] and takes its
//! place in `parties` and [`super::scenario`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::media::{FrameClock, LegRecord};
use super::report::DURING_THE_CALL;

/// For each step of a set-up.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);

/// The number of a call in its run, from 0. It is dialled, so that the far end knows which call it hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallNumber(pub u32);

/// How far apart neighbours begin in their speech. In both speeches no two of eight in a row are then within 300 ms of each other,
/// the longest delay, however they follow each other (1 to 50 a second).
const FIRST_FRAME_STEP: u64 = 212;

/// The frame of its speech that a call begins with, both ways. Each call has its own, so that one that hears another is found.
pub fn first_frame(number: CallNumber) -> u64 {
    u64::from(number.0) * FIRST_FRAME_STEP
}

/// What both ends of a call know of each other.
#[derive(Clone)]
pub struct CallClocks {
    /// When the vendor's side sent which frame.
    pub vendor: Arc<FrameClock>,
    /// When the trunk's side sent which frame.
    pub trunk: Arc<FrameClock>,
}

/// The steps of a set-up, in their order. Not every vendor has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// TCP, TLS and the WebSocket handshake.
    Connect,
    /// The token is taken: `session`.
    SignOn,
    /// From the SDP offer to its answer.
    Negotiate,
    /// ICE, up to the nominated pair.
    Ice,
    /// DTLS, up to the keys.
    Dtls,
    /// From `dial` to `CHANNEL_ANSWER`.
    Answer,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 6] = [
        Self::Connect,
        Self::SignOn,
        Self::Negotiate,
        Self::Ice,
        Self::Dtls,
        Self::Answer,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "TCP, TLS, WebSocket",
            Self::SignOn => "sign-on",
            Self::Negotiate => "SDP",
            Self::Ice => "ICE",
            Self::Dtls => "DTLS",
            Self::Answer => "dial to answer",
        }
    }
}

/// Why a call did not come about, or ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    /// The step that it was in; none: the call was up.
    pub stage: Option<Stage>,
    /// What went wrong, with the gateway's own words where it had some.
    pub reason: String,
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            Some(stage) => write!(f, "{}: {}", stage.name(), self.reason),
            None => write!(f, "{DURING_THE_CALL}: {}", self.reason),
        }
    }
}

/// How long each step took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StageTimes {
    /// In their order.
    pub stages: Vec<(Stage, Duration)>,
}

impl StageTimes {
    /// From the first to the last.
    pub fn total(&self) -> Duration {
        self.stages.iter().map(|(_, took)| *took).sum()
    }
}

/// Measures one step after the other.
pub(super) struct Stopwatch {
    last: Instant,
    pub(super) times: StageTimes,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self {
            last: Instant::now(),
            times: StageTimes::default(),
        }
    }

    pub(super) fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        self.times.stages.push((stage, now - self.last));
        self.last = now;
    }

    /// A step that measured itself.
    pub(super) fn add(&mut self, stage: Stage, took: Duration) {
        self.times.stages.push((stage, took));
        self.last = Instant::now();
    }
}

/// What is left of a call.
#[derive(Debug)]
pub struct CallOutcome {
    /// Which.
    pub number: CallNumber,
    /// The gateway's name of it, once it had one.
    pub call_sid: Option<String>,
    /// Its set-up, if it was answered.
    pub setup: Option<StageTimes>,
    /// Why it did not come about or ended by itself.
    pub failure: Option<CallFailure>,
    /// What the vendor's side heard.
    pub at_vendor: Option<LegRecord>,
    /// What the trunk's side heard.
    pub at_trunk: Option<LegRecord>,
}

/// One step of a set-up, and no longer than it may take.
pub(super) async fn within<T>(
    stage: Stage,
    work: impl Future<Output = T>,
) -> Result<T, CallFailure> {
    tokio::time::timeout(STEP_TIMEOUT, work).await.map_err(|_| {
        failed(
            stage,
            &format!("nothing within {} s", STEP_TIMEOUT.as_secs()),
        )
    })
}

/// A WebSocket was closed.
pub(super) fn closed_with(stage: Option<Stage>, code: u16, reason: &str) -> CallFailure {
    failed_at(stage, &format!("closed with {code}: {reason}"))
}

/// A step went wrong.
pub(super) fn failed(stage: Stage, reason: &dyn std::fmt::Display) -> CallFailure {
    failed_at(Some(stage), reason)
}

/// A step went wrong, or a call that was up.
pub(super) fn failed_at(stage: Option<Stage>, reason: &dyn std::fmt::Display) -> CallFailure {
    CallFailure {
        stage,
        reason: reason.to_string(),
    }
}
