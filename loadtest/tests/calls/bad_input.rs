//! Malformed HTTP, WebSocket, JSON and SDP: a clear refusal that names what was wrong, and the gateway goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use tungstenite::WebSocket;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::wire::{
    BINARY, Door, OFFER, TEXT, TlsStream, masked_frame, next_json, read_close, text_frame,
    unmasked_frame, upgrade_head,
};

/// The default of `http_head_bytes_max`.
const HEAD_BYTES_MAX: usize = 8192;
/// The longest message of the dialect.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

fn start(shards_lines: &str) -> (Gateway, Door) {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.shards_lines = shards_lines.to_owned();
    let gateway = Gateway::start(&setup).unwrap();
    let door = Door::of(&gateway);
    (gateway, door)
}

fn refused(gateway: &Gateway, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    gateway
        .metrics()
        .unwrap()
        .matching("clutchcall_connections_refused_total", &label)
}

/// After everything that was thrown at it, the gateway still opens a session, and nothing is left behind.
fn still_works_and_stops(gateway: Gateway, door: &Door) {
    drop(session(&gateway, door));
    gateway.assert_drained();
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    assert!(gateway.stop().unwrap().success());
}

/// An authenticated session.
fn session(gateway: &Gateway, door: &Door) -> WebSocket<TlsStream> {
    let token = gateway.token("acme").unwrap();
    let mut socket = door.upgrade(&upgrade_head("acme", Some(&token), ""), b"");
    assert_eq!(next_json(&mut socket)["type"], "session");
    socket
}

#[test]
fn http_that_can_not_be_served_is_answered_with_what_is_wrong() {
    let (gateway, door) = start("");
    let upgrade = upgrade_head("acme", None, "");
    let replaced = |from: &str, to: &str| {
        assert!(upgrade.contains(from), "{from}");
        upgrade.replacen(from, to, 1)
    };
    let long = |len: usize| format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(len));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
    let cases: Vec<(&str, String, u16, &str)> = vec![
        (
            "no HTTP",
            "\x16\x03\x01 hello\r\n\r\n".into(),
            400,
            "not HTTP/1.1",
        ),
        (
            "another version",
            "GET / HTTP/7.1\r\n\r\n".into(),
            400,
            "not HTTP/1.1",
        ),
        (
            "a name with a space",
            "GET / HTTP/1.1\r\nBad Name: x\r\n\r\n".into(),
            400,
            "not HTTP/1.1",
        ),
        ("too many lines", many, 400, "not HTTP/1.1"),
        (
            "an endless line",
            long(HEAD_BYTES_MAX),
            431,
            "longer than 8192 bytes",
        ),
        (
            "a far too long line",
            long(16 * HEAD_BYTES_MAX),
            431,
            "longer than 8192 bytes",
        ),
        (
            "a body",
            replaced("Host:", "Content-Length: 5\r\nHost:"),
            400,
            "body",
        ),
        (
            "a chunked body",
            replaced("Host:", "Transfer-Encoding: chunked\r\nHost:"),
            400,
            "body",
        ),
        (
            "an upgrade of HTTP/1.0",
            replaced("HTTP/1.1", "HTTP/1.0"),
            400,
            "HTTP/1.1 is needed",
        ),
        (
            "an old WebSocket",
            replaced("Version: 13", "Version: 8"),
            400,
            "not 13",
        ),
        (
            "no Connection",
            replaced("Connection: Upgrade\r\n", ""),
            400,
            "Connection",
        ),
        (
            "a short key",
            replaced("dGhlIHNhbXBsZSBub25jZQ==", "abc"),
            400,
            "Sec-WebSocket-Key",
        ),
        (
            "two origins",
            replaced("Host:", "Origin: https://a\r\nOrigin: https://b\r\nHost:"),
            400,
            "Origin stands twice",
        ),
        (
            "no upgrade",
            replaced("Upgrade: websocket\r\n", ""),
            400,
            "upgrade is needed",
        ),
        (
            "no dialect",
            replaced("Protocol: clutchcall.v1", "Protocol: chat"),
            400,
            "clutchcall.v1",
        ),
        ("a POST", replaced("GET", "POST"), 405, "only GET"),
        (
            "no such path",
            "GET /etc/passwd HTTP/1.1\r\n\r\n".into(),
            404,
            "no such path",
        ),
        (
            "a way out",
            "GET /signal/../../x HTTP/1.1\r\n\r\n".into(),
            404,
            "no such",
        ),
        (
            "no such vendor",
            replaced("/browser/", "/zoom/"),
            404,
            "no such vendor",
        ),
        (
            "a vendor to come",
            replaced("/browser/", "/twilio/"),
            404,
            "twilio",
        ),
        ("no tenant", replaced("/acme", "/"), 404, "tenant_id"),
        (
            "a tenant that can be none",
            replaced("/acme", "/a%20b"),
            404,
            "tenant_id",
        ),
    ];
    for (case, request, status, about) in &cases {
        let answer = door.exchange(request.as_bytes());
        assert_eq!(answer.status, *status, "{case}: {answer:?}");
        assert!(answer.head.contains("Connection: close"), "{answer:?}");
        let body = answer.json();
        let message = body["message"].as_str().unwrap();
        assert!(message.contains(about), "{case}: {message}");
        assert!(
            body["code"].is_string() && body["fault"].is_string(),
            "{body}"
        );
        println!("{case}: {status}, {message}");
    }
    assert_eq!(refused(&gateway, "http_too_long"), 2.0);
    assert!(refused(&gateway, "http_malformed") >= 13.0);

    // Neither TLS nor HTTP: the port says nothing but goodbye.
    let mut plain = door.tcp();
    plain.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(refused(&gateway, "tls"), 1.0);
    still_works_and_stops(gateway, &door);
}

