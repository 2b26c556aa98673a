//! Hold, from either side and from both (RFC 3264 section 8.4).

use super::*;
use StreamDirection::{Inactive, RecvOnly, SendOnly, SendRecv};

fn offer_with(attributes: &str) -> RemoteDescription {
    audio(&format!("m=audio 4000 RTP/AVP 0\n{attributes}"))
}

#[test]
fn the_far_end_holds() {
    for (attributes, ours, holds) in [
        ("a=sendrecv", SendRecv, false),
        ("a=ptime:20", SendRecv, false),
        ("a=sendonly", RecvOnly, true),
        ("a=recvonly", SendOnly, false),
        ("a=inactive", Inactive, true),
        ("c=IN IP4 0.0.0.0", RecvOnly, true),
        ("c=IN IP4 0.0.0.0\na=sendonly", RecvOnly, true),
        ("c=IN IP4 0.0.0.0\na=inactive", Inactive, true),
    ] {
        let LocalAnswer { sdp, negotiated } = answer(&offer_with(attributes), config()).unwrap();
        assert_eq!(negotiated.media.direction, ours, "{attributes}");
        assert_eq!(negotiated.far_end_holds, holds, "{attributes}");
        assert_eq!(lines_with(&sdp, &format!("a={}", ours.as_str())).len(), 1);
    }
}

#[test]
fn the_old_hold_keeps_the_address() {
    let mut us = dialog(config());
    let first = us
        .offer_received(&offer_with("a=rtcp:5000"))
        .unwrap()
        .negotiated;
    let held = us.offer_received(&offer_with("c=IN IP4 0.0.0.0")).unwrap();
    assert_eq!(held.negotiated.media.remote, first.media.remote);
    assert_eq!(held.negotiated.media.remote_rtcp, first.media.remote_rtcp);
    assert!(held.negotiated.far_end_holds);
    let resumed = us.offer_received(&offer_with("a=sendrecv")).unwrap();
    assert_eq!(resumed.negotiated.media.direction, SendRecv);
    assert!(!resumed.negotiated.far_end_holds);
    // With nothing known there is nowhere to send.
    let held = answer(&offer_with("c=IN IP4 0.0.0.0"), config()).unwrap();
    let remote = held.negotiated.media.remote;
    assert!(remote.ip().is_unspecified() && !held.negotiated.media.direction.sends());
}

#[test]
fn the_old_hold_at_the_session_level() {
    let held = ASTERISK.replace("c=IN IP4 203.0.113.10", "c=IN IP4 0.0.0.0");
    let held = answer(&remote(&held), config()).unwrap();
    assert!(held.negotiated.far_end_holds);
    assert_eq!(held.negotiated.media.direction, RecvOnly);
}

#[test]
fn we_hold_and_resume() {
    let mut us = dialog(config());
    us.offer_received(&remote(ASTERISK)).unwrap();
    let hold = us.make_hold_offer(true).unwrap();
    assert!(us.holds());
    assert_eq!(version(hold.sdp()), 2);
    assert_eq!(
        lines_with(hold.sdp(), "m="),
        ["m=audio 20000 RTP/AVP 107 101"]
    );
    assert_eq!(lines_with(hold.sdp(), "a=sendonly").len(), 1);
    let held = ASTERISK.replace("a=sendrecv", "a=recvonly");
    let held = us.answer_received(&hold, &remote(&held)).unwrap();
    assert_eq!(held.media.direction, SendOnly);
    assert!(!held.far_end_holds);

    // While we hold, the far end may offer what it likes.
    for (theirs, ours, holds) in [
        ("a=sendrecv", SendOnly, false),
        ("a=sendonly", Inactive, true),
        ("a=recvonly", SendOnly, false),
        ("a=inactive", Inactive, true),
    ] {
        let offer = ASTERISK.replace("a=sendrecv", theirs);
        let answered = us.offer_received(&remote(&offer)).unwrap().negotiated;
        assert_eq!(
            (answered.media.direction, answered.far_end_holds),
            (ours, holds)
        );
    }

    // It still holds when we no longer do.
    let resume = us.make_hold_offer(false).unwrap();
    assert_eq!(lines_with(resume.sdp(), "a=sendrecv").len(), 1);
    let still = ASTERISK.replace("a=sendrecv", "a=sendonly");
    let still = us.answer_received(&resume, &remote(&still)).unwrap();
    assert_eq!(
        (still.media.direction, still.far_end_holds),
        (RecvOnly, true)
    );
    // A refresh says what we want, so that the far end can resume by it.
    let refresh = us.make_refresh_offer().unwrap();
    assert_eq!(refresh.sdp(), resume.sdp());
    let resumed = us.answer_received(&refresh, &remote(ASTERISK)).unwrap();
    assert_eq!(
        (resumed.media.direction, resumed.far_end_holds),
        (SendRecv, false)
    );
}

#[test]
fn a_hold_keeps_the_codec() {
    let mut us = dialog(with_codecs(&[CodecName::Pcmu, CodecName::Pcma]));
    let offer = us.make_offer().unwrap();
    let chosen = audio("m=audio 4000 RTP/AVP 8");
    us.answer_received(&offer, &chosen).unwrap();
    let hold = us.make_hold_offer(true).unwrap();
    assert_eq!(
        lines_with(hold.sdp(), "m="),
        ["m=audio 20000 RTP/AVP 8 0 101"]
    );
}

#[test]
fn a_refused_hold_is_none() {
    let mut us = dialog(config());
    us.offer_received(&remote(ASTERISK)).unwrap();
    us.make_hold_offer(true).unwrap();
    us.roll_back();
    assert!(!us.holds() && !us.offer_outstanding());
    // The refused version has been seen.
    let refresh = us.make_refresh_offer().unwrap();
    assert_eq!(version(refresh.sdp()), 3);
    assert_eq!(lines_with(refresh.sdp(), "a=sendrecv").len(), 1);
}
