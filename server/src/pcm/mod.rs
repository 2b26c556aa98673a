//! The media leg of a peer that speaks PCM over a WebSocket (Twilio, Vapi, AI agents): paced, bounded, interruptible.
//!
//! Such a peer plays in the order of arrival and tells no time, so that all timing is made here, on a clock of 20 ms
//! with absolute deadlines. [`PcmLeg`] is sans-I/O: bytes of the wire and RTP packets of the bridge come in, the same
//! come out the other way. The messages around the audio are the dialects' subject ([`crate::vendors`],
//! [`crate::trunk`]); what they share is here as well.

mod ask;
mod barge_in;
mod clock;
mod config;
mod dejitter;
mod dialect;
mod encoding;
mod event;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod fixtures;
mod leg;
mod packet_buffer;
mod playout;
mod queue;
mod statistics;
mod trim;
mod violation;

pub use ask::*;
pub use config::*;
pub use dialect::*;
pub use encoding::*;
pub use event::*;
pub use leg::PcmLeg;
pub use statistics::*;
pub use violation::*;

#[cfg(test)]
mod tests;
