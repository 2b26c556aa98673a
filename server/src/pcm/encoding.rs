//! How audio lies on the socket, and how the bridge names the same.

use codecs::SampleRate;
use codecs::g711::{self, Law};
use codecs::linear16;

use crate::bridge::{Codec, LegFormat, StreamFormat};
use crate::rtp::PayloadType;

/// How long a frame lasts, in ms: everything on a leg of PCM goes by it.
pub const FRAME_MS: u32 = 20;
/// Bytes of the longest frame: 20 ms of 16-bit samples at 48 kHz.
pub const FRAME_BYTES_MAX: usize = 1_920;
/// RFC 3551 section 6, and one of the dynamic types; only the bridge ever sees them.
const PCMU_PAYLOAD_TYPE: PayloadType = PayloadType(0);
const L16_PAYLOAD_TYPE: PayloadType = PayloadType(97);

/// Audio on the wire: mono, without a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// G.711 mu-law at 8 kHz.
    Mulaw,
    /// 16-bit little-endian samples; [`Encoding::linear16`] knows the rates that peers may ask for.
    Linear16(SampleRate),
}

impl Encoding {
    /// 16-bit samples at this rate, if it is one that a leg of PCM takes: 8, 16 or 24 kHz. A frame at 48 kHz fits in
    /// no packet.
    pub const fn linear16(sample_rate_hz: u32) -> Option<Self> {
        match SampleRate::from_hz(sample_rate_hz) {
            None | Some(SampleRate::Hz48000) => None,
            Some(rate) => Some(Self::Linear16(rate)),
        }
    }

    /// Samples per second.
    pub const fn sample_rate(self) -> SampleRate {
        match self {
            Self::Mulaw => SampleRate::Hz8000,
            Self::Linear16(rate) => rate,
        }
    }

    /// Bytes of a sample.
    pub const fn sample_bytes(self) -> usize {
        match self {
            Self::Mulaw => 1,
            Self::Linear16(_) => 2,
        }
    }

    /// Bytes of a frame of 20 ms.
    pub const fn frame_bytes(self) -> usize {
        self.bytes_of_ms(FRAME_MS)
    }

    /// Bytes that last this long.
    pub const fn bytes_of_ms(self, duration_ms: u32) -> usize {
        self.sample_rate().samples(duration_ms) * self.sample_bytes()
    }

    /// How long this many bytes last, in whole ms.
    pub const fn ms_of_bytes(self, bytes: usize) -> u64 {
        bytes as u64 / self.bytes_of_ms(1) as u64
    }

    /// The leg as the bridge sees it: PCMU or L16 in packets of 20 ms. Digits go through it as tones.
    pub fn leg_format(self) -> LegFormat {
        let (codec, payload_type) = match self {
            Self::Mulaw => (Codec::Pcmu, PCMU_PAYLOAD_TYPE),
            Self::Linear16(rate) => (Codec::L16(rate), L16_PAYLOAD_TYPE),
        };
        let format = StreamFormat {
            codec,
            payload_type,
            ptime_ms: FRAME_MS as u8,
            telephone_event: None,
        };
        format.into()
    }

    /// A byte that, repeated, is silence.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mulaw => Law::Mu.silence(),
            Self::Linear16(_) => 0,
        }
    }

    /// Whole samples of `wire`, into the front of `pcm`; says how many.
    pub(super) fn decode(self, wire: &[u8], pcm: &mut [i16]) -> usize {
        match self {
            Self::Mulaw => g711::decode(Law::Mu, wire, pcm),
            Self::Linear16(_) => linear16::from_le_bytes(wire, pcm),
        }
    }

    /// Samples to bytes of the wire.
    pub(super) fn encode(self, pcm: &[i16], wire: &mut [u8]) {
        match self {
            Self::Mulaw => g711::encode(Law::Mu, pcm, wire),
            Self::Linear16(_) => linear16::to_le_bytes(pcm, wire),
        };
    }

    /// Turns bytes of the wire into a payload of the bridge's codec, or back: 16-bit samples change their byte order.
    pub(super) fn swap(self, bytes: &mut [u8]) {
        if let Self::Linear16(_) = self {
            let (samples, _odd_byte) = bytes.as_chunks_mut::<2>();
            for sample in samples {
                sample.swap(0, 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_last_20_ms_in_every_encoding() {
        for (encoding, frame_bytes, clock_rate_hz) in [
            (Some(Encoding::Mulaw), 160, 8_000),
            (Encoding::linear16(8_000), 320, 8_000),
            (Encoding::linear16(16_000), 640, 16_000),
            (Encoding::linear16(24_000), 960, 24_000),
        ] {
            let encoding = encoding.unwrap_or(Encoding::Mulaw);
            assert_eq!(encoding.frame_bytes(), frame_bytes);
            assert_eq!(encoding.ms_of_bytes(frame_bytes * 3 - 1), 59);
            let format = encoding.leg_format();
            assert_eq!(format.source.codec.clock_rate_hz(), clock_rate_hz);
            assert_eq!(format.source, format.sink);
            assert_eq!(format.sink.ptime_ms, 20);
        }
        assert_eq!(Encoding::linear16(48_000), None);
        assert_eq!(Encoding::linear16(11_025), None);
    }

    #[test]
    fn only_16_bit_samples_change_their_byte_order() {
        for (encoding, swapped) in [
            (Encoding::Mulaw, [1, 2, 3, 4]),
            (Encoding::Linear16(SampleRate::Hz16000), [2, 1, 4, 3]),
        ] {
            let mut bytes = [1, 2, 3, 4];
            encoding.swap(&mut bytes);
            assert_eq!(bytes, swapped);
            encoding.swap(&mut bytes);
            assert_eq!(bytes, [1, 2, 3, 4]);
            let mut pcm = [7; 4];
            let silent = [encoding.silence(); 4];
            let samples = encoding.decode(&silent, &mut pcm);
            assert!(pcm[..samples].iter().all(|sample| *sample == 0));
        }
    }
}
