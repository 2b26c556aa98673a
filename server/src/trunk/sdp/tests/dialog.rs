//! Whole dialogs: versions, numbers, glare, forks, codec changes.

use super::*;

const G711: [CodecName; 2] = [CodecName::Pcmu, CodecName::Pcma];

#[test]
fn the_first_offer() {
    let mut us = dialog(config());
    let offer = us.make_offer().unwrap();
    let session_id = 0x0909_0909 >> 1;
    let expected = format!(
        "v=0\no=- {session_id} 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n\
         m=audio 20000 RTP/AVP 111 0 8 112 110 101 102\n\
         a=rtpmap:111 opus/48000/2\na=fmtp:111 useinbandfec=1\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\n\
         a=rtpmap:112 L16/16000\n\
         a=rtpmap:110 telephone-event/48000\na=fmtp:110 0-15\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n\
         a=rtpmap:102 telephone-event/16000\na=fmtp:102 0-15\na=ptime:20\na=rtcp-mux\na=sendrecv\n"
    );
    assert_eq!(offer.sdp().as_str(), expected.replace('\n', "\r\n"));
    assert!(us.offer_outstanding() && !us.is_agreed());
}

#[test]
fn each_side_has_its_own_numbers() {
    let mut us = dialog(config());
    let offer = us.make_offer().unwrap();
    let theirs = audio(
        "m=audio 4000 RTP/AVP 96 97 98\na=rtpmap:96 opus/48000/2\na=rtpmap:97 telephone-event/48000\n\
         a=rtpmap:98 telephone-event/8000\na=ptime:40",
    );
    let media = us.answer_received(&offer, &theirs).unwrap().media;
    assert_eq!((media.sends.payload_type.0, media.sends.ptime_ms), (96, 40));
    assert_eq!(media.sends.telephone_event, event(97, 48_000));
    assert_eq!(media.receives.payload_type.0, 111);
    assert_eq!(media.receives.telephone_event, event(110, 48_000));
    // Ours stay ours in what follows.
    let refresh = us.make_refresh_offer().unwrap();
    assert_eq!(refresh.sdp(), offer.sdp());
    us.answer_received(&refresh, &theirs).unwrap();
    // In an answer their numbers are taken, where they mean nothing else yet.
    let LocalAnswer { negotiated, .. } = us.offer_received(&theirs).unwrap();
    assert_eq!(negotiated.media.receives.payload_type.0, 96);
    let swapped = audio(
        "m=audio 4000 RTP/AVP 97 96\na=rtpmap:97 opus/48000/2\na=rtpmap:96 telephone-event/48000",
    );
    let LocalAnswer { negotiated, .. } = us.offer_received(&swapped).unwrap();
    assert_eq!(negotiated.media.sends.payload_type.0, 97);
    assert_eq!(negotiated.media.sends.telephone_event, event(96, 48_000));
    assert_eq!(negotiated.media.receives.payload_type.0, 96);
    assert_eq!(negotiated.media.receives.telephone_event, event(97, 48_000));
}

#[test]
fn what_is_offered_later_has_their_numbers_too() {
    let mut us = dialog(with_codecs(&[CodecName::Pcmu, CodecName::Opus]));
    let answered = us.offer_received(&remote(ASTERISK)).unwrap();
    assert_eq!(answered.negotiated.media.sends.codec, Codec::Pcmu);
    let late = us.make_offer().unwrap();
    assert_eq!(
        lines_with(late.sdp(), "m="),
        ["m=audio 20000 RTP/AVP 0 107 101 110"]
    );
}

#[test]
fn a_far_end_that_uses_up_all_numbers() {
    let mut us = dialog(with_codecs(&[CodecName::Pcmu, CodecName::Opus]));
    for numbers in [35..=63, 64..=71, 77..=127] {
        let numbers: Vec<u8> = numbers.collect();
        let formats: Vec<String> = numbers.iter().map(u8::to_string).collect();
        let maps = numbers
            .iter()
            .map(|number| format!("\na=rtpmap:{number} PCMU/8000"));
        let maps: String = maps.collect();
        let offer = audio(&format!("m=audio 4000 RTP/AVP {}{maps}", formats.join(" ")));
        assert!(us.offer_received(&offer).is_ok());
    }
    let late = us.make_offer().unwrap();
    assert_eq!(lines_with(late.sdp(), "m="), ["m=audio 20000 RTP/AVP 77"]);
    us.roll_back();
    let opus = audio("m=audio 4000 RTP/AVP 96\na=rtpmap:96 opus/48000/2");
    assert_eq!(
        us.offer_received(&opus).unwrap_err(),
        SdpError::NoPayloadType("opus")
    );
}

