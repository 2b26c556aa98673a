//! The media leg of a WebSocket-PCM peer (Twilio, Vapi, an AI agent), and what the dialects that carry its audio share.
//!
//! Sans-I/O: no socket, no clock. The dialects themselves are in [`crate::vendors`] and [`crate::trunk`].

mod dialect;
mod encoding;

pub use dialect::*;
pub use encoding::{Encoding, FRAME_MS};
