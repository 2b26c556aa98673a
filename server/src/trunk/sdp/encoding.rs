//! The encodings of `a=rtpmap` that we know, and their customary payload types.

use codecs::SampleRate;

use crate::bridge::Codec;
use crate::config::CodecName;
use crate::rtp::PayloadType;

/// What a payload type can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// An audio codec.
    Audio(Codec),
    /// RFC 4733, by its clock.
    TelephoneEvent {
        /// In Hz.
        clock_rate_hz: u32,
    },
}

/// The only L16 that is offered and taken.
const WIDEBAND: Codec = Codec::L16(SampleRate::Hz16000);
/// The clocks of telephone-event that go with our codecs.
const EVENT_CLOCKS_HZ: [u32; 3] = [8_000, 16_000, 48_000];

impl Encoding {
    /// The encoding that `opus/48000/2` names.
    pub(super) fn from_rtpmap(encoding: &str) -> Option<Self> {
        let mut parts = encoding.trim().split('/');
        let name = parts.next()?;
        let clock_rate_hz: u32 = parts.next()?.parse().ok()?;
        let channels: u8 = parts.next().map_or(Some(1), |part| part.parse().ok())?;
        if name.eq_ignore_ascii_case("telephone-event") {
            let known = EVENT_CLOCKS_HZ.contains(&clock_rate_hz);
            return known.then_some(Self::TelephoneEvent { clock_rate_hz });
        }
        let codec = [Codec::Opus, Codec::Pcmu, Codec::Pcma, WIDEBAND]
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))?;
        // RFC 7587 section 7: always two channels in the rtpmap.
        let expected_channels = if codec == Codec::Opus { 2 } else { 1 };
        let matches = codec.clock_rate_hz() == clock_rate_hz && channels == expected_channels;
        matches.then_some(Self::Audio(codec))
    }

    /// What a number means without an rtpmap (RFC 3551 section 6).
    pub(super) fn from_static(payload_type: PayloadType) -> Option<Self> {
        match payload_type.0 {
            0 => Some(Self::Audio(Codec::Pcmu)),
            8 => Some(Self::Audio(Codec::Pcma)),
            _ => None,
        }
    }

    /// As in `a=rtpmap`.
    pub(super) fn rtpmap(self) -> String {
        match self {
            Self::Audio(Codec::Opus) => "opus/48000/2".to_owned(),
            Self::Audio(codec) => format!("{}/{}", codec.name(), codec.clock_rate_hz()),
            Self::TelephoneEvent { clock_rate_hz } => format!("telephone-event/{clock_rate_hz}"),
        }
    }

    /// As in `a=fmtp`, where there is something to say.
    pub(super) fn fmtp(self) -> Option<&'static str> {
        match self {
            Self::Audio(Codec::Opus) => Some("useinbandfec=1"),
            Self::Audio(_) => None,
            Self::TelephoneEvent { .. } => Some("0-15"),
        }
    }

    /// The number that we take if it is free: the static one, else one that much equipment uses.
    pub(super) fn customary_payload_type(self) -> PayloadType {
        PayloadType(match self {
            Self::Audio(Codec::Pcmu) => 0,
            Self::Audio(Codec::Pcma) => 8,
            Self::Audio(Codec::Opus) => 111,
            Self::Audio(Codec::L16(_)) => 112,
            Self::TelephoneEvent {
                clock_rate_hz: 48_000,
            } => 110,
            Self::TelephoneEvent {
                clock_rate_hz: 16_000,
            } => 102,
            Self::TelephoneEvent { .. } => 101,
        })
    }

    /// For messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Audio(codec) => codec.name(),
            Self::TelephoneEvent { .. } => "telephone-event",
        }
    }
}

/// The codec behind a configured name.
pub(super) fn codec_of(name: CodecName) -> Codec {
    match name {
        CodecName::Opus => Codec::Opus,
        CodecName::Pcmu => Codec::Pcmu,
        CodecName::Pcma => Codec::Pcma,
        CodecName::L16 => WIDEBAND,
    }
}
