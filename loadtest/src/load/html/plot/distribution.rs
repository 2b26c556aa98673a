//! How values are distributed over calls or packets.

use super::scale::Scale;
use super::{
    BOTTOM, Colour, Frame, HEIGHT, Heading, Legend, Limit, Shape, Spacing, TOP, WIDTH, X_TICKS_MAX,
    Y_TICKS_MAX, drawing, figure, scale_for,
};
use crate::load::report::Bucket;

const BARS_MAX: usize = 40;

/// How many calls had which value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Title and note.
    pub heading: Heading,
    /// The value with its unit.
    pub x_label: String,
    /// Such as `calls`.
    pub y_label: String,
    /// Values that differ by less are shown side by side on an axis of this length, not pulled apart.
    pub span_min: f64,
    /// Outlines over one another.
    pub series: Vec<HistogramSeries>,
    /// What the values are held against.
    pub limits: Vec<Limit>,
}

/// One distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSeries {
    /// For the legend.
    pub name: String,
    /// Its colour.
    pub colour: Colour,
    /// Dashed, so that one that is the same as the other is seen behind it.
    pub dashed: bool,
    /// In any order.
    pub values: Vec<f64>,
}

impl Histogram {
    /// As a figure of a page.
    pub fn html(&self) -> String {
        let all = || {
            self.series
                .iter()
                .flat_map(|series| &series.values)
                .copied()
                .filter(|value| value.is_finite())
        };
        if all().next().is_none() {
            return figure(&self.heading, &[], None);
        }
        let (from, to) = (
            all().fold(f64::MAX, f64::min),
            all().fold(f64::MIN, f64::max),
        );
        let from = from.min(to - self.span_min);
        let x = Scale::linear(from, to, X_TICKS_MAX);
        // Bars are parts of the ticks' distance, so that they begin and end at round numbers.
        let bars = (x.ticks.len() - 1).max(1) * (BARS_MAX / (x.ticks.len() - 1).max(1)).max(1);
        let counts: Vec<Vec<u64>> = self
            .series
            .iter()
            .map(|series| counted(&series.values, &x, bars))
            .collect();
        let heights: Vec<f64> = counts.iter().flatten().map(|count| *count as f64).collect();
        let largest = heights.iter().copied().fold(0.0, f64::max);
        // A few bad calls among thousands are what a reader looks for.
        let logarithmic = largest > 100.0;
        let y = if logarithmic {
            Scale::logarithmic(0.5, largest)
        } else {
            scale_for(&heights, &[], Spacing::Whole, Y_TICKS_MAX)
        };
        let frame = Frame { x, y, width: WIDTH };
        let y_label = if logarithmic {
            format!("{}, logarithmic", self.y_label)
        } else {
            self.y_label.clone()
        };
        let mut content = frame.axes(&self.x_label, &y_label);
        for (series, counts) in self.series.iter().zip(&counts) {
            content.push_str(&outline(series, counts, &frame));
        }
        for limit in &self.limits {
            content.push_str(&frame.upright_limit(limit));
        }
        figure(
            &self.heading,
            &self.legend(),
            Some(drawing(&self.heading.title, WIDTH, HEIGHT, &content)),
        )
    }

    fn legend(&self) -> Vec<Legend<'_>> {
        if self.series.len() < 2 {
            return Vec::new();
        }
        let entry = |series: &'_ HistogramSeries| (series.colour.class(), series.dashed);
        self.series
            .iter()
            .map(|series| {
                let (colour, dashed) = entry(series);
                Legend {
                    name: &series.name,
                    colour,
                    shape: Shape::Line { dashed },
                }
            })
            .collect()
    }
}

fn counted(values: &[f64], x: &Scale, bars: usize) -> Vec<u64> {
    let mut counts = vec![0; bars];
    for value in values.iter().filter(|value| value.is_finite()) {
        let at = ((x.share(*value) * bars as f64 + 1e-9) as usize).min(bars - 1);
        counts[at] += 1;
    }
    counts
}

/// Steps around the bars that are not empty, filled faintly.
fn outline(series: &HistogramSeries, counts: &[u64], frame: &Frame) -> String {
    let width = (frame.x.top() - frame.x.bottom()) / counts.len() as f64;
    let edge = |at: usize| frame.x(frame.x.bottom() + at as f64 * width);
    let bottom = HEIGHT - BOTTOM;
    let mut path = String::new();
    let mut open = false;
    for (at, count) in counts.iter().enumerate() {
        if *count == 0 {
            if open {
                path.push_str(&format!("V{bottom}"));
            }
            open = false;
            continue;
        }
        if !open {
            path.push_str(&format!("M{:.1} {bottom}", edge(at)));
        }
        open = true;
        path.push_str(&format!(
            "V{:.1}H{:.1}",
            frame.y(*count as f64).max(TOP),
            edge(at + 1)
        ));
    }
    if open {
        path.push_str(&format!("V{bottom}"));
    }
    let class = series.colour.class();
    let dashed = if series.dashed { " dashed" } else { "" };
    format!(
        "<path class=\"area {class}\" d=\"{path}\"/><path class=\"line {class}{dashed}\" d=\"{path}\"/>\n"
    )
}

