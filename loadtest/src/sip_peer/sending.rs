//! What goes out: calls, requests within them, responses to INVITEs.

use std::net::SocketAddr;
use std::time::Instant;

use super::OutgoingCall;
use super::actions::{Body, Request, Response};
use super::call::{Call, Repeated, Waits};
use super::driver::{ALLOW, Driver, Transaction, random_tag};
use super::message::{SipMessage, host_and_port};
use super::net::{Remote, Transport};
use super::sdp::RemoteSdp;
use super::seen::{CallId, CallState, Logged};

impl Driver {
    /// Places a call.
    pub(super) fn place(&mut self, outgoing: OutgoingCall) -> CallId {
        let user = outgoing.from_user.as_ref().unwrap_or(&self.config.user);
        let local = format!("<sip:{user}@{}>", self.local);
        let (host, port) = host_and_port(&outgoing.uri);
        let by_uri = host
            .parse()
            .map(|ip| SocketAddr::new(ip, port.unwrap_or(5060)));
        let remote = Remote {
            transport: outgoing.transport,
            address: outgoing.next_hop.or(by_uri.ok()).unwrap_or(self.local),
        };
        let call_id = format!("{:016x}", crate::random_u64());
        let parties = (local, outgoing.uri.as_str());
        let mut call = Call::outgoing(call_id.clone(), random_tag(), parties, remote);
        call.actions = outgoing.script.into();
        // The script begins when the call is answered.
        call.waits = Waits::Ack;
        let index = self.add(call, outgoing.uri.clone());
        let mut invite = self.new_request(index, "INVITE");
        invite.headers.extend(outgoing.headers);
        if let Some(timer) = self.config.session_timer {
            let refresher = if timer.refreshes { "uac" } else { "uas" };
            invite = invite
                .with(
                    "Session-Expires",
                    format!("{};refresher={refresher}", timer.expires_s),
                )
                .with("Min-SE", timer.min_s);
        }
        if let Some(change) = outgoing.offer {
            let sdp = self.local_sdp(index, change, None);
            invite = invite.with_body("application/sdp", sdp);
        }
        self.calls[index].our_invite = Some(invite.clone());
        self.start(index, invite, remote);
        CallId(index)
    }

    /// A request of a call, in its dialog if it has one.
    pub(super) fn new_request(&mut self, call: usize, method: &str) -> SipMessage {
        let user = self.config.user.clone();
        let known = &mut self.calls[call];
        if method != "ACK" && method != "CANCEL" {
            known.seq += 1;
        }
        let transport = known.next_hop().transport;
        let (name, parameter) = match transport {
            Transport::Udp => ("UDP", ""),
            Transport::Tcp => ("TCP", ";transport=tcp"),
        };
        let mut request = SipMessage::request(method, &known.target).with(
            "Via",
            format!(
                "SIP/2.0/{name} {};branch=z9hG4bK{};rport",
                self.local,
                random_tag()
            ),
        );
        for route in &known.routes {
            request = request.with("Route", route);
        }
        let to = match &known.remote_tag {
            Some(tag) => format!("{};tag={tag}", known.other),
            None => known.other.clone(),
        };
        request = request
            .with("Max-Forwards", 70)
            .with("From", format!("{};tag={}", known.local, known.local_tag))
            .with("To", to)
            .with("Call-ID", &known.call_id)
            .with("CSeq", format!("{} {method}", known.seq))
            .with("Contact", format!("<sip:{user}@{}{parameter}>", self.local));
        if method == "INVITE" || method == "UPDATE" {
            request = request
                .with("Allow", ALLOW)
                .with("Supported", self.supported());
        }
        request
    }

