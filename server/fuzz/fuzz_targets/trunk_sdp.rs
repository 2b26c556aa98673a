//! Any bytes as the SDP of a SIP trunk's far end: as offer, as answer, and again in the middle of a dialog. What we
//! write fits what we read, m-line by m-line, and another of us can read it.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use server::config::CodecName;
use server::trunk::sdp::{
    LocalSdp, MEDIA_MAX, Negotiated, NegotiationConfig, OfferAnswer, RemoteDescription,
};

fn dialog(srtp: bool) -> OfferAnswer {
    let config = NegotiationConfig {
        codecs: vec![
            CodecName::Opus,
            CodecName::Pcmu,
            CodecName::Pcma,
            CodecName::L16,
        ],
        ptime_ms: 20,
        srtp,
        local: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 20_000)),
        offers_rtcp_mux: true,
        media_ip_cidrs: Vec::new(),
    };
    OfferAnswer::new(config, [7; OfferAnswer::ENTROPY_LEN])
}

fn check_text(sdp: &LocalSdp, media_len: usize) {
    let sdp = sdp.as_str();
    assert!(sdp.ends_with("\r\n"));
    for line in sdp.split_terminator("\r\n") {
        assert!(
            line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{line:?}"
        );
        assert_eq!(line.find('='), Some(1), "{line:?}");
    }
    let read = RemoteDescription::parse(sdp).expect("our own SDP");
    assert_eq!(read.media_len(), media_len);
    let media = sdp.lines().filter(|line| line.starts_with("m="));
    let accepted = media.filter(|line| line.starts_with("m=audio 20000 "));
    assert_eq!(accepted.count(), 1);
}

fn check_media(negotiated: &Negotiated, srtp: bool) {
    let media = &negotiated.media;
    assert!(media.srtp.is_some() || !srtp);
    assert_eq!(media.sends.codec, media.receives.codec);
    assert!([10, 20, 30, 40].contains(&media.sends.ptime_ms));
    assert!(media.remote.port() != 0 && media.remote.is_ipv4());
    assert!(!media.remote.ip().is_multicast());
    assert!(!media.remote.ip().is_unspecified() || !media.direction.sends());
    let events = [media.sends.telephone_event, media.receives.telephone_event];
    for (event, audio) in events.into_iter().zip([media.sends, media.receives]) {
        if let Some(event) = event {
            assert!(event.clock_rate_hz > 0 && event.payload_type != audio.payload_type);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    // Two SDPs with a NUL between them, or one twice.
    let cut = bytes.iter().position(|byte| *byte == 0);
    let (first, second) = match cut {
        Some(cut) => (&bytes[..cut], &bytes[cut + 1..]),
        None => (bytes, bytes),
    };
    let (first, second) = match (
        RemoteDescription::parse(first),
        RemoteDescription::parse(second),
    ) {
        (Ok(first), Ok(second)) => (first, second),
        _ => return,
    };
    assert!(first.media_len() <= MEDIA_MAX);
    for srtp in [false, true] {
        let mut us = dialog(srtp);
        let offer = us.make_offer().expect("a first offer");
        let answered = us.answer_received(&offer, &first);
        if let Ok(negotiated) = &answered {
            check_media(negotiated, srtp);
        }
        us.roll_back();

        let mut us = dialog(srtp);
        let mut media_len = 1;
        for description in [&first, &second] {
            if let Ok(answer) = us.offer_received(description) {
                check_media(&answer.negotiated, srtp);
                media_len = description.media_len();
                check_text(&answer.sdp, media_len);
            }
            for hold in [true, false] {
                let offer = us.make_hold_offer(hold).expect("nothing is outstanding");
                check_text(offer.sdp(), media_len);
                assert!(us.offer_received(description).is_err(), "glare");
                match us.answer_received(&offer, description) {
                    Ok(negotiated) => check_media(&negotiated, srtp),
                    Err(_) => us.roll_back(),
                }
                assert!(!us.offer_outstanding());
            }
        }
    }
});
