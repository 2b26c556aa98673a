//! Writes our answer: ICE-lite, DTLS passive, one audio codec, every other m-line rejected in its place.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::candidate::write_candidates;
use super::{MID_URI, NegotiatedAudio, Offer, OfferedMedia};
use crate::bridge::Codec;
use crate::rtp::{Ssrc, TRANSPORT_CC_URI};
use crate::webrtc::ice_lite::IceCredentials;

/// The longest packet that we take, in ms.
const MAXPTIME_MS: u8 = 60;
/// The MediaStream and MediaStreamTrack that a browser makes of our stream.
const MSID: &str = "clutchcall clutchcall-audio";

/// What an answer says about us.
#[derive(Debug, Clone, Copy)]
pub struct AnswerIdentity<'a> {
    /// `o=`: the same in all answers of a call, at most 63 bits.
    pub session_id: u64,
    /// `o=`: one more in each answer.
    pub session_version: u64,
    /// Our ufrag and password.
    pub credentials: &'a IceCredentials,
    /// The value of `a=fingerprint`.
    pub fingerprint: &'a str,
    /// Our host candidates, best first; the first is also the m-line's address.
    pub addresses: &'a [SocketAddr],
    /// The source that we send.
    pub ssrc: Ssrc,
    /// Its canonical name (RFC 7022).
    pub cname: &'a str,
}

/// Writes the answer to `offer` that accepts `audio` and rejects every other m-line with port 0.
pub fn write_answer(offer: &Offer, audio: &NegotiatedAudio, us: &AnswerIdentity<'_>) -> String {
    let mut writer = AnswerWriter {
        sdp: String::with_capacity(1536),
    };
    writer.session(audio, us);
    for (index, media) in offer.media.iter().enumerate() {
        if index == audio.media_index {
            writer.audio(media, audio, us);
        } else {
            writer.rejected(media);
        }
    }
    writer.sdp
}

struct AnswerWriter {
    sdp: String,
}

impl AnswerWriter {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = write!(self.sdp, "{line}\r\n");
    }

    fn session(&mut self, audio: &NegotiatedAudio, us: &AnswerIdentity<'_>) {
        let (id, version) = (us.session_id, us.session_version);
        let address = connection_address(us);
        self.line(format_args!("v=0"));
        self.line(format_args!(
            "o=- {id} {version} {}",
            Connection(address.ip())
        ));
        self.line(format_args!("s=-"));
        self.line(format_args!("t=0 0"));
        if let (Some(mid), true) = (&audio.mid, audio.bundled) {
            self.line(format_args!("a=group:BUNDLE {mid}"));
        }
        self.line(format_args!("a=ice-lite"));
    }

    fn audio(&mut self, media: &OfferedMedia, audio: &NegotiatedAudio, us: &AnswerIdentity<'_>) {
        let address = connection_address(us);
        let format = &audio.format;
        let payload_type = format.payload_type.0;
        let (port, protocol) = (address.port(), &media.protocol);
        match format.telephone_event {
            Some(event) => {
                let event = event.payload_type.0;
                self.line(format_args!(
                    "m=audio {port} {protocol} {payload_type} {event}"
                ));
            }
            None => self.line(format_args!("m=audio {port} {protocol} {payload_type}")),
        }
        self.line(format_args!("c={}", Connection(address.ip())));
        if let Some(mid) = &audio.mid {
            self.line(format_args!("a=mid:{mid}"));
        }
        self.line(format_args!("a=ice-ufrag:{}", us.credentials.ufrag));
        self.line(format_args!("a=ice-pwd:{}", us.credentials.password));
        self.line(format_args!("a=fingerprint:{}", us.fingerprint));
        self.line(format_args!("a=setup:passive"));
        self.line(format_args!("a=rtcp-mux"));
        if audio.rtcp_rsize {
            self.line(format_args!("a=rtcp-rsize"));
        }
        if let Some(id) = audio.transport_cc_id {
            self.line(format_args!("a=extmap:{id} {TRANSPORT_CC_URI}"));
        }
        if let Some(id) = audio.mid_id {
            self.line(format_args!("a=extmap:{id} {MID_URI}"));
        }
        self.line(format_args!("a={}", audio.direction.as_str()));
        self.codecs(audio);
        if audio.direction.sends() {
            self.line(format_args!("a=msid:{MSID}"));
        }
        // On hold too: reports go on, and in Chromium WebAudio and MediaStreamTrackProcessor hear nothing more of a track whose
        // SSRC went and came back.
        self.line(format_args!("a=ssrc:{} cname:{}", us.ssrc.0, us.cname));
        write_candidates(&mut self.sdp, us.addresses);
    }

    fn codecs(&mut self, audio: &NegotiatedAudio) {
        let format = &audio.format;
        let payload_type = format.payload_type.0;
        let (name, clock_rate_hz) = (format.codec.name(), format.codec.clock_rate_hz());
        if format.codec == Codec::Opus {
            self.line(format_args!(
                "a=rtpmap:{payload_type} {name}/{clock_rate_hz}/2"
            ));
            self.line(format_args!(
                "a=fmtp:{payload_type} minptime=10;useinbandfec=1"
            ));
        } else {
            self.line(format_args!(
                "a=rtpmap:{payload_type} {name}/{clock_rate_hz}"
            ));
        }
        if audio.transport_cc_id.is_some() {
            self.line(format_args!("a=rtcp-fb:{payload_type} transport-cc"));
        }
        if let Some(event) = format.telephone_event {
            let (payload_type, clock_rate_hz) = (event.payload_type.0, event.clock_rate_hz);
            self.line(format_args!(
                "a=rtpmap:{payload_type} telephone-event/{clock_rate_hz}"
            ));
            self.line(format_args!("a=fmtp:{payload_type} 0-15"));
        }
        self.line(format_args!("a=ptime:{}", format.ptime_ms));
        self.line(format_args!("a=maxptime:{MAXPTIME_MS}"));
    }

    fn rejected(&mut self, media: &OfferedMedia) {
        let formats = if media.formats.is_empty() {
            "0".to_owned()
        } else {
            media.formats.join(" ")
        };
        self.line(format_args!(
            "m={} 0 {} {formats}",
            media.kind, media.protocol
        ));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        if let Some(mid) = &media.mid {
            self.line(format_args!("a=mid:{mid}"));
        }
        self.line(format_args!("a=inactive"));
    }
}

/// The first candidate; port 9 ("discard") says "none" (RFC 8840 section 4.1.1).
fn connection_address(us: &AnswerIdentity<'_>) -> SocketAddr {
    let none = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
    us.addresses.first().copied().unwrap_or(none)
}

/// `IN IP4 192.0.2.1`.
struct Connection(IpAddr);

impl std::fmt::Display for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.to_canonical() {
            IpAddr::V4(ip) => write!(f, "IN IP4 {ip}"),
            IpAddr::V6(ip) => write!(f, "IN IP6 {ip}"),
        }
    }
}
