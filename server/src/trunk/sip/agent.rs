//! The agent: all SIP trunks, their legs and transactions behind one door.
//!
//! Sans-I/O. After each `handle_*` and each command, poll [`Agent::poll_transmit`] and [`Agent::poll_event`] until they give
//! none, and call [`Agent::handle_timeout`] at [`Agent::poll_timeout`]. A panic in what one message or one leg does ends
//! that leg alone. Not here: sockets, name lookups, which call a number is for, media.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shards::guard;

use super::dialog::{Dialog, DialogId};
use super::flow::{ConnectionId, Flow, Transmit};
use super::leg::{
    ALLOW, Context, Dialling, Leg, LegEvent, LegKey, LegParts, LegRequest, NewInvite, SUPPORTED,
    TransferOutcome, has_wrong_content,
};
use super::message::value::{self, NameAddr, SipUri};
use super::message::{HeaderName, Message, Method, Request, Response, StatusCode};
use super::negotiation::{Negotiation, OfferKind};
use super::number;
use super::tokens::Tokens;
use super::transaction::{ClientFailure, ClientId, ServerId, TransactionEvent, Transactions};
use super::trunk_line::{Target, TrunkHealth, TrunkLine};
use crate::call::q850::Q850Cause;
use crate::call::rings::TrunkProgress;
use crate::config::{SipTransport, TrunkConfig, TrunkKind};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TrunkId};
use crate::trunk::sdp::{NegotiationConfig, OfferAnswer};

/// Legs that may live at once; an INVITE beyond is answered 503.
pub const LEGS_MAX: usize = 16_384;
/// Dials that wait for a trunk's address.
const WAITING_DIALS_MAX: usize = 1024;
/// How long a dial waits for it.
const ADDRESS_WITHIN: Duration = Duration::from_secs(5);
/// Retry-After of refusals for lack of room, and while draining, in seconds.
pub(super) const RETRY_AFTER_S: &str = "5";
/// The packet duration that we ask for.
const PTIME_MS: u8 = 20;

/// Whose request of ours it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientPurpose {
    /// A leg's.
    Leg(LegKey, LegRequest),
    /// A BYE for a fork that nobody wants.
    Stray,
    /// A trunk's OPTIONS, by its place.
    Options(u64),
    /// A trunk's REGISTER.
    Register(u64),
}

/// Whose requests are whose.
pub type Clients = HashMap<ClientId, ClientPurpose>;

/// A message that came in.
#[derive(Debug, Clone)]
pub struct Received<'a> {
    /// How.
    pub transport: SipTransport,
    /// Our listening address that it came to.
    pub local: SocketAddr,
    /// Who sent it.
    pub remote: SocketAddr,
    /// The connection, of a stream transport.
    pub connection: Option<ConnectionId>,
    /// The whole message.
    pub payload: &'a [u8],
}

/// A call to be made.
#[derive(Debug, Clone)]
pub struct Dial {
    /// The call.
    pub call_sid: CallSid,
    /// Over which trunk.
    pub trunk_id: TrunkId,
    /// A number or a SIP URI.
    pub to: String,
    /// Who calls: a number, a name, or nobody.
    pub from: String,
    /// Our media socket; an unspecified address stands for the one that the trunk is reached from.
    pub local_rtp: SocketAddr,
}

/// What the agent's owner must know or do.
#[derive(Debug)]
pub enum AgentEvent {
    /// For the shard of a call.
    Progress(CallSid, TrunkProgress),
    /// Somebody calls: answer with [`Agent::take_incoming`] or [`Agent::refuse_incoming`].
    Incoming(IncomingInvite),
    /// How a transfer that we asked for ended.
    Transferred {
        /// The call.
        call_sid: CallSid,
        /// How.
        outcome: TransferOutcome,
    },
    /// Look these hosts up; the answer goes to [`Agent::handle_resolved`].
    Resolve {
        /// For this trunk.
        trunk_id: TrunkId,
        /// Names or addresses, best first.
        hosts: Vec<String>,
        /// None: by SRV.
        port: Option<u16>,
        /// Which SRV records.
        transport: SipTransport,
    },
    /// Whether calls may go over a trunk has changed.
    Health {
        /// Which.
        trunk_id: TrunkId,
        /// How it is now.
        health: TrunkHealth,
    },
}

