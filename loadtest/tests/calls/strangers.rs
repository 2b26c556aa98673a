//! What others do to a tenant's calls: another tenant, a page that does not read. The call hears nothing of it, and it is
//! counted. What comes to the media ports is in `attacks.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use loadtest::signalling::{ClientMessage, ServerMessage, SignallingError};
use loadtest::webrtc_client::{CallError, WebRtcCall};
use serde_json::json;
use server::call::{CallEvent, EventType};

use crate::wire::{Door, next_json, text_frame, upgrade_head};

const WAIT: Duration = Duration::from_secs(10);

/// `acme` with its trunks, and `globex` with one of its own.
fn two_tenants() -> Gateway {
    let globex = "[[tenants]]\ntenant_id = \"globex\"\n[tenants.browser]\n[[tenants.routes]]\nvendor = \"browser\"\n\
                  trunk_id = \"globex-echo\"\n[[trunks]]\ntrunk_id = \"globex-echo\"\ntenant_id = \"globex\"\nkind = \"echo\"\n";
    Gateway::start(&GatewaySetup::new(&format!("{ECHO_TENANT}{globex}"))).unwrap()
}

/// The event stream of one tenant, from now on.
fn events_of(gateway: &Gateway, tenant: &str) -> BufReader<TcpStream> {
    let token = std::fs::read_to_string(gateway.file("admin-token")).unwrap();
    let mut stream = TcpStream::connect(gateway.admin_addr()).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    write!(
        stream,
        "GET /v1/events?tenant_id={tenant} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        token.trim()
    )
    .unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    // The stream begins with a comment; from there on nothing is missed.
    while !line.starts_with(':') {
        line.clear();
        assert!(
            reader.read_line(&mut line).unwrap() > 0,
            "the event stream ended"
        );
    }
    reader
}

/// Reads until the final event of a call.
fn read_until_hangup(reader: &mut BufReader<TcpStream>) -> Vec<CallEvent> {
    let mut events: Vec<CallEvent> = Vec::new();
    while events
        .last()
        .is_none_or(|event| event.event_type != EventType::ChannelHangupComplete)
    {
        let mut line = String::new();
        assert!(
            reader.read_line(&mut line).unwrap() > 0,
            "the event stream ended"
        );
        if let Some(json) = line.strip_prefix("data:") {
            events.push(serde_json::from_str(json.trim()).unwrap());
        }
    }
    events
}

