//! Messages that come in: whose they are, and requests that begin something.

use super::*;

/// Names that scanners for open SIP servers give themselves; they get no answer to learn from.
const SCANNERS: [&str; 8] = [
    "friendly-scanner",
    "sipvicious",
    "sipcli",
    "sip-scan",
    "sipsak",
    "sundayddr",
    "vaxsipuseragent",
    "pplsip",
];

impl Agent {
    pub(super) fn take_message(&mut self, now: Instant, received: &Received<'_>) {
        let place = self.line_from(received.transport, received.local, received.remote);
        let flow = self.answer_flow(received, place);
        let mut message = match Message::parse(received.payload) {
            Ok(message) => message,
            Err(error) => {
                self.counters.malformed += 1;
                tracing::debug!(remote = %received.remote, reason = %error, "a malformed SIP message");
                // Strangers learn nothing; whoever we know is told what was wrong.
                if let (Some(mut request), Some(_)) = (error.answerable, place) {
                    mark_source(&mut request, received.remote);
                    let mut response = Response::to(&request, error.status, None);
                    response.headers.push(
                        HeaderName::Warning,
                        format!("399 clutchcall \"{}\"", error.reason),
                    );
                    self.transactions.respond_without_state(&response, &flow);
                }
                return;
            }
        };
        if let Message::Request(request) = &mut message {
            mark_source(request, received.remote);
            if place.is_none() {
                self.counters.strangers += 1;
                return self.answer_stranger(request, &flow);
            }
        }
        self.transactions.handle_message(now, message, flow);
    }

    /// Not a trunk's address: 403, whatever it is, and nothing is kept of it.
    fn answer_stranger(&mut self, request: &Request, flow: &Flow) {
        let agent = request
            .headers
            .get(&HeaderName::UserAgent)
            .unwrap_or_default()
            .to_ascii_lowercase();
        if request.method == Method::Ack || SCANNERS.iter().any(|scanner| agent.contains(scanner)) {
            return;
        }
        let response = Response::to(request, StatusCode(403), None);
        self.transactions.respond_without_state(&response, flow);
    }

