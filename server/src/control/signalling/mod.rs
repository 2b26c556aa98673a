//! The trunk legs' signalling side: how a far end is called, answers and hangs up. Media is the shard's.
//!
//! Sans-I/O: `handle_*` in, `poll_*` out. Echo and fixed RTP peers answer when they are dialled and have nobody to tell a
//! hang-up or a hold; SIP trunks are the [`Agent`]'s. A `websocket` trunk has answered when its socket is open, and is the
//! shard's from then on; the agents and assistants that take incoming calls are dialled the same way (`sockets`).

mod echo;
mod rtp;
mod sockets;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

pub use sockets::{DIALS_MAX, DialKey, DialOrder, DialPlan, DialSide, Dialled};

use super::outbound::DialOutcome;
use super::outbound::vapi::VapiCall;
use crate::call::TrunkMedia;
use crate::call::dialled::{DialledPeer, DialledSocket, VapiDialled, say_goodbye};
use crate::call::q850::Q850Cause;
use crate::call::rings::{TrunkDial, TrunkProgress, VendorDial, VendorDialTarget};
use crate::config::{GatewayConfig, SipTransport, TenantConfig, TrunkConfig, TrunkKind};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TenantId, TrunkId};
use crate::trunk::sip::agent::{Agent, AgentEvent, Dial, IncomingInvite, Received, TransferTarget};
use crate::trunk::sip::flow::Transmit;
use crate::trunk::sip::leg::{LegKey, TransferOutcome};
use crate::trunk::sip::message::StatusCode;
use crate::trunk::sip::trunk_line::{Target, TrunkHealth};
use sockets::Sockets;

/// How we name ourselves to far ends.
const USER_AGENT: &str = concat!("clutchcall-gateway/", env!("CARGO_PKG_VERSION"));

/// The far ends of all trunks.
#[derive(Debug)]
pub struct Signalling {
    trunks: BTreeMap<TrunkId, Arc<TrunkConfig>>,
    tenants: BTreeMap<TenantId, Arc<TenantConfig>>,
    /// At most one entry per dial that was not polled yet.
    progress: VecDeque<(CallSid, TrunkProgress)>,
    sip: Agent,
    sockets: Sockets,
    news: VecDeque<SignallingNews>,
}

/// What signalling tells beside the progress of calls.
#[derive(Debug)]
pub enum SignallingNews {
    /// Somebody calls.
    Incoming(IncomingInvite),
    /// Hosts to look up.
    Resolve(Resolve),
    /// Whether calls may go over a trunk.
    Health(TrunkId, TrunkHealth),
    /// What came of dialling who takes an incoming call.
    VendorSocket(CallSid, Result<Box<DialledSocket>, Refusal>),
    /// A call at Vapi whose socket nobody uses.
    VapiLeft(CallSid, VapiDialled),
    /// How a transfer ended.
    Transferred(CallSid, TransferOutcome),
}

/// Hosts to look up for a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// For this trunk.
    pub trunk_id: TrunkId,
    /// Names or addresses, best first.
    pub hosts: Vec<String>,
    /// None: by SRV.
    pub port: Option<u16>,
    /// Which SRV records.
    pub transport: SipTransport,
}

impl Signalling {
    /// The far ends of `config`'s trunks. `seed` is random.
    pub fn new(now: Instant, config: &GatewayConfig, seed: [u8; 32]) -> Self {
        let mut signalling = Self {
            trunks: config.trunks.clone(),
            tenants: config.tenants.clone(),
            progress: VecDeque::new(),
            sip: Agent::new(USER_AGENT, seed),
            sockets: Sockets::default(),
            news: VecDeque::new(),
        };
        signalling.reconfigure(now, config);
        signalling
    }

    /// Takes new trunks; legs that are set up stay as they are.
    pub fn reconfigure(&mut self, now: Instant, config: &GatewayConfig) {
        self.trunks.clone_from(&config.trunks);
        self.tenants.clone_from(&config.tenants);
        self.sockets.reconfigure(config);
        self.sip.configure(now, config.trunks.values());
        self.take_sip_events();
    }

