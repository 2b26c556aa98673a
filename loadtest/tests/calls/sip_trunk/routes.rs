//! Where a call goes when the first way is not the last: redirected, to the next SBC, to two at once; and calls given up at the
//! moment that they are answered.

use std::time::{Duration, Instant};

use super::*;
use loadtest::signalling::ClientMessage;
use loadtest::sip_peer::{Action, Request, Response};
use server::call::EventType;

#[test]
fn a_302_sends_the_call_elsewhere() {
    let elsewhere = far_end(AudioCodec::Pcmu);
    let contact = format!("<sip:+15550142@{}>", elsewhere.local_addr());
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.script = vec![Action::Respond(
            Response::new(302, "Moved Temporarily").with("Contact", &contact),
        )];
    });
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_elsewhere) = dial(&gateway, &elsewhere, AudioCodec::Opus);
    let view = elsewhere.view(at_elsewhere);
    assert!(view.request_uri.starts_with("sip:+15550142@"), "{view:?}");
    both_talk(&call, &elsewhere, at_elsewhere, Bar::OpusClean);
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    let ended = elsewhere.wait_for_state(at_elsewhere, CallState::Ended, in_time());
    assert!(ended.unwrap().ended_by_other);
    end(gateway);
}

#[test]
fn when_the_first_sbc_is_dead_the_second_gets_the_call_and_the_trunk_is_up() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.trunk_lines =
        "transport = \"tcp\"\nsbc_ip = [\"127.0.0.2\", \"127.0.0.1\"]\noptions_interval_s = 2\n"
            .to_owned();
    let gateway = setup.start();
    // Long enough for OPTIONS to have failed at the first as often as makes a trunk down.
    peer.wait_for_message("OPTIONS at the second", in_time(), |message| {
        message.is("OPTIONS")
    })
    .unwrap();
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        let up = gateway.metrics().unwrap().sum("clutchcall_sip_trunk_up");
        assert_eq!(up, 1.0, "one of two is alive");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    both_talk(&call, &peer, at_peer, Bar::OpusClean);
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    peer.wait_for_state(at_peer, CallState::Ended, in_time())
        .unwrap();
    // Its connection is kept for the next call, as long as it is there.
    drop(peer);
    end(gateway);
}

#[test]
fn of_two_that_answer_one_is_let_go() {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.script = vec![
            Action::Respond(Response::ringing()),
            Action::Respond(Response::ringing().of_fork(1)),
            Action::Respond(Response::ok()),
            Action::Respond(Response::ok().of_fork(1)),
        ];
    });
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    let tags: Vec<String> = peer
        .messages(Some(at_peer))
        .iter()
        .map(|logged| &logged.message)
        .filter(|message| message.status() == Some(200) && message.cseq().1 == "INVITE")
        .filter_map(|message| message.to_tag().map(str::to_owned))
        .collect();
    assert!(tags.len() == 2 && tags[0] != tags[1], "{tags:?}");
    for method in ["ACK", "BYE"] {
        peer.wait_for_message(method, in_time(), |message| {
            message.is(method) && message.to_tag() == Some(tags[1].as_str())
        })
        .unwrap();
    }
    both_talk(&call, &peer, at_peer, Bar::OpusClean);
    assert_eq!(peer.view(at_peer).state, CallState::Answered);
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    peer.wait_for_message("BYE", in_time(), |message| {
        message.is("BYE") && message.to_tag() == Some(tags[0].as_str())
    })
    .unwrap();
    end(gateway);
}

/// Dials without waiting for an answer.
fn begin(gateway: &Gateway) -> WebRtcCall {
    let plan = plan(gateway, AudioCodec::Opus);
    let call = WebRtcCall::connect(&plan).unwrap();
    call.signalling().send(&ClientMessage::Dial {
        to: plan.to.clone(),
        trunk_id: None,
        call_from: plan.call_from.clone(),
        client_id: None,
    });
    call
}

/// The type of every event of the only call or the last one, once it is over.
fn types_at_the_end(gateway: &Gateway, calls: usize) -> Vec<EventType> {
    let call_sid = gateway.wait_for_events(in_time(), |events| {
        let mut ends = events
            .iter()
            .filter(|event| event.event_type == EventType::ChannelHangupComplete);
        ends.nth(calls - 1).map(|event| event.call_sid.to_string())
    });
    gateway.event_types(&call_sid.expect("a final event"))
}

const GIVEN_UP: [EventType; 2] = [EventType::ChannelCreate, EventType::ChannelHangupComplete];

