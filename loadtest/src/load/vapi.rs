//! A relay's side of many calls: it speaks Vapi's framing to `/signal/vapi/TENANT`, 16-bit samples at 16 kHz in binary messages of
//! 20 ms, with the bearer token that the tenant pinned.

use std::sync::Arc;
use std::time::Duration;

use super::call::{
    CallClocks, CallFailure, CallNumber, Stage, Stopwatch, refused_or_failed, within,
};
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
    /// Over which trunk; none: the tenant's route.
    pub trunk_id: Option<String>,
    /// Where calls go; the call's number follows.
    pub number_prefix: String,
    /// Who sends and receives.
    pub media: Arc<MediaThreads>,
    /// So much of each call is kept for the judge.
    pub record: Duration,
}

impl VapiCaller {
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
        let path = self.path(number);
        let headers = [("Authorization", format!("Bearer {}", self.bearer_token))];
        let open = within(Stage::Connect, self.endpoint.open_stream(&path, &headers)).await?;
        let socket = open.map_err(|error| refused_or_failed(&error))?;
        watch.lap(Stage::Connect);
        let plan = StreamPlan {
            socket,
            wire: Wire::Binary {
                goodbye: END_CALL.to_owned(),
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

    fn path(&self, number: CallNumber) -> String {
        let trunk = match &self.trunk_id {
            Some(trunk_id) => format!("&trunk_id={trunk_id}"),
            None => String::new(),
        };
        format!(
            "/signal/vapi/{}?to={}{:07}&client_id=load-{}{trunk}",
            self.tenant,
            self.number_prefix.replace('+', "%2B"),
            number.0,
            number.0
        )
    }
}
