//! What is refused, and how it is told.

use super::*;
use crate::call::q850::Q850Cause;
use crate::config::IpCidr;
use crate::fault::{Fault, RefusalCode};

fn parse_error(sdp: &str) -> SdpError {
    RemoteDescription::parse(sdp).unwrap_err()
}

#[test]
fn too_much_of_anything() {
    assert_eq!(
        parse_error(&"v=0\n".repeat(SDP_LEN_MAX)),
        SdpError::TooLong(4 * SDP_LEN_MAX)
    );
    let many = |what, limit| SdpError::TooMany { what, limit };
    let lines = format!("v=0{}", "\n".repeat(LINES_MAX));
    assert_eq!(parse_error(&lines), many("lines", LINES_MAX));
    assert!(RemoteDescription::parse(&lines[..lines.len() - 1]).is_ok());
    let media = format!("v=0\n{}", "m=audio 1 RTP/AVP 0\n".repeat(MEDIA_MAX));
    assert_eq!(
        RemoteDescription::parse(&media).unwrap().media_len(),
        MEDIA_MAX
    );
    assert_eq!(
        parse_error(&format!("{media}m=x 1 RTP/AVP 0")),
        many("m-lines", MEDIA_MAX)
    );
    let formats = format!("v=0\nm=audio 1 RTP/AVP{}", " 0".repeat(FORMATS_MAX));
    assert!(RemoteDescription::parse(&formats).is_ok());
    assert_eq!(
        parse_error(&format!("{formats} 0")),
        many("formats in an m-line", FORMATS_MAX)
    );
}

#[test]
fn what_is_no_sdp() {
    let line = |line, what| SdpError::Line { line, what };
    for text in [
        "",
        "\r\n\r\n",
        "v=1\r\n",
        "o=- 1 1 IN IP4 h\r\nv=0",
        "INVITE",
    ] {
        let error = parse_error(text);
        assert!(
            matches!(error, SdpError::Line { what, .. } if what == "an SDP begins with `v=0`"),
            "{text:?}"
        );
        assert_eq!(error.sip_status(), 400);
        assert_eq!(error.refusal().cause, Q850Cause::PROTOCOL_ERROR);
    }
    for (media, what) in [
        ("m=", "an m-line without media type"),
        ("m=audio", "an m-line without port"),
        ("m=audio 65536 RTP/AVP 0", "an m-line's port is no port"),
        ("m=audio -1 RTP/AVP 0", "an m-line's port is no port"),
        ("m=audio 1", "an m-line without transport protocol"),
        (
            "m=audio 1 RTP//AVP 0",
            "an m-line's transport protocol can't be read",
        ),
        ("m=audio 1 RTP/AVP \u{e9}", "an m-line is not ASCII"),
        ("m=audio 1 RTP/AVP \u{7}", "an m-line is not ASCII"),
    ] {
        assert_eq!(parse_error(&format!("v=0\r\n\r\n{media}")), line(3, what));
    }
}

#[test]
fn every_refusal_says_its_own_reason() {
    let plain = config();
    let elsewhere = NegotiationConfig {
        media_ip_cidrs: vec![IpCidr::parse("198.51.100.0/24").unwrap()],
        ..config()
    };
    let refused = |config: &NegotiationConfig, media: &str| {
        answer(&audio(media), config.clone()).unwrap_err()
    };
    let ip = |text: &str| text.parse().unwrap();
    for (error, expected, warning) in [
        (refused(&plain, ""), SdpError::NoAudio, 304),
        (
            refused(&plain, "m=image 4000 udptl t38"),
            SdpError::NoAudio,
            304,
        ),
        (
            refused(&plain, "m=audio 0 RTP/AVP 0\nm=image 4000 udptl t38"),
            SdpError::AudioPortZero,
            304,
        ),
        (
            refused(&plain, "m=audio 4000 UDP/TLS/RTP/SAVPF 0"),
            SdpError::Transport("UDP/TLS/RTP/SAVPF".to_owned()),
            302,
        ),
        (
            refused(&plain, "m=audio 4000 RTP/AVP 0\nc=IN IP4 media.example.net"),
            SdpError::HostName,
            301,
        ),
        (
            refused(&plain, "m=audio 4000 RTP/AVP 0\nc=IN IP4 233.252.0.1/127"),
            SdpError::NotUnicast(ip("233.252.0.1")),
            399,
        ),
        (
            refused(&plain, "m=audio 4000 RTP/AVP 0\nc=IN IP4 255.255.255.255"),
            SdpError::NotUnicast(ip("255.255.255.255")),
            399,
        ),
        (
            refused(&plain, "m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::1"),
            SdpError::AddressFamily(ip("2001:db8::1")),
            301,
        ),
        (
            refused(&elsewhere, "m=audio 4000 RTP/AVP 0"),
            SdpError::MediaAddress(ip("203.0.113.1")),
            399,
        ),
        (
            refused(
                &elsewhere,
                "m=audio 4000 RTP/AVP 0\nc=IN IP4 198.51.100.1\na=rtcp:4001 IN IP4 203.0.113.9",
            ),
            SdpError::MediaAddress(ip("203.0.113.9")),
            399,
        ),
    ] {
        assert_eq!(error, expected);
        assert_eq!((error.sip_status(), error.sip_warning()), (488, warning));
        let refusal = error.refusal();
        assert_eq!(refusal.fault, Fault::Trunk);
        assert_eq!(refusal.code, RefusalCode::Malformed);
        assert_eq!(refusal.cause, Q850Cause::BEARER_NOT_IMPLEMENTED);
    }
    let no_connection = remote("v=0\nm=audio 4000 RTP/AVP 0\n");
    assert_eq!(
        answer(&no_connection, plain).unwrap_err(),
        SdpError::NoConnection
    );
    let unknown_network = remote("v=0\nc=ATM NSAP 47.0091\nm=audio 4000 RTP/AVP 0\n");
    assert_eq!(
        answer(&unknown_network, config()).unwrap_err(),
        SdpError::NoConnection
    );
    let inside = audio("m=audio 4000 RTP/AVP 0\nc=IN IP4 198.51.100.1");
    assert!(answer(&inside, elsewhere).is_ok());
}

#[test]
fn what_one_media_lacks_another_has() {
    let offer = audio(
        "m=audio 4000 RTP/AVP 0\nc=IN IP4 host.example\nm=audio 0 RTP/AVP 0\nm=audio 4002 RTP/AVP 18\n\
         m=x-whiteboard 4004 TCP/X wb\nm=audio 4006 RTP/AVP 8\n",
    );
    let LocalAnswer { sdp, negotiated } = answer(&offer, config()).unwrap();
    assert_eq!(negotiated.media.remote, address("203.0.113.1:4006"));
    assert_eq!(
        lines_with(&sdp, "m="),
        [
            "m=audio 0 RTP/AVP 0",
            "m=audio 0 RTP/AVP 0",
            "m=audio 0 RTP/AVP 18",
            "m=x-whiteboard 0 TCP/X wb",
            "m=audio 20000 RTP/AVP 8",
        ]
    );
}
