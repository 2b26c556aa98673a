//! `find-max`: how many calls the gateway carries before packets get lost or late.

use std::error::Error;
use std::time::Duration;

use clap::Args;
use loadtest::load::find_max::{self, FindMaxPlan};
use loadtest::load::run::RunError;
use loadtest::load::{html, spawn, summary};

use super::live::LiveView;
use super::run::{measure, prepare, rate, seconds};
use super::target::TargetArguments;

#[derive(Debug, Args)]
#[command(after_help = "\
How many calls does one core transcode?
  clutchcall-loadtest find-max --spawn --scenario browser-sip --html max.html
Steps double until one fails, then the distance is halved. A spawned gateway refuses no call for load here
(admission_busy_pct_max = 100, admission_tick_late_ms_max = 0), so that what is found is where calls suffer.

Exit codes: 0 a number was found, 1 none, 2 the command line is wrong.")]
pub(super) struct FindMaxArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Calls of the first step
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Search")]
    from: u32,
    /// No step has more calls
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Search")]
    to: u32,
    /// The most delay: the median of the seconds' 99th percentiles, the worse direction
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 20.0,
        help_heading = "Search"
    )]
    delay_limit_ms: f64,
    /// The most loss, in either direction
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 0.1,
        help_heading = "Search"
    )]
    loss_limit_pct: f64,
    /// The search ends when a step that passed and one that did not are so close
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 5.0,
        help_heading = "Search"
    )]
    precision_pct: f64,
    /// How long each step is measured
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 8.0,
        help_heading = "Search"
    )]
    duration: f64,
    /// Set-ups a second
    #[arg(
        long,
        value_name = "PER_S",
        value_parser = rate,
        default_value_t = 100.0,
        help_heading = "Search"
    )]
    setup_rate: f64,
}

pub(super) fn run(arguments: &FindMaxArguments) -> Result<bool, Box<dyn Error>> {
    let target = &arguments.target;
    prepare(&target.measuring.load_cores)?;
    let duration = seconds("--duration", arguments.duration)?;
    let plan = FindMaxPlan {
        // A search that should end below its first step is one step.
        from: arguments.from.min(arguments.to),
        to: arguments.to,
        delay_ms_p99_max: arguments.delay_limit_ms,
        loss_pct_max: arguments.loss_limit_pct,
        precision_pct: arguments.precision_pct,
    };
    let step = |calls: u32| {
        let mut plan = target.plan(calls, arguments.setup_rate, duration);
        // What is judged is whether packets come in time; the audio is `run`'s.
        plan.judge_every = 0;
        plan.judged = Duration::ZERO;
        let view = LiveView::start(target.measuring.quiet, &plan);
        measure(
            target,
            &spawn::without_admission(&target.shards_line),
            &plan,
            &view,
        )
        .map_err(|error| RunError::Target(error.to_string()))
    };
    let report = find_max::find_max(&plan, step, |step| {
        if !target.measuring.quiet {
            eprintln!("{}", summary::step_line(step));
        }
    })?;
    target.measuring.write(&report, html::find_max_page)?;
    print!("{}", summary::find_max_summary(&report));
    Ok(report.calls_max.is_some())
}
