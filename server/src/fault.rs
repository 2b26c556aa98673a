//! Whose fault a failure is, and the refusal that tells it to a caller.
//!
//! Every error that leaves the gateway carries a [`Fault`]; it is also the label of the error counters.

use serde::{Deserialize, Serialize};

use crate::call::q850::Q850Cause;

/// Who has to change something for the next try to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The person or page that calls.
    Caller,
    /// The vendor whose dialect is spoken.
    Vendor,
    /// The carrier, PBX or other far end.
    Trunk,
    /// The AI agent behind a WebSocket trunk.
    Agent,
    /// The operator's configuration.
    Config,
    /// The gateway itself.
    Us,
}

impl Fault {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Caller,
        Self::Vendor,
        Self::Trunk,
        Self::Agent,
        Self::Config,
        Self::Us,
    ];

    /// The word in answers, events and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Vendor => "vendor",
            Self::Trunk => "trunk",
            Self::Agent => "agent",
            Self::Config => "config",
            Self::Us => "us",
        }
    }
}

/// The close codes of the browser dialect, and by [`RefusalCode::http_status`] their HTTP twins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum RefusalCode {
    /// A message, offer or request that can't be read.
    Malformed = 4400,
    /// A token that is no token of this tenant.
    TokenInvalid = 4401,
    /// A token past its `exp`.
    TokenExpired = 4402,
    /// Scope or Origin does not allow it.
    Scope = 4403,
    /// Unknown tenant, or vendor not configured for it, or no route.
    NotFound = 4404,
    /// A token whose `jti` was used before.
    Replayed = 4406,
    /// A token of another tenant.
    WrongTenant = 4407,
    /// No token or no offer in time.
    Timeout = 4408,
    /// The socket has its call already.
    CallExists = 4409,
    /// A limit of tenant, trunk, address or ports.
    Limit = 4429,
    /// Our own fault.
    Internal = 1011,
    /// The gateway drains.
    Draining = 1012,
    /// The gateway has no capacity now.
    Overload = 1013,
}

impl RefusalCode {
    /// The WebSocket close code.
    pub fn close_code(self) -> u16 {
        self as u16
    }

    /// The HTTP status that says the same before a 101.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TokenInvalid | Self::TokenExpired | Self::Replayed => 401,
            Self::Scope | Self::WrongTenant => 403,
            Self::NotFound => 404,
            Self::Timeout => 408,
            Self::CallExists => 409,
            Self::Limit => 429,
            Self::Internal => 500,
            Self::Draining | Self::Overload => 503,
        }
    }

    /// The `code` word in JSON answers and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::Scope => "scope",
            Self::NotFound => "not_found",
            Self::Replayed => "token_replayed",
            Self::WrongTenant => "wrong_tenant",
            Self::Timeout => "timeout",
            Self::CallExists => "call_exists",
            Self::Limit => "limit",
            Self::Internal => "internal",
            Self::Draining => "draining",
            Self::Overload => "overload",
        }
    }
}

/// A "no" with its reason: what was wrong, whose fault it was, and the Q.850 cause of the call it ends.
///
/// `message` is one sentence for a person; it never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of "no".
    pub code: RefusalCode,
    /// One sentence for a person.
    pub message: String,
    /// Who has to change something.
    pub fault: Fault,
    /// The cause of the final event, when a call existed.
    pub cause: Q850Cause,
}

impl Refusal {
    /// A refusal with the cause 21 (call rejected); see [`Refusal::with_cause`].
    pub fn new(code: RefusalCode, fault: Fault, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            fault,
            cause: Q850Cause::CALL_REJECTED,
        }
    }

    /// The same refusal with another Q.850 cause.
    pub fn with_cause(mut self, cause: Q850Cause) -> Self {
        self.cause = cause;
        self
    }
}
