//! The softphone page (`[server] demo_page = true`) and the SDK that it stands on, embedded in the binary: plain files, no
//! build step. The page is at `/`, the SDK's modules at `/sdk/`.

use super::http;

/// What the page may load and connect to: itself and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     media-src 'self' blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Nobody else's frame gets the microphone through us.
const PERMISSIONS_POLICY: &str = "microphone=(self), camera=(), geolocation=()";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// One file of the page.
#[derive(Debug, PartialEq, Eq)]
pub struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! page_file {
    ($path:literal, $content_type:expr, $file:literal) => {
        Asset {
            path: $path,
            content_type: $content_type,
            text: include_str!(concat!("page/", $file)),
        }
    };
}

macro_rules! sdk_module {
    ($file:literal) => {
        Asset {
            path: concat!("/sdk/", $file),
            content_type: SCRIPT,
            text: include_str!(concat!("../../../sdk/typescript/src/", $file)),
        }
    };
}

static ASSETS: &[Asset] = &[
    page_file!("/", HTML, "index.html"),
    page_file!("/index.html", HTML, "index.html"),
    page_file!("/page.css", CSS, "page.css"),
    page_file!("/page.js", SCRIPT, "page.js"),
    page_file!("/meter.js", SCRIPT, "meter.js"),
    page_file!("/words.js", SCRIPT, "words.js"),
    sdk_module!("backoff.js"),
    sdk_module!("call.js"),
    sdk_module!("dialect.js"),
    sdk_module!("errors.js"),
    sdk_module!("index.js"),
    sdk_module!("media_path.js"),
    sdk_module!("microphone.js"),
    sdk_module!("session.js"),
    sdk_module!("signalling.js"),
    sdk_module!("statistics.js"),
    sdk_module!("typed_events.js"),
];

/// The file at this path, if there is one.
pub(super) fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

/// The answer with this file.
pub(super) fn response(asset: &Asset) -> String {
    let fields = [
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        ("Permissions-Policy", PERMISSIONS_POLICY),
        ("Referrer-Policy", "no-referrer"),
    ];
    http::response_with(200, asset.content_type, &fields, asset.text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    /// The names in `from "…"` of a module.
    fn imports(text: &str) -> impl Iterator<Item = &str> {
        text.split("from \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        let mut checked = 0;
        for module in ASSETS.iter().filter(|asset| asset.content_type == SCRIPT) {
            let folder = module.path.rsplit_once('/').unwrap().0;
            for name in imports(module.text) {
                let path = match name.strip_prefix("./") {
                    Some(beside) => format!("{folder}/{beside}"),
                    None => name.to_owned(),
                };
                assert!(asset(&path).is_some(), "{} imports {name}", module.path);
                checked += 1;
            }
        }
        assert!(checked > 10, "{checked} imports");
    }

    #[test]
    fn the_page_has_no_inline_script_and_style_and_loads_only_what_is_served() {
        let html = asset("/").unwrap().text;
        assert!(
            !html.contains("<style") && !html.contains(" style=") && !html.contains(" onclick=")
        );
        for tag in html.split("<script").skip(1) {
            assert!(
                tag.starts_with(" type=\"module\" src=\"/page.js\"></script>"),
                "{tag:.60}"
            );
        }
        for attribute in ["src=\"", "rel=\"stylesheet\" href=\""] {
            for rest in html.split(attribute).skip(1) {
                let path = rest.split('"').next().unwrap();
                assert!(asset(path).is_some(), "{path}");
            }
        }
    }

    #[test]
    fn an_answer_says_what_it_is_and_what_it_may() {
        let answer = response(asset("/sdk/index.js").unwrap());
        assert!(answer.contains("Content-Type: text/javascript; charset=utf-8\r\n"));
        assert!(answer.contains("Content-Security-Policy: default-src 'none'; script-src 'self';"));
        assert!(answer.contains("export async function connect"));
        assert!(asset("/sdk/").is_none());
        assert!(asset("/sdk/../page.rs").is_none());
    }
}
