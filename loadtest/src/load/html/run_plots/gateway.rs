//! What the gateway needed.

use super::super::plot::{BarSeries, Bars, Colour, Limit, LinePlot};
use super::{Time, heading, limit, section};
use crate::load::number::{cores, short};
use crate::load::report::Report;
use crate::load::targets;

/// Windows with fewer calls than this share of the most tell little of a call's cost: set-ups and idling weigh more.
const COST_CALLS_SHARE_MIN: f64 = 0.5;

pub fn plots(report: &Report, time: &Time) -> String {
    section(
        "The gateway",
        &[
            cpu(report, time),
            memory(report, time),
            cost(report),
            cost_over_time(report, time),
        ],
    )
}

fn cpu(report: &Report, time: &Time) -> String {
    let series = vec![time.series(report, "gateway", Colour::Green, |window| {
        window.gateway_cpu_pct
    })];
    let number = report.gateway_cores.max(1);
    let name = cores(number);
    LinePlot {
        limits: vec![Limit {
            value: 100.0 * number as f64,
            label: name,
        }],
        ..time.plot(
            heading(
                report,
                "Gateway CPU",
                "All of its threads.",
                "gateway_cpu_pct",
            ),
            "% of one core",
            series,
        )
    }
    .html()
}

fn memory(report: &Report, time: &Time) -> String {
    let series = vec![time.series(report, "gateway", Colour::Green, |window| {
        window.gateway_rss_kib.map(|kib| kib / 1_024.0)
    })];
    time.plot(
        heading(report, "Gateway memory", "Resident.", "rss_kb_per_call"),
        "MiB",
        series,
    )
    .html()
}

fn cost(report: &Report) -> String {
    let of_call = targets::cpu_ms_per_call_s_max(report);
    let of_call = of_call.map(|limit| ("call", report.cpu_ms_per_call_s, limit, "ms/s"));
    let others = [
        (
            "set-up",
            report.cpu_ms_per_setup,
            targets::CPU_MS_PER_SETUP_MAX,
            "ms",
        ),
        (
            "memory",
            report.rss_kb_per_call,
            targets::RSS_KIB_PER_CALL_MAX,
            "KiB",
        ),
    ];
    let rows: Vec<_> = of_call.into_iter().chain(others).collect();
    let group = |(name, value, target, unit): &(&str, Option<f64>, f64, &str)| match value {
        Some(value) => format!("{name}: {} of {} {unit}", short(*value), short(*target)),
        None => (*name).to_owned(),
    };
    let share = |value: Option<f64>, target: f64| value.map(|value| value * 100.0 / target);
    Bars {
        heading: heading(
            report,
            "Cost against the targets",
            "Measured, in percent of what it may cost at most.",
            "cpu_ms_per_call_s",
        ),
        x_label: "% of the target".to_owned(),
        groups: rows.iter().map(group).collect(),
        series: vec![BarSeries {
            name: "measured".to_owned(),
            colour: Colour::Green,
            faint: false,
            values: rows
                .iter()
                .map(|(_, value, target, _)| share(*value, *target))
                .collect(),
        }],
        limits: vec![Limit {
            value: 100.0,
            label: "target".to_owned(),
        }],
    }
    .html()
}

fn cost_over_time(report: &Report, time: &Time) -> String {
    let most = report
        .details
        .windows
        .iter()
        .map(|window| window.calls_up)
        .max()
        .unwrap_or(0);
    let series = vec![time.series(report, "cost", Colour::Green, |window| {
        let calls = window.calls_up as f64;
        let enough = calls > 0.0 && calls >= most as f64 * COST_CALLS_SHARE_MIN;
        window
            .gateway_cpu_pct
            .filter(|_| enough)
            .map(|cpu| cpu * 10.0 / calls)
    })];
    let note =
        "CPU of each second by the calls that are up, where these are at least half of the most.";
    LinePlot {
        limits: targets::cpu_ms_per_call_s_max(report)
            .map(|value| limit(value, "target", ""))
            .into_iter()
            .collect(),
        ..time.plot(
            heading(
                report,
                "Cost of a call over time",
                note,
                "cpu_ms_per_call_s",
            ),
            "ms per call and s",
            series,
        )
    }
    .html()
}
