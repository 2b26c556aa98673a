//! The soak of the endings: gateways under load are drained, stopped, killed, reloaded and made to panic, over and over, by
//! chance that a seed repeats. Every call that had a CREATE must have its one end.
//!
//! After SIGKILL nobody is left to tell an end: CallEvents are kept in memory only. Such cycles show that callers notice at
//! once, that no event is told twice, and how many ends went missing.

mod caller;
mod events;
mod long_call;

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::gateway::{ECHO_TENANT, Gateway, GatewayError, GatewaySetup};
use crate::impairment::Dice;
use caller::Caller;
pub use events::Endings;
pub use long_call::{LongCall, LongCallError, long_call};

/// Callers at once.
const CALLERS: u64 = 5;
/// How long the load runs before the end, at least and at most.
const LOAD_MS: (u64, u64) = (400, 1_800);
/// How long the longest drain of a cycle lasts.
const DRAIN_TIMEOUT_S_MAX: u64 = 2;
/// From the last signal, or the drain's deadline, to the end of the process.
const ENDS_WITHIN: Duration = Duration::from_secs(8);
/// Callers notice that their gateway is gone.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);
/// A tenant that comes and goes by reloads.
const SECOND_TENANT: &str = "\n[[tenants]]\ntenant_id = \"globex\"\n[tenants.browser]\n";

/// How a gateway ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM; calls go on until the deadline.
    Drain,
    /// SIGTERM, and a second one soon after.
    Stop,
    /// A panic in the media loop of one shard.
    ShardDeath,
    /// SIGKILL.
    Kill,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Drain, Self::Stop, Self::ShardDeath, Self::Kill];

    /// Its name in the summary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Stop => "stop at once",
            Self::ShardDeath => "shard panics",
            Self::Kill => "SIGKILL",
        }
    }

    fn thrown(dice: &mut Dice, faults: bool) -> Self {
        match dice.below(10) {
            0..4 => Self::Drain,
            4..7 => Self::Stop,
            7 if faults => Self::ShardDeath,
            7 => Self::Drain,
            _ => Self::Kill,
        }
    }

    fn exit_code(self) -> Option<i32> {
        match self {
            Self::Drain | Self::Stop => Some(0),
            Self::ShardDeath => Some(1),
            Self::Kill => None,
        }
    }
}

/// What one cycle came to.
#[derive(Debug, Clone)]
pub struct Cycle {
    /// How it ended.
    pub ending: Ending,
    /// The calls that were told.
    pub endings: Endings,
    /// Reloads that were taken, and refused.
    pub reloads: [u64; 2],
    /// Panics of single calls.
    pub panics: u64,
    /// From the first signal to the end of the process.
    pub took: Duration,
    /// What went wrong; empty when all is well.
    pub failures: Vec<String>,
    /// The end of the gateway's log, where something went wrong.
    pub log: String,
}

