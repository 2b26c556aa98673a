//! Offers as Chromium, Firefox, Safari and aiortc write them, answers line by line, and arbitrary text.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::bridge::{Codec, TelephoneEventFormat};
use crate::call::q850::Q850Cause;
use crate::config::CodecName;
use crate::fault::Fault;
use crate::rtp::{PayloadType, Ssrc, StreamDirection};
use crate::webrtc::ice_lite::IceCredentials;

const CHROMIUM: &str = include_str!("tests/chromium.sdp");
const FIREFOX: &str = include_str!("tests/firefox.sdp");
const SAFARI: &str = include_str!("tests/safari.sdp");
const AIORTC: &str = include_str!("tests/aiortc.sdp");
const ALL: [&str; 4] = [CHROMIUM, FIREFOX, SAFARI, AIORTC];
const CODECS: [CodecName; 3] = [CodecName::Opus, CodecName::Pcmu, CodecName::Pcma];

fn accept(offer: &str, codecs: &[CodecName]) -> Result<(NegotiatedAudio, String), SdpError> {
    let offer = Offer::parse(&offer.replace('\n', "\r\n"))?;
    let audio = negotiate(&offer, codecs)?;
    let credentials = IceCredentials::from_entropy([1; 9], [2; 18]);
    let addresses: [SocketAddr; 2] = [
        "198.51.100.7:10000".parse().unwrap(),
        "[2001:db8::7]:10000".parse().unwrap(),
    ];
    let us = AnswerIdentity {
        session_id: 42,
        session_version: 3,
        credentials: &credentials,
        fingerprint: "sha-256 AB:CD",
        addresses: &addresses,
        ssrc: Ssrc(77),
        cname: "c-name",
    };
    let answer = write_answer(&offer, &audio, &us);
    Ok((audio, answer))
}

/// The answer's sections: session, then one per m-line.
fn sections(answer: &str) -> Vec<Vec<&str>> {
    let mut sections = vec![Vec::new()];
    for line in answer.split("\r\n").filter(|line| !line.is_empty()) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        sections.last_mut().unwrap().push(line);
    }
    sections
}

#[test]
fn chromium_gets_a_full_opus_answer() {
    let (audio, answer) = accept(CHROMIUM, &CODECS).unwrap();
    assert_eq!(audio.format.codec, Codec::Opus);
    assert_eq!(audio.transport_cc_id, Some(3));
    let expected = [
        "v=0",
        "o=- 42 3 IN IP4 198.51.100.7",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=ice-lite",
        "m=audio 10000 UDP/TLS/RTP/SAVPF 111 110",
        "c=IN IP4 198.51.100.7",
        "a=mid:0",
        "a=ice-ufrag:AQEBAQEBAQEB",
        "a=ice-pwd:AgICAgICAgICAgICAgICAgIC",
        "a=fingerprint:sha-256 AB:CD",
        "a=setup:passive",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=sendrecv",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtcp-fb:111 transport-cc",
        "a=rtpmap:110 telephone-event/48000",
        "a=fmtp:110 0-15",
        "a=ptime:20",
        "a=maxptime:60",
        "a=msid:clutchcall clutchcall-audio",
        "a=ssrc:77 cname:c-name",
        "a=candidate:1 1 udp 2130706431 198.51.100.7 10000 typ host",
        "a=candidate:2 1 udp 2130706175 2001:db8::7 10000 typ host",
        "a=end-of-candidates",
        "",
    ];
    assert_eq!(answer, expected.join("\r\n"));
}

#[test]
fn chromium_on_pcmu_gets_the_8_khz_events_and_no_opus() {
    let (audio, answer) = accept(CHROMIUM, &[CodecName::Pcmu, CodecName::Opus]).unwrap();
    assert_eq!(
        (audio.format.codec, audio.format.payload_type),
        (Codec::Pcmu, PayloadType(0))
    );
    let event = TelephoneEventFormat {
        payload_type: PayloadType(126),
        clock_rate_hz: 8000,
    };
    assert_eq!(audio.format.telephone_event, Some(event));
    // The offer has transport-cc feedback for Opus only.
    assert_eq!(audio.transport_cc_id, None);
    assert!(answer.contains("m=audio 10000 UDP/TLS/RTP/SAVPF 0 126\r\n"));
    assert!(answer.contains("a=rtpmap:0 PCMU/8000\r\n") && !answer.contains("opus"));
}