#[test]
fn no_cancel_goes_out_before_the_far_end_has_said_anything() {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.script = vec![Action::Respond(Response::ringing())];
    });
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    peer.set_silent(true);
    let call = begin(&gateway);
    peer.wait_for_message("INVITE", in_time(), |message| message.is("INVITE"))
        .unwrap();
    call.signalling().send(&ClientMessage::Hangup);
    std::thread::sleep(Duration::from_millis(300));
    let cancelled = |peer: &SipPeer| {
        peer.messages(None)
            .iter()
            .any(|logged| logged.message.is("CANCEL"))
    };
    assert!(!cancelled(&peer), "RFC 3261 section 9.1");
    // The INVITE comes again, and is answered with 100.
    peer.set_silent(false);
    let at_peer = peer.wait_for_incoming(0, in_time()).unwrap();
    let ended = peer
        .wait_for_state(at_peer, CallState::Ended, in_time())
        .unwrap();
    assert!(ended.ended_by_other && cancelled(&peer), "{ended:?}");
    assert_eq!(types_at_the_end(&gateway, 1), GIVEN_UP);
    drop(call);
    end(gateway);
}

#[test]
fn an_answer_that_crosses_our_cancel_is_acknowledged_and_hung_up() {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.script = vec![
            Action::Respond(Response::ringing()),
            Action::Wait(Duration::from_secs(1)),
            Action::Respond(Response::ok()),
        ];
    });
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let call = begin(&gateway);
    let at_peer = peer.wait_for_incoming(0, in_time()).unwrap();
    peer.wait_for_state(at_peer, CallState::Ringing, in_time())
        .unwrap();
    // It hears no CANCEL before it has answered.
    peer.set_silent(true);
    call.signalling().send(&ClientMessage::Hangup);
    peer.wait_for_message("CANCEL", in_time(), |message| message.is("CANCEL"))
        .unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    peer.set_silent(false);
    for method in ["ACK", "BYE"] {
        peer.wait_for_message(method, in_time(), |message| message.is(method))
            .unwrap();
    }
    let ended = peer
        .wait_for_state(at_peer, CallState::Ended, in_time())
        .unwrap();
    assert!(ended.ended_by_other, "{ended:?}");
    assert_eq!(types_at_the_end(&gateway, 1), GIVEN_UP);
    drop(call);
    end(gateway);
}

#[test]
fn a_caller_who_gives_up_as_he_is_answered_leaves_nothing_behind() {
    const RINGS: Duration = Duration::from_millis(400);
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.script = loadtest::sip_peer::answer_after(RINGS);
    });
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    for round in 0..9 {
        let call = begin(&gateway);
        let at_peer = peer.wait_for_incoming(round, in_time()).unwrap();
        // From 8 ms before the answer to 8 ms after it.
        let gives_up = RINGS - Duration::from_millis(8) + Duration::from_millis(2) * round as u32;
        let due = peer.view(at_peer).began + gives_up;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        call.signalling().send(&ClientMessage::Hangup);
        peer.wait_for_state(at_peer, CallState::Ended, in_time())
            .unwrap();
        let types = types_at_the_end(&gateway, round + 1);
        assert!(types == GIVEN_UP || types == WHOLE_CALL, "{types:?}");
    }
    end(gateway);
}

#[test]
fn a_far_end_that_gives_up_as_the_page_answers_leaves_nothing_behind() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.inbound = TO_A_PAGE.to_owned();
    let gateway = setup.start();
    for round in 0..8 {
        let page = WebRtcCall::connect(&plan(&gateway, AudioCodec::Opus)).unwrap();
        incoming::wait_until_waiting(&gateway, 1);
        let at_peer = peer.call(OutgoingCall::new(&setup.uri("1")));
        let call_sid = page.wait_for_incoming(|_, _| {}).unwrap();
        let accept = ClientMessage::Accept { call_sid };
        // By turns the one is a little earlier, and the other.
        let pause = Duration::from_micros(500) * (round / 2);
        if round % 2 == 0 {
            page.signalling().send(&accept);
            std::thread::sleep(pause);
            peer.send(at_peer, Request::cancel());
        } else {
            peer.send(at_peer, Request::cancel());
            std::thread::sleep(pause);
            page.signalling().send(&accept);
        }
        let view = peer
            .wait_for(at_peer, "a final response", in_time(), |call| {
                call.statuses
                    .iter()
                    .any(|status| *status >= 200)
                    .then(|| call.clone())
            })
            .unwrap();
        match view.statuses.last() {
            Some(200) => peer.hang_up(at_peer),
            last => assert_eq!(last, Some(&487), "{view:?}"),
        }
        let answered = view.statuses.last() == Some(&200);
        let types = types_at_the_end(&gateway, round as usize + 1);
        if answered {
            assert_eq!(types, WHOLE_CALL);
        } else {
            assert_eq!(types, GIVEN_UP);
        }
    }
    end(gateway);
}
