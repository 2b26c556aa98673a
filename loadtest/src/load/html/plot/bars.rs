//! Horizontal bars, in groups, with their values beside them.

use super::scale::Scale;
use super::{Colour, Heading, Legend, Limit, Shape, WIDTH, drawing, figure};
use crate::load::html::markup::escape;
use crate::load::number;

/// Of a character of a group's name, about.
const CHARACTER: f64 = 6.6;
const VALUE_WIDTH: f64 = 62.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 44.0;
const BETWEEN_BARS: f64 = 2.0;
/// Heights of a bar, and of the room between two groups, for few bars and for more.
const FEW: (f64, f64) = (24.0, 34.0);
const MORE: (f64, f64) = (14.0, 24.0);
const FEW_MAX: usize = 6;
const LABEL_CHARACTERS_MAX: usize = 25;
const TICKS_MAX: usize = 6;

/// Bars of one unit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bars {
    /// Title and note.
    pub heading: Heading,
    /// The axis with its unit.
    pub x_label: String,
    /// What each group of bars is about, from above.
    pub groups: Vec<String>,
    /// One bar of each group.
    pub series: Vec<BarSeries>,
    /// What the values are held against.
    pub limits: Vec<Limit>,
}

/// The same bar of all groups.
#[derive(Debug, Clone, PartialEq)]
pub struct BarSeries {
    /// For the legend.
    pub name: String,
    /// Their colour.
    pub colour: Colour,
    /// Fainter, for a second series of the same colour.
    pub faint: bool,
    /// One for each group.
    pub values: Vec<Option<f64>>,
}

impl Bars {
    /// As a figure of a page.
    pub fn html(&self) -> String {
        let values = self.series.iter().flat_map(|series| &series.values);
        let largest = values
            .flatten()
            .copied()
            .filter(|value| value.is_finite())
            .reduce(f64::max);
        let Some(largest) = largest else {
            return figure(&self.heading, &[], None);
        };
        let to = self
            .limits
            .iter()
            .map(|limit| limit.value)
            .fold(largest, f64::max);
        let across = Across {
            left: self.label_width(),
            scale: Scale::linear(0.0, to, TICKS_MAX),
        };
        let few = self.groups.len() * self.series.len() <= FEW_MAX;
        let (height, between_groups) = if few { FEW } else { MORE };
        let group_height = self.series.len() as f64 * (height + BETWEEN_BARS) + between_groups;
        let bottom = TOP + self.groups.len() as f64 * group_height;
        let mut content = self.axis(&across, bottom);
        for (at, group) in self.groups.iter().enumerate() {
            let top = TOP + at as f64 * group_height + between_groups / 2.0;
            content.push_str(&label(
                group,
                across.left,
                top + (group_height - between_groups) / 2.0,
            ));
            for (row, series) in self.series.iter().enumerate() {
                let value = series.values.get(at).copied().flatten();
                let top = top + row as f64 * (height + BETWEEN_BARS);
                content.push_str(&bar(series, value, &across, (top, height)));
            }
        }
        for limit in &self.limits {
            let x = across.place(limit.value);
            content.push_str(&format!(
                "<line class=\"limit\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>\
                 <text class=\"limit middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n",
                TOP - 2.0,
                TOP - 6.0,
                escape(&limit.label)
            ));
        }
        figure(
            &self.heading,
            &self.legend(),
            Some(drawing(
                &self.heading.title,
                WIDTH,
                bottom + BOTTOM,
                &content,
            )),
        )
    }

