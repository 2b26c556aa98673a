//! The far end's SDP in types: offer or answer.

use std::io::Cursor;
use std::net::IpAddr;

use rtc_sdp::description::common::{Attribute, ConnectionInformation};
use rtc_sdp::description::media::MediaDescription;
use rtc_sdp::description::session::SessionDescription;

use super::SdpError;
use super::crypto::{CRYPTO_LINES_MAX, Crypto};
use super::encoding::Encoding;
use super::normalise::normalise;
use crate::rtp::{PayloadType, StreamDirection};

/// Codecs that a message names.
const NAMES_MAX: usize = 16;
/// The longest name of one.
const NAME_LEN_MAX: usize = 32;

/// The far end's SDP, read and bounded.
#[derive(Debug, Clone)]
pub struct RemoteDescription {
    /// Every m-line, in order.
    pub(super) media: Vec<RemoteMedia>,
}

/// One m-line with what the session level says for it.
#[derive(Debug, Clone)]
pub(super) struct RemoteMedia {
    /// `audio`, `video`, `image`.
    pub kind: String,
    /// 0: refused.
    pub port: u16,
    /// As in `RTP/AVP`.
    pub protocol: String,
    /// As they stand, because a rejected m-line repeats them.
    pub formats: Vec<String>,
    /// `c=`.
    pub connection: Option<Connection>,
    /// sendrecv if it does not say.
    pub direction: StreamDirection,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// `a=rtcp`.
    pub rtcp: Option<RtcpAddress>,
    /// `a=ptime`, in ms.
    pub ptime_ms: Option<u32>,
    /// `a=maxptime`, in ms.
    pub maxptime_ms: Option<u32>,
    /// What we know of its formats, in order: the far end's preference.
    pub encodings: Vec<(PayloadType, Encoding)>,
    /// `a=crypto` in order, with why a line can't be used.
    pub crypto: Vec<Result<Crypto, &'static str>>,
    /// All its codecs, for messages.
    pub codec_names: Vec<String>,
}

/// Where media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// An address.
    Ip(IpAddr),
    /// A name.
    Host,
}

/// `a=rtcp` (RFC 3605).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RtcpAddress {
    pub port: u16,
    /// None: as RTP.
    pub ip: Option<IpAddr>,
}

impl RemoteDescription {
    /// Reads an SDP.
    ///
    /// # Errors
    /// [`SdpError`] for what can't be read or is too much. Whether it can be used, negotiation tells.
    pub fn parse(sdp: impl AsRef<[u8]>) -> Result<Self, SdpError> {
        let normalised = normalise(sdp.as_ref())?;
        let mut reader = Cursor::new(normalised.text.as_bytes());
        let session = SessionDescription::unmarshal(&mut reader).map_err(|_| SdpError::Grammar)?;
        let connection = session
            .connection_information
            .as_ref()
            .and_then(Connection::from_grammar);
        let described = session.media_descriptions.iter().zip(normalised.kinds);
        let media = described.map(|(media, kind)| {
            RemoteMedia::from_grammar(media, kind, &session.attributes, connection)
        });
        Ok(Self {
            media: media.collect(),
        })
    }

    /// How many m-lines it has.
    pub fn media_len(&self) -> usize {
        self.media.len()
    }
}

impl RemoteMedia {
    fn from_grammar(
        described: &MediaDescription,
        kind: String,
        session: &[Attribute],
        session_connection: Option<Connection>,
    ) -> Self {
        let name = &described.media_name;
        let own = described
            .connection_information
            .as_ref()
            .and_then(Connection::from_grammar);
        let mut media = Self {
            kind,
            port: u16::try_from(name.port.value).unwrap_or(0),
            protocol: name.protos.join("/"),
            formats: name.formats.clone(),
            connection: own.or(session_connection),
            direction: StreamDirection::SendRecv,
            rtcp_mux: false,
            rtcp: None,
            ptime_ms: None,
            maxptime_ms: None,
            encodings: Vec::new(),
            crypto: Vec::new(),
            codec_names: Vec::new(),
        };
        if media.kind == "audio" {
            // The m-line's own word is the last.
            for attribute in session.iter().chain(&described.attributes) {
                let value = attribute.value.as_deref().unwrap_or_default();
                media.take_attribute(attribute.key.trim(), value);
            }
            media.take_formats(&described.attributes);
        }
        media
    }

