//! The softphone page (`[server] demo_page = true`), embedded in the binary: plain files, no build step.

use super::http;

/// What the page may load and connect to: itself and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; img-src data:";

/// The answer with the asset of this name; names come from the route table.
pub(super) fn response(asset: &str) -> String {
    let (content_type, text) = match asset {
        "softphone.js" => (
            "text/javascript; charset=utf-8",
            include_str!("page/softphone.js"),
        ),
        "page.js" => (
            "text/javascript; charset=utf-8",
            include_str!("page/page.js"),
        ),
        "softphone.css" => (
            "text/css; charset=utf-8",
            include_str!("page/softphone.css"),
        ),
        _ => ("text/html; charset=utf-8", include_str!("page/index.html")),
    };
    http::response_with(
        200,
        content_type,
        &[("Content-Security-Policy", CONTENT_SECURITY_POLICY)],
        text,
    )
}
