//! One browser session: from the upgraded socket to its close, sans-I/O.
//!
//! Frames, answers of our side and `now` come in; [`Action`]s go out, to be carried out in their order. The session
//! knows what may be said when; whether a token, an offer or a call is good is decided elsewhere.
//!
//! A session outlives a lost socket for a while ([`resume`]): what it has to say then waits for the next one.

mod resume;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::messages::{
    CallStats, ClientMessage, DIGIT_MS_DEFAULT, DIGIT_MS_MAX, DIGIT_MS_MIN, DIGITS_MAX,
    IceCandidate, IceServer, MESSAGE_LEN_MAX, ServerMessage,
};
use crate::auth::session_auth::SCOPE_DIAL;
use crate::auth::{ResumeToken, SessionGrant};
use crate::call::CallEvent;
use crate::call::q850::Q850Cause;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TrunkId};
use resume::Line;
pub use resume::{BACKLOG_MAX, says_goodbye};

/// How long a page has to send its token.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a page has to send its first offer.
pub const OFFER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most messages that wait while a token or the first offer is checked; together [`MESSAGE_LEN_MAX`] bytes.
pub const HELD_MESSAGES_MAX: usize = 16;
/// The longest close reason, in bytes (RFC 6455 section 5.5: 125 with the code).
pub const CLOSE_REASON_LEN_MAX: usize = 123;

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    missing_docs,
    reason = "the fields are those of the dialect's messages"
)]
pub enum Action {
    /// Check the token; answer by [`BrowserSession::authenticated`].
    Authenticate { token: AuthToken },
    /// Negotiate; answer by [`BrowserSession::offer_answered`].
    Offer { sdp: String },
    /// A candidate of the page; none: there are no more.
    Candidate(Option<IceCandidate>),
    /// Make a call; answer by events, or by [`BrowserSession::call_refused`].
    Dial {
        to: String,
        trunk_id: Option<TrunkId>,
        call_from: Option<String>,
        client_id: Option<String>,
    },
    /// Answer the incoming call.
    Accept { call_sid: CallSid },
    /// Refuse the incoming call.
    Reject { call_sid: CallSid, cause: Q850Cause },
    /// Put the far end on hold.
    Hold,
    /// Take the far end back.
    Unhold,
    /// Send digits to the far end, each so long.
    Dtmf { digits: String, duration_ms: u16 },
    /// End the call, whatever state it is in; answer by [`BrowserSession::ended`].
    Hangup,
    /// Send a text frame.
    Send(ServerMessage),
    /// Close the socket. The last action, unless [`BrowserSession::handle_loss`] finds that the page did not hear the end.
    Close { code: u16, reason: String },
    /// The page is gone for good: end its call, if there is one, for this reason. The last action.
    Abandon { reason: String },
}

/// A token on its way to be checked. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthToken(pub String);

impl std::fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[token]")
    }
}

/// Why a call was not handed to the page: it is busy, or not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session can't take a call now")]
pub struct NotAvailable;

/// What a session is opened with.
#[derive(Debug, Clone, Default)]
pub struct SessionSettings {
    /// Names the session in logs and to the page.
    pub session_id: String,
    /// How long the session waits for another socket after the loss of one; zero: not at all.
    pub signal_grace: Duration,
}

/// What a page is told when its session opens, and at each resume.
#[derive(Debug, Clone, Default)]
pub struct Welcome {
    /// For the next socket, if this one is lost.
    pub resume_token: Option<ResumeToken>,
    /// With credentials that were made for this moment.
    pub ice_servers: Vec<IceServer>,
}

