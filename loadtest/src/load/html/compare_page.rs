//! The page of a comparison with another gateway.

use super::markup::escape;
use super::page_parts::{Tile, caveats, cell, document, limited_cell, settings, table, verdict};
use super::plot::{BarSeries, Bars, Colour, Heading};
use crate::load::number::{count, short};
use crate::load::report::{CompareReport, CompareSample};
use crate::load::targets::{GENERATOR_LATE_MS_P99_MAX, STEAL_PCT_MAX};
use crate::load::verdict::Outcome;

const OURS: &str = "ClutchCall gateway";

/// A comparison as a file of its own.
pub fn compare_page(report: &CompareReport) -> String {
    let body = [
        headline(report),
        caveats(&report.caveats, &report.not_shown),
        plots(report),
        format!("<section>\n<h2>Rounds</h2>\n{}</section>\n", rounds(report)),
        format!(
            "<section>\n<h2>Settings of both sides</h2>\n<div class=\"sides\">\n<div><h3>{OURS}</h3>\n{}</div>\n\
             <div><h3>{}</h3>\n{}</div>\n</div>\n</section>\n",
            settings(&report.settings_ours),
            escape(&report.rival),
            settings(&report.settings_theirs)
        ),
    ]
    .concat();
    let title = format!("{OURS} and {}", report.rival);
    let subtitle = format!("{}, turn about in one run", report.job);
    document(&title, &subtitle, &report.git_commit, &body)
}

fn headline(report: &CompareReport) -> String {
    let shown = |value: Option<f64>| value.map_or_else(|| "not shown".to_owned(), short);
    let outcome = match (report.ratio_of_medians, report.ratio_target) {
        (None, _) => Outcome::NotShown,
        (Some(ratio), Some(target)) if ratio < target => Outcome::Failed,
        (Some(_), _) => Outcome::Passed,
    };
    let word = match report.ratio_target {
        None if outcome == Outcome::Passed => "measured",
        _ => outcome.word(),
    };
    let target = report.ratio_target.map_or_else(
        || "no ratio was asked for".to_owned(),
        |target| format!("{} times fewer were asked for", short(target)),
    );
    let tiles = [
        Tile {
            value: report.ratio_of_medians.map_or_else(
                || "not shown".to_owned(),
                |ratio| format!("{} \u{d7} fewer", short(ratio)),
            ),
            name: "CPU of a call, ratio of medians".to_owned(),
            outcome: None,
        },
        Tile {
            value: shown(report.median_ours),
            name: "ours, ms per call and s".to_owned(),
            outcome: None,
        },
        Tile {
            value: shown(report.median_theirs),
            name: format!("{}, ms per call and s", report.rival),
            outcome: None,
        },
        Tile {
            value: count(report.rounds.len() as u64),
            name: "rounds".to_owned(),
            outcome: None,
        },
    ];
    verdict(outcome, word, &target, &tiles)
}

fn plots(report: &CompareReport) -> String {
    let plots = [
        bars(report, "CPU of a call", "ms per call and s", |sample| {
            sample.cpu_ms_per_call_s
        }),
        bars(
            report,
            "One-way delay, p99, the worse direction",
            "delay, ms",
            |sample| {
                worse(
                    sample.delay_ms.a_to_b.map(|delay| delay.p99),
                    sample.delay_ms.b_to_a.map(|delay| delay.p99),
                )
            },
        ),
    ];
    format!(
        "<section>\n<h2>Round by round</h2>\n<div class=\"plots\">\n{}</div>\n</section>\n",
        plots.concat()
    )
}

fn worse(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    [one, other].into_iter().flatten().reduce(f64::max)
}

fn bars(
    report: &CompareReport,
    title: &str,
    x_label: &str,
    value: fn(&CompareSample) -> Option<f64>,
) -> String {
    let side = |name: &str, colour, values: Vec<Option<f64>>| BarSeries {
        name: name.to_owned(),
        colour,
        faint: false,
        values,
    };
    Bars {
        heading: Heading {
            title: title.to_owned(),
            ..Heading::default()
        },
        x_label: x_label.to_owned(),
        groups: (1..=report.rounds.len())
            .map(|round| format!("round {round}"))
            .collect(),
        series: vec![
            side(
                OURS,
                Colour::Blue,
                report
                    .rounds
                    .iter()
                    .map(|round| value(&round.ours))
                    .collect(),
            ),
            side(
                &report.rival,
                Colour::Orange,
                report
                    .rounds
                    .iter()
                    .map(|round| value(&round.theirs))
                    .collect(),
            ),
        ],
        limits: Vec::new(),
    }
    .html()
}

fn rounds(report: &CompareReport) -> String {
    if report.rounds.is_empty() {
        return "<p class=\"why\">None was made.</p>\n".to_owned();
    }
    let columns = [
        "Round",
        "Calls",
        "Audio passed",
        "ms per call and s",
        "Loss to trunk, %",
        "to vendor, %",
        "Delay p50 to trunk, ms",
        "p99",
        "p50 to vendor, ms",
        "p99",
        "Generator late p99, ms",
        "Steal, %",
        "Side",
    ];
    let mut rows = Vec::new();
    for (at, round) in report.rounds.iter().enumerate() {
        rows.push(row(at + 1, &round.ours, "ours"));
        rows.push(row(at + 1, &round.theirs, "theirs"));
    }
    table(&columns, &rows)
}

fn row(round: usize, sample: &CompareSample, side: &str) -> Vec<String> {
    let CompareSample {
        loss_pct, delay_ms, ..
    } = sample;
    vec![
        round.to_string(),
        count(sample.calls),
        count(sample.audio_ok),
        cell(sample.cpu_ms_per_call_s),
        cell(loss_pct.a_to_b),
        cell(loss_pct.b_to_a),
        cell(delay_ms.a_to_b.map(|delay| delay.p50)),
        cell(delay_ms.a_to_b.map(|delay| delay.p99)),
        cell(delay_ms.b_to_a.map(|delay| delay.p50)),
        cell(delay_ms.b_to_a.map(|delay| delay.p99)),
        limited_cell(sample.generator_late_ms_p99, GENERATOR_LATE_MS_P99_MAX),
        limited_cell(sample.steal_pct, STEAL_PCT_MAX),
        side.to_owned(),
    ]
}
