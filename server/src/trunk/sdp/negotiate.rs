//! From the far end's SDP to what it accepts or offers for the one audio stream: which m-line, codec, address, keys.

use std::net::{IpAddr, SocketAddr};

use super::SdpError;
use super::crypto::Crypto;
use super::encoding::{Encoding, codec_of};
use super::local::LocalAudio;
use super::remote::{Connection, RemoteDescription, RemoteMedia};
use crate::bridge::{Codec, StreamFormat, TelephoneEventFormat};
use crate::call::RtpMedia;
use crate::config::{CodecName, IpCidr};
use crate::rtp::{PayloadType, StreamDirection};

/// Packet durations that we send, in ms.
const PTIMES_MS: [u8; 4] = [10, 20, 30, 40];
/// What we send when nobody asks otherwise, in ms.
pub const PTIME_DEFAULT_MS: u8 = 20;
/// The longest protocol that a message repeats.
const PROTOCOL_LEN_MAX: usize = 24;

/// What a trunk wants of its media.
#[derive(Debug, Clone)]
pub struct NegotiationConfig {
    /// Ours, best first.
    pub codecs: Vec<CodecName>,
    /// The packet duration that we ask for, in ms; usually [`PTIME_DEFAULT_MS`].
    pub ptime_ms: u8,
    /// Only SRTP with keys in the SDP (RFC 4568). Without it, SRTP is taken when the far end offers it.
    pub srtp: bool,
    /// Where we take RTP, as the far end reaches it: never unspecified. RTCP on the next port, unless muxed.
    pub local: SocketAddr,
    /// Do our offers have `a=rtcp-mux`? Our answers have it whenever the offer does.
    pub offers_rtcp_mux: bool,
    /// Where the far end's media may be; empty: anywhere.
    pub media_ip_cidrs: Vec<IpCidr>,
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// For the media leg. On a hold by `0.0.0.0` its remote is the last one known; when none is, it is unspecified and
    /// nothing can be sent there.
    pub media: RtpMedia,
    /// Does the far end hold the call, that is, receive nothing?
    pub far_end_holds: bool,
}

/// The far end's part of the stream that is agreed on.
#[derive(Debug, Clone)]
pub(super) struct FarEnd {
    /// Which m-line.
    pub index: usize,
    pub protocol: String,
    /// Unspecified on the old hold.
    pub remote: SocketAddr,
    pub remote_rtcp: SocketAddr,
    /// The hold of RFC 2543: `c=IN IP4 0.0.0.0`.
    pub old_hold: bool,
    pub rtcp_mux: bool,
    /// What it does, seen from it.
    pub direction: StreamDirection,
    pub codec: Codec,
    pub payload_type: PayloadType,
    pub telephone_event: Option<TelephoneEventFormat>,
    /// What we send.
    pub ptime_ms: u8,
    /// Did it ask for a packet duration?
    pub asks_ptime: bool,
    pub crypto: Option<Crypto>,
    /// All that we know of its formats, in order.
    pub encodings: Vec<(PayloadType, Encoding)>,
}

impl NegotiationConfig {
    pub(super) fn codecs(&self) -> Vec<Codec> {
        self.codecs.iter().copied().map(codec_of).collect()
    }

    /// May media go there?
    fn check_address(&self, ip: IpAddr) -> Result<(), SdpError> {
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        if ip.is_multicast() || broadcast {
            return Err(SdpError::NotUnicast(ip));
        }
        if ip.is_ipv4() != self.local.ip().to_canonical().is_ipv4() {
            return Err(SdpError::AddressFamily(ip));
        }
        let mut ranges = self.media_ip_cidrs.iter();
        if !self.media_ip_cidrs.is_empty() && !ranges.any(|range| range.contains(ip)) {
            return Err(SdpError::MediaAddress(ip));
        }
        Ok(())
    }
}

/// The first audio m-line of an offer that we can use. A codec that is in use stays in use, if it is offered.
pub(super) fn accept_offer(
    offer: &RemoteDescription,
    config: &NegotiationConfig,
    in_use: Option<Codec>,
) -> Result<FarEnd, SdpError> {
    let mut refused = None;
    for (index, media) in offer.media.iter().enumerate() {
        if media.kind != "audio" {
            continue;
        }
        match accept_offered_media(index, media, config, in_use) {
            Ok(far_end) => return Ok(far_end),
            // What stands against an m-line with a port says more than a port 0.
            Err(error) => match refused {
                None | Some(SdpError::AudioPortZero) => refused = Some(error),
                Some(_) => {}
            },
        }
    }
    Err(refused.unwrap_or(SdpError::NoAudio))
}

