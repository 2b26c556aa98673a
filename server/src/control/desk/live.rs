//! The mirror of one live call: enough to show it, and to tell its end when its shard no longer can.

use serde::Serialize;

use crate::call::q850::{Q850Cause, status_for};
use crate::call::{CallEvent, CallRecord, EventType};
use crate::fault::Fault;
use crate::id::{CallSid, TenantId, TrunkId, UnixMillis};

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LiveState {
    /// It has its slot; no event was told yet.
    Granted,
    /// CREATE was told.
    Created,
    /// ANSWER was told.
    Answered,
    /// On hold.
    Held,
}

/// One live call as the control thread knows it, from grants and events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveCall {
    /// The call.
    pub call_sid: CallSid,
    /// Whose call.
    pub tenant_id: TenantId,
    /// Over which trunk.
    pub trunk_id: TrunkId,
    /// Its shard.
    pub shard: u16,
    /// How far it has come.
    pub state: LiveState,
    /// When it was created, Unix ms; 0 before CREATE.
    pub start_timestamp_ms: i64,
    /// When it was answered, Unix ms; 0 before ANSWER.
    pub answer_timestamp_ms: i64,
    /// The codec of its last event.
    pub codec: String,
    /// The client that started it.
    pub client_id: String,
    /// An operator has told it to end.
    pub ending: bool,
    /// It counts against its tenant and trunk. A call that was refused is told (CREATE, HANGUP_COMPLETE) but counts
    /// for nothing.
    #[serde(skip)]
    pub(super) holds_slot: bool,
    /// The trunk whose agent takes the call, where it is another: the call counts against it too.
    #[serde(skip)]
    pub(super) agent_trunk: Option<TrunkId>,
}

impl LiveCall {
    pub(super) fn granted(call_sid: CallSid, tenant_id: TenantId, trunk_id: TrunkId) -> Self {
        Self {
            call_sid,
            tenant_id,
            trunk_id,
            shard: call_sid.shard().0,
            state: LiveState::Granted,
            start_timestamp_ms: 0,
            answer_timestamp_ms: 0,
            codec: String::new(),
            client_id: String::new(),
            ending: false,
            holds_slot: true,
            agent_trunk: None,
        }
    }

    /// What was granted is what comes back, whatever the call's events say.
    pub(super) fn take_slot(&mut self, tenant_id: &TenantId, trunk_id: &TrunkId) {
        self.tenant_id.clone_from(tenant_id);
        self.trunk_id.clone_from(trunk_id);
        self.holds_slot = true;
    }

    pub(super) fn without_slot(event: &CallEvent) -> Self {
        Self {
            holds_slot: false,
            ..Self::granted(
                event.call_sid,
                event.tenant_id.clone(),
                event.trunk_id.clone(),
            )
        }
    }

    /// CREATE was told, so the end must be told too.
    pub fn was_created(&self) -> bool {
        self.state != LiveState::Granted
    }

    pub(super) fn apply(&mut self, event: &CallEvent) {
        self.state = match event.event_type {
            EventType::ChannelCreate => LiveState::Created,
            EventType::ChannelAnswer | EventType::ChannelResume => LiveState::Answered,
            EventType::ChannelHold => LiveState::Held,
            EventType::ChannelHangupComplete => self.state,
        };
        self.start_timestamp_ms = event.start_timestamp_ms;
        self.answer_timestamp_ms = event.answer_timestamp_ms;
        self.codec.clone_from(&event.codec);
        self.client_id.clone_from(&event.client_id);
    }

    /// The end that its shard does not tell any more: cause 41, our fault, no packet counts. `reason` is a sentence for
    /// a person.
    pub fn end_untold(&self, at: UnixMillis, reason: &str) -> CallRecord {
        let answered = self.answer_timestamp_ms > 0;
        let duration_ms = if answered {
            at.0.saturating_sub(self.answer_timestamp_ms).max(0)
        } else {
            0
        };
        let event = CallEvent {
            call_sid: self.call_sid,
            event_type: EventType::ChannelHangupComplete,
            status: status_for(Q850Cause::TEMPORARY_FAILURE, answered),
            start_timestamp_ms: self.start_timestamp_ms,
            q850_cause: i32::from(Q850Cause::TEMPORARY_FAILURE.0),
            recording_url: String::new(),
            duration_seconds: i32::try_from(duration_ms / 1000).unwrap_or(i32::MAX),
            answer_timestamp_ms: self.answer_timestamp_ms,
            end_timestamp_ms: at.0,
            packets_sent: 0,
            packets_received: 0,
            packets_lost: 0,
            bytes_sent: 0,
            jitter_ms: 0.0,
            estimated_mos: 0.0,
            trunk_id: self.trunk_id.clone(),
            tenant_id: self.tenant_id.clone(),
            codec: self.codec.clone(),
            timestamp_ms: at.0,
            client_id: self.client_id.clone(),
        };
        CallRecord::without_account(event, reason, Some(Fault::Us))
    }
}
