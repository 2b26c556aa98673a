//! `compare`: the same job through our gateway and through an installed rtpengine, turn about.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use loadtest::load::compare::rtpengine::Installed;
use loadtest::load::compare::{self, ComparePlan, Side, Turn};
use loadtest::load::observer::Sample;
use loadtest::load::report::{CompareRound, CompareSample, Report};
use loadtest::load::run::{self, RunError, RunPlan, WARM_UP_CALLS};
use loadtest::load::scenario::Scenario;
use loadtest::load::spawn::{self, SpawnPlan};
use loadtest::load::{html, summary};

use super::live::LiveView;
use super::measuring::MeasuringArguments;
use super::run::{prepare, rate, seconds};

/// Calls through our gateway, if nobody says how many.
const CALLS: u32 = 200;
/// Through rtpengine when it transcodes: near the most that one core carries.
const THEIR_CALLS_TRANSCODED: u32 = 20;

#[derive(Debug, Args)]
#[command(after_help = "\
What does a transcoded call cost here, and with rtpengine? 200 calls through ours, 20 through theirs, five turns each:
  clutchcall-loadtest compare --scenario browser-sip --html compare.html
And one that is passed through, at 400 calls each?
  clutchcall-loadtest compare --scenario browser-sip-pcmu --calls 400 --json compare.json
rtpengine is installed, without its kernel module, with:
  apt-get install -y --no-install-recommends rtpengine-daemon
Its service need not run: compare starts one of its own on each turn, with ports of its own, and ends it.

Exit codes: 0 there is a ratio, 1 there is none, 2 the command line is wrong.")]
pub(super) struct CompareArguments {
    /// Which job: browser-sip, browser-sip-pcmu, browser-sip-opus
    #[arg(long, value_name = "NAME", help_heading = "Calls")]
    scenario: Scenario,
    /// Calls at once through our gateway
    #[arg(long, default_value_t = CALLS, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Calls")]
    calls: u32,
    /// Calls at once through rtpengine; by default 20 where it transcodes, else as many
    #[arg(long, value_name = "CALLS", help_heading = "Calls")]
    their_calls: Option<u32>,
    /// Turns of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Calls")]
    rounds: u32,
    /// How long the calls of a turn are up together, measured
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10.0,
        help_heading = "Calls"
    )]
    duration: f64,
    /// Set-ups a second
    #[arg(
        long,
        value_name = "PER_S",
        value_parser = rate,
        default_value_t = 50.0,
        help_heading = "Calls"
    )]
    setup_rate: f64,
    /// rtpengine's program, if it is not on the PATH
    #[arg(long, value_name = "PATH", help_heading = "Gateways")]
    rtpengine: Option<PathBuf>,
    /// Cores of both gateways, each in its turn
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [0], help_heading = "Gateways")]
    gateway_cores: Vec<usize>,
    /// A line of our gateway's shards.toml; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Gateways")]
    shards_line: Vec<String>,
    #[command(flatten)]
    measuring: MeasuringArguments,
}

pub(super) fn run(arguments: &CompareArguments) -> Result<bool, Box<dyn Error>> {
    let rival = Installed::find(arguments.rtpengine.as_deref())?;
    prepare(&arguments.measuring.load_cores)?;
    let plan = ComparePlan::new(
        turn_of_ours(arguments)?,
        their_calls(arguments),
        arguments.rounds,
        &rival,
        &arguments.gateway_cores,
    )?;
    let measure = |turn: &Turn<'_>| {
        let view = LiveView::start(arguments.measuring.quiet, turn.plan);
        let report = take_turn(arguments, &rival, turn, &view);
        view.finish();
        report
    };
    let mut rounds = 0;
    let report = compare::compare(&plan, &rival, measure, |round| {
        rounds += 1;
        if !arguments.measuring.quiet {
            eprintln!("{}", round_line(rounds, round));
        }
    })?;
    arguments.measuring.write(&report, html::compare_page)?;
    print!("{}", summary::compare_summary(&report));
    Ok(report.ratio_of_medians.is_some())
}

fn turn_of_ours(arguments: &CompareArguments) -> Result<RunPlan, Box<dyn Error>> {
    let duration = seconds("--duration", arguments.duration)?;
    let mut notes = vec![(
        "gateway_cores".to_owned(),
        format!("{:?}", arguments.gateway_cores),
    )];
    let lines = shards_lines(arguments).into_iter();
    notes.extend(lines.map(|line| ("shards.toml".to_owned(), line)));
    Ok(RunPlan {
        scenario: arguments.scenario,
        calls: arguments.calls,
        setups_per_s: arguments.setup_rate,
        ramp: Duration::ZERO,
        duration,
        call_duration: None,
        seed: arguments.measuring.seed,
        judged: duration,
        judge_every: 1,
        impairment: None,
        load_cores: arguments.measuring.load_cores.clone(),
        local_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        warm_up_calls: WARM_UP_CALLS.min(their_calls(arguments)),
        notes,
    })
}

/// Ours refuses no call for load, as theirs does not.
fn shards_lines(arguments: &CompareArguments) -> Vec<String> {
    let given = &arguments.shards_line;
    [given.as_slice(), &spawn::without_admission(given)].concat()
}

fn their_calls(arguments: &CompareArguments) -> u32 {
    arguments.their_calls.unwrap_or_else(|| {
        if arguments.scenario.is_transcoded() {
            arguments.calls.min(THEIR_CALLS_TRANSCODED)
        } else {
            arguments.calls
        }
    })
}

fn take_turn(
    arguments: &CompareArguments,
    rival: &Installed,
    turn: &Turn<'_>,
    view: &LiveView,
) -> Result<Report, RunError> {
    let on_sample = {
        let view = view.clone();
        move |sample: &Sample, last: Option<&Sample>| view.sample(sample, last)
    };
    let on_phase = |phase: &str| {
        view.phase(&format!(
            "round {} of {}, {}: {phase}",
            turn.round,
            arguments.rounds,
            turn.side.name()
        ));
    };
    let cores = &arguments.gateway_cores;
    match turn.side {
        Side::Ours => {
            let spawn_plan = SpawnPlan {
                scenario: arguments.scenario,
                cores: cores.clone(),
                shards_lines: shards_lines(arguments),
                sip_listen: (Ipv4Addr::LOCALHOST, 0).into(),
                origin: None,
            };
            let (gateway, target) =
                spawn::spawn(&spawn_plan).map_err(|error| RunError::Target(error.to_string()))?;
            let report = run::run(turn.plan, target, on_sample, on_phase);
            drop(gateway);
            report
        }
        Side::Theirs => compare::run_theirs(turn.plan, rival, cores, on_sample, on_phase),
    }
}

fn round_line(number: u32, round: &CompareRound) -> String {
    let side = |sample: &CompareSample| {
        let cost = sample.cpu_ms_per_call_s;
        let cost = cost.map_or_else(|| "-".to_owned(), |cost| format!("{cost:.2}"));
        format!("{cost} ms/call-s at {} calls", sample.calls)
    };
    format!(
        "round {number}: ours {}, theirs {}",
        side(&round.ours),
        side(&round.theirs)
    )
}
