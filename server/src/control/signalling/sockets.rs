//! The WebSockets that calls are dialled over: those of `websocket` trunks, and those of the agents and assistants that take
//! incoming calls. Pure: it orders dials and gives them up, another does them.
//!
//! A trunk whose agent can't be had several times in a row is not dialled for a while.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shards::tick_stream::LiveStream;

use crate::call::dialled::DialledPeer;
use crate::call::q850::Q850Cause;
use crate::config::{GatewayConfig, TenantConfig, TrunkConfig, TrunkKind};
use crate::control::outbound::vapi::VapiCall;
use crate::control::outbound::{DialFailure, DialOutcome};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TrunkId};
use crate::trunk::sip::trunk_line::TrunkHealth;

/// Dials under way at once; those beyond are refused.
pub const DIALS_MAX: usize = 4096;
/// Failures in a row after which a trunk is not dialled, as a SIP trunk's `circuit_breaker_failures`.
const BREAKER_FAILURES_MAX: u32 = 5;
/// For how long, as a SIP trunk's `circuit_breaker_open_s`.
const BREAKER_OPEN_FOR: Duration = Duration::from_secs(30);

/// Which side of a call a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialSide {
    /// Its far end.
    Trunk,
    /// Who takes it in place of a page.
    Vendor,
}

/// Names a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DialKey {
    /// The call.
    pub call_sid: CallSid,
    /// Which side of it.
    pub side: DialSide,
}

/// Who is dialled, as it was configured then.
#[derive(Debug, Clone)]
pub enum DialPlan {
    /// The agent of a trunk.
    Agent {
        /// Whose call.
        tenant: Arc<TenantConfig>,
        /// The trunk.
        trunk: Arc<TrunkConfig>,
    },
    /// The tenant's assistant.
    Vapi {
        /// Whose call.
        tenant: Arc<TenantConfig>,
        /// What it is told of the call.
        call: VapiCall,
    },
}

/// What became of a dial.
#[derive(Debug)]
pub struct Dialled {
    /// Which one.
    pub key: DialKey,
    /// Who was dialled.
    pub peer: DialledPeer,
    /// The open socket, or why there is none.
    pub outcome: Result<Box<LiveStream>, DialFailure>,
}

/// What is to be done.
#[derive(Debug)]
pub enum DialOrder {
    /// Dial, and hand back what came of it.
    Dial(DialKey, Box<DialPlan>),
    /// Nobody waits for it any more.
    GiveUp(DialKey),
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// With the trunk whose agent is dialled; none: Vapi.
    dialling: HashMap<DialKey, Option<TrunkId>>,
    breakers: BTreeMap<TrunkId, Breaker>,
    orders: VecDeque<DialOrder>,
    health: VecDeque<(TrunkId, TrunkHealth)>,
    outcomes: [u64; DialOutcome::ALL.len()],
}

#[derive(Debug, Default)]
struct Breaker {
    /// The trunk is the agent's own, so that calls over it are refused meanwhile.
    is_agents_own: bool,
    failures: u32,
    open_until: Option<Instant>,
    /// The next failure opens it at once.
    tries: bool,
}

impl Sockets {
    /// Follows a configuration: each trunk with an agent has a breaker.
    pub fn reconfigure(&mut self, config: &GatewayConfig) {
        let mut breakers = BTreeMap::new();
        for trunk in config.trunks.values() {
            if trunk.agent().is_some() {
                let known = self.breakers.remove(&trunk.trunk_id);
                let breaker = Breaker {
                    is_agents_own: matches!(trunk.kind, TrunkKind::WebSocket(_)),
                    ..known.unwrap_or_default()
                };
                breakers.insert(trunk.trunk_id.clone(), breaker);
            }
        }
        self.breakers = breakers;
    }

