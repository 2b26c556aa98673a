#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use proptest::prelude::*;

use super::value::{NameAddr, SipUri, Via, comma_separated, parameter};
use super::*;
use crate::config::SipTransport;

const INVITE: &str = "INVITE sip:+15550100@192.0.2.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1;rport\r\n\
    v: SIP/2.0/TCP [2001:db8::9]:5061;branch=z9hG4bK0 , SIP/2.0/UDP host.example\r\n\
    Max-Forwards: 70\r\n\
    f: \"A, \\\"quoted\\\" name\" <sip:alice@example.com;user=phone>;tag=abc\r\n\
    To: <sip:+15550100@192.0.2.1>\r\n\
    i: call-1@192.0.2.9\r\n\
    CSeq: 7 INVITE\r\n\
    Subject: a value\r\n  that is folded\r\n\
    Supported: 100rel,timer\r\n\
    l: 4\r\n\r\nbody and what follows it";

fn request(text: &str) -> Request {
    match Message::parse(text.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("a request was due, not {other:?}"),
    }
}

fn error(text: &str) -> ParseError {
    Message::parse(text.as_bytes()).unwrap_err()
}

#[test]
fn a_request_is_read() {
    let request = request(INVITE);
    assert_eq!(request.method, Method::Invite);
    assert_eq!(request.uri, "sip:+15550100@192.0.2.1");
    assert_eq!(request.body, b"body");
    assert_eq!(request.headers.values(&HeaderName::Via).count(), 3);
    assert_eq!(request.headers.from_tag(), Some("abc"));
    assert_eq!(request.headers.to_tag(), None);
    assert_eq!(request.cseq(), 7);
    assert!(request.headers.has_token(&HeaderName::Supported, "TIMER"));
    let subject = HeaderName::from_name("subject");
    assert_eq!(
        request.headers.get(&subject),
        Some("a value that is folded")
    );
    let from = request.headers.get(&HeaderName::From).unwrap();
    let from = NameAddr::parse(from).unwrap();
    assert_eq!(from.uri, "sip:alice@example.com;user=phone");
}

#[test]
fn what_is_written_is_read_again() {
    let first = request(INVITE);
    let again = match Message::parse(&first.to_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    };
    assert_eq!(again.body, first.body);
    assert_eq!(again.headers.call_id(), first.headers.call_id());
    let response = Response::to(&first, StatusCode(180), Some("ours"));
    let Ok(Message::Response(read)) = Message::parse(&response.to_bytes()) else {
        panic!("a response was due");
    };
    assert_eq!(read.status, StatusCode(180));
    assert_eq!(read.headers.to_tag(), Some("ours"));
    assert_eq!(read.headers.values(&HeaderName::Via).count(), 3);
    let odd = String::from_utf8(response.to_bytes()).unwrap();
    let odd = odd.replace("180 Ringing", "180  Ringing \u{1}");
    let Ok(Message::Response(read)) = Message::parse(odd.as_bytes()) else {
        panic!("a response was due");
    };
    assert_eq!(read.reason, "Ringing");
}

