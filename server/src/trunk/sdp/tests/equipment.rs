//! Offers in the style of equipment that a trunk meets, answered.

use codecs::SampleRate;

use super::*;

#[test]
fn asterisk_gets_its_own_numbers_back() {
    let LocalAnswer { sdp, negotiated } = answer(&remote(ASTERISK), config()).unwrap();
    let session_id = 0x0909_0909 >> 1;
    let expected = format!(
        "v=0\no=- {session_id} 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n\
         m=audio 20000 RTP/AVP 107 101\na=rtpmap:107 opus/48000/2\na=fmtp:107 useinbandfec=1\n\
         a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=sendrecv\n"
    );
    assert_eq!(sdp.as_str(), expected.replace('\n', "\r\n"));
    let media = negotiated.media;
    assert_eq!(media.remote, address("203.0.113.10:14382"));
    assert_eq!(media.remote_rtcp, Some(address("203.0.113.10:14383")));
    assert_eq!(media.sends, media.receives);
    assert_eq!(media.sends.codec, Codec::Opus);
    assert_eq!(media.sends.payload_type, PayloadType(107));
    // Only 8 kHz is there.
    assert_eq!(media.sends.telephone_event, event(101, 8000));
    assert_eq!(media.direction, StreamDirection::SendRecv);
    assert!(media.srtp.is_none() && !negotiated.far_end_holds);
}

#[test]
fn freeswitch_offers_events_with_every_clock() {
    let codec = |names: &[CodecName]| {
        let LocalAnswer { negotiated, sdp } =
            answer(&remote(FREESWITCH), with_codecs(names)).unwrap();
        assert!(sdp.as_str().contains("RTP/SAVP"));
        let sends = negotiated.media.sends;
        (sends.codec, sends.payload_type.0, sends.telephone_event)
    };
    assert_eq!(
        codec(&[CodecName::Opus]),
        (Codec::Opus, 116, event(103, 48_000))
    );
    assert_eq!(
        codec(&[CodecName::L16]),
        (Codec::L16(SampleRate::Hz16000), 102, event(126, 16_000))
    );
    assert_eq!(
        codec(&[CodecName::Pcma]),
        (Codec::Pcma, 8, event(101, 8_000))
    );
}

#[test]
fn freeswitch_srtp_takes_the_first_suite_that_we_have() {
    let LocalAnswer { sdp, negotiated } = answer(&remote(FREESWITCH), with_srtp()).unwrap();
    let crypto = lines_with(&sdp, "a=crypto");
    assert_eq!(crypto.len(), 1);
    assert!(crypto[0].starts_with("a=crypto:2 AEAD_AES_256_GCM inline:"));
    let keys = negotiated.media.srtp.unwrap();
    assert_ne!(keys.ours, keys.theirs);
    // Its a=rtcp says what port+1 says as well.
    assert_eq!(
        negotiated.media.remote_rtcp,
        Some(address("203.0.113.20:21877"))
    );
}

#[test]
fn cisco_media_level_connection_ptime_and_fax() {
    let config = with_codecs(&[CodecName::Pcmu, CodecName::Pcma]);
    let LocalAnswer { sdp, negotiated } = answer(&remote(CISCO), config).unwrap();
    assert_eq!(negotiated.media.remote, address("198.51.100.31:17406"));
    assert_eq!(negotiated.media.sends.ptime_ms, 30);
    assert_eq!(
        lines_with(&sdp, "m="),
        ["m=audio 20000 RTP/AVP 0 101", "m=image 0 udptl t38"]
    );
    assert_eq!(lines_with(&sdp, "a=ptime"), ["a=ptime:30"]);
}

#[test]
fn twilio_srtp() {
    let LocalAnswer { sdp, negotiated } = answer(&remote(TWILIO), with_srtp()).unwrap();
    assert_eq!(lines_with(&sdp, "m="), ["m=audio 20000 RTP/SAVP 0 101"]);
    assert_eq!(negotiated.media.sends.ptime_ms, 20);
    // Also without being asked for.
    let plain = answer(&remote(TWILIO), config()).unwrap();
    assert!(plain.negotiated.media.srtp.is_some());
}

#[test]
fn baresip_ipv6_muxed_with_video_and_best_effort_srtp() {
    let ipv6 = |srtp| NegotiationConfig {
        local: address("[2001:db8::1]:20000"),
        srtp,
        ..config()
    };
    let LocalAnswer { sdp, negotiated } = answer(&remote(BARESIP), ipv6(false)).unwrap();
    assert_eq!(negotiated.media.remote, address("[2001:db8::50]:18364"));
    assert_eq!(negotiated.media.remote_rtcp, None);
    assert!(negotiated.media.srtp.is_none());
    assert_eq!(lines_with(&sdp, "a=rtcp-mux").len(), 1);
    assert_eq!(lines_with(&sdp, "c="), ["c=IN IP6 2001:db8::1"]);
    assert_eq!(
        lines_with(&sdp, "m="),
        ["m=audio 20000 RTP/AVP 96 101", "m=video 0 RTP/AVP 98"]
    );

    // RFC 8643: keys beside RTP/AVP.
    let LocalAnswer { sdp, negotiated } = answer(&remote(BARESIP), ipv6(true)).unwrap();
    assert!(negotiated.media.srtp.is_some());
    let crypto = lines_with(&sdp, "a=crypto");
    assert!(crypto[0].starts_with("a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:"));
    assert!(lines_with(&sdp, "m=")[0].starts_with("m=audio 20000 RTP/AVP "));
}

