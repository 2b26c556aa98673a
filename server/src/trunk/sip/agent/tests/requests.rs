//! Requests of all sorts, good and bad, and what each is answered.

use super::*;

fn request(method: &str, extra: &str) -> String {
    format!(
        "{method} sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK-{method}-{};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:2@192.0.2.2>;tag=theirs\r\nTo: <sip:1@192.0.2.1>\r\nCall-ID: c-{method}\r\n\
         CSeq: 1 {method}\r\nContact: <sip:2@192.0.2.2>\r\n{extra}Content-Length: 0\r\n\r\n",
        extra.len()
    )
}

fn answer(pair: &Pair) -> String {
    let sent = pair.sent(Side::Ours, "SIP/2.0");
    sent.last().map_or_else(String::new, |text| {
        text.split("\r\n").next().unwrap().to_owned()
    })
}

#[test]
fn each_request_gets_its_answer() {
    let cases = [
        (request("OPTIONS", ""), "SIP/2.0 200 OK"),
        (
            request("BYE", ""),
            "SIP/2.0 481 Call/Transaction Does Not Exist",
        ),
        (
            request("INFO", ""),
            "SIP/2.0 481 Call/Transaction Does Not Exist",
        ),
        (request("REGISTER", ""), "SIP/2.0 405 Method Not Allowed"),
        (request("MESSAGE", ""), "SIP/2.0 405 Method Not Allowed"),
        (request("NEWMETHOD", ""), "SIP/2.0 501 Not Implemented"),
        (
            request("OPTIONS", "Require: nothingSupportsThis\r\n"),
            "SIP/2.0 420 Bad Extension",
        ),
        (
            request("INVITE", "Session-Expires: 30\r\n"),
            "SIP/2.0 422 Session Interval Too Small",
        ),
        (
            request("INVITE", "").replace("INVITE sip:1@", "INVITE nobody:1@"),
            "SIP/2.0 416 Unsupported URI Scheme",
        ),
        (
            request("INVITE", "Replaces: x;to-tag=a;from-tag=b\r\n"),
            "SIP/2.0 481 Call/Transaction Does Not Exist",
        ),
        (
            request("INVITE", "").replace("Content-Length: 0", "Content-Length: 99"),
            "SIP/2.0 400 Bad Request",
        ),
        (
            request("OPTIONS", "").replace(
                "To: <sip:1@192.0.2.1>\r\n",
                "To: <sip:1@192.0.2.1>;tag=none\r\n",
            ),
            "SIP/2.0 481 Call/Transaction Does Not Exist",
        ),
    ];
    for (text, expected) in cases {
        let mut pair = Pair::new();
        pair.inject(&text);
        assert_eq!(answer(&pair), expected, "{text}");
        assert!(
            pair.sent(Side::Ours, "SIP/2.0")
                .last()
                .unwrap()
                .contains(";received=192.0.2.2;rport=5060")
        );
        pair.assert_nothing_is_left();
    }
}

#[test]
fn a_body_that_is_no_sdp_is_refused() {
    let mut pair = Pair::new();
    let text = request("INVITE", "Content-Type: text/plain\r\n")
        .replace("Content-Length: 0\r\n\r\n", "Content-Length: 2\r\n\r\nhi");
    pair.inject(&text);
    assert_eq!(answer(&pair), "SIP/2.0 415 Unsupported Media Type");
}

#[test]
fn strangers_are_refused_and_scanners_hear_nothing() {
    let mut pair = Pair::new();
    pair.inject_from("203.0.113.9", &request("INVITE", ""));
    assert_eq!(answer(&pair), "SIP/2.0 403 Forbidden");
    pair.clear();
    pair.inject_from(
        "203.0.113.9",
        &request("OPTIONS", "User-Agent: friendly-scanner\r\n"),
    );
    pair.inject_from("203.0.113.9", "OPTIONS sip:x SIP/2.0\r\n\r\n");
    assert!(pair.wire.is_empty());
    assert_eq!(pair.ours.counters().strangers, 2);
    assert_eq!(pair.ours.transaction_count(), 0, "nothing is kept of them");
}

#[test]
fn a_forged_bye_or_cancel_changes_nothing() {
    let mut pair = Pair::established();
    let forged =
        request("BYE", "").replace("To: <sip:1@192.0.2.1>", "To: <sip:1@192.0.2.1>;tag=guessed");
    pair.inject(&forged);
    pair.inject_from("203.0.113.9", &forged);
    pair.inject(&request("CANCEL", ""));
    assert!(!pair.heard(Side::Ours, "HungUp"));
    assert_eq!(pair.ours.leg_count(), 1);
}

#[test]
fn the_same_invite_by_another_way_is_a_loop() {
    let mut pair = Pair::new();
    pair.inject(&request("INVITE", ""));
    pair.inject(&request("INVITE", "").replace("z9hG4bK-INVITE", "z9hG4bK-other"));
    assert_eq!(answer(&pair), "SIP/2.0 482 Loop Detected");
    assert_eq!(pair.ours.leg_count(), 1);
}

#[test]
fn while_draining_nothing_new_is_taken() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.ours.begin_drain(now);
    for method in ["INVITE", "OPTIONS"] {
        pair.inject(&request(method, ""));
        assert_eq!(answer(&pair), "SIP/2.0 503 Service Unavailable");
        assert!(
            pair.sent(Side::Ours, "SIP/2.0 503")
                .last()
                .unwrap()
                .contains("Retry-After: ")
        );
    }
}

#[test]
fn a_call_without_an_offer_is_answered_with_one() {
    let mut pair = Pair::new();
    pair.inject(&request("INVITE", ""));
    let leg = match pair.told(Side::Ours) {
        [AgentEvent::Incoming(invite)] => invite.leg,
        other => panic!("{other:?}"),
    };
    let now = pair.now;
    pair.ours.take_incoming(now, leg, call(1), true);
    pair.ours
        .handle_accept(now, call(1), "[::]:20000".parse().unwrap(), false);
    pair.deliver();
    assert!(
        !pair.heard(Side::Ours, "Answered"),
        "nothing is agreed before the ACK"
    );
    let ok = (*pair.sent(Side::Ours, "SIP/2.0 200").last().unwrap()).to_owned();
    assert!(ok.contains("m=audio 20000 RTP/AVP 0 8"), "{ok}");
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
    let ack = format!(
        "ACK sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKack\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 ACK\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        field(&ok, "From"),
        field(&ok, "To"),
        field(&ok, "Call-ID"),
        sdp.len()
    );
    pair.inject(&ack);
    assert_eq!(pair.media(Side::Ours).sends.codec, Codec::Pcma);
    assert_eq!(
        pair.media(Side::Ours).remote,
        "192.0.2.2:4000".parse().unwrap()
    );
}
