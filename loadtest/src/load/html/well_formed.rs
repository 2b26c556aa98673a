//! Is a page or a part of one well-formed? Every element closed, attributes quoted, text escaped, no name twice in one element.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

/// Panics with the place of the first fault.
pub fn check(html: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").unwrap_or(html);
    while let Some(at) = rest.find('<') {
        check_text(&rest[..at]);
        let end = rest[at..]
            .find('>')
            .map(|end| at + end)
            .unwrap_or_else(|| panic!("unclosed tag: {}", near(rest, at)));
        let tag = &rest[at + 1..end];
        assert!(!tag.contains('<'), "a tag in a tag: {}", near(rest, at));
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(
                open.pop().as_deref(),
                Some(name),
                "closed in the wrong order, before: {}",
                near(rest, 0)
            );
            continue;
        }
        let name: String = tag
            .chars()
            .take_while(|character| character.is_ascii_alphanumeric())
            .collect();
        assert!(!name.is_empty(), "no name: <{tag}>");
        check_attributes(tag.trim_end_matches('/')[name.len()..].trim(), tag);
        if !tag.ends_with('/') {
            open.push(name.clone());
        }
        if name == "style" {
            // Text of a style is no markup.
            rest = &rest[rest.find("</style>").unwrap()..];
        }
    }
    check_text(rest);
    assert!(open.is_empty(), "never closed: {open:?}");
}

fn check_attributes(mut rest: &str, tag: &str) {
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest
            .split_once("=\"")
            .unwrap_or_else(|| panic!("attribute without quotes: <{tag}>"));
        let (value, after) = after
            .split_once('"')
            .unwrap_or_else(|| panic!("quote never closed: <{tag}>"));
        assert!(!names.contains(&name), "{name} twice: <{tag}>");
        names.push(name);
        check_text(value);
        rest = after.trim_start();
    }
}

fn check_text(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(
            known.iter().any(|entity| text[at..].starts_with(entity)),
            "bare ampersand: {}",
            near(text, at)
        );
    }
    assert!(
        !text.contains(|character: char| character.is_control() && character != '\n'),
        "control character: {text}"
    );
    assert!(!text.contains("NaN"), "no number: {text}");
}

fn near(text: &str, at: usize) -> String {
    text[at..].chars().take(80).collect()
}
