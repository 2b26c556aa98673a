//! The light client and the plain RTP far end against the real gateway: every step of a call, heard and told.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use loadtest::judge::{Bar, Playback, Question, judge};
use loadtest::media::AudioCodec;
use loadtest::rtp_peer::{RtpPeer, RtpPeerConfig};
use loadtest::signalling::ServerMessage;
use loadtest::webrtc_client::{CallPlan, CallReport, DtlsChoice, WebRtcCall, call};
use loadtest::{speech, webrtc_client};
use server::call::EventType::{
    self, ChannelAnswer, ChannelCreate, ChannelHangupComplete, ChannelHold, ChannelResume,
};

const PLAIN_CALL: [EventType; 3] = [ChannelCreate, ChannelAnswer, ChannelHangupComplete];

fn in_s(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// The page and `/v1/events` tell the same events, in this order.
#[track_caller]
fn assert_events(gateway: &Gateway, report: &CallReport, expected: &[EventType]) {
    let told: Vec<EventType> = report.events.iter().map(|event| event.event_type).collect();
    assert_eq!(told, expected, "{:?}", report.events);
    gateway.wait_for_events(in_s(5), |events| {
        let of_call = |event: &&server::call::CallEvent| event.call_sid.as_str() == report.call_sid;
        (events.iter().filter(of_call).count() >= expected.len()).then_some(())
    });
    assert_eq!(gateway.event_types(&report.call_sid), expected);
}

#[test]
fn an_echo_is_heard_in_every_codec_and_dtls_version() {
    let gateway = Gateway::start(&GatewaySetup::new(ECHO_TENANT)).unwrap();
    let calls = [
        (AudioCodec::Opus, "echo", DtlsChoice::Only13, Bar::OpusClean),
        (
            AudioCodec::Opus,
            "echo-opus",
            DtlsChoice::Auto,
            Bar::OpusClean,
        ),
        (AudioCodec::Pcmu, "echo", DtlsChoice::Only12, Bar::PcmuToRtp),
        (
            AudioCodec::Pcma,
            "echo-same",
            DtlsChoice::Auto,
            Bar::PcmuToRtp,
        ),
    ];
    std::thread::scope(|scope| {
        for (codec, trunk, dtls, bar) in calls {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut plan = gateway.call_plan("acme").unwrap();
                plan.codec = codec;
                plan.dtls = dtls;
                plan.trunk_id = Some(trunk.to_owned());
                let report = call(&plan).unwrap();
                let verdict = report.verdict(&plan.speech, bar).unwrap();
                println!(
                    "{codec:?} to {trunk}: {verdict}; set-up {:.0} ms; {:?}",
                    report.setup_ms, report.media
                );
                assert!(verdict.pass, "{codec:?} to {trunk}: {verdict}");
                assert_eq!(report.recording.statistics.lost, 0);
                assert_events(gateway, &report, &PLAIN_CALL);
            });
        }
    });
    gateway.assert_drained();
    assert!(gateway.stop().unwrap().success());
}

/// A gateway with one RTP trunk to `peer`.
fn gateway_to(peer: &RtpPeer, codec: AudioCodec, rtcp_mux: bool, webrtc_lines: &str) -> Gateway {
    let trunks = format!(
        "[[tenants]]\ntenant_id = \"acme\"\n[tenants.browser]\norigins = []\n[[tenants.routes]]\nvendor = \"browser\"\n\
         trunk_id = \"far\"\n[[trunks]]\ntrunk_id = \"far\"\ntenant_id = \"acme\"\nkind = \"rtp\"\nremote = \"{}\"\n\
         rtcp_mux = {rtcp_mux}\ncodec_preferences = [\"{}\"]\n",
        peer.local_addr(),
        codec.name().to_uppercase(),
    );
    let mut setup = GatewaySetup::new(&trunks);
    webrtc_lines.clone_into(&mut setup.webrtc_lines);
    Gateway::start(&setup).unwrap()
}

fn far_end(codec: AudioCodec, rtcp_mux: bool) -> RtpPeer {
    let config = RtpPeerConfig {
        rtcp_mux,
        ..RtpPeerConfig::new(Ipv4Addr::LOCALHOST.into(), codec)
    };
    RtpPeer::start(config).unwrap()
}

