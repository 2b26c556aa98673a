//! The same job through our gateway and through an installed rtpengine, turn about in one run: what does a second of a call
//! cost each of them?
//!
//! Each turn is a run with a fresh process on the same cores, the same media threads, the same windows and the same judge. A
//! turn whose calls did not all pass, or that lost packets, left work undone: its CPU does not count. Nor does that of a turn in
//! which a hypervisor took the core.

pub mod bencode;
pub mod calls;
pub mod ng;
pub mod rtpengine;
pub mod sdp;
mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::assemble::{self, Found};
use super::drive::{self, Look};
use super::judges::Standard;
use super::not_shown;
use super::observer::Sample;
use super::report::{CompareReport, CompareRound, CompareSample, Report};
use super::run::{RunError, RunPlan};
use super::targets::{self, LOSS_PCT_MAX, STEAL_PCT_MAX, median};
use calls::RtpengineCalls;
use rtpengine::{Installed, Rtpengine, RtpengineError};

/// What is compared.
#[derive(Debug, Clone)]
pub struct ComparePlan {
    /// A turn of ours.
    pub ours: RunPlan,
    /// One of theirs.
    pub theirs: RunPlan,
    /// Turns of each.
    pub rounds: u32,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Our gateway's.
    Ours,
    /// rtpengine's.
    Theirs,
}

impl Side {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Theirs => "theirs",
        }
    }
}

/// One turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// From 1.
    pub round: u32,
    /// Whose.
    pub side: Side,
    /// What is done.
    pub plan: &'a RunPlan,
}

impl ComparePlan {
    /// `ours` and, with so many calls, the same through rtpengine on these cores. Both sides' settings are noted.
    ///
    /// # Errors
    /// rtpengine can't carry so many, or not this scenario.
    pub fn new(
        mut ours: RunPlan,
        their_calls: u32,
        rounds: u32,
        rival: &Installed,
        gateway_cores: &[usize],
    ) -> Result<Self, RunError> {
        let most = their_calls.max(ours.warm_up_calls);
        if most > u32::from(rtpengine::CALLS_MAX) {
            return Err(unusable(&RtpengineError::TooManyCalls(most)));
        }
        let scenario = ours.scenario;
        if words::job(scenario).is_none() {
            return Err(RunError::Target(format!(
                "{scenario} can't be compared: rtpengine carries RTP and SRTP, and has no far end of its own"
            )));
        }
        let mut theirs = ours.clone();
        theirs.calls = their_calls;
        theirs.notes = words::notes_theirs(scenario, rival, gateway_cores);
        ours.notes.extend(words::notes_ours(scenario));
        Ok(Self {
            ours,
            theirs,
            rounds,
        })
    }
}

