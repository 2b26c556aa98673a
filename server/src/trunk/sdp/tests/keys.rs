//! SRTP with keys in the SDP (RFC 4568).

use super::*;
use crate::srtp::{Profile, SrtpKeys};

const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const OTHER_KEY: &str = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";

fn savp(crypto: &[&str]) -> RemoteDescription {
    let lines: String = crypto
        .iter()
        .map(|line| format!("\na=crypto:{line}"))
        .collect();
    audio(&format!("m=audio 4000 RTP/SAVP 0{lines}"))
}

fn sha1_80(tag: u32, key: &str) -> String {
    format!("{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}")
}

#[test]
fn an_srtp_trunk_offers_every_suite() {
    let mut us = dialog(with_srtp());
    let offer = us.make_offer().unwrap();
    let crypto = lines_with(offer.sdp(), "a=crypto");
    let suites: Vec<&str> = crypto
        .iter()
        .map(|line| line.split(" inline:").next().unwrap())
        .collect();
    assert_eq!(
        suites,
        [
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80",
            "a=crypto:2 AEAD_AES_256_GCM",
            "a=crypto:3 AEAD_AES_128_GCM",
            "a=crypto:4 AES_CM_128_HMAC_SHA1_32",
        ]
    );
    assert!(lines_with(offer.sdp(), "m=")[0].starts_with("m=audio 20000 RTP/SAVP "));

    let wrong_tag = sha1_80(3, KEY);
    let too_early = format!("{} UNENCRYPTED_SRTCP", sha1_80(1, KEY));
    for (answer, error) in [
        (audio("m=audio 4000 RTP/AVP 0"), SdpError::NoSrtp),
        (savp(&[]), SdpError::NoUsableKeys("no a=crypto line")),
        (
            savp(&[&wrong_tag]),
            SdpError::NoUsableKeys("a tag or suite that we did not offer"),
        ),
        (
            savp(&[&too_early]),
            SdpError::NoUsableKeys("media without encryption"),
        ),
        (
            audio("m=audio 4000 UDP/TLS/RTP/SAVP 0"),
            SdpError::Transport("UDP/TLS/RTP/SAVP".to_owned()),
        ),
    ] {
        assert_eq!(us.answer_received(&offer, &answer).unwrap_err(), error);
    }
    let media = us
        .answer_received(&offer, &savp(&[&sha1_80(1, KEY)]))
        .unwrap()
        .media;
    let keys = media.srtp.unwrap();
    assert_eq!(keys.ours.profile(), Profile::Aes128CmHmacSha1_80);
    assert_ne!(keys.ours, keys.theirs);
    // From now on only what is in use.
    let hold = us.make_hold_offer(true).unwrap();
    assert_eq!(lines_with(hold.sdp(), "a=crypto"), [crypto[0]]);
}

#[test]
fn a_plain_trunk_that_offered_no_keys_gets_none() {
    let mut us = dialog(config());
    let offer = us.make_offer().unwrap();
    let answered = us.answer_received(&offer, &savp(&[&sha1_80(1, KEY)]));
    assert_eq!(
        answered.unwrap_err(),
        SdpError::Transport("RTP/SAVP".to_owned())
    );
}

#[test]
fn what_an_srtp_trunk_refuses() {
    let mki = format!("{}|2^31|1:1", sha1_80(1, KEY));
    for (offer, error) in [
        (audio("m=audio 4000 RTP/AVP 0"), SdpError::NoSrtp),
        (savp(&[]), SdpError::NoUsableKeys("no a=crypto line")),
        (savp(&[&mki]), SdpError::NoUsableKeys("an MKI")),
        (
            audio(&format!("m=audio 4000 RTP/AVP 0\na=crypto:{mki}")),
            SdpError::NoUsableKeys("an MKI"),
        ),
    ] {
        let refused = answer(&offer, with_srtp()).unwrap_err();
        assert_eq!(refused, error);
        assert_eq!(refused.sip_status(), 488);
    }
    // Without keys, SAVP is no use to a plain trunk either.
    assert!(answer(&savp(&[&mki]), config()).is_err());
    let both = audio(&format!(
        "m=audio 4000 RTP/SAVP 0\na=crypto:{mki}\nm=audio 4002 RTP/AVP 0"
    ));
    let plain = answer(&both, config()).unwrap();
    assert_eq!(plain.negotiated.media.remote.port(), 4002);
    assert_eq!(
        answer(&both, with_srtp()).unwrap_err(),
        SdpError::NoUsableKeys("an MKI")
    );
}

#[test]
fn the_answer_has_the_tag_of_the_line_it_takes() {
    let unknown = format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}");
    let second = sha1_80(7, KEY);
    let LocalAnswer { sdp, negotiated } = answer(&savp(&[&unknown, &second]), with_srtp()).unwrap();
    let crypto = lines_with(&sdp, "a=crypto");
    assert_eq!(crypto.len(), 1);
    let prefix = "a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:";
    assert!(crypto[0].starts_with(prefix));
    let keys = negotiated.media.srtp.unwrap();
    let theirs = b"wDfvg&T+)xG7@fb5jU,RaA}\\|p0%*#";
    assert_eq!(
        keys.theirs,
        SrtpKeys::from_key_and_salt(Profile::Aes128CmHmacSha1_80, theirs).unwrap()
    );
    assert_ne!(&crypto[0][prefix.len()..], KEY);
}

#[test]
fn keys_change_with_theirs_and_only_then() {
    let mut us = dialog(with_srtp());
    let mut keys = |offer: &RemoteDescription| {
        let answered = us.offer_received(offer).unwrap();
        answered.negotiated.media.srtp.unwrap()
    };
    let first = keys(&savp(&[&sha1_80(1, KEY)]));
    let same = keys(&savp(&[&sha1_80(2, KEY)]));
    assert_eq!((&same.ours, &same.theirs), (&first.ours, &first.theirs));
    let changed = keys(&savp(&[&sha1_80(1, OTHER_KEY)]));
    assert_ne!(changed.ours, first.ours);
    assert_ne!(changed.theirs, first.theirs);
    let back = keys(&savp(&[&sha1_80(1, KEY)]));
    assert_eq!(back.theirs, first.theirs);
    assert!(back.ours != first.ours && back.ours != changed.ours);
}

#[test]
fn keys_are_in_the_text_and_nowhere_else() {
    let mut us = dialog(with_srtp());
    let offer = us.make_offer().unwrap();
    let text = offer.sdp().as_str();
    let ours: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("inline:"))
        .map(|(_, key)| key)
        .collect();
    assert_eq!(ours.len(), 4);
    let answer = savp(&[&sha1_80(1, KEY)]);
    let negotiated = us.answer_received(&offer, &answer).unwrap();
    let debug = format!("{us:?} {offer:?} {answer:?} {negotiated:?}");
    for key in ours.into_iter().chain([KEY, "wDfvg", "119, 68, 102"]) {
        assert!(!debug.contains(key));
    }
    let seed = format!("{:?}", [9; 4]);
    assert!(!debug.contains(seed.trim_matches(['[', ']'])));
}
