//! Tokens that were used already: each may open one connection, until it expires by itself.
//!
//! Only digests are kept, so an entry has a fixed size and no token can be read out of the process. An entry is never
//! given up before its token is dead: a full store refuses instead.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use aws_lc_rs::digest::{Context, SHA256};

use super::DeskRefusal;
use crate::auth::session_auth;
use crate::id::TenantId;

/// Tokens that are remembered at once: 333 new connections per second, each with a token of 300 s.
pub const USED_TOKENS_MAX: usize = 100_000;

/// How long after its `exp` the verifier may still take a token, and one second for the fraction that Unix seconds cut
/// off.
const LEEWAY_S: u64 = session_auth::LEEWAY_S + 1;

type TokenDigest = [u8; 32];

/// The tokens that were used and may still be alive.
#[derive(Debug)]
pub struct UsedTokens {
    used: HashSet<TokenDigest>,
    by_expiry: BinaryHeap<Reverse<(u64, TokenDigest)>>,
    tokens_max: usize,
}

impl Default for UsedTokens {
    fn default() -> Self {
        Self::with_limit(USED_TOKENS_MAX)
    }
}

impl UsedTokens {
    /// A store for at most `tokens_max` tokens.
    pub fn with_limit(tokens_max: usize) -> Self {
        Self {
            used: HashSet::new(),
            by_expiry: BinaryHeap::new(),
            tokens_max,
        }
    }

    /// Marks `token` (issuer and `jti`) of `tenant_id` as used until `expires_unix_s`.
    ///
    /// # Errors
    /// The token was used before, is past its expiry, or the store is full of live tokens.
    pub fn take(
        &mut self,
        now_unix_s: u64,
        tenant_id: &TenantId,
        token: &str,
        expires_unix_s: u64,
    ) -> Result<(), DeskRefusal> {
        self.forget_expired(now_unix_s);
        let dead_at = expires_unix_s.saturating_add(LEEWAY_S);
        if dead_at <= now_unix_s {
            return Err(DeskRefusal::TokenExpired);
        }
        let digest = digest_of(tenant_id, token);
        if self.used.contains(&digest) {
            return Err(DeskRefusal::TokenReplayed);
        }
        if self.used.len() >= self.tokens_max {
            return Err(DeskRefusal::TokenStoreFull);
        }
        self.used.insert(digest);
        self.by_expiry.push(Reverse((dead_at, digest)));
        Ok(())
    }

    /// Tokens that are remembered now.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    fn forget_expired(&mut self, now_unix_s: u64) {
        while let Some(Reverse((dead_at, digest))) = self.by_expiry.peek().copied() {
            if dead_at > now_unix_s {
                return;
            }
            self.by_expiry.pop();
            self.used.remove(&digest);
        }
    }
}

/// The tenant's alphabet has no NUL, so the two texts cannot run into each other.
fn digest_of(tenant_id: &TenantId, token: &str) -> TokenDigest {
    let mut context = Context::new(&SHA256);
    context.update(tenant_id.as_str().as_bytes());
    context.update(&[0]);
    context.update(token.as_bytes());
    let mut digest = [0; 32];
    // SHA-256 has 32 bytes, so the two lengths are equal.
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that cannot go on ends with a panic"
    )]

    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn a_token_is_used_once_per_tenant() {
        let mut tokens = UsedTokens::default();
        assert_eq!(tokens.take(1000, &tenant("acme"), "iss\njti", 1300), Ok(()));
        assert_eq!(
            tokens.take(1001, &tenant("acme"), "iss\njti", 1300),
            Err(DeskRefusal::TokenReplayed)
        );
        assert_eq!(
            tokens.take(1001, &tenant("other"), "iss\njti", 1300),
            Ok(())
        );
    }

    #[test]
    fn a_replay_within_the_verifiers_leeway_is_still_refused() {
        let mut tokens = UsedTokens::default();
        tokens.take(1000, &tenant("acme"), "t", 1300).unwrap();
        assert_eq!(
            tokens.take(1305, &tenant("acme"), "t", 1300),
            Err(DeskRefusal::TokenReplayed)
        );
        assert_eq!(
            tokens.take(1306, &tenant("acme"), "t", 1300),
            Err(DeskRefusal::TokenExpired)
        );
        assert_eq!(tokens.len(), 0, "an expired token is forgotten");
    }

    #[test]
    fn a_full_store_refuses_until_something_expires() {
        let mut tokens = UsedTokens::with_limit(3);
        for (name, expires) in [("a", 1100), ("b", 1200), ("c", 1300)] {
            tokens.take(1000, &tenant("acme"), name, expires).unwrap();
        }
        assert_eq!(
            tokens.take(1100, &tenant("acme"), "d", 1400),
            Err(DeskRefusal::TokenStoreFull)
        );
        assert_eq!(
            tokens.take(1100, &tenant("acme"), "a", 1100),
            Err(DeskRefusal::TokenReplayed),
            "nothing was evicted to make room"
        );
        assert_eq!(tokens.take(1106, &tenant("acme"), "d", 1400), Ok(()));
        assert_eq!(tokens.len(), 3);
    }
}