#[test]
fn a_payload_type_listed_twice_is_one_codec() {
    let offer = CHROMIUM
        .replace("SAVPF 111 63 9 0 8", "SAVPF 111 63 9 0 0 8")
        .replace("a=rtpmap:0 PCMU/8000", "a=rtpmap:0 telephone-event/8000");
    assert_ne!(offer, CHROMIUM);
    let (audio, _) = accept(&offer, &[CodecName::Pcmu, CodecName::Pcma]).unwrap();
    assert_eq!(audio.format.codec, Codec::Pcma, "0 is no PCMU here");
    let event = audio.format.telephone_event.unwrap();
    assert_ne!(event.payload_type, audio.format.payload_type);
}

#[test]
fn the_last_of_all_local_candidates_can_be_written() {
    let ours = LocalCandidate {
        address: "192.0.2.1:3478".parse().unwrap(),
        index: u16::MAX,
    };
    let read = RemoteCandidate::parse(&ours.to_string()).unwrap().unwrap();
    assert_eq!((read.priority, read.port), (ours.priority(), 3478));
}

#[test]
fn firefox_is_answered_with_its_own_numbers_and_its_data_channel_is_rejected() {
    let (audio, answer) = accept(FIREFOX, &CODECS).unwrap();
    assert_eq!(audio.format.payload_type, PayloadType(109));
    let event = TelephoneEventFormat {
        payload_type: PayloadType(101),
        clock_rate_hz: 8000,
    };
    assert_eq!(
        audio.format.telephone_event,
        Some(event),
        "Firefox has no 48 kHz events"
    );
    assert_eq!(
        audio.fingerprints.len(),
        1,
        "the fingerprint stands at the session level"
    );
    let sections = sections(&answer);
    assert!(sections[0].contains(&"a=group:BUNDLE 0"));
    assert_eq!(
        sections[2][0],
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"
    );
    assert!(sections[2].contains(&"a=mid:1"));
}

#[test]
fn safari_video_first_is_rejected_in_its_place() {
    let (audio, answer) = accept(SAFARI, &CODECS).unwrap();
    assert_eq!(
        (audio.media_index, audio.direction),
        (1, StreamDirection::RecvOnly)
    );
    let sections = sections(&answer);
    assert!(sections[0].contains(&"a=group:BUNDLE 1"));
    assert_eq!(sections[1][0], "m=video 0 UDP/TLS/RTP/SAVPF 96 97");
    assert_eq!(sections[2][0], "m=audio 10000 UDP/TLS/RTP/SAVPF 111 110");
    assert!(sections[2].contains(&"a=recvonly"));
    assert!(
        !answer.contains("a=msid"),
        "a leg that does not send has no track"
    );
}

#[test]
fn aiortc_without_events_and_rsize() {
    let (audio, answer) = accept(AIORTC, &CODECS).unwrap();
    assert_eq!(audio.format.payload_type, PayloadType(96));
    assert_eq!(audio.format.telephone_event, None);
    assert_eq!(audio.fingerprints.len(), 3);
    assert!(answer.contains("m=audio 10000 UDP/TLS/RTP/SAVPF 96\r\n"));
    assert!(!answer.contains("rtcp-rsize"));
}

#[test]
fn directions_are_answered_by_rfc_3264() {
    for (offered, answered) in [
        ("sendrecv", StreamDirection::SendRecv),
        ("sendonly", StreamDirection::RecvOnly),
        ("recvonly", StreamDirection::SendOnly),
        ("inactive", StreamDirection::Inactive),
    ] {
        let offer = CHROMIUM.replace("a=sendrecv", &format!("a={offered}"));
        let (audio, answer) = accept(&offer, &CODECS).unwrap();
        assert_eq!(audio.direction, answered);
        assert!(answer.contains(&format!("\r\na={}\r\n", answered.as_str())));
    }
}

