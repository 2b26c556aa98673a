//! Who takes a call that a trunk brings: `[[tenants.inbound]]`.

use crate::id::TrunkId;

/// One `[[tenants.inbound]]` entry; the first that fits a call takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundRoute {
    /// A SIP trunk of this tenant.
    pub trunk_id: TrunkId,
    /// Which called numbers it takes.
    pub number: NumberPattern,
    /// Who is called.
    pub target: InboundTarget,
}

/// The called number: the user part of the request's URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberPattern {
    /// `"*"`
    Any,
    /// `"+1555*"`
    Prefix(String),
    /// `"+15550100"`
    Exact(String),
}

/// Who takes an incoming call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboundTarget {
    /// `target = "browser"`: a waiting page of the tenant.
    Browser {
        /// `subject`: only one that signed on with this `sub`; none: any page of the tenant.
        subject: Option<String>,
    },
    /// `target = "echo"`: answered, and the caller hears himself.
    Echo,
    /// `target = "vapi"`: the tenant's assistant.
    Vapi,
    /// `target = "agent"`: an AI agent.
    Agent {
        /// `agent_trunk_id`: a trunk of kind "websocket" of this tenant.
        trunk_id: TrunkId,
    },
}

impl NumberPattern {
    /// The longest pattern, in bytes.
    pub const LEN_MAX: usize = 128;

    /// Reads a number, a number's begin with `*` behind it, or `*`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let usable = number
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'*');
        if !usable || text.len() > Self::LEN_MAX {
            return None;
        }
        match (number, is_prefix) {
            ("", true) => Some(Self::Any),
            ("", false) => None,
            (number, true) => Some(Self::Prefix(number.to_owned())),
            (number, false) => Some(Self::Exact(number.to_owned())),
        }
    }

    /// Does it take this number?
    pub fn matches(&self, number: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => number.starts_with(prefix.as_str()),
            Self::Exact(exact) => number == exact,
        }
    }

    /// Does it take every number that `other` takes?
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Prefix(ours), Self::Prefix(theirs) | Self::Exact(theirs)) => {
                theirs.starts_with(ours.as_str())
            }
            (Self::Exact(ours), Self::Exact(theirs)) => ours == theirs,
            (_, Self::Any) | (Self::Exact(_), Self::Prefix(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_begins() {
        let matches = |pattern: &str, number: &str| {
            NumberPattern::parse(pattern).map(|pattern| pattern.matches(number))
        };
        assert_eq!(matches("+15550100", "+15550100"), Some(true));
        assert_eq!(matches("+15550100", "15550100"), Some(false));
        assert_eq!(matches("+1555*", "+15550100"), Some(true));
        assert_eq!(matches("+1555*", "+1444"), Some(false));
        assert_eq!(matches("*", ""), Some(true));
        for wrong in ["", "+1*5", "**", "a b", "\u{e9}"] {
            assert_eq!(NumberPattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_comes_first_may_leave_nothing() {
        let covers = |first: &str, second: &str| {
            let (first, second) = (NumberPattern::parse(first)?, NumberPattern::parse(second)?);
            Some(first.covers(&second))
        };
        assert_eq!(covers("*", "+1*"), Some(true));
        assert_eq!(covers("+1*", "+15*"), Some(true));
        assert_eq!(covers("+15*", "+1*"), Some(false));
        assert_eq!(covers("+1*", "+15550100"), Some(true));
        assert_eq!(covers("+1", "+1*"), Some(false));
        assert_eq!(covers("+1", "+1"), Some(true));
    }
}
