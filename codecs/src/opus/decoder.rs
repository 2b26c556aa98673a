//! The Opus decoder.

use super::error::{OpusError, count_from};
use super::{packet_duration_samples, packet_samples_max, quantum_samples, rate_for_libopus};
use crate::SampleRate;
use opusic_sys as ffi;
use std::ffi::c_int;
use std::fmt;
use std::ptr::{self, NonNull};

/// An Opus decoder for one stream, always to mono; stereo packets are mixed down. About 18 KB of state, all of it
/// allocated by [`new`](Self::new).
///
/// Call it once for every stretch of time, in order: [`decode`](Self::decode) for a packet that arrived,
/// [`decode_fec`](Self::decode_fec) for the gap before a packet that carries LBRR, [`conceal`](Self::conceal) for any
/// other gap.
pub struct Decoder {
    state: NonNull<ffi::OpusDecoder>,
    sample_rate: SampleRate,
    last_packet_samples: usize,
}

// SAFETY: the state is plain memory owned by this value alone; libopus keeps nothing per thread.
unsafe impl Send for Decoder {}

impl Decoder {
    /// Makes a decoder to `sample_rate`, whatever rate the packets were encoded at.
    ///
    /// # Errors
    /// [`OpusError::OutOfMemory`].
    pub fn new(sample_rate: SampleRate) -> Result<Self, OpusError> {
        let mut error: c_int = ffi::OPUS_OK;
        // SAFETY: plain values and a pointer to a live local that libopus writes before it returns.
        let state =
            unsafe { ffi::opus_decoder_create(rate_for_libopus(sample_rate), 1, &raw mut error) };
        count_from(error, 0)?;
        let state = NonNull::new(state).ok_or(OpusError::OutOfMemory)?;
        Ok(Self {
            state,
            sample_rate,
            last_packet_samples: 0,
        })
    }

    /// Rate of the PCM that comes out.
    pub fn sample_rate(&self) -> SampleRate {
        self.sample_rate
    }

    /// Duration of the last packet that decoded, in samples; 0 before the first. The best guess at how long a lost
    /// packet was.
    pub fn last_packet_samples(&self) -> usize {
        self.last_packet_samples
    }

    /// Decodes a packet of 2.5 to 120 ms. Returns the samples written to `pcm`; [`packet_samples_max`] is always room enough.
    ///
    /// # Errors
    /// [`OpusError::InvalidPacket`], after which the decoder goes on as if the packet had never come, and
    /// [`OpusError::OutputTooShort`].
    pub fn decode(&mut self, packet: &[u8], pcm: &mut [i16]) -> Result<usize, OpusError> {
        let samples = packet_duration_samples(packet, self.sample_rate)?;
        // Without the tail, libopus cannot see more room than the packet needs: its stack use follows the packet.
        let room = pcm.len();
        let pcm = pcm
            .get_mut(..samples)
            .ok_or(OpusError::OutputTooShort { room })?;
        let written = self.decode_into(packet, pcm, false)?;
        self.last_packet_samples = written;
        Ok(written)
    }

    /// Fills `pcm` with the sound that was lost just before `next_packet`, from the LBRR copy in it. `pcm.len()` is the
    /// duration of the loss, a multiple of 2.5 ms up to 120 ms: the copy makes the last frame of it, concealment what
    /// comes before, and all of it if there is no copy ([`has_lbrr`](super::has_lbrr)). Afterwards
    /// [`decode`](Self::decode) `next_packet` itself.
    ///
    /// # Errors
    /// [`OpusError::InvalidPacket`], [`OpusError::FrameLength`].
    pub fn decode_fec(&mut self, next_packet: &[u8], pcm: &mut [i16]) -> Result<usize, OpusError> {
        // libopus takes an empty packet for a lost one; here it is an error like any other.
        packet_duration_samples(next_packet, self.sample_rate)?;
        self.check_gap(pcm.len())?;
        self.decode_into(next_packet, pcm, true)
    }

    /// Fills `pcm` with a guess at the sound that was lost: a multiple of 2.5 ms up to 120 ms. It fades to silence over
    /// repeated calls.
    ///
    /// # Errors
    /// [`OpusError::FrameLength`].
    pub fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, OpusError> {
        self.check_gap(pcm.len())?;
        self.decode_into(&[], pcm, false)
    }

    /// Forgets the stream so far, as for a new SSRC.
    pub fn reset(&mut self) {
        // SAFETY: the state is live and ours alone; this request takes no argument and cannot fail.
        unsafe { ffi::opus_decoder_ctl(self.state.as_ptr(), ffi::OPUS_RESET_STATE) };
        self.last_packet_samples = 0;
    }

    fn check_gap(&self, samples: usize) -> Result<(), OpusError> {
        let is_gap = samples > 0
            && samples <= packet_samples_max(self.sample_rate)
            && samples.is_multiple_of(quantum_samples(self.sample_rate));
        if is_gap {
            Ok(())
        } else {
            Err(OpusError::FrameLength {
                samples,
                rate: self.sample_rate,
            })
        }
    }

    /// An empty `packet` means that it was lost. `pcm` is at most 120 ms.
    fn decode_into(
        &mut self,
        packet: &[u8],
        pcm: &mut [i16],
        fec: bool,
    ) -> Result<usize, OpusError> {
        let packet_bytes =
            i32::try_from(packet.len()).map_err(|_too_long| OpusError::InvalidPacket)?;
        let packet_start = if packet.is_empty() {
            ptr::null()
        } else {
            packet.as_ptr()
        };
        // SAFETY: the state is live and ours alone; libopus reads `packet_bytes` from `packet_start` (none if null) and
        // writes at most `pcm.len()` mono samples, which callers bound to 5 760.
        let written = unsafe {
            ffi::opus_decode(
                self.state.as_ptr(),
                packet_start,
                packet_bytes,
                pcm.as_mut_ptr(),
                pcm.len() as c_int,
                fec.into(),
            )
        };
        count_from(written, pcm.len())
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: made by `opus_decoder_create`, freed once.
        unsafe { ffi::opus_decoder_destroy(self.state.as_ptr()) };
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("sample_rate", &self.sample_rate)
            .field("last_packet_samples", &self.last_packet_samples)
            .finish_non_exhaustive()
    }
}
