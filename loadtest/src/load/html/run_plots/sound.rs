//! What the judge said of each call.

use super::super::plot::{Colour, Histogram, HistogramSeries, LinePlot, Series, share_up_to};
use super::{colour, heading, limit, section};
use crate::load::report::{A_TO_B, B_TO_A, BothWays, Report};

pub fn plots(report: &Report) -> String {
    section(
        "Jitter and sound",
        &[
            jitter(report),
            match_score(report),
            snr(report),
            mos(report),
        ],
    )
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
        span_min: 0.05,
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
        span_min: 2.0,
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
        span_min: 0.1,
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
