//! `soak`: the endings of a gateway, over and over, with a bar that moves and a summary.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use loadtest::soak::{Cycle, Ending, cycle, long_call};

/// Log lines that are shown of a cycle that failed.
const LOG_LINES: usize = 60;
/// Without a terminal the bar is a line, each so many cycles.
const LINE_EVERY: u64 = 10;
/// The same for a long call, in seconds.
const LINE_EVERY_S: u64 = 60;
const BAR_WIDTH: u64 = 30;

#[derive(Debug, Args)]
#[command(after_help = "\
The gateway is CLUTCHCALL_GATEWAY, or stands beside this program. Its ends are drain, second SIGTERM, a panic of a shard (in test
builds) and SIGKILL; meanwhile it is reloaded, with bad files too, and single calls panic.

  clutchcall-loadtest soak --cycles 200 --seed 7
  clutchcall-loadtest soak --long-call-s 3600 --cycles 0

Exit code 0 only if every call that had a CREATE had its end, SIGKILL excepted.")]
pub(super) struct SoakArguments {
    /// How many gateways live and end
    #[arg(long, default_value_t = 200)]
    cycles: u64,
    /// Repeats the chances of an earlier soak
    #[arg(long)]
    seed: Option<u64>,
    /// First one call over a SIP trunk that lasts so long; 3600: an hour
    #[arg(long, default_value_t = 0)]
    long_call_s: u64,
    /// Begin with this cycle of the seed
    #[arg(long, default_value_t = 0)]
    from: u64,
}

#[derive(Default)]
struct Sum {
    cycles: u64,
    calls: usize,
    ended_by_us: usize,
    without_end: usize,
    longest: Duration,
}

pub(super) fn run(arguments: &SoakArguments) -> Result<bool, Box<dyn Error>> {
    let seed = arguments.seed.unwrap_or_else(|| {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        since.as_secs() % 1_000_000
    });
    let long_call_passed = arguments.long_call_s == 0 || run_long_call(arguments.long_call_s)?;
    if arguments.cycles == 0 {
        return Ok(long_call_passed);
    }
    println!("soak of {} cycles, seed {seed}", arguments.cycles);
    let began = Instant::now();
    let mut sums: [Sum; Ending::ALL.len()] = Default::default();
    let (mut reloads, mut panics, mut failed) = ([0; 2], 0, 0);
    for done in 0..arguments.cycles {
        let number = arguments.from + done;
        let one = cycle(seed, number)?;
        let sum = &mut sums[one.ending as usize];
        sum.cycles += 1;
        sum.calls += one.endings.calls;
        sum.ended_by_us += one.endings.ended_by_us;
        sum.without_end += one.endings.without_end;
        sum.longest = sum.longest.max(one.took);
        reloads = [reloads[0] + one.reloads[0], reloads[1] + one.reloads[1]];
        panics += one.panics;
        if !one.failures.is_empty() {
            failed += 1;
            tell_failure(number, seed, &one);
        }
        let calls: usize = sums.iter().map(|sum| sum.calls).sum();
        draw(done + 1, arguments.cycles, calls, failed, began.elapsed());
    }
    println!();
    println!("ending          cycles   calls  ended by us  without end  longest");
    for (ending, sum) in Ending::ALL.iter().zip(&sums) {
        println!(
            "{:<14} {:>7} {:>7} {:>12} {:>12} {:>6.1} s",
            ending.name(),
            sum.cycles,
            sum.calls,
            sum.ended_by_us,
            sum.without_end,
            sum.longest.as_secs_f64()
        );
    }
    println!(
        "reloads taken {}, refused {}; panics of single calls {panics}; {:.0} s",
        reloads[0],
        reloads[1],
        began.elapsed().as_secs_f64()
    );
    let verdict = match failed {
        0 => "pass: every call that had a CREATE has its end, where somebody was left to tell it"
            .to_owned(),
        failed => format!("FAILED: {failed} of {} cycles", arguments.cycles),
    };
    println!(
        "{}",
        super::terminal::verdict_coloured(&verdict, failed == 0)
    );
    Ok(failed == 0 && long_call_passed)
}

/// One long call, with a bar.
fn run_long_call(lasts_s: u64) -> Result<bool, Box<dyn Error>> {
    println!("one call of {lasts_s} s over a SIP trunk");
    let call = long_call(Duration::from_secs(lasts_s), |up| {
        draw_bar(up.as_secs().min(lasts_s), lasts_s, LINE_EVERY_S, |done| {
            format!("{done}/{lasts_s} s")
        });
    })?;
    println!();
    for failure in &call.failures {
        println!("  {failure}");
    }
    let passed = call.failures.is_empty();
    let verdict = format!(
        "{}: up for {} s, {} refreshes of the session, {} packets of the far end, {} of them lost",
        if passed { "pass" } else { "FAILED" },
        call.lasted.as_secs(),
        call.refreshes,
        call.from_far_end.0,
        call.from_far_end.1
    );
    println!("{}", super::terminal::verdict_coloured(&verdict, passed));
    Ok(passed)
}

fn tell_failure(number: u64, seed: u64, one: &Cycle) {
    eprintln!("\ncycle {number} ({}):", one.ending.name());
    for failure in &one.failures {
        eprintln!("  {failure}");
    }
    eprintln!("  again: soak --cycles 1 --seed {seed} --from {number}; the log ends:");
    let lines: Vec<&str> = one.log.lines().collect();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        eprintln!("    {line}");
    }
}

fn draw(done: u64, cycles: u64, calls: usize, failed: u64, passed: Duration) {
    draw_bar(done, cycles, LINE_EVERY, |done| {
        let seconds = passed.as_secs();
        format!("{done}/{cycles} cycles, {calls} calls, {failed} failed, {seconds} s")
    });
}

/// A bar that is `done` of `all` full, and what stands behind it.
fn draw_bar(done: u64, all: u64, line_every: u64, text: impl Fn(u64) -> String) {
    let terminal = std::io::stderr().is_terminal();
    if !terminal && !done.is_multiple_of(line_every) && done != all {
        return;
    }
    let filled = (done * BAR_WIDTH / all.max(1)) as usize;
    let bar = format!(
        "[{}{}] {}",
        "#".repeat(filled),
        ".".repeat(BAR_WIDTH as usize - filled),
        text(done)
    );
    let mut stderr = std::io::stderr().lock();
    // A bar that can't be drawn is no reason to stop.
    let _ = match terminal {
        true => write!(stderr, "\r{bar}").and_then(|()| stderr.flush()),
        false => writeln!(stderr, "{bar}"),
    };
}
