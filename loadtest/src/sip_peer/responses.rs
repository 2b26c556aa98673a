//! Responses to what we sent.

use std::time::{Duration, Instant};

use super::call::{SentAck, Waits};
use super::driver::{Driver, random_tag};
use super::message::{SipMessage, parameter};
use super::sdp::RemoteSdp;
use super::seen::CallState;

impl Driver {
    pub(super) fn handle_response(&mut self, response: &SipMessage) {
        let (_, method) = response.cseq();
        let index = self.transactions.iter().position(|known| {
            known.repeated.message.branch() == response.branch()
                && known.repeated.message.is(method)
        });
        let status = response.status().unwrap_or(0);
        let Some(index) = index else {
            return self.handle_late(response);
        };
        let call = self.transactions[index].call;
        if self.calls[call].vanished {
            return;
        }
        if status < 200 {
            self.transactions[index].provisional = true;
            if method == "INVITE" {
                self.handle_provisional(call, status, response);
            }
            return;
        }
        if (status == 401 || status == 407) && self.give_credentials(index, status, response) {
            return;
        }
        let request = self.transactions.swap_remove(index).repeated.message;
        if method == "INVITE" {
            self.handle_final(call, status, &request, response);
        } else {
            self.see(call, |view| view.answers.push((method.to_owned(), status)));
            if method == "UPDATE" && status == 200 {
                if let Some(theirs) = RemoteSdp::parse(&response.body) {
                    self.hear(call, theirs);
                }
                self.renew(call, response);
            }
        }
    }

    fn handle_provisional(&mut self, call: usize, status: u16, response: &SipMessage) {
        if !self.calls[call].confirmed && status > 100 {
            self.see(call, |view| {
                view.statuses.push(status);
                view.state = CallState::Ringing;
            });
            if let Some(tag) = response.to_tag() {
                self.calls[call].remote_tag = Some(tag.to_owned());
            }
            self.take_dialog(call, response);
        }
        if let Some(theirs) = RemoteSdp::parse(&response.body) {
            self.hear(call, theirs);
        }
        if let Some(rseq) = response.header("RSeq").filter(|_| status > 100) {
            let (seq, method) = response.cseq();
            let rack = format!("{rseq} {seq} {method}");
            let prack = self.new_request(call, "PRACK").with("RAck", rack);
            let remote = self.calls[call].next_hop();
            self.start(call, prack, remote);
        }
    }

    /// Contact and routes of the other side (RFC 3261 section 12.1.2).
    fn take_dialog(&mut self, call: usize, response: &SipMessage) {
        let known = &mut self.calls[call];
        if let Some(contact) = response.contact() {
            known.target = contact;
        }
        let mut routes: Vec<String> = response.all("Record-Route").map(str::to_owned).collect();
        routes.reverse();
        known.routes = routes;
    }

    fn handle_final(
        &mut self,
        call: usize,
        status: u16,
        invite: &SipMessage,
        response: &SipMessage,
    ) {
        let initial = !self.calls[call].confirmed;
        self.calls[call].our_invite = None;
        self.see(call, |view| {
            if initial {
                view.statuses.push(status);
            } else {
                view.answers.push(("INVITE".to_owned(), status));
            }
            if status >= 300 {
                view.reason = response.header("Reason").map(str::to_owned);
            }
        });
        if status >= 300 {
            self.acknowledge_refusal(call, invite, response);
            if initial {
                self.end(call, true);
            }
            return;
        }
        if initial {
            self.calls[call].remote_tag = response.to_tag().map(str::to_owned);
            self.take_dialog(call, response);
        } else if let Some(contact) = response.contact() {
            self.calls[call].target = contact;
        }
        let theirs = RemoteSdp::parse(&response.body);
        // A late offer is answered in the ACK.
        let answer = match &theirs {
            Some(theirs) if invite.body.is_empty() => {
                let change = self.calls[call].change;
                Some(self.local_sdp(call, change, Some(theirs)))
            }
            _ => None,
        };
        if let Some(theirs) = theirs {
            self.hear(call, theirs);
        }
        self.acknowledge(call, invite, response, answer);
        self.renew(call, response);
        self.answered(call);
        if self.calls[call].waits == Waits::Ack {
            self.calls[call].waits = Waits::No;
        }
        self.act(call);
    }

    /// When the session is to be renewed by us.
    fn renew(&mut self, call: usize, response: &SipMessage) {
        let Some(value) = response.header("Session-Expires") else {
            return;
        };
        let expires_s = value
            .split(';')
            .next()
            .and_then(|seconds| seconds.trim().parse().ok());
        let is_ours = parameter(value, "refresher") == Some("uac");
        if let Some(expires_s) =
            expires_s.filter(|_| is_ours && self.config.session_timer.is_some())
        {
            let at = Instant::now() + Duration::from_secs(expires_s) / 2;
            self.calls[call].refresh_at = Some(at);
        }
    }

