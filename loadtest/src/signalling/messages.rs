//! The messages of the browser dialect as a caller speaks it. Written from the contract, not from the gateway's own types, so
//! that a slip there shows here.

use serde::{Deserialize, Serialize};
use server::call::CallEvent;

/// What the caller says.
#[derive(Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are the dialect's own")]
pub enum ClientMessage {
    /// The SessionAuth token, when it is not in the handshake.
    Auth { token: String },
    /// An SDP offer, the first or a later one.
    Offer { sdp: String },
    /// A trickled candidate.
    Candidate {
        candidate: Option<serde_json::Value>,
    },
    /// Makes the call.
    Dial {
        to: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        trunk_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_from: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
    },
    /// Takes an incoming call.
    Accept { call_sid: String },
    /// Refuses an incoming call.
    Reject {
        call_sid: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        q850_cause: Option<u8>,
    },
    /// Puts the far end on hold.
    Hold,
    /// Takes it back.
    Unhold,
    /// Digits that the gateway plays to the far end.
    Dtmf {
        digits: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u16>,
    },
    /// Ends the call.
    Hangup,
    /// Asks for a `pong`.
    Ping { id: i64 },
}

/// What the gateway says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are the dialect's own")]
pub enum ServerMessage {
    /// The token was accepted.
    Session {
        session_id: String,
        #[serde(default)]
        resume_token: Option<String>,
        #[serde(default)]
        resume_within_ms: Option<u32>,
        ice_servers: Vec<serde_json::Value>,
    },
    /// The SDP answer with all candidates.
    Answer { sdp: String },
    /// Somebody calls.
    Incoming {
        call_sid: String,
        from: String,
        to: String,
    },
    /// The far end is being alerted.
    Ringing { call_sid: String },
    /// A CallEvent.
    Event(CallEvent),
    /// A digit from the far end.
    Dtmf { digit: String, duration_ms: u32 },
    /// How the call goes.
    Stats(serde_json::Map<String, serde_json::Value>),
    /// What went wrong.
    Error {
        code: String,
        message: String,
        fault: String,
    },
    /// The call is over.
    Bye { q850_cause: u8, reason: String },
    /// The answer to `ping`.
    Pong { id: serde_json::Value },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn messages_are_those_of_the_contract() {
        let dial = ClientMessage::Dial {
            to: "+15550100".to_owned(),
            trunk_id: Some("echo".to_owned()),
            call_from: None,
            client_id: None,
        };
        assert_eq!(
            serde_json::to_string(&dial).unwrap(),
            r#"{"type":"dial","to":"+15550100","trunk_id":"echo"}"#
        );
        assert_eq!(
            serde_json::to_string(&ClientMessage::Hold).unwrap(),
            r#"{"type":"hold"}"#
        );
        let event = r#"{"type":"event","call_sid":"CS000000000000000000000000000000ab","event_type":1,"status":"INITIATED",
            "start_timestamp_ms":1,"q850_cause":0,"recording_url":"","duration_seconds":0,"answer_timestamp_ms":0,
            "end_timestamp_ms":0,"packets_sent":0,"packets_received":0,"packets_lost":0,"bytes_sent":0,"jitter_ms":0.0,
            "estimated_mos":0.0,"trunk_id":"echo","tenant_id":"acme","codec":"","timestamp_ms":1,"client_id":""}"#;
        let ServerMessage::Event(event) = serde_json::from_str(event).unwrap() else {
            panic!("no event")
        };
        assert_eq!(event.trunk_id.as_str(), "echo");
        let bye: ServerMessage =
            serde_json::from_str(r#"{"type":"bye","q850_cause":16,"reason":"done"}"#).unwrap();
        assert_eq!(
            bye,
            ServerMessage::Bye {
                q850_cause: 16,
                reason: "done".to_owned()
            }
        );
    }
}
