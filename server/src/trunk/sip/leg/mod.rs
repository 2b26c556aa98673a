//! One SIP leg of a call: its INVITE session from the first request to the end of its last transaction.
//!
//! | file | what it does |
//! | --- | --- |
//! | `outgoing` | we call: responses, forks, challenges, redirection, the next target, CANCEL |
//! | `incoming` | we are called: 180, reliable provisional responses, the answer, its ACK |
//! | `established` | a session that both sides know: re-INVITE, UPDATE, hold, INFO, BYE, session timer |
//! | `challenged` | BYE, INFO and REFER that the far end challenges |
//! | `transfer` | REFER and NOTIFY, either way |
//!
//! A leg is driven by the [`agent`](super::agent), which owns transactions and clocks and lends them as [`Context`].

mod challenged;
mod established;
mod incoming;
mod outgoing;
mod transfer;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::agent::{ClientPurpose, Clients};
use super::cause;
use super::dialog::{Dialog, DialogId};
use super::flow::Flow;
use super::message::{HeaderName, Method, Request, Response, StatusCode};
use super::negotiation::Negotiation;
use super::session_timer::SessionTimer;
use super::tokens::Tokens;
use super::transaction::{ClientId, ServerId, Transactions};
use crate::call::q850::Q850Cause;
use crate::call::rings::TrunkProgress;
use crate::config::{SipTrunkConfig, TrunkConfig};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TrunkId};

pub use incoming::has_wrong_content;
pub use outgoing::{Dialling, NewInvite};
pub use transfer::TransferOutcome;

/// Early dialogs of one INVITE (forks), and sessions that more than one of them answered.
pub const FORKS_MAX: usize = 8;
/// Digits that may wait for their INFO.
pub const DIGITS_MAX: usize = 64;
/// What we take, as every answer tells (RFC 3261 section 20.5).
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY";
/// Extensions that we know.
pub const SUPPORTED: &str = "100rel, timer, replaces";

/// A leg of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegKey(pub u64);

/// What a leg may use while it handles something.
pub struct Context<'a> {
    /// The time.
    pub now: Instant,
    /// The leg.
    pub key: LegKey,
    /// All transactions.
    pub transactions: &'a mut Transactions,
    /// Whose requests are whose.
    pub clients: &'a mut Clients,
    /// Random names.
    pub tokens: &'a mut Tokens,
    /// What the agent hears.
    pub events: &'a mut VecDeque<LegEvent>,
}

/// What a leg tells the agent.
#[derive(Debug)]
pub enum LegEvent {
    /// For the call's shard.
    Progress(CallSid, TrunkProgress),
    /// Requests of this dialog are the leg's from now on.
    DialogBegan(DialogId, LegKey),
    /// A call of ours was answered: the trunk works.
    DialSucceeded(TrunkId),
    /// A call of ours was refused with this status, or none came: perhaps the trunk does not work.
    DialFailed(TrunkId, Option<StatusCode>),
    /// A transfer that we asked for is over.
    Transferred {
        /// The call.
        call_sid: CallSid,
        /// How.
        outcome: TransferOutcome,
    },
    /// The far end sends us elsewhere.
    Referred {
        /// The leg that is to be replaced.
        leg: LegKey,
        /// The URI to call.
        refer_to: String,
        /// Who says so, for the new INVITE.
        referred_by: Option<String>,
    },
    /// The leg that was to take another's place was not answered.
    ReplacementFailed {
        /// The other, which goes on.
        leg: LegKey,
        /// The call.
        call_sid: Option<CallSid>,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// A leg speaks for the call in another's place.
    TookOver {
        /// Who did.
        old: LegKey,
        /// Who does.
        new: LegKey,
    },
}

/// What a request of a leg was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegRequest {
    /// The first INVITE.
    Invite,
    /// Another INVITE or an UPDATE in the session.
    Renegotiation,
    /// BYE: the leg ends with its answer.
    Bye,
    /// One digit.
    Info,
    /// Acknowledges a reliable provisional response.
    Prack,
    /// Transfers the far end.
    Refer,
    /// Tells how a transfer of ours goes.
    Notify,
    /// CANCEL: the INVITE's own final response counts.
    Cancel,
}

/// Where a leg stands.
#[derive(Debug)]
pub(super) enum State {
    /// Our INVITE has no final response yet.
    Dialling(Box<Dialling>),
    /// The far end's INVITE waits for our final response.
    Alerting(incoming::Alerting),
    /// Both sides have a session.
    Established(Box<established::Established>),
    /// BYE or CANCEL was sent; what comes now is only answered.
    Ending,
    /// Nothing is left to do.
    Over,
}

