//! Any text as an SDP offer: the answer fits the offer m-line by m-line, and nothing of the offer breaks its lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::config::CodecName;
use server::rtp::Ssrc;
use server::webrtc::sdp::{
    AnswerIdentity, CANDIDATES_MAX, MEDIA_MAX, Offer, negotiate, write_answer,
};
use server_fuzz::{address, local_credentials};

const CODECS: [CodecName; 3] = [CodecName::Opus, CodecName::Pcmu, CodecName::Pcma];

fuzz_target!(|text: &str| {
    let Ok(offer) = Offer::parse(text) else {
        return;
    };
    assert!(offer.media.len() <= MEDIA_MAX && offer.candidates <= CANDIDATES_MAX);
    let Ok(audio) = negotiate(&offer, &CODECS) else {
        return;
    };
    let addresses = [address(0), address(1)];
    let us = AnswerIdentity {
        session_id: 1,
        session_version: 2,
        credentials: &local_credentials(),
        fingerprint: "sha-256 00:11",
        addresses: &addresses,
        ssrc: Ssrc(3),
        cname: "cname",
    };
    let answer = write_answer(&offer, &audio, &us);
    assert!(answer.ends_with("\r\n"));
    for line in answer.split_terminator("\r\n") {
        assert!(
            line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{line:?}"
        );
        assert_eq!(line.find('='), Some(1), "{line:?}");
    }
    let answered: Vec<&str> = answer
        .lines()
        .filter(|line| line.starts_with("m="))
        .collect();
    assert_eq!(answered.len(), offer.media.len());
    for (index, (line, media)) in answered.iter().zip(&offer.media).enumerate() {
        let port = if index == audio.media_index { 4000 } else { 0 };
        let expected = format!("m={} {port} {} ", media.kind, media.protocol);
        assert!(line.starts_with(&expected), "{line:?}");
    }
    let media = &offer.media[audio.media_index];
    let offered = |number: u8| {
        media
            .formats
            .iter()
            .any(|format| format.parse() == Ok(number))
    };
    assert!(offered(audio.format.payload_type.0));
    if let Some(event) = audio.format.telephone_event {
        assert!(offered(event.payload_type.0) && event.payload_type != audio.format.payload_type);
        assert!(event.clock_rate_hz > 0);
    }
    assert!([10, 20, 40, 60].contains(&audio.format.ptime_ms));
});
