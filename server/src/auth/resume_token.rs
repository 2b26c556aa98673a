//! The resume token of the browser dialect: what a page shows to go on with a session whose socket was lost.
//!
//! 128 random bits and the number of the shard that owns the session, in base64url: the HTTP head alone finds the shard. It
//! proves nothing by itself; which session it opens, for whom and until when, is the front door's table, which keeps its
//! digest only.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shards::ShardIndex;
use thiserror::Error;

/// Random bytes and two of the shard number.
const LEN: usize = ResumeToken::ENTROPY_LEN + 2;

/// One resume token. `Debug` shows the shard alone.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken([u8; LEN]);

/// SHA-256 of a token: what is kept and compared, so that neither a table nor a comparison's time tells a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResumeTokenDigest([u8; 32]);

/// Text that is no resume token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a resume token is {len} characters of base64url", len = ResumeToken::TEXT_LEN)]
pub struct InvalidResumeToken;

impl ResumeToken {
    /// Random bytes that [`ResumeToken::new`] takes.
    pub const ENTROPY_LEN: usize = 16;
    /// Characters of a token: 18 bytes leave no bits over, so each token has one spelling.
    pub const TEXT_LEN: usize = LEN / 3 * 4;

    /// A token for a session on `shard`.
    pub fn new(shard: ShardIndex, entropy: [u8; Self::ENTROPY_LEN]) -> Self {
        let mut bytes = [0; LEN];
        let (random, number) = bytes.split_at_mut(Self::ENTROPY_LEN);
        random.copy_from_slice(&entropy);
        number.copy_from_slice(&shard.0.to_be_bytes());
        Self(bytes)
    }

    /// The shard that owns the session.
    pub fn shard(&self) -> ShardIndex {
        let [.., high, low] = self.0;
        ShardIndex(u16::from_be_bytes([high, low]))
    }

    /// What to find the session by.
    pub fn digest(&self) -> ResumeTokenDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        ResumeTokenDigest(bytes)
    }

    /// The token as the page gets it.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl FromStr for ResumeToken {
    type Err = InvalidResumeToken;

    fn from_str(text: &str) -> Result<Self, InvalidResumeToken> {
        if text.len() != Self::TEXT_LEN {
            return Err(InvalidResumeToken);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| InvalidResumeToken)?;
        bytes.try_into().map(Self).map_err(|_| InvalidResumeToken)
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResumeToken([secret] of shard {})", self.shard().0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_names_its_shard() {
        let token = ResumeToken::new(ShardIndex(0x0102), [0xfb; 16]);
        let text = token.to_text();
        assert_eq!(text.len(), ResumeToken::TEXT_LEN);
        let read: ResumeToken = text.parse().unwrap();
        assert_eq!((&read, read.shard()), (&token, ShardIndex(0x0102)));
        assert_eq!(read.digest(), token.digest());
        assert!(!format!("{token:?}").contains(&text[..8]));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = ResumeToken::new(ShardIndex(1), [7; 16]).to_text();
        for bad in [
            String::new(),
            good[1..].to_owned(),
            format!("{good}A"),
            good.replacen('B', "=", 1),
            format!("{}+", &good[1..]),
            "\u{e4}".repeat(12),
        ] {
            assert_eq!(bad.parse::<ResumeToken>(), Err(InvalidResumeToken), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_token_has_one_spelling(text in "[A-Za-z0-9_-]{24}") {
            let token: ResumeToken = text.parse().unwrap();
            prop_assert_eq!(token.to_text(), text);
        }
    }
}