    fn take_attribute(&mut self, name: &str, value: &str) {
        match name {
            "ptime" => self.ptime_ms = value.trim().parse().ok().or(self.ptime_ms),
            "maxptime" => self.maxptime_ms = value.trim().parse().ok().or(self.maxptime_ms),
            "rtcp-mux" => self.rtcp_mux = true,
            "rtcp" => self.rtcp = RtcpAddress::parse(value).or(self.rtcp),
            "crypto" if self.crypto.len() < CRYPTO_LINES_MAX => {
                self.crypto.push(Crypto::parse(value));
            }
            _ => {
                self.direction = StreamDirection::from_attribute(name).unwrap_or(self.direction);
            }
        }
    }

    fn take_formats(&mut self, attributes: &[Attribute]) {
        for format in &self.formats {
            let Some(payload_type) = payload_type(format) else {
                continue;
            };
            // A number that is listed twice is one codec.
            if self
                .encodings
                .iter()
                .any(|(known, _)| *known == payload_type)
            {
                continue;
            }
            let rtpmap = rtpmap(attributes, payload_type);
            let fixed = Encoding::from_static(payload_type);
            let encoding = rtpmap.map_or(fixed, Encoding::from_rtpmap);
            // RFC 3551: a static number can't be mapped to something else.
            let encoding = encoding.filter(|encoding| fixed.is_none_or(|fixed| fixed == *encoding));
            if let Some(encoding) = encoding {
                self.encodings.push((payload_type, encoding));
            }
            if self.codec_names.len() < NAMES_MAX {
                let name = rtpmap.unwrap_or_else(|| static_name(payload_type, format));
                let name = name.chars().take(NAME_LEN_MAX).collect();
                self.codec_names.push(name);
            }
        }
    }
}

impl Connection {
    fn from_grammar(connection: &ConnectionInformation) -> Option<Self> {
        let address = &connection.address.as_ref()?.address;
        // `233.252.0.1/127`: a multicast address with its TTL.
        let address = address.split('/').next().unwrap_or_default();
        let ip = address.parse::<IpAddr>();
        Some(ip.map_or(Self::Host, |ip| Self::Ip(ip.to_canonical())))
    }
}

impl RtcpAddress {
    /// Reads `53020` or `53020 IN IP4 192.0.2.1`. A host name counts as none.
    fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
        let ip = match words.nth(2) {
            Some(address) => Some(address.parse::<IpAddr>().ok()?.to_canonical()),
            None => None,
        };
        Some(Self { port, ip })
    }
}

/// A payload type that audio can have. Muxed RTCP looks like 72 to 76 (RFC 5761 section 4).
fn payload_type(format: &str) -> Option<PayloadType> {
    let number = format.parse::<u8>().ok();
    let number = number.filter(|number| *number < 128 && !(72..=76).contains(number))?;
    Some(PayloadType(number))
}

/// The `a=rtpmap` of a number; the last, if it has several.
fn rtpmap(attributes: &[Attribute], payload_type: PayloadType) -> Option<&str> {
    let mut maps = attributes.iter().rev();
    maps.find_map(|attribute| {
        let value = attribute.value.as_deref()?;
        let (number, encoding) = value.trim().split_once([' ', '\t'])?;
        let matches = attribute.key.trim() == "rtpmap" && number.parse() == Ok(payload_type.0);
        matches.then_some(encoding.trim())
    })
}

/// Codecs without rtpmap that are often offered to us.
fn static_name(payload_type: PayloadType, format: &str) -> &str {
    match payload_type.0 {
        0 => "PCMU/8000",
        3 => "GSM/8000",
        4 => "G723/8000",
        8 => "PCMA/8000",
        9 => "G722/8000",
        18 => "G729/8000",
        _ => format,
    }
}
