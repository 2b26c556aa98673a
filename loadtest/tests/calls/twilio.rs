//! Twilio dials the gateway: our own Twilio side, signed by Twilio's own library where that matters, calls over SIP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod delay;
mod digits;
mod endings;
mod signatures;
mod tokens;

use loadtest::judge::Bar;
use loadtest::media::AudioCodec;
use loadtest::sip_peer::CallState;
use loadtest::speech;
use loadtest::stream_peer::PcmFormat;
use serde_json::json;

use crate::rtp_trunk::{OPENING_S, end, in_time, opening};
use crate::sip_trunk::far_end;
use crate::streams::*;

/// Are these frames among those that were heard, all of them, in order and without another between them?
#[track_caller]
fn assert_untouched(whose: &str, said: &[Vec<u8>], heard: &[Vec<u8>]) {
    let frame_bytes = PcmFormat::Mulaw.frame_bytes();
    assert!(
        heard.iter().all(|frame| frame.len() == frame_bytes),
        "{whose}"
    );
    let longest = (0..heard.len())
        .map(|from| {
            let pairs = said.iter().zip(&heard[from..]);
            pairs.take_while(|(said, heard)| said == heard).count()
        })
        .max();
    println!(
        "{whose}: {longest:?} of {} frames in a row are as they were said",
        said.len()
    );
    assert_eq!(longest, Some(said.len()), "{whose}");
}

#[test]
fn both_hear_each_other_and_no_byte_is_touched() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::start(&gateway, &[("client_id", "crm-17")]);
    let (call, source) = answered(&carrier, 0);
    let view = carrier.view(call);
    assert!(
        view.request_uri.starts_with(&format!("sip:{NUMBER}@")),
        "{view:?}"
    );
    let (alpha, bravo) = (
        opening(speech::alpha(), OPENING_S),
        opening(speech::bravo(), OPENING_S),
    );
    let ends = Ends {
        stream: &twilio.peer,
        rtp: carrier.rtp(),
        source,
    };
    ends.talk(&alpha, &bravo, Bar::PcmuToRtp);

    let at_carrier = carrier.rtp().audio_packets(source).unwrap();
    let at_carrier: Vec<Vec<u8>> = at_carrier.into_iter().map(|p| p.payload).collect();
    assert_untouched(
        "at the carrier",
        &PcmFormat::Mulaw.encode(&alpha),
        &at_carrier,
    );
    let at_twilio = twilio.peer.frames();
    let at_twilio: Vec<Vec<u8>> = at_twilio.into_iter().map(|frame| frame.bytes).collect();
    assert_untouched("at Twilio", &PcmFormat::Mulaw.encode(&bravo), &at_twilio);

    twilio.peer.stop();
    let ended = carrier.wait_for_state(call, CallState::Ended, in_time());
    assert!(ended.unwrap().ended_by_other);
    let (event, record) = whole_call(&gateway);
    assert_eq!(event.q850_cause, 16);
    assert_eq!(event.client_id, "crm-17");
    assert_eq!(plans(&record), ["PCMU passthrough"; 2], "{record:#}");
    end(gateway);
}

#[test]
fn the_parameters_name_another_number_and_trunk() {
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.trunks =
        "[[trunks]]\ntrunk_id = \"echo\"\ntenant_id = \"acme\"\nkind = \"echo\"\n".to_owned();
    setup.route_trunk_id = "echo".to_owned();
    let gateway = setup.start();
    let parameters = [("to", "+15550142"), ("trunk_id", "carrier")];
    let twilio = Twilio::start(&gateway, &parameters);
    let (call, _) = answered(&carrier, 0);
    let view = carrier.view(call);
    assert!(view.request_uri.starts_with("sip:+15550142@"), "{view:?}");
    twilio.peer.stop();
    assert_eq!(whole_call(&gateway).0.trunk_id.as_str(), "carrier");
    end(gateway);
}

#[test]
fn a_carrier_on_opus_is_transcoded() {
    let carrier = far_end(AudioCodec::Opus);
    let mut setup = StreamSetup::new(&carrier);
    setup.codecs = "\"OPUS\"".to_owned();
    let gateway = setup.start();
    let twilio = Twilio::start(&gateway, &[]);
    let (_, source) = answered(&carrier, 0);
    let ends = Ends {
        stream: &twilio.peer,
        rtp: carrier.rtp(),
        source,
    };
    ends.talk(
        &opening(speech::alpha(), OPENING_S),
        &opening(speech::bravo(), OPENING_S),
        Bar::OpusClean,
    );
    twilio.peer.stop();
    assert_eq!(
        plans(&whole_call(&gateway).1),
        ["PCMU>pcm8k>opus", "opus>pcm8k>PCMU"]
    );
    end(gateway);
}

/// `<Start><Stream>` with both tracks: Twilio lets nothing be sent on it, and ends a stream on which something is.
#[test]
fn a_stream_that_forks_the_call_is_only_listened_to() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::connect(&gateway);
    twilio
        .peer
        .send(&loadtest::stream_peer::TwilioIds::connected());
    let mut start = twilio.ids.start(&[]);
    start["start"]["tracks"] = json!(["inbound", "outbound"]);
    twilio.peer.send(&start);
    twilio.peer.set_sending(true);
    let (call, source) = answered(&carrier, 0);
    let alpha = opening(speech::alpha(), OPENING_S);
    twilio.peer.speak(&alpha);
    let bravo = opening(speech::bravo(), OPENING_S);
    carrier
        .rtp()
        .speak(source, &bravo, loadtest::judge::Playback::Once)
        .unwrap();
    twilio.peer.wait_until_spoken(in_time()).unwrap();
    std::thread::sleep(TAIL);
    let heard = carrier.rtp().recording(source).unwrap();
    let heard = verdict(&alpha, twilio.peer.spoken_at(), &heard, Bar::PcmuToRtp);
    assert!(heard.pass, "{heard}");
    let sent_back = (twilio.peer.frames().len(), twilio.peer.messages());
    assert_eq!(sent_back, (0, Vec::new()), "something was sent on it");
    twilio.peer.stop();
    carrier
        .wait_for_state(call, CallState::Ended, in_time())
        .unwrap();
    whole_call(&gateway);
    end(gateway);
}
