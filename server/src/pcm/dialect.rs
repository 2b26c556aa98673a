//! What the dialects of WebSocket-PCM peers share: what a peer asks for, what it is told, and how it breaks the rules.
//!
//! A dialect is a sans-I/O struct. All have the same methods, and whoever owns the socket puts them into an enum:
//!
//! | method | when |
//! | --- | --- |
//! | `handle_text`, `handle_binary` | a message came; audio goes into the leg at once, the rest comes out of `poll_ask` |
//! | `handle_end` | the socket is gone, or the peer closed it |
//! | `handle_news` | our side has something to tell the peer |
//! | `handle_leg_event` | the leg's `poll_event` gave something |
//! | `write_frame` | the leg's `poll_frame` gave 20 ms of audio |
//! | `poll_ask` | after each of these, until there is none |
//! | `poll_timeout`, `handle_timeout` | the dialect's own deadlines |
//!
//! A dialect never writes a close frame: the owner does, after [`Ask::Close`] with the violation's code, after
//! [`News::Ended`] and [`Ask::HangUp`] with 1000.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::Encoding;
use crate::call::q850::Q850Cause;
use crate::config::Secret;
use crate::fault::Fault;
use crate::id::TrunkId;

/// How long a peer has to begin its stream after the upgrade.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest number, name or id that a peer may give, in bytes.
pub const PARTY_LEN_MAX: usize = 256;
/// The longest reason in a close frame, in bytes (RFC 6455 section 5.5: 125 with the code).
pub const CLOSE_REASON_LEN_MAX: usize = 123;
/// How long a digit is played for a peer that does not say, in ms.
pub const DIGIT_MS_DEFAULT: u32 = 200;
/// The most asks that wait for their owner, who takes them after every message.
pub const ASKS_MAX: usize = 64;
/// Messages per second that a peer may send for long: twenty times what 20 ms frames need.
pub const MESSAGES_PER_S_MAX: u32 = 1000;
/// Messages that a peer may send at once: minutes of speech, cut into 20 ms.
pub const MESSAGES_BURST_MAX: u32 = 20_000;

/// What the peer asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// It has said all that a call needs: make the call, and the leg with it. At most once.
    Begin(Begin),
    /// It pressed a digit.
    Digit {
        /// `0-9 * # A-D`.
        digit: char,
        /// How long.
        duration_ms: u32,
    },
    /// The other side shall drop what it has not played: the leg's queue is empty already. After a barge-in that the leg found by
    /// itself nobody asks: its event says it.
    Clear,
    /// The other side has played all that came before this mark ([`News::Mark`]).
    MarkPlayed {
        /// As [`News::Mark`] gave it.
        name: String,
    },
    /// It ended the call. The last ask.
    HangUp {
        /// Why.
        cause: Q850Cause,
        /// Whose fault, if it is one.
        fault: Option<Fault>,
        /// Why, for a person.
        text: String,
    },
    /// It broke the rules: close the socket, end the call. The last ask.
    Close(Violation),
}

/// The call that a peer asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Begin {
    /// The number to dial; without it the route's.
    pub to: Option<String>,
    /// The trunk to take; without it the route's.
    pub trunk_id: Option<TrunkId>,
    /// Who calls; may be empty.
    pub call_from: String,
    /// The caller's own name for the call; may be empty.
    pub client_id: String,
    /// How audio is coded on this socket.
    pub encoding: Encoding,
    /// Nothing may be sent to this peer: it only lets us listen.
    pub listen_only: bool,
    /// A SessionAuth token that came within the dialect.
    pub token: Option<Secret>,
    /// The vendor's name of the call, for its REST interface (Twilio's CallSid).
    pub vendor_call: Option<String>,
}

/// What the peer is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum News<'a> {
    /// The far end is being alerted.
    Ringing,
    /// The far end has answered.
    Answered,
    /// The call is over; nothing is written after this but a close frame.
    Ended {
        /// Why.
        cause: Q850Cause,
        /// Why, for a person.
        reason: &'a str,
    },
    /// The far end pressed a digit.
    Digit {
        /// `0-9 * # A-D`.
        digit: char,
        /// How long.
        duration_ms: u32,
    },
    /// The far end dropped its audio: the peer shall drop what it has not played.
    Cleared,
    /// The peer shall say when it has played all that was sent before ([`Ask::MarkPlayed`]). Only Twilio can.
    Mark {
        /// Comes back as it is.
        name: &'a str,
    },
}

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketEnd {
    /// By a close frame, with its code if it had one.
    Closed(Option<u16>),
    /// Without one: the connection was reset, timed out, or ended in the middle.
    Lost,
}

impl SocketEnd {
    /// Whether the peer meant it: a close frame without a code, with 1000 or 1001.
    pub fn is_goodbye(self) -> bool {
        matches!(self, Self::Closed(None | Some(1000 | 1001)))
    }

