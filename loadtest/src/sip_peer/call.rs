//! One call inside of the far end: its dialog (RFC 3261 section 12), what waits to be sent again, and what is to be done.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::actions::{Action, SdpChange};
use super::message::{SipMessage, host_and_port, parameter, uri_of};
use super::net::{Remote, Transport};

/// RFC 3261 section 17.1.1.1.
pub(super) const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// Timers B, F and H.
pub(super) const TIMEOUT: Duration = Duration::from_secs(32);
/// Answers to requests that may come again.
const ANSWERS_KEPT_MAX: usize = 16;

/// A message that is sent until it was heard.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) message: SipMessage,
    pub(super) remote: Remote,
    next: Instant,
    interval: Duration,
    pub(super) until: Instant,
    /// INVITEs double without end (Timer A), others stop at T2.
    interval_max: Duration,
}

impl Repeated {
    pub(super) fn new(message: SipMessage, remote: Remote, now: Instant) -> Self {
        let interval_max = if message.is("INVITE") { TIMEOUT } else { T2 };
        Self {
            message,
            remote,
            next: now + T1,
            interval: T1,
            until: now + TIMEOUT,
            interval_max,
        }
    }

    /// Is it to be sent again?
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.interval = (self.interval * 2).min(self.interval_max);
        self.next = now + self.interval;
        self.remote.transport == Transport::Udp
    }

    pub(super) fn next_at(&self) -> Instant {
        self.next.min(self.until)
    }
}

/// Why the next action is not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    No,
    Until(Instant),
    Ack,
}

/// An INVITE of the other side.
#[derive(Debug)]
pub(super) struct TheirInvite {
    pub(super) request: SipMessage,
    pub(super) remote: Remote,
    /// It has no final response yet.
    pub(super) open: bool,
    /// The last response, for when it comes again.
    pub(super) last_response: Option<SipMessage>,
    /// Our response had the offer; its answer comes in the ACK.
    pub(super) answer_in_ack: bool,
}

/// An ACK that is sent again when the response comes again.
#[derive(Debug)]
pub(super) struct SentAck {
    pub(super) seq: u32,
    pub(super) to_tag: String,
    pub(super) message: SipMessage,
    pub(super) remote: Remote,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) call_id: String,
    pub(super) incoming: bool,
    pub(super) local_tag: String,
    pub(super) remote_tag: Option<String>,
    /// Our side and the other as From and To write them, without tags.
    pub(super) local: String,
    pub(super) other: String,
    /// The other side's Contact.
    pub(super) target: String,
    /// Of the dialog, nearest first.
    pub(super) routes: Vec<String>,
    /// Where the other side was last heard, or is called.
    pub(super) remote: Remote,
    pub(super) seq: u32,
    pub(super) their_invite: Option<TheirInvite>,
    /// A final response until its ACK.
    pub(super) unacked: Option<Repeated>,
    /// A reliable provisional response until its PRACK.
    pub(super) unpracked: Option<Repeated>,
    pub(super) rseq: u32,
    pub(super) our_invite: Option<SipMessage>,
    pub(super) acks: Vec<SentAck>,
    pub(super) actions: VecDeque<Action>,
    pub(super) waits: Waits,
    pub(super) media: usize,
    pub(super) change: SdpChange,
    pub(super) sdp_version: u32,
    pub(super) confirmed: bool,
    pub(super) ended: bool,
    pub(super) vanished: bool,
    answers: VecDeque<(String, SipMessage)>,
    pub(super) refresh_at: Option<Instant>,
}

impl Call {
    fn new(call_id: String, incoming: bool, local_tag: String, remote: Remote) -> Self {
        Self {
            call_id,
            incoming,
            local_tag,
            remote_tag: None,
            local: String::new(),
            other: String::new(),
            target: String::new(),
            routes: Vec::new(),
            remote,
            seq: 1,
            their_invite: None,
            unacked: None,
            unpracked: None,
            rseq: 0,
            our_invite: None,
            acks: Vec::new(),
            actions: VecDeque::new(),
            waits: Waits::No,
            media: 0,
            change: SdpChange::default(),
            sdp_version: 0,
            confirmed: false,
            ended: false,
            vanished: false,
            answers: VecDeque::new(),
            refresh_at: None,
        }
    }

    /// A call that we place.
    pub(super) fn outgoing(
        call_id: String,
        local_tag: String,
        (local, uri): (String, &str),
        remote: Remote,
    ) -> Self {
        Self {
            local,
            other: format!("<{uri}>"),
            target: uri.to_owned(),
            ..Self::new(call_id, false, local_tag, remote)
        }
    }

    /// A call that came.
    pub(super) fn incoming(invite: SipMessage, remote: Remote, local_tag: String) -> Self {
        let without_tag = |name: &str| {
            let value = invite.header(name).unwrap_or_default();
            format!("<{}>", uri_of(value))
        };
        Self {
            remote_tag: invite.from_tag().map(str::to_owned),
            local: without_tag("To"),
            other: without_tag("From"),
            target: invite.contact().unwrap_or_default(),
            routes: invite.all("Record-Route").map(str::to_owned).collect(),
            their_invite: Some(TheirInvite::new(invite.clone(), remote)),
            ..Self::new(invite.call_id().to_owned(), true, local_tag, remote)
        }
    }

    /// Where a request within the dialog goes: the first route, else the other side's Contact.
    pub(super) fn next_hop(&self) -> Remote {
        let uri = self.routes.first().map(|route| uri_of(route));
        let uri = uri.as_deref().unwrap_or(&self.target);
        let (host, port) = host_and_port(uri);
        let transport = match parameter(&uri.replace('>', ""), "transport") {
            Some(name) if name.eq_ignore_ascii_case("tcp") => Transport::Tcp,
            Some(_) => Transport::Udp,
            None => self.remote.transport,
        };
        let address = host
            .parse::<IpAddr>()
            .map(|ip| SocketAddr::new(ip, port.unwrap_or(5060)));
        match address {
            // A connection is used again, where it is that of the other side.
            Ok(address)
                if transport == Transport::Udp || self.remote.address.ip() != address.ip() =>
            {
                Remote { transport, address }
            }
            _ => self.remote,
        }
    }

    /// Keeps the answer to a request that may come again.
    pub(super) fn keep_answer(&mut self, request: &SipMessage, answer: SipMessage) {
        if self.answers.len() >= ANSWERS_KEPT_MAX {
            self.answers.pop_front();
        }
        self.answers.push_back((key(request), answer));
    }

    /// The answer that a request already had.
    pub(super) fn answer_of(&self, request: &SipMessage) -> Option<&SipMessage> {
        let key = key(request);
        let mut answers = self.answers.iter();
        answers
            .find(|(known, _)| *known == key)
            .map(|(_, answer)| answer)
    }

    /// When something is to be done.
    pub(super) fn next_at(&self) -> Option<Instant> {
        if self.vanished {
            return None;
        }
        let waiting = match self.waits {
            Waits::Until(at) if !self.actions.is_empty() => Some(at),
            _ => None,
        };
        let repeated = [&self.unacked, &self.unpracked];
        let repeated = repeated.into_iter().flatten().map(Repeated::next_at);
        repeated.chain(waiting).chain(self.refresh_at).min()
    }
}

impl TheirInvite {
    pub(super) fn new(request: SipMessage, remote: Remote) -> Self {
        Self {
            request,
            remote,
            open: true,
            last_response: None,
            answer_in_ack: false,
        }
    }
}

fn key(request: &SipMessage) -> String {
    let (seq, method) = request.cseq();
    format!("{} {seq} {method}", request.branch())
}
