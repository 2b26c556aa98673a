//! Offers and answers out of the usual order: an answer before the answer, reliable or not, an offer of ours in the 200, another
//! codec in the middle of the call.

use std::time::Duration;

use super::*;
use loadtest::rtp_peer::RtpPeerConfig;
use loadtest::sip_peer::{Action, Request, Response, SdpChange};

/// What the far end says before a 200 that says nothing.
fn answers_early(progress: Response) -> SipPeer {
    far_end_with(AudioCodec::Pcmu, |config| {
        config.script = vec![
            Action::Respond(progress),
            Action::Wait(Duration::from_millis(500)),
            Action::Respond(Response::new(200, "OK")),
        ];
    })
}

#[test]
fn the_answer_is_in_the_183_alone() {
    let peer = answers_early(Response::progress());
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    both_talk(&call, &peer, at_peer, Bar::OpusClean);
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}

#[test]
fn a_reliable_183_is_acknowledged_and_is_the_answer() {
    let peer = answers_early(Response::progress().reliably());
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    let messages = peer.messages(Some(at_peer));
    let invite = messages
        .iter()
        .find(|logged| logged.message.is("INVITE"))
        .unwrap();
    let pracks: Vec<&str> = messages
        .iter()
        .filter(|logged| logged.received && logged.message.is("PRACK"))
        .filter_map(|logged| logged.message.header("RAck"))
        .collect();
    assert_eq!(pracks, [format!("1 {} INVITE", invite.message.cseq().0)]);
    let reliable = |status: u16| {
        messages
            .iter()
            .filter(|logged| !logged.received && logged.message.status() == Some(status))
            .count()
    };
    assert_eq!(reliable(183), 1, "it had not to be sent again");
    both_talk(&call, &peer, at_peer, Bar::OpusClean);
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}

#[test]
fn a_far_end_that_offers_late_is_answered_with_our_offer() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.inbound = TO_A_PAGE.to_owned();
    let gateway = setup.start();
    let mut page = WebRtcCall::connect(&plan(&gateway, AudioCodec::Opus)).unwrap();
    incoming::wait_until_waiting(&gateway, 1);
    let at_peer = peer.call(OutgoingCall {
        offer: None,
        ..OutgoingCall::new(&setup.uri("+15550123"))
    });
    let call_sid = page.wait_for_incoming(|_, _| {}).unwrap();
    page.accept(&call_sid).unwrap();
    peer.wait_for_state(at_peer, CallState::Answered, in_time())
        .unwrap();
    both_talk(&page, &peer, at_peer, Bar::OpusClean);
    let sent = |name: &str| {
        peer.messages(Some(at_peer))
            .into_iter()
            .find(|logged| !logged.received && logged.message.is(name))
            .unwrap()
            .message
    };
    assert!(sent("INVITE").body.is_empty(), "no offer");
    assert!(!sent("ACK").body.is_empty(), "the answer");
    peer.hang_up(at_peer);
    let report = page.wait_for_end().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}

#[test]
fn a_re_invite_changes_the_codec_and_back() {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        let pcma = RtpPeerConfig::new(Ipv4Addr::LOCALHOST.into(), AudioCodec::Pcma);
        config.media.push(pcma);
    });
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.codecs = vec![AudioCodec::Pcmu, AudioCodec::Pcma];
    let gateway = setup.start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    // Nobody says anything twice, so that what is heard is known to be of now.
    let alpha = opening(speech::alpha(), OPENING_S);
    let bravo = opening(speech::bravo(), OPENING_S);
    for (round, media) in [1, 0].into_iter().enumerate() {
        let change = SdpChange {
            media: Some(media),
            ..SdpChange::default()
        };
        peer.send(at_peer, Request::reinvite(Some(change)));
        let source = peer
            .wait_for(at_peer, "the answer", in_time(), |call| {
                let answered = call.answers.len() > round;
                call.remote_rtp.filter(|_| answered)
            })
            .unwrap();
        assert_eq!(peer.view(at_peer).answers[round].1, 200);
        let speakers = [(&alpha, &bravo), (&bravo, &alpha)][round];
        talk(
            &call,
            peer.media_at(media),
            source,
            speakers,
            Bar::OpusClean,
        );
    }
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}
