//! The messages of the browser dialect, both ways, as they stand in JSON.
//!
//! Strict: an unknown `type`, an unknown field or a wrong value is an error that names it, so that a page's mistake
//! shows at once. Only the browser's own objects (`RTCIceCandidateInit`) may have more members than we know.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::auth::TurnCredentials;
use crate::auth::session_auth::TOKEN_LEN_MAX;
use crate::call::CallEvent;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TrunkId};

/// The longest message, in bytes.
pub const MESSAGE_LEN_MAX: usize = 64 * 1024;
/// The longest `to`, `call_from` and `client_id`, in bytes.
pub const PARTY_LEN_MAX: usize = 256;
/// The longest candidate line, in bytes.
pub const CANDIDATE_LEN_MAX: usize = 1024;
/// The longest `id` of a ping, in bytes.
pub const PING_ID_LEN_MAX: usize = 64;
/// The most digits in one `dtmf`.
pub const DIGITS_MAX: usize = 32;
/// The shortest digit, in ms.
pub const DIGIT_MS_MIN: u16 = 40;
/// The longest digit, in ms.
pub const DIGIT_MS_MAX: u16 = 2000;
/// The length of a digit if the page names none, in ms.
pub const DIGIT_MS_DEFAULT: u16 = 200;

/// What a page says. Variants and fields are the dialect's own names.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the fields are the dialect's own; the variants say what they do"
)]
pub enum ClientMessage {
    /// The SessionAuth token, if it did not come with the handshake.
    Auth { token: String },
    /// An SDP offer: the first one, or a renegotiation.
    Offer { sdp: String },
    /// A trickled candidate; null, or an empty line, ends them.
    Candidate {
        #[serde(default)]
        candidate: Option<IceCandidate>,
    },
    /// Makes the call.
    Dial {
        to: String,
        #[serde(default)]
        trunk_id: Option<TrunkId>,
        #[serde(default)]
        call_from: Option<String>,
        #[serde(default)]
        client_id: Option<String>,
    },
    /// Answers an incoming call.
    Accept { call_sid: CallSid },
    /// Refuses an incoming call.
    Reject {
        call_sid: CallSid,
        #[serde(default)]
        q850_cause: Option<u8>,
    },
    /// Puts the far end on hold.
    Hold {},
    /// Takes the far end back.
    Unhold {},
    /// Digits to the far end, each `duration_ms` long.
    Dtmf {
        digits: String,
        #[serde(default)]
        duration_ms: Option<u16>,
    },
    /// Ends the call.
    Hangup {},
    /// Asks for a `pong` with the same id.
    Ping { id: PingId },
}

/// A candidate as browsers serialise it (`RTCIceCandidateInit`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the W3C's")]
pub struct IceCandidate {
    #[serde(default)]
    pub candidate: String,
    #[serde(default)]
    pub sdp_mid: Option<String>,
    #[serde(default, rename = "sdpMLineIndex")]
    pub sdp_m_line_index: Option<u16>,
    #[serde(default)]
    pub username_fragment: Option<String>,
}

/// The `id` of a ping, returned as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PingId {
    /// A whole number.
    Number(i64),
    /// A text of at most [`PING_ID_LEN_MAX`] bytes.
    Text(String),
}

