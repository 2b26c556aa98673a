//! What of a text is shown, in the effective values and in what is told of a mistake, where it may hold a secret.

use super::document::quote;

/// Where a secret is may be shown; what somebody wrote in its place may be the secret itself.
pub(super) fn shown_secret(text: &str) -> String {
    if text.starts_with("env:") || text.starts_with("file:") {
        quote(text)
    } else {
        "[secret]".to_owned()
    }
}

/// A URL without its path, its query and its user: each of them may be a secret.
pub(super) fn shown_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return "[URL]".to_owned();
    };
    if !scheme.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return "[URL]".to_owned();
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    match (rest.contains('@'), behind) {
        (true, _) => quote(&format!("{scheme}://[...]")),
        (false, "" | "/") => quote(text),
        (false, _) => quote(&format!("{scheme}://{authority}/...")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_up_to_its_host() {
        for (url, shown) in [
            ("wss://a.example.com", "\"wss://a.example.com\""),
            ("wss://a.example.com:8443/", "\"wss://a.example.com:8443/\""),
            ("wss://a/bot/secret", "\"wss://a/...\""),
            ("wss://a?token=secret", "\"wss://a/...\""),
            ("wss://a#secret", "\"wss://a/...\""),
            ("wss://me:secret@a/", "\"wss://[...]\""),
            ("wss://me:sec/ret@a/", "\"wss://[...]\""),
            ("secret wss://a", "[URL]"),
            ("secret", "[URL]"),
        ] {
            assert_eq!(shown_url(url), shown, "{url}");
        }
    }
}