fn accept_offered_media(
    index: usize,
    media: &RemoteMedia,
    config: &NegotiationConfig,
    in_use: Option<Codec>,
) -> Result<FarEnd, SdpError> {
    if media.port == 0 {
        return Err(SdpError::AudioPortZero);
    }
    let crypto = offered_crypto(media, config)?;
    let ours = config.codecs();
    let preferred = in_use.filter(|codec| ours.contains(codec));
    let mut by_preference = preferred.into_iter().chain(ours.iter().copied());
    let chosen = by_preference.find_map(|codec| find_codec(media, codec));
    let chosen = chosen.ok_or_else(|| no_common_codec(media, &ours))?;
    far_end(index, media, config, chosen, crypto)
}

/// The answer's m-line in the place of our offer's `audio`, and the far end's preference of the codecs that we offered.
pub(super) fn accept_answer(
    answer: &RemoteDescription,
    config: &NegotiationConfig,
    index: usize,
    audio: &LocalAudio,
) -> Result<FarEnd, SdpError> {
    let media = answer.media.get(index);
    let media = media.filter(|media| media.kind == "audio");
    let media = media.ok_or(SdpError::AnswerWithoutAudio)?;
    if media.port == 0 {
        return Err(SdpError::AudioPortZero);
    }
    let crypto = answered_crypto(media, config, audio)?;
    let ours = audio.codecs();
    let mut encodings = media.encodings.iter();
    let chosen = encodings.find_map(|(payload_type, encoding)| match encoding {
        Encoding::Audio(codec) if ours.contains(codec) => Some((*codec, *payload_type)),
        _ => None,
    });
    let chosen = chosen.ok_or_else(|| no_common_codec(media, &ours))?;
    far_end(index, media, config, chosen, crypto)
}

fn far_end(
    index: usize,
    media: &RemoteMedia,
    config: &NegotiationConfig,
    (codec, payload_type): (Codec, PayloadType),
    crypto: Option<Crypto>,
) -> Result<FarEnd, SdpError> {
    let ip = match media.connection {
        None => return Err(SdpError::NoConnection),
        Some(Connection::Host) => return Err(SdpError::HostName),
        Some(Connection::Ip(ip)) => ip,
    };
    // RFC 3264 section 8.4: the hold of RFC 2543.
    let old_hold = ip.is_unspecified();
    if !old_hold {
        config.check_address(ip)?;
    }
    let rtcp_ip = media.rtcp.and_then(|rtcp| rtcp.ip);
    let rtcp_ip = rtcp_ip.filter(|ip| !ip.is_unspecified());
    if let Some(ip) = rtcp_ip {
        config.check_address(ip)?;
    }
    let rtcp_port = media.rtcp.map(|rtcp| rtcp.port);
    let rtcp_port = rtcp_port.unwrap_or(media.port.saturating_add(1));
    let remote_rtcp = SocketAddr::new(rtcp_ip.unwrap_or(ip), rtcp_port);
    let direction = media.direction;
    Ok(FarEnd {
        index,
        protocol: media.protocol.clone(),
        remote: SocketAddr::new(ip, media.port),
        remote_rtcp,
        old_hold,
        rtcp_mux: media.rtcp_mux,
        direction: StreamDirection::new(direction.sends(), direction.receives() && !old_hold),
        codec,
        payload_type,
        telephone_event: find_telephone_event(media, codec),
        ptime_ms: choose_ptime(media, codec),
        asks_ptime: media.ptime_ms.is_some() || media.maxptime_ms.is_some(),
        crypto,
        encodings: media.encodings.clone(),
    })
}

/// The first usable keys of an offer; none: plain RTP, where the trunk allows it.
fn offered_crypto(
    media: &RemoteMedia,
    config: &NegotiationConfig,
) -> Result<Option<Crypto>, SdpError> {
    let usable = media.crypto.iter().flatten().next().cloned();
    let unusable = media.crypto.iter().find_map(|line| line.as_ref().err());
    match (media.protocol.as_str(), usable) {
        ("RTP/AVP" | "RTP/AVPF", _) if !config.srtp => Ok(None),
        // Keys beside RTP/AVP: RFC 8643, SRTP where both want it.
        ("RTP/SAVP" | "RTP/SAVPF" | "RTP/AVP" | "RTP/AVPF", Some(crypto)) => Ok(Some(crypto)),
        ("RTP/SAVP" | "RTP/SAVPF", None) => {
            let why = unusable.copied().unwrap_or("no a=crypto line");
            Err(SdpError::NoUsableKeys(why))
        }
        ("RTP/AVP" | "RTP/AVPF", None) => {
            Err(unusable.map_or(SdpError::NoSrtp, |why| SdpError::NoUsableKeys(why)))
        }
        _ => Err(transport_error(media)),
    }
}

