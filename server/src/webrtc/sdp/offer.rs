//! Reads an offer: bounded in bytes, m-lines, formats and candidates; unknown lines and attributes are skipped.

use super::{RemoteCandidate, SdpError, candidate::is_ice_char};
use crate::rtp::{PayloadType, StreamDirection};
use crate::webrtc::dtls::{Fingerprint, FingerprintError};

/// The longest offer, in bytes.
pub const OFFER_LEN_MAX: usize = 64 * 1024;
/// The most lines of an offer.
pub const LINES_MAX: usize = 4096;
/// The most m-lines of an offer.
pub const MEDIA_MAX: usize = 16;
/// The most formats (payload types) of one m-line.
pub const FORMATS_MAX: usize = 64;
/// The most candidates of an offer.
pub const CANDIDATES_MAX: usize = 64;
/// The most header extensions of one m-line.
pub const EXTENSIONS_MAX: usize = 32;
/// The most fingerprints of one m-line.
pub const FINGERPRINTS_MAX: usize = 8;
/// The longest `a=mid`.
const MID_LEN_MAX: usize = 64;
/// RFC 8839 section 5.4.
const UFRAG_LEN: std::ops::RangeInclusive<usize> = 4..=256;
const PASSWORD_LEN: std::ops::RangeInclusive<usize> = 22..=256;

/// An offer, as far as an audio answer needs it.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// Every m-line, in order.
    pub media: Vec<OfferedMedia>,
    /// The mids of the first `a=group:BUNDLE`; empty: no bundle.
    pub bundle: Vec<String>,
    /// `a=ice-lite`.
    pub ice_lite: bool,
    /// How many candidates it had, all valid.
    pub candidates: usize,
}

