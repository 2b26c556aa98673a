//! A small library of plots: inline SVG, no script, colours by class so that one drawing fits light, dark and paper.
//!
//! Every plot is a `figure` with title, note and legend in HTML, so that they wrap, and axes with round ticks in SVG.
//! Without one finite value it says so instead of showing an empty frame.

mod bars;
mod distribution;
mod line;
mod scale;

pub use bars::{BarSeries, Bars};
pub use distribution::{Histogram, HistogramSeries, later_than, share_up_to};
pub use line::{LinePlot, Mark, Series};

use super::markup::escape;
use scale::Scale;

/// After the palette of Okabe and Ito, which colour-blind readers can tell apart; the style has tones for light and dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// From the vendor's side.
    Blue,
    /// From the trunk's side.
    Orange,
    /// What stands for itself.
    Green,
    /// What went wrong, or the host.
    Purple,
}

impl Colour {
    fn class(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Orange => "orange",
            Self::Green => "green",
            Self::Purple => "purple",
        }
    }
}

/// How values spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spacing {
    /// Evenly.
    #[default]
    Linear,
    /// Evenly, with ticks at whole numbers only.
    Whole,
    /// By decades, where the largest value is so far above the median that nothing else would be seen; else evenly.
    Fitting,
    /// By decades.
    Logarithmic,
}

/// A line that values are held against.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Where it is.
    pub value: f64,
    /// What it is.
    pub label: String,
}

/// What every plot says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Heading {
    /// What is shown.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Why there may be nothing to show.
    pub empty: String,
}

const WIDTH: f64 = 560.0;
/// Of a plot that fills a row.
const WIDE: f64 = 1_124.0;
const HEIGHT: f64 = 268.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
const X_TICKS_MAX: usize = 8;
const Y_TICKS_MAX: usize = 5;
/// The largest value is this many times the median: then [`Spacing::Fitting`] goes by decades.
const FITTING_SPREAD: f64 = 25.0;
/// A limit this many times above the largest value is named at the edge instead of flattening the values.
const LIMIT_REACH: f64 = 4.0;

/// How far the middle of a limit's name is above it.
const LABEL_MIDDLE: f64 = 9.0;

/// One entry of a legend.
struct Legend<'a> {
    name: &'a str,
    colour: &'a str,
    shape: Shape,
}

enum Shape {
    Line { dashed: bool },
    Area,
    Cross,
}

