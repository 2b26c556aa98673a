//! The Opus encoder.

use super::error::{OpusError, count_from};
use super::{quantum_samples, rate_for_libopus};
use crate::SampleRate;
use opusic_sys as ffi;
use std::ffi::c_int;
use std::fmt;
use std::ops::RangeInclusive;
use std::ptr::NonNull;

/// The bitrate that LBRR needs at complexity 0, enough for every expected loss.
///
/// Below it libopus 1.6.1 silently sends none, or narrows the bandwidth to make room: it derates the bitrate by
/// complexity and loss before it compares with a threshold for each bandwidth (at 8 kHz the edge is near 25 kb/s, at 16
/// kHz near 32.4). [`has_lbrr`](super::has_lbrr) tells what really happened. Frames that libopus takes for silence
/// have no LBRR at any bitrate.
pub const fn fec_bitrate_bps(rate: SampleRate) -> u32 {
    match rate {
        SampleRate::Hz8000 => 32_000,
        SampleRate::Hz16000 => 36_000,
        SampleRate::Hz24000 => 44_000,
        SampleRate::Hz48000 => 48_000,
    }
}

/// The lowest bitrate of Opus, in bits per second (RFC 6716 section 2.1.1).
pub const BITRATE_MIN_BPS: u32 = 6_000;
/// The highest, in bits per second (RFC 6716 section 2.1.1).
pub const BITRATE_MAX_BPS: u32 = 510_000;

/// How an encoder works. The constructors hold the measured knees: bits are cheaper than CPU, so all but the widest
/// run at complexity 0. [`Policy`](super::Policy) changes it during a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderConfig {
    /// Rate of the PCM. Use the source's own rate: an encoder at 48 kHz fed with upsampled telephone sound costs more
    /// and sounds worse at the same bitrate.
    pub sample_rate: SampleRate,
    /// Average bits per second of the payload, [`BITRATE_MIN_BPS`] to [`BITRATE_MAX_BPS`].
    pub bitrate_bps: u32,
    /// 0 (fast) to 10.
    pub complexity: u8,
    /// Put an LBRR copy of the previous frame into each packet. Needs [`fec_bitrate_bps`] and an expected loss.
    pub inband_fec: bool,
    /// Loss that the encoder should prepare for, 0 to 100 percent.
    pub expected_loss_pct: u8,
}

impl EncoderConfig {
    /// For a telephone trunk at 8 kHz: 24 kb/s at complexity 0 takes 29 us per 20 ms and scores PESQ-NB 4.43 of 4.50.
    pub const fn narrowband() -> Self {
        Self {
            sample_rate: SampleRate::Hz8000,
            bitrate_bps: 24_000,
            complexity: 0,
            inband_fec: false,
            expected_loss_pct: 0,
        }
    }

    /// For linear16 at 16 kHz: 32 kb/s at complexity 0 takes 46 us per 20 ms and scores as 24 kb/s at complexity 5 does
    /// for 133 us.
    pub const fn wideband() -> Self {
        Self {
            sample_rate: SampleRate::Hz16000,
            bitrate_bps: 32_000,
            ..Self::narrowband()
        }
    }

    /// For true 48 kHz sources: 32 kb/s, and complexity 5, where the step in quality is the largest.
    pub const fn fullband() -> Self {
        Self {
            sample_rate: SampleRate::Hz48000,
            bitrate_bps: 32_000,
            complexity: 5,
            ..Self::narrowband()
        }
    }

    /// The knee of `rate`.
    pub const fn for_rate(rate: SampleRate) -> Self {
        match rate {
            SampleRate::Hz8000 => Self::narrowband(),
            SampleRate::Hz16000 => Self::wideband(),
            SampleRate::Hz24000 | SampleRate::Hz48000 => Self {
                sample_rate: rate,
                ..Self::fullband()
            },
        }
    }

    /// The same with LBRR, prepared for a loss of `expected_loss_pct`, and with the bits that this takes.
    pub const fn with_fec(self, expected_loss_pct: u8) -> Self {
        let needed_bps = fec_bitrate_bps(self.sample_rate);
        let bitrate_bps = if self.bitrate_bps < needed_bps {
            needed_bps
        } else {
            self.bitrate_bps
        };
        Self {
            bitrate_bps,
            inband_fec: true,
            expected_loss_pct,
            ..self
        }
    }

    /// The first value that is out of range.
    fn check(&self) -> Result<(), OpusError> {
        within(
            "bitrate_bps",
            self.bitrate_bps,
            BITRATE_MIN_BPS..=BITRATE_MAX_BPS,
        )?;
        within("complexity", self.complexity.into(), 0..=10)?;
        within("expected_loss_pct", self.expected_loss_pct.into(), 0..=100)
    }
}

/// An Opus encoder for one mono stream. About 32 KB of state, all of it allocated by [`new`](Self::new).
pub struct Encoder {
    state: NonNull<ffi::OpusEncoder>,
    config: EncoderConfig,
}