#[test]
fn slow_callers_are_closed_in_time() {
    let (gateway, door) = start("http_head_timeout_ms = 300\ntls_handshake_timeout_ms = 600\n");
    let began = Instant::now();
    let mut silent = door.tcp();
    let mut slow = door.connect();
    slow.send(b"GET / HTTP/1.1\r\n");
    let answer = slow.answer();
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (408, Some("timeout"))
    );
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(refused(&gateway, "http_timeout"), 1.0);

    // A byte now and then does not help: the limit is for the whole head.
    let mut dripping = door.connect();
    let began = Instant::now();
    for byte in upgrade_head("acme", None, "").bytes() {
        std::thread::sleep(Duration::from_millis(20));
        if dripping.try_send(&[byte]).is_err() || began.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    assert_eq!(refused(&gateway, "http_timeout"), 2.0);

    let closed = silent.read(&mut [0; 16]);
    assert!(matches!(closed, Ok(0)) || closed.is_err(), "{closed:?}");
    assert_eq!(refused(&gateway, "tls_timeout"), 1.0);
    drop(dripping);
    still_works_and_stops(gateway, &door);
}

#[test]
fn frames_that_break_the_web_socket_close_it() {
    let (gateway, door) = start("");
    let text = br#"{"type":"ping","id":1}"#;
    let too_long = vec![b' '; MESSAGE_BYTES_MAX + 1];
    let half = vec![b' '; MESSAGE_BYTES_MAX / 2 + 1];
    let in_parts = [masked_frame(0x01, &half), masked_frame(0x80, &half)].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("unmasked", unmasked_frame(TEXT, text), "frame"),
        ("binary", masked_frame(BINARY, text), "binary"),
        (
            "broken UTF-8",
            masked_frame(TEXT, &[b'"', 0xff, 0xfe, b'"']),
            "UTF-8",
        ),
        (
            "a cut character",
            masked_frame(TEXT, &[0xe2, 0x82]),
            "UTF-8",
        ),
        (
            "too long",
            masked_frame(TEXT, &too_long),
            "longer than 65536 bytes",
        ),
        ("too long in parts", in_parts, "longer than 65536 bytes"),
        (
            "a length of 2^63",
            [&[TEXT, 0xff, 0x80][..], &[0; 7], &[0; 4]].concat(),
            "",
        ),
        ("a reserved bit", masked_frame(TEXT | 0x40, text), "frame"),
        ("an unknown opcode", masked_frame(0x83, text), "frame"),
        ("an endless ping", masked_frame(0x89, &[0; 126]), "frame"),
        ("a ping in parts", masked_frame(0x09, b"x"), "frame"),
        (
            "a continuation of nothing",
            masked_frame(0x80, text),
            "frame",
        ),
    ];
    for (case, frame, about) in &cases {
        let token = gateway.token("acme").unwrap();
        let mut socket = door.upgrade(&upgrade_head("acme", Some(&token), ""), b"");
        assert_eq!(next_json(&mut socket)["type"], "session");
        socket.get_mut().write_all(frame).unwrap();
        socket.get_mut().flush().unwrap();
        let (messages, code, reason) = read_close(&mut socket);
        assert_eq!(code, 4400, "{case}: {reason}");
        assert!(reason.contains(about), "{case}: {reason}");
        let error = messages.last().unwrap();
        assert_eq!(
            (&error["type"], &error["code"]),
            (&"error".into(), &"malformed".into()),
            "{case}"
        );
        println!("{case}: {code}, {reason}");
    }

    // 65536 bytes are a message still.
    let mut longest = session(&gateway, &door);
    let mut padded = br#"{"type":"ping","id":7}"#.to_vec();
    padded.resize(MESSAGE_BYTES_MAX, b' ');
    longest
        .get_mut()
        .write_all(&masked_frame(TEXT, &padded))
        .unwrap();
    assert_eq!(next_json(&mut longest)["id"], 7);

    // The close handshake, begun by the page; and a page that just goes.
    let mut leaving = session(&gateway, &door);
    leaving
        .close(Some(CloseFrame {
            code: CloseCode::Away,
            reason: "".into(),
        }))
        .unwrap();
    let (_, code, _) = read_close(&mut leaving);
    assert_eq!(code, 1001);
    let mut torn = session(&gateway, &door);
    torn.get_mut().write_all(&[TEXT, 0xfe]).unwrap();
    drop((torn, longest));
    still_works_and_stops(gateway, &door);
}

