//! Did a run pass? Figures that could not be measured are no pass, and no failure either.

use super::frame_account;
use super::frames::FrameCounts;
use super::number;
use super::report::{FrameReport, Report};
use super::scenario::Scenario;
use super::targets::LOSS_PCT_MAX;

/// A frame that is sent later than this has to be made up: so long a gateway waits for it.
const GATEWAY_WAITS_MS: f64 = 20.0;
/// What may lie above the telephone band, against the speech.
const IMAGES_DB_MAX: f64 = -40.0;

/// How one check, or all of them together, came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Measured, and not as it should be.
    Failed,
    /// There is no figure that would tell.
    NotShown,
    /// It is as it was asked for, so there is nothing to check.
    NotAsked,
}

impl Outcome {
    /// One word for a reader.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotShown => "not shown",
            Self::NotAsked => "not asked",
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
        let mut checks = vec![
            Check {
                name: "calls set up",
                value: of_calls(report.setup_ok),
                outcome: Outcome::of(
                    all && report.setup_ok == report.calls && report.setup_failed == 0,
                ),
            },
            Check {
                name: "calls broken",
                value: number::count(report.calls_broken),
                outcome: Outcome::of(report.calls_broken == 0),
            },
            audio(report),
        ];
        if let Some(frames) = &report.frames {
            checks.push(frames_equal(report, frames));
            checks.push(frames_told(report, frames));
        }
        checks.extend(report.odd_sized.map(odd_sized));
        checks.extend(images(report));
        checks.extend([
            loss(report),
            Check {
                name: "events missing",
                value: report
                    .events_missing
                    .map_or_else(|| "not shown".to_owned(), number::count),
                outcome: report
                    .events_missing
                    .map_or(Outcome::NotShown, |missing| Outcome::of(missing == 0)),
            },
            Check {
                name: "objects leaked",
                value: number::short(report.leaked as f64),
                // Fewer file descriptors than at the start are no leak.
                outcome: Outcome::of(report.leaked <= 0),
            },
        ]);
        Self { checks }
    }

    /// Of all checks together that were asked for: one failure is a failure, and one that tells nothing leaves it open.
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

/// Every frame that was heard was said, in order. A generator that is late makes frames that come too late.
fn frames_equal(report: &Report, frames: &FrameReport) -> Check {
    let both = frames.counts;
    let counts = [both.a_to_b, both.b_to_a];
    let sum = |of: fn(&FrameCounts) -> u64| counts.iter().map(of).sum::<u64>();
    let (equal, missing, foreign) = (
        sum(|counts| counts.equal),
        sum(|counts| counts.missing),
        sum(|counts| counts.foreign),
    );
    let heard = counts.iter().all(|counts| counts.equal > 0);
    let all_equal = counts.iter().all(FrameCounts::are_all_equal);
    let late_ms = report.generator_late_ms_max;
    let on_time = late_ms.is_some_and(|late_ms| late_ms < GATEWAY_WAITS_MS);
    Check {
        name: "frames equal",
        value: if all_equal {
            number::count(equal)
        } else {
            format!(
                "{}, {} missing, {} never said{}",
                number::count(equal),
                number::count(missing),
                number::count(foreign),
                match late_ms {
                    Some(late_ms) if !on_time => format!(", one sent {late_ms:.0} ms late"),
                    _ => String::new(),
                }
            )
        },
        outcome: match (heard, all_equal, on_time) {
            (false, _, _) | (_, false, true) => Outcome::Failed,
            (_, true, _) => Outcome::Passed,
            (_, false, false) => Outcome::NotShown,
        },
    }
}

/// Every message with sound over a WebSocket was of 20 ms.
fn odd_sized(messages: u64) -> Check {
    Check {
        name: "messages of another length",
        value: number::count(messages),
        outcome: Outcome::of(messages == 0),
    }
}

/// Frames that differ are those of which the gateway says so, however late the generator was.
fn frames_told(report: &Report, frames: &FrameReport) -> Check {
    let has_datagrams = report
        .scenario
        .parse::<Scenario>()
        .is_ok_and(Scenario::has_sip);
    let (value, outcome) = match &frames.gateway {
        Some(told) => {
            let account = format!(
                "{} made up, {} blended, {} left out, {} not sent",
                number::count(told.concealed),
                number::count(told.crossfaded),
                number::count(told.dropped),
                number::count(told.unsent)
            );
            match frame_account::unexplained(frames, told, has_datagrams) {
                None => (account, Outcome::Passed),
                Some(why) => (format!("{account}: {why}"), Outcome::Failed),
            }
        }
        None => ("nothing".to_owned(), Outcome::NotShown),
    };
    Check {
        name: "frames by the gateway",
        value,
        outcome,
    }
}

