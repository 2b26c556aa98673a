//! Our SDP: what it says, and its text.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use rtc_sdp::description::common::{Address, Attribute, ConnectionInformation};
use rtc_sdp::description::media::{MediaDescription, MediaName, RangedPort};
use rtc_sdp::description::session::{Origin, SessionDescription, TimeDescription};

use super::crypto::Crypto;
use super::encoding::Encoding;
use super::remote::RemoteMedia;
use crate::bridge::{Codec, StreamFormat, TelephoneEventFormat};
use crate::rtp::{PayloadType, StreamDirection};

/// The text of an SDP of ours. It may hold keys, which its `Debug` hides: print it with that.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalSdp(String);

impl LocalSdp {
    /// For a message body, `application/sdp`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LocalSdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalSdp(")?;
        for line in self.0.lines() {
            match line.split_once("inline:") {
                Some((before_key, _)) => write!(f, "{before_key}inline:[secret] | ")?,
                None => write!(f, "{line} | ")?,
            }
        }
        f.write_str(")")
    }
}

/// What an SDP of ours says, but for its session and version numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalDescription {
    pub address: SocketAddr,
    /// Every m-line of the session, in order; exactly one is [`Slot::Audio`].
    pub slots: Vec<Slot>,
    pub audio: LocalAudio,
}

/// An m-line's place. It never goes away (RFC 3264 section 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    /// The audio.
    Audio,
    /// Something of the far end's that we refuse.
    Rejected {
        kind: String,
        protocol: String,
        formats: Vec<String>,
    },
}

/// Our audio m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalAudio {
    pub protocol: String,
    /// Best first, telephone-event last.
    pub formats: Vec<(PayloadType, Encoding)>,
    pub direction: StreamDirection,
    pub ptime_ms: u8,
    pub rtcp_mux: bool,
    /// Lines with the keys that we send with.
    pub crypto: Vec<Crypto>,
}

impl Slot {
    pub(super) fn rejected(media: &RemoteMedia) -> Self {
        Self::Rejected {
            kind: media.kind.clone(),
            protocol: media.protocol.clone(),
            formats: media.formats.clone(),
        }
    }
}

impl LocalAudio {
    /// Its codecs, best first.
    pub(super) fn codecs(&self) -> Vec<Codec> {
        let codecs = self
            .formats
            .iter()
            .filter_map(|(_, encoding)| match encoding {
                Encoding::Audio(codec) => Some(*codec),
                Encoding::TelephoneEvent { .. } => None,
            });
        codecs.collect()
    }

    /// Our line with the same tag and suite.
    pub(super) fn crypto_like(&self, answered: &Crypto) -> Option<&Crypto> {
        self.crypto
            .iter()
            .find(|ours| ours.tag == answered.tag && ours.keys.profile() == answered.keys.profile())
    }

    /// What we take when `codec` is spoken. Events come with the clock that the far end named, if we named it too.
    pub(super) fn receives(
        &self,
        codec: Codec,
        event_clock_hz: Option<u32>,
    ) -> Option<StreamFormat> {
        let payload_type = self.number(Encoding::Audio(codec))?;
        let telephone_event = event_clock_hz.and_then(|clock_rate_hz| {
            let clocks_hz = [clock_rate_hz, codec.clock_rate_hz()];
            clocks_hz.into_iter().find_map(|clock_rate_hz| {
                let payload_type = self.number(Encoding::TelephoneEvent { clock_rate_hz })?;
                Some(TelephoneEventFormat {
                    payload_type,
                    clock_rate_hz,
                })
            })
        });
        Some(StreamFormat {
            codec,
            payload_type,
            ptime_ms: self.ptime_ms,
            telephone_event,
        })
    }

    fn number(&self, encoding: Encoding) -> Option<PayloadType> {
        let mut formats = self.formats.iter();
        let found = formats.find(|(_, known)| *known == encoding);
        found.map(|(payload_type, _)| *payload_type)
    }

    fn write(&self, port: u16) -> MediaDescription {
        let formats = self.formats.iter();
        let formats = formats.map(|(payload_type, _)| payload_type.0.to_string());
        let mut media = media_description("audio", port, &self.protocol, formats.collect());
        let mut add = |name: &str, value: Option<String>| {
            media
                .attributes
                .push(Attribute::new(name.to_owned(), value));
        };
        for crypto in &self.crypto {
            add("crypto", Some(crypto.value().to_string()));
        }
        for (payload_type, encoding) in &self.formats {
            let number = payload_type.0;
            add("rtpmap", Some(format!("{number} {}", encoding.rtpmap())));
            if let Some(parameters) = encoding.fmtp() {
                add("fmtp", Some(format!("{number} {parameters}")));
            }
        }
        add("ptime", Some(self.ptime_ms.to_string()));
        if self.rtcp_mux {
            add("rtcp-mux", None);
        }
        add(self.direction.as_str(), None);
        media
    }
}

impl LocalDescription {
    /// The place of the audio.
    pub(super) fn audio_index(&self) -> usize {
        let mut slots = self.slots.iter();
        slots.position(|slot| *slot == Slot::Audio).unwrap_or(0)
    }

    /// The text.
    pub(super) fn write(&self, session_id: u64, session_version: u64) -> LocalSdp {
        let ip = self.address.ip().to_canonical();
        let address_type = match ip {
            IpAddr::V4(_) => "IP4",
            IpAddr::V6(_) => "IP6",
        };
        let media = self.slots.iter().map(|slot| match slot {
            Slot::Audio => self.audio.write(self.address.port()),
            Slot::Rejected {
                kind,
                protocol,
                formats,
            } => media_description(kind, 0, protocol, formats.clone()),
        });
        let session = SessionDescription {
            origin: Origin {
                username: "-".to_owned(),
                session_id,
                session_version,
                network_type: "IN".to_owned(),
                address_type: address_type.to_owned(),
                unicast_address: ip.to_string(),
            },
            session_name: "-".to_owned(),
            connection_information: Some(ConnectionInformation {
                network_type: "IN".to_owned(),
                address_type: address_type.to_owned(),
                address: Some(Address {
                    address: ip.to_string(),
                    ttl: None,
                    range: None,
                }),
            }),
            time_descriptions: vec![TimeDescription::default()],
            media_descriptions: media.collect(),
            ..SessionDescription::default()
        };
        LocalSdp(session.marshal())
    }
}

fn media_description(
    kind: &str,
    port: u16,
    protocol: &str,
    formats: Vec<String>,
) -> MediaDescription {
    MediaDescription {
        media_name: MediaName {
            media: kind.to_owned(),
            port: RangedPort {
                value: isize::try_from(port).unwrap_or(0),
                range: None,
            },
            protos: vec![protocol.to_owned()],
            formats,
        },
        ..MediaDescription::default()
    }
}
