//! Requests that come: new calls, what happens within them, registrations and keepalives.

use std::time::{Duration, Instant};

use super::actions::{Action, Request, SdpChange};
use super::call::{Call, TheirInvite, Waits};
use super::digest::Checked;
use super::driver::{ALLOW, Driver, random_tag};
use super::message::{SipMessage, uri_of};
use super::net::Remote;
use super::sdp::RemoteSdp;
use super::seen::Registration;

/// Of a NOTIFY to the next.
const TRANSFER_STEP: Duration = Duration::from_millis(100);

impl Driver {
    pub(super) fn handle_request(&mut self, remote: Remote, request: SipMessage) {
        let known = self.by_call_id.get(request.call_id()).copied();
        let method = request.method().unwrap_or_default().to_owned();
        match known {
            Some(call) if self.calls[call].vanished => {}
            Some(call) => self.handle_in_call(call, &method, remote, request),
            None => match method.as_str() {
                "INVITE" => self.handle_call(remote, request),
                "OPTIONS" => {
                    if let Some(status) = self.config.options_status {
                        self.reply(remote, &request, status, &[("Allow", ALLOW)]);
                    }
                }
                "REGISTER" => self.handle_register(remote, &request),
                "ACK" => {}
                _ => self.reply(remote, &request, 481, &[]),
            },
        }
    }

    fn reply(
        &mut self,
        remote: Remote,
        request: &SipMessage,
        status: u16,
        headers: &[(&str, &str)],
    ) {
        let mut response = SipMessage::response(request, status, reason_of(status), &random_tag());
        for (name, value) in headers {
            response = response.with(name, value);
        }
        self.transmit(remote, response);
    }

    /// A new call.
    fn handle_call(&mut self, remote: Remote, invite: SipMessage) {
        if self.is_full() {
            return;
        }
        if let Some(challenge) = self.config.challenge.clone() {
            let checked = self
                .nonces
                .check(&challenge, &invite, "Proxy-Authorization");
            if let Checked::Ask(asked) = checked {
                return self.reply(remote, &invite, 407, &[("Proxy-Authenticate", &asked)]);
            }
        }
        if let Some(timer) = self.config.session_timer {
            let asked = invite.header("Session-Expires");
            let asked_s =
                asked.and_then(|value| value.split(';').next()?.trim().parse::<u32>().ok());
            if asked_s.is_some_and(|asked_s| asked_s < timer.min_s) {
                let min = timer.min_s.to_string();
                return self.reply(remote, &invite, 422, &[("Min-SE", &min)]);
            }
        }
        let mut call = Call::incoming(invite.clone(), remote, random_tag());
        call.actions = self.config.script.clone().into();
        let call = self.add(call, invite.uri().unwrap_or_default().to_owned());
        let trying = SipMessage::response(&invite, 100, "Trying", "");
        self.send_invite_response(call, trying, remote);
        match RemoteSdp::parse(&invite.body) {
            Some(theirs) if !self.speaks_our_codec(call, &theirs) => {
                let tag = self.calls[call].local_tag.clone();
                let refusal = SipMessage::response(&invite, 488, reason_of(488), &tag);
                self.send_invite_response(call, refusal, remote);
            }
            _ => self.act(call),
        }
    }

