//! A bearer token that the configuration pins (RFC 6750 section 2.1): what a Vapi relay shows in its `Authorization` header.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::config::Secret;
use crate::fault::{Fault, Refusal, RefusalCode};

/// Checks the value of an `Authorization` header against the pinned token, in a time that tells nothing of it.
///
/// # Errors
/// There is no header, it has another scheme, or another token. HTTP 403.
pub fn verify(authorization: Option<&str>, pinned: &Secret) -> Result<(), Refusal> {
    let refused = |message: &str| Refusal::new(RefusalCode::Scope, Fault::Caller, message);
    let value = authorization.ok_or_else(|| refused("no Authorization header"))?;
    let token = bearer_token(value)
        .ok_or_else(|| refused("the Authorization header is no \"Bearer <token>\""))?;
    // Digests have one length: neither the token's length nor its beginning shows.
    let shown = digest(&SHA256, token.as_bytes());
    let expected = digest(&SHA256, pinned.expose().as_bytes());
    verify_slices_are_equal(shown.as_ref(), expected.as_ref())
        .map_err(|_| refused("the bearer token is not this tenant's"))
}

/// The token of a header's value; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_the_pinned_token_passes() {
        let pinned = Secret::new("relay-token-0123456789");
        for value in [
            "Bearer relay-token-0123456789",
            "bearer   relay-token-0123456789 ",
        ] {
            assert_eq!(verify(Some(value), &pinned), Ok(()), "{value}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "relay-token-0123456789",
            "Basic relay-token-0123456789",
            "Bearer relay-token-012345678",
            "Bearer relay-token-01234567890",
            "Bearer RELAY-TOKEN-0123456789",
            "Bearer relay-token-0123456789 x",
        ] {
            let refusal = verify(Some(value), &pinned).unwrap_err();
            assert_eq!(refusal.code.http_status(), 403, "{value}");
            assert!(!refusal.message.contains("relay"), "{refusal}");
        }
        assert!(verify(None, &pinned).is_err());
    }
}
