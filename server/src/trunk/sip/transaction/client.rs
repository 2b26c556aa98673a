//! A client transaction (RFC 3261 section 17.1, RFC 6026 section 7.2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::flow::{Flow, Transmit};
use super::super::message::{HeaderName, Method, Request, Response};
use super::{ClientKey, T1, T1_64, T2, T4};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Sent, nothing heard.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A final one, other than the 2xx of an INVITE; repeated ones are absorbed.
    Completed,
    /// A 2xx of an INVITE; repeated and forked ones go on to the user.
    Accepted,
    /// Over.
    Terminated,
    /// Over, without a final response.
    TimedOut,
}

/// One request of ours.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) key: ClientKey,
    pub(super) armed: Option<Instant>,
    state: State,
    request: Request,
    payload: Arc<[u8]>,
    flow: Flow,
    /// Timer A or E.
    retransmit_at: Option<Instant>,
    retransmit_after: Duration,
    /// Timers B, F, D, K, M.
    ends_at: Instant,
    /// What a final response other than 2xx was acknowledged with.
    ack: Option<Arc<[u8]>>,
}

/// What a response leads to.
#[derive(Debug)]
pub(super) struct Taken {
    /// The user must hear of it.
    pub(super) is_news: bool,
    /// The ACK to send.
    pub(super) ack: Option<Transmit>,
}

impl Client {
    pub(super) fn new(now: Instant, key: ClientKey, request: Request, flow: Flow) -> Self {
        let payload = request.to_bytes().into();
        Self {
            key,
            armed: None,
            state: State::Calling,
            payload,
            retransmit_at: (!flow.is_reliable()).then_some(now + T1),
            retransmit_after: T1,
            ends_at: now + T1_64,
            request,
            flow,
            ack: None,
        }
    }

    pub(super) fn request(&self) -> (&Request, &Flow) {
        (&self.request, &self.flow)
    }

    pub(super) fn transmit(&self) -> Transmit {
        Transmit {
            flow: self.flow.clone(),
            payload: Arc::clone(&self.payload),
        }
    }

    pub(super) fn handle_response(&mut self, now: Instant, response: &Response) -> Taken {
        let is_invite = self.key.method == Method::Invite;
        let silent = Taken {
            is_news: false,
            ack: None,
        };
        let news = Taken {
            is_news: true,
            ack: None,
        };
        match self.state {
            State::Calling | State::Proceeding if response.status.is_provisional() => {
                self.state = State::Proceeding;
                if is_invite {
                    // The far end is at work: it may ring as long as its user likes, so timer B ends here.
                    self.retransmit_at = None;
                    let in_dialog = self.request.headers.to_tag().is_some();
                    self.ends_at = now
                        + if in_dialog {
                            REINVITE_PROCEEDING_MAX
                        } else {
                            INVITE_PROCEEDING_MAX
                        };
                } else if self.retransmit_at.is_some() {
                    self.retransmit_after = T2;
                }
                news
            }
            State::Calling | State::Proceeding if is_invite && response.status.is_success() => {
                self.state = State::Accepted;
                self.retransmit_at = None;
                self.ends_at = now + T1_64;
                news
            }
            State::Calling | State::Proceeding => {
                self.state = State::Completed;
                self.retransmit_at = None;
                let linger = match (is_invite, self.flow.is_reliable()) {
                    (_, true) => Duration::ZERO,
                    (true, false) => T1_64,
                    (false, false) => T4,
                };
                self.ends_at = now + linger;
                let ack = is_invite.then(|| self.acknowledge(response));
                if linger.is_zero() {
                    self.state = State::Terminated;
                }
                Taken { is_news: true, ack }
            }
            State::Accepted if response.status.is_success() => news,
            State::Completed if is_invite && !response.status.is_provisional() => Taken {
                is_news: false,
                ack: self.ack.clone().map(|payload| Transmit {
                    flow: self.flow.clone(),
                    payload,
                }),
            },
            _ => silent,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Transmit> {
        if self.ends_at <= now {
            self.retransmit_at = None;
            self.state = match self.state {
                State::Calling | State::Proceeding => State::TimedOut,
                _ => State::Terminated,
            };
            return None;
        }
        if self.retransmit_at.is_none_or(|at| at > now) {
            return None;
        }
        let is_invite = self.key.method == Method::Invite;
        self.retransmit_after *= 2;
        if !is_invite {
            self.retransmit_after = self.retransmit_after.min(T2);
        }
        self.retransmit_at = Some(now + self.retransmit_after);
        Some(self.transmit())
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        Some(
            self.retransmit_at
                .map_or(self.ends_at, |at| at.min(self.ends_at)),
        )
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated | State::TimedOut)
    }

    pub(super) fn has_timed_out(&self) -> bool {
        self.state == State::TimedOut
    }

    /// Whether it still waits for a response from there, over a transport that has just failed.
    pub(super) fn waits_on(&self, remote: SocketAddr) -> bool {
        self.flow.remote == remote && matches!(self.state, State::Calling | State::Proceeding)
    }

    /// RFC 3261 section 9.1: the request's own branch, target and route.
    pub(super) fn cancel(&self) -> Option<(Request, Flow)> {
        if self.state != State::Proceeding || self.key.method != Method::Invite {
            return None;
        }
        let mut cancel = Request::new(Method::Cancel, self.request.uri.clone());
        for header in self.request.headers.iter() {
            match header.name {
                HeaderName::Via if cancel.headers.get(&HeaderName::Via).is_none() => {}
                HeaderName::MaxForwards
                | HeaderName::From
                | HeaderName::To
                | HeaderName::CallId
                | HeaderName::Route => {}
                _ => continue,
            }
            cancel
                .headers
                .push(header.name.clone(), header.value.clone());
        }
        let number = self.request.cseq();
        cancel
            .headers
            .push(HeaderName::CSeq, format!("{number} CANCEL"));
        Some((cancel, self.flow.clone()))
    }

    /// RFC 3261 section 17.1.1.3: the ACK belongs to this transaction, with its branch.
    fn acknowledge(&mut self, response: &Response) -> Transmit {
        let mut ack = Request::new(Method::Ack, self.request.uri.clone());
        for header in self.request.headers.iter() {
            match header.name {
                HeaderName::Via if ack.headers.get(&HeaderName::Via).is_none() => {}
                HeaderName::MaxForwards
                | HeaderName::From
                | HeaderName::CallId
                | HeaderName::Route => {}
                _ => continue,
            }
            ack.headers.push(header.name.clone(), header.value.clone());
        }
        let to = response.headers.get(&HeaderName::To).unwrap_or_default();
        ack.headers.push(HeaderName::To, to);
        ack.headers
            .push(HeaderName::CSeq, format!("{} ACK", self.request.cseq()));
        let payload: Arc<[u8]> = ack.to_bytes().into();
        self.ack = Some(Arc::clone(&payload));
        Transmit {
            flow: self.flow.clone(),
            payload,
        }
    }
}

/// An INVITE that got a provisional response is the user's to end; this is only against leaks (timer C is 3 minutes).
const INVITE_PROCEEDING_MAX: Duration = Duration::from_secs(3600);
/// Nobody is alerted by an INVITE in a session: timer C holds for it.
const REINVITE_PROCEEDING_MAX: Duration = Duration::from_secs(180);
