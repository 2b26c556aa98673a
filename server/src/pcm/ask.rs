//! What a peer asks for, and what it is told.

use std::collections::VecDeque;

use super::{Encoding, Violation};
use crate::call::q850::Q850Cause;
use crate::config::Secret;
use crate::fault::Fault;
use crate::id::TrunkId;

/// The longest number, name or id that a peer may give, in bytes.
pub const PARTY_LEN_MAX: usize = 256;
/// How long a digit is played for a peer that does not say, in ms.
pub const DIGIT_MS_DEFAULT: u32 = 200;
/// The most asks that wait for their owner, who takes them after every message.
pub const ASKS_MAX: usize = 64;

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

/// The digit that a text is, if it is one: `0-9 * # A-D`.
pub fn digit_of(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let digit = chars.next()?.to_ascii_uppercase();
    let is_digit = matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D');
    (is_digit && chars.next().is_none()).then_some(digit)
}

/// The asks of a dialect, in order. Nothing follows a [`Ask::HangUp`] or [`Ask::Close`].
#[derive(Debug, Default)]
pub(super) struct Asks {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
