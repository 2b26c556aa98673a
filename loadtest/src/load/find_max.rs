//! How many calls a gateway carries: runs with more and more of them until one fails, then halves the distance.
//!
//! Each step is a run of its own, on a gateway of its own where it is spawned, so that no step inherits the queues of the one
//! before. A step that fails while the generator or the host was late tells nothing of the gateway: the search goes on below it,
//! and when no step there fails by the gateway's fault, it ends with the most that passed and with whose fault it was that there
//! are no more.

use super::report::{BothWays, FindMaxReport, FindMaxStep, Quantiles, Report};
use super::run::RunError;
use super::targets::{GENERATOR_LATE_MS_P99_MAX, STEAL_PCT_MAX};

/// Why a step did not pass of which nothing else is wrong: too few seconds were on time.
const NO_DELAY: &str = "no delay can be shown";

/// The search.
#[derive(Debug, Clone)]
pub struct FindMaxPlan {
    /// The first step.
    pub from: u32,
    /// No step has more.
    pub to: u32,
    /// A step's p99 delay is at most this, in ms: the median of its seconds, the worse direction.
    pub delay_ms_p99_max: f64,
    /// A step's loss is at most this, in percent, in each direction.
    pub loss_pct_max: f64,
    /// The search ends when the last step that passed and the first that did not are so close.
    pub precision_pct: f64,
}

/// Searches; `measure` makes the run with so many calls, `on_step` sees each step.
///
/// # Errors
/// The first run that could not be made.
pub fn find_max(
    plan: &FindMaxPlan,
    mut measure: impl FnMut(u32) -> Result<Report, RunError>,
    mut on_step: impl FnMut(&FindMaxStep),
) -> Result<FindMaxReport, RunError> {
    let mut search = Search::new(plan);
    let mut found = FindMaxReport {
        limit_delay_ms_p99: plan.delay_ms_p99_max,
        limit_loss_pct: plan.loss_pct_max,
        ..FindMaxReport::default()
    };
    while let Some(calls) = search.next() {
        let report = measure(calls)?;
        let step = judge_step(plan, &report);
        on_step(&step);
        let outcome = match (step.passed, blame(&report)) {
            (true, _) => Outcome::Passed,
            (false, Some(late)) => Outcome::NotShown(late),
            (false, None) if step.why_not.as_deref() == Some(NO_DELAY) => {
                Outcome::NotShown(NO_DELAY.to_owned())
            }
            (false, None) => Outcome::Failed,
        };
        found.scenario.clone_from(&report.scenario);
        found.gateway_cores = report.gateway_cores;
        found.git_commit.clone_from(&report.git_commit);
        if found.steps.is_empty() {
            found.settings.clone_from(&report.settings);
            found.caveats.clone_from(&report.caveats);
        }
        found.steps.push(step);
        search.take(calls, outcome);
    }
    found.calls_max = search.passed.map(u64::from);
    let cores = found.gateway_cores.max(1) as f64;
    found.calls_per_core_max = search.passed.map(|calls| f64::from(calls) / cores);
    found.limited_by = search.limited_by();
    if let Some(late) = &search.not_shown {
        found.not_shown.push(format!(
            "more than {} calls: {late}",
            search.passed.unwrap_or(0)
        ));
    }
    Ok(found)
}

enum Outcome {
    Passed,
    Failed,
    /// Neither: why.
    NotShown(String),
}

struct Search<'a> {
    plan: &'a FindMaxPlan,
    passed: Option<u32>,
    failed: Option<u32>,
    not_shown: Option<String>,
}

impl<'a> Search<'a> {
    fn new(plan: &'a FindMaxPlan) -> Self {
        Self {
            plan,
            passed: None,
            failed: None,
            not_shown: None,
        }
    }

