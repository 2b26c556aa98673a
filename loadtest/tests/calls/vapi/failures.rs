//! A call to Vapi that can not be made: the caller hears it at once, and the record says whose fault it was.

use super::calls::*;
use super::*;
use loadtest::stream_peer::Reply;
use serde_json::Value;
use server::call::EventType;

#[track_caller]
fn fails(answer: Answer, lines: &str, about: &str, fault: &str) {
    let vapi = service(LINEAR_16K, answer);
    let carrier = far_end(AudioCodec::Pcmu);
    let (setup, gateway) = to_assistant(&carrier, &vapi, lines);
    let at_carrier = call(&carrier, &setup);
    let view = carrier
        .wait_for_state(at_carrier, CallState::Ended, in_time())
        .unwrap();
    let (event, record) = ended(&gateway, 0);
    println!(
        "{about}: {:?}, cause {}: {}",
        view.statuses, event.q850_cause, record["end_reason"]
    );
    assert!(*view.statuses.last().unwrap() >= 400, "{view:?}");
    let types = gateway.event_types(event.call_sid.as_str());
    assert_eq!(
        types,
        [EventType::ChannelCreate, EventType::ChannelHangupComplete]
    );
    assert_eq!(record["fault"], fault, "{record:#}");
    assert_eq!(vapi.streams(), 0);
    let shown = format!("{record} {}", gateway.log());
    assert!(
        !shown.contains("/transport") && !shown.contains(API_KEY),
        "{shown}"
    );
    end(gateway);
}

#[test]
fn a_key_that_vapi_refuses() {
    fails(
        |_, _| Reply::Json(401, json!({"message": "Invalid Key."})),
        "",
        "a wrong key",
        "config",
    );
}

#[test]
fn a_redirect_is_not_followed() {
    fails(
        |_, _| Reply::Redirect("http://127.0.0.1:9/call".to_owned()),
        "",
        "a redirect",
        "vendor",
    );
}

#[test]
fn an_api_that_says_nothing() {
    fails(
        |_, _| Reply::Silence,
        "connect_timeout_ms = 500\n",
        "silence",
        "vendor",
    );
}

#[test]
fn an_answer_that_is_none() {
    fails(
        |_, _| Reply::Json(201, json!({"id": 5})),
        "",
        "an answer without a URL",
        "vendor",
    );
}

#[test]
fn an_api_out_of_order() {
    fails(|_, _| Reply::Json(503, Value::Null), "", "a 503", "vendor");
}

/// The service's answer leads the gateway to another host than the tenant allows.
#[test]
fn a_socket_at_a_host_that_is_not_allowed() {
    let elsewhere: Answer =
        |_, _| Reply::Json(201, made_call("wss://elsewhere.example.com/x/transport"));
    fails(elsewhere, "", "another host", "config");
}

/// A call that was made is paid for until it is ended, also without its socket.
#[test]
fn a_call_whose_socket_can_not_be_had_is_ended_at_its_control_url() {
    let answer: Answer = |_, url| {
        let mut made = made_call("wss://elsewhere.example.com/x/transport");
        let control_url = url
            .replace("ws://", "http://")
            .replace("/transport", "/control");
        made["monitor"] = json!({ "controlUrl": control_url });
        Reply::Json(201, made)
    };
    let vapi = service(LINEAR_16K, answer);
    let carrier = far_end(AudioCodec::Pcmu);
    let (setup, gateway) = to_assistant(&carrier, &vapi, "");
    call(&carrier, &setup);
    ended(&gateway, 0);
    let asked = vapi.wait_for_request(1, in_time()).unwrap();
    assert_eq!(asked.method, "POST");
    assert!(asked.path.ends_with("/control"), "{}", asked.path);
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body, json!({"type": "end-call"}));
    assert_eq!(asked.header("Authorization"), None);
    assert!(!gateway.log().contains("/control"), "{}", gateway.log());
    end(gateway);
}