/// An upsampler without a filter leaves more than this above the telephone band.
fn images(report: &Report) -> Option<Check> {
    let scenario = report.scenario.parse::<Scenario>();
    let is_widened = scenario.is_ok_and(Scenario::is_widened);
    let images_db = report.images_db_max;
    (is_widened || images_db.is_some()).then(|| Check {
        name: "images above 4.2 kHz",
        value: images_db.map_or_else(
            || "not judged".to_owned(),
            |images_db| format!("{images_db:.0} dB"),
        ),
        outcome: images_db.map_or(Outcome::NotShown, |images_db| {
            Outcome::of(images_db <= IMAGES_DB_MAX)
        }),
    })
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
        // Lost on purpose.
        Outcome::NotAsked
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
    use super::super::report::{BothWays, GatewayFrames};
    use super::*;

    fn good() -> Report {
        Report {
            calls: 200,
            setup_ok: 200,
            audio_ok: 200,
            audio_judged: 200,
            events_missing: Some(0),
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
        assert_eq!(values, ["200 of 200", "0", "200 of 200", "0 %", "0", "0"]);
    }

    #[test]
    fn each_fault_alone_is_a_failure() {
        let faults: [fn(&mut Report); 8] = [
            |report| report.setup_ok = 199,
            |report| report.setup_failed = 1,
            |report| report.calls_broken = 1,
            |report| report.audio_ok = 199,
            |report| report.loss_pct.b_to_a = Some(0.11),
            |report| report.events_missing = Some(1),
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

    /// So many frames were never said, and so many missing.
    fn with_frames(differ: u64, told: Option<u64>, late_ms: f64) -> Verdict {
        let counts = |differ| FrameCounts {
            equal: 1_000,
            missing: differ,
            foreign: differ,
            ..FrameCounts::default()
        };
        Verdict::of(&Report {
            frames: Some(FrameReport {
                counts: BothWays {
                    a_to_b: counts(0),
                    b_to_a: counts(differ),
                },
                is_whole: true,
                gateway: told.map(|crossfaded| GatewayFrames {
                    crossfaded,
                    ..GatewayFrames::default()
                }),
            }),
            generator_late_ms_max: Some(late_ms),
            ..good()
        })
    }

    #[test]
    fn frames_that_differ_are_a_failure_and_have_to_be_told_by_the_gateway() {
        assert_eq!(with_frames(0, Some(0), 0.2).outcome(), Outcome::Passed);
        assert_eq!(with_frames(0, None, 0.2).outcome(), Outcome::NotShown);
        let outcomes = |verdict: Verdict| [3, 4].map(|at| verdict.checks[at].outcome);
        let (failed, passed) = (Outcome::Failed, Outcome::Passed);
        assert_eq!(outcomes(with_frames(3, Some(3), 0.2)), [failed, passed]);
        assert_eq!(outcomes(with_frames(3, Some(0), 0.2)), [failed, failed]);
        assert_eq!(with_frames(0, Some(0), 0.2).checks[3].value, "2000");
    }

    #[test]
    fn a_late_generator_excuses_what_the_gateway_tells_and_nothing_else() {
        let outcomes = |verdict: Verdict| [3, 4].map(|at| verdict.checks[at].outcome);
        let open = Outcome::NotShown;
        assert_eq!(
            outcomes(with_frames(3, Some(3), 60.0)),
            [open, Outcome::Passed]
        );
        assert_eq!(
            outcomes(with_frames(3, Some(2), 60.0)),
            [open, Outcome::Failed]
        );
        assert_eq!(with_frames(3, Some(2), 60.0).outcome(), Outcome::Failed);
    }

    #[test]
    fn images_are_a_failure_of_their_own() {
        for (images_db_max, outcome) in [
            (Some(-41.0), Outcome::Passed),
            (Some(-39.0), Outcome::Failed),
            (None, Outcome::NotShown),
        ] {
            let report = Report {
                scenario: "vapi-sip".to_owned(),
                images_db_max,
                ..good()
            };
            assert_eq!(Verdict::of(&report).outcome(), outcome);
        }
        assert_eq!(Verdict::of(&good()).checks.len(), 6);
    }

    #[test]
    fn one_message_of_another_length_is_a_failure() {
        for (odd_sized, outcome) in [(0, Outcome::Passed), (1, Outcome::Failed)] {
            let report = Report {
                odd_sized: Some(odd_sized),
                ..good()
            };
            let verdict = Verdict::of(&report);
            assert_eq!(verdict.outcome(), outcome);
            assert_eq!(verdict.checks[3].name, "messages of another length");
        }
    }

    #[test]
    fn what_is_lost_on_purpose_is_not_checked() {
        let mut report = Report {
            impairment: Some("loss=5".to_owned()),
            ..good()
        };
        report.loss_pct.b_to_a = Some(5.1);
        let verdict = Verdict::of(&report);
        assert_eq!(verdict.outcome(), Outcome::Passed);
        assert_eq!(verdict.checks[3].outcome, Outcome::NotAsked);
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
            (verdict.outcome(), verdict.checks[3].value.as_str()),
            (Outcome::Passed, "0 %")
        );
    }

    #[test]
    fn events_that_could_not_be_read_are_neither() {
        let report = Report {
            events_missing: None,
            ..good()
        };
        assert_eq!(Verdict::of(&report).outcome(), Outcome::NotShown);
    }

    #[test]
    fn loss_that_was_not_measured_is_neither() {
        let mut report = good();
        report.loss_pct.a_to_b = None;
        let verdict = Verdict::of(&report);
        assert_eq!(verdict.outcome(), Outcome::NotShown);
        assert_eq!(verdict.checks[3].value, "not shown / 0 %");
    }
}