/// For each end of a bucket, the share of values above it, in percent; where none is left the line ends.
pub fn later_than(buckets: &[Bucket]) -> Vec<(f64, Option<f64>)> {
    let total: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let mut left = total;
    let mut points = Vec::new();
    for bucket in buckets {
        let before = left;
        left -= bucket.count;
        // An empty tail has nothing to show, and all but the last of an empty head neither.
        if total == 0 || before == 0 || !bucket.up_to.is_finite() {
            continue;
        }
        if left == total {
            points.clear();
        }
        points.push((
            bucket.up_to,
            (left > 0).then(|| left as f64 * 100.0 / total as f64),
        ));
    }
    points
}

/// The share of values up to a value, in percent, in steps: each value lifts it at once.
pub fn share_up_to(values: &[f64]) -> Vec<(f64, Option<f64>)> {
    let mut sorted: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    sorted.sort_by(f64::total_cmp);
    let share = |count: usize| Some(count as f64 * 100.0 / sorted.len() as f64);
    let steps = sorted.iter().enumerate();
    steps
        .flat_map(|(at, value)| [(*value, share(at)), (*value, share(at + 1))])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::well_formed;
    use super::*;

    fn histogram(values: Vec<f64>) -> Histogram {
        let series = |name: &str, colour, dashed| HistogramSeries {
            name: name.to_owned(),
            colour,
            dashed,
            values: values.clone(),
        };
        Histogram {
            x_label: "match".to_owned(),
            y_label: "calls".to_owned(),
            series: vec![
                series("one", Colour::Blue, false),
                series("two", Colour::Orange, true),
            ],
            ..Histogram::default()
        }
    }

    #[test]
    fn every_value_is_in_one_bar() {
        let x = Scale::linear(0.9, 1.0, 5);
        let counts = counted(&[0.9, 0.92, 0.9201, 1.0, f64::NAN], &x, 5);
        assert_eq!(counts, [1, 2, 0, 0, 1]);
        let html = histogram(vec![0.9, 0.95, 0.99]).html();
        well_formed::check(&html);
        assert!(html.contains("line blue\"") && html.contains("line orange dashed"));
    }

    #[test]
    fn the_few_among_many_are_seen() {
        let mut values = vec![0.99; 5_000];
        values.push(0.2);
        let html = histogram(values).html();
        assert!(
            html.contains("calls, logarithmic") && html.contains(">1000</text>"),
            "{html}"
        );
        assert!(histogram(vec![f64::INFINITY]).html().contains("No data"));
    }

    #[test]
    fn values_that_hardly_differ_are_not_pulled_apart() {
        let mut close = histogram(vec![4.327_01, 4.327_16]);
        close.span_min = 0.1;
        let html = close.html();
        assert!(
            html.contains(">4.30</text>") && !html.contains(">4.3270"),
            "{html}"
        );
    }

    #[test]
    fn the_tail_of_packets() {
        let bucket = |up_to, count| Bucket { up_to, count };
        let buckets = [
            bucket(0.1, 0),
            bucket(0.2, 0),
            bucket(0.5, 90),
            bucket(1.0, 9),
            bucket(2.0, 0),
            bucket(f64::INFINITY, 1),
        ];
        let points = later_than(&buckets);
        assert_eq!(
            points,
            [
                (0.2, Some(100.0)),
                (0.5, Some(10.0)),
                (1.0, Some(1.0)),
                (2.0, Some(1.0))
            ]
        );
        assert_eq!(later_than(&[bucket(1.0, 2), bucket(2.0, 0)]), [(1.0, None)]);
        assert!(later_than(&[]).is_empty());
    }

    #[test]
    fn the_share_of_calls() {
        let points = share_up_to(&[3.0, f64::NAN, 1.0]);
        assert_eq!(
            points,
            [
                (1.0, Some(0.0)),
                (1.0, Some(50.0)),
                (3.0, Some(50.0)),
                (3.0, Some(100.0))
            ]
        );
        assert!(share_up_to(&[]).is_empty());
    }
}
