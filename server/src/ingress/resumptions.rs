//! Which resume token opens which session of this shard: issued one at a time, good once, bound to tenant and Origin.
//!
//! Only digests are kept. Tokens that are good no more are remembered for a while, so that a page hears why; the oldest give
//! way. Pure: the session behind a token is whatever type the owner puts there.

use std::collections::{HashMap, VecDeque};

use crate::auth::resume_token::{ResumeToken, ResumeTokenDigest};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::TenantId;

/// Dead tokens that are remembered; beyond them one is "unknown" instead of "used".
const SPENT_MAX: usize = 4096;

/// Why a token is good no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    /// It resumed its session.
    Used,
    /// Nobody came with it in time.
    Expired,
    /// Its session has ended otherwise.
    Ended,
}

/// The tokens of one shard.
#[derive(Debug)]
pub(super) struct Resumptions<D> {
    open: HashMap<ResumeTokenDigest, Open<D>>,
    spent: HashMap<ResumeTokenDigest, Spent>,
    spent_order: VecDeque<ResumeTokenDigest>,
}

#[derive(Debug)]
struct Open<D> {
    tenant_id: TenantId,
    origin: Option<String>,
    session: D,
}

impl<D> Default for Resumptions<D> {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            spent: HashMap::new(),
            spent_order: VecDeque::new(),
        }
    }
}

impl<D> Resumptions<D> {
    /// Makes `token` good for `session`, for callers of `tenant_id` from `origin`.
    pub(super) fn issue(
        &mut self,
        token: &ResumeToken,
        tenant_id: TenantId,
        origin: Option<String>,
        session: D,
    ) {
        let open = Open {
            tenant_id,
            origin,
            session,
        };
        self.open.insert(token.digest(), open);
    }

    /// Uses a token up and gives its session. One that is refused stays as it was.
    ///
    /// # Errors
    /// 4401 no token of ours, or its session has ended; 4402 too late; 4403 another Origin; 4406 used; 4407 another tenant.
    pub(super) fn take(
        &mut self,
        token: &str,
        tenant_id: &TenantId,
        origin: Option<&str>,
    ) -> Result<D, Refusal> {
        let refused = |code, message: &str| Err(Refusal::new(code, Fault::Caller, message));
        let Ok(token) = token.parse::<ResumeToken>() else {
            return refused(
                RefusalCode::TokenInvalid,
                "the resume token can't be read: open a new session",
            );
        };
        let digest = token.digest();
        let Some(open) = self.open.get(&digest) else {
            return match self.spent.get(&digest) {
                Some(Spent::Used) => refused(
                    RefusalCode::Replayed,
                    "the resume token was used before: each is good once",
                ),
                Some(Spent::Expired) => refused(
                    RefusalCode::TokenExpired,
                    "the session was not resumed in time: open a new one",
                ),
                Some(Spent::Ended) => refused(
                    RefusalCode::TokenInvalid,
                    "the session of this resume token has ended: open a new one",
                ),
                None => refused(
                    RefusalCode::TokenInvalid,
                    "there is no session with this resume token: open a new one",
                ),
            };
        };
        if open.tenant_id != *tenant_id {
            return refused(
                RefusalCode::WrongTenant,
                "the resume token is for another tenant",
            );
        }
        if open.origin.as_deref() != origin {
            return refused(RefusalCode::Scope, "the resume token is for another origin");
        }
        match self.spend(digest, Spent::Used) {
            Some(open) => Ok(open.session),
            // It was there a line before.
            None => refused(RefusalCode::TokenInvalid, "the resume token is gone"),
        }
    }

    /// The token behind `digest` is good no more, if it still was.
    pub(super) fn retire(&mut self, digest: ResumeTokenDigest, why: Spent) {
        self.spend(digest, why);
    }

    fn spend(&mut self, digest: ResumeTokenDigest, why: Spent) -> Option<Open<D>> {
        let open = self.open.remove(&digest)?;
        if self.spent_order.len() >= SPENT_MAX
            && let Some(oldest) = self.spent_order.pop_front()
        {
            self.spent.remove(&oldest);
        }
        self.spent.insert(digest, why);
        self.spent_order.push_back(digest);
        Some(open)
    }

    /// Tokens that are good now.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use shards::ShardIndex;

    use super::*;

    const PAGE: Option<&str> = Some("https://app.example.com");

    fn token(number: u32) -> ResumeToken {
        let mut entropy = [0; 16];
        entropy[..4].copy_from_slice(&number.to_be_bytes());
        ResumeToken::new(ShardIndex(1), entropy)
    }

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    /// The table with token 1 of `acme`'s page for session 7.
    fn table() -> Resumptions<u32> {
        let mut table = Resumptions::default();
        table.issue(&token(1), tenant("acme"), PAGE.map(str::to_owned), 7);
        table
    }

    fn code(outcome: Result<u32, Refusal>) -> RefusalCode {
        let refusal = outcome.unwrap_err();
        assert_eq!(refusal.fault, Fault::Caller);
        assert!(refusal.message.len() > 20, "{refusal}");
        refusal.code
    }

    #[test]
    fn a_token_opens_its_session_once() {
        let mut table = table();
        let text = token(1).to_text();
        assert_eq!(table.take(&text, &tenant("acme"), PAGE), Ok(7));
        let again = table.take(&text, &tenant("acme"), PAGE);
        assert_eq!(code(again), RefusalCode::Replayed);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_refused_try_changes_nothing() {
        let mut table = table();
        let text = token(1).to_text();
        for (token, tenant_id, origin, expected) in [
            (text.as_str(), "globex", PAGE, RefusalCode::WrongTenant),
            (
                text.as_str(),
                "acme",
                Some("https://evil.example.com"),
                RefusalCode::Scope,
            ),
            (text.as_str(), "acme", None, RefusalCode::Scope),
            (
                token(2).to_text().as_str(),
                "acme",
                PAGE,
                RefusalCode::TokenInvalid,
            ),
            ("short", "acme", PAGE, RefusalCode::TokenInvalid),
        ] {
            let refused = table.take(token, &tenant(tenant_id), origin);
            assert_eq!(code(refused), expected);
        }
        assert_eq!(table.take(&text, &tenant("acme"), PAGE), Ok(7));
    }

    #[test]
    fn a_dead_token_says_why() {
        for (why, expected) in [
            (Spent::Expired, RefusalCode::TokenExpired),
            (Spent::Ended, RefusalCode::TokenInvalid),
        ] {
            let mut table = table();
            table.retire(token(1).digest(), why);
            // What came first stays the reason.
            table.retire(token(1).digest(), Spent::Used);
            let refused = table.take(&token(1).to_text(), &tenant("acme"), PAGE);
            assert_eq!(code(refused), expected);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut table = table();
        for number in 1..SPENT_MAX as u32 + 100 {
            table.issue(&token(number), tenant("acme"), None, number);
            table.retire(token(number).digest(), Spent::Ended);
        }
        assert_eq!(
            (table.spent.len(), table.spent_order.len()),
            (SPENT_MAX, SPENT_MAX)
        );
        assert_eq!(table.len(), 0);
    }
}
