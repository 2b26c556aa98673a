//! An agent that can not be reached, or does not do what an agent does: the caller hears it, and it is the agent's fault.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use loadtest::stream_peer::Reply;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use server::call::EventType;

/// Twilio calls, and the agent is not there: the stream is closed, the final event has a cause.
#[track_caller]
fn fails(about: &str, url: &str, lines: &str) -> (u8, String) {
    fails_by(about, url, lines, "agent")
}

#[track_caller]
fn fails_by(about: &str, url: &str, lines: &str, fault: &str) -> (u8, String) {
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.route_to_agent(url, lines);
    let gateway = setup.start();
    let twilio = Twilio::start(&gateway, &[]);
    let closed = twilio.peer.wait_for_end(in_time()).unwrap();
    let (event, record) = ended(&gateway, 0);
    let reason = record["end_reason"].as_str().unwrap_or_default().to_owned();
    println!(
        "{about}: closed with {}, cause {}: {reason}",
        closed.code, event.q850_cause
    );
    let types = gateway.event_types(event.call_sid.as_str());
    assert_eq!(
        types,
        [EventType::ChannelCreate, EventType::ChannelHangupComplete]
    );
    assert_eq!(record["fault"], fault, "{record:#}");
    assert!(!reason.is_empty(), "{record:#}");
    end(gateway);
    (event.q850_cause as u8, reason)
}

fn service(answer: impl Fn() -> Reply + Send + Sync + 'static) -> (StreamService, String) {
    let service = StreamService::start(ServiceConfig {
        answer: Box::new(move |_| answer()),
        ..ServiceConfig::new(AudioWire::TwilioBot)
    })
    .unwrap();
    let url = format!("ws://{}/media", service.local_addr());
    (service, url)
}

#[test]
fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    fails("nobody listens", &format!("ws://{address}/"), "");
}

#[test]
fn it_refuses() {
    // Whom it does not know has the wrong token, or none: that is configured.
    for (status, fault) in [(401, "config"), (503, "agent")] {
        let (_service, url) = service(move || Reply::Json(status, json!({"message": "no"})));
        let (_, reason) = fails_by("a refusal", &url, "", fault);
        assert!(reason.contains(&status.to_string()), "{reason}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let (service, url) = service(|| Reply::Redirect("ws://127.0.0.1:9/".to_owned()));
    fails("a redirect", &url, "");
    assert_eq!(service.requests().len(), 1);
}

#[test]
fn it_does_not_answer_in_time() {
    let (_service, url) = service(|| Reply::Silence);
    let began = Instant::now();
    let (cause, _) = fails("silence", &url, "agent_connect_timeout_ms = 500\n");
    assert_eq!(cause, 102);
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// TLS at loopback, and the certificate's file.
fn tls() -> (Arc<ServerConfig>, tempfile::TempDir, PathBuf) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("agent-ca.pem");
    std::fs::write(&file, certified.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), directory, file)
}

#[test]
fn its_certificate_is_not_trusted() {
    let (tls, _directory, _) = tls();
    let service = StreamService::start(ServiceConfig {
        tls: Some(tls),
        ..ServiceConfig::new(AudioWire::TwilioBot)
    })
    .unwrap();
    let port = service.local_addr().port();
    let (_, reason) = fails(
        "an unknown certificate",
        &format!("wss://localhost:{port}/"),
        "",
    );
    assert!(reason.to_lowercase().contains("certificate"), "{reason}");
    assert_eq!(service.requests().len(), 0);
}

#[test]
fn a_certificate_of_its_own_authority_is_trusted() {
    let (tls, _directory, file) = tls();
    let service = StreamService::start(ServiceConfig {
        tls: Some(tls),
        ..ServiceConfig::new(AudioWire::TwilioBot)
    })
    .unwrap();
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    let lines = format!("agent_ca_file = \"{}\"\n", file.display());
    let url = format!("wss://localhost:{}/", service.local_addr().port());
    setup.route_to_agent(&url, &lines);
    let gateway = setup.start();
    let twilio = Twilio::start(&gateway, &[]);
    let bot = service.wait_for_stream(0, in_time()).unwrap();
    bot.wait_for_frames(25, in_time()).unwrap();
    bot.set_sending(true);
    twilio.peer.wait_for_frames(25, in_time()).unwrap();
    twilio.peer.stop();
    bot.wait_for_kind("stop", in_time()).unwrap();
    whole_call(&gateway);
    end(gateway);
}

#[test]
fn its_socket_is_lost_in_the_middle_of_a_call() {
    let (service, url) = twilio_bot();
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.route_to_agent(&url, "");
    let gateway = setup.start();
    let twilio = Twilio::start(&gateway, &[]);
    let bot = service.wait_for_stream(0, in_time()).unwrap();
    bot.wait_for_frames(10, in_time()).unwrap();
    bot.lose();
    twilio.peer.wait_for_end(in_time()).unwrap();
    let (event, record) = whole_call(&gateway);
    assert_eq!(event.q850_cause, 27, "{record:#}");
    assert_eq!(record["fault"], "agent", "{record:#}");
    end(gateway);
}

/// Nothing is dialled that the tenant does not allow: the configuration says so before.
#[test]
fn a_host_that_is_not_allowed_is_no_configuration() {
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.route_to_agent("wss://agent.example.com/", "");
    let message = match setup.try_start() {
        Ok(_) => panic!("the gateway started"),
        Err(error) => error.to_string(),
    };
    assert!(message.contains("outbound_hosts"), "{message}");
}