/// The state machine of one session.
#[derive(Debug)]
pub struct BrowserSession {
    settings: SessionSettings,
    line: Line,
    state: State,
    deadline: Option<Instant>,
    grant: Option<SessionGrant>,
    call: Call,
    draining: bool,
    /// Messages, each with its length, that came while a token or the first offer was being checked.
    held: VecDeque<(ClientMessage, usize)>,
    actions: VecDeque<Action>,
    /// What the page has to hear when it comes back.
    backlog: VecDeque<ServerMessage>,
    /// The close that ends the session, once there is one.
    farewell: Option<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    WaitingForToken,
    /// The token is being checked.
    Authenticating,
    WaitingForOffer,
    /// The first offer is being answered.
    Negotiating,
    Ready,
    /// It ended while the page was away: the last words wait for it.
    Parted,
    /// Everything was said; inputs are ignored.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    None,
    /// Waits for the page's accept or reject.
    Incoming(CallSid),
    /// From `dial` or `accept` to the end.
    Live,
}

impl BrowserSession {
    /// A session on a socket that was just upgraded, with the SessionAuth token of its handshake if there was one.
    pub fn new(now: Instant, token: Option<String>, settings: SessionSettings) -> Self {
        let mut session = Self {
            settings,
            line: Line::Up,
            state: State::WaitingForToken,
            deadline: Some(now + TOKEN_TIMEOUT),
            grant: None,
            call: Call::None,
            draining: false,
            held: VecDeque::new(),
            actions: VecDeque::new(),
            backlog: VecDeque::new(),
            farewell: None,
        };
        if let Some(token) = token {
            session.authenticate(token);
        }
        session
    }

    /// What the token allows, once it was accepted.
    pub fn grant(&self) -> Option<&SessionGrant> {
        self.grant.as_ref()
    }

