//! How calls came up.

use super::super::plot::{BarSeries, Bars, Colour, LinePlot, Spacing};
use super::{Time, heading, section};
use crate::load::report::{Report, SetupStage};

pub fn plots(report: &Report, time: &Time) -> String {
    section(
        "Set-up",
        &[stages(report), calls_up(report, time), setups(report, time)],
    )
}

fn stages(report: &Report) -> String {
    let stages = &report.details.setup_stages;
    let series = |name: &str, colour, faint, value: fn(&SetupStage) -> f64| BarSeries {
        name: name.to_owned(),
        colour,
        faint,
        values: stages.iter().map(|stage| Some(value(stage))).collect(),
    };
    Bars {
        heading: heading(
            report,
            "Set-up by stage",
            "Stages in their order, over all calls.",
            "setup_ms",
        ),
        x_label: "duration, ms".to_owned(),
        groups: stages.iter().map(|stage| stage.name.clone()).collect(),
        series: vec![
            series("median", Colour::Blue, true, |stage| stage.p50_ms),
            series("p90", Colour::Blue, false, |stage| stage.p90_ms),
            series("p99", Colour::Orange, false, |stage| stage.p99_ms),
        ],
        limits: Vec::new(),
    }
    .html()
}

fn calls_up(report: &Report, time: &Time) -> String {
    let series = vec![time.series(report, "calls up", Colour::Green, |window| {
        Some(window.calls_up as f64)
    })];
    let heading = heading(report, "Calls up", "At the end of each second.", "calls");
    LinePlot {
        y_spacing: Spacing::Whole,
        ..time.plot(heading, "calls", series)
    }
    .html()
}

fn setups(report: &Report, time: &Time) -> String {
    let series = vec![
        time.series(report, "answered", Colour::Green, |window| {
            Some(window.setups as f64)
        }),
        time.series(report, "failed", Colour::Purple, |window| {
            Some(window.failures as f64)
        }),
    ];
    let heading = heading(
        report,
        "Set-ups",
        "Calls answered and failed in each second.",
        "calls",
    );
    LinePlot {
        y_spacing: Spacing::Whole,
        ..time.plot(heading, "calls/s", series)
    }
    .html()
}