/// Somebody calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingInvite {
    /// The leg.
    pub leg: LegKey,
    /// Over which trunk.
    pub trunk_id: TrunkId,
    /// Who calls: a number or a name.
    pub from: String,
    /// The number that is called.
    pub to: String,
}

/// How many messages came to nothing, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentCounters {
    /// Not SIP, or not as it must be.
    pub malformed: u64,
    /// Not from a trunk of ours.
    pub strangers: u64,
    /// Handling it panicked.
    pub panics: u64,
}

/// What leads to one leg.
#[derive(Debug, Default)]
struct Names {
    call: Option<CallSid>,
    dialogs: HashSet<DialogId>,
    servers: HashSet<ServerId>,
    invite: Option<(String, String)>,
}

#[derive(Debug)]
struct WaitingDial {
    dial: Dial,
    until: Instant,
}

/// The agent; see the module's documentation.
pub struct Agent {
    user_agent: String,
    tokens: Tokens,
    transactions: Transactions,
    clients: Clients,
    lines: BTreeMap<u64, TrunkLine>,
    lines_by_id: HashMap<TrunkId, u64>,
    legs: HashMap<LegKey, Leg>,
    legs_by_call: HashMap<CallSid, LegKey>,
    legs_by_dialog: HashMap<DialogId, LegKey>,
    /// Requests of the far end that wait for our answer, by transaction.
    legs_by_server: HashMap<ServerId, LegKey>,
    /// What of the maps above and below leads to a leg: its end need not search them.
    names: HashMap<LegKey, Names>,
    /// INVITEs without a final response, by Call-ID and From tag: a copy by another way is a loop.
    legs_by_invite: HashMap<(String, String), LegKey>,
    deadlines: BTreeSet<(Instant, LegKey)>,
    waiting: VecDeque<WaitingDial>,
    leg_events: VecDeque<LegEvent>,
    events: VecDeque<AgentEvent>,
    next_key: u64,
    draining: bool,
    counters: AgentCounters,
}

impl Agent {
    /// An agent without trunks. `seed` comes from the kernel; `user_agent` is told to far ends.
    pub fn new(user_agent: &str, seed: [u8; 32]) -> Self {
        Self {
            user_agent: user_agent.to_owned(),
            tokens: Tokens::new(seed),
            transactions: Transactions::default(),
            clients: Clients::new(),
            lines: BTreeMap::new(),
            lines_by_id: HashMap::new(),
            legs: HashMap::new(),
            legs_by_call: HashMap::new(),
            legs_by_dialog: HashMap::new(),
            legs_by_server: HashMap::new(),
            names: HashMap::new(),
            legs_by_invite: HashMap::new(),
            deadlines: BTreeSet::new(),
            waiting: VecDeque::new(),
            leg_events: VecDeque::new(),
            events: VecDeque::new(),
            next_key: 0,
            draining: false,
            counters: AgentCounters::default(),
        }
    }