    fn handle_in_call(&mut self, call: usize, method: &str, remote: Remote, request: SipMessage) {
        match method {
            "INVITE" => return self.handle_invite_again(call, remote, request),
            "ACK" => return self.handle_ack(call, &request),
            // A branch that answered too is let go; the call goes on.
            "BYE" if self.is_of_other_branch(call, &request) => {
                return self.reply(remote, &request, 200, &[]);
            }
            _ => {}
        }
        if let Some(answer) = self.calls[call].answer_of(&request).cloned() {
            return self.transmit(remote, answer);
        }
        let mut status = 200;
        let mut body = None;
        match method {
            "CANCEL" => self.see(call, |view| {
                view.reason = request.header("Reason").map(str::to_owned);
            }),
            "BYE" if self.calls[call].ended => status = 481,
            "BYE" => self.see(call, |view| {
                view.reason = request.header("Reason").map(str::to_owned);
            }),
            "PRACK" => self.calls[call].unpracked = None,
            "REFER" => status = self.config.refer_status,
            "UPDATE" => {
                status = self.config.reinvite_status;
                if status == 200 {
                    body = self.answer_offer(call, &request);
                    self.count_refresh(call, &request);
                }
            }
            _ => {}
        }
        let tag = self.calls[call].local_tag.clone();
        let mut answer = SipMessage::response(&request, status, reason_of(status), &tag);
        if method == "UPDATE" && status == 200 {
            answer = self.with_session_timer(call, &request, answer);
            answer = answer.with("Contact", format!("<{}>", self.own_uri()));
        }
        if let Some(sdp) = body {
            answer = answer.with_body("application/sdp", sdp);
        }
        self.calls[call].keep_answer(&request, answer.clone());
        self.transmit(remote, answer);
        match method {
            "CANCEL" => self.handle_cancel(call),
            "BYE" if status == 200 => self.end(call, true),
            "REFER" if (200..300).contains(&status) => self.tell_of_transfer(call),
            _ => {}
        }
    }

    /// The INVITE comes again, or another one in the dialog.
    fn handle_invite_again(&mut self, call: usize, remote: Remote, request: SipMessage) {
        let known = &self.calls[call];
        if let Some(invite) = &known.their_invite
            && invite.request.branch() == request.branch()
        {
            if let Some(response) = invite.last_response.clone() {
                self.transmit(remote, response);
            }
            return;
        }
        if request.to_tag() != Some(known.local_tag.as_str()) {
            // Another branch of a fork before us, or a dialog that is not ours.
            let status = if request.to_tag().is_none() { 482 } else { 481 };
            return self.reply(remote, &request, status, &[]);
        }
        if known.ended {
            return self.reply(remote, &request, 481, &[]);
        }
        if known.our_invite.is_some() {
            let tag = known.local_tag.clone();
            let glare = SipMessage::response(&request, 491, reason_of(491), &tag);
            return self.transmit(remote, glare);
        }
        if let Some(contact) = request.contact() {
            self.calls[call].target = contact;
        }
        self.calls[call].their_invite = Some(TheirInvite::new(request.clone(), remote));
        let tag = self.calls[call].local_tag.clone();
        let status = self.config.reinvite_status;
        let contact = format!("<{}>", self.own_uri());
        let mut response = SipMessage::response(&request, status, reason_of(status), &tag)
            .with("Contact", contact)
            .with("Allow", ALLOW)
            .with("Supported", self.supported());
        if status == 200 {
            let sdp = self.answer_offer(call, &request).unwrap_or_else(|| {
                let change = SdpChange {
                    media: None,
                    ..SdpChange::default()
                };
                if let Some(invite) = &mut self.calls[call].their_invite {
                    invite.answer_in_ack = true;
                }
                self.local_sdp(call, change, None)
            });
            response = self
                .with_session_timer(call, &request, response)
                .with_body("application/sdp", sdp);
            self.count_refresh(call, &request);
        }
        self.send_invite_response(call, response, remote);
    }

    fn is_of_other_branch(&self, call: usize, request: &SipMessage) -> bool {
        request.to_tag() != Some(self.calls[call].local_tag.as_str())
    }

    fn own_uri(&self) -> String {
        format!("sip:{}@{}", self.config.user, self.local)
    }

    fn count_refresh(&mut self, call: usize, request: &SipMessage) {
        if request.header("Session-Expires").is_some() {
            self.see(call, |view| view.refreshes_received += 1);
        }
    }