#[test]
fn what_an_offer_lacks_is_named() {
    for (remove, error) in [
        ("a=rtcp-mux\n", SdpError::Missing("a=rtcp-mux")),
        ("a=ice-ufrag:MbF4\n", SdpError::Missing("a=ice-ufrag")),
        (
            "a=ice-pwd:3Q7qv5yMbk0yVw1cC7rXl2bO\n",
            SdpError::Missing("a=ice-pwd"),
        ),
        (
            "v=0\n",
            SdpError::Line {
                line: 1,
                what: "an SDP begins with `v=0`",
            },
        ),
    ] {
        assert_eq!(
            accept(&CHROMIUM.replace(remove, ""), &CODECS).unwrap_err(),
            error
        );
    }
    let sha1 = CHROMIUM.replace("fingerprint:sha-256", "fingerprint:sha-1");
    assert!(
        matches!(accept(&sha1, &CODECS), Err(SdpError::Missing(what)) if what.contains("sha-256"))
    );
    let passive = CHROMIUM.replace("setup:actpass", "setup:passive");
    assert_eq!(
        accept(&passive, &CODECS).unwrap_err(),
        SdpError::Setup("passive")
    );
    let lite = CHROMIUM.replace("t=0 0", "t=0 0\na=ice-lite");
    assert_eq!(accept(&lite, &CODECS).unwrap_err(), SdpError::IceLite);
    let active = CHROMIUM.replace("setup:actpass", "setup:active");
    assert!(accept(&active, &CODECS).is_ok());
    assert_eq!(
        accept("", &CODECS).unwrap_err(),
        SdpError::Missing("v=0 line")
    );
    let video = CHROMIUM.replace("m=audio", "m=video");
    assert_eq!(accept(&video, &CODECS).unwrap_err(), SdpError::NoAudio);
    let rejected = CHROMIUM.replace("m=audio 52683", "m=audio 0");
    assert_eq!(accept(&rejected, &CODECS).unwrap_err(), SdpError::NoAudio);
    let plain = CHROMIUM.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
    assert_eq!(accept(&plain, &CODECS).unwrap_err(), SdpError::NoAudio);
}

#[test]
fn no_common_codec_is_cause_65_and_the_callers_fault() {
    let offer = CHROMIUM.replace(" 111 63 9 0 8 13 110 126", " 63 9 13");
    let error = accept(&offer, &CODECS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no common codec: offered are red G722 CN, we have opus PCMU PCMA"
    );
    let refusal = error.refusal();
    assert_eq!(
        (refusal.cause, refusal.fault),
        (Q850Cause::BEARER_NOT_IMPLEMENTED, Fault::Caller)
    );
}

#[test]
fn ptime_is_what_the_offerer_asks_and_both_can() {
    for (lines, ptime_ms) in [
        ("", 20),
        ("a=ptime:40\n", 40),
        ("a=ptime:30\n", 20),
        ("a=ptime:60\na=maxptime:40\n", 40),
        ("a=maxptime:10\n", 10),
        ("a=maxptime:3\n", 10),
        ("a=ptime:99999999999\n", 20),
    ] {
        let (audio, answer) = accept(&format!("{CHROMIUM}{lines}"), &CODECS).unwrap();
        assert_eq!(audio.format.ptime_ms, ptime_ms, "{lines:?}");
        assert!(answer.contains(&format!("a=ptime:{ptime_ms}\r\n")));
    }
}

#[test]
fn transport_of_a_bundled_m_line_comes_from_the_bundles_first() {
    let (head, audio) = SAFARI.split_once("m=audio").unwrap();
    let bare: String = audio
        .split_inclusive('\n')
        .filter(|line| {
            !["a=ice-", "a=fingerprint", "a=setup"]
                .iter()
                .any(|p| line.starts_with(p))
        })
        .collect();
    let bundled = bare
        .replacen(" 9 ", " 0 ", 1)
        .replace("a=mid:1\n", "a=mid:1\na=bundle-only\n");
    let (audio, _) = accept(&format!("{head}m=audio{bundled}"), &CODECS).unwrap();
    assert_eq!(audio.remote_ufrag, "/Xq7");
}