/// One leg.
pub struct Leg {
    pub(super) call_sid: Option<CallSid>,
    pub(super) trunk: Arc<TrunkConfig>,
    pub(super) sip: Arc<SipTrunkConfig>,
    /// Contact of our messages, whole.
    pub(super) contact: String,
    pub(super) advertised: IpAddr,
    pub(super) negotiation: Option<Negotiation>,
    pub(super) dialog: Option<Dialog>,
    pub(super) timer: SessionTimer,
    /// We made the Call-ID: glare is waited out by RFC 3261 section 14.1.
    pub(super) owns_call_id: bool,
    pub(super) state: State,
    /// ACKs that were sent, newest last, for repeated 2xx.
    pub(super) acks: VecDeque<SentAck>,
    /// Sessions that were ended because another answered first.
    pub(super) strays: usize,
    /// A leg that takes this one's place, once it is answered (REFER).
    pub(super) replacement: Option<LegKey>,
    /// The leg whose place this one takes.
    pub(super) replaces: Option<LegKey>,
    /// A REFER of the far end that is under way.
    pub(super) referral: Option<transfer::Referral>,
    /// Requests that may be challenged.
    challengeable: VecDeque<challenged::Challengeable>,
    pub(super) armed: Option<Instant>,
}

/// What a leg is made of.
pub struct LegParts {
    /// The call; none while an incoming one has no call yet.
    pub call_sid: Option<CallSid>,
    /// Its trunk.
    pub trunk: Arc<TrunkConfig>,
    /// The SIP part of it.
    pub sip: Arc<SipTrunkConfig>,
    /// Contact of its messages, whole.
    pub contact: String,
    /// Our address, as the far end is told it.
    pub advertised: IpAddr,
    /// The leg whose place it takes.
    pub replaces: Option<LegKey>,
}

/// An ACK of ours.
#[derive(Debug, Clone)]
pub(super) struct SentAck {
    pub(super) cseq: u32,
    pub(super) remote_tag: String,
    pub(super) payload: Arc<[u8]>,
    pub(super) flow: Flow,
}

/// ACKs that a leg remembers.
const ACKS_MAX: usize = FORKS_MAX;

impl Leg {
    /// A leg that has not begun: see [`Leg::begin_dialling`] and [`Leg::begin_alerting`].
    pub fn new(parts: LegParts) -> Self {
        let LegParts {
            call_sid,
            trunk,
            sip,
            contact,
            advertised,
            replaces,
        } = parts;
        Self {
            call_sid,
            trunk,
            sip,
            contact,
            advertised,
            negotiation: None,
            dialog: None,
            timer: SessionTimer::default(),
            owns_call_id: false,
            state: State::Over,
            acks: VecDeque::new(),
            strays: 0,
            replacement: None,
            replaces,
            referral: None,
            challengeable: VecDeque::new(),
            armed: None,
        }
    }

    /// We call; [`Leg::dial`] sends the INVITE.
    pub fn begin_dialling(&mut self, negotiation: Negotiation, dialling: Dialling) {
        self.negotiation = Some(negotiation);
        self.owns_call_id = true;
        self.state = State::Dialling(Box::new(dialling));
    }

    /// We are called.
    pub fn begin_alerting(
        &mut self,
        id: ServerId,
        request: Box<Request>,
        dialog: Dialog,
        first_rseq: u32,
    ) {
        self.dialog = Some(dialog);
        self.state = State::Alerting(incoming::Alerting::new(id, request, first_rseq));
    }

    /// An incoming leg has its call.
    pub fn assign(&mut self, call_sid: CallSid) {
        self.call_sid = Some(call_sid);
    }

    /// An incoming leg takes another's place in its call (Replaces).
    pub fn replace(&mut self, old: LegKey, call_sid: CallSid) {
        self.replaces = Some(old);
        self.call_sid = Some(call_sid);
    }

    /// `new` will take this leg's place, once it is answered.
    pub fn set_replacement(&mut self, new: LegKey) {
        self.replacement = Some(new);
    }

    /// Whether the session is established.
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// Who is to take this leg's place.
    pub fn replacement(&self) -> Option<LegKey> {
        self.replacement
    }

    /// Its trunk.
    pub fn trunk(&self) -> &Arc<TrunkConfig> {
        &self.trunk
    }