/// Both sides speak at once; what each says is judged at the other.
fn talk(gateway: &Gateway, peer: &RtpPeer, plan: &CallPlan, bar: Bar) -> CallReport {
    let call = WebRtcCall::dial(plan).unwrap();
    let source = peer.wait_for_source(0, in_s(5)).unwrap();
    let (said, answered) = (speech::alpha(), speech::bravo());
    call.speak(&said, Playback::Once);
    peer.speak(source, &answered, Playback::Once).unwrap();
    call.wait_until_spoken(in_s(20)).unwrap();
    std::thread::sleep(Duration::from_millis(600));

    let heard = peer.recording(source).unwrap();
    let question = Question::new(bar).spoken_at_ms(heard.at_ms(call.spoken_at().unwrap()));
    let verdict = judge(&said, &heard.audio, &question).unwrap();
    println!("caller to far end: {verdict}");
    assert!(verdict.pass, "caller to far end: {verdict}");

    let heard = call.recording().unwrap();
    let question =
        Question::new(bar).spoken_at_ms(heard.at_ms(peer.spoken_at(source).unwrap().unwrap()));
    let verdict = judge(&answered, &heard.audio, &question).unwrap();
    println!("far end to caller: {verdict}");
    assert!(verdict.pass, "far end to caller: {verdict}");

    let rtcp = peer.rtcp(source).unwrap();
    assert!(
        !rtcp.sender_reports.is_empty() && rtcp.malformed == 0,
        "{rtcp:?}"
    );
    assert_eq!(
        gateway.metrics().unwrap().sum("clutchcall_media_ports"),
        1.0,
        "one port per call"
    );
    let report = call.hang_up().unwrap();
    peer.wait_for_goodbye(source, in_s(5)).unwrap();
    report
}

#[test]
fn opus_at_the_caller_over_ipv6_and_pcmu_at_the_far_end_over_ipv4() {
    let peer = far_end(AudioCodec::Pcmu, false);
    let gateway = gateway_to(
        &peer,
        AudioCodec::Pcmu,
        false,
        "advertised_ips = [\"::1\"]\n",
    );
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.local_ips = vec![Ipv6Addr::LOCALHOST.into()];
    let report = talk(&gateway, &peer, &plan, Bar::OpusClean);
    assert_events(&gateway, &report, &PLAIN_CALL);
    gateway.assert_drained();
}

#[test]
fn pcmu_passes_through_to_the_far_end() {
    let peer = far_end(AudioCodec::Pcmu, true);
    let gateway = gateway_to(
        &peer,
        AudioCodec::Pcmu,
        true,
        "advertised_ips = [\"127.0.0.1\"]\n",
    );
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.codec = AudioCodec::Pcmu;
    let report = talk(&gateway, &peer, &plan, Bar::PcmuToRtp);
    assert_events(&gateway, &report, &PLAIN_CALL);
    gateway.assert_drained();
}

#[test]
fn digits_arrive_once_in_the_clock_of_each_side() {
    let peer = far_end(AudioCodec::Pcmu, false);
    let gateway = gateway_to(
        &peer,
        AudioCodec::Pcmu,
        false,
        "advertised_ips = [\"127.0.0.1\"]\n",
    );
    let plan = gateway.call_plan("acme").unwrap();
    let call = WebRtcCall::dial(&plan).unwrap();
    let source = peer.wait_for_source(0, in_s(5)).unwrap();

    call.send_digits("12#", 100).unwrap();
    let events = peer.wait_for_digits(source, 3, in_s(5)).unwrap();
    assert_eq!(
        events.iter().map(|event| event.digit).collect::<String>(),
        "12#"
    );
    call.send_digits_by_message("9A", 160);
    let events = peer.wait_for_digits(source, 5, in_s(5)).unwrap();
    assert_eq!(
        events.iter().map(|event| event.digit).collect::<String>(),
        "12#9A"
    );
    for event in &events {
        // 8 kHz: 100 ms are 800, 160 ms are 1280; a gateway may add one packet.
        let expected = if "9A".contains(event.digit) {
            1_280
        } else {
            800
        };
        assert!(
            event.duration >= expected && event.duration <= expected + 160,
            "{events:?}"
        );
    }

    for marker in [true, false] {
        peer.send_digits(source, "5*", 100, marker).unwrap();
    }
    let digits = call
        .signalling()
        .wait_for("four digits", in_s(5), |received| {
            let digit = |received: &loadtest::signalling::Received| match &received.message {
                ServerMessage::Dtmf { digit, duration_ms } => Some((digit.clone(), *duration_ms)),
                _ => None,
            };
            let digits: Vec<(String, u32)> = received.iter().filter_map(digit).collect();
            (digits.len() >= 4).then_some(digits)
        });
    let digits = digits.unwrap();
    assert_eq!(
        digits
            .iter()
            .map(|(digit, _)| digit.as_str())
            .collect::<String>(),
        "5*5*"
    );
    assert!(
        digits
            .iter()
            .all(|(_, duration_ms)| (80..=140).contains(duration_ms)),
        "{digits:?}"
    );
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &PLAIN_CALL);
    gateway.assert_drained();
}

