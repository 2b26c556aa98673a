//! Whole pages of made-up reports.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::{compare_page, find_max_page, page, well_formed};
use crate::load::report::{CompareReport, FindMaxReport, Report};
use crate::load::samples;

fn order_of(html: &str, parts: &[&str]) {
    let mut from = 0;
    for part in parts {
        let at = html[from..]
            .find(part)
            .unwrap_or_else(|| panic!("{part:?} is missing or too early"));
        from += at + part.len();
    }
}

/// One drawing or its note.
fn figure<'a>(html: &'a str, title: &str) -> &'a str {
    let begin = html
        .find(&format!("<h3>{title}</h3>"))
        .unwrap_or_else(|| panic!("no figure {title}"));
    html[begin..].split("</figure>").next().unwrap()
}

#[test]
fn every_page_is_well_formed_and_needs_nothing_else() {
    let pages = [
        page(&samples::good()),
        page(&samples::nothing_measured()),
        page(&samples::large_with_failures()),
        page(&Report::default()),
        find_max_page(&samples::find_max()),
        find_max_page(&FindMaxReport::default()),
        compare_page(&samples::compare()),
        compare_page(&CompareReport::default()),
    ];
    for html in &pages {
        well_formed::check(html);
        for outside in [
            "<script", "<link", "<img", "src=", "href=", "url(", "@import", "http:", "https:",
        ] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.len() < 400_000, "{}", html.len());
    }
}

#[test]
fn what_must_be_known_stands_before_the_figures() {
    let html = page(&samples::large_with_failures());
    order_of(
        &html,
        &[
            "<h1>browser-sip-pcmu, 5000 calls</h1>",
            "\u{2717} Failed",
            "4871 of 5000",
            "Read this first",
            "over loopback",
            "Not shown, and why",
            "<code>rss_kb_per_call</code> memory still grew",
            "<h2>Figures</h2>",
            "<h3>Set-up by stage</h3>",
            "<h3>One-way delay</h3>",
            "<h3>Match</h3>",
            "<h3>Gateway CPU</h3>",
            "<h3>Generator lateness</h3>",
            "<h2>Failures</h2>",
            "tenant acme has 4900 live calls",
            "<h2>Settings</h2>",
        ],
    );
}

#[test]
fn all_series_are_drawn() {
    let html = page(&samples::large_with_failures());
    let cases = [
        ("Set-ups", 2),
        ("Calls up", 1),
        ("One-way delay", 4),
        ("p99 delay of seconds", 2),
        ("Delay distribution", 2),
        ("Loss", 2),
        ("Jitter", 2),
        ("Match", 2),
        ("Signal to noise", 2),
        ("Estimated MOS", 1),
        ("Gateway CPU", 1),
        ("Gateway memory", 1),
        ("Cost of a call over time", 1),
        ("Generator lateness", 1),
        ("Generator CPU", 1),
        ("CPU stolen", 1),
    ];
    for (title, lines) in cases {
        let figure = figure(&html, title);
        assert_eq!(
            figure.matches("<path class=\"line ").count(),
            lines,
            "{title}"
        );
        assert_eq!(
            figure.contains("class=\"legend\""),
            lines > 1 || figure.contains("steady window"),
            "{title}"
        );
        assert_eq!(
            figure.matches("class=\"name").count(),
            2,
            "{title}: both axes have names"
        );
    }
    assert_eq!(
        figure(&html, "Set-up by stage")
            .matches("<rect class=\"fill")
            .count(),
        3 * 7 + 3
    );
}

#[test]
fn seconds_without_a_figure_are_gaps() {
    let html = page(&samples::large_with_failures());
    let lines = figure(&html, "Loss");
    let line = lines
        .split("class=\"line blue\" d=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert_eq!(
        line.matches('M').count(),
        960 / 120 + 1 - usize::from(960 % 120 == 0),
        "{line}"
    );
}

#[test]
fn nothing_measured_is_no_empty_frame() {
    let html = page(&samples::nothing_measured());
    assert!(!html.contains("role=\"img\""), "a drawing of nothing");
    assert!(
        figure(&html, "One-way delay").contains("No data: the generator was late (p99 48.2 ms)")
    );
    assert!(figure(&html, "Set-up by stage").contains("No data: not measured in this run."));
    assert!(html.contains("<td class=\"value why\">not shown</td>"));
}

#[test]
fn words_of_others_are_only_words() {
    let html = page(&samples::nothing_measured());
    assert!(html.contains("\u{fffd}[2J"));
    assert!(html.contains(
        "4401 &lt;script&gt;alert(&quot;token&quot;)&lt;/script&gt; &amp; &#39;expired&#39;"
    ));
    let hostile = "<b>\"'&\u{7}".to_owned();
    let setting = crate::load::report::Setting {
        name: hostile.clone(),
        value: hostile.clone(),
    };
    let lists = vec![hostile.clone(), format!("key: {hostile}")];
    well_formed::check(&page(&Report {
        scenario: hostile.clone(),
        codec_a: hostile.clone(),
        git_commit: hostile.clone(),
        caveats: lists.clone(),
        not_shown: vec![format!("delay_ms: {hostile}")],
        settings: vec![setting.clone()],
        ..Report::default()
    }));
    well_formed::check(&compare_page(&CompareReport {
        job: hostile.clone(),
        rival: hostile.clone(),
        settings_theirs: vec![setting],
        ..samples::compare()
    }));
    well_formed::check(&find_max_page(&FindMaxReport {
        limited_by: hostile,
        not_shown: lists,
        ..samples::find_max()
    }));
}

#[test]
fn the_search_tells_which_steps_passed() {
    let html = find_max_page(&samples::find_max());
    order_of(
        &html,
        &[
            "the most calls",
            "325",
            "calls per core",
            "Read this first",
            "<h3>One-way delay, p99</h3>",
        ],
    );
    assert!(html.contains("limited by the gateway&#39;s core (97.5 % busy)"));
    let delay = figure(&html, "One-way delay, p99");
    assert_eq!(delay.matches("<circle class=\"dot").count(), 5 * 2);
    // The legend has one too.
    assert_eq!(delay.matches("class=\"cross\"").count(), 2 * 2 + 1);
    assert!(html.contains("loss 0.62 % from trunk to vendor"));
}

#[test]
fn the_comparison_has_both_sides() {
    let html = compare_page(&samples::compare());
    order_of(
        &html,
        &[
            "12.2 \u{d7} fewer",
            "2.9",
            "35.2",
            "Read this first",
            "Round by round",
            "Settings of both sides",
        ],
    );
    let cost = figure(&html, "CPU of a call");
    assert_eq!(cost.matches("<rect class=\"fill blue\"").count(), 4 + 1);
    assert_eq!(cost.matches("<rect class=\"fill orange\"").count(), 5 + 1);
    assert_eq!(cost.matches(">not shown</text>").count(), 1);
}