/// One m-line with what the session level says for it.
#[derive(Debug, Clone, Default)]
pub struct OfferedMedia {
    /// `audio`, `video`, `application`.
    pub kind: String,
    /// 0: rejected, unless [`OfferedMedia::bundle_only`].
    pub port: u16,
    /// As in `UDP/TLS/RTP/SAVPF`.
    pub protocol: String,
    /// As they stand, because a rejected m-line repeats them.
    pub formats: Vec<String>,
    /// `a=mid`.
    pub mid: Option<String>,
    /// `a=bundle-only`.
    pub bundle_only: bool,
    /// What the offerer does; sendrecv if it does not say.
    pub direction: Option<StreamDirection>,
    /// ICE, DTLS: what belongs to the transport.
    pub transport: OfferedTransport,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize`.
    pub rtcp_rsize: bool,
    /// The codecs of the m-line's formats, in no particular order.
    pub codecs: Vec<OfferedCodec>,
    /// `a=extmap`: id and URI.
    pub extensions: Vec<(u8, String)>,
    /// Payload types with `a=rtcp-fb:<pt> transport-cc`; none in it: `*`.
    pub transport_cc: Vec<Option<PayloadType>>,
    /// `a=ptime`: the packet duration that the offerer wants, in ms.
    pub ptime_ms: Option<u32>,
    /// `a=maxptime`, in ms.
    pub maxptime_ms: Option<u32>,
}

/// ICE credentials, certificate and DTLS role; what an m-line lacks stands at the session level or, in a bundle, at
/// the bundle's first m-line.
#[derive(Debug, Clone, Default)]
pub struct OfferedTransport {
    /// `a=ice-ufrag`.
    pub ice_ufrag: Option<String>,
    /// `a=ice-pwd`.
    pub ice_password: Option<String>,
    /// `a=fingerprint` lines with a hash that we accept.
    pub fingerprints: Vec<Fingerprint>,
    /// `a=setup`.
    pub setup: Option<Setup>,
}

/// `a=setup` (RFC 8842).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Client or server, as the answerer likes.
    ActPass,
    /// DTLS client.
    Active,
    /// DTLS server.
    Passive,
    /// Not now.
    HoldConn,
}

/// One payload type of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedCodec {
    /// Its number.
    pub payload_type: PayloadType,
    /// As in `a=rtpmap`.
    pub name: String,
    /// In Hz.
    pub clock_rate_hz: u32,
    /// 1 unless said.
    pub channels: u8,
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// [`SdpError`] with the line at fault.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > OFFER_LEN_MAX {
            return Err(SdpError::TooLong(text.len()));
        }
        let mut offer = Self::default();
        let mut session = OfferedMedia::default();
        let mut has_version = false;
        for (line, content) in (1..).zip(text.lines()) {
            if line > LINES_MAX {
                return Err(SdpError::TooMany {
                    line,
                    what: "lines",
                    limit: LINES_MAX,
                });
            }
            let content = content.trim_end();
            if content.is_empty() {
                continue;
            }
            let Some((kind, value)) = content.split_once('=').filter(|(kind, _)| kind.len() == 1)
            else {
                return Err(SdpError::Line {
                    line,
                    what: "not `x=value`",
                });
            };
            match kind {
                "v" if value == "0" && !has_version => has_version = true,
                "v" => {
                    return Err(SdpError::Line {
                        line,
                        what: "the version is not one `v=0`",
                    });
                }
                _ if !has_version => {
                    return Err(SdpError::Line {
                        line,
                        what: "an SDP begins with `v=0`",
                    });
                }
                "m" => {
                    if offer.media.len() >= MEDIA_MAX {
                        return Err(SdpError::TooMany {
                            line,
                            what: "m-lines",
                            limit: MEDIA_MAX,
                        });
                    }
                    offer.media.push(OfferedMedia::begin(line, value)?);
                }
                "a" => offer.take_attribute(line, value, &mut session)?,
                _ => {}
            }
        }
        if !has_version {
            return Err(SdpError::Missing("v=0 line"));
        }
        offer.inherit(&session);
        Ok(offer)
    }

    fn take_attribute(
        &mut self,
        line: usize,
        attribute: &str,
        session: &mut OfferedMedia,
    ) -> Result<(), SdpError> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "ice-lite" => self.ice_lite = true,
            "group" if self.media.is_empty() && self.bundle.is_empty() => {
                if let Some(mids) = value.strip_prefix("BUNDLE") {
                    for mid in mids.split_ascii_whitespace() {
                        if self.bundle.len() >= MEDIA_MAX {
                            let what = "mids in the bundle";
                            return Err(SdpError::TooMany {
                                line,
                                what,
                                limit: MEDIA_MAX,
                            });
                        }
                        self.bundle.push(mid_token(line, mid)?);
                    }
                }
            }
            "candidate" => {
                if self.candidates >= CANDIDATES_MAX {
                    let what = "candidates";
                    return Err(SdpError::TooMany {
                        line,
                        what,
                        limit: CANDIDATES_MAX,
                    });
                }
                RemoteCandidate::parse(attribute).map_err(|error| match error {
                    SdpError::Candidate(what) => SdpError::Line { line, what },
                    other => other,
                })?;
                self.candidates += 1;
            }
            _ => {
                let target = self.media.last_mut().unwrap_or(session);
                target.take_attribute(line, name, value)?;
            }
        }
        Ok(())
    }

    /// Fills what an m-line does not say itself: first from the session level, then from the bundle's first m-line.
    fn inherit(&mut self, session: &OfferedMedia) {
        for media in &mut self.media {
            media.transport.fill_from(&session.transport);
            media.direction = media.direction.or(session.direction);
            media.rtcp_mux |= session.rtcp_mux;
            media.rtcp_rsize |= session.rtcp_rsize;
            for extension in &session.extensions {
                if media.extensions.len() < EXTENSIONS_MAX {
                    media.extensions.push(extension.clone());
                }
            }
        }
        let Some(tagged) = self.bundle.first() else {
            return;
        };
        let tagged = self
            .media
            .iter()
            .find(|media| media.mid.as_ref() == Some(tagged));
        let Some(transport) = tagged.map(|media| media.transport.clone()) else {
            return;
        };
        for media in &mut self.media {
            if media
                .mid
                .as_ref()
                .is_some_and(|mid| self.bundle.contains(mid))
            {
                media.transport.fill_from(&transport);
            }
        }
    }
}

impl OfferedTransport {
    fn fill_from(&mut self, other: &Self) {
        if self.ice_ufrag.is_none() && self.ice_password.is_none() {
            self.ice_ufrag.clone_from(&other.ice_ufrag);
            self.ice_password.clone_from(&other.ice_password);
        }
        if self.fingerprints.is_empty() {
            self.fingerprints.clone_from(&other.fingerprints);
        }
        self.setup = self.setup.or(other.setup);
    }
}

impl OfferedMedia {
    /// Reads `audio 9 UDP/TLS/RTP/SAVPF 111 0`.
    fn begin(line: usize, value: &str) -> Result<Self, SdpError> {
        let wrong = |what| SdpError::Line { line, what };
        let mut words = value.split_ascii_whitespace();
        let mut word = |what| {
            let word = words.next().filter(|word| word.len() <= 64);
            word.filter(|word| word.bytes().all(is_token_char))
                .ok_or(wrong(what))
        };
        let kind = word("no media type")?.to_owned();
        let port = word("no port")?;
        // `9/2` is a port with a count.
        let port = port.split('/').next().unwrap_or_default();
        let port = port.parse().map_err(|_| wrong("the port is no port"))?;
        let protocol = word("no protocol")?.to_owned();
        let mut formats = Vec::new();
        for format in words {
            if formats.len() >= FORMATS_MAX {
                return Err(SdpError::TooMany {
                    line,
                    what: "formats",
                    limit: FORMATS_MAX,
                });
            }
            if format.len() > 64 || !format.bytes().all(is_token_char) {
                return Err(wrong("a format is no token"));
            }
            formats.push(format.to_owned());
        }
        let mut codecs: Vec<OfferedCodec> = Vec::new();
        for codec in formats.iter().filter_map(|format| static_codec(format)) {
            // A number that is listed twice is one codec: an rtpmap would rename only one of two.
            if !codecs
                .iter()
                .any(|known| known.payload_type == codec.payload_type)
            {
                codecs.push(codec);
            }
        }
        Ok(Self {
            kind,
            port,
            protocol,
            formats,
            codecs,
            ..Self::default()
        })
    }

    fn take_attribute(&mut self, line: usize, name: &str, value: &str) -> Result<(), SdpError> {
        let wrong = |what| SdpError::Line { line, what };
        match name {
            "mid" => self.mid = Some(mid_token(line, value)?),
            "bundle-only" => self.bundle_only = true,
            "rtcp-mux" => self.rtcp_mux = true,
            "rtcp-rsize" => self.rtcp_rsize = true,
            "ice-ufrag" => {
                let value = ice_token(value, UFRAG_LEN);
                let value = value.ok_or(wrong("ice-ufrag is not 4 to 256 ice-chars"))?;
                self.transport.ice_ufrag = Some(value);
            }
            "ice-pwd" => {
                let value = ice_token(value, PASSWORD_LEN);
                let value = value.ok_or(wrong("ice-pwd is not 22 to 256 ice-chars"))?;
                self.transport.ice_password = Some(value);
            }
            "fingerprint" => match Fingerprint::parse(value) {
                Ok(_) if self.transport.fingerprints.len() >= FINGERPRINTS_MAX => {
                    let (what, limit) = ("fingerprints", FINGERPRINTS_MAX);
                    return Err(SdpError::TooMany { line, what, limit });
                }
                Ok(fingerprint) => self.transport.fingerprints.push(fingerprint),
                // Another line may have a hash that we accept (RFC 8122 section 5).
                Err(FingerprintError::UnknownHash) => {}
                Err(FingerprintError::Malformed) => {
                    return Err(wrong("the fingerprint can't be read"));
                }
            },
            "setup" => {
                self.transport.setup = Some(match value.trim() {
                    "actpass" => Setup::ActPass,
                    "active" => Setup::Active,
                    "passive" => Setup::Passive,
                    "holdconn" => Setup::HoldConn,
                    _ => return Err(wrong("setup is none of actpass, active, passive, holdconn")),
                });
            }
            "rtpmap" => self
                .take_rtpmap(value)
                .ok_or(wrong("the rtpmap can't be read"))?,
            "rtcp-fb" => {
                if let Some((payload_type, "transport-cc")) = value.trim().split_once(' ')
                    && self.transport_cc.len() < FORMATS_MAX
                {
                    let payload_type = payload_type.parse().ok().map(PayloadType);
                    self.transport_cc.push(payload_type);
                }
            }
            "extmap" => self.take_extmap(line, value)?,
            "ptime" => self.ptime_ms = value.trim().parse().ok(),
            "maxptime" => self.maxptime_ms = value.trim().parse().ok(),
            _ => self.direction = StreamDirection::from_attribute(name).or(self.direction),
        }
        Ok(())
    }

    /// Reads `111 opus/48000/2`. A number that the m-line does not list is skipped.
    fn take_rtpmap(&mut self, value: &str) -> Option<()> {
        let (payload_type, encoding) = value.trim().split_once(' ')?;
        let number: u8 = payload_type.parse().ok().filter(|number| *number < 128)?;
        let mut parts = encoding.trim().split('/');
        let name = parts
            .next()
            .filter(|name| !name.is_empty() && name.len() <= 64)?;
        let clock_rate_hz = parts.next()?.parse().ok()?;
        let channels = parts
            .next()
            .map_or(Some(1), |channels| channels.parse().ok())?;
        let payload_type = PayloadType(number);
        let codec = OfferedCodec {
            payload_type,
            name: name.to_owned(),
            clock_rate_hz,
            channels,
        };
        let mut existing = self.codecs.iter_mut();
        if let Some(known) = existing.find(|known| known.payload_type == payload_type) {
            *known = codec;
        } else if self
            .formats
            .iter()
            .any(|format| format.parse() == Ok(number))
            && self.codecs.len() < FORMATS_MAX
        {
            self.codecs.push(codec);
        }
        Some(())
    }

    /// Reads `3 http://...` or `3/recvonly http://...`.
    fn take_extmap(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        let mut words = value.split_ascii_whitespace();
        let id = words
            .next()
            .and_then(|id| id.split('/').next())
            .and_then(|id| id.parse().ok());
        let (Some(id), Some(uri)) = (id, words.next()) else {
            return Err(SdpError::Line {
                line,
                what: "the extmap can't be read",
            });
        };
        if self.extensions.len() >= EXTENSIONS_MAX {
            let (what, limit) = ("header extensions", EXTENSIONS_MAX);
            return Err(SdpError::TooMany { line, what, limit });
        }
        self.extensions.push((id, uri.to_owned()));
        Ok(())
    }
}

/// The payload types of RFC 3551 that need no rtpmap.
fn static_codec(format: &str) -> Option<OfferedCodec> {
    let (payload_type, name) = match format {
        "0" => (0, "PCMU"),
        "8" => (8, "PCMA"),
        _ => return None,
    };
    Some(OfferedCodec {
        payload_type: PayloadType(payload_type),
        name: name.to_owned(),
        clock_rate_hz: 8000,
        channels: 1,
    })
}

fn mid_token(line: usize, value: &str) -> Result<String, SdpError> {
    let value = value.trim();
    if value.is_empty() || value.len() > MID_LEN_MAX || !value.bytes().all(is_token_char) {
        return Err(SdpError::Line {
            line,
            what: "a mid is no token",
        });
    }
    Ok(value.to_owned())
}

fn ice_token(value: &str, len: std::ops::RangeInclusive<usize>) -> Option<String> {
    let value = value.trim();
    let valid = len.contains(&value.len())
        && value
            .bytes()
            .all(|b| is_ice_char(b) || b == b'-' || b == b'_' || b == b'=');
    valid.then(|| value.to_owned())
}

/// Visible ASCII: what may be copied into an answer's line without changing its shape.
fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_graphic()
}
