//! Legs that we begin: calls, and the calls that a REFER of the far end asks for.

use std::collections::VecDeque;

use super::*;

impl Agent {
    /// `until`: the dial waits for its trunk's address already, so long.
    pub(super) fn dial(&mut self, now: Instant, dial: Dial, until: Option<Instant>) {
        let Some(line) = self
            .lines_by_id
            .get(&dial.trunk_id)
            .and_then(|place| self.lines.get(place))
        else {
            let why = format!("there is no SIP trunk {} any more", dial.trunk_id);
            return fail_dial(
                &mut self.events,
                &dial,
                Fault::Config,
                why,
                Q850Cause::TEMPORARY_FAILURE,
            );
        };
        if line.is_resolving() {
            if self.waiting.len() >= WAITING_DIALS_MAX {
                let why = "too many calls wait for their trunk's address";
                return fail_dial(
                    &mut self.events,
                    &dial,
                    Fault::Us,
                    why,
                    Q850Cause::CONGESTION,
                );
            }
            let until = until.unwrap_or(now + ADDRESS_WITHIN);
            return self.waiting.push_back(WaitingDial { dial, until });
        }
        let Some(uri) = number::request_uri(&dial.to, &line.request_domain()) else {
            let why = format!(
                "\"{}\" is neither a number nor a SIP URI",
                dial.to.escape_debug()
            );
            return fail_dial(
                &mut self.events,
                &dial,
                Fault::Caller,
                why,
                Q850Cause::INVALID_NUMBER_FORMAT,
            );
        };
        let mut targets = line.targets().cloned();
        let Some(first) = targets.next() else {
            let error = line.resolve_error().unwrap_or("no address is known");
            let why = format!("the trunk's address is not known: {error}");
            return fail_dial(
                &mut self.events,
                &dial,
                Fault::Trunk,
                why,
                Q850Cause::NETWORK_OUT_OF_ORDER,
            );
        };
        let next_targets: VecDeque<SocketAddr> = targets.map(|target| target.remote).collect();
        let flow = line.flow(&first);
        let from_user = number::user(&dial.from);
        let user = from_user.as_deref().unwrap_or(line.user());
        let address = format!("<sip:{user}@{}>", line.domain());
        let from = match &line.sip.display_name {
            Some(name) => format!("{} {address}", value::quoted(name)),
            None => address,
        };
        let call = OutgoingCall {
            call_sid: dial.call_sid,
            trunk: Arc::clone(&line.trunk),
            sip: Arc::clone(&line.sip),
            contact: line.contact(&flow, line.user()),
            route: line.sip.proxy.as_deref().map(proxy_route),
            uri,
            from,
            flow,
            next_targets,
            local_rtp: dial.local_rtp,
            replaces: None,
            extra: Vec::new(),
        };
        if let Err((fault, why)) = self.begin_leg(now, call) {
            fail_dial(
                &mut self.events,
                &dial,
                fault,
                why,
                Q850Cause::TEMPORARY_FAILURE,
            );
        }
    }

    fn begin_leg(&mut self, now: Instant, call: OutgoingCall) -> Result<LegKey, (Fault, String)> {
        if self.legs.len() >= LEGS_MAX {
            return Err((Fault::Us, format!("the gateway has {LEGS_MAX} SIP legs")));
        }
        let key = LegKey(self.fresh_key());
        let mut leg = Leg::new(LegParts {
            call_sid: Some(call.call_sid),
            trunk: call.trunk,
            sip: call.sip,
            contact: call.contact.clone(),
            advertised: call.flow.advertised.ip(),
            replaces: call.replaces,
        });
        let mut negotiation = new_negotiation(&mut self.tokens, &leg, call.local_rtp);
        let sdp = negotiation
            .offer(OfferKind::Full)
            .map_err(|error| (Fault::Us, error.to_string()))?;
        let (call_id, tag) = (self.tokens.call_id(), self.tokens.tag());
        let mut request = NewInvite {
            uri: &call.uri,
            from: &call.from,
            to: &format!("<{}>", call.uri),
            call_id: &call_id,
            tag: &tag,
            route: call.route.as_deref(),
            session_expires_s: leg.session_expires_s(),
            contact: &call.contact,
            user_agent: &self.user_agent,
            sdp,
        }
        .request();
        for (name, value) in call.extra {
            request.headers.push(name, value);
        }
        leg.begin_dialling(
            negotiation,
            Dialling::new(request, call.flow, call.next_targets),
        );
        self.legs.insert(key, leg);
        if call.replaces.is_none() {
            self.name_call(key, call.call_sid);
        }
        self.with_leg(now, key, |leg, context| leg.dial(context));
        Ok(key)
    }

