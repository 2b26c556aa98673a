//! Figures that are taken back, each with the reason that stands in its place.

use super::super::report::{BothWays, Report};
use super::super::run::RunPlan;
use super::super::targets::{GENERATOR_LATE_MS_P99_MAX, UndisturbedDelay};
use super::Found;
use super::steady::Steady;

/// The steady time needs so many looks for a figure of CPU, and so many seconds on time for one of delay.
pub(super) const STEADY_SAMPLES_MIN: usize = 3;

/// Why most figures are none of a run with `--call-duration`.
const COME_AND_GO: &str = "calls come and go, so there is no steady time";

/// Takes back what can't be shown.
pub(super) fn refuse(
    plan: &RunPlan,
    report: &mut Report,
    found: &Found,
    steady: &Steady,
    undisturbed: &UndisturbedDelay,
) {
    let mut refused = Vec::new();
    let mut refuse = |what: &str, why: String| refused.push(format!("{what}: {why}"));
    if let Some(why) = &found.events_broken {
        refuse("events_missing", why.clone());
    }
    if let Some(why) = why_no_delay(plan, undisturbed) {
        refuse("delay", why);
        report.delay_ms = BothWays::default();
        report.delay_ms_p99_median = BothWays::default();
    }
    if report.generator_late_ms_p99.is_none() {
        refuse(
            "generator_late_ms_p99",
            "nothing was sent in the measured time".to_owned(),
        );
    }
    if report.steal_pct.is_none() {
        refuse(
            "steal_pct",
            "there were no two looks in the measured time".to_owned(),
        );
    }
    if plan.call_duration.is_some() {
        refuse("CPU and memory per call", COME_AND_GO.to_owned());
        (report.cpu_ms_per_call_s, report.rss_kb_per_call) = (None, None);
    } else if steady.samples < STEADY_SAMPLES_MIN {
        refuse(
            "all figures of the steady time",
            format!(
                "it had {} looks, {STEADY_SAMPLES_MIN} are needed",
                steady.samples
            ),
        );
        (report.cpu_ms_per_call_s, report.rss_kb_per_call) = (None, None);
    } else if report.cpu_ms_per_call_s.is_none() {
        let why = steady.gateway_silent.clone();
        refuse(
            "CPU per call",
            why.unwrap_or_else(|| "no call was up".to_owned()),
        );
    }
    if let Some(why) = why_no_memory(plan, report) {
        refuse("memory per call", why);
        report.rss_kb_per_call = None;
    }
    if report.cpu_ms_per_setup.is_none() {
        refuse(
            "CPU per set-up",
            format!("it needs a steady time, and set-ups that take {STEADY_SAMPLES_MIN} s or more"),
        );
    }
    report.not_shown.extend(refused);
}

fn why_no_delay(plan: &RunPlan, undisturbed: &UndisturbedDelay) -> Option<String> {
    if plan.call_duration.is_some() {
        return Some(COME_AND_GO.to_owned());
    }
    (undisturbed.counted < STEADY_SAMPLES_MIN).then(|| {
        format!(
            "{}; {STEADY_SAMPLES_MIN} are needed. A generator is late from {GENERATOR_LATE_MS_P99_MAX} ms on at its 99th \
             percentile: more --load-cores or fewer calls help. All seconds are in the pictures",
            undisturbed.counted_windows(),
        )
    })
}

/// Of calls that come and go there is none anyhow.
fn why_no_memory(plan: &RunPlan, report: &Report) -> Option<String> {
    if plan.call_duration.is_some() {
        return None;
    }
    let few = u64::from(plan.warm_up_calls) * 4;
    if report.calls < few {
        return Some(format!(
            "the warm-up calls have left room for these; {few} calls are needed"
        ));
    }
    (report.setup_failed > 0)
        .then(|| "calls failed, and what they left behind counts for the others".to_owned())
}
