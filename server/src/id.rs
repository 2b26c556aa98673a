//! The names of things: tenants, trunks, calls, sessions. Parsed once at the edge, then carried as types.
//!
//! Nothing here knows where a name comes from; randomness is passed in.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shards::ShardIndex;
use thiserror::Error;

/// The longest tenant or trunk id, in bytes.
pub const ID_LEN_MAX: usize = 64;

/// A tenant: `[A-Za-z0-9_-]{1,64}`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

/// A trunk of a tenant, with the same alphabet as [`TenantId`]. Unique in the whole gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrunkId(Arc<str>);

/// An id that does not fit `[A-Za-z0-9_-]{1,64}`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an id is 1 to {ID_LEN_MAX} characters of A-Z a-z 0-9 _ -")]
pub struct InvalidId;

fn parse_id(text: &str) -> Result<Arc<str>, InvalidId> {
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if text.is_empty() || text.len() > ID_LEN_MAX || !text.bytes().all(alphabet) {
        return Err(InvalidId);
    }
    Ok(Arc::from(text))
}

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            /// The id as it stands in paths, files and events.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_id(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(TenantId);
text_id!(TrunkId);

/// The name of one call: `CS`, four hex digits of the shard that owns it, 28 hex digits of randomness.
///
/// The shard number lets any thread address a call without a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallSid([u8; CallSid::LEN]);

impl CallSid {
    /// Characters in a call sid.
    pub const LEN: usize = 34;
    /// Random bytes that [`CallSid::new`] takes.
    pub const ENTROPY_LEN: usize = 14;

    /// A new name for a call on `shard`.
    pub fn new(shard: ShardIndex, entropy: [u8; Self::ENTROPY_LEN]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; Self::LEN];
        text[..2].copy_from_slice(b"CS");
        let [high, low] = shard.0.to_be_bytes();
        let bytes = [high, low].into_iter().chain(entropy);
        for (pair, byte) in text[2..].chunks_exact_mut(2).zip(bytes) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self(text)
    }

    /// The shard that owns the call.
    pub fn shard(&self) -> ShardIndex {
        let digits = &self.0[2..6];
        let value = digits.iter().fold(0u16, |value, digit| {
            let nibble = (*digit as char).to_digit(16).unwrap_or(0);
            (value << 4) | nibble as u16
        });
        ShardIndex(value)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever written: `new` and `from_str` are the constructors.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for CallSid {
    type Err = InvalidCallSid;

    fn from_str(text: &str) -> Result<Self, InvalidCallSid> {
        let bytes: [u8; Self::LEN] = text.as_bytes().try_into().map_err(|_| InvalidCallSid)?;
        let hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if !bytes.starts_with(b"CS") || !bytes[2..].iter().all(hex) {
            return Err(InvalidCallSid);
        }
        Ok(Self(bytes))
    }
}

/// Text that is no call sid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a call_sid is CS and 32 lower-case hex digits")]
pub struct InvalidCallSid;

impl fmt::Display for CallSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CallSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for CallSid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CallSid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Milliseconds since the Unix epoch: the clock of events and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct UnixMillis(pub i64);

/// Which of a call's legs: 0 is the vendor leg, 1 the trunk leg, more when others join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LegId(pub u8);

impl LegId {
    /// The leg towards the vendor's caller.
    pub const VENDOR: Self = Self(0);
    /// The leg towards the trunk.
    pub const TRUNK: Self = Self(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_sid_carries_its_shard() {
        let sid = CallSid::new(ShardIndex(0x0102), [0xab; 14]);
        assert_eq!(sid.shard(), ShardIndex(0x0102));
        assert_eq!(sid.as_str().parse::<CallSid>(), Ok(sid));
        assert_eq!("CSxyz".parse::<CallSid>(), Err(InvalidCallSid));
    }

    #[test]
    fn tenant_ids_are_bounded() {
        assert!("acme_1-b".parse::<TenantId>().is_ok());
        assert!("".parse::<TenantId>().is_err());
        assert!("a/b".parse::<TenantId>().is_err());
        assert!("x".repeat(65).parse::<TenantId>().is_err());
    }
}
