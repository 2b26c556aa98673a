//! The messages on the rings between a shard and the control thread.
//!
//! A shard asks ([`ToControl::Ask`]) and gets one [`ToShard::Answer`] with the same [`AskId`]; a dial that it orders comes
//! back as a live socket or a refusal; everything else is one-way. Only owned, `Send` data travels; no clock.

use std::net::SocketAddr;
use std::sync::Arc;

use shards::ShardIndex;

use crate::call::dialled::{DialledSocket, VapiDialled};
use crate::call::q850::Q850Cause;
use crate::call::{Announcement, CallEvent, CallRecord, TrunkMedia};
use crate::config::EchoCodec;
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
    /// An incoming call is taken: answer its far end.
    TrunkAccept {
        /// The call.
        call_sid: CallSid,
        /// Where our media socket is, as the far end sees it.
        local_rtp: SocketAddr,
        /// Only early media: something is played to the far end before it is refused.
        early: bool,
    },
    /// Digits for the far end that go by signalling (SIP INFO).
    TrunkDigits {
        /// The call.
        call_sid: CallSid,
        /// `0-9 * # A-D`, in this order.
        digits: String,
        /// How long each is held.
        duration_ms: u32,
    },
    /// Dial who takes an incoming call. Answered by [`ToShard::VendorSocket`], unless the call ends before: its
    /// [`ToControl::Ended`] or [`ToControl::Release`] gives the dial up.
    VendorDial(Box<VendorDial>),
    /// Have Twilio end its call, where the tenant has credentials for its REST API. Nothing answers.
    TwilioHangUp {
        /// Whose credentials.
        tenant_id: TenantId,
        /// Twilio's own name for the call (`CA` and 32 hex digits), as it told it.
        vendor_call: String,
    },
    /// Have Vapi end a call whose socket is not used. Nothing answers.
    VapiHangUp(CallSid, Box<VapiDialled>),
    /// A browser session can be called from now on.
    Waiting(Box<WaitingSession>),
    /// It can't any more: it has a call, or is gone.
    NotWaiting(SessionAddress),
}

/// A browser session as other threads name it. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionAddress {
    /// Its shard.
    pub shard: ShardIndex,
    /// Which session of the shard, counted from its start.
    pub serial: u64,
}

/// A browser session that is authenticated, has negotiated its media and has no call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingSession {
    /// Which session.
    pub session: SessionAddress,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The `sub` of its token.
    pub subject: String,
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

/// Who is dialled for an incoming call, in place of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VendorDialTarget {
    /// A Vapi assistant of the tenant, over a WebSocket that Vapi names when it is asked.
    Vapi,
    /// The AI agent of this trunk: a `websocket` trunk, or the SIP trunk that brought the call (HANDLE_AI).
    Agent(TrunkId),
}

/// The vendor side of an incoming call, to be dialled.
#[derive(Debug)]
pub struct VendorDial {
    /// The call.
    pub call_sid: CallSid,
    /// Whose call.
    pub tenant_id: TenantId,
    /// Who is dialled.
    pub to: VendorDialTarget,
    /// Who calls.
    pub from: String,
    /// The number that was called.
    pub to_number: String,
}

/// From the control thread to a shard.
#[derive(Debug)]
pub enum ToShard {
    /// The desk's answer.
    Answer(AskId, Result<(), Refusal>),
    /// What became of a trunk leg.
    Trunk(CallSid, TrunkProgress),
    /// The answer to [`ToControl::VendorDial`]: a WebSocket behind its handshake, which the shard owns from here on.
    VendorSocket(CallSid, Result<Box<DialledSocket>, Refusal>),
    /// Somebody calls over a trunk.
    Incoming(Box<IncomingCall>),
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
    /// Carry this from now on.
    #[cfg(debug_assertions)]
    Burden(crate::injection::Burden),
    /// Close everything and end the executor.
    Stop,
}

/// A call that came over a trunk. The desk's slot is taken already. From here on the shard owns its end: CREATE and
/// HANGUP_COMPLETE, or [`ToControl::Release`], and in each case [`ToControl::TrunkHangup`] where the far end has not hung up
/// itself.
#[derive(Debug)]
pub struct IncomingCall {
    /// The call, with the number of the shard that it is sent to.
    pub call_sid: CallSid,
    /// Whose call.
    pub tenant_id: TenantId,
    /// Over which trunk.
    pub trunk_id: TrunkId,
    /// Who calls.
    pub from: String,
    /// The number that was called.
    pub to: String,
    /// Who takes it.
    pub target: IncomingTarget,
}

/// Who takes an incoming call.
#[derive(Debug, Clone)]
pub enum IncomingTarget {
    /// A page, which accepts or rejects.
    Session(SessionAddress),
    /// An AI agent or Vapi, which the shard has dialled ([`ToControl::VendorDial`]).
    Agent(VendorDialTarget),
    /// The far end hears itself.
    Echo(EchoCodec),
    /// The far end is answered and hears this once; then the call ends with cause 16.
    Play(Arc<Announcement>),
    /// The far end hears this once as early media; then the call is refused.
    PlayThenReject {
        /// What it hears.
        announcement: Arc<Announcement>,
        /// The cause of the refusal.
        cause: Q850Cause,
    },
}

/// How a trunk leg goes on.
#[derive(Debug)]
pub enum TrunkProgress {
    /// A stage of the set-up, for the call record.
    Stage(SetUpStage),
    /// The far end is being alerted.
    Ringing,
    /// Media goes before the answer: the caller hears it, or the far end what is played to it. No event.
    EarlyMedia(TrunkMedia),
    /// The far end answered, or our answer to it is confirmed. After early media the same leg goes on with what changed.
    Answered(TrunkMedia),
    /// Negotiated again during the call: address, codec, payload types, direction, keys. Numbering goes on.
    Media(TrunkMedia),
    /// The far end pressed a key, told by signalling (SIP INFO).
    Digit {
        /// `0-9 * # A-D`
        digit: char,
        /// How long it was held.
        duration_ms: u32,
    },
    /// The far end refused, or could not be reached.
    Failed(Refusal),
    /// The far end hung up, or its leg was lost.
    HungUp {
        /// The cause of the final event.
        cause: Q850Cause,
        /// Who has to change something; none for a normal end.
        fault: Option<Fault>,
        /// One sentence for the record.
        text: String,
    },
}

/// Stages of a set-up that only signalling sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetUpStage {
    /// The INVITE left.
    InviteSent,
    /// The far end's first response came, whichever it was.
    FirstResponse,
}