#[test]
fn events_with_another_clock_than_the_codec() {
    let mut us = dialog(with_codecs(&[CodecName::Opus, CodecName::Pcmu]));
    let offer = us.make_offer().unwrap();
    let theirs = audio(
        "m=audio 4000 RTP/AVP 111 97\na=rtpmap:111 opus/48000/2\na=rtpmap:97 telephone-event/8000",
    );
    let media = us.answer_received(&offer, &theirs).unwrap().media;
    assert_eq!(media.sends.telephone_event, event(97, 8_000));
    assert_eq!(media.receives.telephone_event, event(101, 8_000));
    // Without an 8 kHz codec we did not name that clock.
    let mut us = dialog(with_codecs(&[CodecName::Opus]));
    let offer = us.make_offer().unwrap();
    let media = us.answer_received(&offer, &theirs).unwrap().media;
    assert_eq!(media.sends.telephone_event, event(97, 8_000));
    assert_eq!(media.receives.telephone_event, event(110, 48_000));
}

#[test]
fn the_answerers_first_codec_is_spoken() {
    let mut us = dialog(with_codecs(&G711));
    let offer = us.make_offer().unwrap();
    let theirs = audio("m=audio 4000 RTP/AVP 9 8 0 101\na=rtpmap:101 telephone-event/8000");
    let media = us.answer_received(&offer, &theirs).unwrap().media;
    assert_eq!(media.sends.codec, Codec::Pcma);
}

#[test]
fn a_codec_stays_until_it_is_no_longer_offered() {
    let mut us = dialog(with_codecs(&G711));
    let spoken = |answered: LocalAnswer| answered.negotiated.media.sends.codec;
    let only_pcma = audio("m=audio 4000 RTP/AVP 8");
    let both = audio("m=audio 4000 RTP/AVP 0 8");
    let only_pcmu = audio("m=audio 4000 RTP/AVP 0");
    assert_eq!(spoken(us.offer_received(&only_pcma).unwrap()), Codec::Pcma);
    assert_eq!(spoken(us.offer_received(&both).unwrap()), Codec::Pcma);
    assert_eq!(spoken(us.offer_received(&only_pcmu).unwrap()), Codec::Pcmu);
    assert_eq!(spoken(us.offer_received(&both).unwrap()), Codec::Pcmu);
    // A re-INVITE without SDP is offered everything, what is spoken first.
    us.offer_received(&only_pcma).unwrap();
    let late = us.make_offer().unwrap();
    assert_eq!(
        lines_with(late.sdp(), "m="),
        ["m=audio 20000 RTP/AVP 8 0 101"]
    );
}

#[test]
fn versions_grow_only_with_a_change() {
    let mut us = dialog(config());
    let first = us.offer_received(&remote(CISCO)).unwrap().sdp;
    let again = us.offer_received(&remote(CISCO)).unwrap().sdp;
    assert_eq!((version(&first), &again), (1, &first));
    let held = CISCO.replace("a=ptime:30", "a=ptime:30\na=sendonly");
    let held = us.offer_received(&remote(&held)).unwrap().sdp;
    assert_eq!(version(&held), 2);
    let moved = CISCO.replace("17406", "17500");
    let moved = us.offer_received(&remote(&moved)).unwrap();
    assert_eq!(version(&moved.sdp), 3);
    assert_eq!(moved.negotiated.media.remote.port(), 17500);
    // Their move alone changes nothing of ours.
    let moved = us.offer_received(&remote(CISCO)).unwrap().sdp;
    assert_eq!(version(&moved), 3);
    let refresh = us.make_refresh_offer().unwrap();
    assert_eq!(version(refresh.sdp()), 4, "it offers rtcp-mux");
    // Rejected m-lines keep their places.
    assert_eq!(
        lines_with(refresh.sdp(), "m="),
        ["m=audio 20000 RTP/AVP 0 101", "m=image 0 udptl t38"]
    );
}

#[test]
fn audio_in_the_second_place_stays_there() {
    let mut us = dialog(config());
    let offer = audio("m=video 5000 RTP/AVP 34\nm=audio 4000 RTP/AVP 0");
    us.offer_received(&offer).unwrap();
    let ours = us.make_hold_offer(true).unwrap();
    assert_eq!(
        lines_with(ours.sdp(), "m="),
        ["m=video 0 RTP/AVP 34", "m=audio 20000 RTP/AVP 0"]
    );
    let error = us.answer_received(&ours, &audio("m=audio 4000 RTP/AVP 0"));
    assert_eq!(error.unwrap_err(), SdpError::AnswerWithoutAudio);
    let answered = audio("m=video 0 RTP/AVP 34\nm=audio 4000 RTP/AVP 0\na=recvonly");
    assert!(us.answer_received(&ours, &answered).is_ok());
}

