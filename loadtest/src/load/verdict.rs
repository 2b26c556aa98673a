//! Did a run pass? Figures that could not be measured are no pass, and no failure either.

use super::number;
use super::report::Report;
use super::targets::LOSS_PCT_MAX;

/// How one check, or all of them together, came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Measured, and not as it should be.
    Failed,
    /// There is no figure that would tell.
    NotShown,
}

impl Outcome {
    /// One word for a reader.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotShown => "not shown",
        }
    }

    fn of(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

/// One thing that must be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// What was found.
    pub value: String,
    /// Whether that is right.
    pub outcome: Outcome,
}

/// All checks of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// In the order in which a reader asks.
    pub checks: Vec<Check>,
}

impl Verdict {
    /// Of a finished run.
    pub fn of(report: &Report) -> Self {
        let all = report.calls > 0;
        let of_calls =
            |part: u64| format!("{} of {}", number::count(part), number::count(report.calls));
        Self {
            checks: vec![
                Check {
                    name: "calls set up",
                    value: of_calls(report.setup_ok),
                    outcome: Outcome::of(
                        all && report.setup_ok == report.calls && report.setup_failed == 0,
                    ),
                },
                audio(report),
                loss(report),
                Check {
                    name: "events missing",
                    value: number::count(report.events_missing),
                    outcome: Outcome::of(report.events_missing == 0),
                },
                Check {
                    name: "objects leaked",
                    value: number::short(report.leaked as f64),
                    // Fewer file descriptors than at the start are no leak.
                    outcome: Outcome::of(report.leaked <= 0),
                },
            ],
        }
    }

    /// Of all checks together: one failure is a failure.
    pub fn outcome(&self) -> Outcome {
        let any = |outcome| self.checks.iter().any(|check| check.outcome == outcome);
        if any(Outcome::Failed) {
            Outcome::Failed
        } else if any(Outcome::NotShown) {
            Outcome::NotShown
        } else {
            Outcome::Passed
        }
    }
}

fn audio(report: &Report) -> Check {
    let (passed, judged) = (report.audio_ok, report.audio_judged);
    Check {
        name: "audio passed",
        value: if judged == 0 {
            "not judged".to_owned()
        } else {
            format!("{} of {}", number::count(passed), number::count(judged))
        },
        outcome: if judged == 0 {
            Outcome::NotShown
        } else {
            Outcome::of(passed == judged)
        },
    }
}

fn loss(report: &Report) -> Check {
    // Of an echo, there and back together is all there is.
    let there = if report.is_echo() {
        report.loss_pct.b_to_a
    } else {
        report.loss_pct.a_to_b
    };
    let values = [there, report.loss_pct.b_to_a];
    let outcome = if report.impairment.is_some() {
        // Lost on purpose, and no fault.
        Outcome::Passed
    } else if values
        .iter()
        .flatten()
        .any(|loss| *loss > LOSS_PCT_MAX || loss.is_nan())
    {
        Outcome::Failed
    } else if values.contains(&None) {
        Outcome::NotShown
    } else {
        Outcome::Passed
    };
    let value = match values.map(|loss| loss.map(number::short)) {
        [None, None] => "not shown".to_owned(),
        [Some(a_to_b), Some(b_to_a)] if a_to_b == b_to_a => format!("{a_to_b} %"),
        directions => {
            let [a_to_b, b_to_a] =
                directions.map(|loss| loss.unwrap_or_else(|| "not shown".to_owned()));
            format!("{a_to_b} / {b_to_a} %")
        }
    };
    Check {
        name: "packets lost",
        value,
        outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::BothWays;
    use super::*;

    fn good() -> Report {
        Report {
            calls: 200,
            setup_ok: 200,
            audio_ok: 200,
            audio_judged: 200,
            loss_pct: BothWays {
                a_to_b: Some(0.0),
                b_to_a: Some(0.0),
            },
            ..Report::default()
        }
    }

    #[test]
    fn all_as_it_should_be_is_a_pass() {
        let verdict = Verdict::of(&good());
        assert_eq!(verdict.outcome(), Outcome::Passed);
        let values: Vec<&str> = verdict
            .checks
            .iter()
            .map(|check| check.value.as_str())
            .collect();
        assert_eq!(values, ["200 of 200", "200 of 200", "0 %", "0", "0"]);
    }

    #[test]
    fn each_fault_alone_is_a_failure() {
        let faults: [fn(&mut Report); 7] = [
            |report| report.setup_ok = 199,
            |report| report.setup_failed = 1,
            |report| report.audio_ok = 199,
            |report| report.loss_pct.b_to_a = Some(0.11),
            |report| report.events_missing = 1,
            |report| report.leaked = 1,
            |report| {
                *report = Report {
                    loss_pct: report.loss_pct,
                    ..Report::default()
                }
            },
        ];
        for fault in faults {
            let mut report = good();
            fault(&mut report);
            assert_eq!(
                Verdict::of(&report).outcome(),
                Outcome::Failed,
                "{report:?}"
            );
        }
    }

    #[test]
    fn what_was_not_judged_is_neither() {
        let report = Report {
            audio_ok: 0,
            audio_judged: 0,
            ..good()
        };
        assert_eq!(Verdict::of(&report).outcome(), Outcome::NotShown);
        let report = Report {
            audio_ok: 20,
            audio_judged: 20,
            ..good()
        };
        assert_eq!(Verdict::of(&report).outcome(), Outcome::Passed);
    }

    #[test]
    fn an_echo_has_one_loss() {
        let mut report = Report {
            scenario: "browser-echo".to_owned(),
            ..good()
        };
        report.loss_pct.a_to_b = None;
        let verdict = Verdict::of(&report);
        assert_eq!(
            (verdict.outcome(), verdict.checks[2].value.as_str()),
            (Outcome::Passed, "0 %")
        );
    }

    #[test]
    fn loss_that_was_not_measured_is_neither() {
        let mut report = good();
        report.loss_pct.a_to_b = None;
        let verdict = Verdict::of(&report);
        assert_eq!(verdict.outcome(), Outcome::NotShown);
        assert_eq!(verdict.checks[2].value, "not shown / 0 %");
    }
}
