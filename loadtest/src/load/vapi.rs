//! A relay's side of many calls: it speaks Vapi's framing to `/signal/vapi/TENANT`, 16-bit samples at 16 kHz in binary messages of
//! 20 ms, with the bearer token that the tenant pinned.

use std::sync::Arc;
use std::time::Duration;

use super::call::{CallClocks, CallFailure, Stage, Stopwatch, failed, within};
use super::media::{Direction, EncodedSpeech, MediaThreads, StreamPlan, Wire};
use super::signalling::Endpoint;
use super::stream_call::StreamCall;

/// How a relay ends a call.
pub(super) const END_CALL: &str = r#"{"type":"end-call"}"#;

/// Makes calls as a relay in front of Vapi does.
pub struct VapiCaller {
    /// The gateway.
    pub endpoint: Endpoint,
    /// In the path.
    pub tenant: String,
    /// The tenant's.
    pub bearer_token: String,
    /// Said over and over.
    pub speech: Arc<EncodedSpeech>,
    /// Who sends and receives.
    pub media: Arc<MediaThreads>,
    /// So much of each call is kept for the judge.
    pub record: Duration,
}

impl VapiCaller {
    /// Makes a call, up to the first sound of its far end. Nothing in the framing says where it goes: that is the route's.
    ///
    /// # Errors
    /// [`CallFailure`] names the step.
    pub async fn place(&self, phase: u8, clocks: &CallClocks) -> Result<StreamCall, CallFailure> {
        let mut watch = Stopwatch::start();
        let path = format!("/signal/vapi/{}", self.tenant);
        let headers = [("Authorization", format!("Bearer {}", self.bearer_token))];
        let open = within(Stage::Connect, self.endpoint.open_stream(&path, &headers)).await?;
        let socket = open.map_err(|error| failed(Stage::Connect, &error))?;
        watch.lap(Stage::Connect);
        let plan = StreamPlan {
            socket,
            wire: Wire::Binary {
                goodbye: END_CALL.to_owned(),
                their_goodbye: "end-call",
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
}