#[test]
fn a_wrong_request_deserves_its_status() {
    let cases = [
        (INVITE.replace("l: 4", "l: 400"), 400),
        (INVITE.replace("l: 4", "l: -4"), 400),
        (INVITE.replace("l: 4", "l: 4\r\nContent-Length: 4"), 400),
        (INVITE.replace("CSeq: 7 INVITE", "CSeq: 7 ACK"), 400),
        (INVITE.replace("CSeq: 7", "CSeq: 36893488147419103232"), 400),
        (INVITE.replace(" SIP/2.0\r\nVia", " SIP/7.0\r\nVia"), 505),
        (INVITE.replace("Max-Forwards: 70", "Max-Forwards: 300"), 400),
        (INVITE.replace("INVITE sip:", "INVITE  sip:"), 400),
        (INVITE.replace("<sip:+15550100@192.0.2.1>", ""), 400),
        (INVITE.replace(";tag=abc", ""), 400),
        // Our tag would be in the quotes.
        (INVITE.replace("1>\r\ni:", "1>;x=\"y\r\ni:"), 400),
        (INVITE.replace("Subject", "Sub ject"), 400),
        (INVITE.replace("a value", &"a".repeat(20_000)), 513),
        (INVITE.replace("a value", &"x\r\nX: y".repeat(130)), 513),
        (
            INVITE.replace("sip:+15550100@", &format!("sip:{}@", "1".repeat(2_000))),
            414,
        ),
    ];
    for (text, status) in cases {
        let error = error(&text);
        assert_eq!(error.status, StatusCode(status), "{error}: {text:.80}");
        let answerable = error.answerable.is_some();
        let has_to = !text.contains("To: \r\n");
        assert_eq!(answerable, has_to || error.status.0 == 400, "{error}");
    }
    assert_eq!(error("nonsense").answerable, None);
    let ack = INVITE.replace("INVITE", "ACK").replace("l: 4", "l: 400");
    assert_eq!(error(&ack).answerable, None, "an ACK is never answered");
}

#[test]
fn unknown_methods_are_requests_too() {
    let text = INVITE.replace("INVITE", "NEWMETHOD");
    assert_eq!(request(&text).method, Method::Other("NEWMETHOD".into()));
    let text = INVITE.replace("INVITE", "invite");
    assert_eq!(request(&text).method, Method::Other("invite".into()));
}

#[test]
fn bare_line_feeds_are_taken() {
    let text = INVITE.replace("\r\n", "\n");
    assert_eq!(request(&text).body, b"body");
}

#[test]
fn uris() {
    let uri =
        SipUri::parse("sip:+1555;phone-context=x@[2001:db8::1]:5070;transport=TCP;lr?a=b").unwrap();
    assert_eq!(
        (uri.user, uri.host, uri.port),
        (Some("+1555"), "2001:db8::1", Some(5070))
    );
    assert_eq!(uri.transport(), Some(SipTransport::Tcp));
    assert!(uri.is_loose_router());
    assert_eq!(uri.headers, "a=b");
    let tel = SipUri::parse("tel:+15550100;phone-context=x").unwrap();
    assert_eq!((tel.user, tel.host), (Some("+15550100"), ""));
    assert_eq!(SipUri::parse("sips:a:secret@host").unwrap().user, Some("a"));
    for wrong in [
        "http://a",
        "sip:",
        "sip:a@",
        "sip:a@host:0",
        "sip:a@host:99999",
        "sip:a@[::x]",
        "x",
    ] {
        assert_eq!(SipUri::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn lists_parameters_and_via() {
    let list = "<sip:a,b@h>;x=\"1,2\", \"c, \\\" d\" <sip:e>,,f";
    let values: Vec<&str> = comma_separated(list).collect();
    assert_eq!(values.len(), 3);
    assert_eq!(parameter("<sip:a;tag=no@h>;TAG=yes", "tag"), Some("yes"));
    let via =
        Via::parse("SIP / 2.0 / UDP  host.example:5090 ;rport; branch=z9hG4bKx;received=192.0.2.5")
            .unwrap();
    assert_eq!(
        (via.transport, via.host, via.port),
        ("UDP", "host.example", Some(5090))
    );
    assert_eq!((via.rport, via.branch), (Some(None), Some("z9hG4bKx")));
    assert_eq!(via.received, "192.0.2.5".parse().ok());
    assert_eq!(Via::parse("SIP/3.0/UDP host").unwrap().version, "3.0");
    assert_eq!(Via::parse("HTTP/2.0/UDP host"), None);
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Message::parse(&bytes);
    }

    #[test]
    fn a_changed_message_is_a_message_or_an_error(at in 0_usize..INVITE.len(), byte in any::<u8>()) {
        let mut bytes = INVITE.as_bytes().to_vec();
        bytes[at] = byte;
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert!(Message::parse(&message.to_bytes()).is_ok());
        }
    }
}
