//! How a peer breaks the rules of its dialect.

use std::fmt;

use crate::call::q850::Q850Cause;
use crate::fault::Fault;

/// The longest reason in a close frame, in bytes (RFC 6455 section 5.5: 125 with the code).
pub const CLOSE_REASON_LEN_MAX: usize = 123;

/// How a peer broke the rules of its dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// For the close frame.
    pub close_code: u16,
    /// Who has to change something.
    pub fault: Fault,
    /// For the counter.
    pub kind: ViolationKind,
    /// One sentence, at most [`CLOSE_REASON_LEN_MAX`] bytes, without secrets.
    pub reason: String,
}

impl Violation {
    /// A violation with the close code of its kind; a reason that is too long is cut.
    pub fn new(kind: ViolationKind, fault: Fault, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        let mut len = reason.len().min(CLOSE_REASON_LEN_MAX);
        while !reason.is_char_boundary(len) {
            len -= 1;
        }
        reason.truncate(len);
        Self {
            close_code: kind.close_code(),
            fault,
            kind,
            reason,
        }
    }

    /// The violation of a text that is not the JSON that the dialect has. Says what is missing, and repeats nothing that came: it
    /// may be a secret.
    pub(super) fn unreadable(error: &serde_json::Error, fault: Fault) -> Self {
        let text = error.to_string();
        let reason = match error.classify() {
            serde_json::error::Category::Data if text.starts_with("missing field") => text,
            serde_json::error::Category::Data => {
                format!(
                    "a member of the message is of the wrong type, or twice there: column {}",
                    error.column()
                )
            }
            _ => format!("the text is no JSON: column {}", error.column()),
        };
        Self::new(ViolationKind::Malformed, fault, reason)
    }

    /// The cause of the call that it ends.
    pub fn cause(&self) -> Q850Cause {
        match self.kind {
            ViolationKind::Timeout => Q850Cause::TIMER_EXPIRY,
            ViolationKind::WrongAccount => Q850Cause::CALL_REJECTED,
            ViolationKind::WrongFormat => Q850Cause::INCOMPATIBLE_DESTINATION,
            _ => Q850Cause::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

macro_rules! violation_kinds {
    ($($(#[$doc:meta])* $name:ident $word:literal $close_code:literal,)*) => {
        /// The kinds of [`Violation`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ViolationKind {
            $($(#[$doc])* $name,)*
        }

        impl ViolationKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in metric labels.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// The WebSocket close code.
            pub fn close_code(self) -> u16 {
                match self {
                    $(Self::$name => $close_code,)*
                }
            }
        }
    };
}

violation_kinds! {
    /// No JSON, a missing field, a value of the wrong type.
    Malformed "malformed" 4400,
    /// A message that the dialect does not have.
    UnknownMessage "unknown_message" 4400,
    /// A message that has no place now: media before the start, a second start.
    OutOfOrder "out_of_order" 1008,
    /// Another stream's name.
    WrongStream "wrong_stream" 1008,
    /// Another account than the tenant's.
    WrongAccount "wrong_account" 1008,
    /// Audio in a coding that we do not speak.
    WrongFormat "wrong_format" 1003,
    /// A payload that is no base64.
    WrongBase64 "wrong_base64" 1007,
    /// Binary where text belongs, or text where binary does.
    WrongFrameKind "wrong_frame_kind" 1003,
    /// A text or name beyond its bound.
    TooLong "too_long" 1009,
    /// More of something than may wait at once.
    TooMany "too_many" 1008,
    /// More messages than anybody needs.
    Flood "flood" 1008,
    /// No start in time.
    Timeout "timeout" 4408,
    /// The bytes are no WebSocket (RFC 6455).
    Protocol "protocol" 1002,
    /// It does not read what we send.
    Stalled "stalled" 1008,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_a_close_frame() {
        let long = Violation::new(ViolationKind::Malformed, Fault::Vendor, "ä".repeat(100));
        assert_eq!(long.reason.len(), 122);
        assert_eq!((long.close_code, long.cause().0), (4400, 111));
    }
}
