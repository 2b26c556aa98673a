//! The `Origin` header of a WebSocket upgrade (RFC 6454 section 7) against the list of the tenant.
//!
//! Browsers always send it and a page cannot change it; programs that are no browsers send none.

/// Whether a connection with this `Origin` header may go on.
///
/// Origins are compared byte by byte: browsers serialise them in lower case and leave the default port out, and the
/// configuration refuses origins written any other way. Without the header there is nothing to compare, and the
/// connection goes on; with it, an empty list refuses everything.
pub fn origin_allowed(allowed: &[String], header: Option<&str>) -> bool {
    match header {
        None => true,
        Some(origin) => allowed.iter().any(|allowed| allowed == origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_origins_pass() {
        let allowed = vec![
            "https://app.example.com".to_owned(),
            "http://127.0.0.1:8080".to_owned(),
        ];
        assert!(origin_allowed(&allowed, Some("https://app.example.com")));
        assert!(origin_allowed(&allowed, Some("http://127.0.0.1:8080")));
        for refused in [
            "https://app.example.com.evil.test",
            "https://app.example.com:444",
            "http://app.example.com",
            "https://evil.test",
            "null",
            "",
        ] {
            assert!(!origin_allowed(&allowed, Some(refused)), "{refused:?}");
        }
    }

    #[test]
    fn no_header_is_no_browser() {
        assert!(origin_allowed(&[], None));
        assert!(!origin_allowed(&[], Some("https://app.example.com")));
    }
}