    /// The hang-up that it means, blamed on `fault` unless it was meant.
    pub fn hang_up(self, fault: Fault) -> Ask {
        let (cause, fault) = match self.is_goodbye() {
            true => (Q850Cause::NORMAL, None),
            false => (Q850Cause::DESTINATION_OUT_OF_ORDER, Some(fault)),
        };
        let text = match self {
            Self::Closed(None) => "the peer closed the socket".to_owned(),
            Self::Closed(Some(code)) => format!("the peer closed the socket with {code}"),
            Self::Lost => "the socket was lost".to_owned(),
        };
        Ask::HangUp { cause, fault, text }
    }
}

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

    /// The cause of the call that it ends.
    pub fn cause(&self) -> Q850Cause {
        match self.kind {
            ViolationKind::Timeout => Q850Cause::TIMER_EXPIRY,
            ViolationKind::WrongAccount | ViolationKind::Token => Q850Cause::CALL_REJECTED,
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
    /// No token, or none that is good.
    Token "token" 4401,
    /// The bytes are no WebSocket (RFC 6455).
    Protocol "protocol" 1002,
    /// It does not read what we send.
    Stalled "stalled" 1008,
}

/// The violation of a text that is not the JSON that the dialect has. Says what is missing, and repeats nothing that came: it
/// may be a secret.
pub fn unreadable(error: &serde_json::Error, fault: Fault) -> Violation {
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
    Violation::new(ViolationKind::Malformed, fault, reason)
}

/// The digit that a text is, if it is one: `0-9 * # A-D`.
pub fn digit_of(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let digit = chars.next()?.to_ascii_uppercase();
    let is_digit = matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D');
    (is_digit && chars.next().is_none()).then_some(digit)
}

/// What a dialect counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DialectStatistics {
    /// Messages with audio that came.
    pub media_received: u64,
    /// Messages with audio that were written.
    pub media_sent: u64,
    /// Messages that the peer numbered and that never came.
    pub media_missing: u64,
    /// Messages with audio that nobody could take: before the leg, muted, of another track.
    pub media_unused: u64,
    /// Messages that mean nothing to us and were ignored.
    pub ignored: u64,
}

/// The asks of a dialect, in order. Nothing follows a [`Ask::HangUp`] or [`Ask::Close`].
#[derive(Debug, Default)]
pub struct Asks {
    queue: VecDeque<Ask>,
    over: bool,
}

impl Asks {
    /// Adds one. What is more than [`ASKS_MAX`] is dropped, but never the end.
    pub fn push(&mut self, ask: Ask) {
        if self.over {
            return;
        }
        self.over = matches!(ask, Ask::HangUp { .. } | Ask::Close(_));
        // The end always has room.
        if self.over || self.queue.len() < ASKS_MAX {
            self.queue.push_back(ask);
        }
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<Ask> {
        self.queue.pop_front()
    }

    /// Whether the last ask was pushed: what comes now is not read any more.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Our side has ended the call: the peer has nothing to ask for any more.
    pub fn end(&mut self) {
        self.over = true;
    }
}

/// Lets [`MESSAGES_PER_S_MAX`] messages pass per second, and [`MESSAGES_BURST_MAX`] at once.
#[derive(Debug)]
pub struct MessageAllowance {
    left: u32,
    /// Up to when the allowance was filled.
    filled: Instant,
}

impl MessageAllowance {
    /// The whole burst, from now on.
    pub fn new(now: Instant) -> Self {
        Self {
            left: MESSAGES_BURST_MAX,
            filled: now,
        }
    }

    /// Takes one message.
    ///
    /// # Errors
    /// It is one too many: a flood.
    pub fn take(&mut self, now: Instant, fault: Fault) -> Result<(), Violation> {
        if self.left == 0 {
            self.fill(now);
        }
        let Some(left) = self.left.checked_sub(1) else {
            let reason = format!("more than {MESSAGES_PER_S_MAX} messages per second");
            return Err(Violation::new(ViolationKind::Flood, fault, reason));
        };
        self.left = left;
        Ok(())
    }

    fn fill(&mut self, now: Instant) {
        let passed_ms = now.saturating_duration_since(self.filled).as_millis();
        let earned = passed_ms * u128::from(MESSAGES_PER_S_MAX) / 1000;
        self.left = u32::try_from(earned).map_or(MESSAGES_BURST_MAX, |n| n.min(MESSAGES_BURST_MAX));
        self.filled = now;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_a_close_frame() {
        let long = Violation::new(ViolationKind::Malformed, Fault::Vendor, "ä".repeat(100));
        assert_eq!(long.reason.len(), 122);
        assert_eq!((long.close_code, long.cause().0), (4400, 111));
    }

    #[test]
    fn nothing_follows_the_end() {
        let mut asks = Asks::default();
        for _ in 0..2 * ASKS_MAX {
            asks.push(Ask::Clear);
        }
        asks.push(SocketEnd::Closed(Some(1000)).hang_up(Fault::Vendor));
        asks.push(Ask::Clear);
        assert!(asks.is_over());
        let all: Vec<Ask> = std::iter::from_fn(|| asks.pop()).collect();
        assert_eq!(all.len(), ASKS_MAX + 1);
        assert!(
            matches!(all.last(), Some(Ask::HangUp { cause, fault: None, .. }) if cause.0 == 16)
        );
    }

    #[test]
    fn a_lost_socket_is_somebodys_fault() {
        for end in [SocketEnd::Lost, SocketEnd::Closed(Some(1011))] {
            let Ask::HangUp { cause, fault, .. } = end.hang_up(Fault::Agent) else {
                panic!("no hang-up");
            };
            assert_eq!((cause.0, fault), (27, Some(Fault::Agent)));
        }
    }

    #[test]
    fn floods_are_stopped_and_speech_is_not() {
        let mut now = Instant::now();
        let mut allowance = MessageAllowance::new(now);
        for _ in 0..MESSAGES_BURST_MAX {
            allowance.take(now, Fault::Agent).unwrap();
        }
        let flood = allowance.take(now, Fault::Agent).unwrap_err();
        assert_eq!(flood.kind, ViolationKind::Flood);
        for _ in 0..60_000 {
            now += Duration::from_millis(1);
            allowance.take(now, Fault::Agent).unwrap();
        }
        assert!(allowance.take(now, Fault::Agent).is_err());
    }
}
