//! What changes while a call goes on: hold from either side, digits by each method, early media, transfer.

use std::time::Duration;

use super::*;
use loadtest::signalling::ServerMessage;
use loadtest::sip_peer::{Action, Body, Direction, Request, Response, SdpChange};
use server::call::EventType;

/// Waits for the gateway's last description to have this direction.
fn wait_for_direction(peer: &SipPeer, call: CallId, direction: Direction) {
    peer.wait_for(call, direction.name(), in_time(), |call| {
        call.remote_sdp
            .as_ref()
            .is_some_and(|sdp| sdp.direction == direction)
            .then_some(())
    })
    .unwrap();
}

#[test]
fn the_caller_holds_and_takes_back() {
    let peer = far_end(AudioCodec::Pcmu);
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    call.hold().unwrap();
    call.wait_for_event(EventType::ChannelHold, 1).unwrap();
    wait_for_direction(&peer, at_peer, Direction::SendOnly);
    call.unhold().unwrap();
    call.wait_for_event(EventType::ChannelResume, 1).unwrap();
    wait_for_direction(&peer, at_peer, Direction::SendRecv);
    both_talk(&call, &peer, at_peer, Bar::OpusClean);
    let report = call.hang_up().unwrap();
    use EventType::{
        ChannelAnswer, ChannelCreate, ChannelHangupComplete, ChannelHold, ChannelResume,
    };
    assert_events(
        &gateway,
        &report,
        &[
            ChannelCreate,
            ChannelAnswer,
            ChannelHold,
            ChannelResume,
            ChannelHangupComplete,
        ],
    );
    end(gateway);
}

#[test]
fn the_far_end_holds_in_each_way_and_takes_back() {
    let peer = far_end(AudioCodec::Pcmu);
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    let zero = SdpChange {
        zero_address: true,
        ..SdpChange::default()
    };
    let ways = [
        (
            SdpChange::direction(Direction::SendOnly),
            Direction::RecvOnly,
        ),
        (
            SdpChange::direction(Direction::Inactive),
            Direction::Inactive,
        ),
        (zero, Direction::RecvOnly),
    ];
    for (round, (change, answered)) in ways.into_iter().enumerate() {
        peer.send(at_peer, Request::reinvite(Some(change)));
        call.wait_for_event(EventType::ChannelHold, round + 1)
            .unwrap();
        if !change.zero_address {
            wait_for_direction(&peer, at_peer, answered);
        }
        peer.send(at_peer, Request::reinvite(Some(SdpChange::default())));
        call.wait_for_event(EventType::ChannelResume, round + 1)
            .unwrap();
        wait_for_direction(&peer, at_peer, Direction::SendRecv);
    }
    // A re-INVITE without SDP changes nothing.
    peer.send(at_peer, Request::reinvite(None));
    peer.wait_for(at_peer, "seven answers", in_time(), |call| {
        (call
            .answers
            .iter()
            .filter(|(method, status)| method == "INVITE" && *status == 200)
            .count()
            >= 7)
            .then_some(())
    })
    .unwrap();
    both_talk(&call, &peer, at_peer, Bar::OpusClean);
    let report = call.hang_up().unwrap();
    let types: Vec<EventType> = report.events.iter().map(|event| event.event_type).collect();
    assert_eq!(types.len(), 9, "{types:?}");
    end(gateway);
}

#[test]
fn a_trunk_that_ends_calls_on_hold_ends_them() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.trunk_lines = "terminate_on_hold = true\n".to_owned();
    let gateway = setup.start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    peer.send(
        at_peer,
        Request::reinvite(Some(SdpChange::direction(Direction::SendOnly))),
    );
    let report = call.wait_for_end().unwrap();
    assert_eq!(report.events.last().unwrap().q850_cause, 16);
    assert!(
        peer.wait_for_state(at_peer, CallState::Ended, in_time())
            .unwrap()
            .ended_by_other
    );
    end(gateway);
}

