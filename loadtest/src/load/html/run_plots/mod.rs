//! The plots of one run.

mod delay;
mod gateway;
mod generator;
mod setup;
mod sound;

use super::plot::{Colour, Heading, Limit, LinePlot, Series};
use crate::load::not_shown::reason;
use crate::load::number::short;
use crate::load::report::{A_TO_B, Report, Window};

/// All of them, by subject.
pub fn of(report: &Report) -> String {
    let time = Time::of(report);
    [
        setup::plots(report, &time),
        delay::plots(report, &time),
        sound::plots(report),
        gateway::plots(report, &time),
        generator::plots(report, &time),
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

fn limit(value: f64, name: &str, unit: &str) -> Limit {
    Limit {
        value,
        label: format!("{name} {} {unit}", short(value))
            .trim_end()
            .to_owned(),
    }
}
