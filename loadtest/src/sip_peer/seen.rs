//! What a test sees of a far end: its calls, every message with its time, registrations.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::SipPeerError;
use super::message::SipMessage;
use super::net::Remote;
use super::sdp::{Direction, RemoteSdp};

/// The most messages that are kept.
const MESSAGES_MAX: usize = 200_000;
/// Messages that a failure shows.
const TAIL_LEN: usize = 40;

/// A call of one far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(pub(super) usize);

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallState {
    /// The INVITE is there, nothing was said to it but perhaps `100 Trying`.
    Calling,
    /// A provisional response was sent or came.
    Ringing,
    /// It was answered: for who called with the 200, for who was called with its ACK.
    Answered,
    /// It is over.
    Ended,
}

/// One call, as it is now.
#[derive(Debug, Clone)]
pub struct CallView {
    /// Its number.
    pub id: CallId,
    /// `Call-ID`
    pub call_id: String,
    /// The other side called.
    pub incoming: bool,
    /// The URI of the INVITE.
    pub request_uri: String,
    /// How far it is.
    pub state: CallState,
    /// When the INVITE came or went.
    pub began: Instant,
    /// When it was answered.
    pub answered_at: Option<Instant>,
    /// When it was over.
    pub ended_at: Option<Instant>,
    /// The other side ended it: BYE, CANCEL, or a refusal of our INVITE.
    pub ended_by_other: bool,
    /// The statuses of responses to our INVITE, in their order, without repetitions of 200.
    pub statuses: Vec<u16>,
    /// Method and status of the final responses to our other requests, re-INVITEs too.
    pub answers: Vec<(String, u16)>,
    /// `Reason` of the BYE, CANCEL or refusal that came.
    pub reason: Option<String>,
    /// Where its media comes from, by its last description: the source at [`super::SipPeer::rtp`].
    pub remote_rtp: Option<SocketAddr>,
    /// The last description that came.
    pub remote_sdp: Option<RemoteSdp>,
    /// Our direction in the last description of ours.
    pub direction: Direction,
    /// Refreshes of the session that came (RFC 4028).
    pub refreshes_received: u32,
    /// Those that we sent.
    pub refreshes_sent: u32,
    /// Requests of ours that nobody answered, by method.
    pub timeouts: Vec<String>,
}

/// A message with its time.
#[derive(Debug, Clone)]
pub struct Logged {
    /// When it came, or went.
    pub at: Instant,
    /// It came.
    pub received: bool,
    /// Who sent it, or whom it was sent to.
    pub remote: Remote,
    /// The message.
    pub message: SipMessage,
}

/// Who is registered.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The URI in `To`.
    pub address_of_record: String,
    /// Where it is reached.
    pub contact: String,
    /// Where the REGISTER came from.
    pub remote: Remote,
    /// Until when.
    pub expires_at: Instant,
    /// How often it was renewed.
    pub refreshes: u32,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) calls: Vec<CallView>,
    pub(super) log: Vec<Logged>,
    pub(super) registrations: Vec<Registration>,
}

impl Seen {
    pub(super) fn keep(&mut self, logged: Logged) {
        if self.log.len() < MESSAGES_MAX {
            self.log.push(logged);
        }
    }

    /// The last messages, each with its first line, for a failure.
    pub(super) fn tail(&self) -> String {
        let mut text = String::new();
        let from = self.log.len().saturating_sub(TAIL_LEN);
        let Some(first) = self.log.first() else {
            return "none".to_owned();
        };
        for logged in self.log.iter().skip(from) {
            let written = logged.message.to_string();
            let (arrow, line) = (
                if logged.received { "<-" } else { "->" },
                written.lines().next().unwrap_or_default(),
            );
            let at_ms = logged.at.duration_since(first.at).as_millis();
            let (cseq, method) = logged.message.cseq();
            let _ = writeln!(
                text,
                "{at_ms:>7} ms {arrow} {} {line} [{cseq} {method}]",
                logged.remote.address
            );
        }
        text
    }
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    pub(super) fn messages(&self, call: Option<CallId>) -> Vec<Logged> {
        let seen = self.lock();
        let call_id = call.and_then(|call| seen.calls.get(call.0));
        let call_id = call_id.map(|call| call.call_id.as_str());
        seen.log
            .iter()
            .filter(|logged| call_id.is_none_or(|call_id| logged.message.call_id() == call_id))
            .cloned()
            .collect()
    }

    pub(super) fn wait<T>(
        &self,
        deadline: Instant,
        what: &str,
        look: impl Fn(&Seen) -> Option<T>,
    ) -> Result<T, SipPeerError> {
        let mut seen = self.lock();
        loop {
            if let Some(found) = look(&seen) {
                return Ok(found);
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero());
            let Some(left) = left else {
                return Err(SipPeerError::Timeout {
                    what: what.to_owned(),
                    log: seen.tail(),
                });
            };
            (seen, _) = self
                .changed
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
