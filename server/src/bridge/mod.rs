//! The one post-bridge path that all adapters share: reorder, conceal, decode, resample, encode, DTMF, hold.
//!
//! [`Bridge`] owns one [`Direction`] per way that audio goes between a call's legs. Sans-I/O: packets and `now` come
//! in, packets come out; sockets, keys and RTCP belong to the legs. It is tuned for RTP to RTP: packets go on as they
//! come, with honest timestamps and no jitter buffer.

mod audio_codec;
mod digits;
mod direction;
mod direction_statistics;
mod format;
mod framing;
mod outbox;
mod plan;
mod reorder;
mod route;
mod sink_numbers;
mod source_sequence;
mod timeline;
mod tones;
mod transcoder;
mod transcoding;

pub use direction::*;
pub use direction_statistics::*;
pub use format::*;
pub use plan::*;
pub use route::*;
pub use tones::DigitTones;

#[cfg(test)]
mod tests;
