//! Lines over time or over a load, with gaps where nothing was measured.

use super::scale::Scale;
use super::{
    BOTTOM, Colour, Frame, HEIGHT, Heading, LIMIT_REACH, Legend, Limit, Shape, Spacing, TOP, WIDE,
    WIDTH, X_TICKS_MAX, Y_TICKS_MAX, cross, drawing, figure, scale_for,
};

/// Of a line with more points, each column shows its least and its largest value.
const POINTS_MAX: usize = 1_100;

/// Lines of one unit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinePlot {
    /// Title and note.
    pub heading: Heading,
    /// Fills a row.
    pub wide: bool,
    /// The x axis with its unit.
    pub x_label: String,
    /// The y axis with its unit.
    pub y_label: String,
    /// Of the x axis.
    pub x_spacing: Spacing,
    /// Of the y axis.
    pub y_spacing: Spacing,
    /// The lines.
    pub series: Vec<Series>,
    /// Stretches of the x axis that are marked.
    pub bands: Vec<(f64, f64)>,
    /// What they are.
    pub band_name: String,
    /// What the values are held against.
    pub limits: Vec<Limit>,
    /// The same, where the values are those of the x axis.
    pub upright_limits: Vec<Limit>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// For the legend.
    pub name: String,
    /// Its colour.
    pub colour: Colour,
    /// Drawn in dashes, for a second line of the same colour.
    pub dashed: bool,
    /// From left to right; none is a gap.
    pub points: Vec<(f64, Option<f64>)>,
    /// One for each point; empty for a bare line.
    pub marks: Vec<Mark>,
}

/// What stands at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A dot: as it should be.
    Passed,
    /// A cross: not so.
    Failed,
}

impl LinePlot {
    /// As a figure of a page.
    pub fn html(&self) -> String {
        let shown: Vec<(f64, f64)> = self
            .series
            .iter()
            .flat_map(|series| measured(&series.points))
            .collect();
        if shown.is_empty() {
            return figure(&self.heading, &[], None);
        }
        let ys: Vec<f64> = shown.iter().map(|(_, y)| *y).collect();
        let width = if self.wide { WIDE } else { WIDTH };
        let y = scale_for(&ys, &self.limits, self.y_spacing, Y_TICKS_MAX);
        let frame = Frame {
            x: self.x_scale(&shown),
            y,
            width,
        };
        let mut content = String::new();
        for (from, to) in &self.bands {
            let (left, right) = (frame.x(*from), frame.x(*to));
            content.push_str(&format!(
                "<rect class=\"band\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>\n",
                (right - left).max(0.5),
                HEIGHT - TOP - BOTTOM
            ));
        }
        content.push_str(&frame.axes(&self.x_label, &self.y_label));
        for series in &self.series {
            content.push_str(&self.line(series, &frame));
        }
        for limit in &self.limits {
            content.push_str(&frame.limit(limit, &shown));
        }
        for limit in &self.upright_limits {
            content.push_str(&frame.upright_limit(limit));
        }
        figure(
            &self.heading,
            &self.legend(),
            Some(drawing(&self.heading.title, width, HEIGHT, &content)),
        )
    }

    fn x_scale(&self, shown: &[(f64, f64)]) -> Scale {
        // Gaps at the ends are part of the run.
        let all = || {
            self.series
                .iter()
                .flat_map(|series| &series.points)
                .map(|(x, _)| *x)
                .filter(|x| x.is_finite())
        };
        let (from, to) = (
            all().fold(f64::MAX, f64::min),
            all().fold(f64::MIN, f64::max),
        );
        let xs: Vec<f64> = shown.iter().map(|(x, _)| *x).collect();
        let ticks_max = if self.wide {
            2 * X_TICKS_MAX
        } else {
            X_TICKS_MAX
        };
        // A limit that is near enough is within.
        let to = self
            .upright_limits
            .iter()
            .map(|limit| limit.value)
            .filter(|limit| *limit <= to * LIMIT_REACH)
            .fold(to, f64::max);
        match self.x_spacing {
            Spacing::Linear | Spacing::Whole => Scale::linear_exact(from.min(0.0), to, ticks_max),
            spacing => scale_for(&xs, &self.upright_limits, spacing, ticks_max),
        }
    }

