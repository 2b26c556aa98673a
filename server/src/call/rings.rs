//! The messages on the rings between a shard and the control thread.
//!
//! A shard asks ([`ToControl::Ask`]) and gets one [`ToShard::Answer`] with the same [`AskId`]; everything else is
//! one-way. Only owned, `Send` data travels; no socket, no clock.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::call::q850::Q850Cause;
use crate::call::{CallEvent, CallRecord, TrunkMedia};
use crate::fault::{Fault, Refusal};
use crate::id::{CallSid, TenantId, TrunkId};
use crate::settings::Settings;

/// Pairs an answer with its question, per shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AskId(pub u64);

/// From a shard to the control thread.
#[derive(Debug)]
pub enum ToControl {
    /// A question to the desk.
    Ask(AskId, Question),
    /// CREATE, ANSWER, HOLD or RESUME of a call.
    Event(Box<CallEvent>),
    /// The final event with the record; gives the call's slot back. Travels in the slot that was reserved for it.
    Ended(Box<CallRecord>),
    /// A granted call that never got its CREATE gives its slot back.
    Release(CallSid),
    /// Set the trunk leg of a call up.
    TrunkDial(Box<TrunkDial>),
    /// Hang the trunk leg up. Nothing answers.
    TrunkHangup {
        /// The call.
        call_sid: CallSid,
        /// The cause to tell the far end.
        cause: Q850Cause,
    },
    /// The caller put the far end on hold, or takes it back.
    TrunkHold {
        /// The call.
        call_sid: CallSid,
        /// Hold or resume.
        hold: bool,
    },
}

/// What the desk decides because several shards share it.
#[derive(Debug)]
pub enum Question {
    /// May this token be used? (once, until `expires_unix_s`)
    UseToken {
        /// The tenant in the path.
        tenant_id: TenantId,
        /// Issuer and `jti`, joined: what must be unique.
        token: String,
        /// The token's `exp`.
        expires_unix_s: u64,
    },
    /// May this call be made? Tenant's `max_calls` and `setups_per_s`, trunk's `channel_limit` and health, drain.
    OpenCall {
        /// The call that takes the slot.
        call_sid: CallSid,
        /// Whose call.
        tenant_id: TenantId,
        /// Over which trunk.
        trunk_id: TrunkId,
    },
}

/// A trunk leg to be set up; its media socket is bound already.
#[derive(Debug)]
pub struct TrunkDial {
    /// The call.
    pub call_sid: CallSid,
    /// The trunk.
    pub trunk_id: TrunkId,
    /// Whom to call.
    pub to: String,
    /// Who calls.
    pub from: String,
    /// Where our media socket is, as the far end sees it; none for trunks without RTP.
    pub local_rtp: Option<SocketAddr>,
}

/// From the control thread to a shard.
#[derive(Debug)]
pub enum ToShard {
    /// The desk's answer.
    Answer(AskId, Result<(), Refusal>),
    /// What became of a trunk leg.
    Trunk(CallSid, TrunkProgress),
    /// End this call (an operator, the drain deadline).
    EndCall {
        /// The call.
        call_sid: CallSid,
        /// The cause of its final event.
        cause: Q850Cause,
        /// Who is blamed.
        fault: Fault,
    },
    /// New tenants, trunks, certificate and keys, for what begins from now on.
    Reload(Arc<Settings>),
    /// SIGTERM: close idle sessions, refuse new ones.
    Drain,
    /// Panic on purpose.
    #[cfg(debug_assertions)]
    Panic(crate::injection::PanicOrder),
    /// Close everything and end the executor.
    Stop,
}

/// How a trunk leg goes on.
#[derive(Debug)]
pub enum TrunkProgress {
    /// The far end is being alerted.
    Ringing,
    /// The far end answered.
    Answered(TrunkMedia),
    /// The far end refused, or could not be reached.
    Failed(Refusal),
    /// The far end hung up.
    HungUp(Q850Cause),
    /// The far end put us on hold, or took us back.
    Hold(bool),
}
