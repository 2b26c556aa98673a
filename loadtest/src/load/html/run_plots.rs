//! The plots of one run.

use super::page_parts::capitalized;
use super::plot::{
    BarSeries, Bars, Colour, Heading, Histogram, HistogramSeries, Limit, LinePlot, Series, Spacing,
    later_than, share_up_to,
};
use crate::load::figures::reason;
use crate::load::number::short;
use crate::load::report::{A_TO_B, B_TO_A, BothWays, Quantiles, Report, Window};
use crate::load::targets;

/// Windows with fewer calls than this share of the most say nothing about the cost of a call: they are set-ups and idling.
const COST_CALLS_SHARE_MIN: f64 = 0.5;

/// All of them, by subject.
pub fn of(report: &Report) -> String {
    let time = Time::of(report);
    [
        section(
            "Set-up",
            &[
                stages(report),
                calls_up(report, &time),
                setups(report, &time),
            ],
        ),
        section(
            "Delay and loss",
            &[
                delay(report, &time),
                delay_by_second(report),
                delay_tail(report),
                loss(report, &time),
            ],
        ),
        section(
            "Jitter and sound",
            &[
                jitter(report),
                match_score(report),
                snr(report),
                mos(report),
            ],
        ),
        section(
            "The gateway",
            &[
                cpu(report, &time),
                memory(report, &time),
                cost(report),
                cost_over_time(report, &time),
            ],
        ),
        section(
            "Can the figures be trusted?",
            &[
                lateness(report, &time),
                generator_cpu(report, &time),
                steal(report, &time),
            ],
        ),
    ]
    .concat()
}

fn section(title: &str, plots: &[String]) -> String {
    format!(
        "<section>\n<h2>{title}</h2>\n<div class=\"plots\">\n{}</div>\n</section>\n",
        plots.concat()
    )
}

/// The axis of a run, in a unit that keeps its ticks short.
struct Time {
    unit_s: f64,
    label: &'static str,
    /// Stretches of steady windows.
    steady: Vec<(f64, f64)>,
}

impl Time {
    fn of(report: &Report) -> Self {
        let windows = &report.details.windows;
        let end = windows.iter().map(|window| window.at_s).fold(0.0, f64::max);
        let (unit_s, label) = match end {
            end if end > 4.0 * 3_600.0 => (3_600.0, "time, h"),
            end if end > 600.0 => (60.0, "time, min"),
            _ => (1.0, "time, s"),
        };
        let mut steady: Vec<(f64, f64)> = Vec::new();
        let mut begin = 0.0;
        for window in windows {
            let (from, to) = (begin / unit_s, window.at_s / unit_s);
            begin = window.at_s;
            match steady.last_mut() {
                Some(last) if window.steady && last.1 == from => last.1 = to,
                _ if window.steady => steady.push((from, to)),
                _ => {}
            }
        }
        Self {
            unit_s,
            label,
            steady,
        }
    }

    /// A plot over it, of what each window says.
    fn plot(&self, heading: Heading, y_label: &str, series: Vec<Series>) -> LinePlot {
        LinePlot {
            heading,
            x_label: self.label.to_owned(),
            y_label: y_label.to_owned(),
            series,
            bands: self.steady.clone(),
            band_name: "steady window".to_owned(),
            ..LinePlot::default()
        }
    }

    fn series(
        &self,
        report: &Report,
        name: &str,
        colour: Colour,
        value: impl Fn(&Window) -> Option<f64>,
    ) -> Series {
        Series {
            name: name.to_owned(),
            colour,
            dashed: false,
            points: report
                .details
                .windows
                .iter()
                .map(|window| (window.at_s / self.unit_s, value(window)))
                .collect(),
            marks: Vec::new(),
        }
    }
}

fn heading(report: &Report, title: &str, note: &str, key: &str) -> Heading {
    Heading {
        title: title.to_owned(),
        note: note.to_owned(),
        empty: reason(&report.not_shown, key).unwrap_or_default(),
    }
}

fn colour(direction: &str) -> Colour {
    if direction == A_TO_B {
        Colour::Blue
    } else {
        Colour::Orange
    }
}