    /// The SIP part of its trunk.
    pub fn sip(&self) -> &SipTrunkConfig {
        &self.sip
    }

    /// Our address, as the far end is told it.
    pub fn advertised(&self) -> IpAddr {
        self.advertised
    }

    /// Our media socket, as the far end is told it.
    pub fn local_rtp(&self) -> Option<SocketAddr> {
        self.negotiation.as_ref().map(Negotiation::local)
    }

    /// `session_expires_s`
    pub fn session_expires_s(&self) -> u32 {
        self.sip.session_expires_s
    }

    /// A Refer-To value that makes somebody take this leg's place (attended transfer, RFC 5589 section 7.3).
    pub fn replaces_value(&self) -> Option<String> {
        let dialog = self.dialog.as_ref().filter(|_| self.is_established())?;
        let id = dialog.id();
        let escaped = |text: &str| text.replace('@', "%40");
        Some(format!(
            "<{}?Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>",
            dialog.remote_target(),
            escaped(&id.call_id),
            escaped(&id.remote_tag),
            escaped(&id.local_tag)
        ))
    }

    /// The far end was heard on this flow.
    pub fn heard_from(&mut self, flow: &Flow) {
        if let Some(dialog) = self.dialog.as_mut() {
            dialog.heard_from(flow);
        }
    }

    /// Its deadline has passed.
    pub fn disarm(&mut self) {
        self.armed = None;
    }