impl ClientMessage {
    /// Reads one text frame.
    ///
    /// # Errors
    /// 4400, saying what was wrong: no JSON, an unknown type or field, a missing field, a text that is too long.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let malformed =
            |message: String| Refusal::new(RefusalCode::Malformed, Fault::Caller, message);
        if text.len() > MESSAGE_LEN_MAX {
            return Err(malformed(format!(
                "the message is longer than {MESSAGE_LEN_MAX} bytes"
            )));
        }
        let message: Self = serde_json::from_str(text)
            .map_err(|error| malformed(format!("the message can't be read: {error}")))?;
        message.check_lengths().map_err(malformed)?;
        Ok(message)
    }

    /// The `type` in JSON.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Auth { .. } => "auth",
            Self::Offer { .. } => "offer",
            Self::Candidate { .. } => "candidate",
            Self::Dial { .. } => "dial",
            Self::Accept { .. } => "accept",
            Self::Reject { .. } => "reject",
            Self::Hold {} => "hold",
            Self::Unhold {} => "unhold",
            Self::Dtmf { .. } => "dtmf",
            Self::Hangup {} => "hangup",
            Self::Ping { .. } => "ping",
        }
    }

    fn check_lengths(&self) -> Result<(), String> {
        let bounded = |name: &str, text: &str, len_max: usize| {
            if text.len() > len_max {
                return Err(format!(
                    "{}.{name} is longer than {len_max} bytes",
                    self.type_name()
                ));
            }
            if text.chars().any(char::is_control) {
                return Err(format!(
                    "{}.{name} has control characters",
                    self.type_name()
                ));
            }
            Ok(())
        };
        let bounded_option = |name: &str, text: &Option<String>| match text {
            Some(text) => bounded(name, text, PARTY_LEN_MAX),
            None => Ok(()),
        };
        match self {
            Self::Auth { token } => bounded("token", token, TOKEN_LEN_MAX),
            Self::Candidate {
                candidate: Some(candidate),
            } => {
                bounded("candidate", &candidate.candidate, CANDIDATE_LEN_MAX)?;
                bounded_option("sdpMid", &candidate.sdp_mid)?;
                bounded_option("usernameFragment", &candidate.username_fragment)
            }
            Self::Dial {
                to,
                call_from,
                client_id,
                ..
            } => {
                if to.is_empty() {
                    return Err("dial.to is empty".to_owned());
                }
                bounded("to", to, PARTY_LEN_MAX)?;
                bounded_option("call_from", call_from)?;
                bounded_option("client_id", client_id)
            }
            Self::Reject {
                q850_cause: Some(cause),
                ..
            } if !(1..=127).contains(cause) => Err("reject.q850_cause is not 1 to 127".to_owned()),
            Self::Ping {
                id: PingId::Text(id),
            } => bounded("id", id, PING_ID_LEN_MAX),
            _ => Ok(()),
        }
    }
}

/// Shows the type only: tokens, SDP and numbers are nobody's business in a log.
impl fmt::Debug for ClientMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

/// What the page hears.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "the fields are the dialect's own; the variants say what they tell"
)]
pub enum ServerMessage {
    /// The token was accepted, or the session resumed.
    Session {
        session_id: String,
        /// For the next socket, if this one is lost; absent when `signal_grace_ms` is 0.
        #[serde(skip_serializing_if = "Option::is_none")]
        resume_token: Option<String>,
        /// How long the token is good after the loss.
        #[serde(skip_serializing_if = "Option::is_none")]
        resume_within_ms: Option<u32>,
        /// For `new RTCPeerConnection({iceServers})`.
        ice_servers: Vec<IceServer>,
    },
    /// The SDP answer, with all candidates.
    Answer { sdp: String },
    /// Somebody calls.
    Incoming {
        call_sid: CallSid,
        from: String,
        to: String,
    },
    /// The far end is being alerted.
    Ringing { call_sid: CallSid },
    /// A CallEvent; its fields stand beside `type`.
    Event(CallEvent),
    /// A digit from the far end.
    Dtmf { digit: char, duration_ms: u16 },
    /// How the call goes, every [`STATS_INTERVAL_MS`].
    Stats(CallStats),
    /// What went wrong, and whose fault it was.
    Error {
        code: Cow<'static, str>,
        message: String,
        fault: Fault,
    },
    /// The call is over.
    Bye { q850_cause: u8, reason: String },
    /// The answer to `ping`.
    Pong { id: PingId },
}

impl ServerMessage {
    /// The text frame.
    pub fn to_json(&self) -> String {
        // No map with other keys than texts, no failing serialiser: it can't fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<&Refusal> for ServerMessage {
    fn from(refusal: &Refusal) -> Self {
        Self::Error {
            code: Cow::Borrowed(refusal.code.as_str()),
            message: refusal.message.clone(),
            fault: refusal.fault,
        }
    }
}

/// An entry of `RTCConfiguration.iceServers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are the W3C's")]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(flatten)]
    pub credentials: Option<TurnCredentials>,
}

/// How often `stats` is sent while a call goes on, in ms.
pub const STATS_INTERVAL_MS: u64 = 2000;

