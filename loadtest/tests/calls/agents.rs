//! An AI agent behind a trunk of kind "websocket": whoever calls, it hears and is heard, and what it asks for is done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod failures;
mod pcm16;
mod pipecat;

use std::time::{Duration, Instant};

use loadtest::judge::{Bar, Playback};
use loadtest::media::AudioCodec;
use loadtest::sip_peer::{CallState, OutgoingCall};
use loadtest::speech;
use loadtest::stream_peer::{AudioWire, ServiceConfig, StreamService};
use loadtest::webrtc_client::WebRtcCall;
use serde_json::json;

use crate::rtp_trunk::{OPENING_S, end, in_time, opening};
use crate::sip_trunk::far_end;
use crate::streams::*;

/// A bot as those that Twilio calls.
fn twilio_bot() -> (StreamService, String) {
    let service = StreamService::start(ServiceConfig::new(AudioWire::TwilioBot)).unwrap();
    let url = format!("ws://{}/media", service.local_addr());
    (service, url)
}

#[test]
fn twilio_and_a_bot_hear_each_other_untouched() {
    let (service, url) = twilio_bot();
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.route_to_agent(&url, "");
    let gateway = setup.start();
    let twilio = Twilio::start(&gateway, &[("client_id", "crm-17")]);
    let bot = service.wait_for_stream(0, in_time()).unwrap();
    let start = bot.wait_for_kind("start", in_time()).unwrap().message;
    assert_eq!(bot.messages()[0].message["event"], "connected");
    assert_eq!(start["sequenceNumber"], "1");
    let format = json!({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1});
    assert_eq!(start["start"]["mediaFormat"], format);
    assert_eq!(start["start"]["tracks"], json!(["inbound"]));
    assert_eq!(
        start["start"]["customParameters"]["to"], NUMBER,
        "{start:#}"
    );
    // Another stream of another call than Twilio's own.
    for (name, prefix) in [("streamSid", "MZ"), ("callSid", "CA"), ("accountSid", "AC")] {
        let sid = start["start"][name].as_str().unwrap();
        assert!(sid.starts_with(prefix) && sid.len() == 34, "{name} {sid}");
    }
    assert_ne!(start["streamSid"], twilio.ids.stream_sid);

    bot.set_sending(true);
    let (alpha, bravo) = (
        opening(speech::alpha(), OPENING_S),
        opening(speech::bravo(), OPENING_S),
    );
    twilio.peer.speak(&alpha);
    bot.speak(&bravo);
    std::thread::sleep(Duration::from_secs(OPENING_S as u64));
    twilio.peer.wait_until_spoken(in_time()).unwrap();
    bot.wait_until_spoken(in_time()).unwrap();
    std::thread::sleep(TAIL);
    let at_bot = verdict(
        &alpha,
        twilio.peer.spoken_at(),
        &bot.recording(),
        Bar::PcmuToRtp,
    );
    let at_twilio = verdict(
        &bravo,
        bot.spoken_at(),
        &twilio.peer.recording(),
        Bar::PcmuToRtp,
    );
    println!("at the bot: {at_bot}\nat Twilio: {at_twilio}");
    assert!(at_bot.pass && at_twilio.pass, "{at_bot}; {at_twilio}");

    twilio.peer.stop();
    let stop = bot.wait_for_kind("stop", in_time()).unwrap().message;
    assert_eq!(stop["stop"]["callSid"], start["start"]["callSid"]);
    assert_eq!(bot.wait_for_end(in_time()).unwrap().code, 1000);
    let (event, record) = whole_call(&gateway);
    assert_eq!(event.q850_cause, 16);
    assert_eq!(plans(&record), ["PCMU passthrough"; 2]);
    end(gateway);
}