#[test]
fn digits_by_info_reach_the_page() {
    let peer = far_end(AudioCodec::Pcmu);
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    for digit in "15#".chars() {
        peer.send(at_peer, Request::info_digit(digit, 160));
    }
    let heard = call
        .signalling()
        .wait_for("3 digits", in_time(), |received| {
            let digits: String = received
                .iter()
                .filter_map(|received| match &received.message {
                    ServerMessage::Dtmf { digit, .. } => Some(digit.as_str()),
                    _ => None,
                })
                .collect();
            (digits.len() >= 3).then_some(digits)
        });
    assert_eq!(heard.unwrap(), "15#");
    call.hang_up().unwrap();
    end(gateway);
}

#[test]
fn digits_go_by_info_where_the_trunk_says_so() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.trunk_lines = "dtmf = \"info\"\n".to_owned();
    let gateway = setup.start();
    let (call, _) = dial(&gateway, &peer, AudioCodec::Opus);
    call.send_digits_by_message("7*D", 120);
    peer.wait_for_message("the last digit", in_time(), |message| {
        message.is("INFO") && message.to_string().contains("Signal=D")
    })
    .unwrap();
    let digits: String = peer
        .messages(None)
        .iter()
        .filter(|logged| logged.received && logged.message.is("INFO"))
        .filter_map(|logged| {
            logged
                .message
                .to_string()
                .split("Signal=")
                .nth(1)?
                .chars()
                .next()
        })
        .collect();
    assert_eq!(digits, "7*D");
    call.hang_up().unwrap();
    end(gateway);
}

#[test]
fn early_media_is_heard_before_the_answer() {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.script = vec![
            Action::Respond(Response::progress().with_sdp()),
            Action::Wait(Duration::from_secs(1)),
            Action::Respond(Response::ok().with_sdp()),
        ];
    });
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    both_talk(&call, &peer, at_peer, Bar::OpusClean);
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    let record = record(&gateway, &report.call_sid);
    let stage = |name: &str| record["set_up"][name].as_u64().unwrap();
    assert!(stage("answered_ms") >= 900, "{record:#}");
    end(gateway);
}

#[test]
fn an_operator_transfers_the_far_end() {
    let peer = far_end(AudioCodec::Pcmu);
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    let path = format!("/v1/calls/{}/transfer", call.call_sid());
    let answer = gateway
        .post(&path, &serde_json::json!({"to": "+15550177"}))
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let refer = peer
        .wait_for_message("REFER", in_time(), |message| message.is("REFER"))
        .unwrap();
    assert!(
        refer.header("Refer-To").unwrap().contains("+15550177@"),
        "{refer:?}"
    );
    let report = call.wait_for_end().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    let record = record(&gateway, &report.call_sid);
    assert_eq!(record["end_reason"], "the far end was transferred");
    peer.wait_for_state(at_peer, CallState::Ended, in_time())
        .unwrap();
    end(gateway);
}

#[test]
fn the_far_end_transfers_the_caller() {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.media.push(config.media[0].clone());
    });
    let gateway = SipSetup::new(&peer, AudioCodec::Pcmu).start();
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    // Whom the caller is sent to has another socket for his media.
    let change = SdpChange {
        media: Some(1),
        ..SdpChange::default()
    };
    let mut answer = Response::ok();
    answer.body = Body::Sdp(change);
    peer.set_script(vec![
        Action::Respond(Response::ringing()),
        Action::Respond(answer),
    ]);
    peer.send(at_peer, Request::refer("sip:+15550188@127.0.0.1"));
    let second = peer.wait_for_incoming(1, in_time()).unwrap();
    let view = peer
        .wait_for_state(second, CallState::Answered, in_time())
        .unwrap();
    assert!(view.request_uri.starts_with("sip:+15550188@"), "{view:?}");
    peer.wait_for_message("the last NOTIFY", in_time(), |message| {
        message.is("NOTIFY") && message.to_string().contains("SIP/2.0 200 OK")
    })
    .unwrap();
    peer.wait_for_state(at_peer, CallState::Ended, in_time())
        .unwrap();
    let source = view.remote_rtp.unwrap();
    let alpha = opening(speech::alpha(), OPENING_S);
    let bravo = opening(speech::bravo(), OPENING_S);
    talk(
        &call,
        peer.media_at(1),
        source,
        (&alpha, &bravo),
        Bar::OpusClean,
    );
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    assert!(
        peer.wait_for_state(second, CallState::Ended, in_time())
            .unwrap()
            .ended_by_other
    );
    end(gateway);
}
