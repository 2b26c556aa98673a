//! A report as text for stdout: whether it passed, the figures with their units, what is not shown and why.
//!
//! Plain ASCII but for the words of others, no colours: it goes into files and mails as well.

mod layout;
#[cfg(test)]
mod tests;

use super::figures::{self, Figure, Target};
use super::number::{calls, cores, count, one_line, short};
use super::report::{
    CompareReport, CompareSample, Failure, FindMaxReport, FindMaxStep, Report, Setting,
};
use super::verdict::{Outcome, Verdict};
use layout::{Side, bullets, table};

/// Kinds of failure at most; the JSON file has all.
const FAILURES_MAX: usize = 10;
/// Figures that the checks above them tell already.
const TOLD: [&str; 6] = [
    "setup_ok",
    "setup_failed",
    "calls_broken",
    "audio_ok",
    "events_missing",
    "leaked",
];

/// Of one run.
pub fn summary(report: &Report) -> String {
    let verdict = Verdict::of(report);
    let rows: Vec<Vec<String>> = verdict
        .checks
        .iter()
        .map(|check| {
            vec![
                mark(check.outcome).to_owned(),
                check.name.to_owned(),
                check.value.clone(),
            ]
        })
        .collect();
    let heading = format!("{}, {}", one_line(&report.scenario), calls(report.calls));
    let parts = [
        format!(
            "{heading}: {}\n{}",
            verdict.outcome().word().to_uppercase(),
            ended(&one_line(&figures::what_was_run(report)))
        ),
        table(&[Side::Left, Side::Left, Side::Left], &rows),
        bullets("Read this first", &report.caveats),
        bullets("Not shown", &report.not_shown),
        headline_figures(report),
        failures(&report.failures),
    ];
    joined(&parts)
}

/// Of a search for the most calls.
pub fn find_max_summary(report: &FindMaxReport) -> String {
    let most = match (report.calls_max, report.calls_per_core_max) {
        (Some(most), Some(per_core)) => format!("{} ({} per core)", count(most), short(per_core)),
        (Some(most), None) => count(most),
        (None, _) => "NOT SHOWN".to_owned(),
    };
    let limited_by = match one_line(&report.limited_by) {
        limited_by if limited_by.is_empty() => "no limit was found".to_owned(),
        limited_by => format!("limited by {limited_by}"),
    };
    let parts = [
        format!(
            "{}, the most calls: {most}, {limited_by}\ngateway on {}; limits: p99 delay {} ms, loss {} %\n",
            one_line(&report.scenario),
            cores(report.gateway_cores),
            short(report.limit_delay_ms_p99),
            short(report.limit_loss_pct)
        ),
        bullets("Read this first", &report.caveats),
        bullets("Not shown", &report.not_shown),
        steps(&report.steps),
    ];
    joined(&parts)
}

/// Of one step of a search, on one line, for a view while it goes.
pub fn step_line(step: &FindMaxStep) -> String {
    let outcome = match &step.why_not {
        _ if step.passed => "passed".to_owned(),
        Some(why_not) => format!("did not pass: {}", one_line(why_not)),
        None => "did not pass".to_owned(),
    };
    let with_unit = |value: Option<f64>, unit: &str| {
        value.map_or_else(
            || "-".to_owned(),
            |value| format!("{} {unit}", short(value)),
        )
    };
    format!(
        "{}: {outcome}; p99 delay {} to trunk, {} to vendor, loss {} and {}, {}, gateway CPU {}",
        calls(step.calls),
        with_unit(step.delay_ms.a_to_b.map(|delay| delay.p99), "ms"),
        with_unit(step.delay_ms.b_to_a.map(|delay| delay.p99), "ms"),
        with_unit(step.loss_pct.a_to_b, "%"),
        with_unit(step.loss_pct.b_to_a, "%"),
        with_unit(step.cpu_ms_per_call_s, "ms per call and s"),
        with_unit(step.gateway_cpu_pct, "%"),
    )
}

/// Of a comparison.
pub fn compare_summary(report: &CompareReport) -> String {
    let rival = one_line(&report.rival);
    let outcome = match (report.ratio_of_medians, report.ratio_target) {
        (Some(ratio), Some(target)) if ratio < target => "FAILED",
        (Some(_), Some(_)) => "PASSED",
        (Some(_), None) => "MEASURED",
        (None, _) => "NOT SHOWN",
    };
    let asked = report.ratio_target.map_or_else(String::new, |target| {
        format!(" (asked for: {})", short(target))
    });
    let parts = [
        format!(
            "ClutchCall gateway and {rival}: {outcome}\n{}",
            ended(&one_line(&report.job))
        ),
        table(
            &[Side::Left, Side::Right, Side::Left],
            &[
                vec![
                    "median, ours".to_owned(),
                    or_dash(report.median_ours),
                    "ms per call and s".to_owned(),
                ],
                vec![
                    "median, theirs".to_owned(),
                    or_dash(report.median_theirs),
                    "ms per call and s".to_owned(),
                ],
                vec![
                    "ratio of medians".to_owned(),
                    or_dash(report.ratio_of_medians),
                    format!("times fewer{asked}"),
                ],
            ],
        ),
        bullets("Read this first", &report.caveats),
        bullets("Not shown", &report.not_shown),
        rounds(report),
        settings("Settings, ours", &report.settings_ours),
        settings(&format!("Settings, {rival}"), &report.settings_theirs),
    ];
    joined(&parts)
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "ok",
        Outcome::Failed => "FAIL",
        Outcome::NotShown | Outcome::NotAsked => "-",
    }
}

fn ended(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{text}\n")
    }
}

