//! A call that comes over SIP goes to an assistant: `POST /call`, then its socket. What the gateway asks for is what Vapi's own
//! client sends, and of the types that the client has.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use super::*;
use loadtest::gateway::Gateway;
use loadtest::sip_peer::{CallId, OutgoingCall, SipPeer};
use loadtest::stream_peer::{AudioWire, HttpRequest, Reply, ServiceConfig, StreamService};
use serde_json::Value;

use crate::vendor_peers::{run_script, vendor_peers};

pub(super) const API_KEY: &str = "11111111-2222-3333-4444-555555555555";
const ASSISTANT_ID: &str = "eb166faa-7145-46ef-8044-589b47ae3b56";
const CALL_ID: &str = "7d1a8c6e-3b2f-4b6a-9d43-0a4e6c1f2b7d";
/// What a request is answered with, by a service at this URL of sockets.
pub(super) type Answer = fn(&HttpRequest, &str) -> Reply;

/// The service and the port where it listens.
pub(super) fn service(format: PcmFormat, answer: Answer) -> StreamService {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "ws://{}/{CALL_ID}/transport",
        listener.local_addr().unwrap()
    );
    let config = ServiceConfig {
        answer: Box::new(move |request| match request.is_upgrade() {
            true => Reply::Upgrade,
            false => answer(request, &url),
        }),
        ..ServiceConfig::new(AudioWire::Binary(format))
    };
    StreamService::listen(listener, config).unwrap()
}

/// As Vapi answers.
pub(super) fn as_vapi(request: &HttpRequest, url: &str) -> Reply {
    if request.header("Authorization") != Some(&format!("Bearer {API_KEY}")) {
        let message = "Invalid Key. Hot tip, you may be using the wrong key.";
        return Reply::Json(401, json!({"statusCode": 401, "message": message}));
    }
    let status = if request.method == "POST" { 201 } else { 200 };
    Reply::Json(status, made_call(url))
}

pub(super) fn made_call(url: &str) -> Value {
    json!({
        "id": CALL_ID,
        "orgId": "0f1e2d3c-4b5a-4697-8877-665544332211",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "type": "vapi.websocketCall",
        "status": "queued",
        "assistantId": ASSISTANT_ID,
        "transport": {"provider": "vapi.websocket", "websocketCallUrl": url},
    })
}

/// A gateway whose carrier's calls go to the assistant.
pub(super) fn to_assistant(
    carrier: &SipPeer,
    vapi: &StreamService,
    lines: &str,
) -> (StreamSetup, Gateway) {
    let mut setup = StreamSetup::new(carrier);
    let key = setup.secret("vapi-key", API_KEY);
    setup.vapi_lines = format!(
        "api_url = \"http://{}\"\napi_key_file = \"{}\"\nassistant_id = \"{ASSISTANT_ID}\"\n{lines}",
        vapi.local_addr(),
        key.display()
    );
    setup.inbound =
        "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"*\"\ntarget = \"vapi\"\n"
            .to_owned();
    let gateway = setup.start();
    (setup, gateway)
}

pub(super) fn call(carrier: &SipPeer, setup: &StreamSetup) -> CallId {
    carrier.call(OutgoingCall::new(&setup.uri("+15550123")))
}

