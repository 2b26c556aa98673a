//! Both ends of a stream, against each other.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;

use super::*;
use crate::judge::{Bar, Question, judge};
use crate::speech;

fn in_time() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// A service behind TLS, and how it is dialled.
fn service(
    wire: AudioWire,
    answer: fn(&HttpRequest) -> Reply,
) -> (StreamService, StreamConnect, tempfile::TempDir) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cert.pem");
    std::fs::write(&file, certified.cert.pem()).unwrap();
    let service = StreamService::start(ServiceConfig {
        wire,
        tls: Some(Arc::new(tls)),
        answer: Box::new(answer),
    })
    .unwrap();
    let connect = StreamConnect {
        url: format!("wss://localhost:{}/media", service.local_addr().port()),
        trust: Trust::CertificateFile(file),
        headers: vec![("X-Twilio-Signature".to_owned(), "abc".to_owned())],
    };
    (service, connect, directory)
}

#[test]
fn twilio_and_a_bot_hear_each_other() {
    let ids = TwilioIds::new("AC00000000000000000000000000000001");
    let (service, connect, _directory) = service(AudioWire::TwilioBot, |_| Reply::Upgrade);
    let twilio = StreamPeer::connect(&connect, AudioWire::Twilio(ids.clone())).unwrap();
    let upgrade = service.wait_for_request(0, in_time()).unwrap();
    assert!(upgrade.is_upgrade());
    assert_eq!(upgrade.header("x-twilio-signature"), Some("abc"));
    twilio.send(&TwilioIds::connected());
    twilio.send(&ids.start(&[("to", "+1")]));
    let bot = service.wait_for_stream(0, in_time()).unwrap();
    bot.wait_for_kind("start", in_time()).unwrap();
    let mut alpha = speech::alpha();
    alpha.samples.truncate(alpha.sample_rate_hz as usize * 2);
    twilio.speak(&alpha);
    twilio.wait_until_spoken(in_time()).unwrap();
    bot.wait_for_frames(100, in_time()).unwrap();
    let heard = bot.recording();
    let spoken_at = twilio.spoken_at().unwrap();
    let question = Question::new(Bar::PcmuToRtp).spoken_at_ms(heard.at_ms(spoken_at));
    let verdict = judge(&alpha, &heard.audio, &question).unwrap();
    assert!(verdict.pass, "{verdict}");

    // Two seconds at once and a mark; the clear leaves little of them, and the mark comes back at once.
    bot.speak_at_once(&alpha, 333);
    bot.send_event("mark", Some(("mark", json!({"name": "end"}))));
    twilio.wait_for_kind("mark", in_time()).unwrap();
    assert!(twilio.queued() > Duration::from_millis(1_500));
    let cleared = Instant::now();
    bot.send_event("clear", None);
    let mark = bot.wait_for_kind("mark", in_time()).unwrap();
    assert_eq!(mark.message["mark"]["name"], "end");
    assert!(mark.at - cleared < Duration::from_millis(500));
    assert_eq!(twilio.queued(), Duration::ZERO);

    twilio.stop();
    let stop = bot.wait_for_kind("stop", in_time()).unwrap().message;
    assert_eq!(stop["stop"]["callSid"], ids.call_sid);
    assert_eq!(bot.wait_for_end(in_time()).unwrap().code, 1000);
}

#[test]
fn a_refusal_says_its_status() {
    let wire = AudioWire::Binary(PcmFormat::Mulaw);
    let answer = |_: &HttpRequest| Reply::Json(403, json!({"code": "forbidden"}));
    let (_service, connect, _directory) = service(wire.clone(), answer);
    match StreamPeer::connect(&connect, wire) {
        Err(StreamPeerError::Refused { status: 403, body }) => {
            assert_eq!(body, "{\"code\":\"forbidden\"}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("was let in"),
    }
}

#[test]
fn a_peer_that_does_not_read_lets_it_pile_up() {
    let wire = AudioWire::Binary(PcmFormat::Linear16(16_000));
    let (service, connect, _directory) = service(wire.clone(), |_| Reply::Upgrade);
    let reader = StreamPeer::connect(&connect, wire).unwrap();
    let writer = service.wait_for_stream(0, in_time()).unwrap();
    reader.set_reading(false);
    std::thread::sleep(Duration::from_millis(50));
    writer.send_frames(vec![vec![0; 640]; 50]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(reader.frames().len(), 0);
    reader.set_reading(true);
    reader.wait_for_frames(50, in_time()).unwrap();
    writer.close(1008);
    assert_eq!(reader.wait_for_end(in_time()).unwrap().code, 1008);
}
