//! The Twilio adapter: Media Streams over a WebSocket, from both ends.
//!
//! | struct | which end |
//! | --- | --- |
//! | [`TwilioSession`] | Twilio dials us: we are the application behind `<Connect><Stream>` |
//! | [`TwilioCaller`] | we are Twilio: a bot that was made for Media Streams is the agent behind a `websocket` trunk |
//!
//! All messages are JSON in text frames. `sequenceNumber`, `chunk` and `timestamp` are texts.
//!
//! | Twilio says | [`TwilioSession`] | | [`TwilioCaller`] hears | |
//! | --- | --- | --- | --- | --- |
//! | `connected`, `start` | [`Ask::Begin`](crate::pcm::Ask::Begin) | | `media` | into the leg's queue |
//! | `media` | into the leg's queue | | `mark` | comes back once what was sent before it was played |
//! | `dtmf` | [`Ask::Digit`](crate::pcm::Ask::Digit) | | `clear` | empties the queue; its marks come back |
//! | `mark` | [`Ask::MarkPlayed`](crate::pcm::Ask::MarkPlayed) | | close | [`Ask::HangUp`](crate::pcm::Ask::HangUp) |
//! | `stop`, close | [`Ask::HangUp`](crate::pcm::Ask::HangUp) | | | |

mod caller;
mod messages;
mod payload;
mod session;
mod stream;

pub use caller::*;
pub use session::*;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
