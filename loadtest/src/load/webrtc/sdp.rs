//! The offer of one audio stream, and what a client reads of the answer.

use std::fmt::Write as _;
use std::net::SocketAddr;

use is::{Candidate, IceCreds};

use super::ConnectError;
use crate::media::AudioCodec;

/// What the gateway answered.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteAnswer {
    /// Its ICE credentials.
    pub credentials: IceCreds,
    /// Its candidates, best first.
    pub candidates: Vec<Candidate>,
    /// SHA-256 of its certificate, as in `a=fingerprint`.
    pub fingerprint: String,
    /// What the codec's packets are numbered.
    pub payload_type: u8,
}

impl RemoteAnswer {
    /// Reads an answer in which `codec` was chosen.
    ///
    /// # Errors
    /// [`ConnectError::Answer`] names what is missing.
    pub fn parse(sdp: &str, codec: AudioCodec) -> Result<Self, ConnectError> {
        let missing = |what: &str| ConnectError::Answer(format!("no {what}"));
        let value = |name: &str| {
            sdp.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let format = crate::media::chosen_format(sdp).ok_or_else(|| missing("audio"))?;
        if format.codec != codec {
            return Err(ConnectError::Answer(format!(
                "{} was offered and {} chosen",
                codec.name(),
                format.codec.name()
            )));
        }
        let candidates = sdp
            .lines()
            .filter_map(|line| line.strip_prefix("a="))
            .filter(|line| line.starts_with("candidate:"))
            .filter_map(|line| Candidate::from_sdp_string(line.trim()).ok())
            .collect::<Vec<_>>();
        if candidates.is_empty() {
            return Err(missing("candidate"));
        }
        Ok(Self {
            credentials: IceCreds {
                ufrag: value("a=ice-ufrag:")
                    .ok_or_else(|| missing("ice-ufrag"))?
                    .to_owned(),
                pass: value("a=ice-pwd:")
                    .ok_or_else(|| missing("ice-pwd"))?
                    .to_owned(),
            },
            candidates,
            fingerprint: value("a=fingerprint:sha-256 ")
                .ok_or_else(|| missing("SHA-256 fingerprint"))?
                .to_ascii_uppercase(),
            payload_type: format.payload_type,
        })
    }
}

/// One audio stream in `codec`, as a browser would offer it.
pub(super) fn offer(
    codec: AudioCodec,
    local: SocketAddr,
    credentials: &IceCreds,
    fingerprint: &str,
) -> String {
    let payload_type = codec.usual_payload_type();
    let family = if local.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port) = (local.ip(), local.port());
    let (clock, channels) = match codec {
        AudioCodec::Opus => (48_000, "/2"),
        _ => (codec.clock_rate_hz(), ""),
    };
    let name = codec.name();
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=audio {port} UDP/TLS/RTP/SAVPF {payload_type} 101\r\nc=IN {family} {ip}\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n\
         a=rtpmap:{payload_type} {name}/{clock}{channels}\r\n"
    );
    if codec == AudioCodec::Opus {
        let _ = write!(sdp, "a=fmtp:{payload_type} minptime=10;useinbandfec=1\r\n");
    }
    let _ = write!(
        sdp,
        "a=rtpmap:101 telephone-event/{clock}\r\na=fmtp:101 0-15\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pass}\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\n\
         a=end-of-candidates\r\n",
        ufrag = credentials.ufrag,
        pass = credentials.pass,
    );
    sdp
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    const ANSWER: &str = "v=0\r\nm=audio 10000 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 127.0.0.1\r\na=ice-lite\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 AB:CD\r\na=setup:passive\r\na=rtpmap:111 opus/48000/2\r\n\
        a=candidate:1 1 udp 2130706431 127.0.0.1 10000 typ host\r\n";

    #[test]
    fn an_answer_is_read() {
        let answer = RemoteAnswer::parse(ANSWER, AudioCodec::Opus).unwrap();
        assert_eq!(answer.credentials.ufrag, "abcd");
        assert_eq!(answer.payload_type, 111);
        assert_eq!(
            answer.candidates[0].addr(),
            "127.0.0.1:10000".parse().unwrap()
        );
    }

    #[test]
    fn an_answer_without_what_is_needed_says_so() {
        let without = |line: &str| ANSWER.replace(line, "a=x:");
        for (line, what) in [
            ("a=ice-ufrag:", "ice-ufrag"),
            ("a=ice-pwd:", "ice-pwd"),
            ("a=fingerprint:sha-256 ", "fingerprint"),
            ("a=candidate:", "candidate"),
        ] {
            let error = RemoteAnswer::parse(&without(line), AudioCodec::Opus).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
        let error = RemoteAnswer::parse(ANSWER, AudioCodec::Pcmu).unwrap_err();
        assert!(error.to_string().contains("opus chosen"), "{error}");
    }
}
