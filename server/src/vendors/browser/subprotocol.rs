//! What a page offers in `Sec-WebSocket-Protocol` (RFC 6455 section 11.3.4): the dialect, and a credential beside it.
//!
//! A page can set no other header on a WebSocket. Only [`SUBPROTOCOL`] is ever echoed: the rest is secret.

use std::fmt;

use crate::auth::session_auth::TOKEN_LEN_MAX;
use crate::fault::{Fault, Refusal, RefusalCode};

/// The name of the dialect: the only value that the server selects.
pub const SUBPROTOCOL: &str = "clutchcall.v1";
/// The most values in one header.
pub const SUBPROTOCOLS_MAX: usize = 8;
/// The longest resume token, in bytes.
pub const RESUME_TOKEN_LEN_MAX: usize = 64;

/// The credential that came with the handshake. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Offered {
    /// None: the first message is `auth`.
    Nothing,
    /// `bearer.<jwt>`: a SessionAuth token.
    Bearer(String),
    /// `resume.<resume_token>`: goes on with a session whose socket was lost.
    Resume(String),
}

impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Bearer(_) => "Bearer([secret])",
            Self::Resume(_) => "Resume([secret])",
        })
    }
}

/// Reads the header's value; several header lines are to be joined with commas first.
///
/// # Errors
/// 4400: the dialect is not offered, there are two credentials, or the list is too long or no list of tokens.
pub fn subprotocols(header: &str) -> Result<Offered, Refusal> {
    let mut dialect = false;
    let mut offered = Offered::Nothing;
    for (index, value) in header
        .split(',')
        .map(|value| value.trim_matches([' ', '\t']))
        .enumerate()
    {
        if index >= SUBPROTOCOLS_MAX {
            return Err(malformed(format!(
                "Sec-WebSocket-Protocol has more than {SUBPROTOCOLS_MAX} values"
            )));
        }
        if !value.bytes().all(is_token_byte) {
            return Err(malformed(
                "Sec-WebSocket-Protocol is no list of tokens (RFC 9110 section 5.6.2)",
            ));
        }
        let credential = if value == SUBPROTOCOL {
            dialect = true;
            continue;
        } else if let Some(token) = value.strip_prefix("bearer.") {
            bounded("bearer", token, TOKEN_LEN_MAX)?;
            Offered::Bearer(token.to_owned())
        } else if let Some(token) = value.strip_prefix("resume.") {
            bounded("resume", token, RESUME_TOKEN_LEN_MAX)?;
            Offered::Resume(token.to_owned())
        } else {
            // Another dialect that the client speaks too.
            continue;
        };
        if offered != Offered::Nothing {
            return Err(malformed("Sec-WebSocket-Protocol has two credentials"));
        }
        offered = credential;
    }
    if !dialect {
        return Err(malformed(format!(
            "Sec-WebSocket-Protocol does not offer {SUBPROTOCOL}"
        )));
    }
    Ok(offered)
}

fn bounded(name: &str, token: &str, len_max: usize) -> Result<(), Refusal> {
    if token.is_empty() || token.len() > len_max {
        return Err(malformed(format!(
            "the {name} value in Sec-WebSocket-Protocol has not 1 to {len_max} bytes"
        )));
    }
    Ok(())
}

fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::Malformed, Fault::Caller, message)
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use shards::ShardIndex;

    use super::*;
    use crate::auth::ResumeToken;

    #[test]
    fn the_credential_stands_beside_the_dialect() {
        let bearer = |token: &str| Ok(Offered::Bearer(token.to_owned()));
        assert_eq!(subprotocols("clutchcall.v1"), Ok(Offered::Nothing));
        assert_eq!(
            subprotocols("clutchcall.v1, bearer.a.b-c._d"),
            bearer("a.b-c._d")
        );
        assert_eq!(
            subprotocols("bearer.x,\tclutchcall.v1 , other.v2"),
            bearer("x")
        );
        assert_eq!(
            subprotocols("clutchcall.v1, resume.AbC-_9"),
            Ok(Offered::Resume("AbC-_9".to_owned()))
        );
    }

    #[test]
    fn a_resume_token_fits() {
        let text = ResumeToken::new(ShardIndex(3), [0xfb; 16]).to_text();
        assert!(text.len() <= RESUME_TOKEN_LEN_MAX);
        let offered = subprotocols(&format!("clutchcall.v1, resume.{text}"));
        assert_eq!(offered, Ok(Offered::Resume(text)));
    }

    #[test]
    fn anything_else_is_refused() {
        let many = format!("clutchcall.v1{}", ", x".repeat(SUBPROTOCOLS_MAX));
        let long = format!("clutchcall.v1, bearer.{}", "x".repeat(TOKEN_LEN_MAX + 1));
        for (header, about) in [
            ("", "does not offer clutchcall.v1"),
            ("bearer.x", "does not offer clutchcall.v1"),
            ("clutchcall.v2", "does not offer clutchcall.v1"),
            ("clutchcall.v1, bearer.", "has not 1 to"),
            ("clutchcall.v1, bearer.a, bearer.b", "two credentials"),
            ("clutchcall.v1, bearer.a, resume.b", "two credentials"),
            ("clutchcall.v1, bearer.a b", "no list of tokens"),
            ("clutchcall.v1, bearer.\u{e4}", "no list of tokens"),
            (many.as_str(), "more than 8"),
            (long.as_str(), "has not 1 to"),
        ] {
            let refusal = subprotocols(header).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::Malformed);
            assert!(refusal.message.contains(about), "{header:?}: {refusal}");
        }
    }

    #[test]
    fn debug_hides_the_credential() {
        assert_eq!(
            format!(
                "{:?}",
                subprotocols("clutchcall.v1, bearer.sesame").unwrap()
            ),
            "Bearer([secret])"
        );
    }

    proptest! {
        #[test]
        fn no_header_panics(header in "\\PC{0,300}") {
            let _ = subprotocols(&header);
        }
    }
}
