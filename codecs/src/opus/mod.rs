//! Opus (RFC 6716) through a small safe wrapper over libopus: mono, 16-bit, VOIP.
//!
//! Encoder and decoder run at any of the four [`SampleRate`]s whatever the peer uses: an Opus packet has no sample
//! rate of its own, so a leg at 8 kHz needs no resampler. Inspection of packets ([`Toc`], [`packet_duration_samples`],
//! [`frames`], [`has_lbrr`]) and [`Repacketizer`] are plain Rust and safe on any bytes. [`Policy`] says how an encoder
//! works for the path that its listener is on, and [`GatedEncoder`] rests while there is nothing to hear. Not here:
//! libopus's own DTX, stereo output, the neural extras of libopus (deep PLC, DRED, OSCE), which cost more than a dense
//! gateway can pay.

mod decoder;
mod encoder;
mod error;
mod gated;
mod packet;
mod policy;
mod repacketizer;

pub use decoder::Decoder;
pub use encoder::{BITRATE_MAX_BPS, BITRATE_MIN_BPS, Encoder, EncoderConfig, fec_bitrate_bps};
pub use error::OpusError;
pub use gated::{Encoded, GatedEncoder};
pub use packet::{
    Bandwidth, FRAMES_MAX, Frames, Mode, Toc, frames, has_lbrr, packet_duration_samples,
};
pub use policy::{Conditions, FEC_LOSS_MIN, Limits, Policy};
pub use repacketizer::{Repacketized, Repacketizer};

use crate::SampleRate;

/// The longest audio that one packet may hold, in ms (RFC 6716 section 3.2.5).
pub const PACKET_DURATION_MAX_MS: u32 = 120;

/// A buffer of this many bytes takes any packet that [`Encoder::encode`] makes of up to 20 ms: TOC byte and one frame
/// (RFC 6716 section 3.4, R2).
pub const PACKET_BYTES_MAX_20_MS: usize = 1_276;

/// The longest packet in samples at `rate`: the output buffer that fits any packet.
pub const fn packet_samples_max(rate: SampleRate) -> usize {
    rate.samples(PACKET_DURATION_MAX_MS)
}

/// Opus's unit of time is 2.5 ms: this many samples at `rate`.
const fn quantum_samples(rate: SampleRate) -> usize {
    rate.samples(5) / 2
}

/// A rate as libopus takes it.
const fn rate_for_libopus(rate: SampleRate) -> i32 {
    // At most 48 000.
    rate.hz().cast_signed()
}

#[cfg(test)]
mod tests;