    /// The answer to the offer in a request, if it has one.
    fn answer_offer(&mut self, call: usize, request: &SipMessage) -> Option<String> {
        let theirs = RemoteSdp::parse(&request.body)?;
        let change = self.calls[call].change;
        let sdp = self.local_sdp(call, change, Some(&theirs));
        self.hear(call, theirs);
        Some(sdp)
    }

    fn handle_ack(&mut self, call: usize, ack: &SipMessage) {
        if self.is_of_other_branch(call, ack) {
            return;
        }
        let Some(unacked) = self.calls[call].unacked.take() else {
            return;
        };
        let status = unacked.message.status().unwrap_or(0);
        if !(200..300).contains(&status) {
            return;
        }
        let answer_in_ack = self.calls[call]
            .their_invite
            .as_ref()
            .is_some_and(|invite| invite.answer_in_ack);
        if answer_in_ack && let Some(theirs) = RemoteSdp::parse(&ack.body) {
            self.hear(call, theirs);
        }
        self.answered(call);
        if self.calls[call].waits == Waits::Ack {
            self.calls[call].waits = Waits::No;
        }
        self.act(call);
    }

    fn handle_cancel(&mut self, call: usize) {
        let open = self.calls[call]
            .their_invite
            .as_ref()
            .filter(|invite| invite.open);
        let Some(invite) = open else {
            return;
        };
        let (request, remote) = (invite.request.clone(), invite.remote);
        let tag = self.calls[call].local_tag.clone();
        let terminated = SipMessage::response(&request, 487, reason_of(487), &tag);
        self.send_invite_response(call, terminated, remote);
        self.see(call, |view| view.ended_by_other = true);
    }

    fn tell_of_transfer(&mut self, call: usize) {
        let steps = [
            Action::Send(Request::notify_refer(
                "SIP/2.0 100 Trying",
                "active;expires=60",
            )),
            Action::Wait(TRANSFER_STEP),
            Action::Send(Request::notify_refer(
                "SIP/2.0 200 OK",
                "terminated;reason=noresource",
            )),
        ];
        self.calls[call].actions.extend(steps);
        self.act(call);
    }

    fn handle_register(&mut self, remote: Remote, request: &SipMessage) {
        let Some(expires_max_s) = self.config.registrar_expires_max_s else {
            return self.reply(remote, request, 405, &[("Allow", ALLOW)]);
        };
        if let Some(challenge) = self.config.challenge.clone() {
            let checked = self.nonces.check(&challenge, request, "Authorization");
            if let Checked::Ask(asked) = checked {
                return self.reply(remote, request, 401, &[("WWW-Authenticate", &asked)]);
            }
        }
        let value = request.header("Contact").unwrap_or_default();
        let contact = uri_of(value);
        let asked = super::message::parameter(value, "expires").or(request.header("Expires"));
        let asked_s = asked.and_then(|seconds| seconds.parse::<u32>().ok());
        let expires_s = asked_s.unwrap_or(3600).min(expires_max_s);
        let address_of_record = uri_of(request.header("To").unwrap_or_default());
        let expires_at = Instant::now() + Duration::from_secs(expires_s.into());
        {
            let known = &mut self.shared.lock().registrations;
            let same = |entry: &&mut Registration| {
                entry.address_of_record == address_of_record && entry.contact == contact
            };
            if let Some(entry) = known.iter_mut().find(same) {
                entry.expires_at = expires_at;
                entry.remote = remote;
                entry.refreshes += 1;
            } else if expires_s > 0 && contact != "*" {
                known.push(Registration {
                    address_of_record,
                    contact: contact.clone(),
                    remote,
                    expires_at,
                    refreshes: 0,
                });
            }
        }
        let contact = format!("<{contact}>;expires={expires_s}");
        self.reply(remote, request, 200, &[("Contact", &contact)]);
    }
}

pub(super) fn reason_of(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        401 => "Unauthorized",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        422 => "Session Interval Too Small",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        503 => "Service Unavailable",
        _ => "Response",
    }
}