#[test]
fn limits_hold_and_name_the_line() {
    let many = |line: &str, count: usize| format!("{CHROMIUM}{}", line.repeat(count));
    let limit = |offer: &str| match accept(offer, &CODECS).unwrap_err() {
        SdpError::TooMany { what, limit, .. } => (what, limit),
        other => panic!("{other}"),
    };
    let candidate = "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\n";
    assert_eq!(limit(&many(candidate, 61)), ("candidates", CANDIDATES_MAX));
    assert_eq!(
        limit(&many("m=video 9 UDP/TLS/RTP/SAVPF 96\n", 16)),
        ("m-lines", MEDIA_MAX)
    );
    let formats = CHROMIUM.replace(" 111 63", &" 111 63".repeat(33));
    assert_eq!(limit(&formats), ("formats", FORMATS_MAX));
    assert_eq!(
        limit(&many("a=extmap:5 urn:x\n", 40)),
        ("header extensions", EXTENSIONS_MAX)
    );
    assert_eq!(limit(&many("\n", LINES_MAX)), ("lines", LINES_MAX));
    let long = many("a=x-very-long-attribute-that-nobody-reads\n", 2000);
    assert!(matches!(accept(&long, &CODECS), Err(SdpError::TooLong(_))));
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    for (offer, line) in [
        (CHROMIUM.replace("m=audio 52683", "m=audio 99999"), 8),
        (CHROMIUM.replace("a=ice-ufrag:MbF4", "a=ice-ufrag:M"), 15),
        (CHROMIUM.replace("6B:8B", "6B8B"), 18),
        (CHROMIUM.replace("a=mid:0", "a=mid:a b"), 20),
        (CHROMIUM.replace("t=0 0", "nonsense"), 4),
        (
            CHROMIUM.replace(" typ host generation 0 network-id 1", ""),
            11,
        ),
    ] {
        match accept(&offer, &CODECS).unwrap_err() {
            SdpError::Line { line: found, .. } => assert_eq!(found, line),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn candidates_as_browsers_trickle_them() {
    let host = "candidate:1467794722 1 udp 2122194687 192.0.2.2 52683 typ host generation 0 ufrag MbF4 network-id 1";
    let parsed = RemoteCandidate::parse(host).unwrap().unwrap();
    assert_eq!(
        parsed.address,
        CandidateAddress::Ip("192.0.2.2".parse().unwrap())
    );
    assert_eq!(
        (parsed.component, parsed.udp, parsed.port),
        (1, true, 52683)
    );
    assert_eq!(parsed.kind, CandidateKind::Host);
    let mdns = "candidate:0 1 UDP 2122187007 a-b-c.local 4 typ host";
    let parsed = RemoteCandidate::parse(mdns).unwrap().unwrap();
    assert_eq!(
        parsed.address,
        CandidateAddress::Name("a-b-c.local".to_owned())
    );
    assert_eq!(RemoteCandidate::parse("").unwrap(), None);
    for (text, what) in [
        ("hello", "does not begin `candidate:`"),
        (
            "candidate:1 3 udp 1 192.0.2.1 1 typ host",
            "the component is not 1 or 2",
        ),
        (
            "candidate:1 1 sctp 1 192.0.2.1 1 typ host",
            "the transport is not udp or tcp",
        ),
        (
            "candidate:1 1 udp x 192.0.2.1 1 typ host",
            "the priority is no 32-bit number",
        ),
        (
            "candidate:1 1 udp 1 nowhere 1 typ host",
            "the address is neither IP nor name",
        ),
        (
            "candidate:1 1 udp 1 192.0.2.1 70000 typ host",
            "the port is no port",
        ),
        ("candidate:1 1 udp 1 192.0.2.1 1 typ wild", "unknown type"),
    ] {
        assert_eq!(RemoteCandidate::parse(text), Err(SdpError::Candidate(what)));
    }
    let long = format!("candidate:{}", "1".repeat(600));
    assert_eq!(
        RemoteCandidate::parse(&long),
        Err(SdpError::Candidate("too long"))
    );
}

#[test]
fn nothing_from_an_offer_can_add_a_line_to_the_answer() {
    for offer in ALL {
        for (from, to) in [
            ("a=mid:", "a=mid:\u{2028}"),
            (" 111 ", " 111\x0b"),
            (" 109 ", " \r109 "),
        ] {
            if let Ok((_, answer)) = accept(&offer.replace(from, to), &CODECS) {
                let whole = answer
                    .split("\r\n")
                    .all(|line| !line.contains(['\r', '\n', '\x0b', '\u{2028}']));
                assert!(whole, "{answer}");
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,400}") {
        let _ = accept(&text, &CODECS);
        let _ = RemoteCandidate::parse(&text);
    }

    /// Real offers with lines dropped, doubled, cut and swapped.
    #[test]
    fn mangled_offers_never_panic_and_answers_stay_whole(
        which in 0usize..4,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..5, any::<prop::sample::Index>()), 1..8),
    ) {
        let mut lines: Vec<String> = ALL[which].lines().map(str::to_owned).collect();
        for (at, kind, with) in edits {
            let index = at.index(lines.len());
            match kind {
                0 => { if lines.len() > 1 { lines.remove(index); } }
                1 => lines.insert(index, lines[with.index(lines.len())].clone()),
                2 => { let cut = with.index(lines[index].len() + 1); lines[index].truncate(cut); }
                3 => { let other = with.index(lines.len()); lines.swap(index, other); }
                _ => {
                    let position = with.index(lines[index].len() + 1);
                    lines[index].insert(position, char::from(b' ' + (position % 95) as u8));
                }
            }
        }
        if let Ok((audio, answer)) = accept(&lines.join("\n"), &CODECS) {
            let sections = sections(&answer);
            prop_assert!(sections[audio.media_index + 1][0].starts_with("m=audio 10000 "));
            let ports = sections.iter().skip(1).map(|section| section[0].split(' ').nth(1));
            prop_assert_eq!(ports.filter(|port| *port != Some("0")).count(), 1);
        }
    }
}