    /// Takes new trunks; legs that live keep theirs. A trunk whose signalling is as it was stays registered.
    pub fn configure<'a>(
        &mut self,
        now: Instant,
        trunks: impl Iterator<Item = &'a Arc<TrunkConfig>>,
    ) {
        let mut gone: BTreeSet<u64> = self.lines.keys().copied().collect();
        for trunk in trunks {
            let TrunkKind::Sip(sip) = &trunk.kind else {
                continue;
            };
            let known = self.lines_by_id.get(&trunk.trunk_id).copied();
            if let Some(place) = known
                && let Some(line) = self.lines.get_mut(&place)
                && line.is_same(sip)
            {
                line.trunk = Arc::clone(trunk);
                gone.remove(&place);
                continue;
            }
            let place = self.fresh_key();
            let sip = Arc::new(sip.as_ref().clone());
            let mut line = TrunkLine::new(now, Arc::clone(trunk), sip, &mut self.tokens);
            if let Some(before) = known.and_then(|place| self.lines.get(&place)) {
                line.succeed(before);
            }
            self.lines_by_id.insert(trunk.trunk_id.clone(), place);
            self.lines.insert(place, line);
        }
        for place in gone {
            self.end_registration(now, place);
            if let Some(line) = self.lines.remove(&place)
                && self.lines_by_id.get(&line.trunk.trunk_id) == Some(&place)
            {
                self.lines_by_id.remove(&line.trunk.trunk_id);
            }
        }
        self.settle(now);
    }

    /// The listening address of some trunks could not be opened, or is open now.
    pub fn handle_listen(
        &mut self,
        now: Instant,
        transport: SipTransport,
        listen: SocketAddr,
        error: Option<&str>,
    ) {
        for line in self.lines.values_mut() {
            if line.sip.transport == transport && line.listen() == listen {
                line.set_listen_error(error);
            }
        }
        self.settle(now);
    }

    /// Calls somebody. At least one progress follows.
    pub fn handle_dial(&mut self, now: Instant, dial: Dial) {
        self.dial(now, dial, None);
        self.settle(now);
    }

    /// An incoming call has a call of its own now; with `rings` the far end hears that it rings.
    pub fn take_incoming(&mut self, now: Instant, leg: LegKey, call_sid: CallSid, rings: bool) {
        if let Some(found) = self.legs.get_mut(&leg) {
            found.assign(call_sid);
            self.name_call(leg, call_sid);
        }
        self.with_leg(now, leg, |leg, context| {
            if rings {
                leg.ring(context);
            }
        });
        self.settle(now);
    }

    /// An incoming call is refused; nothing is told of it.
    pub fn refuse_incoming(
        &mut self,
        now: Instant,
        leg: LegKey,
        status: StatusCode,
        cause: Q850Cause,
    ) {
        self.with_leg(now, leg, |leg, context| {
            leg.refuse_incoming(context, status, cause)
        });
        self.settle(now);
    }

    /// The called side takes an incoming call, or with `early` something is played before a refusal.
    pub fn handle_accept(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        local_rtp: SocketAddr,
        early: bool,
    ) {
        let Some(&key) = self.legs_by_call.get(&call_sid) else {
            return;
        };
        let Some(leg) = self.legs.get(&key) else {
            return;
        };
        let negotiation = new_negotiation(&mut self.tokens, leg, local_rtp);
        self.with_leg(now, key, |leg, context| {
            leg.accept(context, negotiation, early)
        });
        self.settle(now);
    }

    /// Our side hangs up, wherever the call stands. Nothing is told.
    pub fn handle_hang_up(&mut self, now: Instant, call_sid: CallSid, cause: Q850Cause) {
        self.waiting
            .retain(|waiting| waiting.dial.call_sid != call_sid);
        if let Some(&key) = self.legs_by_call.get(&call_sid) {
            let pending = self.legs.get(&key).and_then(Leg::replacement);
            self.with_leg(now, key, |leg, context| leg.hang_up(context, cause));
            if let Some(pending) = pending {
                self.with_leg(now, pending, |leg, context| leg.hang_up(context, cause));
            }
        }
        self.settle(now);
    }

    /// The caller holds the far end, or takes it back.
    pub fn handle_hold(&mut self, now: Instant, call_sid: CallSid, hold: bool) {
        self.with_call(now, call_sid, |leg, context| leg.hold(context, hold));
    }

    /// Digits by SIP INFO.
    pub fn handle_digits(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        digits: &str,
        duration_ms: u32,
    ) {
        self.with_call(now, call_sid, |leg, context| {
            leg.send_digits(context, digits, duration_ms)
        });
    }

    /// Sends a call's far end elsewhere: to a number or SIP URI, or to the far end of another call (attended).
    ///
    /// # Errors
    /// Why it can't be asked.
    pub fn handle_transfer(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        to: &TransferTarget,
    ) -> Result<(), String> {
        let key = *self
            .legs_by_call
            .get(&call_sid)
            .ok_or("the call has no SIP leg")?;
        let line = self.legs.get(&key).map(|leg| Arc::clone(leg.trunk()));
        let refer_to = match to {
            TransferTarget::Number(to) => {
                let line = line
                    .and_then(|trunk| self.lines_by_id.get(&trunk.trunk_id))
                    .and_then(|place| self.lines.get(place))
                    .ok_or("the call's trunk is gone")?;
                let uri = number::request_uri(to, &line.request_domain())
                    .ok_or("the target is neither a number nor a SIP URI")?;
                format!("<{uri}>")
            }
            TransferTarget::Call(other) => self
                .legs_by_call
                .get(other)
                .and_then(|key| self.legs.get(key))
                .and_then(Leg::replaces_value)
                .ok_or("the other call has no answered SIP leg")?,
        };
        let mut outcome = Err("the call's leg is gone".to_owned());
        self.with_leg(now, key, |leg, context| {
            outcome = leg.transfer(context, &refer_to)
        });
        self.settle(now);
        outcome
    }

    /// New calls are refused from now on, OPTIONS too, and registrations given back (contracts section 7).
    pub fn begin_drain(&mut self, now: Instant) {
        self.draining = true;
        let places: Vec<u64> = self.lines.keys().copied().collect();
        for place in places {
            self.end_registration(now, place);
        }
        self.settle(now);
    }

    /// The addresses of a trunk, or why there are none.
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        trunk_id: &TrunkId,
        found: Result<Vec<Target>, String>,
    ) {
        if let Some(line) = self
            .lines_by_id
            .get(trunk_id)
            .and_then(|place| self.lines.get_mut(place))
        {
            line.handle_resolved(now, found);
        }
        let waiting = std::mem::take(&mut self.waiting);
        for WaitingDial { dial, until } in waiting {
            if dial.trunk_id == *trunk_id {
                self.dial(now, dial, Some(until));
            } else {
                self.waiting.push_back(WaitingDial { dial, until });
            }
        }
        self.settle(now);
    }

    /// A message for `remote` could not be delivered: its connection failed.
    pub fn handle_unreachable(&mut self, now: Instant, remote: SocketAddr) {
        self.transactions.handle_unreachable(remote);
        self.settle(now);
    }

    /// Takes a message.
    pub fn handle_received(&mut self, now: Instant, received: &Received<'_>) {
        let handled = guard::catch(|| self.take_message(now, received));
        if let Err(panicked) = handled {
            self.counters.panics += 1;
            tracing::error!(message = panicked.message, remote = %received.remote, "a SIP message made the agent panic");
        }
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transactions.handle_timeout(now);
        while let Some(&(due, key)) = self.deadlines.first() {
            if due > now {
                break;
            }
            self.deadlines.pop_first();
            if let Some(leg) = self.legs.get_mut(&key) {
                leg.disarm();
            }
            self.with_leg(now, key, |leg, context| leg.handle_timeout(context));
        }
        while let Some(first) = self.waiting.front() {
            if first.until > now {
                break;
            }
            if let Some(WaitingDial { dial, .. }) = self.waiting.pop_front() {
                let why = "the trunk's address was not found in time";
                dialling::fail_dial(
                    &mut self.events,
                    &dial,
                    Fault::Trunk,
                    why,
                    Q850Cause::NETWORK_OUT_OF_ORDER,
                );
            }
        }
        self.lines_due(now);
        self.settle(now);
    }

    /// When [`Agent::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lines = self
            .lines
            .values()
            .filter_map(TrunkLine::poll_timeout)
            .min();
        let legs = self.deadlines.first().map(|(due, _)| *due);
        let waiting = self.waiting.front().map(|waiting| waiting.until);
        [self.transactions.poll_timeout(), legs, lines, waiting]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transactions.poll_transmit()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        self.events.pop_front()
    }

    /// Legs that live.
    pub fn leg_count(&self) -> usize {
        self.legs.len()
    }

    /// Transactions that live.
    pub fn transaction_count(&self) -> usize {
        self.transactions.len()
    }

    /// What came to nothing so far.
    pub fn counters(&self) -> AgentCounters {
        self.counters
    }

    /// Addresses that messages of trunks come from.
    pub fn sources(&self) -> impl Iterator<Item = std::net::IpAddr> {
        self.lines.values().flat_map(TrunkLine::sources)
    }

    /// The trunks and how they are.
    pub fn health(&self) -> impl Iterator<Item = (&TrunkId, TrunkHealth)> {
        self.lines
            .values()
            .map(|line| (&line.trunk.trunk_id, line.health()))
    }

    /// Registrations that are being given back: their registrars have not answered yet.
    pub fn registrations_ending(&self) -> usize {
        let ending = self.lines.values().filter(|line| line.is_unregistering());
        ending.count()
    }

    fn fresh_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Lets one leg do something. A panic ends it alone.
    fn with_leg(
        &mut self,
        now: Instant,
        key: LegKey,
        act: impl FnOnce(&mut Leg, &mut Context<'_>),
    ) {
        let Some(leg) = self.legs.get_mut(&key) else {
            return;
        };
        let call_sid = leg.call_sid();
        let mut context = Context {
            now,
            key,
            transactions: &mut self.transactions,
            clients: &mut self.clients,
            tokens: &mut self.tokens,
            events: &mut self.leg_events,
        };
        if let Err(panicked) = guard::catch(|| act(leg, &mut context)) {
            self.counters.panics += 1;
            tracing::error!(
                message = panicked.message,
                call_sid = call_sid.map(tracing::field::display),
                "a SIP leg panicked"
            );
            if let Some(call_sid) = call_sid {
                let progress = TrunkProgress::HungUp {
                    cause: Q850Cause::TEMPORARY_FAILURE,
                    fault: Some(Fault::Us),
                    text: "internal error".into(),
                };
                self.leg_events
                    .push_back(LegEvent::Progress(call_sid, progress));
            }
            return self.drop_leg(key);
        }
        self.arm(key);
    }

    fn with_call(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        act: impl FnOnce(&mut Leg, &mut Context<'_>),
    ) {
        if let Some(&key) = self.legs_by_call.get(&call_sid) {
            self.with_leg(now, key, act);
        }
        self.settle(now);
    }

    fn arm(&mut self, key: LegKey) {
        let Some(leg) = self.legs.get_mut(&key) else {
            return;
        };
        if leg.is_over() {
            return self.drop_leg(key);
        }
        let due = leg.poll_timeout();
        let armed = leg.rearm(due);
        if armed != due {
            if let Some(armed) = armed {
                self.deadlines.remove(&(armed, key));
            }
            if let Some(due) = due {
                self.deadlines.insert((due, key));
            }
        }
    }

    fn drop_leg(&mut self, key: LegKey) {
        let Some(mut leg) = self.legs.remove(&key) else {
            return;
        };
        if let Some(armed) = leg.rearm(None) {
            self.deadlines.remove(&(armed, key));
        }
        let names = self.names.remove(&key).unwrap_or_default();
        if let Some(call_sid) = names.call
            && self.legs_by_call.get(&call_sid) == Some(&key)
        {
            self.legs_by_call.remove(&call_sid);
            // Who is to take its place is the call's only leg now.
            if let Some(heir) = leg
                .replacement()
                .filter(|heir| self.legs.contains_key(heir))
            {
                self.name_call(heir, call_sid);
            }
        }
        for dialog in &names.dialogs {
            self.legs_by_dialog.remove(dialog);
        }
        for server in names.servers {
            self.legs_by_server.remove(&server);
            // A session that is over needs no ACK: its 2xx is not repeated.
            self.transactions.acknowledged(server);
        }
        if let Some(invite) = names.invite
            && self.legs_by_invite.get(&invite) == Some(&key)
        {
            self.legs_by_invite.remove(&invite);
        }
    }

    fn name_call(&mut self, key: LegKey, call_sid: CallSid) {
        self.legs_by_call.insert(call_sid, key);
        self.names.entry(key).or_default().call = Some(call_sid);
    }

    fn name_dialog(&mut self, key: LegKey, dialog: DialogId) {
        self.legs_by_dialog.insert(dialog.clone(), key);
        self.names.entry(key).or_default().dialogs.insert(dialog);
    }

    fn name_server(&mut self, key: LegKey, server: ServerId) {
        self.legs_by_server.insert(server, key);
        self.names.entry(key).or_default().servers.insert(server);
    }

    /// Follows what came of an input until nothing is left to follow.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some(event) = self.transactions.poll_event() {
                if let Err(panicked) = guard::catch(|| self.handle_transaction_event(now, event)) {
                    self.counters.panics += 1;
                    tracing::error!(
                        message = panicked.message,
                        "a SIP transaction made the agent panic"
                    );
                }
            } else if let Some(event) = self.leg_events.pop_front() {
                self.handle_leg_event(now, event);
            } else {
                break;
            }
        }
        for line in self.lines.values_mut() {
            if let Some(health) = line.poll_health() {
                let trunk_id = line.trunk.trunk_id.clone();
                self.events
                    .push_back(AgentEvent::Health { trunk_id, health });
            }
        }
    }

    fn handle_leg_event(&mut self, now: Instant, event: LegEvent) {
        match event {
            LegEvent::Progress(call_sid, progress) => {
                self.events
                    .push_back(AgentEvent::Progress(call_sid, progress));
            }
            LegEvent::Transferred { call_sid, outcome } => {
                self.events
                    .push_back(AgentEvent::Transferred { call_sid, outcome });
            }
            LegEvent::DialogBegan(dialog, key) => {
                if self.legs.contains_key(&key) {
                    self.name_dialog(key, dialog);
                }
            }
            LegEvent::DialSucceeded(trunk_id) => {
                if let Some(line) = self.line_of(&trunk_id) {
                    line.call_went_through();
                }
            }
            LegEvent::DialFailed(trunk_id, status) => {
                if let Some(line) = self.line_of(&trunk_id) {
                    match status {
                        Some(status) if !(500..600).contains(&status.0) || status.0 == 501 => {
                            line.call_went_through()
                        }
                        _ => line.call_failed(now),
                    }
                }
            }
            LegEvent::Referred {
                leg,
                refer_to,
                referred_by,
            } => self.follow_referral(now, leg, &refer_to, referred_by),
            LegEvent::ReplacementFailed {
                leg,
                call_sid,
                refusal,
            } => self.replacement_failed(now, leg, call_sid, *refusal),
            LegEvent::TookOver { old, new } => {
                if let Some(call_sid) = self.legs.get(&new).and_then(Leg::call_sid) {
                    self.name_call(new, call_sid);
                }
                self.with_leg(now, old, |leg, context| leg.was_replaced(context));
            }
        }
    }

    fn line_of(&mut self, trunk_id: &TrunkId) -> Option<&mut TrunkLine> {
        let place = self.lines_by_id.get(trunk_id)?;
        self.lines.get_mut(place)
    }

    fn lines_due(&mut self, now: Instant) {
        let places: Vec<u64> = self
            .lines
            .iter()
            .filter(|(_, line)| line.poll_timeout().is_some_and(|due| due <= now))
            .map(|(place, _)| *place)
            .collect();
        for place in places {
            let Some(line) = self.lines.get_mut(&place) else {
                continue;
            };
            if let Some(hosts) = line.poll_resolve(now) {
                self.events.push_back(AgentEvent::Resolve {
                    trunk_id: line.trunk.trunk_id.clone(),
                    hosts,
                    port: line.sip.destination_port,
                    transport: line.sip.transport,
                });
            }
            // OPTIONS and REGISTER may be due at once; each call gives one.
            for _ in 0..2 {
                let Some(line) = self.lines.get_mut(&place) else {
                    break;
                };
                let Some(due) = line.handle_timeout(now, &mut self.tokens, &self.user_agent) else {
                    break;
                };
                self.send_for_line(now, place, due);
            }
        }
    }

    fn send_for_line(&mut self, now: Instant, place: u64, due: super::trunk_line::DueRequest) {
        let mut request = due.request.clone();
        super::leg::add_via(&mut request, &due.flow, &self.tokens.branch());
        let client = self.transactions.request(now, request, due.flow.clone());
        let purpose = if due.is_register {
            ClientPurpose::Register(place)
        } else {
            ClientPurpose::Options(place)
        };
        self.clients.insert(client, purpose);
        if let Some(line) = self.lines.get_mut(&place) {
            line.sent(now, due, client);
        }
    }

    fn end_registration(&mut self, now: Instant, place: u64) {
        let due = self
            .lines
            .get_mut(&place)
            .and_then(|line| line.end_registration(&self.user_agent));
        if let Some(due) = due {
            self.send_for_line(now, place, due);
        }
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("legs", &self.legs.len())
            .field("transactions", &self.transactions.len())
            .finish_non_exhaustive()
    }
}

