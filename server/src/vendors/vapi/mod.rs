//! The Vapi adapter: binary audio and JSON text on one WebSocket, as Vapi's `vapi.websocket` transport has it.
//!
//! | constructor | who is who |
//! | --- | --- |
//! | [`VapiSession::client`] | we dialled the `websocketCallUrl` of a call that we created: the peer is Vapi's assistant |
//! | [`VapiSession::server`] | a customer's relay dialled `/signal/vapi/<tenant>`: it hears of the call in Vapi's own words |
//!
//! A binary message is audio without a header, of any length. A text message is a JSON object with a `type`:
//!
//! | `type` | means to us |
//! | --- | --- |
//! | `end-call`, `hangup` | [`Ask::HangUp`](crate::pcm::Ask::HangUp), cause 16 |
//! | `status-update`, `status` = `ended` | [`Ask::HangUp`](crate::pcm::Ask::HangUp), cause by `endedReason` ([`cause_of`]) |
//! | `user-interrupted` | the queue is emptied, [`Ask::Clear`](crate::pcm::Ask::Clear) |
//! | `control` | `mute-customer`, `unmute-customer`, `mute-assistant`, `unmute-assistant` |
//! | everything else, `hang` among it | nothing: counted |
//!
//! | our news | the assistant hears | a relay hears |
//! | --- | --- | --- |
//! | ringing, answered | | `status-update` with `ringing`, `in-progress` |
//! | the far end dropped its audio | | `user-interrupted` |
//! | the call ended | `end-call` | `status-update` with `ended` and `endedReason`, then `end-call` |
//!
//! What a relay hears can go to Vapi as it is. Digits travel as tones in the audio.

mod ended_reason;
mod session;

pub use ended_reason::cause_of;
pub use session::*;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
