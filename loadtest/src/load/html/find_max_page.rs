//! The page of a search for the most calls.

use super::markup::escape;
use super::page_parts::{
    Tile, caveats, cell, class, document, limited_cell, settings, sign, table, verdict,
};
use super::plot::{Colour, Heading, Limit, LinePlot, Mark, Series, Spacing};
use crate::load::number::{cores, count, short};
use crate::load::report::{A_TO_B, B_TO_A, BothWays, FindMaxReport, FindMaxStep};
use crate::load::targets::{GENERATOR_LATE_MS_P99_MAX, STEAL_PCT_MAX};
use crate::load::verdict::Outcome;

/// A search as a file of its own.
pub fn find_max_page(report: &FindMaxReport) -> String {
    let body = [
        headline(report),
        caveats(&report.caveats, &report.not_shown),
        plots(report),
        format!("<section>\n<h2>Steps</h2>\n{}</section>\n", steps(report)),
        format!(
            "<section>\n<h2>Settings</h2>\n{}</section>\n",
            settings(&report.settings)
        ),
    ]
    .concat();
    let subtitle = format!(
        "Gateway on {}; a step passes with p99 delay up to {} ms and loss up to {} %",
        cores(report.gateway_cores),
        short(report.limit_delay_ms_p99),
        short(report.limit_loss_pct)
    );
    document(
        &format!("{}, the most calls", report.scenario),
        &subtitle,
        &report.git_commit,
        &body,
    )
}

fn headline(report: &FindMaxReport) -> String {
    let outcome = if report.calls_max.is_some() {
        Outcome::Passed
    } else {
        Outcome::NotShown
    };
    let shown = |text: Option<String>| text.unwrap_or_else(|| "not shown".to_owned());
    let tile = |value: String, name: &str| Tile {
        value,
        name: name.to_owned(),
        outcome: None,
    };
    let tiles = [
        tile(shown(report.calls_max.map(count)), "calls at once"),
        tile(
            shown(report.calls_per_core_max.map(short)),
            "calls per core",
        ),
        tile(count(report.steps.len() as u64), "steps"),
    ];
    let limited_by = if report.limited_by.is_empty() {
        "no limit was found".to_owned()
    } else {
        format!("limited by {}", report.limited_by)
    };
    let word = if report.calls_max.is_some() {
        "found"
    } else {
        outcome.word()
    };
    verdict(outcome, word, &limited_by, &tiles)
}

fn plots(report: &FindMaxReport) -> String {
    let delay_limit = Limit {
        value: report.limit_delay_ms_p99,
        label: format!("limit {} ms", short(report.limit_delay_ms_p99)),
    };
    let loss_limit = Limit {
        value: report.limit_loss_pct,
        label: format!("limit {} %", short(report.limit_loss_pct)),
    };
    let one = |name: &str, colour, value: fn(&FindMaxStep) -> Option<f64>| {
        vec![series(report, name, colour, value)]
    };
    let whole = Limit {
        value: 100.0 * report.gateway_cores.max(1) as f64,
        label: "all cores".to_owned(),
    };
    let late_limit = Limit {
        value: GENERATOR_LATE_MS_P99_MAX,
        label: format!("limit {} ms", short(GENERATOR_LATE_MS_P99_MAX)),
    };
    let steal_limit = Limit {
        value: STEAL_PCT_MAX,
        label: format!("limit {} %", short(STEAL_PCT_MAX)),
    };
    let plots = [
        plot(
            "One-way delay, p99",
            "delay, ms",
            ways(report, |step| BothWays {
                a_to_b: step.delay_ms.a_to_b.map(|delay| delay.p99),
                b_to_a: step.delay_ms.b_to_a.map(|delay| delay.p99),
            }),
            Some(delay_limit),
        ),
        plot(
            "Loss",
            "loss, %",
            ways(report, |step| step.loss_pct),
            Some(loss_limit),
        ),
        plot(
            "Cost of a call",
            "ms per call and s",
            one("cost", Colour::Green, |step| step.cpu_ms_per_call_s),
            None,
        ),
        plot(
            "Gateway CPU",
            "% of one core",
            one("gateway", Colour::Green, |step| step.gateway_cpu_pct),
            Some(whole),
        ),
        plot(
            "Generator lateness, p99",
            "late, ms",
            one("generator", Colour::Purple, |step| {
                step.generator_late_ms_p99
            }),
            Some(late_limit),
        ),
        plot(
            "CPU stolen",
            "% of one core",
            one("stolen", Colour::Purple, |step| step.steal_pct),
            Some(steal_limit),
        ),
    ];
    format!(
        "<section>\n<h2>By number of calls</h2>\n<div class=\"plots\">\n{}</div>\n</section>\n",
        plots.concat()
    )
}