/// Offer/answer for a leg whose media is at `local_rtp`; an unspecified address stands for the leg's own.
fn new_negotiation(tokens: &mut Tokens, leg: &Leg, local_rtp: SocketAddr) -> Negotiation {
    let ip = if local_rtp.ip().is_unspecified() {
        leg.advertised()
    } else {
        local_rtp.ip()
    };
    let local = SocketAddr::new(ip.to_canonical(), local_rtp.port());
    let (trunk, sip) = (leg.trunk(), leg.sip());
    let config = NegotiationConfig {
        codecs: trunk.codec_preferences.clone(),
        ptime_ms: PTIME_MS,
        srtp: sip.srtp,
        local,
        offers_rtcp_mux: false,
        media_ip_cidrs: sip.media_ip_cidrs.clone(),
    };
    let mut entropy = [0; OfferAnswer::ENTROPY_LEN];
    for chunk in entropy.chunks_mut(32) {
        let bytes: [u8; 32] = tokens.bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    Negotiation::new(OfferAnswer::new(config, entropy), local)
}

/// Where a far end is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferTarget {
    /// A number or a SIP URI.
    Number(String),
    /// The far end of another call of ours takes its place there (attended).
    Call(CallSid),
}

mod dialling;
mod receiving;

#[cfg(test)]
mod tests;