/// Runs cycle `number` of a soak.
///
/// # Errors
/// No gateway could be started.
pub fn cycle(seed: u64, number: u64) -> Result<Cycle, GatewayError> {
    let mut dice = Dice::new(seed, number);
    let drain_timeout_s = 1 + dice.below(DRAIN_TIMEOUT_S_MAX);
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.cores = vec![0, 1];
    setup.shards_lines = "[spread]\nacme = 2\n".to_owned();
    setup.server_lines = format!("drain_timeout_s = {drain_timeout_s}\nsignal_grace_ms = 1000\n");
    let gateway = Gateway::start(&setup)?;
    // A release build has no faults on purpose.
    let faults = gateway
        .post("/v1/faults", &json!({}))
        .is_ok_and(|answer| answer.status != 404);
    let ending = Ending::thrown(&mut dice, faults);

    let (leave, files) = (AtomicBool::new(false), Mutex::new(()));
    let mut failures = Vec::new();
    let mut took = Duration::ZERO;
    let mut counted = [0.0; 3];
    let mut status = None;
    let answered = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let dice = Dice::new(seed, (number << 8) + 1 + caller);
                let caller = Caller::new(&gateway, &leave, &files, dice);
                scope.spawn(move || caller.run())
            })
            .collect();
        load(&gateway, &mut dice, &files, faults);
        if let Ok(metrics) = gateway.metrics() {
            counted = [
                metrics.matching("clutchcall_reloads_total", "result=\"ok\""),
                metrics.matching("clutchcall_reloads_total", "result=\"refused\""),
                metrics.sum("clutchcall_panics_total"),
            ];
            let breaches = metrics.sum("clutchcall_events_missing_total");
            if breaches != 0.0 {
                failures.push(format!("{breaches} events out of order"));
            }
        }
        let began = Instant::now();
        leave.store(true, Ordering::Relaxed);
        if let Err(error) = begin_ending(&gateway, ending, &mut dice) {
            failures.push(error.to_string());
        }
        let limit = Duration::from_secs(drain_timeout_s) + ENDS_WITHIN;
        match gateway.wait_for_exit_shared(limit) {
            Ok(ended) => status = Some(ended),
            Err(error) => failures.push(error.to_string()),
        }
        took = began.elapsed();
        let mut answered = Vec::new();
        for caller in callers {
            match caller.join() {
                Ok(calls) => answered.extend(calls),
                Err(_) => failures.push("a caller panicked".to_owned()),
            }
        }
        if took + NOTICED_WITHIN < began.elapsed() {
            failures.push(format!("callers noticed after {:?}", began.elapsed()));
        }
        answered
    });
    if let Some(status) = status
        && status.code() != ending.exit_code()
    {
        failures.push(format!("it ended with {status}"));
    }
    if !gateway.wait_for_event_stream_end(Instant::now() + ENDS_WITHIN) {
        failures.push("the event stream goes on after the end".to_owned());
    }
    let log = gateway.log();
    let unwanted = log.matches("panicked at").count() - log.matches("\ninjected at ").count();
    if unwanted > 0 {
        failures.push(format!("{unwanted} panics that nobody ordered"));
    }
    let endings = Endings::of(&gateway.events(), &answered);
    failures.extend(endings.breaches(ending != Ending::Kill));
    let log = if failures.is_empty() {
        String::new()
    } else {
        log
    };
    Ok(Cycle {
        ending,
        endings,
        reloads: [counted[0] as u64, counted[1] as u64],
        panics: counted[2] as u64,
        took,
        failures,
        log,
    })
}

/// What happens while callers come and go: reloads, a bad file among them, and panics of single calls.
fn load(gateway: &Gateway, dice: &mut Dice, files: &Mutex<()>, faults: bool) {
    let length_ms = LOAD_MS.0 + dice.below(LOAD_MS.1 - LOAD_MS.0);
    let happenings = dice.below(4);
    let path = gateway.file("gateway.toml");
    let good = fs::read_to_string(&path).unwrap_or_default();
    for _ in 0..happenings {
        std::thread::sleep(Duration::from_millis(length_ms / (happenings + 1)));
        let happening = dice.below(4);
        if happening == 3 && faults {
            let places = ["packet", "timer", "adapter", "ending"];
            let at = places[dice.below(4) as usize];
            let order = json!({"fault": "panic", "at": at, "shard": dice.below(2)});
            // What does not arrive breaks nothing; the panics that came are counted by the gateway.
            let _ = gateway.post("/v1/faults", &order);
            continue;
        }
        let text = match happening {
            0 => good.replacen("[webrtc]", "[webrct]", 1),
            1 => good.clone() + SECOND_TENANT,
            _ => good.clone(),
        };
        // Callers read the file too, for their tokens.
        let _files = files.lock();
        let _ = fs::write(&path, text);
        let _ = match dice.happens(0.5) {
            true => gateway.post("/v1/reload", &json!({})).map(drop),
            false => {
                let sent = gateway.signal("HUP").map_err(std::io::Error::other);
                std::thread::sleep(Duration::from_millis(50));
                sent
            }
        };
        let _ = fs::write(&path, &good);
    }
    std::thread::sleep(Duration::from_millis(length_ms / (happenings + 1)));
}

fn begin_ending(gateway: &Gateway, ending: Ending, dice: &mut Dice) -> Result<(), GatewayError> {
    match ending {
        Ending::Drain => gateway.signal("TERM"),
        Ending::Stop => {
            gateway.signal("TERM")?;
            std::thread::sleep(Duration::from_millis(dice.below(500)));
            gateway.signal("TERM")
        }
        Ending::ShardDeath => {
            let order = json!({"fault": "panic", "at": "tick", "shard": dice.below(2)});
            let ordered = gateway.post("/v1/faults", &order);
            ordered.map(drop).map_err(|error| GatewayError::Io {
                what: "/v1/faults".to_owned(),
                error,
            })
        }
        Ending::Kill => gateway.signal("KILL"),
    }
}
