//! Whether the generator and the host let the gateway be measured.

use super::super::plot::{Colour, LinePlot, Spacing};
use super::{Time, heading, limit, section};
use crate::load::report::Report;
use crate::load::targets;

pub fn plots(report: &Report, time: &Time) -> String {
    section(
        "Can the figures be trusted?",
        &[
            lateness(report, time),
            generator_cpu(report, time),
            steal(report, time),
        ],
    )
}

fn lateness(report: &Report, time: &Time) -> String {
    let series = vec![time.series(report, "generator", Colour::Purple, |window| {
        Some(window.generator_late_ms_p99)
    })];
    let note = "How much later than planned it sent, 99th percentile of each second.";
    LinePlot {
        wide: true,
        y_spacing: Spacing::Fitting,
        limits: vec![limit(targets::GENERATOR_LATE_MS_P99_MAX, "limit", "ms")],
        ..time.plot(
            heading(report, "Generator lateness", note, "generator_late_ms_p99"),
            "late, ms",
            series,
        )
    }
    .html()
}

fn generator_cpu(report: &Report, time: &Time) -> String {
    let series = vec![time.series(report, "generator", Colour::Purple, |window| {
        Some(window.generator_cpu_pct)
    })];
    time.plot(
        heading(
            report,
            "Generator CPU",
            "All of its threads.",
            "generator_cpu_pct",
        ),
        "% of one core",
        series,
    )
    .html()
}

fn steal(report: &Report, time: &Time) -> String {
    let series = vec![time.series(report, "stolen", Colour::Purple, |window| {
        Some(window.steal_pct)
    })];
    let note = "What the hypervisor took from all cores together.";
    LinePlot {
        limits: vec![limit(targets::STEAL_PCT_MAX, "limit", "%")],
        ..time.plot(
            heading(report, "CPU stolen", note, "steal_pct"),
            "% of one core",
            series,
        )
    }
    .html()
}
