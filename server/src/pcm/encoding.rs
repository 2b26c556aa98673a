//! How audio stands in the messages of a WebSocket-PCM peer: mono, without a header.

use codecs::SampleRate;

/// Milliseconds of one frame: what is sent per message, and what the clock counts in.
pub const FRAME_MS: u32 = 20;

/// The coding of a peer's audio, the same both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// G.711 mu-law at 8 kHz, a byte per sample.
    Mulaw,
    /// 16-bit samples, least significant byte first.
    Linear16(SampleRate),
}

impl Encoding {
    /// Samples per second.
    pub const fn sample_rate(self) -> SampleRate {
        match self {
            Self::Mulaw => SampleRate::Hz8000,
            Self::Linear16(rate) => rate,
        }
    }

    /// Bytes of one sample.
    pub const fn sample_bytes(self) -> usize {
        match self {
            Self::Mulaw => 1,
            Self::Linear16(_) => 2,
        }
    }

    /// Bytes of so much audio.
    pub const fn bytes_of_ms(self, ms: u32) -> usize {
        self.sample_rate().samples(ms) * self.sample_bytes()
    }

    /// Bytes of one frame of [`FRAME_MS`].
    pub const fn frame_bytes(self) -> usize {
        self.bytes_of_ms(FRAME_MS)
    }

    /// How long so many bytes last, in whole milliseconds.
    pub const fn ms_of_bytes(self, bytes: usize) -> u64 {
        (bytes / self.bytes_of_ms(1)) as u64
    }

    /// The byte that digital silence is made of.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mulaw => 0xff,
            Self::Linear16(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_bytes() {
        for (encoding, bytes) in [
            (Encoding::Mulaw, 160),
            (Encoding::Linear16(SampleRate::Hz8000), 320),
            (Encoding::Linear16(SampleRate::Hz16000), 640),
            (Encoding::Linear16(SampleRate::Hz24000), 960),
        ] {
            assert_eq!(encoding.frame_bytes(), bytes);
            assert_eq!(encoding.ms_of_bytes(bytes), 20);
            assert_eq!(encoding.ms_of_bytes(bytes - 1), 19);
        }
    }
}
