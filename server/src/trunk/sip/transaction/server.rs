//! A server transaction (RFC 3261 section 17.2, RFC 6026 section 7.1).
//!
//! The 2xx of an INVITE is repeated here, on every transport, until the user says that its ACK came (RFC 3261 section
//! 13.3.1.4 gives this to the user; a timer is a timer).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::super::flow::{Flow, Transmit};
use super::super::message::value::Via;
use super::super::message::{HeaderName, Response};
use super::{ServerKey, T1, T1_64, T2, T4};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No final response yet.
    Proceeding,
    /// A final response, other than the 2xx of an INVITE.
    Completed,
    /// That response was acknowledged.
    Confirmed,
    /// A 2xx of an INVITE that waits for its ACK.
    Accepted,
    /// That 2xx was acknowledged.
    Acknowledged,
    /// That 2xx was never acknowledged; said once.
    Unacknowledged,
    /// Over.
    Terminated,
}

/// One request of the far end.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) key: ServerKey,
    pub(super) armed: Option<Instant>,
    is_invite: bool,
    state: State,
    flow: Flow,
    answer: Option<Transmit>,
    to_tag: Option<String>,
    retransmit_at: Option<Instant>,
    retransmit_after: Duration,
    ends_at: Option<Instant>,
}

impl Server {
    pub(super) fn new(now: Instant, key: ServerKey, is_invite: bool, flow: Flow) -> Self {
        Self {
            key,
            armed: None,
            is_invite,
            state: State::Proceeding,
            flow,
            answer: None,
            to_tag: None,
            retransmit_at: None,
            retransmit_after: T1,
            // Against leaks only: a user that forgets to answer.
            ends_at: Some(now + UNANSWERED_MAX),
        }
    }

    /// No final response yet.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Proceeding
    }

    /// The tag of our answers.
    pub(super) fn to_tag(&self) -> Option<&str> {
        self.to_tag.as_deref()
    }

    pub(super) fn respond(&mut self, now: Instant, response: &Response) -> Option<Transmit> {
        if self.state != State::Proceeding {
            return None;
        }
        let transmit = Transmit {
            flow: answer_flow(response, &self.flow),
            payload: response.to_bytes().into(),
        };
        self.to_tag = response.headers.to_tag().map(str::to_owned);
        self.answer = Some(transmit.clone());
        if response.status.is_provisional() {
            return Some(transmit);
        }
        let reliable = self.flow.is_reliable();
        let (state, retransmits, linger) = match (self.is_invite, response.status.is_success()) {
            (true, true) => (State::Accepted, true, T1_64),
            (true, false) => (State::Completed, !reliable, T1_64),
            (false, _) if reliable => (State::Terminated, false, Duration::ZERO),
            (false, _) => (State::Completed, false, T1_64),
        };
        self.state = state;
        self.retransmit_at = retransmits.then_some(now + T1);
        self.retransmit_after = T1;
        self.ends_at = Some(now + linger);
        Some(transmit)
    }

    /// The request came again.
    pub(super) fn repeated(&mut self) -> Option<Transmit> {
        match self.state {
            State::Proceeding | State::Completed => self.answer.clone(),
            _ => None,
        }
    }

    /// An ACK with this transaction's branch came. True: it is for a 2xx, so the user must hear of it.
    pub(super) fn handle_ack(&mut self, now: Instant) -> bool {
        match self.state {
            State::Completed if self.is_invite => {
                self.state = State::Confirmed;
                self.retransmit_at = None;
                let linger = if self.flow.is_reliable() {
                    Duration::ZERO
                } else {
                    T4
                };
                self.ends_at = Some(now + linger);
                false
            }
            State::Accepted | State::Acknowledged => true,
            _ => false,
        }
    }

    /// The user saw the ACK of the 2xx.
    pub(super) fn acknowledged(&mut self) {
        if self.state == State::Accepted {
            self.state = State::Acknowledged;
            self.retransmit_at = None;
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Transmit> {
        if self.ends_at.is_some_and(|at| at <= now) {
            self.retransmit_at = None;
            self.state = match self.state {
                State::Accepted => State::Unacknowledged,
                _ => State::Terminated,
            };
            return None;
        }
        if self.retransmit_at.is_none_or(|at| at > now) {
            return None;
        }
        self.retransmit_after = (self.retransmit_after * 2).min(T2);
        self.retransmit_at = Some(now + self.retransmit_after);
        self.answer.clone()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.retransmit_at, self.ends_at]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn lacks_ack(&self) -> bool {
        self.state == State::Unacknowledged
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated | State::Unacknowledged)
    }
}

/// Where a response goes (RFC 3261 section 18.2.2, RFC 3581): over the request's own connection; over UDP to where the
/// request came from, at the port of its Via unless it asked for `rport`. A Via's host is never followed: it is text
/// of the far end, and would make us send to strangers.
pub(super) fn answer_flow(response: &Response, flow: &Flow) -> Flow {
    let via = response.headers.values(&HeaderName::Via).next();
    let Some(via) = via.and_then(Via::parse) else {
        return flow.clone();
    };
    if flow.is_reliable() || via.rport.is_some() {
        return flow.clone();
    }
    let port = via.port.unwrap_or(5060);
    let ip: IpAddr = flow.remote.ip();
    Flow {
        remote: SocketAddr::new(ip, port),
        ..flow.clone()
    }
}

/// No request waits so long for its answer.
const UNANSWERED_MAX: Duration = Duration::from_secs(3600);