#[test]
fn one_offer_at_a_time() {
    let mut us = dialog(config());
    let offer = us.make_offer().unwrap();
    assert_eq!(us.make_offer().unwrap_err(), SdpError::OfferOutstanding);
    let glare = us.offer_received(&remote(ASTERISK)).unwrap_err();
    assert_eq!((&glare, glare.sip_status()), (&SdpError::Glare, 491));
    // A useless answer leaves it waiting.
    let refused = us.answer_received(&offer, &audio("m=audio 0 RTP/AVP 0"));
    assert_eq!(refused.unwrap_err(), SdpError::AudioPortZero);
    assert!(us.offer_outstanding());
    us.answer_received(&offer, &remote(ASTERISK)).unwrap();
    assert!(!us.offer_outstanding() && us.is_agreed());
    // The same answer in 183 and 200, or a better one.
    let better = us.answer_received(&offer, &remote(SIPP)).unwrap();
    assert_eq!(better.media.sends.codec, Codec::Pcmu);
    // After an offer of theirs it is history.
    us.offer_received(&remote(ASTERISK)).unwrap();
    let late = us.answer_received(&offer, &remote(SIPP)).unwrap_err();
    assert_eq!(late, SdpError::NotOffered);
}

#[test]
fn a_refused_offer_changes_nothing() {
    let mut us = dialog(with_codecs(&G711));
    let first = us.offer_received(&remote(ASTERISK)).unwrap().sdp;
    let fax = audio("m=audio 0 RTP/AVP 0\nm=image 5000 udptl t38");
    assert_eq!(
        us.offer_received(&fax).unwrap_err(),
        SdpError::AudioPortZero
    );
    assert_eq!(us.offer_received(&remote(ASTERISK)).unwrap().sdp, first);
}

#[test]
fn a_fork_answers_the_same_offer() {
    let mut first = dialog(config());
    let offer = first.make_offer().unwrap();
    let mut second = first.clone();
    first.answer_received(&offer, &remote(SIPP)).unwrap();
    second.restart(&offer);
    let media = second
        .answer_received(&offer, &remote(ASTERISK))
        .unwrap()
        .media;
    assert_eq!(media.remote, address("203.0.113.10:14382"));
    // Or the first far end gave up, and another takes its place.
    first
        .offer_received(&audio("m=audio 4000 RTP/AVP 8"))
        .unwrap();
    first.restart(&offer);
    assert!(first.offer_outstanding() && !first.is_agreed());
    let held = ASTERISK.replace("203.0.113.10", "0.0.0.0");
    let media = first.answer_received(&offer, &remote(&held)).unwrap().media;
    assert!(
        media.remote.ip().is_unspecified(),
        "nothing of the first far end is left"
    );
    assert_eq!(media.receives.payload_type.0, 0);
    assert_eq!(version(first.make_hold_offer(true).unwrap().sdp()), 2);
}

#[test]
fn an_answer_to_another_offer() {
    let mut us = dialog(config());
    let old = us.make_offer().unwrap();
    us.roll_back();
    let new = us.make_offer().unwrap();
    let late = us.answer_received(&old, &remote(SIPP)).unwrap_err();
    assert_eq!(late, SdpError::NotOffered);
    assert_eq!(late.sip_status(), 500);
    assert!(us.answer_received(&new, &remote(SIPP)).is_ok());
}

#[test]
fn mux_needs_both() {
    let rtcp = |offers_rtcp_mux, theirs: &str| {
        let mut us = dialog(NegotiationConfig {
            offers_rtcp_mux,
            ..config()
        });
        let offer = us.make_offer().unwrap();
        let answer = audio(&format!("m=audio 4000 RTP/AVP 0\n{theirs}"));
        us.answer_received(&offer, &answer)
            .unwrap()
            .media
            .remote_rtcp
    };
    let next = Some(address("203.0.113.1:4001"));
    assert_eq!(rtcp(true, "a=rtcp-mux"), None);
    assert_eq!(rtcp(true, "a=sendrecv"), next);
    assert_eq!(rtcp(false, "a=rtcp-mux"), next);
    assert_eq!(rtcp(true, "a=rtcp:9000"), Some(address("203.0.113.1:9000")));
    assert_eq!(rtcp(true, "a=rtcp:9000 IN IP4 host.example"), next);
    // As answerer we follow.
    let offer = audio("m=audio 4000 RTP/AVP 0\na=rtcp-mux");
    let never = NegotiationConfig {
        offers_rtcp_mux: false,
        ..config()
    };
    let answered = answer(&offer, never).unwrap();
    assert_eq!(answered.negotiated.media.remote_rtcp, None);
}
