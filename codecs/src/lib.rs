//! Pure signal processing for voice: codecs, loss concealment, sample rates. Knows nothing about I/O, clocks, RTP or calls.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`g711`] | PCMU and PCMA (ITU-T G.711, bit-exact to G.191), and one to the other |
//! | [`opus`] | a small safe wrapper over libopus: encoder, decoder, packet inspection (RFC 6716), an encoder that rests in silence |
//! | [`plc`] | concealment of lost PCM frames for codecs that have none (after G.711 Appendix I) |
//! | [`resample`] | streaming conversion between the four sample rates |
//! | [`linear16`] | 16-bit PCM to and from bytes in either byte order |
//! | [`simd`] | which vector instructions are used |
//! | [`voice_activity`] | a gate that tells silence, so that it costs nothing |
//! | [`level`] | levels in dBov, and the byte that RTP tells them in (RFC 6464) |
//! | [`comfort_noise`] | silence described in a few bytes, and made again (RFC 3389) |
//! | [`telephone_event`] | the bytes of RTP telephone-events (RFC 4733) |
//! | [`dtmf`] | digits as tones, made and heard (ITU-T Q.23, Q.24) |
//! | [`digit`] | what a receiver of digits tells |
//! | [`red`] | redundant audio: copies of earlier frames in one RTP payload (RFC 2198) |
//! | [`wav`] | WAV files, read for announcements |
//!
//! # A frame of a browser's sound as PCMU and as Opus
//!
//! ```
//! use codecs::g711::{self, Law};
//! use codecs::opus::{EncoderConfig, GatedEncoder, OpusError, PACKET_BYTES_MAX_20_MS};
//! use codecs::{SampleRate, resample::Resampler};
//!
//! fn main() -> Result<(), OpusError> {
//!     let mut resampler = Resampler::new(SampleRate::Hz48000, SampleRate::Hz8000);
//!     let mut encoder = GatedEncoder::new(EncoderConfig::narrowband())?;
//!
//!     // For every 20 ms:
//!     let wide = [0; 960];
//!     let mut pcm = [0; 160];
//!     assert_eq!(resampler.process(&wide, &mut pcm), 160);
//!     let mut octets = [0; 160];
//!     assert_eq!(g711::encode(Law::Mu, &pcm, &mut octets), 160);
//!     let mut packet = [0; PACKET_BYTES_MAX_20_MS];
//!     let encoded = encoder.encode(&pcm, &mut packet)?;
//!     assert!(encoded.len > 0 && !encoded.is_silence);
//!     Ok(())
//! }
//! ```
//!
//! libopus is built from source with the crate: cmake and a C compiler are needed, nothing else.
//!
//! # What it costs
//!
//! `cargo bench -p codecs` prints a table for every part: CPU time for 20 ms of audio, and how that compares with a yardstick
//! that was timed turn about with it in the same run. Words after `--` choose by title: `cargo bench -p codecs -- Opus`. Read the ratios
//! and not the nanoseconds: these differ from machine to machine, and with whatever else a machine does. The yardsticks are
//! speexdsp at quality 4 and soxr HQ for resampling (Debian's packages, loaded when the benchmark runs), the lookup table
//! for G.711, and for Opus the settings of a browser: 48 kHz, complexity 9. "Met" and "missed" are the bars that this crate
//! set itself; the best of five passes counts, since noise only ever adds time.
//!
//! `cargo run --release -p codecs --example frequency_responses` draws what the resamplers pass and what they stop.
//!
//! # Rules
//!
//! All audio is mono `i16`. Everything allocates when it is made and never again; every type is `Send`, so a call may
//! be set up on one thread and run on another.

pub mod comfort_noise;
pub mod digit;
pub mod dtmf;
pub mod g711;
pub mod level;
pub mod linear16;
pub mod opus;
pub mod plc;
pub mod red;
pub mod resample;
mod sample_rate;
pub mod simd;
pub mod telephone_event;
pub mod voice_activity;
pub mod wav;

pub use sample_rate::SampleRate;

#[cfg(test)]
mod signals;
