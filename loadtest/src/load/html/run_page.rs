//! The page of one run.

use super::markup::escape;
use super::page_parts::{Tile, caveats, class, document, settings, sign, table, verdict};
use super::run_plots;
use crate::load::figures::{self, Figure, Group};
use crate::load::number;
use crate::load::report::Report;
use crate::load::verdict::{Outcome, Verdict};

/// One run as a file of its own.
pub fn page(report: &Report) -> String {
    let title = format!("{}, {}", report.scenario, number::calls(report.calls));
    let found = Verdict::of(report);
    let tiles: Vec<Tile> = found
        .checks
        .iter()
        .map(|check| Tile {
            value: check.value.clone(),
            name: check.name.to_owned(),
            outcome: Some(check.outcome),
        })
        .collect();
    let body = [
        verdict(
            found.outcome(),
            found.outcome().word(),
            "all checks together",
            &tiles,
        ),
        caveats(&report.caveats, &report.not_shown),
        headline_figures(report),
        run_plots::of(report),
        failures(report),
        format!(
            "<section>\n<h2>Settings</h2>\n{}</section>\n",
            settings(&report.settings)
        ),
    ]
    .concat();
    document(
        &title,
        &figures::what_was_run(report),
        &report.git_commit,
        &body,
    )
}

fn headline_figures(report: &Report) -> String {
    let groups: String = figures::of(report).iter().map(group).collect();
    format!(
        "<section>\n<h2>Figures</h2>\n<div class=\"scrolls\"><table class=\"figures\">\n\
         <thead><tr><th>Figure</th><th class=\"number\">Value</th><th>Unit</th><th>Target</th>\
         <th class=\"how\">How it is measured</th></tr></thead>\n\
         {groups}</table></div>\n</section>\n"
    )
}

fn group(group: &Group) -> String {
    let rows: String = group.figures.iter().map(row).collect();
    format!(
        "<tbody>\n<tr><th class=\"group\" colspan=\"5\">{}</th></tr>\n{rows}</tbody>\n",
        group.title
    )
}

fn row(figure: &Figure) -> String {
    let key = if figure.key.is_empty() {
        String::new()
    } else {
        format!("<code>{}</code>", figure.key)
    };
    let name = format!("<th scope=\"row\">{}{key}</th>", escape(figure.name));
    let target = figure.target.as_ref().map_or_else(String::new, |target| {
        let outcome = match target.met {
            Some(true) => Outcome::Passed,
            Some(false) => Outcome::Failed,
            None => Outcome::NotShown,
        };
        let text = target.text.replace("<=", "\u{2264}");
        format!(
            "<span class=\"{}\">{}</span> {}",
            class(outcome),
            sign(outcome),
            escape(&text)
        )
    });
    let how = escape(&figure.measured_by);
    if figure.values.is_empty() {
        let why = figure.why_not.as_deref().unwrap_or_default();
        return format!(
            "<tr>{name}<td class=\"value why\">not shown</td><td></td><td class=\"target\">{target}</td>\
             <td class=\"how\"><b>{}</b><br/>{how}</td></tr>\n",
            escape(why)
        );
    }
    let values: Vec<String> = figure
        .values
        .iter()
        .map(|(name, value)| {
            if name.is_empty() {
                escape(value)
            } else {
                format!("<small>{name}</small> {}", escape(value))
            }
        })
        .collect();
    format!(
        "<tr>{name}<td class=\"value\">{}</td><td class=\"unit\">{}</td>\
         <td class=\"target\">{target}</td><td class=\"how\">{how}</td></tr>\n",
        values.join(" "),
        escape(figure.unit)
    )
}

fn failures(report: &Report) -> String {
    let mut html = String::from("<section>\n<h2>Failures</h2>\n");
    if report.failures.is_empty() {
        html.push_str("<p class=\"why\">None.</p>\n");
    } else {
        let rows: Vec<Vec<String>> = report
            .failures
            .iter()
            .map(|failure| vec![number::count(failure.calls), escape(&failure.reason)])
            .collect();
        html.push_str(&table(&["Calls", "Reason"], &rows));
    }
    html.push_str("</section>\n");
    html
}
