//! From an offer to what both sides do: which m-line, codec, header extensions and direction.

use codecs::SampleRate;

use super::{Offer, OfferedMedia, SdpError, Setup};
use crate::bridge::{Codec, StreamFormat, TelephoneEventFormat};
use crate::config::CodecName;
use crate::rtp::{PayloadType, StreamDirection, TRANSPORT_CC_URI};
use crate::webrtc::dtls::Fingerprint;

/// The header extension that names the m-line (RFC 9143).
pub const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// Packet durations that we send, in ms: those that Opus and G.711 share.
const PTIMES_MS: [u8; 4] = [10, 20, 40, 60];
/// What we send when nobody asks otherwise, in ms.
const PTIME_DEFAULT_MS: u8 = 20;
/// Ids that fit the one-byte header of RFC 8285.
const ONE_BYTE_IDS: std::ops::RangeInclusive<u8> = 1..=14;

/// One audio stream as an answer can accept it.
#[derive(Debug, Clone)]
pub struct NegotiatedAudio {
    /// Which m-line of the offer.
    pub media_index: usize,
    /// Its mid.
    pub mid: Option<String>,
    /// Is it in the offer's bundle?
    pub bundled: bool,
    /// Codec, payload types and packet duration.
    pub format: StreamFormat,
    /// What we do.
    pub direction: StreamDirection,
    /// The peer's ufrag.
    pub remote_ufrag: String,
    /// The peer's ICE password. A lite agent sends no checks, so it only tells an ICE restart.
    pub remote_password: String,
    /// The peer's certificate has one of these.
    pub fingerprints: Vec<Fingerprint>,
    /// The id of transport-wide-cc in received packets, if both the extension and the feedback were offered.
    pub transport_cc_id: Option<u8>,
    /// The id of the mid extension in received packets.
    pub mid_id: Option<u8>,
    /// Does the peer take reduced-size RTCP (RFC 5506)?
    pub rtcp_rsize: bool,
}

