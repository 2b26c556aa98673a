#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use std::net::TcpStream;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::super::events::QUEUE_MAX;
use super::super::fixtures::{
    EventReader, Running, TOKEN, call, config, ended, eventually, raw_request, request, tenant,
    told, try_request,
};
use super::CONNECTIONS_MAX;
use super::connections::HEAD_BYTES_MAX;
use crate::call::q850::Q850Cause;
use crate::call::rings::{ToControl, ToShard};
use crate::call::{CallEvent, EventType};

#[test]
fn only_the_bearer_of_the_token_gets_in() {
    let gateway = Running::start(config(), 1);
    let longer = format!("{TOKEN}x");
    let shorter = &TOKEN[..TOKEN.len() - 1];
    for path in ["/metrics", "/v1/calls", "/v1/events", "/no/such/path"] {
        for token in [None, Some(""), Some("wrong"), Some(&*longer), Some(shorter)] {
            let reply = request(gateway.admin, "GET", path, token);
            assert_eq!(reply.status, 401, "{path} {token:?}");
            assert!(reply.head.contains("www-authenticate: bearer"));
            assert_eq!(reply.json()["code"], "token_invalid");
            assert_eq!(reply.json()["fault"], "caller");
        }
    }
    let raw = |authorization: &str| {
        let head = format!(
            "GET /metrics HTTP/1.1\r\nHost: gateway\r\n{authorization}Connection: close\r\n\r\n"
        );
        raw_request(gateway.admin, &head).status
    };
    assert_eq!(raw(&format!("Authorization: bearer {TOKEN}\r\n")), 200);
    assert_eq!(raw(&format!("Authorization: Basic {TOKEN}\r\n")), 401);
    let twice = format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer x\r\n");
    assert_eq!(raw(&twice), 401);
}

#[test]
fn without_a_configured_token_nobody_gets_in_and_the_answer_says_why() {
    let mut config = config();
    config.admin.token = None;
    let gateway = Running::start(config, 1);
    for token in [None, Some(""), Some(TOKEN)] {
        let reply = request(gateway.admin, "GET", "/metrics", token);
        assert_eq!(reply.status, 403);
        let expected = json!({
            "code": "not_configured",
            "message": "the admin window is closed: [admin] has no token_file",
            "fault": "config",
        });
        assert_eq!(reply.json(), expected);
    }
}

#[test]
fn wrong_paths_methods_and_parameters_are_told_apart() {
    let gateway = Running::start(config(), 1);
    let faults = match cfg!(debug_assertions) {
        true => (400, "malformed"),
        false => (404, "not_found"),
    };
    let cases = [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/calls/", 404, "not_found"),
        ("POST", "/v1/calls", 405, "method_not_allowed"),
        ("DELETE", "/metrics", 405, "method_not_allowed"),
        // Faults on purpose: in a release build there is no such path.
        ("POST", "/v1/faults", faults.0, faults.1),
        ("GET", "/v1/calls/CSnope", 400, "malformed"),
        ("DELETE", "/v1/calls/CSnope", 400, "malformed"),
        ("GET", "/v1/calls?tenant=acme", 400, "malformed"),
        ("GET", "/v1/calls?tenant_id=a%2Fb", 400, "malformed"),
        ("GET", "/v1/calls?ended=perhaps", 400, "malformed"),
        ("GET", "/v1/events?tenant_id=", 400, "malformed"),
    ];
    for (method, path, status, code) in cases {
        let reply = request(gateway.admin, method, path, Some(TOKEN));
        assert_eq!(reply.status, status, "{method} {path}");
        let body = reply.json();
        assert_eq!(body["code"], code, "{method} {path}");
        assert_eq!(body["fault"], "caller");
        assert!(!body["message"].as_str().unwrap().is_empty());
        if status == 405 {
            assert!(reply.head.contains("allow: get"), "{}", reply.head);
        }
    }
    let unknown = call(0, 1);
    for method in ["GET", "DELETE"] {
        let reply = request(
            gateway.admin,
            method,
            &format!("/v1/calls/{unknown}"),
            Some(TOKEN),
        );
        assert_eq!(reply.status, 404);
        assert!(reply.body.contains(unknown.as_str()));
    }
}

#[test]
fn a_call_is_shown_live_hung_up_and_shown_as_a_record() {
    let mut gateway = Running::start(config(), 2);
    let call_sid = call(1, 1);
    gateway.shards[1].begin_call(call_sid);
    gateway.shards[1].say(told(call_sid, EventType::ChannelAnswer));
    let path = format!("/v1/calls/{call_sid}");
    eventually(|| (gateway.get(&path).json()["call"]["state"] == "answered").then_some(()));
    let live = gateway.get("/v1/calls?tenant_id=acme").json();
    let expected = json!({
        "call_sid": call_sid.as_str(),
        "tenant_id": "acme",
        "trunk_id": "echo",
        "shard": 1,
        "state": "answered",
        "start_timestamp_ms": 1_000_000,
        "answer_timestamp_ms": 1_002_000,
        "codec": "opus",
        "client_id": "page-1",
        "ending": false,
    });
    assert_eq!(live, json!({"calls": [expected], "total": 1}));
    assert_eq!(
        gateway.get("/v1/calls?tenant_id=other").json(),
        json!({"calls": [], "total": 0})
    );

    let reply = request(gateway.admin, "DELETE", &path, Some(TOKEN));
    assert_eq!(reply.status, 202);
    assert_eq!(
        reply.json(),
        json!({"call_sid": call_sid.as_str(), "state": "ending"})
    );
    let message = gateway.shards[1].hear();
    assert!(
        matches!(message, ToShard::EndCall { call_sid: ended, cause: Q850Cause::NORMAL, .. } if ended == call_sid),
        "{message:?}"
    );
    assert_eq!(gateway.get(&path).json()["call"]["ending"], true);
    gateway.shards[1].say(ended(call_sid));
    eventually(|| (gateway.get(&path).json()["state"] == "ended").then_some(()));
    assert_eq!(gateway.get("/v1/calls").json()["total"], 0);
    let records = gateway.get("/v1/calls?ended=true&limit=10").json();
    assert_eq!(records["total"], 1);
    assert_eq!(records["calls"][0]["event"]["call_sid"], call_sid.as_str());
    assert_eq!(
        request(gateway.admin, "DELETE", &path, Some(TOKEN)).status,
        404
    );
}

