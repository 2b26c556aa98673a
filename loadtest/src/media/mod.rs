//! What callers and far ends have in common: speech into RTP payloads, RTP payloads into a recording, digits both ways.
//!
//! No sockets, no threads, no encryption: frames and packets only.

mod answer;
mod codec;
mod outgoing;
mod recording;
mod telephone_event;

pub use answer::chosen_format;
pub use codec::{AudioCodec, FrameEncoder, MediaError};
pub use outgoing::{Outgoing, OutgoingFormat, OutgoingPacket};
pub use recording::{ReceivedPacket, Recorder, Recording, RecordingStatistics};
pub use telephone_event::{DigitPlan, TelephoneEvent, TelephoneEventError, telephone_events};

/// Every packet carries so much sound, in ms.
pub const PACKET_MS: u32 = 20;
