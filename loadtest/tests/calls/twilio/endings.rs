//! Every way in which a call of Twilio's ends: told to the other side, with one final event.

use std::time::{Duration, Instant};

use super::*;
use loadtest::sip_peer::refuse;
use loadtest::stream_peer::{AudioWire, PcmFormat, Reply, ServiceConfig, StreamService};
use server::call::EventType;

use crate::process::wait_for_status;
use crate::sip_trunk::far_end_with;

#[test]
fn the_carrier_hangs_up() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::start(&gateway, &[]);
    let (call, _) = answered(&carrier, 0);
    carrier.hang_up(call);
    let closed = twilio.peer.wait_for_end(in_time()).unwrap();
    assert_eq!(closed.code, 1000, "{closed:?}");
    assert_eq!(whole_call(&gateway).0.q850_cause, 16);
    end(gateway);
}

#[test]
fn a_carrier_that_is_busy_ends_the_stream() {
    let carrier = far_end_with(AudioCodec::Pcmu, |config| {
        config.script = refuse(486, "Busy Here");
    });
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::start(&gateway, &[]);
    let closed = twilio.peer.wait_for_end(in_time()).unwrap();
    assert_eq!(closed.code, 1000, "{closed:?}");
    let (event, _) = ended(&gateway, 0);
    assert_eq!(event.q850_cause, 17);
    let types = gateway.event_types(event.call_sid.as_str());
    assert_eq!(
        types,
        [EventType::ChannelCreate, EventType::ChannelHangupComplete]
    );
    end(gateway);
}

#[test]
fn a_lost_socket_ends_the_call_by_the_vendors_fault() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::start(&gateway, &[]);
    let (call, _) = answered(&carrier, 0);
    twilio.peer.lose();
    let ended = carrier.wait_for_state(call, CallState::Ended, in_time());
    assert!(ended.unwrap().ended_by_other);
    let (event, record) = whole_call(&gateway);
    assert_eq!(event.q850_cause, 27, "{record:#}");
    assert_eq!(record["fault"], "vendor", "{record:#}");
    end(gateway);
}

#[test]
fn a_caller_who_gives_up_cancels() {
    let carrier = far_end_with(AudioCodec::Pcmu, |config| {
        config.script = loadtest::sip_peer::answer_after(Duration::from_secs(30));
    });
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::start(&gateway, &[]);
    let call = carrier.wait_for_incoming(0, in_time()).unwrap();
    carrier
        .wait_for_state(call, CallState::Ringing, in_time())
        .unwrap();
    twilio.peer.stop();
    let view = carrier.wait_for_state(call, CallState::Ended, in_time());
    assert!(view.unwrap().ended_by_other);
    assert_eq!(ended(&gateway, 0).0.q850_cause, 16);
    end(gateway);
}

/// `<Hangup/>` is up to the TwiML; who wants the call at Twilio to be over asks its API.
#[test]
fn the_call_at_twilio_is_ended_by_its_api() {
    let api = StreamService::start(ServiceConfig {
        answer: Box::new(|_| Reply::Json(200, json!({"status": "completed"}))),
        ..ServiceConfig::new(AudioWire::Binary(PcmFormat::Mulaw))
    })
    .unwrap();
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    let secret = setup.secret("api-key", "api-key-secret-0123456789");
    setup.twilio_lines = format!(
        "api_url = \"http://{}\"\napi_key_sid = \"SK00000000000000000000000000000001\"\n\
         api_key_secret_file = \"{}\"\n",
        api.local_addr(),
        secret.display()
    );
    let gateway = setup.start();
    let twilio = Twilio::start(&gateway, &[]);
    let (call, _) = answered(&carrier, 0);
    carrier.hang_up(call);
    twilio.peer.wait_for_end(in_time()).unwrap();
    let request = api.wait_for_request(0, in_time()).unwrap();
    assert_eq!(request.method, "POST");
    let call_sid = &twilio.ids.call_sid;
    let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Calls/{call_sid}.json");
    assert_eq!(request.path, path);
    assert_eq!(request.body, "Status=completed");
    assert_eq!(
        request.header("Content-Type"),
        Some("application/x-www-form-urlencoded")
    );
    // "SK00000000000000000000000000000001:api-key-secret-0123456789"
    let basic =
        "Basic U0swMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTphcGkta2V5LXNlY3JldC0wMTIzNDU2Nzg5";
    assert_eq!(request.header("Authorization"), Some(basic));
    whole_call(&gateway);
    assert!(
        !gateway.log().contains("api-key-secret"),
        "a secret is in the log"
    );

    // Who hung up at Twilio is not ended once more.
    let twilio = Twilio::start(&gateway, &[]);
    let (call, _) = answered(&carrier, 1);
    twilio.peer.stop();
    carrier
        .wait_for_state(call, CallState::Ended, in_time())
        .unwrap();
    ended(&gateway, 1);
    std::thread::sleep(TAIL);
    assert_eq!(api.requests().len(), 1);
    end(gateway);
}

#[test]
fn a_drain_lets_streams_go_on_until_its_deadline() {
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.server_lines = "drain_timeout_s = 2\n".to_owned();
    let mut gateway = setup.start();
    let twilio = Twilio::start(&gateway, &[]);
    let (call, _) = answered(&carrier, 0);
    let began = Instant::now();
    gateway.signal("TERM").unwrap();
    wait_for_status(&gateway, "/readyz", 503);
    let headers = [(
        "X-Twilio-Signature",
        signature(AUTH_TOKEN, &twilio_url(&gateway)),
    )];
    match Twilio::dial(&gateway, "/signal/twilio/acme", &headers) {
        Err(loadtest::stream_peer::StreamPeerError::Refused { status: 503, .. }) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a new stream while the gateway drains"),
    }
    let before = twilio.peer.frames().len();
    let closed = twilio.peer.wait_for_end(in_time()).unwrap();
    assert!(
        began.elapsed() >= Duration::from_millis(1_900),
        "{:?}",
        began.elapsed()
    );
    assert!(
        twilio.peer.frames().len() > before + 20,
        "media stopped with the drain"
    );
    assert!(matches!(closed.code, 1000 | 1012), "{closed:?}");
    carrier
        .wait_for_state(call, CallState::Ended, in_time())
        .unwrap();
    let status = gateway.wait_for_exit(Duration::from_secs(6)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    let events = gateway.events();
    let last = events.last().unwrap();
    assert_eq!(
        (last.event_type, last.q850_cause),
        (EventType::ChannelHangupComplete, 41)
    );
}