#[test]
fn events_arrive_over_a_real_socket_in_order_with_ids() {
    let mut gateway = Running::start(config(), 1);
    let mut ours = gateway.events("?tenant_id=acme");
    let mut anothers = gateway.events("?tenant_id=other");
    let call_sid = call(0, 1);
    gateway.shards[0].begin_call(call_sid);
    gateway.shards[0].say(told(call_sid, EventType::ChannelAnswer));
    gateway.shards[0].say(ended(call_sid));
    for event_type in [
        EventType::ChannelCreate,
        EventType::ChannelAnswer,
        EventType::ChannelHangupComplete,
    ] {
        let event = ours.next().unwrap();
        assert_eq!((event.call_sid, event.event_type), (call_sid, event_type));
    }
    let other = CallEvent {
        tenant_id: tenant("other"),
        ..super::super::fixtures::event(call(0, 2), EventType::ChannelCreate)
    };
    gateway.shards[0].say(ToControl::Event(Box::new(other.clone())));
    assert_eq!(
        anothers.next(),
        Some(other),
        "nothing of another tenant came before"
    );
    let metrics = gateway.get("/metrics");
    assert_eq!(metrics.sample("clutchcall_event_subscribers"), 2.0);
    assert_eq!(
        metrics.sample("clutchcall_events_total{event_type=\"CHANNEL_CREATE\"}"),
        2.0
    );
    assert_eq!(metrics.sample("clutchcall_events_missing_total"), 0.0);
    drop((ours, anothers));
    eventually(|| {
        (gateway
            .get("/metrics")
            .sample("clutchcall_event_subscribers")
            == 0.0)
            .then_some(())
    });
}

#[test]
fn a_reader_that_stops_reading_is_closed_and_its_connection_comes_back() {
    let mut gateway = Running::start(config(), 1);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&gateway.admin.into()).unwrap();
    let _stalled = EventReader::connect(TcpStream::from(socket), "");
    let mut reading = gateway.events("");
    let call_sid = call(0, 1);
    gateway.shards[0].begin_call(call_sid);
    gateway.shards[0].say(told(call_sid, EventType::ChannelAnswer));
    let mut next_type = || reading.next().unwrap().event_type;
    assert_eq!(next_type(), EventType::ChannelCreate);
    assert_eq!(next_type(), EventType::ChannelAnswer);
    eventually(|| {
        for _ in 0..QUEUE_MAX / 4 {
            gateway.shards[0].say(told(call_sid, EventType::ChannelHold));
            gateway.shards[0].say(told(call_sid, EventType::ChannelResume));
        }
        // The other reader keeps up, and misses nothing.
        for _ in 0..QUEUE_MAX / 4 {
            assert_eq!(next_type(), EventType::ChannelHold);
            assert_eq!(next_type(), EventType::ChannelResume);
        }
        let closed = gateway
            .get("/metrics")
            .sample("clutchcall_event_subscribers_closed_total");
        (closed == 1.0).then_some(())
    });
    eventually(|| {
        let open = gateway
            .get("/metrics")
            .sample("clutchcall_admin_connections");
        (open == 2.0).then_some(())
    });
}

#[test]
fn connections_are_limited_and_come_back() {
    let gateway = Running::start(config(), 1);
    let idle: Vec<TcpStream> = (0..CONNECTIONS_MAX)
        .map(|_| TcpStream::connect(gateway.admin).unwrap())
        .collect();
    // Accepted in order: this one is the first too many, and says nothing before it is refused.
    let refused = raw_request(gateway.admin, "");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["code"], "overload");
    drop(idle);
    let head = format!(
        "GET /metrics HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    );
    // A refusal that crosses the request may reach the client as a reset.
    eventually(|| {
        try_request(gateway.admin, &head)
            .ok()
            .filter(|reply| reply.status == 200)
    });
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let gateway = Running::start(config(), 1);
    let mut head = "GET /metrics HTTP/1.1\r\nHost: gateway\r\nX-Padding: ".to_owned();
    // Without its end, so that nothing is left unread and the refusal is not lost in a reset.
    head.extend(std::iter::repeat_n('x', HEAD_BYTES_MAX - head.len()));
    assert_eq!(raw_request(gateway.admin, &head).status, 431);
}