#[test]
fn a_tenant_has_no_part_in_anothers_calls() {
    let gateway = two_tenants();
    let mut stream = events_of(&gateway, "globex");
    let victim = WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap();

    // Another's trunk: the call is refused, and looks like a trunk that does not exist.
    for trunk in ["echo", "no-such-trunk"] {
        let mut plan = gateway.call_plan("globex").unwrap();
        plan.trunk_id = Some(trunk.to_owned());
        let mut call = WebRtcCall::connect(&plan).unwrap();
        let refused = call.place(&plan).unwrap_err();
        assert!(
            matches!(&refused, CallError::Refused { code, .. } if code == "scope"),
            "{refused}"
        );
        let end = call
            .signalling()
            .wait_for_end(Instant::now() + WAIT)
            .unwrap();
        let SignallingError::Closed { code, reason } = end else {
            panic!("{end}")
        };
        assert_eq!(
            (code, reason),
            (4403, format!("the tenant has no trunk {trunk}"))
        );
        let events = call.signalling().events();
        let types: Vec<EventType> = events.iter().map(|event| event.event_type).collect();
        assert_eq!(
            types,
            [EventType::ChannelCreate, EventType::ChannelHangupComplete]
        );
        assert_eq!(
            (
                events[1].q850_cause,
                format!("{:?}", events[1].status).as_str()
            ),
            (21, "Failed")
        );
        drop(call);
        assert!(
            read_until_hangup(&mut stream)
                .iter()
                .all(|event| event.tenant_id.as_str() == "globex")
        );
    }

    // Another's call, by its name.
    let thief = WebRtcCall::connect(&gateway.call_plan("globex").unwrap()).unwrap();
    let call_sid = victim.call_sid().to_owned();
    for message in [
        ClientMessage::Accept {
            call_sid: call_sid.clone(),
        },
        ClientMessage::Reject {
            call_sid,
            q850_cause: None,
        },
        ClientMessage::Hangup,
        ClientMessage::Hold,
    ] {
        let before = thief.signalling().received().len();
        thief.signalling().send(&message);
        let code = thief
            .signalling()
            .wait_for("an error", Instant::now() + WAIT, |received| {
                received
                    .iter()
                    .skip(before)
                    .find_map(|received| match &received.message {
                        ServerMessage::Error { code, .. } => Some(code.clone()),
                        _ => None,
                    })
            });
        assert_eq!(code.as_deref(), Ok("no_call"));
    }
    drop(thief);

    // Another's token.
    let mut plan = gateway.call_plan("globex").unwrap();
    plan.token = gateway.token("acme").unwrap();
    let Err(CallError::Signalling(SignallingError::Closed { code: 4407, .. })) =
        WebRtcCall::connect(&plan)
    else {
        panic!("a token of acme at globex")
    };

    let report = victim.hang_up().unwrap();
    assert_eq!(
        report.events.len(),
        3,
        "the victim's call noticed nothing: {:?}",
        report.events
    );
    let own = WebRtcCall::dial(&gateway.call_plan("globex").unwrap())
        .unwrap()
        .hang_up()
        .unwrap();
    let streamed = read_until_hangup(&mut stream);
    assert_eq!(streamed, own.events, "exactly globex's own events");
    let listed = gateway
        .admin("GET", "/v1/calls?ended=true&tenant_id=globex")
        .unwrap()
        .body;
    assert!(
        listed.contains("globex") && !listed.contains("\"acme\""),
        "{listed}"
    );
    drop(stream);
    gateway.assert_drained();
    assert!(gateway.stop().unwrap().success());
}

#[test]
fn a_page_that_does_not_read_is_closed_after_5_s() {
    let gateway = Gateway::start(&GatewaySetup::new(ECHO_TENANT)).unwrap();
    let door = Door::of(&gateway);
    let token = gateway.token("acme").unwrap();
    let mut socket = door.upgrade(&upgrade_head("acme", Some(&token), ""), b"");
    assert_eq!(next_json(&mut socket)["type"], "session");
    let slow = || {
        gateway.metrics().unwrap().matching(
            "clutchcall_connections_refused_total",
            "reason=\"slow_reader\"",
        )
    };

    // Pings without reading their pongs, until the gateway reads no more because it can't write.
    let pings = text_frame(&json!({"type": "ping", "id": "x".repeat(64)})).repeat(100);
    // Short, because rustls takes some more writes after the first that TCP did not take.
    let tcp = &socket.get_ref().sock;
    tcp.set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let began = Instant::now();
    loop {
        match socket.get_mut().write_all(&pings) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("{error} before the socket was full"),
        }
    }
    assert_eq!(slow(), 0.0, "closed before 5 s");
    // Whatever still trickles out of a full socket begins its 5 s anew.
    let deadline = Instant::now() + Duration::from_secs(20);
    while slow() == 0.0 {
        assert!(Instant::now() < deadline, "a full socket stays open");
        std::thread::sleep(Duration::from_millis(20));
    }
    let open_for = began.elapsed();
    assert!(
        open_for >= Duration::from_secs(5),
        "closed after {open_for:?}"
    );
    println!("closed {open_for:.1?} after the first of the pings whose pongs nobody read");
    assert_eq!(slow(), 1.0);
    gateway.assert_drained();
    drop(socket);
    assert!(gateway.stop().unwrap().success());
}
