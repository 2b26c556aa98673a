//! Twilio's side of many calls: Media Streams to `/signal/twilio/TENANT`, signed as Twilio signs, 50 messages a second each way.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::call::{CallClocks, CallFailure, CallNumber, Stage, Stopwatch, failed, within};
use super::media::{Direction, EncodedSpeech, MediaThreads, StreamPlan, Wire};
use super::signalling::Endpoint;
use super::stream_call::StreamCall;
use super::target::TwilioAccount;

/// Makes calls as Twilio does for `<Connect><Stream>`.
pub struct TwilioCaller {
    /// The gateway.
    pub endpoint: Endpoint,
    /// In the path.
    pub tenant: String,
    /// Whose streams these are.
    pub account: TwilioAccount,
    /// Said over and over.
    pub speech: Arc<EncodedSpeech>,
    /// Over which trunk; none: the tenant's route.
    pub trunk_id: Option<String>,
    /// Where calls go; the call's number follows.
    pub number_prefix: String,
    /// Who sends and receives.
    pub media: Arc<MediaThreads>,
    /// So much of each call is kept for the judge.
    pub record: Duration,
}

impl TwilioCaller {
    /// Makes the call `number`, up to the first sound of its far end.
    ///
    /// # Errors
    /// [`CallFailure`] names the step.
    pub async fn place(
        &self,
        number: CallNumber,
        phase: u8,
        clocks: &CallClocks,
    ) -> Result<StreamCall, CallFailure> {
        let mut watch = Stopwatch::start();
        let path = format!("/signal/twilio/{}", self.tenant);
        let account = &self.account;
        let signature = signature(
            &account.auth_token,
            &format!("{}{path}", account.public_url),
        );
        let headers = [("X-Twilio-Signature", signature)];
        let open = within(Stage::Connect, self.endpoint.open_stream(&path, &headers)).await?;
        let mut socket = open.map_err(|error| failed(Stage::Connect, &error))?;
        watch.lap(Stage::Connect);

        let (stream_sid, call_sid) = (sid("MZ"), sid("CA"));
        let start = self.start(number, &stream_sid, &call_sid);
        let connected = json!({"event": "connected", "protocol": "Call", "version": "1.0.0"});
        for message in [connected, start] {
            let sent = socket.send_text(&message.to_string());
            sent.map_err(|error| failed(Stage::Answer, &error))?;
        }
        let plan = StreamPlan {
            socket,
            wire: Wire::Twilio {
                stream_sid,
                call_sid,
                account_sid: self.account.account_sid.clone(),
                sequence_number: 1,
            },
            direction: Direction::AToB,
            frames: Arc::clone(&self.speech),
            phase,
            clock: Arc::clone(&clocks.vendor),
            heard_clock: Arc::clone(&clocks.trunk),
            record: self.record,
        };
        StreamCall::begin(&self.media, plan, watch).await
    }

    fn start(&self, number: CallNumber, stream_sid: &str, call_sid: &str) -> serde_json::Value {
        let mut parameters = json!({
            "to": format!("{}{:07}", self.number_prefix, number.0),
            "client_id": format!("load-{}", number.0),
        });
        if let Some(trunk_id) = &self.trunk_id {
            parameters["trunk_id"] = json!(trunk_id);
        }
        json!({
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": stream_sid,
            "start": {
                "streamSid": stream_sid,
                "accountSid": self.account.account_sid,
                "callSid": call_sid,
                "tracks": ["inbound"],
                "customParameters": parameters,
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            },
        })
    }
}

/// `X-Twilio-Signature` of a request without a body: the URL alone, as it was configured at Twilio.
pub fn signature(auth_token: &str, url: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes());
    STANDARD.encode(hmac::sign(&key, url.as_bytes()))
}

fn sid(kind: &str) -> String {
    format!(
        "{kind}{:016x}{:016x}",
        crate::random_u64(),
        crate::random_u64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_as_twilios_own_libraries_do() {
        let token = "12345678901234567890123456789012";
        for (url, expected) in [
            (
                "wss://gw.example.com:7443/signal/twilio/acme",
                "mzLLZgrg1HhI3/VJG2OVSpgAEgA=",
            ),
            (
                "wss://gw.example.com/signal/twilio/acme",
                "4+NiToCPbrz/k/ASxGz592e+XbY=",
            ),
        ] {
            assert_eq!(signature(token, url), expected);
        }
    }
}