    fn next(&self) -> Option<u32> {
        match (self.passed, self.failed) {
            (None, None) => Some(self.plan.from.clamp(1, self.plan.to)),
            (Some(passed), None) if passed >= self.plan.to => None,
            (Some(passed), None) => Some(passed.saturating_mul(2).min(self.plan.to)),
            (passed, Some(failed)) => {
                let passed = passed.unwrap_or(0);
                let distance_pct = f64::from(failed - passed) * 100.0 / f64::from(failed);
                let middle = passed + (failed - passed) / 2;
                (distance_pct > self.plan.precision_pct && middle > passed).then_some(middle)
            }
        }
    }

    fn take(&mut self, calls: u32, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed = Some(calls),
            // Below one that was not shown: so that one would have failed as well.
            Outcome::Failed => {
                self.failed = Some(calls);
                self.not_shown = None;
            }
            // Closer to what passed it may be shown; the reason stays if not.
            Outcome::NotShown(late) => {
                self.failed = Some(calls);
                self.not_shown = Some(late);
            }
        }
    }

    fn limited_by(&self) -> String {
        match (&self.not_shown, self.failed) {
            (Some(late), _) => late.clone(),
            (None, Some(_)) => "the gateway".to_owned(),
            (None, None) => format!("the largest step, {} calls", self.plan.to),
        }
    }
}

/// Whose fault a failed step may be, if it is not the gateway's alone.
fn blame(report: &Report) -> Option<String> {
    let Some(late_ms) = report.generator_late_ms_p99 else {
        return Some("how late the generator sent was not measured".to_owned());
    };
    if late_ms >= GENERATOR_LATE_MS_P99_MAX {
        return Some(format!("the generator sent {late_ms:.2} ms late"));
    }
    let Some(steal_pct) = report.steal_pct else {
        return Some("what the hypervisor took was not measured".to_owned());
    };
    (steal_pct >= STEAL_PCT_MAX).then(|| format!("the hypervisor took {steal_pct:.1} % of a core"))
}

/// With the 99th percentile that the step goes by.
fn judged_delay(of_all: Option<Quantiles>, p99_median: Option<f64>) -> Option<Quantiles> {
    Some(Quantiles {
        p50: of_all?.p50,
        p99: p99_median?,
    })
}