/// The keys of an answer; its tag and suite are those of one of our lines (RFC 4568 section 5.1.3).
fn answered_crypto(
    media: &RemoteMedia,
    config: &NegotiationConfig,
    audio: &LocalAudio,
) -> Result<Option<Crypto>, SdpError> {
    let answered_srtp = matches!(media.protocol.as_str(), "RTP/SAVP" | "RTP/SAVPF");
    if !answered_srtp && !matches!(media.protocol.as_str(), "RTP/AVP" | "RTP/AVPF") {
        return Err(transport_error(media));
    }
    if audio.crypto.is_empty() {
        if answered_srtp {
            return Err(transport_error(media));
        }
        return Ok(None);
    }
    let offered_srtp = audio.protocol.starts_with("RTP/SAVP");
    if offered_srtp && !answered_srtp {
        return Err(SdpError::NoSrtp);
    }
    let usable = media.crypto.iter().flatten().next();
    let Some(answered) = usable else {
        return match media.crypto.iter().find_map(|line| line.as_ref().err()) {
            Some(why) => Err(SdpError::NoUsableKeys(why)),
            None if offered_srtp => Err(SdpError::NoUsableKeys("no a=crypto line")),
            None if config.srtp => Err(SdpError::NoSrtp),
            None => Ok(None),
        };
    };
    match audio.crypto_like(answered) {
        Some(_) => Ok(Some(answered.clone())),
        None => Err(SdpError::NoUsableKeys(
            "a tag or suite that we did not offer",
        )),
    }
}

fn transport_error(media: &RemoteMedia) -> SdpError {
    SdpError::Transport(media.protocol.chars().take(PROTOCOL_LEN_MAX).collect())
}

fn no_common_codec(media: &RemoteMedia, ours: &[Codec]) -> SdpError {
    let ours: Vec<&str> = ours.iter().map(|codec| codec.name()).collect();
    SdpError::NoCommonCodec {
        offered: media.codec_names.join(" "),
        ours: ours.join(" "),
    }
}

fn find_codec(media: &RemoteMedia, codec: Codec) -> Option<(Codec, PayloadType)> {
    let mut encodings = media.encodings.iter();
    let found = encodings.find(|(_, encoding)| *encoding == Encoding::Audio(codec));
    found.map(|(payload_type, _)| (codec, *payload_type))
}

/// `telephone-event` with the codec's clock (RFC 4733 section 2.5.1.1), else with 8 kHz, else what is there.
fn find_telephone_event(media: &RemoteMedia, codec: Codec) -> Option<TelephoneEventFormat> {
    let events = media
        .encodings
        .iter()
        .filter_map(|encoding| match encoding {
            (payload_type, Encoding::TelephoneEvent { clock_rate_hz }) => {
                Some(TelephoneEventFormat {
                    payload_type: *payload_type,
                    clock_rate_hz: *clock_rate_hz,
                })
            }
            _ => None,
        });
    // The first of the best, since min_by_key takes the first.
    events.min_by_key(|event| match event.clock_rate_hz {
        clock_rate_hz if clock_rate_hz == codec.clock_rate_hz() => 0,
        8_000 => 1,
        _ => 2,
    })
}

/// What the far end asks for, as far as we can send it: the longest not above it.
fn choose_ptime(media: &RemoteMedia, codec: Codec) -> u8 {
    let wanted = media.ptime_ms.unwrap_or(u32::from(PTIME_DEFAULT_MS));
    let wanted = wanted.min(media.maxptime_ms.unwrap_or(u32::MAX));
    // Opus has no frames of 30 ms.
    let has = |ptime_ms: u8| codec != Codec::Opus || ptime_ms != 30;
    let mut fitting = PTIMES_MS.into_iter().rev();
    fitting
        .find(|ptime_ms| u32::from(*ptime_ms) <= wanted && has(*ptime_ms))
        .unwrap_or(PTIMES_MS[0])
}

impl FarEnd {
    /// What we send.
    pub(super) fn sends(&self) -> StreamFormat {
        StreamFormat {
            codec: self.codec,
            payload_type: self.payload_type,
            ptime_ms: self.ptime_ms,
            telephone_event: self.telephone_event,
        }
    }
}