/// Both legs of a call, as far as they are known now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CallStats {
    /// The call.
    pub call_sid: CallSid,
    /// Between the page and the gateway.
    pub caller: LegStats,
    /// Between the gateway and the far end.
    pub far_end: LegStats,
}

/// One leg, seen from the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LegStats {
    /// RTP packets sent to the leg.
    pub packets_sent: u64,
    /// RTP packets received from the leg.
    pub packets_received: u64,
    /// RTP packets that the leg sent and that never came.
    pub packets_lost: u64,
    /// Interarrival jitter of what we receive (RFC 3550 section 6.4.1), in ms.
    pub jitter_ms: f64,
    /// Round trip time from RTCP, in ms, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// MOS of what this leg's listener hears, 1 to 4.5.
    pub mos: f64,
    /// What the path to the leg leaves for our payload, in bits per second; absent where congestion control has no say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_bitrate_bps: Option<u32>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use shards::ShardIndex;

    use super::*;

    const SID: &str = "CS0000abababababababababababababab";

    #[test]
    fn every_message_of_a_page_is_read() {
        for (json, type_name) in [
            (json!({"type": "auth", "token": "a.b.c"}), "auth"),
            (json!({"type": "offer", "sdp": "v=0\r\n"}), "offer"),
            (
                json!({"type": "candidate", "candidate": {"candidate": "candidate:1 1 udp 1 192.0.2.2 52683 typ host",
                "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "MbF4", "relayProtocol": null}}),
                "candidate",
            ),
            (json!({"type": "candidate", "candidate": null}), "candidate"),
            (json!({"type": "candidate"}), "candidate"),
            (json!({"type": "dial", "to": "+15550100"}), "dial"),
            (
                json!({"type": "dial", "to": "+15550100", "trunk_id": "echo", "call_from": "Alice", "client_id": "x"}),
                "dial",
            ),
            (json!({"type": "accept", "call_sid": SID}), "accept"),
            (
                json!({"type": "reject", "call_sid": SID, "q850_cause": 17}),
                "reject",
            ),
            (json!({"type": "hold"}), "hold"),
            (json!({"type": "unhold"}), "unhold"),
            (
                json!({"type": "dtmf", "digits": "12#", "duration_ms": 100}),
                "dtmf",
            ),
            (json!({"type": "hangup"}), "hangup"),
            (json!({"type": "ping", "id": 7}), "ping"),
            (json!({"type": "ping", "id": "seven"}), "ping"),
        ] {
            assert_eq!(
                ClientMessage::parse(&json.to_string()).unwrap().type_name(),
                type_name
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, about) in [
            ("", "EOF"),
            ("{", "EOF"),
            ("[]", "type"),
            ("7", "type"),
            (r#"{"to":"x"}"#, "`type`"),
            (r#"{"type":"call"}"#, "unknown variant `call`"),
            (r#"{"type":"dial"}"#, "missing field `to`"),
            (
                r#"{"type":"dial","to":"x","from":"y"}"#,
                "unknown field `from`",
            ),
            (r#"{"type":"dial","to":7}"#, "expected a string"),
            (r#"{"type":"dial","to":""}"#, "dial.to is empty"),
            (r#"{"type":"dial","to":"a\r\nb"}"#, "control characters"),
            (r#"{"type":"dial","to":"x","trunk_id":"a/b"}"#, "an id is"),
            (r#"{"type":"hold","now":true}"#, "unknown field `now`"),
            (r#"{"type":"accept","call_sid":"CS1"}"#, "call_sid"),
            (
                r#"{"type":"reject","call_sid":"CS0000abababababababababababababab","q850_cause":128}"#,
                "1 to 127",
            ),
            (r#"{"type":"hangup"} {"type":"hangup"}"#, "trailing"),
        ] {
            let refusal = ClientMessage::parse(text).unwrap_err();
            assert_eq!(
                (refusal.code, refusal.fault),
                (RefusalCode::Malformed, Fault::Caller)
            );
            assert!(refusal.message.contains(about), "{text}: {refusal}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let parse = |value: serde_json::Value| ClientMessage::parse(&value.to_string());
        assert!(parse(json!({"type": "dial", "to": "x".repeat(PARTY_LEN_MAX)})).is_ok());
        assert!(parse(json!({"type": "dial", "to": "x".repeat(PARTY_LEN_MAX + 1)})).is_err());
        assert!(parse(json!({"type": "ping", "id": "x".repeat(PING_ID_LEN_MAX + 1)})).is_err());
        assert!(parse(json!({"type": "auth", "token": "x".repeat(TOKEN_LEN_MAX + 1)})).is_err());
        assert!(parse(json!({"type": "offer", "sdp": "x".repeat(MESSAGE_LEN_MAX)})).is_err());
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(ClientMessage::parse(&deep).is_err());
    }

    #[test]
    fn answers_have_the_documented_shape() {
        let call_sid = CallSid::new(ShardIndex(0), [0xab; 14]);
        let shape = |message: ServerMessage| {
            serde_json::from_str::<serde_json::Value>(&message.to_json()).unwrap()
        };
        assert_eq!(
            shape(ServerMessage::Session {
                session_id: "s".to_owned(),
                resume_token: None,
                resume_within_ms: None,
                ice_servers: vec![IceServer {
                    urls: vec!["stun:stun.example.com".to_owned()],
                    credentials: None,
                }],
            }),
            json!({"type": "session", "session_id": "s", "ice_servers": [{"urls": ["stun:stun.example.com"]}]})
        );
        let turn = IceServer {
            urls: vec!["turn:turn.example.com".to_owned()],
            credentials: Some(TurnCredentials {
                username: "1:acme".to_owned(),
                credential: "sesame".to_owned(),
            }),
        };
        assert!(!format!("{turn:?}").contains("sesame"));
        assert_eq!(
            serde_json::to_value(turn).unwrap(),
            json!({"urls": ["turn:turn.example.com"], "username": "1:acme", "credential": "sesame"})
        );
        assert_eq!(
            shape(ServerMessage::Ringing { call_sid }),
            json!({"type": "ringing", "call_sid": SID})
        );
        assert_eq!(
            shape(ServerMessage::Dtmf {
                digit: '#',
                duration_ms: 160
            }),
            json!({"type": "dtmf", "digit": "#", "duration_ms": 160})
        );
        assert_eq!(
            shape(ServerMessage::Error {
                code: "limit".into(),
                message: "full".to_owned(),
                fault: Fault::Config
            }),
            json!({"type": "error", "code": "limit", "message": "full", "fault": "config"})
        );
        assert_eq!(
            shape(ServerMessage::Bye {
                q850_cause: 16,
                reason: "normal call clearing".to_owned()
            }),
            json!({"type": "bye", "q850_cause": 16, "reason": "normal call clearing"})
        );
        assert_eq!(
            shape(ServerMessage::Pong {
                id: PingId::Number(7)
            }),
            json!({"type": "pong", "id": 7})
        );
        let stats = CallStats {
            call_sid,
            caller: LegStats::default(),
            far_end: LegStats::default(),
        };
        assert_eq!(
            shape(ServerMessage::Stats(stats))["caller"]["packets_lost"],
            json!(0)
        );
    }

    #[test]
    fn an_event_stands_beside_its_type() {
        let event = json!({
            "call_sid": SID, "event_type": 1, "status": "INITIATED", "start_timestamp_ms": 1, "q850_cause": 0,
            "recording_url": "", "duration_seconds": 0, "answer_timestamp_ms": 0, "end_timestamp_ms": 0,
            "packets_sent": 0, "packets_received": 0, "packets_lost": 0, "bytes_sent": 0, "jitter_ms": 0.0,
            "estimated_mos": 0.0, "trunk_id": "echo", "tenant_id": "acme", "codec": "", "timestamp_ms": 1,
            "client_id": "",
        });
        let message = ServerMessage::Event(serde_json::from_value(event.clone()).unwrap());
        let mut shape: serde_json::Value = serde_json::from_str(&message.to_json()).unwrap();
        assert_eq!(
            shape.as_object_mut().unwrap().remove("type"),
            Some(json!("event"))
        );
        assert_eq!(shape, event);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = ClientMessage::parse(&text);
        }

        #[test]
        fn no_field_panics(name in "[a-z]{0,10}", field in "[a-z_]{0,10}", value in "\\PC{0,50}") {
            let _ = ClientMessage::parse(&json!({"type": name, field: value}).to_string());
        }
    }
}