fn stages(report: &Report) -> String {
    let stages = &report.details.setup_stages;
    let series =
        |name: &str, colour, faint, value: fn(&crate::load::report::SetupStage) -> f64| BarSeries {
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

fn delay(report: &Report, time: &Time) -> String {
    let way = |window: &Window, direction: &str| -> Option<Quantiles> {
        if direction == A_TO_B {
            window.delay_ms.a_to_b
        } else {
            window.delay_ms.b_to_a
        }
    };
    let mut series = Vec::new();
    for direction in [A_TO_B, B_TO_A] {
        let p50 = time.series(
            report,
            &format!("{direction}, p50"),
            colour(direction),
            |window| way(window, direction).map(|delay| delay.p50),
        );
        series.push(Series {
            dashed: true,
            ..p50
        });
        series.push(time.series(
            report,
            &format!("{direction}, p99"),
            colour(direction),
            |window| way(window, direction).map(|delay| delay.p99),
        ));
    }
    let note = format!(
        "Of the packets that came in each second. {}.",
        capitalized(&targets::UndisturbedDelay::of(&report.details.windows).counted_windows())
    );
    LinePlot {
        wide: true,
        y_spacing: Spacing::Fitting,
        limits: vec![limit(targets::DELAY_MS_P99_MAX, "p99 target", "ms")],
        ..time.plot(
            heading(report, "One-way delay", &note, "delay_ms"),
            "delay, ms",
            series,
        )
    }
    .html()
}

/// The target is for the median of what this shows.
fn delay_by_second(report: &Report) -> String {
    let counted: Vec<&Window> = report
        .details
        .windows
        .iter()
        .filter(|window| targets::is_undisturbed(window))
        .collect();
    let series = |direction: &str, delay: fn(&Window) -> Option<Quantiles>| {
        let values: Vec<f64> = counted
            .iter()
            .filter_map(|window| delay(window))
            .map(|delay| delay.p99)
            .collect();
        Series {
            name: direction.to_owned(),
            colour: colour(direction),
            dashed: false,
            points: share_up_to(&values),
            marks: Vec::new(),
        }
    };
    let mut heading = heading(
        report,
        "p99 delay of seconds",
        "Share of the steady seconds that count whose p99 is at most the delay below; their median is where the line crosses 50 %.",
        "delay_ms",
    );
    if heading.empty.is_empty() && !report.details.windows.is_empty() {
        heading.empty = targets::UndisturbedDelay::of(&report.details.windows).counted_windows();
    }
    LinePlot {
        heading,
        x_label: "p99 delay, ms".to_owned(),
        y_label: "% of seconds".to_owned(),
        x_spacing: Spacing::Fitting,
        series: vec![
            series(A_TO_B, |window| window.delay_ms.a_to_b),
            series(B_TO_A, |window| window.delay_ms.b_to_a),
        ],
        upright_limits: vec![limit(targets::DELAY_MS_P99_MAX, "target", "ms")],
        ..LinePlot::default()
    }
    .html()
}

fn delay_tail(report: &Report) -> String {
    let series: Vec<Series> = [
        (A_TO_B, &report.details.delay_ms.a_to_b),
        (B_TO_A, &report.details.delay_ms.b_to_a),
    ]
    .into_iter()
    .map(|(direction, buckets)| Series {
        name: direction.to_owned(),
        colour: colour(direction),
        dashed: false,
        points: later_than(buckets),
        marks: Vec::new(),
    })
    .collect();
    LinePlot {
        heading: heading(
            report,
            "Delay distribution",
            "Share of the steady window's packets that took longer than the delay below.",
            "delay_ms",
        ),
        x_label: "delay, ms".to_owned(),
        y_label: "% of packets, logarithmic".to_owned(),
        x_spacing: Spacing::Fitting,
        y_spacing: Spacing::Logarithmic,
        series,
        ..LinePlot::default()
    }
    .html()
}

fn loss(report: &Report, time: &Time) -> String {
    let series = vec![
        time.series(report, A_TO_B, Colour::Blue, |window| {
            window.loss_pct.a_to_b
        }),
        Series {
            dashed: true,
            ..time.series(report, B_TO_A, Colour::Orange, |window| {
                window.loss_pct.b_to_a
            })
        },
    ];
    LinePlot {
        wide: true,
        limits: vec![limit(targets::LOSS_PCT_MAX, "limit", "%")],
        ..time.plot(
            heading(
                report,
                "Loss",
                "Frames that never came, by second.",
                "loss_pct",
            ),
            "loss, %",
            series,
        )
    }
    .html()
}

fn jitter(report: &Report) -> String {
    let series: Vec<Series> = [
        (A_TO_B, &report.details.jitter_ms.a_to_b),
        (B_TO_A, &report.details.jitter_ms.b_to_a),
    ]
    .into_iter()
    .map(|(direction, values)| Series {
        name: direction.to_owned(),
        colour: colour(direction),
        dashed: false,
        points: share_up_to(values),
        marks: Vec::new(),
    })
    .collect();
    LinePlot {
        heading: heading(
            report,
            "Jitter",
            "Share of calls whose interarrival jitter (RFC 3550) is at most the value below.",
            "jitter_ms",
        ),
        x_label: "jitter, ms".to_owned(),
        y_label: "% of calls".to_owned(),
        series,
        ..LinePlot::default()
    }
    .html()
}

fn both_ways(values: &BothWays<Vec<f64>>) -> Vec<HistogramSeries> {
    [(A_TO_B, &values.a_to_b), (B_TO_A, &values.b_to_a)]
        .into_iter()
        .map(|(direction, values)| HistogramSeries {
            name: direction.to_owned(),
            colour: colour(direction),
            dashed: direction == B_TO_A,
            values: values.clone(),
        })
        .collect()
}

fn match_score(report: &Report) -> String {
    Histogram {
        heading: heading(
            report,
            "Match",
            "The judge's likeness of what was heard to what was said; 1 is the same.",
            "match",
        ),
        x_label: "match".to_owned(),
        y_label: "calls".to_owned(),
        series: both_ways(&report.details.match_score),
        limits: report
            .details
            .match_min
            .map(|value| limit(value, "passes from", ""))
            .into_iter()
            .collect(),
    }
    .html()
}

fn snr(report: &Report) -> String {
    let mut heading = heading(
        report,
        "Signal to noise",
        "Against what was said, band-limited to 100-3400 Hz.",
        "snr_db",
    );
    if heading.empty.is_empty() {
        heading.empty = "there is no such figure where Opus takes part".to_owned();
    }
    Histogram {
        heading,
        x_label: "SNR, dB".to_owned(),
        y_label: "calls".to_owned(),
        series: both_ways(&report.details.snr_db),
        limits: report
            .details
            .snr_db_min
            .map(|value| limit(value, "passes from", "dB"))
            .into_iter()
            .collect(),
    }
    .html()
}

fn mos(report: &Report) -> String {
    Histogram {
        heading: heading(
            report,
            "Estimated MOS",
            "G.107 from loss, delay and codec, the worse direction of each call.",
            "mos",
        ),
        x_label: "MOS".to_owned(),
        y_label: "calls".to_owned(),
        series: vec![HistogramSeries {
            name: "calls".to_owned(),
            colour: Colour::Green,
            dashed: false,
            values: report.details.mos.clone(),
        }],
        limits: Vec::new(),
    }
    .html()
}

fn cpu(report: &Report, time: &Time) -> String {
    let series = vec![time.series(report, "gateway", Colour::Green, |window| {
        window.gateway_cpu_pct
    })];
    let cores = report.gateway_cores.max(1);
    let name = if cores == 1 {
        "one core".to_owned()
    } else {
        format!("{cores} cores")
    };
    LinePlot {
        limits: vec![Limit {
            value: 100.0 * cores as f64,
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
    let rows = [
        (
            "call",
            report.cpu_ms_per_call_s,
            targets::cpu_ms_per_call_s_max(report),
            "ms/s",
        ),
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
    let group = |(name, value, target, unit): &(&str, Option<f64>, f64, &str)| match value {
        Some(value) => format!("{name} {} of {} {unit}", short(*value), short(*target)),
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
        limits: vec![limit(targets::cpu_ms_per_call_s_max(report), "target", "")],
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

fn limit(value: f64, name: &str, unit: &str) -> Limit {
    Limit {
        value,
        label: format!("{name} {} {unit}", short(value))
            .trim_end()
            .to_owned(),
    }
}