    fn acknowledge(
        &mut self,
        call: usize,
        invite: &SipMessage,
        response: &SipMessage,
        answer: Option<String>,
    ) {
        let seq = invite.cseq().0;
        let mut ack = self.new_request(call, "ACK");
        for (name, value) in &mut ack.headers {
            if name == "CSeq" {
                *value = format!("{seq} ACK");
            }
        }
        if let Some(answer) = answer {
            ack = ack.with_body("application/sdp", answer);
        }
        let remote = self.calls[call].next_hop();
        let sent = SentAck {
            seq,
            to_tag: response.to_tag().unwrap_or_default().to_owned(),
            message: ack.clone(),
            remote,
        };
        self.keep_ack(call, sent);
        self.transmit(remote, ack);
    }

    /// The ACK of a refusal belongs to the INVITE's own transaction.
    fn acknowledge_refusal(&mut self, call: usize, invite: &SipMessage, response: &SipMessage) {
        let mut ack = SipMessage::request("ACK", invite.uri().unwrap_or_default());
        for (name, value) in &invite.headers {
            match name.as_str() {
                "Via" | "From" | "Call-ID" | "Max-Forwards" | "Route" => {
                    ack = ack.with(name, value)
                }
                "To" => ack = ack.with("To", response.header("To").unwrap_or(value)),
                "CSeq" => ack = ack.with(name, value.replace("INVITE", "ACK")),
                _ => {}
            }
        }
        let remote = if self.calls[call].confirmed {
            self.calls[call].next_hop()
        } else {
            self.calls[call].remote
        };
        let sent = SentAck {
            seq: invite.cseq().0,
            to_tag: response.to_tag().unwrap_or_default().to_owned(),
            message: ack.clone(),
            remote,
        };
        self.keep_ack(call, sent);
        self.transmit(remote, ack);
    }

    /// A response that came before, or that of another branch of a fork.
    fn handle_late(&mut self, response: &SipMessage) {
        let (seq, method) = response.cseq();
        let status = response.status().unwrap_or(0);
        let Some(call) = self.by_call_id.get(response.call_id()).copied() else {
            return;
        };
        if method != "INVITE" || status < 200 || self.calls[call].vanished {
            return;
        }
        let tag = response.to_tag().unwrap_or_default();
        let known = self.calls[call]
            .acks
            .iter()
            .find(|ack| ack.seq == seq && ack.to_tag == tag)
            .map(|ack| (ack.remote, ack.message.clone()));
        if let Some((remote, ack)) = known {
            self.transmit(remote, ack);
        } else if (200..300).contains(&status) {
            self.leave_fork(call, response);
        }
    }

    /// Another branch answered too: it is acknowledged and hung up (RFC 3261 section 13.2.2.4).
    fn leave_fork(&mut self, call: usize, response: &SipMessage) {
        let remote_tag = self.calls[call].remote_tag.clone();
        let target = self.calls[call].target.clone();
        self.calls[call].remote_tag = response.to_tag().map(str::to_owned);
        self.calls[call].target = response.contact().unwrap_or_default();
        let invite = SipMessage::request("INVITE", "")
            .with("CSeq", response.header("CSeq").unwrap_or_default());
        self.acknowledge(call, &invite, response, None);
        let bye = self.new_request(call, "BYE");
        let remote = self.calls[call].next_hop();
        self.start(call, bye, remote);
        self.calls[call].remote_tag = remote_tag;
        self.calls[call].target = target;
    }

    /// Sends the request again with the answer to the challenge, once.
    fn give_credentials(&mut self, index: usize, status: u16, response: &SipMessage) -> bool {
        let (asked, given) = match status {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let known = &self.transactions[index];
        let (Some(credentials), Some(challenge), false) = (
            self.config.credentials.clone(),
            response.header(asked),
            known.credentials_given,
        ) else {
            return false;
        };
        let (call, remote) = (known.call, known.repeated.remote);
        let before = self.transactions.swap_remove(index).repeated.message;
        let (seq, method) = before.cseq();
        let method = method.to_owned();
        if method == "INVITE" {
            self.acknowledge_refusal(call, &before, response);
        }
        let answer = credentials.answer(challenge, &method, before.uri().unwrap_or_default());
        let mut request = before.clone().with(given, answer);
        self.calls[call].seq = self.calls[call].seq.max(seq + 1);
        for (name, value) in &mut request.headers {
            match name.as_str() {
                "CSeq" => *value = format!("{} {method}", seq + 1),
                "Via" => {
                    *value = value.replace(before.branch(), &format!("z9hG4bK{}", random_tag()))
                }
                _ => {}
            }
        }
        if method == "INVITE" {
            self.calls[call].our_invite = Some(request.clone());
        }
        self.start(call, request, remote);
        if let Some(started) = self.transactions.last_mut() {
            started.credentials_given = true;
        }
        true
    }
}