    fn axis(&self, across: &Across, bottom: f64) -> String {
        let mut svg = String::new();
        for tick in &across.scale.ticks {
            let x = across.place(*tick);
            svg.push_str(&format!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/>\
                 <text class=\"tick middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n",
                bottom + 16.0,
                across.scale.label(*tick)
            ));
        }
        let left = across.left;
        svg.push_str(&format!(
            "<line class=\"axis\" x1=\"{left}\" x2=\"{left}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/>\
             <text class=\"name middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            (left + WIDTH - VALUE_WIDTH) / 2.0,
            bottom + BOTTOM - 8.0,
            escape(&self.x_label)
        ));
        svg
    }

    /// As wide as the longest name.
    fn label_width(&self) -> f64 {
        let longest = self
            .groups
            .iter()
            .map(|group| group.chars().count())
            .max()
            .unwrap_or(0);
        (longest.min(LABEL_CHARACTERS_MAX + 1) as f64 * CHARACTER + 14.0).ceil()
    }

    fn legend(&self) -> Vec<Legend<'_>> {
        if self.series.len() < 2 {
            return Vec::new();
        }
        let class = |series: &BarSeries| {
            if series.faint {
                faint_class(series.colour)
            } else {
                series.colour.class()
            }
        };
        self.series
            .iter()
            .map(|series| Legend {
                name: &series.name,
                colour: class(series),
                shape: Shape::Area,
            })
            .collect()
    }
}

/// The axis, and where it begins.
struct Across {
    left: f64,
    scale: Scale,
}

impl Across {
    fn place(&self, value: f64) -> f64 {
        self.left + self.scale.share(value) * (WIDTH - self.left - VALUE_WIDTH)
    }
}

fn faint_class(colour: Colour) -> &'static str {
    match colour {
        Colour::Blue => "blue faint",
        Colour::Orange => "orange faint",
        Colour::Green => "green faint",
        Colour::Purple => "purple faint",
    }
}

fn label(group: &str, left: f64, y: f64) -> String {
    let short: String = group.chars().take(LABEL_CHARACTERS_MAX).collect();
    let rest = if group.chars().count() > LABEL_CHARACTERS_MAX {
        "\u{2026}"
    } else {
        ""
    };
    format!(
        "<text class=\"group end\" x=\"{:.1}\" y=\"{:.1}\"><title>{}</title>{}{rest}</text>\n",
        left - 9.0,
        y + 4.0,
        escape(group),
        escape(short.trim_end())
    )
}

fn bar(
    series: &BarSeries,
    value: Option<f64>,
    across: &Across,
    (top, height): (f64, f64),
) -> String {
    let left = across.left;
    let text_y = top + height / 2.0 + 4.0;
    let Some(value) = value.filter(|value| value.is_finite()) else {
        return format!(
            "<text class=\"value\" x=\"{:.1}\" y=\"{text_y:.1}\">not shown</text>\n",
            left + 5.0
        );
    };
    let class = if series.faint {
        faint_class(series.colour)
    } else {
        series.colour.class()
    };
    // What is more than nothing is seen.
    let width = (across.place(value) - left).max(if value > 0.0 { 1.0 } else { 0.0 });
    format!(
        "<rect class=\"fill {class}\" x=\"{left}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height}\"/>\
         <text class=\"value\" x=\"{:.1}\" y=\"{text_y:.1}\">{}</text>\n",
        left + width + 5.0,
        number::short(value)
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::well_formed;
    use super::*;

    fn bars(values: Vec<Option<f64>>) -> Bars {
        let series = |name: &str, faint| BarSeries {
            name: name.to_owned(),
            colour: Colour::Blue,
            faint,
            values: values.clone(),
        };
        Bars {
            x_label: "ms".to_owned(),
            groups: vec![
                "TLS & WebSocket".to_owned(),
                "something with a very long name".to_owned(),
            ],
            series: vec![series("p50", true), series("p99", false)],
            ..Bars::default()
        }
    }

    #[test]
    fn every_value_has_a_bar_and_its_number() {
        let html = bars(vec![Some(12.5), Some(0.0)]).html();
        well_formed::check(&html);
        assert_eq!(
            html.matches("<rect class=\"fill blue\" x=\"186\"").count(),
            2
        );
        assert_eq!(
            html.matches("<rect class=\"fill blue faint\" x=\"186\"")
                .count(),
            2
        );
        assert_eq!(html.matches(">12.5</text>").count(), 2);
        assert!(html.contains("TLS &amp; WebSocket</text>"));
        assert!(html.contains("something with a very lon\u{2026}</text>"));
    }

    #[test]
    fn a_value_that_is_none_is_named() {
        let html = bars(vec![Some(12.5), None]).html();
        assert_eq!(html.matches(">not shown</text>").count(), 2);
        assert!(bars(vec![None, None]).html().contains("No data"));
    }
}