    /// Whether a call goes on, or rings.
    pub fn has_call(&self) -> bool {
        self.call != Call::None
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`BrowserSession::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = self.deadline.filter(|_| self.state != State::Parted);
        own.into_iter().chain(self.given_up_at()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.given_up_at().is_some_and(|at| at <= now) {
            return self.give_up();
        }
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let missing = match self.state {
            State::WaitingForToken => "token",
            _ => "offer",
        };
        self.refuse(Refusal::new(
            RefusalCode::Timeout,
            Fault::Caller,
            format!("no {missing} came in time"),
        ));
    }

    /// A text frame came.
    pub fn handle_text(&mut self, text: &str) {
        if self.state == State::Ended {
            return;
        }
        match ClientMessage::parse(text) {
            Ok(message) => self.handle_message(message, text.len()),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// A binary frame came: the dialect has none.
    pub fn handle_binary(&mut self) {
        self.refuse(malformed("the dialect has no binary frames"));
    }

    /// The answer to [`Action::Authenticate`], with what to tell an accepted page.
    pub fn authenticated(
        &mut self,
        now: Instant,
        result: Result<SessionGrant, Refusal>,
        welcome: Welcome,
    ) {
        if self.state != State::Authenticating {
            return;
        }
        match result {
            Err(refusal) => self.refuse(refusal),
            Ok(_) if self.draining => self.refuse(draining()),
            Ok(grant) => {
                self.grant = Some(grant);
                self.state = State::WaitingForOffer;
                self.deadline = Some(now + OFFER_TIMEOUT);
                let session = self.session_message(welcome);
                self.send(session);
                self.handle_held();
            }
        }
    }

    /// The answer to [`Action::Offer`]. A refused first offer ends the session; a refused renegotiation leaves the
    /// call as it was.
    pub fn offer_answered(&mut self, result: Result<String, Refusal>) {
        let first = self.state == State::Negotiating;
        if !first && self.state != State::Ready {
            return;
        }
        match result {
            Ok(sdp) => {
                self.send(ServerMessage::Answer { sdp });
                if first {
                    self.state = State::Ready;
                    self.handle_held();
                }
            }
            Err(refusal) if first => self.refuse(refusal),
            Err(refusal) => self.send_error(&refusal),
        }
    }

    /// An event of the call.
    pub fn call_event(&mut self, event: CallEvent) {
        self.send(ServerMessage::Event(event));
    }

    /// The far end is being alerted.
    pub fn ringing(&mut self, call_sid: CallSid) {
        self.send(ServerMessage::Ringing { call_sid });
    }

    /// The far end sent a digit.
    pub fn digit(&mut self, digit: char, duration_ms: u16) {
        self.send(ServerMessage::Dtmf { digit, duration_ms });
    }

    /// How the call goes; to be called every [`super::STATS_INTERVAL_MS`] while it does.
    pub fn stats(&mut self, stats: CallStats) {
        if self.call == Call::Live {
            self.send(ServerMessage::Stats(stats));
        }
    }

    /// Hold, unhold or digits could not be done: the page hears why, and the call goes on.
    pub fn request_failed(&mut self, refusal: &Refusal) {
        self.send_error(refusal);
    }

    /// Somebody calls the page.
    ///
    /// # Errors
    /// The page has a call already, has not negotiated yet, or the gateway drains.
    pub fn incoming(
        &mut self,
        call_sid: CallSid,
        from: String,
        to: String,
    ) -> Result<(), NotAvailable> {
        if self.state != State::Ready || self.call != Call::None || self.draining {
            return Err(NotAvailable);
        }
        self.call = Call::Incoming(call_sid);
        self.send(ServerMessage::Incoming { call_sid, from, to });
        Ok(())
    }

    /// The call was not made: `error` with the reason, `bye`, and a close with the refusal's code.
    pub fn call_refused(&mut self, refusal: Refusal) {
        self.call = Call::None;
        self.send_error(&refusal);
        self.send(ServerMessage::Bye {
            q850_cause: refusal.cause.0,
            reason: refusal.message.clone(),
        });
        self.close(refusal.code.close_code(), refusal.message);
    }

    /// The call is over: `bye` and a normal close.
    pub fn ended(&mut self, cause: Q850Cause, reason: &str) {
        self.call = Call::None;
        self.send(ServerMessage::Bye {
            q850_cause: cause.0,
            reason: reason.to_owned(),
        });
        self.close(CLOSE_NORMAL, reason.to_owned());
    }

    /// The gateway drains: a session without a call ends now, one with a call when the call does.
    pub fn draining(&mut self) {
        self.draining = true;
        // While a token is being checked, its answer ends the session; last words wait for the page as long as the gateway.
        let idle =
            self.call == Call::None && !matches!(self.state, State::Authenticating | State::Parted);
        match self.line {
            Line::Up if idle => self.refuse(draining()),
            Line::Lost { .. } if idle => self.abandon("the gateway drains".to_owned()),
            Line::Up | Line::Lost { .. } => {}
        }
    }

    /// The session can't go on: media failed, the page reads too slowly, a limit. A call is hung up; the page hears
    /// `error` and the close code.
    pub fn refuse(&mut self, refusal: Refusal) {
        if matches!(self.state, State::Parted | State::Ended) {
            return;
        }
        self.hang_up();
        self.send_error(&refusal);
        self.close(refusal.code.close_code(), refusal.message);
    }

    fn handle_message(&mut self, message: ClientMessage, len: usize) {
        match message {
            ClientMessage::Ping { id } => self.send(ServerMessage::Pong { id }),
            message => match self.state {
                State::WaitingForToken => match message {
                    ClientMessage::Auth { token } => self.authenticate(token),
                    other => self.refuse(Refusal::new(
                        RefusalCode::TokenInvalid,
                        Fault::Caller,
                        format!("the first message must be auth, not {}", other.type_name()),
                    )),
                },
                State::Authenticating | State::Negotiating => self.hold(message, len),
                State::WaitingForOffer => match message {
                    ClientMessage::Offer { sdp } => {
                        self.state = State::Negotiating;
                        self.deadline = None;
                        self.actions.push_back(Action::Offer { sdp });
                    }
                    ClientMessage::Auth { .. } => {
                        self.refuse(malformed("the session has its token already"))
                    }
                    other => self.send_fault(
                        "offer_required",
                        format!("an offer must come before {}", other.type_name()),
                    ),
                },
                State::Ready => self.handle_ready(message),
                State::Parted | State::Ended => {}
            },
        }
    }

    /// A message after the first offer was answered.
    fn handle_ready(&mut self, message: ClientMessage) {
        match message {
            ClientMessage::Auth { .. } => {
                self.refuse(malformed("the session has its token already"))
            }
            ClientMessage::Offer { sdp } => self.actions.push_back(Action::Offer { sdp }),
            ClientMessage::Candidate { candidate } => {
                let candidate = candidate.filter(|candidate| !candidate.candidate.is_empty());
                self.actions.push_back(Action::Candidate(candidate));
            }
            ClientMessage::Dial {
                to,
                trunk_id,
                call_from,
                client_id,
            } => {
                self.dial(Action::Dial {
                    to,
                    trunk_id,
                    call_from,
                    client_id,
                });
            }
            ClientMessage::Accept { call_sid } => {
                if self.is_incoming(call_sid) {
                    self.call = Call::Live;
                    self.actions.push_back(Action::Accept { call_sid });
                }
            }
            ClientMessage::Reject {
                call_sid,
                q850_cause,
            } => {
                if self.is_incoming(call_sid) {
                    let cause = q850_cause.map_or(Q850Cause::CALL_REJECTED, Q850Cause);
                    // The call stays until `ended`: its final event is still to come.
                    self.call = Call::Live;
                    self.actions.push_back(Action::Reject { call_sid, cause });
                }
            }
            ClientMessage::Hold {} => self.in_call("hold", Action::Hold),
            ClientMessage::Unhold {} => self.in_call("unhold", Action::Unhold),
            ClientMessage::Hangup {} => self.in_call("hangup", Action::Hangup),
            ClientMessage::Dtmf {
                digits,
                duration_ms,
            } => self.dtmf(digits, duration_ms),
            ClientMessage::Ping { id } => self.send(ServerMessage::Pong { id }),
        }
    }

    fn dial(&mut self, dial: Action) {
        if self.call != Call::None {
            return self.send_fault(
                RefusalCode::CallExists.as_str(),
                "the socket has its call already".to_owned(),
            );
        }
        if self.draining {
            return self.refuse(draining());
        }
        match self.grant.as_ref().map(|grant| grant.require(SCOPE_DIAL)) {
            Some(Ok(())) => {
                self.call = Call::Live;
                self.actions.push_back(dial);
            }
            Some(Err(refusal)) => self.refuse(refusal),
            // Unreachable by the states; refused all the same.
            None => self.refuse(Refusal::new(
                RefusalCode::TokenInvalid,
                Fault::Caller,
                "the session has no token",
            )),
        }
    }

    fn dtmf(&mut self, digits: String, duration_ms: Option<u16>) {
        let duration_ms = duration_ms.unwrap_or(DIGIT_MS_DEFAULT);
        let known = |byte: u8| matches!(byte, b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D');
        if !(1..=DIGITS_MAX).contains(&digits.len()) || !digits.bytes().all(known) {
            return self.send_fault(
                "invalid_value",
                format!("dtmf.digits is not 1 to {DIGITS_MAX} of 0-9 * # A-D"),
            );
        }
        if !(DIGIT_MS_MIN..=DIGIT_MS_MAX).contains(&duration_ms) {
            let message = format!("dtmf.duration_ms is not {DIGIT_MS_MIN} to {DIGIT_MS_MAX}");
            return self.send_fault("invalid_value", message);
        }
        self.in_call(
            "dtmf",
            Action::Dtmf {
                digits,
                duration_ms,
            },
        );
    }

    fn in_call(&mut self, type_name: &str, action: Action) {
        if self.call == Call::Live {
            self.actions.push_back(action);
        } else {
            self.send_fault("no_call", format!("there is no call to {type_name}"));
        }
    }

    fn is_incoming(&mut self, call_sid: CallSid) -> bool {
        let incoming = self.call == Call::Incoming(call_sid);
        if !incoming {
            self.send_fault("no_call", format!("no incoming call {call_sid} waits"));
        }
        incoming
    }

    fn authenticate(&mut self, token: String) {
        self.state = State::Authenticating;
        self.deadline = None;
        self.actions.push_back(Action::Authenticate {
            token: AuthToken(token),
        });
    }

    fn hold(&mut self, message: ClientMessage, len: usize) {
        let held_len: usize = self.held.iter().map(|(_, len)| len).sum();
        if self.held.len() < HELD_MESSAGES_MAX && held_len + len <= MESSAGE_LEN_MAX {
            self.held.push_back((message, len));
        } else {
            let message = "too many messages wait for an answer";
            self.refuse(Refusal::new(RefusalCode::Limit, Fault::Caller, message));
        }
    }

    fn session_message(&self, welcome: Welcome) -> ServerMessage {
        let resume_token = welcome.resume_token.as_ref();
        let grace_ms = u32::try_from(self.settings.signal_grace.as_millis()).unwrap_or(u32::MAX);
        ServerMessage::Session {
            session_id: self.settings.session_id.clone(),
            resume_token: resume_token.map(ResumeToken::to_text),
            resume_within_ms: resume_token.map(|_| grace_ms),
            ice_servers: welcome.ice_servers,
        }
    }

    /// Takes the held messages in their order; those behind one that needs an answer are held again.
    fn handle_held(&mut self) {
        for (message, len) in std::mem::take(&mut self.held) {
            self.handle_message(message, len);
        }
    }

    fn hang_up(&mut self) {
        match std::mem::replace(&mut self.call, Call::None) {
            Call::None => {}
            Call::Incoming(call_sid) => {
                self.actions.push_back(Action::Reject {
                    call_sid,
                    cause: Q850Cause::TEMPORARY_FAILURE,
                });
            }
            Call::Live => self.actions.push_back(Action::Hangup),
        }
    }

    fn send(&mut self, message: ServerMessage) {
        match self.line {
            _ if matches!(self.state, State::Parted | State::Ended) => {}
            Line::Up => self.actions.push_back(Action::Send(message)),
            Line::Lost { .. } => self.keep(message),
        }
    }

    fn send_error(&mut self, refusal: &Refusal) {
        self.send(ServerMessage::from(refusal));
    }

    /// An error of the page that ends nothing.
    fn send_fault(&mut self, code: &'static str, message: String) {
        self.send(ServerMessage::Error {
            code: Cow::Borrowed(code),
            message,
            fault: Fault::Caller,
        });
    }

    fn close(&mut self, code: u16, reason: String) {
        if matches!(self.state, State::Parted | State::Ended) {
            return;
        }
        let reason = truncated(reason, CLOSE_REASON_LEN_MAX);
        let close = Action::Close { code, reason };
        self.farewell = Some(close.clone());
        match self.line {
            Line::Up => {
                self.actions.push_back(close);
                self.end();
            }
            Line::Lost { .. } => self.state = State::Parted,
        }
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.deadline = None;
        self.held.clear();
    }
}

/// RFC 6455 section 7.4.1.
const CLOSE_NORMAL: u16 = 1000;

fn malformed(message: &str) -> Refusal {
    Refusal::new(RefusalCode::Malformed, Fault::Caller, message)
}

fn draining() -> Refusal {
    Refusal::new(
        RefusalCode::Draining,
        Fault::Us,
        "the gateway is going down: connect again",
    )
}

fn truncated(mut text: String, len_max: usize) -> String {
    text.truncate(text.floor_char_boundary(len_max));
    text
}

#[cfg(test)]
mod tests;
