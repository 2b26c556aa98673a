//! How late packets were, and which never came.

use super::super::page_parts::capitalized;
use super::super::plot::{Colour, LinePlot, Series, Spacing, later_than, share_up_to};
use super::{Time, colour, heading, limit, section};
use crate::load::report::{A_TO_B, B_TO_A, Quantiles, Report, Window};
use crate::load::targets;

pub fn plots(report: &Report, time: &Time) -> String {
    section(
        "Delay and loss",
        &[
            delay(report, time),
            delay_by_second(report),
            delay_tail(report),
            loss(report, time),
        ],
    )
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
        "Share of the steady seconds that count whose p99 is at most the delay below; the median is at 50 %.",
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
