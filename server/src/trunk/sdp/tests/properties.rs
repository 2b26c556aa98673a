//! Two of us talk to each other, and strangers talk to one of us.

use proptest::prelude::*;

use super::*;

const NAMES: [CodecName; 4] = [
    CodecName::Opus,
    CodecName::Pcmu,
    CodecName::Pcma,
    CodecName::L16,
];
const FIXTURES: [&str; 8] = [
    ASTERISK, BARESIP, CISCO, FREESWITCH, RTPENGINE, SIPP, SLOPPY, TWILIO,
];

fn any_codecs() -> impl Strategy<Value = Vec<CodecName>> {
    let shuffled = Just(NAMES.to_vec()).prop_shuffle();
    (shuffled, 1..=NAMES.len()).prop_map(|(mut names, len)| {
        names.truncate(len);
        names
    })
}

prop_compose! {
    fn any_config(srtp: bool, host: u8)(
        codecs in any_codecs(),
        ptime_ms in prop::sample::select(vec![10_u8, 20, 30, 40]),
        offers_rtcp_mux: bool,
    ) -> NegotiationConfig {
        NegotiationConfig {
            codecs,
            ptime_ms,
            srtp,
            local: SocketAddr::from(([192, 0, 2, host], 20_000)),
            offers_rtcp_mux,
            media_ip_cidrs: Vec::new(),
        }
    }
}

fn any_configs() -> impl Strategy<Value = (NegotiationConfig, NegotiationConfig)> {
    // Who has no srtp of its own takes it when it is offered.
    any::<bool>().prop_flat_map(|srtp| (any_config(srtp, 1), any_config(srtp, 2)))
}

fn parsed(sdp: &LocalSdp) -> RemoteDescription {
    RemoteDescription::parse(sdp.as_str()).unwrap()
}

/// What one sends, the other takes.
fn check_both(
    a: &Negotiated,
    b: &Negotiated,
    (a_local, b_local): (SocketAddr, SocketAddr),
) -> Result<(), TestCaseError> {
    for (from, to, local) in [(a, b, b_local), (b, a, a_local)] {
        prop_assert_eq!(from.media.sends.codec, to.media.receives.codec);
        prop_assert_eq!(
            from.media.sends.payload_type,
            to.media.receives.payload_type
        );
        prop_assert_eq!(
            from.media.sends.telephone_event,
            to.media.receives.telephone_event
        );
        prop_assert_eq!(from.media.remote, local);
        prop_assert_eq!(
            from.media.remote_rtcp.is_some(),
            to.media.remote_rtcp.is_some()
        );
        prop_assert_eq!(from.media.direction, to.media.direction.answered());
        prop_assert_eq!(
            from.media.srtp.as_ref().map(|keys| &keys.ours),
            to.media.srtp.as_ref().map(|keys| &keys.theirs)
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn two_of_us_agree(
        (a_config, b_config) in any_configs(),
        steps in prop::collection::vec((any::<bool>(), 0..5_u8), 0..12),
    ) {
        let locals = (a_config.local, b_config.local);
        let common = a_config.codecs.iter().any(|codec| b_config.codecs.contains(codec));
        let srtp = a_config.srtp;
        let mut sides = [
            OfferAnswer::new(a_config, [1; OfferAnswer::ENTROPY_LEN]),
            OfferAnswer::new(b_config, [2; OfferAnswer::ENTROPY_LEN]),
        ];
        let mut versions = [0, 0];
        let mut texts = [String::new(), String::new()];
        for (swap, what) in std::iter::once((false, 0)).chain(steps) {
            let offerer = usize::from(swap);
            let offer = match what {
                0 | 1 => sides[offerer].make_offer(),
                2 => sides[offerer].make_hold_offer(true),
                3 => sides[offerer].make_hold_offer(false),
                _ => sides[offerer].make_refresh_offer(),
            }
            .unwrap();
            let answered = sides[1 - offerer].offer_received(&parsed(offer.sdp()));
            let answered = match answered {
                Ok(answered) => answered,
                Err(SdpError::NoCommonCodec { .. }) if !common => return Ok(()),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            prop_assert!(common);
            let accepted = sides[offerer].answer_received(&offer, &parsed(&answered.sdp));
            let accepted = accepted.unwrap();
            prop_assert_eq!(accepted.media.srtp.is_some(), srtp);
            if swap {
                check_both(&answered.negotiated, &accepted, locals)?;
            } else {
                check_both(&accepted, &answered.negotiated, locals)?;
            }
            for (side, sdp) in [(offerer, offer.sdp()), (1 - offerer, &answered.sdp)] {
                let same = texts[side] == sdp.as_str();
                prop_assert_eq!(version(sdp), versions[side] + u64::from(!same));
                versions[side] = version(sdp);
                texts[side] = sdp.as_str().to_owned();
            }
        }
    }

    #[test]
    fn answers_keep_every_m_line(fixtures in prop::collection::vec(0..FIXTURES.len(), 1..5)) {
        // The m-lines of several, below the session of the first.
        let mut offer = FIXTURES[fixtures[0]].to_owned();
        for index in &fixtures[1..] {
            let text = FIXTURES[*index];
            offer.push_str(&text[text.find("m=").unwrap()..]);
        }
        let offer = remote(&offer);
        if let Ok(LocalAnswer { sdp, .. }) = answer(&offer, config()) {
            let answered = parsed(&sdp);
            prop_assert_eq!(answered.media_len(), offer.media_len());
            let accepted = answered.media.iter().filter(|media| media.port != 0);
            prop_assert_eq!(accepted.count(), 1);
            for (ours, theirs) in answered.media.iter().zip(&offer.media) {
                prop_assert_eq!((&ours.kind, &ours.protocol), (&theirs.kind, &theirs.protocol));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = RemoteDescription::parse(&bytes);
        let mut sdp = b"v=0\nc=IN IP4 203.0.113.1\nm=audio 4000 RTP/AVP 0\n".to_vec();
        sdp.extend(bytes);
        if let Ok(offer) = RemoteDescription::parse(&sdp) {
            let _ = answer(&offer, config());
        }
    }

    #[test]
    fn cut_and_doubled_lines(
        fixture in 0..FIXTURES.len(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8), 0..6),
        srtp: bool,
    ) {
        let mut lines: Vec<String> = FIXTURES[fixture].lines().map(str::to_owned).collect();
        for (index, what) in cuts {
            let at = index.index(lines.len());
            match what {
                0 => drop(lines.remove(at)),
                1 => lines.push(lines[at].clone()),
                _ => { let len = lines[at].len() / 2; lines[at].truncate(len); }
            }
            if lines.is_empty() { return Ok(()); }
        }
        let Ok(offer) = RemoteDescription::parse(lines.join("\n")) else { return Ok(()) };
        let wanted = NegotiationConfig { srtp, ..config() };
        if let Ok(LocalAnswer { sdp, negotiated }) = answer(&offer, wanted) {
            prop_assert!(negotiated.media.srtp.is_some() || !srtp);
            prop_assert_eq!(parsed(&sdp).media_len(), offer.media_len());
        }
    }
}
