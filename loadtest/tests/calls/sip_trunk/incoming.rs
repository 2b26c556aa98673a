//! Calls that come over the trunk: to a page that takes, refuses or leaves them, to the echo, to nobody, by each inbound rule.

use std::time::Instant;

use super::*;
use loadtest::sip_peer::{CallView, Request};
use server::call::{CallEvent, EventType};

/// Waits until so many pages can be called.
pub(crate) fn wait_until_waiting(gateway: &Gateway, count: u32) {
    let deadline = in_time();
    loop {
        let waiting = gateway
            .metrics()
            .unwrap()
            .sum("clutchcall_waiting_sessions");
        if waiting == f64::from(count) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{waiting} pages wait, not {count}"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The end of the only call that the gateway has had.
fn only_end(gateway: &Gateway) -> CallEvent {
    let found = gateway.wait_for_events(in_time(), |events| {
        events
            .iter()
            .find(|event| event.event_type == EventType::ChannelHangupComplete)
            .cloned()
    });
    let end = found.expect("a final event");
    let types = gateway.event_types(end.call_sid.to_string().as_str());
    assert_eq!(
        types,
        [EventType::ChannelCreate, EventType::ChannelHangupComplete]
    );
    end
}

fn refused(peer: &SipPeer, setup: &SipSetup, number: &str) -> CallView {
    let call = peer.call(OutgoingCall::new(&setup.uri(number)));
    peer.wait_for_state(call, CallState::Ended, in_time())
        .unwrap()
}

#[test]
fn a_page_refuses_with_its_own_cause() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.inbound = TO_A_PAGE.to_owned();
    let gateway = setup.start();
    let mut page = WebRtcCall::connect(&plan(&gateway, AudioCodec::Opus)).unwrap();
    wait_until_waiting(&gateway, 1);
    let call = peer.call(OutgoingCall::new(&setup.uri("1")));
    let call_sid = page.wait_for_incoming(|_, _| {}).unwrap();
    page.reject(&call_sid, Some(17));
    let view = peer
        .wait_for_state(call, CallState::Ended, in_time())
        .unwrap();
    assert_eq!(view.statuses, [180, 486]);
    assert_eq!(only_end(&gateway).q850_cause, 17);
    drop(page);
    end(gateway);
}

#[test]
fn a_caller_who_gives_up_is_told_to_the_page() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.inbound = TO_A_PAGE.to_owned();
    let gateway = setup.start();
    let page = WebRtcCall::connect(&plan(&gateway, AudioCodec::Opus)).unwrap();
    wait_until_waiting(&gateway, 1);
    let call = peer.call(OutgoingCall::new(&setup.uri("1")));
    page.wait_for_incoming(|_, _| {}).unwrap();
    peer.send(call, Request::cancel());
    let view = peer
        .wait_for_state(call, CallState::Ended, in_time())
        .unwrap();
    assert_eq!(view.statuses, [180, 487]);
    let report = page.wait_for_end().unwrap();
    assert_eq!(report.events.last().unwrap().q850_cause, 16);
    only_end(&gateway);
    end(gateway);
}

#[test]
fn without_a_waiting_page_the_caller_hears_480() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.inbound = TO_A_PAGE.to_owned();
    let gateway = setup.start();
    assert_eq!(refused(&peer, &setup, "1").statuses, [480]);
    assert_eq!(only_end(&gateway).q850_cause, 18);
    end(gateway);
}

#[test]
fn a_number_without_a_route_is_rejected_with_the_trunks_code() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.trunk_lines = "reject_sip_code = 404\n".to_owned();
    let gateway = setup.start();
    assert_eq!(refused(&peer, &setup, "1").statuses, [404]);
    assert_eq!(only_end(&gateway).q850_cause, 21);
    end(gateway);
}