    fn line(&self, series: &Series, frame: &Frame) -> String {
        let class = series.colour.class();
        let dashed = if series.dashed { " dashed" } else { "" };
        let mut svg = String::new();
        let pieces = pieces(&thinned(&series.points), frame);
        if self.series.len() == 1 && series.marks.is_empty() {
            let area: String = pieces.iter().map(|piece| area(piece)).collect();
            svg.push_str(&format!("<path class=\"area {class}\" d=\"{area}\"/>\n"));
        }
        let line: String = pieces.iter().map(|piece| path(piece)).collect();
        svg.push_str(&format!(
            "<path class=\"line {class}{dashed}\" d=\"{line}\"/>\n"
        ));
        for ((x, y), mark) in series.points.iter().zip(&series.marks) {
            let Some(y) = y.filter(|y| y.is_finite() && x.is_finite()) else {
                continue;
            };
            let (x, y) = (frame.x(*x), frame.y(y));
            svg.push_str(&match mark {
                Mark::Passed => {
                    format!("<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>\n")
                }
                Mark::Failed => format!("<g class=\"{class}\">{}</g>\n", cross(x, y)),
            });
        }
        svg
    }

    fn legend(&self) -> Vec<Legend<'_>> {
        let failed = self
            .series
            .iter()
            .find(|series| series.marks.contains(&Mark::Failed));
        let mut legend: Vec<Legend<'_>> = Vec::new();
        if self.series.len() > 1 {
            legend.extend(self.series.iter().map(|series| Legend {
                name: &series.name,
                colour: series.colour.class(),
                shape: Shape::Line {
                    dashed: series.dashed,
                },
            }));
        }
        if !self.bands.is_empty() {
            legend.push(Legend {
                name: &self.band_name,
                colour: "steady",
                shape: Shape::Area,
            });
        }
        if failed.is_some() {
            legend.push(Legend {
                name: "did not pass",
                colour: "plain",
                shape: Shape::Cross,
            });
        }
        legend
    }
}

fn measured(points: &[(f64, Option<f64>)]) -> impl Iterator<Item = (f64, f64)> {
    points.iter().filter_map(|(x, y)| {
        let y = (*y)?;
        (x.is_finite() && y.is_finite()).then_some((*x, y))
    })
}

/// Points by column, least and largest, when there are more than a picture has room for. A column with a gap keeps it.
fn thinned(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let column = points.len().div_ceil(POINTS_MAX / 2);
    let mut thinned = Vec::with_capacity(POINTS_MAX);
    for points in points.chunks(column) {
        if let Some(gap) = points.iter().find(|(_, y)| y.is_none()) {
            thinned.push(*gap);
        }
        let by_value = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let values: Vec<(f64, f64)> = measured(points).collect();
        let ends = values
            .iter()
            .min_by(by_value)
            .zip(values.iter().max_by(by_value));
        if let Some((least, largest)) = ends {
            let (first, second) = if least.0 <= largest.0 {
                (least, largest)
            } else {
                (largest, least)
            };
            thinned.push((first.0, Some(first.1)));
            if second != first {
                thinned.push((second.0, Some(second.1)));
            }
        }
    }
    thinned
}

/// Unbroken stretches, in places of the drawing.
fn pieces(points: &[(f64, Option<f64>)], frame: &Frame) -> Vec<Vec<(f64, f64)>> {
    let is_measured =
        |point: &(f64, Option<f64>)| measured(std::slice::from_ref(point)).next().is_some();
    points
        .split(|point| !is_measured(point))
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            measured(piece)
                .map(|(x, y)| (frame.x(x), frame.y(y)))
                .collect()
        })
        .collect()
}