#[test]
fn a_caller_and_an_assistant_hear_each_other() {
    let vapi = service(LINEAR_16K, as_vapi);
    let carrier = far_end(AudioCodec::Pcmu);
    let (setup, gateway) = to_assistant(&carrier, &vapi, "");
    let at_carrier = call(&carrier, &setup);
    carrier
        .wait_for_state(at_carrier, CallState::Answered, in_time())
        .unwrap();
    let assistant = vapi.wait_for_stream(0, in_time()).unwrap();
    assistant.set_sending(true);
    let source = carrier.view(at_carrier).remote_rtp.unwrap();
    carrier.rtp().wait_for_source(0, in_time()).unwrap();
    let ends = Ends {
        stream: &assistant,
        rtp: carrier.rtp(),
        source,
    };
    ends.talk(
        &opening(speech::alpha(), OPENING_S),
        &opening(speech::bravo(), OPENING_S),
        Bar::PcmuToRtp,
    );
    check_request(&vapi);

    carrier.hang_up(at_carrier);
    assistant.wait_for_kind("end-call", in_time()).unwrap();
    assert_eq!(assistant.wait_for_end(in_time()).unwrap().code, 1000);
    let (event, record) = whole_call(&gateway);
    assert_eq!(event.q850_cause, 16, "{record:#}");
    // The URL is the only secret of the socket.
    let log = gateway.log();
    assert!(
        !log.contains("/transport") && !log.contains(API_KEY),
        "{log}"
    );
    assert!(!record.to_string().contains("/transport"), "{record:#}");
    end(gateway);
}

/// What the gateway asked for is what Vapi's own client sends for it, and of the client's own types.
fn check_request(vapi: &StreamService) {
    let asked = vapi.wait_for_request(0, in_time()).unwrap();
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    let transport = json!({
        "provider": "vapi.websocket",
        "audioFormat": {"format": "pcm_s16le", "container": "raw", "sampleRate": 16000},
    });
    assert_eq!(body["transport"], transport, "{body:#}");
    assert_eq!(body["assistantId"], ASSISTANT_ID, "{body:#}");
    check_types(&body);

    let before = vapi.requests().len();
    let url = format!("http://{}", vapi.local_addr());
    let arguments = ["--base-url", &url, "--token", API_KEY];
    let told = run_script("vapi_calls.mjs", &arguments, &body);
    println!("peer: @vapi-ai/server-sdk {}", told["version"]);
    assert_eq!(told["error"], Value::Null);
    assert_eq!(told["made"]["transport"]["provider"], "vapi.websocket");
    assert_eq!(told["made"], told["asked"]);
    let by_client = vapi.requests()[before].clone();
    assert_eq!((&*by_client.method, &*by_client.path), ("POST", "/call"));
    assert_eq!(
        (&asked.method, &asked.path),
        (&by_client.method, &by_client.path)
    );
    for header in ["Authorization", "Content-Type"] {
        assert_eq!(asked.header(header), by_client.header(header), "{header}");
    }
    let by_client: Value = serde_json::from_str(&by_client.body).unwrap();
    assert_eq!(by_client, body);
}

