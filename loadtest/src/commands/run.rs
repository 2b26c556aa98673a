//! `run`: many calls through a gateway, and a report of what they cost and how they sounded.

use std::error::Error;
use std::time::Duration;

use clap::Args;
use loadtest::load::impaired::Impairment;
use loadtest::load::observer::Sample;
use loadtest::load::report::Report;
use loadtest::load::run::{self, RunPlan};
use loadtest::load::verdict::{Outcome, Verdict};
use loadtest::load::{host, html, summary};

use super::live::LiveView;
use super::target::TargetArguments;

/// Set-ups a second.
const RATE_MIN: f64 = 0.01;
const RATE_MAX: f64 = 100_000.0;

#[derive(Debug, Args)]
#[command(after_help = "\
Two hundred calls from browsers to a SIP carrier through a gateway of their own, on core 0, callers on core 1:
  clutchcall-loadtest run --spawn --scenario browser-sip --calls 200 --duration 20 --json out.json --html out.html
A gateway that runs, with the example configuration:
  clutchcall-loadtest run --url wss://localhost:7443 --tenant acme --trunk echo --scenario browser-echo --calls 20 \\
      --token-key keys/token-key.pem --ca tls/cert.pem --admin 127.0.0.1:7444 --admin-token-file keys/admin-token
Calls of Twilio to an AI agent, over TLS both:
  clutchcall-loadtest run --spawn --scenario twilio-ai --calls 100
Calls that come and go: 10000 of 4 s each
  clutchcall-loadtest run --spawn --scenario browser-sip-pcmu --calls 10000 --call-duration 4 --setup-rate 50

Exit codes: 0 every call was answered, went on to its end and passed the judge, without loss, with all its events and nothing left
behind; 1 not, or one of these was not measured (as with --judge-every 0); 2 the command line is wrong.")]
pub(super) struct RunArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// How many calls
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Calls")]
    calls: u32,
    /// Set-ups a second
    #[arg(
        long,
        value_name = "PER_S",
        value_parser = rate,
        default_value_t = 50.0,
        help_heading = "Calls"
    )]
    setup_rate: f64,
    /// The rate grows from nothing in the first so many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0.0,
        help_heading = "Calls"
    )]
    ramp: f64,
    /// How long all calls are up together, measured: a soak has hours here
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 20.0,
        help_heading = "Calls"
    )]
    duration: f64,
    /// Instead: each call ends after so long, others follow until all were made
    #[arg(
        long,
        value_name = "SECONDS",
        conflicts_with = "duration",
        help_heading = "Calls"
    )]
    call_duration: Option<f64>,
    /// A bad network for the media of the vendor's side, both ways: loss, reorder, duplicate in %, delay, jitter in ms, rate in
    /// kbit/s, such as loss=5,jitter=30; 100 calls at most
    #[arg(long, value_name = "PROFILE", help_heading = "Calls")]
    impairment: Option<Impairment>,
    /// So much of each call is judged
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 20.0,
        help_heading = "Judge"
    )]
    judged: f64,
    /// Judge every so manieth call; 0: none
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Judge")]
    judge_every: u32,
}

pub(super) fn run(arguments: &RunArguments) -> Result<bool, Box<dyn Error>> {
    let target = &arguments.target;
    prepare(&target.measuring.load_cores)?;
    let duration = seconds("--duration", arguments.duration)?;
    let plan = RunPlan {
        ramp: seconds("--ramp", arguments.ramp)?,
        call_duration: arguments
            .call_duration
            .map(|duration| seconds("--call-duration", duration))
            .transpose()?,
        judged: seconds("--judged", arguments.judged)?,
        judge_every: arguments.judge_every,
        impairment: arguments.impairment.clone(),
        ..target.plan(arguments.calls, arguments.setup_rate, duration)
    };
    let view = LiveView::start(target.measuring.quiet, &plan);
    let report = measure(target, &[], &plan, &view)?;
    target.measuring.write(&report, html::page)?;
    print!("{}", summary::summary(&report));
    Ok(Verdict::of(&report).outcome() == Outcome::Passed)
}

/// One run against the target, shown as it goes; `shards_lines` are for a spawned gateway besides the user's own.
pub(super) fn measure(
    target: &TargetArguments,
    shards_lines: &[String],
    plan: &RunPlan,
    view: &LiveView,
) -> Result<Report, Box<dyn Error>> {
    let (gateway, under_test) = target.open(shards_lines)?;
    let on_sample = {
        let view = view.clone();
        move |sample: &Sample, last: Option<&Sample>| view.sample(sample, last)
    };
    let report = run::run(plan, under_test, on_sample, |phase| view.phase(phase));
    view.finish();
    drop(gateway);
    Ok(report?)
}

/// Binds this process to its cores and takes as many file descriptors as it may.
pub(super) fn prepare(load_cores: &[usize]) -> Result<(), Box<dyn Error>> {
    host::raise_open_files();
    host::pin(load_cores).map_err(|error| format!("--load-cores: {error}"))?;
    Ok(())
}

/// A rate with which a run comes to an end.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err(format!("not a number from {RATE_MIN} to {RATE_MAX}")),
    }
}

pub(super) fn seconds(option: &str, value: f64) -> Result<Duration, Box<dyn Error>> {
    Duration::try_from_secs_f64(value).map_err(|error| format!("{option} {value}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_no_run_could_keep_is_refused() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["0", "-3", "nan", "inf", "1e-300", "fast"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
