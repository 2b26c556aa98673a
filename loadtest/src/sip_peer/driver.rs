//! The thread of a far end: what comes in, what is due, and what goes out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::actions::Action;
use super::call::{Call, Repeated, SentAck, Waits};
use super::digest::Nonces;
use super::message::SipMessage;
use super::net::{Net, Remote};
use super::sdp::Direction;
use super::seen::{CallId, CallState, CallView, Logged, Shared};
use super::{OutgoingCall, SipPeerConfig};
use crate::rtp_peer::RtpPeer;

/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(200);
/// The most calls of one far end; further ones are not answered.
const CALLS_MAX: usize = 20_000;

pub(super) enum Wake {
    Message {
        at: Instant,
        remote: Remote,
        text: String,
    },
    Call(Box<OutgoingCall>, Sender<CallId>),
    Order(CallId, Action),
    Script(Vec<Action>),
    OptionsStatus(Option<u16>),
    Silent(bool),
    Stop,
}

/// A request of ours until its final response.
pub(super) struct Transaction {
    pub(super) call: usize,
    pub(super) repeated: Repeated,
    pub(super) provisional: bool,
    pub(super) credentials_given: bool,
}

pub(super) struct Driver {
    pub(super) config: SipPeerConfig,
    pub(super) local: SocketAddr,
    pub(super) net: Net,
    pub(super) media: Arc<Vec<RtpPeer>>,
    pub(super) shared: Arc<Shared>,
    pub(super) calls: Vec<Call>,
    pub(super) by_call_id: HashMap<String, usize>,
    pub(super) transactions: Vec<Transaction>,
    pub(super) nonces: Nonces,
    pub(super) silent: bool,
}