    /// The trunk that a message is from: by its address, and the port of ours that it came to.
    fn line_from(
        &self,
        transport: SipTransport,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<u64> {
        let is_from = |line: &TrunkLine| {
            line.sip.transport == transport
                && line.listen().port() == local.port()
                && line.is_source(remote.ip())
        };
        let mut lines = self.lines.iter();
        lines.find_map(|(place, line)| is_from(line).then_some(*place))
    }

    fn answer_flow(&self, received: &Received<'_>, place: Option<u64>) -> Flow {
        let line = place.and_then(|place| self.lines.get(&place));
        let of_trunk = line.and_then(|line| line.targets().next().map(|target| line.flow(target)));
        Flow {
            transport: received.transport,
            local: received.local,
            advertised: of_trunk
                .as_ref()
                .map_or(received.local, |flow| flow.advertised),
            remote: received.remote,
            connection: received.connection,
            server_name: of_trunk.and_then(|flow| flow.server_name),
        }
    }

    pub(super) fn handle_transaction_event(&mut self, now: Instant, event: TransactionEvent) {
        match event {
            TransactionEvent::Request { id, request, flow } => {
                self.handle_request(now, id, request, flow)
            }
            TransactionEvent::Ack { request, flow: _ } => {
                let key = DialogId::of_request(&request)
                    .and_then(|dialog| self.legs_by_dialog.get(&dialog).copied());
                if let Some(key) = key {
                    self.with_leg(now, key, |leg, context| leg.handle_ack(context, &request));
                }
            }
            TransactionEvent::Cancelled { id, cancel } => {
                if let Some(&key) = self.legs_by_server.get(&id) {
                    self.with_leg(now, key, |leg, context| {
                        leg.handle_cancelled(context, id, &cancel)
                    });
                }
            }
            TransactionEvent::AckMissing { id } => {
                if let Some(&key) = self.legs_by_server.get(&id) {
                    self.with_leg(now, key, |leg, context| leg.handle_ack_missing(context, id));
                }
            }
            TransactionEvent::Response { id, response } => self.handle_response(now, id, &response),
            TransactionEvent::Failed { id, failure } => self.handle_failure(now, id, failure),
            TransactionEvent::ClientEnded { id } => {
                self.clients.remove(&id);
            }
            TransactionEvent::ServerEnded { id } => {
                if let Some(key) = self.legs_by_server.remove(&id) {
                    if let Some(names) = self.names.get_mut(&key) {
                        names.servers.remove(&id);
                    }
                    self.with_leg(now, key, |leg, context| {
                        leg.handle_server_ended(context, id)
                    });
                }
            }
        }
    }

    fn handle_response(&mut self, now: Instant, id: ClientId, response: &Response) {
        match self.clients.get(&id).copied() {
            Some(ClientPurpose::Leg(key, _)) if !self.legs.contains_key(&key) => {
                self.acknowledge_orphan(now, id, response)
            }
            Some(ClientPurpose::Leg(key, purpose)) => {
                self.with_leg(now, key, |leg, context| {
                    leg.handle_response(context, id, purpose, response)
                });
            }
            Some(ClientPurpose::Options(place)) => {
                if let Some(line) = self.lines.get_mut(&place) {
                    line.handle_options_response(now, id, response);
                }
            }
            Some(ClientPurpose::Register(place)) => {
                let cnonce = self.tokens.bytes();
                let next = self
                    .lines
                    .get_mut(&place)
                    .and_then(|line| line.handle_register_response(now, id, response, cnonce));
                if let Some(next) = next {
                    self.send_for_line(now, place, next);
                }
            }
            Some(ClientPurpose::Stray) | None => {}
        }
    }

    /// A 2xx to an INVITE whose leg is over: acknowledged, so that it is not repeated; a session that begins with it is
    /// ended, once.
    fn acknowledge_orphan(&mut self, now: Instant, id: ClientId, response: &Response) {
        let Some((request, flow)) = self.transactions.request_of(id) else {
            return;
        };
        if request.method != Method::Invite || !response.status.is_success() {
            return;
        }
        let Some(mut dialog) = Dialog::of_response(request, response, flow) else {
            return;
        };
        let (begins, cseq) = (request.headers.to_tag().is_none(), request.cseq());
        let flow = dialog.flow().clone();
        let mut ack = dialog.ack(cseq);
        crate::trunk::sip::leg::add_via(&mut ack, &flow, &self.tokens.branch());
        self.transactions.send(ack.to_bytes().into(), flow.clone());
        if begins {
            self.clients.insert(id, ClientPurpose::Stray);
            let mut bye = dialog.request(Method::Bye);
            crate::trunk::sip::leg::add_via(&mut bye, &flow, &self.tokens.branch());
            let bye = self.transactions.request(now, bye, flow);
            self.clients.insert(bye, ClientPurpose::Stray);
        }
    }

    fn handle_failure(&mut self, now: Instant, id: ClientId, failure: ClientFailure) {
        match self.clients.remove(&id) {
            Some(ClientPurpose::Leg(key, purpose)) => {
                self.with_leg(now, key, |leg, context| {
                    leg.handle_failure(context, purpose, failure)
                });
            }
            Some(ClientPurpose::Options(place)) => {
                if let Some(line) = self.lines.get_mut(&place) {
                    line.handle_options_failure(now, id);
                }
            }
            Some(ClientPurpose::Register(place)) => {
                if let Some(line) = self.lines.get_mut(&place) {
                    line.handle_register_failure(now, id);
                }
            }
            Some(ClientPurpose::Stray) | None => {}
        }
    }

    fn handle_request(&mut self, now: Instant, id: ServerId, request: Box<Request>, flow: Flow) {
        if let Some(refused) = refuse_extensions(&request) {
            return self.transactions.respond(now, id, &refused);
        }
        if request.headers.to_tag().is_some() {
            return self.handle_dialog_request(now, id, &request, &flow);
        }
        let status = match request.method {
            Method::Invite => return self.handle_invite(now, id, request, flow),
            Method::Options if self.draining => 503,
            Method::Options if SipUri::parse(&request.uri).is_none() => 416,
            Method::Options => 200,
            Method::Bye
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Refer
            | Method::Notify => 481,
            Method::Register | Method::Ack | Method::Cancel => 405,
            Method::Other(ref name) => match name.as_str() {
                "MESSAGE" | "SUBSCRIBE" | "PUBLISH" => 405,
                _ => 501,
            },
        };
        let response = self.plain_response(&request, status);
        self.transactions.respond(now, id, &response);
    }

    fn handle_dialog_request(
        &mut self,
        now: Instant,
        id: ServerId,
        request: &Request,
        flow: &Flow,
    ) {
        let key = DialogId::of_request(request)
            .and_then(|dialog| self.legs_by_dialog.get(&dialog).copied());
        let Some(key) = key else {
            let response = self.plain_response(request, 481);
            return self.transactions.respond(now, id, &response);
        };
        self.name_server(key, id);
        self.with_leg(now, key, |leg, context| {
            leg.heard_from(flow);
            leg.handle_request(context, id, request);
        });
    }

    /// A response that has nothing to do with a leg.
    fn plain_response(&mut self, request: &Request, status: u16) -> Response {
        let tag = self.tokens.tag();
        let mut response = Response::to(request, StatusCode(status), Some(&tag));
        let headers = &mut response.headers;
        match status {
            200 => {
                headers.push(HeaderName::Allow, ALLOW);
                headers.push(HeaderName::Supported, SUPPORTED);
                headers.push(HeaderName::Accept, "application/sdp");
            }
            405 | 501 => headers.push(HeaderName::Allow, ALLOW),
            503 => headers.push(HeaderName::RetryAfter, RETRY_AFTER_S),
            415 => headers.push(HeaderName::Accept, "application/sdp"),
            _ => {}
        }
        response
    }

    /// A call of the far end.
    fn handle_invite(&mut self, now: Instant, id: ServerId, request: Box<Request>, flow: Flow) {
        let invite = (
            request.headers.call_id().to_owned(),
            request.headers.from_tag().unwrap_or_default().to_owned(),
        );
        let line = self.line_from(flow.transport, flow.local, flow.remote);
        let line = line.and_then(|place| self.lines.get(&place));
        let uri = SipUri::parse(&request.uri);
        let refused = match (&line, &uri) {
            _ if self.draining || self.legs.len() >= LEGS_MAX => Some(503),
            (_, None) => Some(416),
            (None, _) => Some(403),
            // RFC 3261 section 8.2.2.2: the same INVITE by another way.
            _ if self.legs_by_invite.contains_key(&invite) => Some(482),
            _ if has_wrong_content(&request) => Some(415),
            _ if !accepts_sdp(&request) => Some(406),
            _ => None,
        };
        let (Some(line), Some(uri), None) = (line, uri, refused) else {
            let response = self.plain_response(&request, refused.unwrap_or(403));
            return self.transactions.respond(now, id, &response);
        };
        let tag = self.tokens.tag();
        let Some(dialog) = Dialog::of_request(&request, &tag, &flow) else {
            let response = self.plain_response(&request, 400);
            return self.transactions.respond(now, id, &response);
        };
        let called = uri.user.map(number::from_user).unwrap_or_default();
        let caller = caller(&request);
        let trunk_id = line.trunk.trunk_id.clone();
        let mut leg = Leg::new(LegParts {
            call_sid: None,
            trunk: Arc::clone(&line.trunk),
            sip: Arc::clone(&line.sip),
            contact: line.contact(
                &flow,
                if called.is_empty() {
                    line.user()
                } else {
                    uri.user.unwrap_or_default()
                },
            ),
            advertised: flow.advertised.ip(),
            replaces: None,
        });
        if let Some(refused) = leg.refuse_interval(&request) {
            return self.transactions.respond(now, id, &refused);
        }
        let replaces = request
            .headers
            .get(&HeaderName::Replaces)
            .map(str::to_owned);
        let key = LegKey(self.fresh_key());
        self.name_dialog(key, dialog.id().clone());
        self.name_server(key, id);
        self.names.entry(key).or_default().invite = Some(invite.clone());
        self.legs_by_invite.insert(invite, key);
        let trying = Response::to(&request, StatusCode(100), None);
        self.transactions.respond(now, id, &trying);
        let first_rseq = self.tokens.below(1 << 30) as u32;
        leg.begin_alerting(id, request, dialog, first_rseq);
        self.legs.insert(key, leg);
        match replaces {
            Some(replaces) => self.take_replacing(now, key, &replaces),
            None => self.events.push_back(AgentEvent::Incoming(IncomingInvite {
                leg: key,
                trunk_id,
                from: caller,
                to: called,
            })),
        }
    }

    /// INVITE with Replaces (RFC 3891): it takes the place of a leg of ours, with that call's own media socket.
    fn take_replacing(&mut self, now: Instant, key: LegKey, replaces: &str) {
        let old =
            replaced_dialog(replaces).and_then(|dialog| self.legs_by_dialog.get(&dialog).copied());
        let found = old.and_then(|old| {
            let leg = self.legs.get(&old)?;
            let same_trunk = self
                .legs
                .get(&key)
                .is_some_and(|new| new.trunk().trunk_id == leg.trunk().trunk_id);
            (leg.is_established() && same_trunk).then_some((old, leg.call_sid()?, leg.local_rtp()?))
        });
        let Some((old, call_sid, local_rtp)) = found else {
            return self.with_leg(now, key, |leg, context| {
                leg.refuse_incoming(context, StatusCode(481), Q850Cause::INVALID_CALL_REFERENCE)
            });
        };
        // One after the other: two that take its place would both speak for the call.
        if self
            .legs
            .get(&old)
            .is_some_and(|old| old.replacement().is_some())
        {
            return self.with_leg(now, key, |leg, context| {
                leg.refuse_incoming(context, StatusCode(491), Q850Cause::TEMPORARY_FAILURE)
            });
        }
        if let Some(old) = self.legs.get_mut(&old) {
            old.set_replacement(key);
        }
        let Some(leg) = self.legs.get_mut(&key) else {
            return;
        };
        leg.replace(old, call_sid);
        let negotiation = new_negotiation(&mut self.tokens, leg, local_rtp);
        self.with_leg(now, key, |leg, context| {
            leg.accept(context, negotiation, false)
        });
    }
}

/// RFC 3261 section 8.2.2.3.
fn refuse_extensions(request: &Request) -> Option<Response> {
    let known: Vec<&str> = SUPPORTED.split(", ").collect();
    let unknown: Vec<&str> = request
        .headers
        .values(&HeaderName::Require)
        .filter(|required| {
            !known
                .iter()
                .any(|known| known.eq_ignore_ascii_case(required))
        })
        .collect();
    if unknown.is_empty() || request.method == Method::Cancel {
        return None;
    }
    let mut response = Response::to(request, StatusCode(420), None);
    response
        .headers
        .push(HeaderName::Unsupported, unknown.join(", "));
    Some(response)
}

/// Whether the far end understands the SDP of our answer (RFC 3261 section 20.1: without Accept it does).
fn accepts_sdp(request: &Request) -> bool {
    let mut kinds = request.headers.values(&HeaderName::Accept).peekable();
    kinds.peek().is_none()
        || kinds.any(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            ["application/sdp", "application/*", "*/*"]
                .iter()
                .any(|ours| ours.eq_ignore_ascii_case(kind))
        })
}