#[test]
fn the_echo_plays_the_caller_back() {
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.inbound =
        "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"+1555*\"\ntarget = \"echo\"\n"
            .to_owned();
    let gateway = setup.start();
    let call = peer.call(OutgoingCall::new(&setup.uri("+15550100")));
    peer.wait_for_state(call, CallState::Answered, in_time())
        .unwrap();
    let source = peer
        .wait_for(call, "the SDP", in_time(), |call| call.remote_rtp)
        .unwrap();
    let alpha = opening(speech::alpha(), OPENING_S);
    peer.rtp()
        .speak(source, &alpha, loadtest::judge::Playback::Once)
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(
        alpha.duration_ms() as u64 + 600,
    ));
    let heard = peer.rtp().recording(source).unwrap();
    let spoken_at = peer.rtp().spoken_at(source).unwrap().unwrap();
    let question =
        loadtest::judge::Question::new(Bar::PcmuToRtp).spoken_at_ms(heard.at_ms(spoken_at));
    let verdict = loadtest::judge::judge(&alpha, &heard.audio, &question).unwrap();
    assert!(verdict.pass, "{verdict}");
    peer.hang_up(call);
    let found = gateway.wait_for_events(in_time(), |events| {
        (events.len() == 3).then(|| events.to_vec())
    });
    let events = found.expect("three events");
    let types: Vec<EventType> = events.iter().map(|event| event.event_type).collect();
    assert_eq!(types, WHOLE_CALL);
    end(gateway);
}

/// What is played, as a file, and what is heard of it by who calls: the answer, then the announcement, then the end.
#[test]
fn a_recording_is_played_and_then_the_call_ends() {
    let peer = far_end(AudioCodec::Pcmu);
    let folder = tempfile::tempdir().unwrap();
    let alpha = opening(speech::alpha(), OPENING_S).resampled(8_000);
    let file = folder.path().join("closed.wav");
    alpha.write_wav(&file).unwrap();
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.trunk_lines = format!(
        "inbound_rule = 1\ninbound_audio_url = \"{}\"\n",
        file.display()
    );
    let gateway = setup.start();
    let call = peer.call(OutgoingCall::new(&setup.uri("1")));
    let view = peer
        .wait_for_state(call, CallState::Answered, in_time())
        .unwrap();
    let source = view.remote_rtp.unwrap();
    let ended = peer
        .wait_for_state(call, CallState::Ended, in_time())
        .unwrap();
    assert!(ended.ended_by_other);
    let heard = peer.rtp().recording(source).unwrap();
    let question = loadtest::judge::Question::new(Bar::PcmuToRtp);
    let verdict = loadtest::judge::judge(&alpha, &heard.audio, &question).unwrap();
    assert!(verdict.pass, "{verdict}");
    let events = gateway.wait_for_events(in_time(), |events| {
        (events.len() == 3).then(|| events.to_vec())
    });
    assert_eq!(events.expect("three events")[2].q850_cause, 16);
    end(gateway);
}

/// A web server that is told of a call, and a far end that is refused.
#[test]
fn a_webhook_is_told_and_the_call_refused() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = String::new();
        let mut part = [0; 4096];
        while !text.contains("timestamp_ms") {
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "cut off: {text}");
            text.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
        text
    });
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.trunk_lines =
        format!("inbound_rule = 2\ninbound_webhook_url = \"http://127.0.0.1:{port}/calls?a=b\"\n");
    let gateway = setup.start();
    assert_eq!(refused(&peer, &setup, "+15550123").statuses, [480]);
    let text = told.join().unwrap();
    assert!(text.starts_with("POST /calls?a=b HTTP/1.1\r\n"), "{text}");
    assert!(
        text.contains("\"to\":\"+15550123\"") && text.contains("\"event\":\"incoming_call\""),
        "{text}"
    );
    only_end(&gateway);
    end(gateway);
}

#[test]
fn a_recording_is_heard_before_the_refusal() {
    let peer = far_end(AudioCodec::Pcmu);
    let folder = tempfile::tempdir().unwrap();
    let alpha = opening(speech::alpha(), 2).resampled(8_000);
    let file = folder.path().join("no.wav");
    alpha.write_wav(&file).unwrap();
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.trunk_lines = format!("reject_audio_file = \"{}\"\n", file.display());
    let gateway = setup.start();
    let call = peer.call(OutgoingCall::new(&setup.uri("1")));
    let view = peer
        .wait_for_state(call, CallState::Ended, in_time())
        .unwrap();
    assert_eq!(view.statuses, [183, 603]);
    let heard = peer.rtp().recording(view.remote_rtp.unwrap()).unwrap();
    assert!(heard.audio.duration_ms() > 1_500.0);
    assert_eq!(only_end(&gateway).q850_cause, 21);
    end(gateway);
}