    /// Notes the deadline that is known of it; returns the one before.
    pub fn rearm(&mut self, due: Option<Instant>) -> Option<Instant> {
        std::mem::replace(&mut self.armed, due)
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// The call that it belongs to.
    pub fn call_sid(&self) -> Option<CallSid> {
        self.call_sid
    }

    /// Tells the call's shard something, if the leg still speaks for the call.
    pub(super) fn tell(&self, context: &mut Context<'_>, progress: TrunkProgress) {
        if let Some(call_sid) = self.call_sid {
            context
                .events
                .push_back(LegEvent::Progress(call_sid, progress));
        }
    }

    /// The far end ended the session, or it was lost. The leg speaks for the call no more.
    pub(super) fn tell_end(
        &mut self,
        context: &mut Context<'_>,
        cause: Q850Cause,
        fault: Option<Fault>,
        text: impl Into<String>,
    ) {
        let text = text.into();
        if let Some(old) = self.replaces.take() {
            // The other leg still speaks for the call.
            let fault = fault.unwrap_or(Fault::Trunk);
            let refusal = Refusal::new(RefusalCode::Internal, fault, text).with_cause(cause);
            context.events.push_back(LegEvent::ReplacementFailed {
                leg: old,
                call_sid: self.call_sid,
                refusal: Box::new(refusal),
            });
        } else if self.replacement.is_none() {
            // Else a transfer goes on without the one who asked for it: the new leg speaks for the call.
            self.tell(context, TrunkProgress::HungUp { cause, fault, text });
        }
        self.call_sid = None;
    }

    /// Sends a request of the leg in a new transaction; Via, Contact and Allow are added.
    pub(super) fn send_request(
        &mut self,
        context: &mut Context<'_>,
        mut request: Request,
        flow: Flow,
        purpose: LegRequest,
    ) -> ClientId {
        add_via(&mut request, &flow, &context.tokens.branch());
        if matches!(
            request.method,
            Method::Invite | Method::Update | Method::Refer | Method::Notify
        ) && request.headers.get(&HeaderName::Contact).is_none()
        {
            request
                .headers
                .push(HeaderName::Contact, self.contact.clone());
        }
        let id = context.transactions.request(context.now, request, flow);
        context
            .clients
            .insert(id, ClientPurpose::Leg(context.key, purpose));
        id
    }

    /// Sends a request in the leg's dialog.
    pub(super) fn send_in_dialog(
        &mut self,
        context: &mut Context<'_>,
        request: Request,
        purpose: LegRequest,
    ) -> Option<ClientId> {
        let flow = self.dialog.as_ref()?.flow().clone();
        Some(self.send_request(context, request, flow, purpose))
    }

    /// An ACK for a 2xx; kept for when the 2xx comes again.
    pub(super) fn send_ack(
        &mut self,
        context: &mut Context<'_>,
        dialog: &Dialog,
        cseq: u32,
        sdp: Option<String>,
    ) {
        let mut ack = dialog.ack(cseq);
        let flow = dialog.flow().clone();
        add_via(&mut ack, &flow, &context.tokens.branch());
        if let Some(sdp) = sdp {
            ack.headers.push(HeaderName::ContentType, "application/sdp");
            ack.body = sdp.into_bytes();
        }
        let payload: Arc<[u8]> = ack.to_bytes().into();
        context
            .transactions
            .send(Arc::clone(&payload), flow.clone());
        if self.acks.len() >= ACKS_MAX {
            self.acks.pop_front();
        }
        self.acks.push_back(SentAck {
            cseq,
            remote_tag: dialog.id().remote_tag.clone(),
            payload,
            flow,
        });
    }

    /// Sends the ACK of a repeated 2xx again. False: it was none.
    pub(super) fn repeat_ack(&self, context: &mut Context<'_>, response: &Response) -> bool {
        let Some((cseq, _)) = response.headers.cseq() else {
            return false;
        };
        let tag = response.headers.to_tag().unwrap_or_default();
        let sent = self
            .acks
            .iter()
            .find(|ack| ack.cseq == cseq && ack.remote_tag == tag);
        if let Some(ack) = sent {
            context
                .transactions
                .send(Arc::clone(&ack.payload), ack.flow.clone());
        }
        sent.is_some()
    }

    /// Ends a session with BYE. The leg lives until the BYE's answer, for challenges.
    pub(super) fn send_bye(&mut self, context: &mut Context<'_>, cause: Q850Cause) {
        self.state = State::Ending;
        let Some(dialog) = self.dialog.as_mut() else {
            self.state = State::Over;
            return;
        };
        let mut bye = dialog.request(Method::Bye);
        bye.headers
            .push(HeaderName::Reason, cause::write_reason(cause));
        self.send_challengeable(context, bye, LegRequest::Bye);
    }

    /// Ends a dialog that the leg does not want: another fork's answer.
    pub(super) fn send_stray_bye(&self, context: &mut Context<'_>, dialog: &mut Dialog) {
        let mut bye = dialog.request(Method::Bye);
        let flow = dialog.flow().clone();
        add_via(&mut bye, &flow, &context.tokens.branch());
        let id = context.transactions.request(context.now, bye, flow);
        context.clients.insert(id, ClientPurpose::Stray);
    }

    /// Answers a request of the far end in this leg; Contact, Allow and Supported are added.
    pub(super) fn respond(&self, context: &mut Context<'_>, id: ServerId, mut response: Response) {
        let status = response.status;
        let headers = &mut response.headers;
        let (_, method) = headers.cseq().unwrap_or((0, Method::Options));
        if matches!(method, Method::Invite | Method::Update) && status.0 > 100 && status.0 < 400 {
            headers.push(HeaderName::Contact, self.contact.clone());
        }
        if status.0 >= 180 && status.0 < 300 && method == Method::Invite {
            headers.push(HeaderName::Allow, ALLOW);
            headers.push(HeaderName::Supported, SUPPORTED);
        }
        context.transactions.respond(context.now, id, &response);
    }

    /// Answers with a status alone.
    pub(super) fn respond_status(
        &self,
        context: &mut Context<'_>,
        id: ServerId,
        request: &Request,
        status: u16,
    ) {
        let tag = self
            .dialog
            .as_ref()
            .map(|dialog| dialog.id().local_tag.clone());
        let response = Response::to(request, StatusCode(status), tag.as_deref());
        self.respond(context, id, response);
    }

    /// The earliest deadline of the leg.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Dialling(dialling) => dialling.poll_timeout(),
            State::Alerting(alerting) => alerting.poll_timeout(),
            State::Established(established) => {
                let timer = self.timer.poll_timeout();
                [timer, established.poll_timeout()]
                    .into_iter()
                    .flatten()
                    .min()
            }
            State::Ending | State::Over => None,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, context: &mut Context<'_>) {
        match &self.state {
            State::Dialling(_) => self.dialling_due(context),
            State::Alerting(_) => self.alerting_due(context),
            State::Established(_) => self.established_due(context),
            State::Ending | State::Over => {}
        }
    }
}

/// Puts our Via on top (RFC 3261 section 8.1.1.7, RFC 3581).
pub fn add_via(request: &mut Request, flow: &Flow, branch: &str) {
    let host = super::message::value::uri_host(flow.advertised.ip());
    let via = format!(
        "SIP/2.0/{} {host}:{};branch={branch};rport",
        super::flow::transport_name(flow.transport),
        flow.advertised.port()
    );
    request.headers.push_front(HeaderName::Via, via);
}