fn plot(title: &str, y_label: &str, series: Vec<Series>, limit: Option<Limit>) -> String {
    LinePlot {
        heading: Heading {
            title: title.to_owned(),
            ..Heading::default()
        },
        x_label: "calls".to_owned(),
        y_label: y_label.to_owned(),
        y_spacing: Spacing::Fitting,
        series,
        limits: limit.into_iter().collect(),
        ..LinePlot::default()
    }
    .html()
}

fn ways(report: &FindMaxReport, value: fn(&FindMaxStep) -> BothWays<Option<f64>>) -> Vec<Series> {
    vec![
        series(report, A_TO_B, Colour::Blue, |step| value(step).a_to_b),
        series(report, B_TO_A, Colour::Orange, |step| value(step).b_to_a),
    ]
}

/// Steps were made in the order of the search; lines go by calls.
fn series(
    report: &FindMaxReport,
    name: &str,
    colour: Colour,
    value: impl Fn(&FindMaxStep) -> Option<f64>,
) -> Series {
    let mut steps: Vec<&FindMaxStep> = report.steps.iter().collect();
    steps.sort_by_key(|step| step.calls);
    Series {
        name: name.to_owned(),
        colour,
        dashed: false,
        points: steps
            .iter()
            .map(|step| (step.calls as f64, value(step)))
            .collect(),
        marks: steps
            .iter()
            .map(|step| {
                if step.passed {
                    Mark::Passed
                } else {
                    Mark::Failed
                }
            })
            .collect(),
    }
}

fn steps(report: &FindMaxReport) -> String {
    if report.steps.is_empty() {
        return "<p class=\"why\">None was made.</p>\n".to_owned();
    }
    let columns = [
        "Calls",
        "Per core",
        "Delay p99 to trunk, ms",
        "to vendor, ms",
        "Loss to trunk, %",
        "to vendor, %",
        "ms per call and s",
        "Gateway CPU, %",
        "Generator late p99, ms",
        "Steal, %",
        "Passed",
    ];
    let rows: Vec<Vec<String>> = report.steps.iter().map(row).collect();
    table(&columns, &rows)
}

fn row(step: &FindMaxStep) -> Vec<String> {
    let outcome = if step.passed {
        Outcome::Passed
    } else {
        Outcome::Failed
    };
    let why = step.why_not.as_deref().map(escape).unwrap_or_default();
    vec![
        count(step.calls),
        short(step.calls_per_core),
        cell(step.delay_ms.a_to_b.map(|delay| delay.p99)),
        cell(step.delay_ms.b_to_a.map(|delay| delay.p99)),
        cell(step.loss_pct.a_to_b),
        cell(step.loss_pct.b_to_a),
        cell(step.cpu_ms_per_call_s),
        cell(step.gateway_cpu_pct),
        limited_cell(step.generator_late_ms_p99, GENERATOR_LATE_MS_P99_MAX),
        limited_cell(step.steal_pct, STEAL_PCT_MAX),
        format!(
            "<span class=\"{}\">{}</span> {why}",
            class(outcome),
            sign(outcome)
        ),
    ]
}