    pub(super) fn supported(&self) -> &'static str {
        if self.config.session_timer.is_some() {
            "100rel, replaces, timer"
        } else {
            "100rel, replaces"
        }
    }

    /// Sends a request, and again until there is a response.
    pub(super) fn start(&mut self, call: usize, request: SipMessage, remote: Remote) {
        self.transactions.push(Transaction {
            call,
            repeated: Repeated::new(request.clone(), remote, Instant::now()),
            provisional: false,
            credentials_given: false,
        });
        self.transmit(remote, request);
    }

    pub(super) fn transmit(&mut self, remote: Remote, message: SipMessage) {
        if self.silent {
            return;
        }
        self.net.send(remote, &message.to_string());
        self.shared.lock().keep(Logged {
            at: Instant::now(),
            received: false,
            remote,
            message,
        });
    }

    /// Sends a request within the dialog, or a CANCEL.
    pub(super) fn send_in_dialog(&mut self, call: usize, order: Request) {
        if order.method == "CANCEL" {
            self.cancel(call, order.headers);
            return;
        }
        let mut request = self.new_request(call, &order.method);
        request.headers.extend(order.headers);
        match order.body {
            Body::None => {}
            Body::Sdp(change) => {
                let sdp = self.local_sdp(call, change, None);
                request = request.with_body("application/sdp", sdp);
            }
            Body::Text(content_type, text) => request = request.with_body(&content_type, text),
        }
        if order.method == "INVITE" {
            self.calls[call].our_invite = Some(request.clone());
        }
        let remote = self.calls[call].next_hop();
        self.start(call, request, remote);
        if order.method == "BYE" {
            self.end(call, false);
        }
    }

    pub(super) fn cancel(&mut self, call: usize, headers: Vec<(String, String)>) {
        let Some(invite) = &self.calls[call].our_invite else {
            return;
        };
        let mut cancel = SipMessage::request("CANCEL", invite.uri().unwrap_or_default());
        for (name, value) in &invite.headers {
            match name.as_str() {
                "Via" | "From" | "To" | "Call-ID" | "Max-Forwards" | "Route" => {
                    cancel = cancel.with(name, value);
                }
                "CSeq" => cancel = cancel.with(name, value.replace("INVITE", "CANCEL")),
                _ => {}
            }
        }
        cancel.headers.extend(headers);
        let remote = self.calls[call].remote;
        self.start(call, cancel, remote);
    }

    /// Responds to the INVITE that waits.
    pub(super) fn respond_to_invite(&mut self, call: usize, response: Response) {
        // Another branch may answer when one has.
        let is_fork = response.fork > 0 && (200..300).contains(&response.status);
        let Some(invite) = self.calls[call]
            .their_invite
            .as_ref()
            .filter(|invite| invite.open || is_fork)
        else {
            return;
        };
        let is_late = !invite.open;
        let (request, remote) = (invite.request.clone(), invite.remote);
        let tag = match response.fork {
            0 => self.calls[call].local_tag.clone(),
            fork => format!("{}-{fork}", self.calls[call].local_tag),
        };
        let status = response.status;
        let mut message = SipMessage::response(&request, status, &response.reason, &tag)
            .with("Allow", ALLOW)
            .with("Supported", self.supported());
        // What is elsewhere is told by the script (RFC 3261 section 8.1.3.4).
        if (101..300).contains(&status) {
            let contact = format!("<sip:{}@{}>", self.config.user, self.local);
            message = message.with("Contact", contact);
        }
        if (200..300).contains(&status) && !is_late {
            // The branch that answers is the dialog.
            self.calls[call].local_tag = tag;
        }
        message.headers.extend(response.headers);
        match response.body {
            Body::None => {}
            Body::Sdp(change) => {
                let theirs = RemoteSdp::parse(&request.body);
                let sdp = self.local_sdp(call, change, theirs.as_ref());
                message = message.with_body("application/sdp", sdp);
                match theirs {
                    Some(theirs) => self.hear(call, theirs),
                    None => self.expect_answer_in_ack(call),
                }
            }
            Body::Text(content_type, text) => message = message.with_body(&content_type, text),
        }
        if response.reliable && status < 200 {
            self.calls[call].rseq += 1;
            let rseq = self.calls[call].rseq;
            message = message.with("Require", "100rel").with("RSeq", rseq);
            let repeated = Repeated::new(message.clone(), remote, Instant::now());
            self.calls[call].unpracked = Some(repeated);
        }
        if is_late {
            return self.transmit(remote, message);
        }
        if (200..300).contains(&status) {
            message = self.with_session_timer(call, &request, message);
        }
        self.send_invite_response(call, message, remote);
    }

    /// Sends a response to an INVITE; a final one until its ACK.
    pub(super) fn send_invite_response(
        &mut self,
        call: usize,
        message: SipMessage,
        remote: Remote,
    ) {
        let status = message.status().unwrap_or(0);
        let known = &mut self.calls[call];
        if let Some(invite) = &mut known.their_invite {
            invite.last_response = Some(message.clone());
            invite.open &= status < 200;
        }
        if status >= 200 {
            // Final responses to INVITE are sent again also over TCP, if they are 2xx; here all of UDP are.
            known.unacked = Some(Repeated::new(message.clone(), remote, Instant::now()));
            known.unpracked = None;
        }
        let initial = !known.confirmed;
        self.transmit(remote, message);
        if initial && (101..200).contains(&status) {
            self.see(call, |view| view.state = CallState::Ringing);
        } else if initial && status >= 300 {
            self.end(call, false);
        }
    }
}
