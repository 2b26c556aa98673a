//! What a leg sends and receives: codec, payload types, clock rates.

use codecs::SampleRate;

use crate::rtp::PayloadType;

/// A codec on a leg, with the sampling rate where the name alone leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 7587; RTP clock 48 kHz.
    Opus,
    /// G.711 mu-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// RFC 3551 L16 mono, big-endian: 16 kHz in SDP, any rate on a leg of PCM.
    L16(SampleRate),
}

impl Codec {
    /// The name in CallEvents and SDP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::L16(_) => "L16",
        }
    }

    /// The RTP clock rate in Hz.
    pub fn clock_rate_hz(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
            Self::L16(rate) => rate.hz(),
        }
    }
}

impl serde::Serialize for Codec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One leg's media, as negotiated: of one direction, or of both where they agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFormat {
    /// The audio codec.
    pub codec: Codec,
    /// Its payload type on this leg.
    pub payload_type: PayloadType,
    /// Packet duration that we send, in ms; 20 unless the far end asked otherwise.
    pub ptime_ms: u8,
    /// RFC 4733, if negotiated.
    pub telephone_event: Option<TelephoneEventFormat>,
}

/// A leg as the bridge sees it: one codec, but each side of an SDP numbers payload types for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegFormat {
    /// What comes from the leg.
    pub source: StreamFormat,
    /// What goes to it.
    pub sink: StreamFormat,
}

impl From<StreamFormat> for LegFormat {
    fn from(both: StreamFormat) -> Self {
        Self {
            source: both,
            sink: both,
        }
    }
}

/// `telephone-event` on one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEventFormat {
    /// Its payload type.
    pub payload_type: PayloadType,
    /// Its clock: that of the leg's audio codec (RFC 4733 section 2.5.1.1), but some peers disagree.
    pub clock_rate_hz: u32,
}