/// The bot's marks and its `clear` reach Twilio, whose player is what the caller hears.
#[test]
fn a_bots_marks_and_clear_go_through_to_twilio() {
    let (service, url) = twilio_bot();
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.route_to_agent(&url, "");
    let gateway = setup.start();
    let twilio = Twilio::start(&gateway, &[]);
    let bot = service.wait_for_stream(0, in_time()).unwrap();
    bot.wait_for_kind("start", in_time()).unwrap();
    bot.wait_for_frames(10, in_time()).unwrap();

    // A second of speech and a mark: it comes back when Twilio has played the second, and not before.
    let began = Instant::now();
    bot.speak_at_once(&opening(speech::alpha(), 1), 160);
    bot.send_event("mark", Some(("mark", json!({"name": "first"}))));
    let mark = bot.wait_for_kind("mark", in_time()).unwrap();
    assert_eq!(mark.message["mark"]["name"], "first");
    let after = mark.at - began;
    println!("the mark came back after {after:?}");
    assert!(
        (Duration::from_millis(950)..Duration::from_millis(1_500)).contains(&after),
        "{after:?}"
    );

    // Ten seconds and a mark, then the caller talks over them.
    let mut long = speech::alpha();
    long.samples.extend(speech::bravo().samples);
    bot.speak_at_once(&long, 160);
    bot.send_event("mark", Some(("mark", json!({"name": "second"}))));
    std::thread::sleep(Duration::from_millis(1_500));
    let cleared = Instant::now();
    bot.send_event("clear", None);
    let mark = bot.wait_for("the second mark", in_time(), |messages| {
        let mut marks = messages
            .iter()
            .filter(|seen| seen.message["event"] == "mark");
        marks.nth(1).cloned()
    });
    let mark = mark.unwrap();
    assert_eq!(mark.message["mark"]["name"], "second");
    assert!(
        mark.at - cleared < Duration::from_millis(300),
        "{:?}",
        mark.at - cleared
    );
    twilio.peer.wait_for_kind("clear", in_time()).unwrap();
    std::thread::sleep(TAIL);
    let last = last_sound(&twilio.peer.recording()).unwrap();
    let heard_for = last.saturating_duration_since(cleared);
    println!("heard until {heard_for:?} after the clear");
    assert!(heard_for < Duration::from_millis(60), "{heard_for:?}");
    assert!(
        last > cleared - Duration::from_millis(300),
        "it had ended before"
    );

    bot.close(1000);
    assert_eq!(twilio.peer.wait_for_end(in_time()).unwrap().code, 1000);
    assert_eq!(whole_call(&gateway).0.q850_cause, 16);
    end(gateway);
}

#[test]
fn a_browser_on_opus_and_a_bot_hear_each_other() {
    let (service, url) = twilio_bot();
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.route_to_agent(&url, "");
    let gateway = setup.start();
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.codec = AudioCodec::Opus;
    plan.to = NUMBER.to_owned();
    let call = WebRtcCall::dial(&plan).unwrap();
    let bot = service.wait_for_stream(0, in_time()).unwrap();
    bot.wait_for_kind("start", in_time()).unwrap();
    bot.set_sending(true);
    let (alpha, bravo) = (
        opening(speech::alpha(), OPENING_S),
        opening(speech::bravo(), OPENING_S),
    );
    call.speak(&alpha, Playback::Once);
    bot.speak(&bravo);
    call.wait_until_spoken(in_time()).unwrap();
    bot.wait_until_spoken(in_time()).unwrap();
    std::thread::sleep(TAIL);
    let at_bot = verdict(&alpha, call.spoken_at(), &bot.recording(), Bar::OpusClean);
    let heard = call.recording().unwrap();
    let at_browser = verdict(&bravo, bot.spoken_at(), &heard, Bar::OpusClean);
    println!("at the bot: {at_bot}\nat the browser: {at_browser}");
    assert!(at_bot.pass && at_browser.pass, "{at_bot}; {at_browser}");
    call.send_digits("4", 120).unwrap();
    let digit = bot.wait_for_kind("dtmf", in_time()).unwrap().message;
    assert_eq!(digit["dtmf"]["digit"], "4", "{digit}");
    call.hang_up().unwrap();
    bot.wait_for_kind("stop", in_time()).unwrap();
    whole_call(&gateway);
    end(gateway);
}

/// `inbound_rule = 3`: the carrier's own agent takes every call that no route takes.
#[test]
fn a_sip_trunk_hands_its_calls_to_its_agent() {
    let (service, url) = twilio_bot();
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.carrier_lines = format!("inbound_rule = 3\ninbound_ai_websocket_url = \"{url}\"\n");
    let gateway = setup.start();
    let call = carrier.call(OutgoingCall::new(&setup.uri("+15550123")));
    carrier
        .wait_for_state(call, CallState::Answered, in_time())
        .unwrap();
    let bot = service.wait_for_stream(0, in_time()).unwrap();
    let start = bot.wait_for_kind("start", in_time()).unwrap().message;
    let parameters = &start["start"]["customParameters"];
    assert_eq!(parameters["to"], "+15550123", "{start:#}");
    bot.set_sending(true);
    let source = carrier.view(call).remote_rtp.unwrap();
    carrier.rtp().wait_for_source(0, in_time()).unwrap();
    let ends = Ends {
        stream: &bot,
        rtp: carrier.rtp(),
        source,
    };
    ends.talk(
        &opening(speech::alpha(), OPENING_S),
        &opening(speech::bravo(), OPENING_S),
        Bar::PcmuToRtp,
    );
    carrier.rtp().send_digits(source, "7", 120, true).unwrap();
    let digit = bot.wait_for_kind("dtmf", in_time()).unwrap().message;
    assert_eq!(digit["dtmf"]["digit"], "7", "{digit}");
    bot.close(1000);
    let view = carrier.wait_for_state(call, CallState::Ended, in_time());
    assert!(view.unwrap().ended_by_other);
    assert_eq!(whole_call(&gateway).0.q850_cause, 16);
    end(gateway);
}
