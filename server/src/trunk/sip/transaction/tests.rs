#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use super::*;
use crate::config::SipTransport;

fn flow(transport: SipTransport) -> Flow {
    Flow {
        transport,
        local: "192.0.2.1:5060".parse().unwrap(),
        advertised: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.9:5060".parse().unwrap(),
        connection: None,
        server_name: None,
    }
}

fn request(method: &str, branch: &str) -> Request {
    let text = format!(
        "{method} sip:b@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport\r\n\
         From: <sip:a@192.0.2.1>;tag=a\r\nTo: <sip:b@192.0.2.9>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\r\n"
    );
    match Message::parse(text.as_bytes()).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => unreachable!(),
    }
}

fn answer(request: &Request, status: u16) -> Message {
    Message::Response(Response::to(request, StatusCode(status), Some("b")))
}

/// Everything that was sent: its first line's first two words.
fn sent(transactions: &mut Transactions) -> Vec<String> {
    std::iter::from_fn(|| transactions.poll_transmit())
        .map(|transmit| {
            let text = String::from_utf8_lossy(&transmit.payload).into_owned();
            let words: Vec<&str> = text.split(' ').take(2).collect();
            words.join(" ")
        })
        .collect()
}

fn events(transactions: &mut Transactions) -> Vec<TransactionEvent> {
    std::iter::from_fn(|| transactions.poll_event()).collect()
}

/// How often something is sent until nothing is due any more, and after how long.
fn run_out(transactions: &mut Transactions, mut now: Instant) -> (usize, Duration) {
    let start = now;
    let mut count = sent(transactions).len();
    while let Some(due) = transactions.poll_timeout() {
        now = due;
        transactions.handle_timeout(now);
        count += sent(transactions).len();
    }
    (count, now - start)
}

#[test]
fn an_invite_without_an_answer_is_sent_seven_times_in_32_s() {
    let now = Instant::now();
    let mut transactions = Transactions::default();
    let id = transactions.request(now, request("INVITE", "z9hG4bK1"), flow(SipTransport::Udp));
    assert_eq!(run_out(&mut transactions, now), (7, T1_64));
    let failure = ClientFailure::TimedOut;
    let told = events(&mut transactions);
    assert_eq!(told[0], TransactionEvent::Failed { id, failure });
    assert_eq!(told[1], TransactionEvent::ClientEnded { id });
    assert!(transactions.is_empty());
}

#[test]
fn other_requests_are_repeated_at_most_every_4_s_and_never_over_tcp() {
    let now = Instant::now();
    let mut transactions = Transactions::default();
    transactions.request(now, request("OPTIONS", "z9hG4bK1"), flow(SipTransport::Udp));
    assert_eq!(run_out(&mut transactions, now), (11, T1_64));
    transactions.request(now, request("OPTIONS", "z9hG4bK2"), flow(SipTransport::Tcp));
    assert_eq!(run_out(&mut transactions, now), (1, T1_64));
    assert!(transactions.is_empty());
}

#[test]
fn a_refused_invite_is_acknowledged_each_time_it_is_refused() {
    let now = Instant::now();
    let mut transactions = Transactions::default();
    let invite = request("INVITE", "z9hG4bK1");
    transactions.request(now, invite.clone(), flow(SipTransport::Udp));
    for _ in 0..3 {
        transactions.handle_message(now, answer(&invite, 486), flow(SipTransport::Udp));
    }
    let sent = sent(&mut transactions);
    assert_eq!(
        sent,
        [
            "INVITE sip:b@192.0.2.9",
            "ACK sip:b@192.0.2.9",
            "ACK sip:b@192.0.2.9",
            "ACK sip:b@192.0.2.9"
        ]
    );
    let responses = events(&mut transactions).len();
    assert_eq!(responses, 1, "the user hears of it once");
}

#[test]
fn every_2xx_of_an_invite_reaches_the_user() {
    let now = Instant::now();
    let mut transactions = Transactions::default();
    let invite = request("INVITE", "z9hG4bK1");
    transactions.request(now, invite.clone(), flow(SipTransport::Udp));
    for status in [100, 180, 200, 200, 200] {
        transactions.handle_message(now, answer(&invite, status), flow(SipTransport::Udp));
    }
    assert_eq!(events(&mut transactions).len(), 5);
    assert_eq!(
        sent(&mut transactions).len(),
        1,
        "a 2xx is acknowledged by the user"
    );
    run_out(&mut transactions, now);
    assert!(transactions.is_empty());
}