/// Chooses the first audio m-line over DTLS-SRTP that has one of our `codecs` (best first).
///
/// # Errors
/// [`SdpError`] when there is none, or it lacks what a WebRTC transport must have.
pub fn negotiate(offer: &Offer, codecs: &[CodecName]) -> Result<NegotiatedAudio, SdpError> {
    if offer.ice_lite {
        return Err(SdpError::IceLite);
    }
    let mut refused = None;
    for (media_index, media) in offer.media.iter().enumerate().filter(|(_, m)| is_usable(m)) {
        match choose_format(media, codecs) {
            Ok(format) => return negotiate_media(offer, media_index, media, format),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or(SdpError::NoAudio))
}

fn is_usable(media: &OfferedMedia) -> bool {
    let protocols = ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF"];
    media.kind == "audio"
        && (media.port != 0 || media.bundle_only)
        && protocols.contains(&media.protocol.as_str())
}

fn negotiate_media(
    offer: &Offer,
    media_index: usize,
    media: &OfferedMedia,
    format: StreamFormat,
) -> Result<NegotiatedAudio, SdpError> {
    let transport = &media.transport;
    let remote_ufrag = transport
        .ice_ufrag
        .clone()
        .ok_or(SdpError::Missing("a=ice-ufrag"))?;
    let remote_password = transport
        .ice_password
        .clone()
        .ok_or(SdpError::Missing("a=ice-pwd"))?;
    if transport.fingerprints.is_empty() {
        return Err(SdpError::Missing(
            "a=fingerprint with sha-256, sha-384 or sha-512",
        ));
    }
    if !media.rtcp_mux {
        return Err(SdpError::Missing("a=rtcp-mux"));
    }
    match transport.setup {
        // Without the attribute an offerer is active (RFC 4145 section 4.1).
        None | Some(Setup::ActPass | Setup::Active) => {}
        Some(Setup::Passive) => return Err(SdpError::Setup("passive")),
        Some(Setup::HoldConn) => return Err(SdpError::Setup("holdconn")),
    }
    let feedback = media
        .transport_cc
        .iter()
        .any(|payload_type| payload_type.is_none_or(|number| number == format.payload_type));
    let bundled = media
        .mid
        .as_ref()
        .is_some_and(|mid| offer.bundle.contains(mid));
    Ok(NegotiatedAudio {
        media_index,
        mid: media.mid.clone(),
        bundled,
        format,
        direction: media.direction.unwrap_or_default().answered(),
        remote_ufrag,
        remote_password,
        fingerprints: transport.fingerprints.clone(),
        transport_cc_id: extension_id(media, TRANSPORT_CC_URI).filter(|_| feedback),
        mid_id: extension_id(media, MID_URI),
        rtcp_rsize: media.rtcp_rsize,
    })
}

fn extension_id(media: &OfferedMedia, uri: &str) -> Option<u8> {
    let mut matching = media
        .extensions
        .iter()
        .filter(|(_, offered)| offered == uri);
    matching
        .find(|(id, _)| ONE_BYTE_IDS.contains(id))
        .map(|(id, _)| *id)
}

fn choose_format(media: &OfferedMedia, codecs: &[CodecName]) -> Result<StreamFormat, SdpError> {
    for name in codecs {
        let codec = codec_of(*name);
        let channels = if codec == Codec::Opus { 2 } else { 1 };
        let offered = media.codecs.iter().find(|offered| {
            offered.name.eq_ignore_ascii_case(codec.name())
                && offered.clock_rate_hz == codec.clock_rate_hz()
                && offered.channels == channels
        });
        if let Some(offered) = offered {
            return Ok(StreamFormat {
                codec,
                payload_type: offered.payload_type,
                ptime_ms: choose_ptime(media),
                telephone_event: choose_telephone_event(media, codec),
            });
        }
    }
    let offered: Vec<&str> = media
        .codecs
        .iter()
        .map(|codec| codec.name.as_str())
        .collect();
    let ours: Vec<&str> = codecs.iter().map(|name| codec_of(*name).name()).collect();
    Err(SdpError::NoCommonCodec {
        offered: offered.join(" "),
        ours: ours.join(" "),
    })
}

/// `telephone-event` with the codec's clock (RFC 4733 section 2.5.1.1), else with 8 kHz: Firefox offers no other.
fn choose_telephone_event(media: &OfferedMedia, codec: Codec) -> Option<TelephoneEventFormat> {
    let with_clock = |clock_rate_hz: u32| {
        let mut events = media.codecs.iter();
        let event = events.find(|offered| {
            offered.name.eq_ignore_ascii_case("telephone-event")
                && offered.clock_rate_hz == clock_rate_hz
        })?;
        Some(TelephoneEventFormat {
            payload_type: event.payload_type,
            clock_rate_hz,
        })
    };
    with_clock(codec.clock_rate_hz()).or_else(|| with_clock(8000))
}

/// What the offerer asks for, as far as we can send it, and never above its `maxptime`.
fn choose_ptime(media: &OfferedMedia) -> u8 {
    let wanted = media.ptime_ms.and_then(|ptime| u8::try_from(ptime).ok());
    let wanted = wanted
        .filter(|ptime| PTIMES_MS.contains(ptime))
        .unwrap_or(PTIME_DEFAULT_MS);
    let longest = media.maxptime_ms.unwrap_or(u32::MAX);
    let fitting = PTIMES_MS
        .iter()
        .rev()
        .find(|ptime| **ptime <= wanted && u32::from(**ptime) <= longest);
    fitting.copied().unwrap_or(PTIMES_MS[0])
}

/// The codec behind a configured name.
pub(in crate::webrtc) fn codec_of(name: CodecName) -> Codec {
    match name {
        CodecName::Opus => Codec::Opus,
        CodecName::Pcmu => Codec::Pcmu,
        CodecName::Pcma => Codec::Pcma,
        CodecName::L16 => Codec::L16(SampleRate::Hz16000),
    }
}

impl NegotiatedAudio {
    /// Was this payload type negotiated?
    pub fn accepts(&self, payload_type: PayloadType) -> bool {
        let event = self.format.telephone_event.map(|event| event.payload_type);
        payload_type == self.format.payload_type || Some(payload_type) == event
    }
}
