//! `CallEvent` as published: field names, types, event_type numbers and status strings.

use serde::{Deserialize, Serialize};

use crate::id::{CallSid, TenantId, TrunkId};

/// One event of a call. JSON has these names in this order; fields that are not populated yet are zero or empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the names are the published schema; see ARCHITECTURE.md, CallEvent"
)]
pub struct CallEvent {
    pub call_sid: CallSid,
    pub event_type: EventType,
    pub status: CallStatus,
    pub start_timestamp_ms: i64,
    pub q850_cause: i32,
    pub recording_url: String,
    pub duration_seconds: i32,
    pub answer_timestamp_ms: i64,
    pub end_timestamp_ms: i64,
    pub packets_sent: u32,
    pub packets_received: u32,
    pub packets_lost: u32,
    pub bytes_sent: u64,
    pub jitter_ms: f64,
    pub estimated_mos: f64,
    pub trunk_id: TrunkId,
    pub tenant_id: TenantId,
    pub codec: String,
    pub timestamp_ms: i64,
    pub client_id: String,
}

/// `event_type`, an int32 on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "i32", try_from = "i32")]
#[repr(i32)]
pub enum EventType {
    /// The b-leg was created, no audio yet.
    ChannelCreate = 1,
    /// The far end answered, audio flows.
    ChannelAnswer = 2,
    /// Final accounting; exactly one per call.
    ChannelHangupComplete = 3,
    /// A side put the call on hold.
    ChannelHold = 4,
    /// The call goes on.
    ChannelResume = 5,
}

impl From<EventType> for i32 {
    fn from(event_type: EventType) -> i32 {
        event_type as i32
    }
}

impl TryFrom<i32> for EventType {
    type Error = String;

    fn try_from(number: i32) -> Result<Self, String> {
        Ok(match number {
            1 => Self::ChannelCreate,
            2 => Self::ChannelAnswer,
            3 => Self::ChannelHangupComplete,
            4 => Self::ChannelHold,
            5 => Self::ChannelResume,
            other => return Err(format!("{other} is no event_type")),
        })
    }
}

/// `status`, a string on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names are the published schema")]
pub enum CallStatus {
    Initiated,
    Ringing,
    Answered,
    Completed,
    Failed,
    Busy,
    NoAnswer,
}