#[test]
fn a_repeated_request_gets_the_same_answer() {
    let now = Instant::now();
    let mut transactions = Transactions::default();
    let invite = request("INVITE", "z9hG4bK1");
    transactions.handle_message(
        now,
        Message::Request(invite.clone()),
        flow(SipTransport::Udp),
    );
    let TransactionEvent::Request { id, .. } = events(&mut transactions).remove(0) else {
        panic!("a request was due");
    };
    transactions.respond(now, id, &Response::to(&invite, StatusCode(180), Some("b")));
    transactions.handle_message(now, Message::Request(invite), flow(SipTransport::Udp));
    assert_eq!(sent(&mut transactions), ["SIP/2.0 180", "SIP/2.0 180"]);
    assert!(events(&mut transactions).is_empty());
}

#[test]
fn a_2xx_is_repeated_until_its_ack_and_missed_after_32_s() {
    let now = Instant::now();
    let mut transactions = Transactions::default();
    let open = |transactions: &mut Transactions, branch: &str| {
        let invite = request("INVITE", branch);
        transactions.handle_message(
            now,
            Message::Request(invite.clone()),
            flow(SipTransport::Tcp),
        );
        let TransactionEvent::Request { id, .. } = events(transactions).remove(0) else {
            panic!("a request was due");
        };
        transactions.respond(now, id, &Response::to(&invite, StatusCode(200), Some("b")));
        id
    };
    let id = open(&mut transactions, "z9hG4bK1");
    assert_eq!(run_out(&mut transactions, now), (11, T1_64));
    let told = events(&mut transactions);
    assert!(
        told.contains(&TransactionEvent::AckMissing { id }),
        "{told:?}"
    );
    let id = open(&mut transactions, "z9hG4bK2");
    transactions.acknowledged(id);
    assert_eq!(run_out(&mut transactions, now), (1, T1_64));
    assert!(!events(&mut transactions).contains(&TransactionEvent::AckMissing { id }));
}

#[test]
fn a_cancel_is_answered_and_told_once() {
    let now = Instant::now();
    let mut transactions = Transactions::default();
    let invite = request("INVITE", "z9hG4bK1");
    let udp = || flow(SipTransport::Udp);
    transactions.handle_message(now, Message::Request(invite.clone()), udp());
    let TransactionEvent::Request { id, .. } = events(&mut transactions).remove(0) else {
        panic!("a request was due");
    };
    for _ in 0..2 {
        transactions.handle_message(now, Message::Request(request("CANCEL", "z9hG4bK1")), udp());
    }
    let told = events(&mut transactions);
    assert_eq!(told.len(), 1);
    assert!(
        matches!(told[0], TransactionEvent::Cancelled { id: cancelled, .. } if cancelled == id)
    );
    assert_eq!(sent(&mut transactions), ["SIP/2.0 200", "SIP/2.0 200"]);
    transactions.respond(now, id, &Response::to(&invite, StatusCode(487), Some("b")));
    transactions.handle_message(now, Message::Request(request("ACK", "z9hG4bK1")), udp());
    assert!(
        events(&mut transactions).is_empty(),
        "that ACK is the transaction's own"
    );
    transactions.handle_message(
        now,
        Message::Request(request("CANCEL", "z9hG4bKother")),
        udp(),
    );
    assert_eq!(sent(&mut transactions), ["SIP/2.0 487", "SIP/2.0 481"]);
    run_out(&mut transactions, now);
    assert!(transactions.is_empty());
}

#[test]
fn answers_go_where_the_request_came_from() {
    let mut transactions = Transactions::default();
    let mut options = request("OPTIONS", "z9hG4bK1");
    options.headers.set(
        HeaderName::Via,
        "SIP/2.0/UDP 203.0.113.1:7000;branch=z9hG4bK1",
    );
    let came_from = Flow {
        remote: "192.0.2.9:40000".parse().unwrap(),
        ..flow(SipTransport::Udp)
    };
    transactions.respond_without_state(&Response::to(&options, StatusCode(403), None), &came_from);
    let to = transactions.poll_transmit().unwrap().flow.remote;
    assert_eq!(
        to,
        "192.0.2.9:7000".parse().unwrap(),
        "never to a host that a Via names"
    );
    options.headers.set(
        HeaderName::Via,
        "SIP/2.0/UDP 203.0.113.1:7000;branch=z9hG4bK1;rport",
    );
    transactions.respond_without_state(&Response::to(&options, StatusCode(403), None), &came_from);
    assert_eq!(
        transactions.poll_transmit().unwrap().flow.remote,
        came_from.remote
    );
}