/// The compiler checks the request against `CreateCallDto`.
fn check_types(body: &Value) {
    let modules = vendor_peers();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(
        modules.join("node_modules"),
        folder.path().join("node_modules"),
    )
    .unwrap();
    // In the client's types this text is an object, by a mistake of theirs: their own default is "pcm_s16le".
    let format = "\"format\":\"pcm_s16le\"";
    let text = body.to_string();
    assert!(text.contains(format), "{text}");
    let text = text.replace(
        format,
        &format!("{format} as unknown as Record<string, unknown>"),
    );
    let file = folder.path().join("request.ts");
    let source = format!(
        "import type {{ Vapi }} from \"@vapi-ai/server-sdk\";\nexport const request: Vapi.CreateCallDto = {text};\n"
    );
    std::fs::write(&file, source).unwrap();
    let output = Command::new(modules.join("node_modules/.bin/tsc"))
        .args([
            "--noEmit",
            "--strict",
            "--skipLibCheck",
            "--module",
            "nodenext",
            "--target",
            "es2022",
        ])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn mu_law_of_an_assistant_is_passed_through() {
    let vapi = service(PcmFormat::Mulaw, as_vapi);
    let carrier = far_end(AudioCodec::Pcmu);
    let (setup, gateway) = to_assistant(&carrier, &vapi, "audio_format = \"mulaw\"\n");
    let at_carrier = call(&carrier, &setup);
    let assistant = vapi.wait_for_stream(0, in_time()).unwrap();
    let asked = vapi.wait_for_request(0, in_time()).unwrap();
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    let format = &body["transport"]["audioFormat"];
    assert_eq!(format["format"], "mulaw", "{body:#}");
    assert_eq!(format["sampleRate"], 8000, "{body:#}");
    carrier
        .wait_for_state(at_carrier, CallState::Answered, in_time())
        .unwrap();
    assistant.wait_for_frames(25, in_time()).unwrap();
    assistant.send(
        &json!({"type": "status-update", "status": "ended", "endedReason": "assistant-ended-call"}),
    );
    let view = carrier.wait_for_state(at_carrier, CallState::Ended, in_time());
    assert!(view.unwrap().ended_by_other);
    assistant.wait_for_end(in_time()).unwrap();
    assert_eq!(plans(&whole_call(&gateway).1), ["PCMU passthrough"; 2]);
    end(gateway);
}

/// An assistant says ten seconds at once; when the caller talks over it, nothing of it is heard any more.
#[test]
fn what_an_assistant_said_ends_when_the_user_interrupts() {
    let vapi = service(LINEAR_16K, as_vapi);
    let carrier = far_end(AudioCodec::Pcmu);
    let (setup, gateway) = to_assistant(&carrier, &vapi, "");
    let at_carrier = call(&carrier, &setup);
    carrier
        .wait_for_state(at_carrier, CallState::Answered, in_time())
        .unwrap();
    let assistant = vapi.wait_for_stream(0, in_time()).unwrap();
    let source = carrier.view(at_carrier).remote_rtp.unwrap();
    let mut long = speech::alpha();
    long.samples.extend(speech::bravo().samples);
    // As the documentation's example does: 1024 samples.
    assistant.speak_at_once(&long, 2048);
    std::thread::sleep(Duration::from_millis(1_500));
    let interrupted = std::time::Instant::now();
    assistant.send(&json!({"type": "user-interrupted", "turnId": "1"}));
    std::thread::sleep(Duration::from_millis(1_000));
    let heard = carrier.rtp().recording(source).unwrap();
    let last = last_sound(&heard).expect("something was heard");
    let after = last.saturating_duration_since(interrupted);
    println!("heard until {after:?} after the interruption");
    assert!(heard.audio.duration_ms() > 1_000.0);
    assert!(after < Duration::from_millis(80), "{after:?}");
    assert!(
        last > interrupted - Duration::from_millis(500),
        "it had ended before"
    );
    // And what it says then is heard.
    let bravo = opening(speech::bravo(), 3);
    assistant.set_sending(true);
    assistant.speak(&bravo);
    assistant.wait_until_spoken(in_time()).unwrap();
    std::thread::sleep(TAIL);
    let spoken_at = assistant.spoken_at().unwrap();
    let heard = carrier.rtp().recording(source).unwrap();
    let heard = verdict(&bravo, Some(spoken_at), &heard, Bar::PcmuToRtp);
    assert!(heard.pass, "{heard}");
    carrier.hang_up(at_carrier);
    whole_call(&gateway);
    end(gateway);
}

#[test]
fn the_reason_of_an_end_is_its_cause() {
    let vapi = service(LINEAR_16K, as_vapi);
    let carrier = far_end(AudioCodec::Pcmu);
    let (setup, gateway) = to_assistant(&carrier, &vapi, "");
    let reasons = [
        ("customer-busy", 17),
        ("assistant-said-end-call-phrase", 16),
        ("silence-timed-out", 102),
        ("call.in-progress.error-vapifault-worker-died", 41),
    ];
    for (number, (reason, cause)) in reasons.iter().enumerate() {
        let at_carrier = call(&carrier, &setup);
        carrier
            .wait_for_state(at_carrier, CallState::Answered, in_time())
            .unwrap();
        let assistant = vapi.wait_for_stream(number, in_time()).unwrap();
        assistant.send(&json!({"type": "status-update", "status": "ended", "endedReason": reason}));
        carrier
            .wait_for_state(at_carrier, CallState::Ended, in_time())
            .unwrap();
        assert_eq!(ended(&gateway, number).0.q850_cause, *cause, "{reason}");
    }
    end(gateway);
}