    /// REFER: the far end sends us to `refer_to`; the new leg uses the call's own media socket.
    pub(super) fn follow_referral(
        &mut self,
        now: Instant,
        old: LegKey,
        refer_to: &str,
        referred_by: Option<String>,
    ) {
        let began = self.begin_referred_leg(now, old, refer_to, referred_by);
        match began {
            Ok(new) => {
                if let Some(leg) = self.legs.get_mut(&old) {
                    leg.set_replacement(new);
                }
            }
            Err(status) => {
                let sipfrag = format!("SIP/2.0 {status} {}", status.reason());
                self.with_leg(now, old, |leg, context| {
                    leg.was_not_replaced(context, &sipfrag)
                });
            }
        }
    }

    fn begin_referred_leg(
        &mut self,
        now: Instant,
        old: LegKey,
        refer_to: &str,
        referred_by: Option<String>,
    ) -> Result<LegKey, StatusCode> {
        let failed = StatusCode(503);
        let leg = self.legs.get(&old).ok_or(failed)?;
        let (call_sid, local_rtp) = (
            leg.call_sid().ok_or(failed)?,
            leg.local_rtp().ok_or(failed)?,
        );
        let place = self.lines_by_id.get(&leg.trunk().trunk_id).ok_or(failed)?;
        let line = self.lines.get(place).ok_or(failed)?;
        let parsed = SipUri::parse(refer_to).ok_or(StatusCode(416))?;
        // The new call goes over the same trunk, and to nobody else's host: a far end may move its call, not ours.
        let user = parsed.user.ok_or(StatusCode(484))?;
        let uri = format!("sip:{user}@{}", line.request_domain());
        let first = line.targets().next().ok_or(failed)?;
        let flow = line.flow(first);
        let mut extra = Vec::new();
        if let Some(referred_by) = referred_by {
            extra.push((HeaderName::ReferredBy, referred_by));
        }
        if let Some(replaces) = uri_header(parsed.headers, "Replaces") {
            extra.push((HeaderName::Replaces, replaces));
        }
        let call = OutgoingCall {
            call_sid,
            trunk: Arc::clone(&line.trunk),
            sip: Arc::clone(&line.sip),
            contact: line.contact(&flow, line.user()),
            route: line.sip.proxy.as_deref().map(proxy_route),
            uri,
            from: format!("<sip:{}@{}>", line.user(), line.domain()),
            next_targets: line.targets().skip(1).map(|target| target.remote).collect(),
            flow,
            local_rtp,
            replaces: Some(old),
            extra,
        };
        self.begin_leg(now, call).map_err(|_| failed)
    }

    pub(super) fn replacement_failed(
        &mut self,
        now: Instant,
        old: LegKey,
        call_sid: Option<CallSid>,
        refusal: Refusal,
    ) {
        let status = super::super::cause::status_of(refusal.cause);
        let sipfrag = format!("SIP/2.0 {status} {}", status.reason());
        let old_lives = self.legs.get(&old).is_some_and(Leg::is_established);
        self.with_leg(now, old, |leg, context| {
            leg.was_not_replaced(context, &sipfrag)
        });
        if old_lives {
            return;
        }
        // Who sent us elsewhere has left: nobody is there any more.
        if let Some(call_sid) = call_sid {
            let progress = TrunkProgress::HungUp {
                cause: refusal.cause,
                fault: Some(refusal.fault),
                text: format!("the transfer's target was not reached: {}", refusal.message),
            };
            self.events
                .push_back(AgentEvent::Progress(call_sid, progress));
        }
    }
}

/// Tells that a dial came to nothing before it had a leg.
pub(super) fn fail_dial(
    events: &mut VecDeque<AgentEvent>,
    dial: &Dial,
    fault: Fault,
    why: impl Into<String>,
    cause: Q850Cause,
) {
    let refusal = Refusal::new(RefusalCode::Internal, fault, why).with_cause(cause);
    events.push_back(AgentEvent::Progress(
        dial.call_sid,
        TrunkProgress::Failed(refusal),
    ));
}

struct OutgoingCall {
    call_sid: CallSid,
    trunk: Arc<TrunkConfig>,
    sip: Arc<crate::config::SipTrunkConfig>,
    contact: String,
    route: Option<String>,
    uri: String,
    from: String,
    flow: Flow,
    next_targets: VecDeque<SocketAddr>,
    local_rtp: SocketAddr,
    replaces: Option<LegKey>,
    extra: Vec<(HeaderName, String)>,
}

/// The outbound proxy as a Route value, loose.
fn proxy_route(proxy: &str) -> String {
    let uri = NameAddr::parse(proxy).map_or(proxy, |proxy| proxy.uri);
    if SipUri::parse(uri).is_some_and(|uri| uri.is_loose_router()) {
        format!("<{uri}>")
    } else {
        format!("<{uri};lr>")
    }
}

/// A header of a URI (`?Replaces=...`), unescaped.
fn uri_header(headers: &str, name: &str) -> Option<String> {
    let value = headers.split('&').find_map(|header| {
        let (candidate, value) = header.split_once('=')?;
        candidate.eq_ignore_ascii_case(name).then_some(value)
    })?;
    let value = number::from_user(value);
    (!value.contains(['\r', '\n']) && value.len() <= 1024).then_some(value)
}