/// Takes turns; `measure` makes the run of one, `on_round` sees both of a round.
///
/// # Errors
/// The first run that could not be made.
pub fn compare(
    plan: &ComparePlan,
    rival: &Installed,
    mut measure: impl FnMut(&Turn<'_>) -> Result<Report, RunError>,
    mut on_round: impl FnMut(&CompareRound),
) -> Result<CompareReport, RunError> {
    let scenario = plan.ours.scenario;
    let mut compared = CompareReport {
        job: words::job(scenario).unwrap_or_default(),
        rival: rival.name(),
        caveats: words::caveats(plan, rival),
        ratio_target: Some(targets::compare_ratio_min(scenario)),
        ..CompareReport::default()
    };
    let mut turns_without_delay = 0;
    for round in 1..=plan.rounds {
        let mut turn = |side: Side, plan: &RunPlan| -> Result<(CompareSample, Report), RunError> {
            let report = measure(&Turn { round, side, plan })?;
            let sample = match why_not_counted(&report) {
                None => sample_of(&report),
                Some(why) => {
                    let turn = format!("round {round}, {}", side.name());
                    compared.not_shown.push(format!("CPU of {turn}: {why}"));
                    CompareSample {
                        cpu_ms_per_call_s: None,
                        ..sample_of(&report)
                    }
                }
            };
            turns_without_delay += u32::from(sample.delay_ms.a_to_b.is_none());
            Ok((sample, report))
        };
        let (ours, report_ours) = turn(Side::Ours, &plan.ours)?;
        let (theirs, report_theirs) = turn(Side::Theirs, &plan.theirs)?;
        if round == 1 {
            compared.git_commit = report_ours.git_commit;
            compared.settings_ours = report_ours.settings;
            compared.settings_theirs = report_theirs.settings;
        }
        let round = CompareRound { ours, theirs };
        on_round(&round);
        compared.rounds.push(round);
    }
    if turns_without_delay > 0 {
        compared.not_shown.push(format!(
            "delay in {turns_without_delay} of {} turns: too few seconds in which generator and host were on time",
            plan.rounds * 2
        ));
    }
    conclude(&mut compared);
    Ok(compared)
}

/// Medians and their ratio, where more than half of the turns count.
fn conclude(compared: &mut CompareReport) {
    let rounds = &compared.rounds;
    let median_of = |cost: fn(&CompareRound) -> Option<f64>| {
        let costs: Vec<f64> = rounds.iter().filter_map(cost).collect();
        (costs.len() * 2 > rounds.len())
            .then(|| median(costs))
            .flatten()
    };
    compared.median_ours = median_of(|round| round.ours.cpu_ms_per_call_s);
    compared.median_theirs = median_of(|round| round.theirs.cpu_ms_per_call_s);
    compared.ratio_of_medians = compared
        .median_ours
        .zip(compared.median_theirs)
        .filter(|(ours, _)| *ours > 0.0)
        .map(|(ours, theirs)| theirs / ours);
    if compared.ratio_of_medians.is_none() {
        compared
            .not_shown
            .push("ratio_of_medians: no more than half of the turns of a side count".to_owned());
    }
}

fn sample_of(report: &Report) -> CompareSample {
    CompareSample {
        calls: report.calls,
        audio_ok: report.audio_ok,
        cpu_ms_per_call_s: report.cpu_ms_per_call_s,
        loss_pct: report.loss_pct,
        delay_ms: report.delay_ms,
        steal_pct: report.steal_pct,
        generator_late_ms_p99: report.generator_late_ms_p99,
    }
}

/// Work that was left undone makes a gateway look cheap, and a hypervisor that takes its core makes it look dear.
fn why_not_counted(report: &Report) -> Option<String> {
    let because = || {
        let first = report.failures.first();
        first.map_or(String::new(), |failure| format!(": {}", failure.reason))
    };
    if report.setup_ok < report.calls {
        let (ok, calls) = (report.setup_ok, report.calls);
        return Some(format!("{ok} of {calls} calls were set up{}", because()));
    }
    if report.calls_broken > 0 {
        let why = report.why_broken();
        return Some(format!("{} calls broke{why}", report.calls_broken));
    }
    if report.audio_ok < report.calls {
        let (ok, calls) = (report.audio_ok, report.calls);
        return Some(format!(
            "{ok} of {calls} calls passed the judge{}",
            because()
        ));
    }
    let losses = [report.loss_pct.a_to_b, report.loss_pct.b_to_a];
    let lost = losses.into_iter().flatten().reduce(f64::max);
    if let Some(lost) = lost.filter(|lost| *lost > LOSS_PCT_MAX) {
        return Some(format!("{lost:.2} % of the packets were lost"));
    }
    match report.steal_pct {
        Some(steal_pct) if steal_pct < STEAL_PCT_MAX => {}
        Some(steal_pct) => return Some(format!("the hypervisor took {steal_pct:.1} % of a core")),
        None => return Some("what the hypervisor took was not measured".to_owned()),
    }
    let unknown = || {
        let reason = not_shown::reason(&report.not_shown, "cpu_ms_per_call_s");
        reason.unwrap_or_else(|| "the gateway did not tell".to_owned())
    };
    report.cpu_ms_per_call_s.is_none().then(unknown)
}

/// A turn of theirs: a fresh rtpengine on `cores`, ended afterwards. `on_sample` is shown a look each second, `on_phase` what is
/// done now.
///
/// # Errors
/// [`RunError`]: rtpengine did not start or ended by itself, or this machine lacks something.
pub fn run_theirs(
    plan: &RunPlan,
    rival: &Installed,
    cores: &[usize],
    on_sample: impl FnMut(&Sample, Option<&Sample>) + Send + 'static,
    on_phase: impl Fn(&str),
) -> Result<Report, RunError> {
    let began = Instant::now();
    let mut rtpengine = Rtpengine::start(rival, cores).map_err(|error| unusable(&error))?;
    let (pid, threads) = (rtpengine.pid(), cores.len() as u64);
    let look: Look = Arc::new(move || Ok(rtpengine::figures(pid, threads)?));
    let at_start = look()?;
    let standard = Standard::of(plan.scenario)?;
    let made = drive::make_calls(plan, &standard, &look, on_sample, &on_phase, |media| {
        Ok(RtpengineCalls::new(
            &rtpengine,
            plan.local_ip,
            &standard,
            media,
            plan.judged,
        ))
    });
    rtpengine.still_runs().map_err(|error| unusable(&error))?;
    let made = made?;
    let at_end = look()?;
    let seen = made.finish(plan, &on_phase);
    Ok(assemble::report(
        plan,
        &Found {
            began,
            times: seen.times,
            outcomes: seen.outcomes,
            verdicts: seen.verdicts,
            samples: seen.samples,
            stories: HashMap::new(),
            events_broken: None,
            at_start,
            after_warm_up: seen.after_warm_up,
            at_end,
            standard,
        },
    ))
}

fn unusable(error: &RtpengineError) -> RunError {
    RunError::Target(error.to_string())
}

#[cfg(test)]
mod tests;
