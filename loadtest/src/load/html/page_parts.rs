//! What all pages have: the frame of the document, the verdict, caveats, tables, settings.

use super::markup::escape;
use crate::load::number;
use crate::load::report::Setting;
use crate::load::verdict::Outcome;

const STYLE: &str = include_str!("style.css");
/// Rows of a table at most; the JSON file has all.
pub const ROWS_MAX: usize = 200;

/// The whole file.
pub fn document(title: &str, subtitle: &str, git_commit: &str, body: &str) -> String {
    let commit = if git_commit.is_empty() {
        String::new()
    } else {
        format!(", commit <code>{}</code>", escape(git_commit))
    };
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n<p>{}</p>\n</header>\n{body}\
         <footer>clutchcall-loadtest{commit}. Words in <code>this type</code> are keys of the JSON report.</footer>\n\
         </body>\n</html>\n",
        escape(subtitle)
    )
}

/// A box of the line below the title.
pub struct Tile {
    /// Large.
    pub value: String,
    /// Below.
    pub name: String,
    /// None for a figure that is neither right nor wrong.
    pub outcome: Option<Outcome>,
}

/// The verdict in a word of ours, and what it is made of.
pub fn verdict(outcome: Outcome, word: &str, name: &str, tiles: &[Tile]) -> String {
    let word = capitalized(word);
    let mut html = format!(
        "<section class=\"verdict\">\n<div class=\"whole {}\"><b>{} {word}</b><span>{}</span></div>\n",
        class(outcome),
        sign(outcome),
        escape(name)
    );
    for tile in tiles {
        let (class, sign) = match tile.outcome {
            // A tick at each would drown the one that is wrong.
            Some(Outcome::Passed) | None => ("", String::new()),
            Some(outcome) => (class(outcome), format!("{} ", sign(outcome))),
        };
        html.push_str(&format!(
            "<div><b class=\"{class}\">{sign}{}</b><span>{}</span></div>\n",
            escape(&tile.value),
            escape(&tile.name)
        ));
    }
    html.push_str("</section>\n");
    html
}

/// As at the beginning of a sentence.
pub fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// The class of an outcome's colour.
pub fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "good",
        Outcome::Failed => "bad",
        Outcome::NotShown | Outcome::NotAsked => "unknown",
    }
}

/// A sign that needs no colour.
pub fn sign(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "\u{2713}",
        Outcome::Failed => "\u{2717}",
        Outcome::NotShown | Outcome::NotAsked => "\u{2013}",
    }
}

/// What must be known before any figure.
pub fn caveats(caveats: &[String], not_shown: &[String]) -> String {
    let mut html = String::from("<section class=\"caveats\">\n<h2>Read this first</h2>\n");
    if caveats.is_empty() {
        html.push_str("<p>No caveats were recorded.</p>\n");
    } else {
        html.push_str(&list(caveats.iter().map(|caveat| escape(caveat))));
    }
    if !not_shown.is_empty() {
        html.push_str("<h3>Not shown, and why</h3>\n");
        html.push_str(&list(not_shown.iter().map(|entry| keyed(entry))));
    }
    html.push_str("</section>\n");
    html
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: String = items.map(|item| format!("<li>{item}</li>\n")).collect();
    format!("<ul>\n{items}</ul>\n")
}

/// `key: reason`, when it begins with a key.
fn keyed(entry: &str) -> String {
    let is_key = |key: &str| {
        !key.is_empty()
            && key
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || "_.".contains(character))
    };
    match entry.split_once(": ") {
        Some((key, reason)) if is_key(key) => format!("<code>{key}</code> {}", escape(reason)),
        _ => escape(entry),
    }
}

/// Names and values.
pub fn settings(settings: &[Setting]) -> String {
    if settings.is_empty() {
        return "<p class=\"why\">None recorded.</p>\n".to_owned();
    }
    let rows: String = settings
        .iter()
        .map(|setting| {
            format!(
                "<div><dt>{}</dt><dd>{}</dd></div>\n",
                escape(&setting.name),
                escape(&setting.value)
            )
        })
        .collect();
    format!("<dl class=\"settings\">\n{rows}</dl>\n")
}

/// A table whose cells are numbers but for the last column; cells are HTML.
pub fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let last = columns.len().saturating_sub(1);
    let number = |at: usize| if at == last { "" } else { " class=\"number\"" };
    let head: String = columns
        .iter()
        .enumerate()
        .map(|(at, name)| format!("<th{}>{}</th>", number(at), escape(name)))
        .collect();
    let mut body = String::new();
    for row in rows.iter().take(ROWS_MAX) {
        let cells: String = row
            .iter()
            .enumerate()
            .map(|(at, cell)| format!("<td{}>{cell}</td>", number(at)))
            .collect();
        body.push_str(&format!("<tr>{cells}</tr>\n"));
    }
    let mut html = format!(
        "<div class=\"scrolls\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    );
    if rows.len() > ROWS_MAX {
        let rest = number::count((rows.len() - ROWS_MAX) as u64);
        html.push_str(&format!(
            "<p class=\"note\">{rest} more are in the JSON report.</p>\n"
        ));
    }
    html
}

/// A value of a cell, or a dash.
pub fn cell(value: Option<f64>) -> String {
    value.map_or_else(
        || "<span class=\"why\">\u{2013}</span>".to_owned(),
        number::short,
    )
}

/// A value of a cell, marked where it is not below its limit.
pub fn limited_cell(value: Option<f64>, limit: f64) -> String {
    let Some(value) = value else {
        return cell(None);
    };
    let text = number::short(value);
    if value < limit {
        text
    } else {
        format!("<span class=\"bad\">{text}</span>")
    }
}