#[test]
fn hold_silences_the_far_end_and_resume_brings_it_back() {
    let peer = far_end(AudioCodec::Pcmu, false);
    let gateway = gateway_to(
        &peer,
        AudioCodec::Pcmu,
        false,
        "advertised_ips = [\"127.0.0.1\"]\n",
    );
    let plan = gateway.call_plan("acme").unwrap();
    let call = WebRtcCall::dial(&plan).unwrap();
    let source = peer.wait_for_source(0, in_s(5)).unwrap();
    peer.speak(source, &speech::bravo(), Playback::Looped)
        .unwrap();
    call.speak(&speech::alpha(), Playback::Looped);

    let level_after = |from: Instant| {
        std::thread::sleep(Duration::from_millis(1_200));
        let heard = call.recording().unwrap();
        let begin = (heard.at_ms(from).max(0.0) * 48.0) as usize;
        let samples = heard
            .audio
            .samples
            .get(begin..)
            .unwrap_or_default()
            .to_vec();
        loadtest::audio::Audio {
            samples,
            ..heard.audio
        }
        .level_dbov()
    };
    assert!(level_after(Instant::now()) > -40.0);
    call.hold().unwrap();
    let held = Instant::now() + Duration::from_millis(200);
    assert!(level_after(held) < -60.0);
    call.unhold().unwrap();
    assert!(level_after(Instant::now()) > -40.0);
    call.hold_by_offer(true).unwrap();
    call.wait_for_event(ChannelHold, 2).unwrap();
    call.hold_by_offer(false).unwrap();
    call.wait_for_event(ChannelResume, 2).unwrap();
    assert!(level_after(Instant::now()) > -40.0);

    // The far end hangs up.
    peer.hang_up(source).unwrap();
    let report = call.wait_for_end().unwrap();
    let expected = [
        ChannelCreate,
        ChannelAnswer,
        ChannelHold,
        ChannelResume,
        ChannelHold,
        ChannelResume,
        ChannelHangupComplete,
    ];
    assert_events(&gateway, &report, &expected);
    gateway.assert_drained();
}

#[test]
fn a_page_that_vanishes_leaves_nothing() {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.server_lines = "signal_grace_ms = 1000\n".to_owned();
    let gateway = Gateway::start(&setup).unwrap();
    let call = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();
    let call_sid = call.call_sid().to_owned();
    call.vanish();
    let ended = gateway.wait_for_events(in_s(10), |events| {
        events
            .iter()
            .find(|event| event.event_type == ChannelHangupComplete)
            .map(|event| event.call_sid.to_string())
    });
    assert_eq!(ended, Some(call_sid));
    gateway.assert_drained();
}

#[test]
fn refusals_have_their_reason() {
    let gateway = Gateway::start(&GatewaySetup::new(ECHO_TENANT)).unwrap();
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.trunk_id = Some("nobodys".to_owned());
    let refused = call(&plan).unwrap_err();
    assert!(
        matches!(&refused, webrtc_client::CallError::Refused { fault, .. } if fault == "caller"),
        "{refused}"
    );
    // The token was used.
    let replayed = call(&plan).unwrap_err();
    assert!(replayed.to_string().contains("4406"), "{replayed}");
    gateway.assert_drained();
}
