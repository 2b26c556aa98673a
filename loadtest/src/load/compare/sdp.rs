//! The SDP of both sides of a call through rtpengine, and what is read of its own.
//!
//! The vendor's side is SDES-SRTP with RTCP on the same port, the trunk's plain RTP, one codec each.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::load::media::{SrtpMaster, SrtpProfile};
use crate::media::AudioCodec;

/// The only suite that is offered (RFC 4568 section 6.2).
pub const CRYPTO_SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// The same as a profile.
pub const PROFILE: SrtpProfile = SrtpProfile::Aes128CmHmacSha1_80;

/// One side's audio; SRTP with a key.
pub fn describe(codec: AudioCodec, local: SocketAddr, master: Option<&SrtpMaster>) -> String {
    let family = if local.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port) = (local.ip(), local.port());
    let payload_type = codec.usual_payload_type();
    let profile = if master.is_some() {
        "RTP/SAVP"
    } else {
        "RTP/AVP"
    };
    let channels = if codec == AudioCodec::Opus { "/2" } else { "" };
    let mut sdp = format!(
        "v=0\r\no=load 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} {profile} {payload_type}\r\na=rtpmap:{payload_type} {}/{}{channels}\r\na=ptime:20\r\na=sendrecv\r\n",
        codec.name(),
        codec.clock_rate_hz(),
    );
    if let Some(master) = master {
        let inline = BASE64.encode([master.key.as_slice(), &master.salt].concat());
        // Writing to a String can't fail.
        let _ = write!(
            sdp,
            "a=rtcp-mux\r\na=crypto:1 {CRYPTO_SUITE} inline:{inline}\r\n"
        );
    }
    sdp
}

/// What rtpengine tells one side to send to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its socket.
    pub remote: SocketAddr,
    /// The formats of its audio, the best first.
    pub payload_types: Vec<u8>,
    /// Its key, on the side with SRTP.
    pub master: Option<SrtpMaster>,
}

impl Told {
    /// Reads rtpengine's SDP; none without an address or audio, or with a key that is not of [`CRYPTO_SUITE`].
    pub fn parse(sdp: &str) -> Option<Self> {
        let lines = || sdp.lines().map(str::trim);
        let connection = lines().find_map(|line| line.strip_prefix("c=IN IP"))?;
        let ip: IpAddr = connection.split_whitespace().nth(1)?.parse().ok()?;
        let audio = lines().find_map(|line| line.strip_prefix("m=audio "))?;
        let mut words = audio.split_whitespace();
        let port = words.next()?.parse().ok()?;
        let formats = words.skip(1).map(|format| format.parse().ok());
        let master = match lines().find_map(|line| line.strip_prefix("a=crypto:")) {
            Some(crypto) => Some(master_of(crypto)?),
            None => None,
        };
        Some(Self {
            remote: SocketAddr::new(ip, port),
            payload_types: formats.collect::<Option<Vec<u8>>>()?,
            master,
        })
    }
}

/// `1 AES_CM_128_HMAC_SHA1_80 inline:BASE64[|lifetime|MKI:length]`
fn master_of(crypto: &str) -> Option<SrtpMaster> {
    let mut words = crypto.split_whitespace().skip(1);
    if words.next() != Some(CRYPTO_SUITE) {
        return None;
    }
    let inline = words.next()?.strip_prefix("inline:")?;
    let mut key = BASE64.decode(inline.split('|').next()?).ok()?;
    let (key_len, salt_len) = (PROFILE.key_len(), PROFILE.salt_len());
    if key.len() != key_len + salt_len {
        return None;
    }
    let salt = key.split_off(key_len);
    Some(SrtpMaster { key, salt })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn master() -> SrtpMaster {
        SrtpMaster {
            key: vec![7; PROFILE.key_len()],
            salt: vec![9; PROFILE.salt_len()],
        }
    }

    #[test]
    fn what_is_described_is_read() {
        let local: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        let sdp = describe(AudioCodec::Opus, local, Some(&master()));
        assert!(sdp.contains("m=audio 40000 RTP/SAVP 111\r\na=rtpmap:111 opus/48000/2\r\n"));
        let told = Told {
            remote: local,
            payload_types: vec![111],
            master: Some(master()),
        };
        assert_eq!(Told::parse(&sdp), Some(told));
        let sdp = describe(AudioCodec::Pcmu, local, None);
        assert!(sdp.contains("RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"));
        assert!(!sdp.contains("crypto") && !sdp.contains("rtcp-mux"));
    }

    #[test]
    fn rtpengines_own_is_read() {
        let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 20000 RTP/AVP 111 0\r\na=rtpmap:111 opus/48000/2\r\na=rtcp:20001\r\n";
        let told = Told::parse(sdp).unwrap();
        assert_eq!(told.remote, "127.0.0.1:20000".parse().unwrap());
        assert_eq!((told.payload_types, told.master), (vec![111, 0], None));
    }

    #[test]
    fn another_suite_or_half_a_key_is_nothing() {
        let with = |crypto: &str| {
            Told::parse(&format!(
                "c=IN IP4 127.0.0.1\r\nm=audio 9 RTP/SAVP 0\r\na=crypto:{crypto}\r\n"
            ))
        };
        let whole = "hPQEMKxyxHA6xPqlElHYRSfVef3lHnYtahsuuILm";
        assert!(with(&format!("1 {CRYPTO_SUITE} inline:{whole}")).is_some());
        assert!(with(&format!("1 {CRYPTO_SUITE} inline:{whole}|2^20|1:4")).is_some());
        assert!(with(&format!("1 AES_CM_128_HMAC_SHA1_32 inline:{whole}")).is_none());
        assert!(with(&format!("1 {CRYPTO_SUITE} inline:{}", &whole[..20])).is_none());
        assert!(with(&format!("1 {CRYPTO_SUITE}")).is_none());
        assert_eq!(Told::parse("c=IN IP4 127.0.0.1"), None);
    }
}