/// Who calls: the asserted identity where the trunk gives one, else From.
fn caller(request: &Request) -> String {
    let asserted = request
        .headers
        .values(&HeaderName::PAssertedIdentity)
        .next();
    let field = asserted
        .or(request.headers.get(&HeaderName::From))
        .unwrap_or_default();
    let user = NameAddr::parse(field)
        .and_then(|address| SipUri::parse(address.uri))
        .and_then(|uri| uri.user);
    user.map(number::from_user).unwrap_or_default()
}

/// The dialog of ours that a Replaces value names: its to-tag is ours.
fn replaced_dialog(replaces: &str) -> Option<DialogId> {
    Some(DialogId {
        call_id: replaces.split(';').next()?.trim().to_owned(),
        local_tag: value::parameter(replaces, "to-tag")?.to_owned(),
        remote_tag: value::parameter(replaces, "from-tag")?.to_owned(),
    })
}

/// RFC 3261 section 18.2.1, RFC 3581: where the request really came from.
fn mark_source(request: &mut Request, remote: SocketAddr) {
    let Some(field) = request.headers.get_mut(&HeaderName::Via) else {
        return;
    };
    let first = value::comma_separated(field)
        .next()
        .unwrap_or_default()
        .to_owned();
    let Some(via) = value::Via::parse(&first) else {
        return;
    };
    let mut marked = String::new();
    let mut parts = first.split(';');
    marked.push_str(parts.next().unwrap_or_default().trim());
    for part in parts {
        let name = part.split('=').next().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("received") || name.eq_ignore_ascii_case("rport") {
            continue;
        }
        marked.push(';');
        marked.push_str(part.trim());
    }
    marked.push_str(&format!(";received={}", remote.ip().to_canonical()));
    if via.rport.is_some() {
        marked.push_str(&format!(";rport={}", remote.port()));
    }
    let rest = field
        .find(&first)
        .map(|at| field[at + first.len()..].to_owned())
        .unwrap_or_default();
    *field = marked + &rest;
}
