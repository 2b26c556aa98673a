//! The trunk legs' signalling side: how a far end is called, answers and hangs up. Media is the shard's.
//!
//! Sans-I/O: `handle_*` in, `poll_*` out. Echo and fixed RTP peers answer when they are dialled and have nobody to tell a
//! hang-up or a hold; SIP trunks are the [`Agent`]'s.

mod echo;
mod rtp;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::call::q850::Q850Cause;
use crate::call::rings::{TrunkDial, TrunkProgress};
use crate::config::{GatewayConfig, SipTransport, TrunkConfig, TrunkKind};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TrunkId};
use crate::trunk::sip::agent::{Agent, AgentEvent, Dial, IncomingInvite, Received, TransferTarget};
use crate::trunk::sip::flow::Transmit;
use crate::trunk::sip::leg::{LegKey, TransferOutcome};
use crate::trunk::sip::message::StatusCode;
use crate::trunk::sip::trunk_line::{Target, TrunkHealth};

/// How we name ourselves to far ends.
const USER_AGENT: &str = concat!("clutchcall-gateway/", env!("CARGO_PKG_VERSION"));

/// The far ends of all trunks.
#[derive(Debug)]
pub struct Signalling {
    trunks: BTreeMap<TrunkId, Arc<TrunkConfig>>,
    /// At most one entry per dial that was not polled yet.
    progress: VecDeque<(CallSid, TrunkProgress)>,
    sip: Agent,
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
            progress: VecDeque::new(),
            sip: Agent::new(USER_AGENT, seed),
            news: VecDeque::new(),
        };
        signalling.reconfigure(now, config);
        signalling
    }

    /// Takes new trunks; legs that are set up stay as they are.
    pub fn reconfigure(&mut self, now: Instant, config: &GatewayConfig) {
        self.trunks.clone_from(&config.trunks);
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

    /// Our side hangs up.
    pub fn handle_hang_up(&mut self, now: Instant, call_sid: CallSid, cause: Q850Cause) {
        self.sip.handle_hang_up(now, call_sid, cause);
        self.take_sip_events();
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
        let trunk = self.trunks.get(&dial.trunk_id);
        if let (Some(TrunkKind::Sip(_)), Some(local_rtp)) =
            (trunk.map(|trunk| &trunk.kind), dial.local_rtp)
        {
            let dial = Dial {
                call_sid: dial.call_sid,
                trunk_id: dial.trunk_id.clone(),
                to: dial.to.clone(),
                from: dial.from.clone(),
                local_rtp,
            };
            self.sip.handle_dial(now, dial);
            return self.take_sip_events();
        }
        let answer = self
            .trunks
            .get(&dial.trunk_id)
            .ok_or_else(|| unknown_trunk(&dial.trunk_id))
            .and_then(|trunk| match &trunk.kind {
                TrunkKind::Echo(codec) => Ok(echo::answer(*codec)),
                TrunkKind::Rtp { remote, rtcp_mux } => rtp::answer(trunk, *remote, *rtcp_mux, dial),
                TrunkKind::Sip(_) | TrunkKind::WebSocket(_) => {
                    Err(without_signalling(&dial.trunk_id))
                }
            });
        let progress = match answer {
            Ok(media) => TrunkProgress::Answered(media),
            Err(refusal) => TrunkProgress::Failed(refusal),
        };
        self.progress.push_back((dial.call_sid, progress));
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

fn without_signalling(trunk_id: &TrunkId) -> Refusal {
    let message = format!("the kind of trunk {trunk_id} can't be dialled by this gateway");
    Refusal::new(RefusalCode::NotFound, Fault::Config, message)
        .with_cause(Q850Cause::BEARER_NOT_IMPLEMENTED)
}

#[cfg(test)]
mod tests;
