//! Credentials for a TURN server that shares a secret with us: coturn's `use-auth-secret`, and every other server that knows
//! the TURN REST convention (draft-uberti-behave-turn-rest-00 section 2.2).
//!
//! The username says until when it is good, the credential proves that somebody with the secret said so; the TURN server
//! keeps no list and asks nobody.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::config::TurnSecret;

/// A username and its credential (RTCIceServer of the W3C's WebRTC). `Debug` shows only the username.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct TurnCredentials {
    /// `<expiry in seconds of the Unix epoch>:<user>`. The TURN server logs it, and counts quotas by its second part.
    pub username: String,
    /// What RFC 8489 calls the password.
    pub credential: String,
}

impl TurnCredentials {
    /// Credentials of `user`, good from `now_unix_s` on for the lifetime that the file says.
    pub fn new(turn: &TurnSecret, user: &str, now_unix_s: u64) -> Self {
        let expires_unix_s = now_unix_s.saturating_add(turn.credential_lifetime_s.into());
        let username = format!("{expires_unix_s}:{user}");
        // The convention's choice; as a MAC, SHA-1 is not broken.
        let key = hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            turn.secret.expose().as_bytes(),
        );
        let credential = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        Self {
            username,
            credential,
        }
    }
}

impl fmt::Debug for TurnCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnCredentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn turn(credential_lifetime_s: u32) -> TurnSecret {
        TurnSecret {
            secret: Secret::new("north-wind-and-the-sun"),
            credential_lifetime_s,
        }
    }

    /// `printf 1900086400:acme | openssl dgst -sha1 -hmac north-wind-and-the-sun -binary | base64`
    #[test]
    fn the_credential_is_what_openssl_computes() {
        let credentials = TurnCredentials::new(&turn(86_400), "acme", 1_900_000_000);
        assert_eq!(credentials.username, "1900086400:acme");
        assert_eq!(credentials.credential, "sqfC4kD4i2BZXXMs7RpFt/J6iOQ=");
    }

    #[test]
    fn each_second_has_its_own_and_no_clock_overflows() {
        let at = |now| TurnCredentials::new(&turn(300), "acme", now);
        assert_ne!(at(1), at(2));
        assert_eq!(at(u64::MAX).username, format!("{}:acme", u64::MAX));
    }

    #[test]
    fn debug_hides_what_opens_the_relay() {
        let credentials = TurnCredentials::new(&turn(300), "acme", 1);
        let shown = format!("{credentials:?} {:?}", turn(300));
        assert!(shown.contains("301:acme"), "{shown}");
        assert!(!shown.contains(&credentials.credential) && !shown.contains("north"));
    }
}
