//! The desk: counts what several shards share, and answers their questions with yes, or no and the reason.
//!
//! Contracts section 2. It knows used tokens, the slots of tenants and trunks, and mirrors the live calls. It tells no
//! events, keeps no records and knows no rings.

mod live;
mod rate;
mod tokens;

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use shards::ShardIndex;

pub use live::{LiveCall, LiveState};
pub use tokens::USED_TOKENS_MAX;

use crate::call::q850::Q850Cause;
use crate::call::{CallEvent, EventType};
use crate::config::GatewayConfig;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TenantId, TrunkId};
use crate::trunk::sip::trunk_line::TrunkHealth;
use rate::Rate;
use tokens::UsedTokens;

/// Live calls in one process; more than any host carries, so only a leak meets it.
pub const LIVE_CALLS_MAX: usize = 100_000;

macro_rules! desk_refusals {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// Why the desk said no; the label of its counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum DeskRefusal { $($(#[$doc])* $variant,)* }

        impl DeskRefusal {
            /// Every reason, in the order of its counter.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The metric label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

desk_refusals! {
    /// The token was used before.
    TokenReplayed = "token_replayed",
    /// The token died while the question was under way.
    TokenExpired = "token_expired",
    /// The store of used tokens is full of live ones.
    TokenStoreFull = "token_store_full",
    /// The process drains.
    Draining = "draining",
    /// No such tenant (any more).
    TenantUnknown = "tenant_unknown",
    /// The tenant has no such trunk.
    TrunkUnknown = "trunk_unknown",
    /// The tenant's `max_calls`.
    TenantCalls = "tenant_calls",
    /// The tenant's `setups_per_s`.
    TenantRate = "tenant_rate",
    /// The trunk's `channel_limit`.
    TrunkChannels = "trunk_channels",
    /// The trunk does not answer, or is not registered.
    TrunkDown = "trunk_down",
    /// Too many calls over the trunk failed one after the other.
    TrunkBreaker = "trunk_breaker",
    /// The call has its slot already.
    CallExists = "call_exists",
    /// [`LIVE_CALLS_MAX`].
    Overload = "overload",
}

/// An event that breaks the rule of exactly one CREATE and one HANGUP_COMPLETE per call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// CREATE was told already.
    #[error("a second CHANNEL_CREATE")]
    SecondCreate,
    /// No CREATE before it, or the end was told already.
    #[error("an event outside of CHANNEL_CREATE and CHANNEL_HANGUP_COMPLETE")]
    NotLive,
    /// The mirror is full.
    #[error("more than {LIVE_CALLS_MAX} live calls")]
    TooMany,
}

/// The desk. Time is passed in; nothing blocks.
#[derive(Debug)]
pub struct Desk {
    tenants: HashMap<TenantId, TenantLimits>,
    trunks: HashMap<TrunkId, TrunkLimits>,
    tenant_use: HashMap<TenantId, TenantUse>,
    trunk_use: HashMap<TrunkId, u32>,
    /// Trunks that calls may not go over now.
    unhealthy: HashMap<TrunkId, TrunkHealth>,
    tokens: UsedTokens,
    calls: BTreeMap<CallSid, LiveCall>,
    refusals: [u64; DeskRefusal::ALL.len()],
    draining: bool,
}

#[derive(Debug)]
struct TenantLimits {
    max_calls: u32,
    setups_per_s: u32,
}

#[derive(Debug)]
struct TrunkLimits {
    tenant_id: TenantId,
    channel_limit: u32,
}

/// Kept over a reload, so that a new limit does not forget the calls of the old one.
#[derive(Debug, Default)]
struct TenantUse {
    calls: u32,
    setups: Rate,
}

impl Desk {
    /// A desk with all slots of `config` free.
    pub fn new(config: &GatewayConfig) -> Self {
        let mut desk = Self {
            tenants: HashMap::new(),
            trunks: HashMap::new(),
            tenant_use: HashMap::new(),
            trunk_use: HashMap::new(),
            unhealthy: HashMap::new(),
            tokens: UsedTokens::default(),
            calls: BTreeMap::new(),
            refusals: [0; DeskRefusal::ALL.len()],
            draining: false,
        };
        desk.reconfigure(config);
        desk
    }

    /// Takes new limits; live calls stay and count against them.
    pub fn reconfigure(&mut self, config: &GatewayConfig) {
        self.tenants = config
            .tenants
            .values()
            .map(|tenant| {
                let limits = TenantLimits {
                    max_calls: tenant.max_calls,
                    setups_per_s: tenant.setups_per_s,
                };
                (tenant.tenant_id.clone(), limits)
            })
            .collect();
        self.trunks = config
            .trunks
            .values()
            .map(|trunk| {
                let limits = TrunkLimits {
                    tenant_id: trunk.tenant_id.clone(),
                    channel_limit: trunk.channel_limit,
                };
                (trunk.trunk_id.clone(), limits)
            })
            .collect();
        let tenants = &self.tenants;
        self.tenant_use
            .retain(|tenant_id, used| used.calls > 0 || tenants.contains_key(tenant_id));
        let trunks = &self.trunks;
        self.unhealthy
            .retain(|trunk_id, _| trunks.contains_key(trunk_id));
    }

    /// Whether calls may go over a trunk.
    pub fn set_health(&mut self, trunk_id: TrunkId, health: TrunkHealth) {
        match health {
            TrunkHealth::Up => self.unhealthy.remove(&trunk_id),
            TrunkHealth::Down(_) | TrunkHealth::BreakerOpen => {
                self.unhealthy.insert(trunk_id, health)
            }
        };
    }

    /// From now on every new call is refused.
    pub fn begin_drain(&mut self) {
        self.draining = true;
    }

    /// Answers [`crate::call::rings::Question::UseToken`]: each token (issuer and `jti`) opens one connection.
    ///
    /// # Errors
    /// 4406 for a replay, 4402 for a token past its expiry, 4429 and our fault when the store is full.
    pub fn use_token(
        &mut self,
        now_unix_s: u64,
        tenant_id: &TenantId,
        token: &str,
        expires_unix_s: u64,
    ) -> Result<(), Refusal> {
        let answer = self
            .tokens
            .take(now_unix_s, tenant_id, token, expires_unix_s);
        answer.map_err(|reason| {
            let (code, fault, message) = match reason {
                DeskRefusal::TokenReplayed => (
                    RefusalCode::Replayed,
                    Fault::Caller,
                    "this token was used before",
                ),
                DeskRefusal::TokenExpired => (
                    RefusalCode::TokenExpired,
                    Fault::Caller,
                    "this token has expired",
                ),
                _ => (RefusalCode::Limit, Fault::Us, "token store is full"),
            };
            self.refuse(reason, Refusal::new(code, fault, message))
        })
    }

    /// Answers [`crate::call::rings::Question::OpenCall`] and takes one slot of the tenant and one of the trunk.
    ///
    /// The rate is asked last: a call that another limit refuses does not use it up.
    ///
    /// # Errors
    /// The limit, unknown trunk or drain that stands against it.
    pub fn open_call(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        tenant_id: &TenantId,
        trunk_id: &TrunkId,
    ) -> Result<(), Refusal> {
        let refusal = match self.unhealthy.get(trunk_id) {
            None | Some(TrunkHealth::Up) => None,
            Some(TrunkHealth::Down(why)) => {
                let message = format!("trunk {trunk_id} is down: {why}");
                let cause = Q850Cause::NETWORK_OUT_OF_ORDER;
                Some((DeskRefusal::TrunkDown, message, cause))
            }
            Some(TrunkHealth::BreakerOpen) => {
                let message =
                    format!("too many calls over trunk {trunk_id} failed one after the other");
                Some((DeskRefusal::TrunkBreaker, message, Q850Cause::NO_CIRCUIT))
            }
        };
        let is_owned = self
            .trunks
            .get(trunk_id)
            .is_some_and(|trunk| trunk.tenant_id == *tenant_id);
        if let Some((reason, message, cause)) = refusal.filter(|_| is_owned) {
            let refusal = Refusal::new(RefusalCode::Limit, Fault::Trunk, message).with_cause(cause);
            return Err(self.refuse(reason, refusal));
        }
        self.open_incoming_call(now, call_sid, tenant_id, trunk_id)
    }

    /// As [`Desk::open_call`], for a call that came over the trunk: it works, whatever its keepalive says.
    ///
    /// # Errors
    /// As [`Desk::open_call`].
    pub fn open_incoming_call(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        tenant_id: &TenantId,
        trunk_id: &TrunkId,
    ) -> Result<(), Refusal> {
        if let Err((reason, refusal)) = self.admit(now, call_sid, tenant_id, trunk_id) {
            return Err(self.refuse(reason, refusal));
        }
        self.tenant_use.entry(tenant_id.clone()).or_default().calls += 1;
        *self.trunk_use.entry(trunk_id.clone()).or_default() += 1;
        let granted = LiveCall::granted(call_sid, tenant_id.clone(), trunk_id.clone());
        self.calls
            .entry(call_sid)
            .and_modify(|call| call.take_slot(tenant_id, trunk_id))
            .or_insert(granted);
        Ok(())
    }

    /// Takes a slot of the trunk whose agent takes an incoming call, which has its own slot already.
    ///
    /// # Errors
    /// The agent can't be had now, or its trunk has its channels. The call keeps its slot.
    pub fn take_agent_channel(
        &mut self,
        call_sid: CallSid,
        trunk_id: &TrunkId,
    ) -> Result<(), Refusal> {
        if self.unhealthy.contains_key(trunk_id) {
            let message = format!("the agent of trunk {trunk_id} could not be had several times");
            let refusal = Refusal::new(RefusalCode::Limit, Fault::Agent, message)
                .with_cause(Q850Cause::NO_CIRCUIT);
            return Err(self.refuse(DeskRefusal::TrunkBreaker, refusal));
        }
        let channel_limit = self
            .trunks
            .get(trunk_id)
            .map_or(0, |trunk| trunk.channel_limit);
        let channels = self.trunk_use.get(trunk_id).copied().unwrap_or(0);
        if channels >= channel_limit {
            let message = format!("trunk {trunk_id} has its {channel_limit} channels");
            let refusal = Refusal::new(RefusalCode::Limit, Fault::Config, message)
                .with_cause(Q850Cause::NO_CIRCUIT);
            return Err(self.refuse(DeskRefusal::TrunkChannels, refusal));
        }
        if let Some(call) = self.calls.get_mut(&call_sid) {
            call.agent_trunk = Some(trunk_id.clone());
            *self.trunk_use.entry(trunk_id.clone()).or_default() += 1;
        }
        Ok(())
    }

    /// Takes a call out of the mirror and gives its slots back. None if it was not live.
    pub fn close_call(&mut self, call_sid: CallSid) -> Option<LiveCall> {
        let call = self.calls.remove(&call_sid)?;
        if call.holds_slot {
            if let Some(used) = self.tenant_use.get_mut(&call.tenant_id) {
                used.calls = used.calls.saturating_sub(1);
            }
            for trunk_id in std::iter::once(&call.trunk_id).chain(&call.agent_trunk) {
                if let Some(channels) = self.trunk_use.get_mut(trunk_id) {
                    *channels = channels.saturating_sub(1);
                    if *channels == 0 {
                        self.trunk_use.remove(trunk_id);
                    }
                }
            }
        }
        Some(call)
    }

    /// Brings the mirror up to date with an event other than the final one.
    ///
    /// # Errors
    /// The event does not fit what was told of this call; it must not be told.
    pub fn handle_event(&mut self, event: &CallEvent) -> Result<(), OutOfOrder> {
        let created = event.event_type == EventType::ChannelCreate;
        if !self.calls.contains_key(&event.call_sid) && created {
            if self.calls.len() >= LIVE_CALLS_MAX {
                return Err(OutOfOrder::TooMany);
            }
            let call = LiveCall::without_slot(event);
            self.calls.insert(event.call_sid, call);
        }
        let call = self
            .calls
            .get_mut(&event.call_sid)
            .ok_or(OutOfOrder::NotLive)?;
        match (created, call.was_created()) {
            (true, true) => return Err(OutOfOrder::SecondCreate),
            (false, false) => return Err(OutOfOrder::NotLive),
            (true, false) | (false, true) => call.apply(event),
        }
        Ok(())
    }

    /// Notes that a live call was told to end; false if it was told before. None if it is not live.
    pub fn mark_ending(&mut self, call_sid: CallSid) -> Option<bool> {
        let call = self.calls.get_mut(&call_sid)?;
        Some(!std::mem::replace(&mut call.ending, true))
    }

    /// Closes all calls of a dead shard and hands them out, so that their ends can be told.
    pub fn shard_died(&mut self, shard: ShardIndex) -> Vec<LiveCall> {
        let lost: Vec<CallSid> = self
            .calls
            .keys()
            .filter(|call_sid| call_sid.shard() == shard)
            .copied()
            .collect();
        lost.into_iter()
            .filter_map(|call_sid| self.close_call(call_sid))
            .collect()
    }

    /// The live calls, ordered by `call_sid`.
    pub fn live_calls(&self) -> impl Iterator<Item = &LiveCall> {
        self.calls.values()
    }

    /// One live call.
    pub fn live_call(&self, call_sid: CallSid) -> Option<&LiveCall> {
        self.calls.get(&call_sid)
    }

    /// How many calls are live, those that have their slot but no CREATE yet included.
    pub fn live_call_count(&self) -> usize {
        self.calls.len()
    }

    /// How many used tokens are remembered.
    pub fn used_token_count(&self) -> usize {
        self.tokens.len()
    }

    /// How often each reason was given.
    pub fn refusals(&self) -> impl Iterator<Item = (DeskRefusal, u64)> + '_ {
        DeskRefusal::ALL.iter().copied().zip(self.refusals)
    }

    fn admit(
        &mut self,
        now: Instant,
        call_sid: CallSid,
        tenant_id: &TenantId,
        trunk_id: &TrunkId,
    ) -> Result<(), (DeskRefusal, Refusal)> {
        let no_slot = |message: String, fault| {
            Refusal::new(RefusalCode::Limit, fault, message).with_cause(Q850Cause::NO_CIRCUIT)
        };
        if self.draining {
            let refusal = Refusal::new(
                RefusalCode::Draining,
                Fault::Us,
                "the gateway is shutting down",
            )
            .with_cause(Q850Cause::TEMPORARY_FAILURE);
            return Err((DeskRefusal::Draining, refusal));
        }
        let Some(tenant) = self.tenants.get(tenant_id) else {
            let message = format!("there is no tenant {tenant_id}");
            let refusal = Refusal::new(RefusalCode::NotFound, Fault::Caller, message);
            return Err((DeskRefusal::TenantUnknown, refusal));
        };
        // Another tenant's trunk is answered like one that does not exist.
        let owned = |trunk: &&TrunkLimits| trunk.tenant_id == *tenant_id;
        let Some(trunk) = self.trunks.get(trunk_id).filter(owned) else {
            let message = format!("tenant {tenant_id} has no trunk {trunk_id}");
            let refusal = Refusal::new(RefusalCode::NotFound, Fault::Caller, message);
            return Err((DeskRefusal::TrunkUnknown, refusal));
        };
        if self
            .calls
            .get(&call_sid)
            .is_some_and(|call| call.holds_slot)
        {
            let message = format!("call {call_sid} has its slot already");
            let refusal = Refusal::new(RefusalCode::CallExists, Fault::Us, message);
            return Err((DeskRefusal::CallExists, refusal));
        }
        if self.calls.len() >= LIVE_CALLS_MAX {
            let message = format!("the gateway has {LIVE_CALLS_MAX} calls");
            let refusal = Refusal::new(RefusalCode::Overload, Fault::Us, message)
                .with_cause(Q850Cause::CONGESTION);
            return Err((DeskRefusal::Overload, refusal));
        }
        let used = self.tenant_use.entry(tenant_id.clone()).or_default();
        if used.calls >= tenant.max_calls {
            let message = format!("tenant {tenant_id} has its {} calls", tenant.max_calls);
            return Err((DeskRefusal::TenantCalls, no_slot(message, Fault::Config)));
        }
        if self.trunk_use.get(trunk_id).copied().unwrap_or(0) >= trunk.channel_limit {
            let message = format!("trunk {trunk_id} has its {} channels", trunk.channel_limit);
            return Err((DeskRefusal::TrunkChannels, no_slot(message, Fault::Config)));
        }
        if !used.setups.take(now, tenant.setups_per_s) {
            let message = format!(
                "tenant {tenant_id} may set up {} calls per second",
                tenant.setups_per_s
            );
            return Err((DeskRefusal::TenantRate, no_slot(message, Fault::Caller)));
        }
        Ok(())
    }

    fn refuse(&mut self, reason: DeskRefusal, refusal: Refusal) -> Refusal {
        self.refusals[reason as usize] += 1;
        refusal
    }
}

#[cfg(test)]
mod tests;