impl Driver {
    pub(super) fn new(
        config: SipPeerConfig,
        local: SocketAddr,
        net: Net,
        media: Arc<Vec<RtpPeer>>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            config,
            local,
            net,
            media,
            shared,
            calls: Vec::new(),
            by_call_id: HashMap::new(),
            transactions: Vec::new(),
            nonces: Nonces::default(),
            silent: false,
        }
    }

    pub(super) fn run(&mut self, wakes: &Receiver<Wake>) {
        loop {
            let now = Instant::now();
            self.handle_due(now);
            let next = self.next_at();
            let sleep = next.map_or(SLEEP_MAX, |next| {
                next.saturating_duration_since(Instant::now())
                    .min(SLEEP_MAX)
            });
            match wakes.recv_timeout(sleep) {
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(wake) => self.handle(wake),
                Err(RecvTimeoutError::Timeout) => continue,
            }
            self.shared.notify();
        }
    }

    fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Message { at, remote, text } => self.handle_message(at, remote, &text),
            Wake::Call(call, reply) => {
                let id = self.place(*call);
                // Who asked may have given up.
                let _ = reply.send(id);
            }
            Wake::Order(CallId(call), Action::Send(cancel)) if cancel.method == "CANCEL" => {
                // Its script waits for an answer, which is what it is not to wait for.
                if call < self.calls.len() {
                    self.cancel(call, cancel.headers);
                }
            }
            Wake::Order(CallId(call), action) => {
                if let Some(known) = self.calls.get_mut(call) {
                    known.actions.push_back(action);
                    self.act(call);
                }
            }
            Wake::Script(script) => self.config.script = script,
            Wake::OptionsStatus(status) => self.config.options_status = status,
            Wake::Silent(silent) => self.silent = silent,
            Wake::Stop => {}
        }
    }

    fn handle_message(&mut self, at: Instant, remote: Remote, text: &str) {
        let Some(mut message) = SipMessage::parse(text) else {
            return;
        };
        self.shared.lock().keep(Logged {
            at,
            received: true,
            remote,
            message: message.clone(),
        });
        if self.silent {
            return;
        }
        if message.method().is_some() {
            message.fill_via(remote.address);
            self.handle_request(remote, message);
        } else {
            self.handle_response(&message);
        }
    }

    fn next_at(&self) -> Option<Instant> {
        let calls = self.calls.iter().filter_map(Call::next_at);
        let requests = self
            .transactions
            .iter()
            .map(|known| known.repeated.next_at());
        calls.chain(requests).min()
    }

    /// Sends again what was not heard, and goes on with scripts and refreshes.
    fn handle_due(&mut self, now: Instant) {
        let mut again = Vec::new();
        let mut timed_out = Vec::new();
        self.transactions.retain_mut(|known| {
            let silent_request = !known.provisional || !known.repeated.message.is("INVITE");
            if silent_request && now >= known.repeated.until {
                timed_out.push((known.call, known.repeated.message.clone()));
                return false;
            }
            if known.repeated.is_due(now) && silent_request {
                again.push((known.repeated.remote, known.repeated.message.clone()));
            }
            true
        });
        for call in &mut self.calls {
            if call.vanished {
                continue;
            }
            for slot in [&mut call.unacked, &mut call.unpracked] {
                let Some(repeated) = slot else { continue };
                if now >= repeated.until {
                    *slot = None;
                } else if repeated.is_due(now) {
                    again.push((repeated.remote, repeated.message.clone()));
                }
            }
        }
        for (remote, message) in again {
            self.transmit(remote, message);
        }
        for (call, message) in timed_out {
            self.handle_timeout(call, &message);
        }
        for call in 0..self.calls.len() {
            let known = &mut self.calls[call];
            if known.refresh_at.is_some_and(|at| now >= at) && !known.ended {
                known.refresh_at = None;
                self.refresh(call);
            }
            if matches!(self.calls[call].waits, Waits::Until(at) if now >= at) {
                self.calls[call].waits = Waits::No;
                self.act(call);
            }
        }
    }

    fn handle_timeout(&mut self, call: usize, request: &SipMessage) {
        let method = request.method().unwrap_or_default().to_owned();
        let initial = method == "INVITE" && !self.calls[call].confirmed;
        self.see(call, |view| view.timeouts.push(method));
        if initial {
            self.end(call, false);
        }
        self.shared.notify();
    }

    /// Does what the script says, up to the next pause.
    pub(super) fn act(&mut self, call: usize) {
        while self.calls[call].waits == Waits::No {
            let Some(action) = self.calls[call].actions.pop_front() else {
                return;
            };
            match action {
                Action::Wait(pause) => {
                    self.calls[call].waits = Waits::Until(Instant::now() + pause)
                }
                Action::AwaitAck => {
                    if self.calls[call].unacked.is_some() {
                        self.calls[call].waits = Waits::Ack;
                    }
                }
                Action::Respond(response) => self.respond_to_invite(call, response),
                Action::Send(request) => self.send_in_dialog(call, request),
                Action::Digits(digits, duration_ms) => {
                    let remote = self.view(call, |view| view.remote_rtp);
                    let media = self.media_of(call);
                    if let Some(remote) = remote {
                        // Who is not there yet hears nothing.
                        let _ = media.send_digits(remote, &digits, duration_ms, true);
                    }
                }
                Action::Vanish => self.vanish(call),
            }
        }
    }

    fn vanish(&mut self, call: usize) {
        self.calls[call].vanished = true;
        self.calls[call].actions.clear();
        self.transactions.retain(|known| known.call != call);
        if let Some(remote) = self.view(call, |view| view.remote_rtp) {
            self.media_of(call).adopt(remote, None, false, false);
        }
    }

    /// Takes a call into the lists.
    pub(super) fn add(&mut self, call: Call, request_uri: String) -> usize {
        let index = self.calls.len();
        let view = CallView {
            id: CallId(index),
            call_id: call.call_id.clone(),
            incoming: call.incoming,
            request_uri,
            state: CallState::Calling,
            began: Instant::now(),
            answered_at: None,
            ended_at: None,
            ended_by_other: false,
            statuses: Vec::new(),
            answers: Vec::new(),
            reason: None,
            remote_rtp: None,
            remote_sdp: None,
            direction: Direction::SendRecv,
            refreshes_received: 0,
            refreshes_sent: 0,
            timeouts: Vec::new(),
        };
        self.by_call_id.insert(call.call_id.clone(), index);
        self.calls.push(call);
        self.shared.lock().calls.push(view);
        index
    }

    pub(super) fn is_full(&self) -> bool {
        self.calls.len() >= CALLS_MAX
    }

    /// The call is over.
    pub(super) fn end(&mut self, call: usize, by_other: bool) {
        let known = &mut self.calls[call];
        if known.ended {
            return;
        }
        known.ended = true;
        known.refresh_at = None;
        known.actions.clear();
        if let Some(remote) = self.view(call, |view| view.remote_rtp) {
            self.media_of(call).adopt(remote, None, false, false);
        }
        self.see(call, |view| {
            view.state = CallState::Ended;
            view.ended_at = Some(Instant::now());
            view.ended_by_other = by_other;
        });
    }

    pub(super) fn answered(&mut self, call: usize) {
        self.calls[call].confirmed = true;
        self.see(call, |view| {
            if view.state != CallState::Ended {
                view.state = CallState::Answered;
                view.answered_at.get_or_insert_with(Instant::now);
            }
        });
    }

    pub(super) fn media_of(&self, call: usize) -> &RtpPeer {
        &self.media[self.calls[call].media]
    }

    pub(super) fn see(&self, call: usize, change: impl FnOnce(&mut CallView)) {
        if let Some(view) = self.shared.lock().calls.get_mut(call) {
            change(view);
        }
    }

    pub(super) fn view<T>(&self, call: usize, look: impl FnOnce(&CallView) -> T) -> T {
        look(&self.shared.lock().calls[call])
    }

    pub(super) fn keep_ack(&mut self, call: usize, ack: SentAck) {
        self.calls[call].acks.push(ack);
    }
}

/// What we take.
pub(super) const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, MESSAGE";

pub(super) fn random_tag() -> String {
    format!("{:012x}", crate::random_u64() >> 16)
}