/// The whole figure; without a drawing, its note that there is no data.
fn figure(heading: &Heading, legend: &[Legend<'_>], drawing: Option<Drawing>) -> String {
    let class = match &drawing {
        Some(drawing) if drawing.width > WIDTH => " class=\"wide\"",
        // The page puts two others beside it.
        Some(drawing) if drawing.height > HEIGHT * 1.6 => " class=\"tall\"",
        _ => "",
    };
    let mut html = format!(
        "<figure{class}>\n<figcaption><h3>{}</h3>",
        escape(&heading.title)
    );
    if !heading.note.is_empty() {
        html.push_str(&format!("<p class=\"note\">{}</p>", escape(&heading.note)));
    }
    html.push_str("</figcaption>\n");
    match drawing {
        Some(drawing) => {
            if !legend.is_empty() {
                let entries: String = legend.iter().map(legend_entry).collect();
                html.push_str(&format!("<ul class=\"legend\">{entries}</ul>\n"));
            }
            html.push_str(&format!("<div class=\"plot\">{}</div>\n", drawing.svg));
        }
        None => {
            let why = if heading.empty.is_empty() {
                "not measured in this run"
            } else {
                &heading.empty
            };
            html.push_str(&format!(
                "<p class=\"empty\">No data: {}.</p>\n",
                escape(why.trim_end_matches('.'))
            ));
        }
    }
    html.push_str("</figure>\n");
    html
}

fn legend_entry(entry: &Legend<'_>) -> String {
    let colour = entry.colour;
    let shape = match entry.shape {
        Shape::Line { dashed } => {
            let dashed = if dashed { " dashed" } else { "" };
            format!("<line class=\"line {colour}{dashed}\" x1=\"1\" x2=\"25\" y1=\"6\" y2=\"6\"/>")
        }
        Shape::Area => {
            format!("<rect class=\"fill {colour}\" x=\"5\" width=\"16\" height=\"12\" rx=\"2\"/>")
        }
        Shape::Cross => format!("<g class=\"{colour}\">{}</g>", cross(13.0, 6.0)),
    };
    format!(
        "<li><svg viewBox=\"0 0 26 12\" width=\"26\" height=\"12\" aria-hidden=\"true\">{shape}</svg>{}</li>",
        escape(entry.name)
    )
}

fn cross(x: f64, y: f64) -> String {
    format!(
        "<path class=\"cross\" d=\"M{:.1} {:.1}l9 9m0 -9l-9 9\"/>",
        x - 4.5,
        y - 4.5
    )
}

/// Both axes of a drawing, and where values are in it.
struct Frame {
    x: Scale,
    y: Scale,
    width: f64,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * (self.width - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(value) * (HEIGHT - TOP - BOTTOM)
    }

    /// Everything that is below the data: grid, tick labels and the axes' names.
    fn axes(&self, x_label: &str, y_label: &str) -> String {
        let (right, bottom) = (self.width - RIGHT, HEIGHT - BOTTOM);
        let mut svg = String::new();
        for tick in &self.y.ticks {
            let y = self.y(*tick);
            svg.push_str(&format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                LEFT - 7.0,
                y + 4.0,
                self.y.label(*tick)
            ));
        }
        for tick in &self.x.ticks {
            let x = self.x(*tick);
            svg.push_str(&format!(
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>\
                 <text class=\"tick middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n",
                bottom + 4.0,
                bottom + 17.0,
                self.x.label(*tick)
            ));
        }
        svg.push_str(&format!(
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\n\
             <text class=\"name\" x=\"2\" y=\"13\">{}</text>\
             <text class=\"name middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            escape(y_label),
            (LEFT + right) / 2.0,
            HEIGHT - 8.0,
            escape(x_label)
        ));
        svg
    }

    /// A limit of the y axis, or its name at the edge that it is beyond; the name should not cover the `busy` points.
    fn limit(&self, limit: &Limit, busy: &[(f64, f64)]) -> String {
        let (left, right) = (LEFT + 4.0, self.width - RIGHT);
        let label = escape(&limit.label);
        if !self.y.holds(limit.value) {
            let (arrow, y) = if limit.value > self.y.top() {
                ("\u{2191}", TOP - 6.0)
            } else {
                ("\u{2193}", HEIGHT - BOTTOM - 6.0)
            };
            return format!(
                "<text class=\"limit end\" x=\"{right}\" y=\"{y:.1}\">{label} {arrow}</text>\n"
            );
        }
        let y = self.y(limit.value);
        let distance = |side: fn(f64) -> bool| {
            let points = busy.iter().filter(|(x, _)| side(self.x.share(*x)));
            points
                .map(|(_, value)| (self.y(*value) - (y - LABEL_MIDDLE)).abs())
                .fold(f64::MAX, f64::min)
        };
        let (anchor, x) = if distance(|share| share < 0.25) > distance(|share| share > 0.75) {
            ("start", left)
        } else {
            ("end", right)
        };
        format!(
            "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"limit {anchor}\" x=\"{x}\" y=\"{:.1}\">{label}</text>\n",
            y - 5.0
        )
    }

    /// A limit of the x axis; beyond its ends there is nothing to be seen of it.
    fn upright_limit(&self, limit: &Limit) -> String {
        if !self.x.holds(limit.value) {
            return String::new();
        }
        let x = self.x(limit.value);
        // The label stands above, on the side with more room.
        let (anchor, beside) = if self.x.share(limit.value) > 0.5 {
            ("end", 3.0)
        } else {
            ("start", -3.0)
        };
        format!(
            "<line class=\"limit\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text class=\"limit {anchor}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            HEIGHT - BOTTOM,
            x + beside,
            TOP - 5.0,
            escape(&limit.label)
        )
    }
}

/// What is between legend and the end of a figure.
struct Drawing {
    width: f64,
    height: f64,
    svg: String,
}

/// Around what is drawn.
fn drawing(title: &str, width: f64, height: f64, content: &str) -> Drawing {
    let title = escape(title);
    let svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n{content}</svg>"
    );
    Drawing { width, height, svg }
}

/// An axis for values, which must not be empty; with limits that are near enough.
fn scale_for(values: &[f64], limits: &[Limit], spacing: Spacing, ticks_max: usize) -> Scale {
    let largest = values.iter().copied().fold(f64::MIN, f64::max);
    let within = |limit: &f64| *limit <= largest.max(0.0) * LIMIT_REACH || largest <= 0.0;
    let to = limits
        .iter()
        .map(|limit| limit.value)
        .filter(within)
        .fold(largest, f64::max);
    match spacing {
        Spacing::Linear => Scale::linear(0.0, to, ticks_max),
        Spacing::Whole => Scale::whole(to, ticks_max),
        Spacing::Fitting if !is_spread(values) => Scale::linear(0.0, to, ticks_max),
        Spacing::Fitting | Spacing::Logarithmic => {
            let smallest = values
                .iter()
                .copied()
                .filter(|value| *value > 0.0)
                .fold(f64::MAX, f64::min);
            Scale::logarithmic(smallest, to)
        }
    }
}

fn is_spread(values: &[f64]) -> bool {
    let mut positive: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| *value > 0.0)
        .collect();
    positive.sort_by(f64::total_cmp);
    match (positive.get(positive.len() / 2), positive.last()) {
        (Some(median), Some(largest)) => largest / median > FITTING_SPREAD,
        _ => false,
    }
}