#[test]
fn messages_that_can_not_be_read_are_named() {
    let (gateway, door) = start("");
    let long_to = format!(r#"{{"type":"dial","to":"{}"}}"#, "1".repeat(257));
    let deep = format!(
        r#"{{"type":"ping","id":{}1{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    let cases: Vec<(&str, &str)> = vec![
        ("", "can't be read"),
        ("null", "can't be read"),
        ("[]", "can't be read"),
        ("{\"type\":\"ping\",\"id\":1", "can't be read"),
        (r#"{"id":1}"#, "type"),
        (r#"{"type":"conference"}"#, "conference"),
        (r#"{"type":"ping"}"#, "id"),
        (r#"{"type":"ping","id":1.5}"#, "can't be read"),
        (r#"{"type":"ping","id":1,"id":2}"#, "id"),
        (r#"{"type":"dial","to":5}"#, "can't be read"),
        (r#"{"type":"dial","to":"5","trunk":"echo"}"#, "trunk"),
        (r#"{"type":"dial","to":""}"#, "dial.to is empty"),
        (
            r#"{"type":"dial","to":"5\r\nVia: evil"}"#,
            "control characters",
        ),
        (
            r#"{"type":"dial","to":"5","trunk_id":"../x"}"#,
            "can't be read",
        ),
        (&long_to, "dial.to is longer"),
        (&deep, "can't be read"),
        (r#"{"type":"accept","call_sid":"CS1"}"#, "call_sid"),
    ];
    for (text, about) in cases {
        let mut socket = session(&gateway, &door);
        socket
            .get_mut()
            .write_all(&masked_frame(TEXT, text.as_bytes()))
            .unwrap();
        let (messages, code, reason) = read_close(&mut socket);
        assert_eq!(code, 4400, "{text}: {reason}");
        assert!(reason.contains(about), "{text}: {reason}");
        assert_eq!(messages.last().unwrap()["fault"], "caller", "{text}");
    }
    still_works_and_stops(gateway, &door);
}

#[test]
fn offers_that_can_not_be_answered_are_named() {
    let (gateway, door) = start("");
    let offer = OFFER.replace('\n', "\r\n");
    let replaced = |from: &str, to: &str| {
        assert!(offer.contains(from), "{from}");
        offer.replacen(from, to, 1)
    };
    let many_lines = format!("{offer}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(200));
    let cases: Vec<(&str, String, &str)> = vec![
        ("nothing", String::new(), ""),
        ("no SDP", "hello".to_owned(), "line 1"),
        ("binary", "\u{0}\u{1}\u{7f}".to_owned(), "line 1"),
        ("no audio", replaced("m=audio 9", "m=video 9"), "audio"),
        (
            "no DTLS",
            replaced("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
            "UDP/TLS/RTP/SAVPF",
        ),
        ("no ufrag", replaced("a=ice-ufrag:abcd\r\n", ""), "ufrag"),
        (
            "no fingerprint",
            replaced("a=fingerprint", "a=x-fingerprint"),
            "fingerprint",
        ),
        (
            "a short fingerprint",
            replaced(":EE:FF\r\n", "\r\n"),
            "line",
        ),
        ("another hash", replaced("sha-256", "md5"), ""),
        (
            "a passive caller",
            replaced("actpass", "passive"),
            "passive",
        ),
        (
            "ICE-lite",
            replaced("t=0 0", "t=0 0\r\na=ice-lite"),
            "ice-lite",
        ),
        (
            "no common codec",
            replaced("PCMU/8000", "AMR-WB/16000"),
            "no common codec",
        ),
        ("200 m-lines", many_lines, ""),
    ];
    for (case, sdp, about) in cases {
        let mut socket = session(&gateway, &door);
        let message = serde_json::json!({"type": "offer", "sdp": sdp});
        socket.get_mut().write_all(&text_frame(&message)).unwrap();
        let (messages, code, reason) = read_close(&mut socket);
        assert_eq!(code, 4400, "{case}: {reason}");
        let error = messages.last().unwrap();
        assert_eq!(
            (&error["type"], &error["fault"]),
            (&"error".into(), &"caller".into()),
            "{case}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(
            !message.is_empty() && message.contains(about),
            "{case}: {message}"
        );
        println!("{case}: {message}");
    }
    // The same offer unchanged is answered; a bad one after it is refused and leaves the session as it was.
    let mut socket = session(&gateway, &door);
    let mut say = |message: serde_json::Value| {
        socket.get_mut().write_all(&text_frame(&message)).unwrap();
        next_json(&mut socket)
    };
    assert_eq!(
        say(serde_json::json!({"type": "offer", "sdp": offer}))["type"],
        "answer"
    );
    assert_eq!(
        say(serde_json::json!({"type": "offer", "sdp": "v=1"}))["type"],
        "error"
    );
    assert_eq!(
        say(serde_json::json!({"type": "ping", "id": 1}))["type"],
        "pong"
    );
    let candidate =
        serde_json::json!({"type": "candidate", "candidate": {"candidate": "candidate:x"}});
    let refused = say(candidate);
    assert_eq!(
        (&refused["type"], &refused["code"]),
        (&"error".into(), &"malformed".into())
    );
    drop(socket);
    still_works_and_stops(gateway, &door);
}
