//! An AI agent behind a `websocket` trunk, that speaks raw PCM: the gateway's own dialect for agents.
//!
//! We dial the agent. A binary message is audio, 16-bit little-endian mono at the rate of `start`; ours last 20 ms, the agent's
//! as long as it likes, as fast as it likes: they are queued and played in real time. A text message is a JSON object with a
//! `type`; one that the dialect does not have ends the call with close code 4400.
//!
//! | from us | when |
//! | --- | --- |
//! | `{"type":"start","call_sid","tenant_id","from","to","format":{"encoding":"linear16","sample_rate_hz":16000,"channels":1}}` | first, once |
//! | `{"type":"dtmf","digit":"5","duration_ms":200}` | the caller pressed a digit |
//! | `{"type":"mark","name"}` | all audio before this mark of the agent's was played, or cleared |
//! | `{"type":"cleared","played_ms":1240}` | the answer to `clear`: so much was played since the last one |
//! | `{"type":"interrupted","played_ms":1240}` | the caller spoke over the agent (`auto_barge_in`): the queue was emptied |
//! | `{"type":"overflow","dropped_ms":400}` | more audio came than may wait: the oldest went; told once a second at most |
//! | `{"type":"stop","q850_cause":16,"reason"}` | the call is over; the socket closes |
//!
//! | from the agent | what happens |
//! | --- | --- |
//! | `{"type":"clear"}` | what waits is dropped; marks and `cleared` come back |
//! | `{"type":"mark","name"}` | comes back when the audio before it was played |
//! | `{"type":"dtmf","digits":"12#"}` | played to the caller's side, one after the other |
//! | `{"type":"hangup","q850_cause":16}` | ends the call; the cause may be left out |
//!
//! An agent that was made for Twilio's Media Streams takes [`TwilioCaller`](crate::vendors::twilio::TwilioCaller) instead.

mod messages;
mod raw_agent;

pub use messages::DIGITS_MAX;
pub use raw_agent::*;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