// SAFETY: the state is plain memory owned by this value alone; libopus keeps nothing per thread.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Makes an encoder.
    ///
    /// # Errors
    /// [`OpusError::Setting`] for a value out of range, [`OpusError::OutOfMemory`].
    pub fn new(config: EncoderConfig) -> Result<Self, OpusError> {
        config.check()?;
        let mut error: c_int = ffi::OPUS_OK;
        // SAFETY: plain values and a pointer to a live local that libopus writes before it returns.
        let state = unsafe {
            ffi::opus_encoder_create(
                rate_for_libopus(config.sample_rate),
                1,
                ffi::OPUS_APPLICATION_VOIP,
                &raw mut error,
            )
        };
        count_from(error, 0)?;
        let state = NonNull::new(state).ok_or(OpusError::OutOfMemory)?;
        let mut encoder = Self { state, config };
        encoder.set_all(&config)?;
        Ok(encoder)
    }

    /// Rate of the PCM that [`encode`](Self::encode) takes.
    pub fn sample_rate(&self) -> SampleRate {
        self.config.sample_rate
    }

    /// How the encoder works now.
    pub fn config(&self) -> EncoderConfig {
        self.config
    }

    /// Works by `config` from the next packet on: all of it, or after an error as before.
    ///
    /// # Errors
    /// [`OpusError::Setting`] for a value out of range, and for another sample rate than the encoder was made for.
    pub fn apply(&mut self, config: &EncoderConfig) -> Result<(), OpusError> {
        if config.sample_rate != self.config.sample_rate {
            return Err(OpusError::Setting {
                name: "sample_rate",
                value: config.sample_rate.hz(),
            });
        }
        config.check()?;
        let before = self.config;
        if let Err(refused) = self.set_all(config) {
            // These were taken before.
            let _as_before = self.set_all(&before);
            return Err(refused);
        }
        self.config = *config;
        Ok(())
    }

    /// Encodes one packet from `pcm`, which lasts 2.5, 5, 10, 20, 40, 60, 80, 100 or 120 ms. Returns the bytes written
    /// to `packet`; the room there also caps the bitrate.
    ///
    /// # Errors
    /// [`OpusError::FrameLength`], [`OpusError::OutputTooShort`].
    pub fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> Result<usize, OpusError> {
        let quantum = quantum_samples(self.config.sample_rate);
        let is_frame_length = pcm.len().is_multiple_of(quantum)
            && matches!(pcm.len() / quantum, 1 | 2 | 4 | 8 | 16 | 24 | 32 | 40 | 48);
        if !is_frame_length {
            return Err(OpusError::FrameLength {
                samples: pcm.len(),
                rate: self.config.sample_rate,
            });
        }
        if packet.is_empty() {
            return Err(OpusError::OutputTooShort { room: 0 });
        }
        let room = i32::try_from(packet.len()).unwrap_or(i32::MAX);
        // SAFETY: the state is live and ours alone; libopus reads `pcm.len()` mono samples (at most 5 760, checked above)
        // and writes at most `room` bytes, which `packet` has.
        let written = unsafe {
            ffi::opus_encode(
                self.state.as_ptr(),
                pcm.as_ptr(),
                pcm.len() as c_int,
                packet.as_mut_ptr(),
                room,
            )
        };
        count_from(written, packet.len())
    }

    /// Samples at the encoder's rate by which the decoded sound lags behind the input: the codec's own delay.
    ///
    /// # Errors
    /// [`OpusError::Internal`], which libopus has no reason to give.
    pub fn lookahead_samples(&self) -> Result<usize, OpusError> {
        let mut samples: i32 = 0;
        // SAFETY: the state is live; this request takes one `opus_int32 *`, which libopus writes before it returns. It only
        // reads the state.
        let returned = unsafe {
            ffi::opus_encoder_ctl(
                self.state.as_ptr(),
                ffi::OPUS_GET_LOOKAHEAD_REQUEST,
                &raw mut samples,
            )
        };
        count_from(returned, 0)?;
        count_from(samples, 0)
    }

    /// Forgets the stream so far; the settings stay.
    pub fn reset(&mut self) {
        // SAFETY: the state is live and ours alone; this request takes no argument and cannot fail.
        unsafe { ffi::opus_encoder_ctl(self.state.as_ptr(), ffi::OPUS_RESET_STATE) };
    }

    /// Gives libopus everything of `config`, which [`EncoderConfig::check`] has passed.
    fn set_all(&mut self, config: &EncoderConfig) -> Result<(), OpusError> {
        self.set(
            ffi::OPUS_SET_BITRATE_REQUEST,
            "bitrate_bps",
            config.bitrate_bps,
        )?;
        self.set(
            ffi::OPUS_SET_COMPLEXITY_REQUEST,
            "complexity",
            config.complexity.into(),
        )?;
        self.set(
            ffi::OPUS_SET_INBAND_FEC_REQUEST,
            "inband_fec",
            config.inband_fec.into(),
        )?;
        self.set(
            ffi::OPUS_SET_PACKET_LOSS_PERC_REQUEST,
            "expected_loss_pct",
            config.expected_loss_pct.into(),
        )?;
        // From complexity 7 on libopus looks for music itself, and what it takes for music has no LBRR.
        let signal = if config.inband_fec {
            ffi::OPUS_SIGNAL_VOICE
        } else {
            ffi::OPUS_AUTO
        };
        self.request(ffi::OPUS_SET_SIGNAL_REQUEST, signal)
    }

    fn set(&mut self, request: c_int, name: &'static str, value: u32) -> Result<(), OpusError> {
        let argument =
            i32::try_from(value).map_err(|_too_large| OpusError::Setting { name, value })?;
        self.request(request, argument)
            .map_err(|_refused| OpusError::Setting { name, value })
    }

    fn request(&mut self, request: c_int, argument: i32) -> Result<(), OpusError> {
        // SAFETY: the state is live and ours alone; each request that this is called with takes one `opus_int32`.
        let returned = unsafe { ffi::opus_encoder_ctl(self.state.as_ptr(), request, argument) };
        count_from(returned, 0).map(|_ok| ())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: made by `opus_encoder_create`, freed once.
        unsafe { ffi::opus_encoder_destroy(self.state.as_ptr()) };
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn within(name: &'static str, value: u32, range: RangeInclusive<u32>) -> Result<(), OpusError> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(OpusError::Setting { name, value })
    }
}