    /// Orders a dial.
    ///
    /// # Errors
    /// Why nobody is dialled.
    pub fn dial(&mut self, key: DialKey, plan: DialPlan) -> Result<(), Refusal> {
        let trunk_id = match &plan {
            DialPlan::Agent { trunk, .. } => Some(trunk.trunk_id.clone()),
            DialPlan::Vapi { .. } => None,
        };
        // One answer is enough for whoever asks twice.
        if self.dialling.contains_key(&key) {
            return Ok(());
        }
        if self.dialling.len() >= DIALS_MAX {
            self.count(DialOutcome::Overload);
            let message = "the gateway dials as many agents as it can";
            let refusal = Refusal::new(RefusalCode::Overload, Fault::Us, message);
            return Err(refusal.with_cause(Q850Cause::CONGESTION));
        }
        let breaker = trunk_id.as_ref().and_then(|id| self.breakers.get(id));
        if breaker.is_some_and(|breaker| breaker.open_until.is_some()) {
            self.count(DialOutcome::BreakerOpen);
            let message = "the agent could not be had several times in a row";
            let refusal = Refusal::new(RefusalCode::Limit, Fault::Agent, message);
            return Err(refusal.with_cause(Q850Cause::NO_CIRCUIT));
        }
        self.dialling.insert(key, trunk_id);
        self.orders.push_back(DialOrder::Dial(key, Box::new(plan)));
        Ok(())
    }

    /// Nobody waits for the sockets of this call any more.
    pub fn give_up(&mut self, call_sid: CallSid) {
        for side in [DialSide::Trunk, DialSide::Vendor] {
            let key = DialKey { call_sid, side };
            if self.dialling.remove(&key).is_some() {
                self.count(DialOutcome::GivenUp);
                self.orders.push_back(DialOrder::GiveUp(key));
            }
        }
    }

    /// Takes what came of a dial; false: nobody waits for it any more.
    pub fn dialled(&mut self, now: Instant, key: DialKey, failure: Option<&DialFailure>) -> bool {
        let Some(trunk_id) = self.dialling.remove(&key) else {
            return false;
        };
        self.count(failure.map_or(DialOutcome::Connected, |failure| failure.outcome));
        let Some((trunk_id, breaker)) =
            trunk_id.and_then(|id| Some((id.clone(), self.breakers.get_mut(&id)?)))
        else {
            return true;
        };
        let was_open = breaker.open_until.is_some();
        match failure {
            None => breaker.went_through(),
            // What the operator has to change is no sign of the agent's health.
            Some(failure) if failure.refusal.fault == Fault::Agent => breaker.failed(now),
            Some(_) => {}
        }
        let is_open = breaker.open_until.is_some();
        if breaker.is_agents_own && is_open != was_open {
            let health = match is_open {
                true => TrunkHealth::BreakerOpen,
                false => TrunkHealth::Up,
            };
            self.health.push_back((trunk_id, health));
        }
        true
    }

    /// Lets trunks be tried again.
    pub fn handle_timeout(&mut self, now: Instant) {
        for (trunk_id, breaker) in &mut self.breakers {
            if breaker.open_until.is_some_and(|until| until <= now) {
                breaker.open_until = None;
                breaker.tries = true;
                if breaker.is_agents_own {
                    self.health.push_back((trunk_id.clone(), TrunkHealth::Up));
                }
            }
        }
    }

    /// The next thing to do.
    pub fn poll_order(&mut self) -> Option<DialOrder> {
        self.orders.pop_front()
    }

    /// The next trunk whose health has changed.
    pub fn poll_health(&mut self) -> Option<(TrunkId, TrunkHealth)> {
        self.health.pop_front()
    }

    /// Dials under way.
    pub fn dialling(&self) -> usize {
        self.dialling.len()
    }

    /// How often dials ended how.
    pub fn outcomes(&self) -> impl Iterator<Item = (DialOutcome, u64)> + '_ {
        DialOutcome::ALL.into_iter().zip(self.outcomes)
    }

    /// The trunks with an agent, and whether it is dialled.
    pub fn agents(&self) -> impl Iterator<Item = (&TrunkId, bool)> {
        self.breakers
            .iter()
            .map(|(trunk_id, breaker)| (trunk_id, breaker.open_until.is_none()))
    }

    fn count(&mut self, outcome: DialOutcome) {
        self.outcomes[outcome as usize] += 1;
    }
}

impl Breaker {
    fn went_through(&mut self) {
        self.failures = 0;
        self.open_until = None;
        self.tries = false;
    }

    fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.tries || self.failures >= BREAKER_FAILURES_MAX {
            self.tries = false;
            self.open_until = Some(now + BREAKER_OPEN_FOR);
        }
    }
}

#[cfg(test)]
mod tests;