fn path(piece: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (at, (x, y)) in piece.iter().enumerate() {
        path.push_str(&format!("{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' }));
    }
    if piece.len() == 1 {
        // One value between two gaps is a dot: the line's caps are round.
        path.push_str("h0.01");
    }
    path
}

fn area(piece: &[(f64, f64)]) -> String {
    let Some(((first, _), (last, _))) = piece.first().zip(piece.last()) else {
        return String::new();
    };
    let bottom = HEIGHT - BOTTOM;
    format!("{}L{last:.1} {bottom}L{first:.1} {bottom}Z", path(piece))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::super::super::well_formed;
    use super::*;

    fn series(name: &str, points: Vec<(f64, Option<f64>)>) -> Series {
        Series {
            name: name.to_owned(),
            colour: Colour::Blue,
            dashed: false,
            points,
            marks: Vec::new(),
        }
    }

    fn plot(series: Vec<Series>) -> LinePlot {
        LinePlot {
            x_label: "time, s".to_owned(),
            y_label: "delay, ms".to_owned(),
            series,
            ..LinePlot::default()
        }
    }

    #[test]
    fn a_value_that_is_none_is_a_gap() {
        let points = vec![
            (0.0, Some(1.0)),
            (1.0, Some(2.0)),
            (2.0, None),
            (3.0, Some(f64::NAN)),
            (4.0, Some(1.0)),
        ];
        let html = plot(vec![series("one", points)]).html();
        well_formed::check(&html);
        let line = html
            .split("class=\"line blue\" d=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert_eq!(line.matches('M').count(), 2, "{line}");
        assert!(line.ends_with("h0.01"), "{line}");
    }

    #[test]
    fn more_than_one_line_has_a_legend_and_all_are_drawn() {
        let points = vec![(0.0, Some(1.0)), (1.0, Some(2.0))];
        let html = plot(vec![
            series("first", points.clone()),
            series("second", points.clone()),
        ])
        .html();
        well_formed::check(&html);
        assert_eq!(html.matches("<path class=\"line blue\"").count(), 2);
        assert!(html.contains("first</li>") && html.contains("second</li>"));
        assert!(
            !plot(vec![series("alone", points)])
                .html()
                .contains("legend")
        );
    }

    #[test]
    fn without_a_value_there_is_a_note_and_no_frame() {
        let mut empty = plot(vec![series("one", vec![(0.0, None), (1.0, None)])]);
        empty.heading.empty = "the generator was late.".to_owned();
        let html = empty.html();
        assert!(
            html.contains("No data: the generator was late.</p>") && !html.contains("<svg"),
            "{html}"
        );
    }

    #[test]
    fn a_far_limit_is_named_and_flattens_nothing() {
        let mut limited = plot(vec![series(
            "one",
            vec![(0.0, Some(0.2)), (1.0, Some(0.3))],
        )]);
        limited.limits = vec![Limit {
            value: 5.0,
            label: "target 5 ms".to_owned(),
        }];
        let html = limited.html();
        assert!(
            html.contains("target 5 ms \u{2191}") && !html.contains("<line class=\"limit\""),
            "{html}"
        );
        limited.limits[0].value = 0.5;
        assert!(limited.html().contains("<line class=\"limit\""));
    }

    #[test]
    fn a_long_run_is_thinned_and_keeps_its_peaks_and_gaps() {
        let mut points: Vec<(f64, Option<f64>)> =
            (0..30_000).map(|at| (f64::from(at), Some(1.0))).collect();
        points[17_123].1 = Some(90.0);
        points[20_000].1 = None;
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS_MAX + 1, "{}", thin.len());
        assert!(thin.contains(&(17_123.0, Some(90.0))));
        assert!(thin.contains(&(20_000.0, None)));
    }
}