#[test]
fn sipp_has_a_static_number_only() {
    let LocalAnswer { sdp, negotiated } = answer(&remote(SIPP), config()).unwrap();
    assert_eq!(negotiated.media.sends.codec, Codec::Pcmu);
    assert_eq!(negotiated.media.sends.telephone_event, None);
    assert_eq!(negotiated.media.receives.telephone_event, None);
    assert_eq!(negotiated.media.remote, address("127.0.0.1:6000"));
    assert_eq!(lines_with(&sdp, "m="), ["m=audio 20000 RTP/AVP 0"]);
}

#[test]
fn rtpengine_third_media_is_the_first_usable_one() {
    let LocalAnswer { sdp, negotiated } = answer(&remote(RTPENGINE), config()).unwrap();
    assert_eq!(
        lines_with(&sdp, "m="),
        [
            "m=video 0 RTP/AVPF 34",
            "m=audio 0 UDP/TLS/RTP/SAVPF 8 101",
            "m=audio 20000 RTP/AVPF 111 110",
        ]
    );
    let sends = negotiated.media.sends;
    assert_eq!((sends.codec, sends.ptime_ms), (Codec::Opus, 40));
    assert_eq!(sends.telephone_event, event(110, 48_000));
    assert_eq!(negotiated.media.remote_rtcp, None);
    // Not muxed, its a=rtcp counts.
    let separate = RTPENGINE.replace("a=rtcp-mux\n", "");
    let LocalAnswer { negotiated, .. } = answer(&remote(&separate), config()).unwrap();
    assert_eq!(
        negotiated.media.remote_rtcp,
        Some(address("192.0.2.61:30999"))
    );
}

#[test]
fn sloppy_lines_are_forgiven() {
    for line_end in ["\n", "\r\n", "\r", "\n\n", " \r\n"] {
        let sdp = SLOPPY.replace('\n', line_end);
        let offer = RemoteDescription::parse(sdp.as_bytes()).unwrap();
        let LocalAnswer { negotiated, .. } = answer(&offer, config()).unwrap();
        assert_eq!(negotiated.media.remote, address("192.0.2.70:4000"));
        assert_eq!(negotiated.media.sends.codec, Codec::Pcmu);
        assert_eq!(negotiated.media.sends.telephone_event, event(101, 8000));
        assert_eq!(negotiated.media.sends.ptime_ms, 20);
        assert_eq!(negotiated.media.direction, StreamDirection::RecvOnly);
    }
}

#[test]
fn a_name_in_latin_1_is_no_error() {
    let sdp = b"v=0\r\no=Andr\xe9 1 1 IN IP4 h\xf6st\r\ns=Gespr\xe4ch\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n\
                m=audio 4000 RTP/AVP 8\r\na=x-\xff:1\r\n";
    let offer = RemoteDescription::parse(sdp).unwrap();
    let LocalAnswer { negotiated, .. } = answer(&offer, config()).unwrap();
    assert_eq!(negotiated.media.sends.codec, Codec::Pcma);
}

#[test]
fn packet_durations() {
    let sends = |codec: &str, attributes: &str| {
        let offer = audio(&format!("m=audio 4000 RTP/AVP {codec}\n{attributes}"));
        answer(&offer, config())
            .unwrap()
            .negotiated
            .media
            .sends
            .ptime_ms
    };
    let opus = "96\na=rtpmap:96 opus/48000/2";
    for (codec, attributes, expected_ms) in [
        ("0", "a=sendrecv", 20),
        ("0", "a=ptime:10", 10),
        ("0", "a=ptime:30", 30),
        ("0", "a=ptime:40", 40),
        ("0", "a=ptime:60", 40),
        ("0", "a=ptime:25", 20),
        ("0", "a=ptime:5", 10),
        ("0", "a=ptime:0", 10),
        ("0", "a=ptime:99999999999", 20),
        ("0", "a=maxptime:40", 20),
        ("0", "a=maxptime:10", 10),
        ("0", "a=ptime:40\na=maxptime:30", 30),
        (opus, "a=ptime:30", 20),
        (opus, "a=ptime:40", 40),
    ] {
        assert_eq!(
            sends(codec, attributes),
            expected_ms,
            "{codec} {attributes}"
        );
    }
}

#[test]
fn only_the_codecs_that_are_meant() {
    let config = with_codecs(&[CodecName::L16, CodecName::Opus, CodecName::Pcmu]);
    let refused = |formats: &str| {
        let offer = audio(&format!("m=audio 4000 RTP/AVP {formats}"));
        answer(&offer, config.clone()).unwrap_err()
    };
    for formats in [
        "10",                                     // L16 at 44.1 kHz in stereo
        "11",                                     // and mono
        "96\na=rtpmap:96 L16/16000/2",            // stereo
        "96\na=rtpmap:96 L16/8000",               // narrow
        "96\na=rtpmap:96 opus/48000",             // not as RFC 7587
        "96\na=rtpmap:96 PCMU/16000",             // not G.711
        "0\na=rtpmap:0 opus/48000/2",             // a static number
        "73\na=rtpmap:73 PCMU/8000",              // looks like RTCP
        "101\na=rtpmap:101 telephone-event/8000", // no audio
        "128\na=rtpmap:128 PCMU/8000",
        "8",
    ] {
        assert!(
            matches!(refused(formats), SdpError::NoCommonCodec { .. }),
            "{formats}"
        );
    }
    let offer = audio("m=audio 4000 RTP/AVP 18 9 97\na=rtpmap:97 iLBC/8000");
    let error = answer(&offer, config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no common codec: the far end has G729/8000 G722/8000 iLBC/8000; we have L16 opus PCMU"
    );
}
