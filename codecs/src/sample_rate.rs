//! The sample rates that voice legs use.

/// A sample rate of mono PCM. The set is closed: these are the rates of G.711, linear16 and Opus (RFC 6716 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleRate {
    /// 8 kHz: G.711, Twilio.
    Hz8000,
    /// 16 kHz: L16 in RTP, Vapi, most speech recognisers.
    Hz16000,
    /// 24 kHz: most speech synthesisers.
    Hz24000,
    /// 48 kHz: browsers.
    Hz48000,
}

impl SampleRate {
    /// Every rate, lowest first.
    pub const ALL: [Self; 4] = [Self::Hz8000, Self::Hz16000, Self::Hz24000, Self::Hz48000];

    /// Samples per second.
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8_000,
            Self::Hz16000 => 16_000,
            Self::Hz24000 => 24_000,
            Self::Hz48000 => 48_000,
        }
    }

    /// How many samples last `duration_ms`.
    pub const fn samples(self, duration_ms: u32) -> usize {
        // Every rate is a whole number of samples per millisecond.
        (self.hz() / 1_000) as usize * duration_ms as usize
    }

    /// The rate of this many Hz, if it is one of the four.
    pub const fn from_hz(hz: u32) -> Option<Self> {
        match hz {
            8_000 => Some(Self::Hz8000),
            16_000 => Some(Self::Hz16000),
            24_000 => Some(Self::Hz24000),
            48_000 => Some(Self::Hz48000),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_hz_agree() {
        for rate in SampleRate::ALL {
            assert_eq!(rate.samples(1_000), rate.hz() as usize);
            assert_eq!(SampleRate::from_hz(rate.hz()), Some(rate));
        }
        assert_eq!(SampleRate::Hz8000.samples(20), 160);
        assert_eq!(SampleRate::from_hz(44_100), None);
    }
}