    /// The listening address of some SIP trunks could not be opened, or is open now.
    pub fn handle_listen(
        &mut self,
        now: Instant,
        transport: SipTransport,
        listen: SocketAddr,
        error: Option<&str>,
    ) {
        self.sip.handle_listen(now, transport, listen, error);
        self.take_sip_events();
    }

    /// A SIP message came.
    pub fn handle_sip_message(&mut self, now: Instant, received: &Received<'_>) {
        self.sip.handle_received(now, received);
        self.take_sip_events();
    }

    /// The addresses of a SIP trunk, or why there are none.
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        trunk_id: &TrunkId,
        found: Result<Vec<Target>, String>,
    ) {
        self.sip.handle_resolved(now, trunk_id, found);
        self.take_sip_events();
    }

    /// What was sent there over a stream did not arrive.
    pub fn handle_unreachable(&mut self, now: Instant, remote: SocketAddr) {
        self.sip.handle_unreachable(now, remote);
        self.take_sip_events();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.sip.poll_timeout().is_some_and(|due| due <= now) {
            self.sip.handle_timeout(now);
            self.take_sip_events();
        }
        self.sockets.handle_timeout(now);
        self.take_socket_health();
    }

    /// An incoming call has its call; with `rings` the far end hears so.
    pub fn take_incoming(&mut self, now: Instant, leg: LegKey, call_sid: CallSid, rings: bool) {
        self.sip.take_incoming(now, leg, call_sid, rings);
        self.take_sip_events();
    }

    /// An incoming call is refused.
    pub fn refuse_incoming(
        &mut self,
        now: Instant,
        leg: LegKey,
        status: StatusCode,
        cause: Q850Cause,
    ) {
        self.sip.refuse_incoming(now, leg, status, cause);
        self.take_sip_events();
    }

    /// The called side takes an incoming call.
    pub fn handle_accept(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        local_rtp: SocketAddr,
        early: bool,
    ) {
        self.sip.handle_accept(now, call_sid, local_rtp, early);
        self.take_sip_events();
    }

    /// Our side hangs up. What is dialled for the call is given up; a socket that is open is the shard's to close.
    pub fn handle_hang_up(&mut self, now: Instant, call_sid: CallSid, cause: Q850Cause) {
        self.sockets.give_up(call_sid);
        self.sip.handle_hang_up(now, call_sid, cause);
        self.take_sip_events();
    }

    /// The call is over: what is still dialled for it is given up.
    pub fn handle_over(&mut self, call_sid: CallSid) {
        self.sockets.give_up(call_sid);
    }

    /// Dials who takes an incoming call. A [`SignallingNews::VendorSocket`] follows, unless the call ends before.
    pub fn handle_vendor_dial(&mut self, dial: VendorDial) {
        let call_sid = dial.call_sid;
        let key = DialKey {
            call_sid,
            side: DialSide::Vendor,
        };
        let ordered = self
            .vendor_plan(dial)
            .and_then(|plan| self.sockets.dial(key, plan));
        if let Err(refusal) = ordered {
            self.news
                .push_back(SignallingNews::VendorSocket(call_sid, Err(refusal)));
        }
    }

    /// What came of a dial.
    pub fn handle_dialled(&mut self, now: Instant, dialled: Dialled) {
        let Dialled { key, peer, outcome } = dialled;
        let call_sid = key.call_sid;
        if !self.sockets.dialled(now, key, outcome.as_ref().err()) {
            if let Ok(live) = outcome {
                say_goodbye(*live);
            }
            return self.leave(call_sid, peer);
        }
        self.take_socket_health();
        let outcome = outcome.map_err(|failure| failure.refusal);
        match (key.side, outcome) {
            (DialSide::Trunk, outcome) => {
                let progress = match outcome {
                    Ok(live) => TrunkProgress::Answered(TrunkMedia::Socket(live)),
                    Err(refusal) => TrunkProgress::Failed(refusal),
                };
                self.progress.push_back((call_sid, progress));
            }
            (DialSide::Vendor, Ok(live)) => {
                let socket = Box::new(DialledSocket { live: *live, peer });
                let news = SignallingNews::VendorSocket(call_sid, Ok(socket));
                self.news.push_back(news);
            }
            (DialSide::Vendor, Err(refusal)) => {
                self.leave(call_sid, peer);
                let news = SignallingNews::VendorSocket(call_sid, Err(refusal));
                self.news.push_back(news);
            }
        }
    }

    /// Who was dialled is not needed: a call at Vapi goes on without its socket.
    fn leave(&mut self, call_sid: CallSid, peer: DialledPeer) {
        if let DialledPeer::Vapi(vapi) = peer {
            self.news
                .push_back(SignallingNews::VapiLeft(call_sid, vapi));
        }
    }

    fn vendor_plan(&self, dial: VendorDial) -> Result<DialPlan, Refusal> {
        let tenant = Arc::clone(self.tenants.get(&dial.tenant_id).ok_or_else(|| {
            let message = format!("there is no tenant {} any more", dial.tenant_id);
            Refusal::new(RefusalCode::NotFound, Fault::Config, message)
        })?);
        match dial.to {
            VendorDialTarget::Vapi => Ok(DialPlan::Vapi {
                tenant,
                call: VapiCall {
                    call_sid: dial.call_sid,
                    from: dial.from,
                    to: dial.to_number,
                },
            }),
            VendorDialTarget::Agent(trunk_id) => {
                let trunk = self.trunks.get(&trunk_id);
                let owned = trunk.filter(|trunk| trunk.tenant_id == tenant.tenant_id);
                let trunk = Arc::clone(owned.ok_or_else(|| unknown_trunk(&trunk_id))?);
                Ok(DialPlan::Agent { tenant, trunk })
            }
        }
    }

    fn agent_plan(&self, trunk_id: &TrunkId) -> Result<DialPlan, Refusal> {
        let trunk = self.trunks.get(trunk_id);
        let trunk = Arc::clone(trunk.ok_or_else(|| unknown_trunk(trunk_id))?);
        let tenant = self.tenants.get(&trunk.tenant_id);
        let tenant = Arc::clone(tenant.ok_or_else(|| unknown_trunk(trunk_id))?);
        Ok(DialPlan::Agent { tenant, trunk })
    }

    /// The next dial to do, or to give up.
    pub fn poll_dial_order(&mut self) -> Option<DialOrder> {
        self.sockets.poll_order()
    }

    /// Dials under way.
    pub fn dialling(&self) -> usize {
        self.sockets.dialling()
    }

    /// How often dials ended how.
    pub fn dial_outcomes(&self) -> impl Iterator<Item = (DialOutcome, u64)> + '_ {
        self.sockets.outcomes()
    }

    /// The trunks with an agent, and whether it is dialled.
    pub fn agents(&self) -> impl Iterator<Item = (&TrunkId, bool)> {
        self.sockets.agents()
    }

    /// The caller holds the far end, or takes it back.
    pub fn handle_hold(&mut self, now: Instant, call_sid: CallSid, hold: bool) {
        self.sip.handle_hold(now, call_sid, hold);
        self.take_sip_events();
    }

    /// Digits that go by signalling.
    pub fn handle_digits(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        digits: &str,
        duration_ms: u32,
    ) {
        self.sip.handle_digits(now, call_sid, digits, duration_ms);
        self.take_sip_events();
    }

    /// Sends a call's far end elsewhere.
    ///
    /// # Errors
    /// Why it can't be asked.
    pub fn handle_transfer(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        to: &TransferTarget,
    ) -> Result<(), String> {
        let asked = self.sip.handle_transfer(now, call_sid, to);
        self.take_sip_events();
        asked
    }

    /// New calls are refused from now on, registrations given back.
    pub fn begin_drain(&mut self, now: Instant) {
        self.sip.begin_drain(now);
        self.take_sip_events();
    }

    /// The next SIP message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.sip.poll_transmit()
    }

    /// What else happened, in order.
    pub fn poll_news(&mut self) -> Option<SignallingNews> {
        self.news.pop_front()
    }

    /// The SIP agent, to be counted.
    pub fn sip(&self) -> &Agent {
        &self.sip
    }

    fn take_socket_health(&mut self) {
        while let Some((trunk_id, health)) = self.sockets.poll_health() {
            self.news
                .push_back(SignallingNews::Health(trunk_id, health));
        }
    }

    fn take_sip_events(&mut self) {
        while let Some(event) = self.sip.poll_event() {
            let news = match event {
                AgentEvent::Progress(call_sid, progress) => {
                    self.progress.push_back((call_sid, progress));
                    continue;
                }
                AgentEvent::Incoming(invite) => SignallingNews::Incoming(invite),
                AgentEvent::Transferred { call_sid, outcome } => {
                    SignallingNews::Transferred(call_sid, outcome)
                }
                AgentEvent::Resolve {
                    trunk_id,
                    hosts,
                    port,
                    transport,
                } => SignallingNews::Resolve(Resolve {
                    trunk_id,
                    hosts,
                    port,
                    transport,
                }),
                AgentEvent::Health { trunk_id, health } => SignallingNews::Health(trunk_id, health),
            };
            self.news.push_back(news);
        }
    }

    /// Sets a trunk leg up. At least one progress follows, for an unknown trunk `Failed`.
    pub fn handle_dial(&mut self, now: Instant, dial: &TrunkDial) {
        let answer = match self.trunks.get(&dial.trunk_id).cloned() {
            None => Err(unknown_trunk(&dial.trunk_id)),
            Some(trunk) => match &trunk.kind {
                TrunkKind::Echo(codec) => Ok(echo::answer(*codec)),
                TrunkKind::Rtp { remote, rtcp_mux } => {
                    rtp::answer(&trunk, *remote, *rtcp_mux, dial)
                }
                TrunkKind::Sip(_) => match dial.local_rtp {
                    Some(local_rtp) => return self.dial_sip(now, dial, local_rtp),
                    None => Err(portless(&dial.trunk_id)),
                },
                TrunkKind::WebSocket(_) => match self.dial_agent(dial) {
                    Ok(()) => return,
                    Err(refusal) => Err(refusal),
                },
            },
        };
        let progress = match answer {
            Ok(media) => TrunkProgress::Answered(media),
            Err(refusal) => TrunkProgress::Failed(refusal),
        };
        self.progress.push_back((dial.call_sid, progress));
    }

    fn dial_sip(&mut self, now: Instant, dial: &TrunkDial, local_rtp: SocketAddr) {
        let dial = Dial {
            call_sid: dial.call_sid,
            trunk_id: dial.trunk_id.clone(),
            to: dial.to.clone(),
            from: dial.from.clone(),
            local_rtp,
        };
        self.sip.handle_dial(now, dial);
        self.take_sip_events();
    }

    fn dial_agent(&mut self, dial: &TrunkDial) -> Result<(), Refusal> {
        let plan = self.agent_plan(&dial.trunk_id)?;
        let key = DialKey {
            call_sid: dial.call_sid,
            side: DialSide::Trunk,
        };
        self.sockets.dial(key, plan)
    }

    /// What became of a leg, in the order in which it happened.
    pub fn poll_progress(&mut self) -> Option<(CallSid, TrunkProgress)> {
        self.progress.pop_front()
    }
}

fn unknown_trunk(trunk_id: &TrunkId) -> Refusal {
    let message = format!("there is no trunk {trunk_id} any more");
    Refusal::new(RefusalCode::NotFound, Fault::Config, message)
}

fn portless(trunk_id: &TrunkId) -> Refusal {
    let message = format!("trunk {trunk_id} was dialled without a media port");
    Refusal::new(RefusalCode::Internal, Fault::Us, message).with_cause(Q850Cause::TEMPORARY_FAILURE)
}

#[cfg(test)]
mod tests;