fn joined(parts: &[String]) -> String {
    let parts: Vec<&str> = parts
        .iter()
        .map(|part| part.trim_end())
        .filter(|part| !part.is_empty())
        .collect();
    format!("{}\n", parts.join("\n\n"))
}

fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), short)
}

fn headline_figures(report: &Report) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for group in figures::of(report) {
        let figures: Vec<&Figure> = group
            .figures
            .iter()
            .filter(|figure| !TOLD.contains(&figure.key))
            .collect();
        if !rows.is_empty() {
            rows.push(Vec::new());
        }
        rows.extend(figures.into_iter().map(row));
    }
    table(
        &[Side::Left, Side::Right, Side::Right, Side::Left, Side::Left],
        &rows,
    )
}

/// Name, the two values with their names or the one, unit, target.
fn row(figure: &Figure) -> Vec<String> {
    let mut cells = vec![figure.name.to_owned()];
    let named = |(name, value): &(&str, String)| format!("{name} {value}").trim_start().to_owned();
    match figure.values.as_slice() {
        [] => {
            let why = one_line(figure.why_not.as_deref().unwrap_or_default());
            cells.extend([String::new(), "not shown".to_owned(), why]);
            return cells;
        }
        [value] => cells.extend([String::new(), named(value)]),
        values => cells.extend(values.iter().take(2).map(named)),
    }
    cells.push(figure.unit.to_owned());
    cells.push(figure.target.as_ref().map_or_else(String::new, target));
    cells
}

fn target(target: &Target) -> String {
    let mark = target
        .met
        .map_or("", |met| if met { "ok" } else { "MISSED" });
    format!("{} {mark}", target.text)
}

fn failures(failures: &[Failure]) -> String {
    if failures.is_empty() {
        return String::new();
    }
    let mut rows: Vec<Vec<String>> = failures
        .iter()
        .take(FAILURES_MAX)
        .map(|failure| vec![calls(failure.calls), one_line(&failure.reason)])
        .collect();
    if failures.len() > FAILURES_MAX {
        let rest: u64 = failures
            .iter()
            .skip(FAILURES_MAX)
            .map(|failure| failure.calls)
            .sum();
        rows.push(vec![
            calls(rest),
            "other reasons: see the JSON report".to_owned(),
        ]);
    }
    format!("Failures\n{}", table(&[Side::Right, Side::Left], &rows))
}

fn steps(steps: &[FindMaxStep]) -> String {
    let mut rows = vec![
        cells(&[
            "",
            "per",
            "delay p99, ms",
            "",
            "loss, %",
            "",
            "ms per",
            "CPU",
            "late p99",
            "steal",
            "",
        ]),
        cells(&[
            "calls",
            "core",
            "to trunk",
            "to vendor",
            "to trunk",
            "to vendor",
            "call, s",
            "%",
            "ms",
            "%",
            "",
        ]),
    ];
    rows.extend(steps.iter().map(|step| {
        let end = if step.passed {
            "passed".to_owned()
        } else {
            format!(
                "FAILED {}",
                one_line(step.why_not.as_deref().unwrap_or_default())
            )
            .trim_end()
            .to_owned()
        };
        vec![
            count(step.calls),
            short(step.calls_per_core),
            or_dash(step.delay_ms.a_to_b.map(|delay| delay.p99)),
            or_dash(step.delay_ms.b_to_a.map(|delay| delay.p99)),
            or_dash(step.loss_pct.a_to_b),
            or_dash(step.loss_pct.b_to_a),
            or_dash(step.cpu_ms_per_call_s),
            or_dash(step.gateway_cpu_pct),
            or_dash(step.generator_late_ms_p99),
            or_dash(step.steal_pct),
            end,
        ]
    }));
    let mut sides = [Side::Right; 11];
    sides[10] = Side::Left;
    table(&sides, &rows)
}

fn rounds(report: &CompareReport) -> String {
    let mut rows = vec![
        cells(&[
            "",
            "",
            "",
            "audio",
            "ms per",
            "delay p99, ms",
            "",
            "loss, %",
            "",
            "late p99",
            "steal",
        ]),
        cells(&[
            "round",
            "side",
            "calls",
            "passed",
            "call, s",
            "to trunk",
            "to vendor",
            "to trunk",
            "to vendor",
            "ms",
            "%",
        ]),
    ];
    for (at, round) in report.rounds.iter().enumerate() {
        rows.push(round_row(at + 1, "ours", &round.ours));
        rows.push(round_row(at + 1, "theirs", &round.theirs));
    }
    let mut sides = [Side::Right; 11];
    sides[1] = Side::Left;
    table(&sides, &rows)
}

fn round_row(round: usize, side: &str, sample: &CompareSample) -> Vec<String> {
    vec![
        round.to_string(),
        side.to_owned(),
        count(sample.calls),
        count(sample.audio_ok),
        or_dash(sample.cpu_ms_per_call_s),
        or_dash(sample.delay_ms.a_to_b.map(|delay| delay.p99)),
        or_dash(sample.delay_ms.b_to_a.map(|delay| delay.p99)),
        or_dash(sample.loss_pct.a_to_b),
        or_dash(sample.loss_pct.b_to_a),
        or_dash(sample.generator_late_ms_p99),
        or_dash(sample.steal_pct),
    ]
}

fn cells(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn settings(title: &str, settings: &[Setting]) -> String {
    if settings.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = settings
        .iter()
        .map(|setting| vec![one_line(&setting.name), one_line(&setting.value)])
        .collect();
    format!("{title}\n{}", table(&[Side::Left, Side::Left], &rows))
}