fn judge_step(plan: &FindMaxPlan, report: &Report) -> FindMaxStep {
    let cores = report.gateway_cores.max(1) as f64;
    let mut reasons = Vec::new();
    if report.setup_failed > 0 {
        let why = report
            .failures
            .first()
            .map_or("", |failure| failure.reason.as_str());
        reasons.push(format!(
            "{} calls were not answered: {why}",
            report.setup_failed
        ));
    }
    if report.calls_broken > 0 {
        let why = report.why_broken();
        reasons.push(format!("{} calls broke{why}", report.calls_broken));
    }
    let worse =
        |both: BothWays<Option<f64>>| both.a_to_b.into_iter().chain(both.b_to_a).reduce(f64::max);
    match worse(report.loss_pct) {
        Some(loss) if loss > plan.loss_pct_max => reasons.push(format!("{loss:.3} % lost")),
        Some(_) => {}
        None => reasons.push("no packet came".to_owned()),
    }
    match worse(report.delay_ms_p99_median) {
        Some(p99) if p99 > plan.delay_ms_p99_max => reasons.push(format!("p99 delay {p99:.1} ms")),
        Some(_) => {}
        None => reasons.push(NO_DELAY.to_owned()),
    }
    FindMaxStep {
        calls: report.calls,
        calls_per_core: report.calls as f64 / cores,
        delay_ms: BothWays {
            a_to_b: judged_delay(report.delay_ms.a_to_b, report.delay_ms_p99_median.a_to_b),
            b_to_a: judged_delay(report.delay_ms.b_to_a, report.delay_ms_p99_median.b_to_a),
        },
        loss_pct: report.loss_pct,
        cpu_ms_per_call_s: report.cpu_ms_per_call_s,
        gateway_cpu_pct: report
            .cpu_ms_per_call_s
            .map(|cost| cost * report.calls as f64 / 10.0),
        generator_late_ms_p99: report.generator_late_ms_p99,
        steal_pct: report.steal_pct,
        passed: reasons.is_empty(),
        why_not: (!reasons.is_empty()).then(|| reasons.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::super::report::Failure;
    use super::*;

    const PLAN: FindMaxPlan = FindMaxPlan {
        from: 50,
        to: 1_000,
        delay_ms_p99_max: 20.0,
        loss_pct_max: 0.1,
        precision_pct: 5.0,
    };

    fn both<T: Copy>(value: T) -> BothWays<T> {
        BothWays {
            a_to_b: value,
            b_to_a: value,
        }
    }

    /// A gateway that carries so many, and a generator that so many.
    fn search(gateway: u32, generator: u32) -> (FindMaxReport, Vec<u64>) {
        let mut steps = Vec::new();
        let measure = |calls: u32| {
            let p99 = if calls > gateway { 30.0 } else { 2.0 };
            Ok(Report {
                calls: calls.into(),
                gateway_cores: 1,
                delay_ms: both(Some(Quantiles { p50: 1.0, p99 })),
                delay_ms_p99_median: both(Some(p99)),
                loss_pct: both(Some(0.0)),
                generator_late_ms_p99: Some(if calls > generator { 3.0 } else { 0.2 }),
                steal_pct: Some(0.0),
                ..Report::default()
            })
        };
        let report = find_max(&PLAN, measure, |step| steps.push(step.calls)).unwrap();
        (report, steps)
    }

    #[test]
    fn it_doubles_then_halves() {
        let (report, steps) = search(330, 2_000);
        assert_eq!(steps, [50, 100, 200, 400, 300, 350, 325, 337]);
        assert_eq!(report.calls_max, Some(325));
        assert_eq!(report.limited_by, "the gateway");
    }

    #[test]
    fn the_largest_step_ends_it() {
        let (report, steps) = search(5_000, 5_000);
        assert_eq!(steps.last(), Some(&1_000));
        assert_eq!(report.calls_max, Some(1_000));
        assert!(
            report.limited_by.contains("largest"),
            "{}",
            report.limited_by
        );
    }

    #[test]
    fn a_step_whose_calls_break_does_not_pass() {
        let report = Report {
            calls: 50,
            calls_broken: 2,
            loss_pct: both(Some(0.0)),
            delay_ms_p99_median: both(Some(2.0)),
            failures: vec![Failure {
                calls: 2,
                reason: "during the call: ended with cause 41: a fault".to_owned(),
            }],
            ..Report::default()
        };
        assert_eq!(
            judge_step(&PLAN, &report).why_not.as_deref(),
            Some("2 calls broke: during the call: ended with cause 41: a fault")
        );
    }

    #[test]
    fn what_was_not_measured_clears_nobody() {
        let measured = Report {
            generator_late_ms_p99: Some(0.2),
            steal_pct: Some(0.0),
            ..Report::default()
        };
        assert_eq!(blame(&measured), None);
        for spoil in [
            |report: &mut Report| report.generator_late_ms_p99 = None,
            |report: &mut Report| report.steal_pct = None,
        ] {
            let mut report = measured.clone();
            spoil(&mut report);
            assert!(blame(&report).is_some_and(|why| why.contains("not measured")));
        }
    }

    #[test]
    fn a_late_generator_is_blamed() {
        let (report, steps) = search(330, 150);
        assert_eq!(steps, [50, 100, 200, 400, 300, 350, 325, 337]);
        assert_eq!(report.calls_max, Some(325));
        assert!(
            report.limited_by.contains("generator"),
            "{}",
            report.limited_by
        );
        assert!(!report.not_shown.is_empty());
    }

    #[test]
    fn a_gateway_that_fails_below_is_blamed_all_the_same() {
        // 400 fail with a late generator, 350 without.
        let (report, _) = search(330, 399);
        assert_eq!(report.calls_max, Some(325));
        assert_eq!(report.limited_by, "the gateway");
        assert_eq!(report.not_shown, Vec::<String>::new());
    }
}
