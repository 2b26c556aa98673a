//! A far end, or somebody in its place, that means harm: floods, circles, many forks, forged and misplaced messages. Each
//! is answered as it deserves, a call ends once, and memory stays bounded.

use super::*;
use crate::trunk::sip::leg::FORKS_MAX;
use crate::trunk::sip::transaction::TRANSACTIONS_MAX;

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// Header fields of an answer, by round.
type Extra<'a> = &'a dyn Fn(usize) -> String;

fn with_body(head: &str, body: &str) -> String {
    if body.is_empty() {
        return format!("{head}Content-Length: 0\r\n\r\n");
    }
    let len = body.len();
    format!("{head}Content-Type: application/sdp\r\nContent-Length: {len}\r\n\r\n{body}")
}

/// A request out of any dialog.
fn fresh(method: &str, number: usize, extra: &str, body: &str) -> String {
    let head = format!(
        "{method} sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK-fresh-{method}-{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:2@192.0.2.2>;tag=t{number}\r\nTo: <sip:1@192.0.2.1>\r\nCall-ID: fresh-{number}\r\n\
         CSeq: 1 {method}\r\nContact: <sip:2@192.0.2.2>\r\n{extra}"
    );
    with_body(&head, body)
}

/// A request of the far end in the only dialog that we have.
fn in_dialog(pair: &Pair, method: &str, cseq: u32, extra: &str, body: &str) -> String {
    let dialog = pair.ours.legs_by_dialog.keys().next().unwrap();
    let head = format!(
        "{method} sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK-in-{method}-{cseq};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:2@192.0.2.2>;tag={}\r\nTo: <sip:1@192.0.2.1>;tag={}\r\nCall-ID: {}\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:2@192.0.2.2>\r\n{extra}",
        dialog.remote_tag, dialog.local_tag, dialog.call_id
    );
    with_body(&head, body)
}

/// The far end's response to a request of ours.
fn reply(request: &str, status: &str, tag: &str, extra: &str, body: &str) -> String {
    let to = field(request, "To");
    let tag = if tag.is_empty() || to.contains(";tag=") {
        String::new()
    } else {
        format!(";tag={tag}")
    };
    let head = format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:2@192.0.2.2>\r\n{extra}",
        field(request, "Via"),
        field(request, "From"),
        field(request, "Call-ID"),
        field(request, "CSeq")
    );
    with_body(&head, body)
}

fn last(pair: &Pair, begin: &str) -> String {
    let sent = pair.sent(Side::Ours, begin);
    (*sent
        .last()
        .unwrap_or_else(|| panic!("no {begin}: {:?}", pair.wire)))
    .to_owned()
}

fn status(pair: &Pair) -> u16 {
    let answer = last(pair, "SIP/2.0");
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A call of ours that only this test answers.
fn dialled() -> (Pair, String) {
    dialled_with(|_| {})
}

fn dialled_with(change: impl FnOnce(&mut SipTrunkConfig)) -> (Pair, String) {
    let mut pair = Pair::with(change, |_| {});
    pair.loses = Some((Side::Ours, ""));
    pair.dial(1);
    let invite = last(&pair, "INVITE");
    (pair, invite)
}

/// A call of ours that was answered by this test; its far end's agent hears nothing.
fn answered_with(change: impl FnOnce(&mut SipTrunkConfig)) -> Pair {
    let (mut pair, invite) = dialled_with(change);
    pair.inject(&reply(
        &invite,
        "200 OK",
        "theirs",
        "Allow: INVITE, UPDATE\r\n",
        SDP,
    ));
    assert!(pair.heard(Side::Ours, "Answered"));
    pair.clear();
    pair
}

fn credentials(sip: &mut SipTrunkConfig) {
    sip.credentials = Some(SipCredentials {
        username: "line1".into(),
        password: Secret::new("s3cret"),
    });
}

/// Answers each new request of that method until there is none; how many there were.
fn answer_all(
    pair: &mut Pair,
    method: &str,
    pause: Duration,
    answer: impl Fn(usize, &str) -> String,
) -> usize {
    let mut answered = Vec::new();
    for round in 0..200 {
        let request = last(pair, method);
        let cseq = field(&request, "CSeq").to_owned() + field(&request, "Via");
        if !answered.contains(&cseq) {
            answered.push(cseq);
            let text = answer(round, &request);
            pair.inject(&text);
        }
        pair.pass(pause);
    }
    answered.len()
}

fn feed(agent: &mut Agent, now: Instant, text: &str) -> Option<String> {
    let received = Received {
        transport: SipTransport::Udp,
        local: "[::]:5060".parse().unwrap(),
        remote: SocketAddr::new(THEIRS.parse().unwrap(), 5060),
        connection: None,
        payload: text.as_bytes(),
    };
    agent.handle_received(now, &received);
    let mut answer = None;
    while let Some(transmit) = agent.poll_transmit() {
        answer = Some(String::from_utf8_lossy(&transmit.payload).into_owned());
    }
    answer
}

/// Lets time pass for one agent whose messages nobody wants.
fn run_out(agent: &mut Agent, mut now: Instant, time: Duration) -> Instant {
    let end = now + time;
    while let Some(due) = agent.poll_timeout().filter(|due| *due <= end) {
        now = now.max(due);
        agent.handle_timeout(now);
        while agent.poll_transmit().is_some() {}
    }
    end
}

#[test]
fn a_flood_of_calls_is_bounded() {
    let mut pair = Pair::new();
    let (agent, now) = (&mut pair.ours, pair.now);
    for number in 0..LEGS_MAX {
        let answer = feed(agent, now, &fresh("INVITE", number, "", "")).unwrap();
        assert!(answer.starts_with("SIP/2.0 100"), "{answer}");
    }
    let answer = feed(agent, now, &fresh("INVITE", LEGS_MAX, "", "")).unwrap();
    assert!(answer.starts_with("SIP/2.0 503") && answer.contains("Retry-After: "));
    assert_eq!(agent.leg_count(), LEGS_MAX);
    let mut refused = 0;
    while let Some(event) = agent.poll_event() {
        let AgentEvent::Incoming(invite) = event else {
            continue;
        };
        agent.refuse_incoming(now, invite.leg, StatusCode(486), Q850Cause::USER_BUSY);
        refused += 1;
    }
    assert_eq!((refused, agent.leg_count()), (LEGS_MAX, 0));
    pair.now = run_out(&mut pair.ours, now, T1_64 * 2);
    pair.assert_nothing_is_left();
}

#[test]
fn a_flood_of_requests_is_bounded() {
    let mut pair = Pair::new();
    let (agent, now) = (&mut pair.ours, pair.now);
    for number in 0..TRANSACTIONS_MAX {
        feed(agent, now, &fresh("OPTIONS", number, "", ""));
    }
    let answer = feed(agent, now, &fresh("OPTIONS", TRANSACTIONS_MAX, "", "")).unwrap();
    assert!(answer.starts_with("SIP/2.0 503"));
    assert_eq!(agent.transaction_count(), TRANSACTIONS_MAX);
    let answer = feed(agent, now, &fresh("OPTIONS", 1, "", "")).unwrap();
    assert!(answer.starts_with("SIP/2.0 200"), "a repeated one is known");
    pair.now = run_out(&mut pair.ours, now, T1_64);
    pair.assert_nothing_is_left();
}

#[test]
fn a_call_does_not_go_round_in_circles() {
    let pause = Duration::from_millis(10);
    let challenge = |nonce: &str| {
        format!("WWW-Authenticate: Digest realm=\"x\", nonce=\"{nonce}\", stale=true\r\n")
    };
    let cases: [(&str, usize, Extra<'_>); 4] = [
        ("401 Unauthorized", 4, &|round| {
            challenge(&round.to_string())
        }),
        ("401 Unauthorized", 4, &|_| challenge("the same")),
        ("302 Moved Temporarily", 6, &|round| {
            format!("Contact: <sip:{round}@192.0.2.2>\r\n")
        }),
        ("422 Session Interval Too Small", 4, &|round| {
            format!("Min-SE: {}\r\n", 2000 + round)
        }),
    ];
    for (answer, max, extra) in cases {
        let (mut pair, _) = dialled_with(credentials);
        let count = answer_all(&mut pair, "INVITE", pause, |round, invite| {
            let text = reply(invite, answer, "x", "", "");
            let (head, _) = text.split_once("Contact: ").unwrap();
            with_body(&format!("{head}{}", extra(round)), "")
        });
        assert!((2..=max).contains(&count), "{answer}: {count}");
        assert_eq!(pair.count(Side::Ours, "Failed"), 1, "{answer}");
        pair.assert_nothing_is_left();
    }
}

#[test]
fn a_session_is_not_negotiated_in_circles() {
    let cases: [(&str, usize, Extra<'_>); 3] = [
        ("491 Request Pending", 9, &|_| String::new()),
        ("422 Session Interval Too Small", 4, &|round| {
            format!("Min-SE: {}\r\n", 2000 + round)
        }),
        ("401 Unauthorized", 4, &|round| {
            format!("WWW-Authenticate: Digest realm=\"x\", nonce=\"{round}\", stale=true\r\n")
        }),
    ];
    for (answer, max, extra) in cases {
        let mut pair = answered_with(credentials);
        let now = pair.now;
        pair.ours.handle_hold(now, call(1), true);
        pair.deliver();
        let count = answer_all(
            &mut pair,
            "INVITE",
            Duration::from_secs(1),
            |round, invite| reply(invite, answer, "", &extra(round), ""),
        );
        assert!((2..=max).contains(&count), "{answer}: {count}");
        assert!(!pair.heard(Side::Ours, "HungUp"), "the call goes on");
        let now = pair.now;
        pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
        pair.assert_nothing_is_left();
    }
}

#[test]
fn each_refresh_may_be_challenged() {
    let mut pair = answered_with(credentials);
    for round in 0..3 {
        let now = pair.now;
        pair.ours.handle_hold(now, call(1), round % 2 == 0);
        pair.deliver();
        let invite = last(&pair, "INVITE");
        let extra = format!("WWW-Authenticate: Digest realm=\"x\", nonce=\"{round}\"\r\n");
        pair.inject(&reply(&invite, "401 Unauthorized", "", &extra, ""));
        let again = last(&pair, "INVITE");
        assert!(field(&again, "Authorization").contains(&format!("nonce=\"{round}\"")));
        pair.inject(&reply(&again, "200 OK", "", "", SDP));
        assert_eq!(pair.count(Side::Ours, "Media"), round + 1);
    }
}

#[test]
fn a_thousand_forks_are_eight() {
    let (mut pair, invite) = dialled();
    for number in 0..1000 {
        let tag = format!("early{number}");
        pair.inject(&reply(&invite, "180 Ringing", &tag, "", ""));
    }
    assert_eq!(pair.ours.legs_by_dialog.len(), FORKS_MAX);
    assert_eq!(pair.count(Side::Ours, "Ringing"), 1);
    for number in 0..1000 {
        let tag = format!("final{number}");
        pair.inject(&reply(&invite, "200 OK", &tag, "", SDP));
    }
    assert_eq!(pair.count(Side::Ours, "Answered"), 1);
    assert_eq!(pair.sent(Side::Ours, "ACK").len(), 1 + FORKS_MAX);
    assert_eq!(pair.sent(Side::Ours, "BYE").len(), FORKS_MAX);
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.assert_nothing_is_left();
}

#[test]
fn another_forks_bye_does_not_end_the_call() {
    let (mut pair, invite) = dialled();
    pair.inject(&reply(&invite, "180 Ringing", "loser", "", ""));
    let bye = in_dialog(&pair, "BYE", 1, "", "");
    pair.inject(&reply(&invite, "200 OK", "winner", "", SDP));
    pair.inject(&bye);
    assert_eq!(status(&pair), 481);
    assert!(!pair.heard(Side::Ours, "HungUp"));
}

#[test]
fn reliable_responses_are_acknowledged_in_order() {
    let (mut pair, invite) = dialled();
    let reliable = |rseq: u32| {
        let extra = format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
        reply(&invite, "183 Session Progress", "theirs", &extra, SDP)
    };
    for rseq in [5, 5, 7, 4, 6] {
        pair.inject(&reliable(rseq));
    }
    let acknowledged: Vec<&str> = pair
        .sent(Side::Ours, "PRACK")
        .iter()
        .map(|prack| field(prack, "RAck"))
        .collect();
    assert_eq!(acknowledged, ["5 1 INVITE", "6 1 INVITE"]);
    let mut pair = Pair::new();
    pair.inject(&fresh("INVITE", 1, "Require: 100rel\r\n", ""));
    let Some(&leg) = pair.ours.legs.keys().next() else {
        panic!("nobody called");
    };
    let now = pair.now;
    pair.ours.take_incoming(now, leg, call(1), true);
    pair.deliver();
    let rseq = field(&last(&pair, "SIP/2.0 180"), "RSeq").to_owned();
    let prack = in_dialog(&pair, "PRACK", 2, "RAck: 1 1 INVITE\r\n", "");
    pair.inject(&prack);
    assert_eq!(status(&pair), 481);
    let extra = format!("RAck: {rseq} 1 INVITE\r\n");
    let prack = in_dialog(&pair, "PRACK", 3, &extra, "");
    pair.inject(&prack);
    assert_eq!(status(&pair), 200);
}

#[test]
fn referrals_in_circles_leave_one_leg() {
    let mut pair = Pair::established();
    for round in 0..20_u32 {
        let before = pair.told[1].len();
        let refer = |pair: &Pair, cseq| {
            let extra = "Refer-To: <sip:1@192.0.2.1>\r\n";
            in_dialog(pair, "REFER", cseq, extra, "")
        };
        let first = refer(&pair, 1000 + 2 * round);
        pair.inject(&first);
        assert_eq!(status(&pair), 202);
        let second = first
            .replace(
                &format!("{} REFER", 1000 + 2 * round),
                &format!("{} REFER", 1001 + 2 * round),
            )
            .replace("z9hG4bK-in", "z9hG4bK-second");
        pair.inject(&second);
        assert_eq!(status(&pair), 491, "one after the other");
        let incoming = pair.told[1][before..]
            .iter()
            .any(|event| is_of(event, "Incoming"));
        assert!(incoming && pair.ours.leg_count() == 2);
        let number = 10 + u8::try_from(round).unwrap();
        if round % 2 == 0 {
            pair.take(number);
            pair.accept(number);
        } else {
            let (now, leg) = (pair.now, pair.incoming().leg);
            pair.theirs
                .refuse_incoming(now, leg, StatusCode(486), Q850Cause::USER_BUSY);
            pair.deliver();
        }
        assert_eq!(pair.ours.leg_count(), 1);
        assert_eq!(pair.ours.legs_by_dialog.len(), 1);
        assert_eq!(pair.count(Side::Ours, "HungUp"), 0);
    }
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.assert_nothing_is_left();
}

#[test]
fn a_caller_may_hang_up_when_the_one_who_transferred_has_left() {
    let mut pair = Pair::established();
    let refer = in_dialog(&pair, "REFER", 1000, "Refer-To: <sip:3@192.0.2.2>\r\n", "");
    let bye = in_dialog(&pair, "BYE", 1001, "", "");
    pair.inject(&refer);
    pair.inject(&bye);
    assert_eq!(
        (pair.ours.leg_count(), pair.count(Side::Ours, "HungUp")),
        (1, 0)
    );
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.deliver();
    assert_eq!(pair.sent(Side::Ours, "CANCEL").len(), 1);
    // The far end's agent has not heard of its own BYE.
    pair.theirs.handle_hang_up(now, call(2), Q850Cause::NORMAL);
    pair.assert_nothing_is_left();
}

#[test]
fn one_call_is_replaced_by_one_leg() {
    let mut pair = Pair::established();
    let old = pair.ours.legs_by_dialog.keys().next().unwrap().clone();
    let replaces = format!(
        "Replaces: {};to-tag={};from-tag={}\r\n",
        old.call_id, old.local_tag, old.remote_tag
    );
    // An answer that can't be made ends nothing.
    let bad = SDP.replace("m=audio 4000", "m=video 4000");
    pair.inject(&fresh("INVITE", 1, &replaces, &bad));
    assert_eq!(status(&pair), 488);
    assert_eq!(
        (pair.ours.leg_count(), pair.count(Side::Ours, "HungUp")),
        (1, 0)
    );
    // Two that wait for their answer with the ACK would both speak for the call.
    pair.inject(&fresh("INVITE", 2, &replaces, ""));
    let first = last(&pair, "SIP/2.0 200");
    pair.inject(&fresh("INVITE", 3, &replaces, ""));
    assert_eq!(status(&pair), 491);
    let bye = format!(
        "BYE sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKbye;rport\r\nFrom: {}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n",
        field(&first, "From"),
        field(&first, "To"),
        field(&first, "Call-ID")
    );
    pair.inject(&bye);
    assert_eq!(
        (pair.ours.leg_count(), pair.count(Side::Ours, "HungUp")),
        (1, 0)
    );
    pair.inject(&fresh("INVITE", 4, &replaces, SDP));
    assert_eq!(pair.count(Side::Ours, "Media"), 1);
    assert_eq!(pair.ours.leg_count(), 1);
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.assert_nothing_is_left();
}

#[test]
fn messages_with_wrong_tags_change_nothing() {
    let mut pair = Pair::established();
    let dialog = pair.ours.legs_by_dialog.keys().next().unwrap().clone();
    for method in ["BYE", "ACK", "INFO", "UPDATE", "INVITE", "REFER"] {
        for tag in [&dialog.local_tag, &dialog.remote_tag] {
            let forged = in_dialog(&pair, method, 1000, "", "").replace(tag.as_str(), "guessed");
            let forged = forged.replace("z9hG4bK-in", &format!("z9hG4bK-{tag}"));
            pair.inject(&forged);
            if method != "ACK" {
                assert_eq!(status(&pair), 481, "{method}");
            }
        }
    }
    let cancel = in_dialog(&pair, "CANCEL", 1000, "", "");
    pair.inject(&cancel);
    assert_eq!(status(&pair), 481);
    for (cseq, expected) in [(1000, 200), (999, 500), (1001, 200), (0, 500)] {
        let info = in_dialog(&pair, "INFO", cseq, "", "");
        pair.inject(&info);
        assert_eq!(status(&pair), expected, "{cseq}");
    }
    assert!(pair.told(Side::Ours).is_empty());
    assert_eq!(pair.ours.leg_count(), 1);
}

#[test]
fn responses_that_do_not_fit_change_nothing() {
    let (mut pair, invite) = dialled();
    let ok = reply(&invite, "200 OK", "theirs", "", SDP);
    pair.inject(&ok.replace("1 INVITE", "1 BYE"));
    pair.inject(&ok.replace(field(&invite, "Call-ID"), "another"));
    let (_, tag) = field(&invite, "From").split_once("tag=").unwrap();
    pair.inject(&ok.replace(tag, "another"));
    assert!(!pair.heard(Side::Ours, "Answered") && !pair.heard(Side::Ours, "Stage(FirstResponse"));
    pair.inject(&ok);
    assert!(pair.heard(Side::Ours, "Answered"));
}

#[test]
fn re_invites_at_once() {
    let mut pair = answered_with(|_| {});
    let late = in_dialog(&pair, "INVITE", 10, "", "");
    pair.inject(&late);
    assert_eq!(status(&pair), 200);
    let other = in_dialog(&pair, "INVITE", 11, "", SDP);
    pair.inject(&other);
    assert_eq!(status(&pair), 491, "our offer waits for its answer");
    let ack = in_dialog(&pair, "ACK", 10, "", SDP);
    pair.inject(&ack);
    let third = in_dialog(&pair, "INVITE", 12, "", SDP);
    pair.inject(&third);
    assert_eq!(status(&pair), 200);
    // No ACK for the last: that ends the call, once.
    pair.pass(Duration::from_secs(40));
    assert_eq!(pair.count(Side::Ours, "HungUp"), 1);
    pair.assert_nothing_is_left();
}

#[test]
fn a_bye_during_our_re_invite() {
    let mut pair = answered_with(|_| {});
    let now = pair.now;
    pair.ours.handle_hold(now, call(1), true);
    pair.deliver();
    let invite = last(&pair, "INVITE");
    let bye = in_dialog(&pair, "BYE", 10, "", "");
    pair.inject(&bye);
    assert_eq!(status(&pair), 200);
    assert_eq!(pair.count(Side::Ours, "HungUp"), 1);
    pair.clear();
    pair.inject(&reply(&invite, "200 OK", "", "", SDP));
    assert_eq!(pair.sent(Side::Ours, "ACK").len(), 1);
    assert!(pair.told(Side::Ours).is_empty());
    pair.assert_nothing_is_left();
}

#[test]
fn a_bye_before_the_answer_ends_the_call_once() {
    let (mut pair, invite) = dialled();
    pair.inject(&reply(&invite, "180 Ringing", "theirs", "", ""));
    let update = in_dialog(&pair, "UPDATE", 1, "", SDP);
    pair.inject(&update);
    assert_eq!(status(&pair), 491, "the early dialog lives");
    let bye = in_dialog(&pair, "BYE", 2, "", "");
    pair.inject(&bye);
    assert_eq!(pair.count(Side::Ours, "HungUp"), 1);
    assert_eq!(pair.sent(Side::Ours, "CANCEL").len(), 1);
    pair.inject(&reply(&invite, "200 OK", "theirs", "", SDP));
    assert_eq!(pair.sent(Side::Ours, "ACK").len(), 1);
    assert_eq!(pair.sent(Side::Ours, "BYE").len(), 1);
    pair.assert_nothing_is_left();
    assert_eq!(pair.count(Side::Ours, "HungUp"), 1);
}

#[test]
fn an_update_before_our_answer_waits() {
    let mut pair = Pair::new();
    pair.inject(&fresh("INVITE", 1, "", SDP));
    let &leg = pair.ours.legs.keys().next().unwrap();
    let now = pair.now;
    pair.ours.take_incoming(now, leg, call(1), true);
    pair.deliver();
    let update = in_dialog(&pair, "UPDATE", 2, "", SDP);
    pair.inject(&update);
    assert_eq!(status(&pair), 491);
    // It is answered and hung up at once: the BYE waits for the ACK.
    pair.ours
        .handle_accept(now, call(1), "[::]:20000".parse().unwrap(), false);
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.deliver();
    assert!(pair.sent(Side::Ours, "BYE").is_empty());
    let ack = in_dialog(&pair, "ACK", 1, "", "");
    pair.inject(&ack);
    assert_eq!(pair.sent(Side::Ours, "BYE").len(), 1);
    pair.assert_nothing_is_left();
    assert_eq!(pair.count(Side::Ours, "HungUp"), 0);
}

#[test]
fn a_cancelled_call_that_never_ends_is_forgotten() {
    let (mut pair, invite) = dialled();
    pair.inject(&reply(&invite, "180 Ringing", "theirs", "", ""));
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.deliver();
    let cancel = last(&pair, "CANCEL");
    pair.inject(&reply(&cancel, "200 OK", "theirs", "", ""));
    pair.assert_nothing_is_left();
}

#[test]
fn an_answer_after_the_end_is_ended() {
    let mut pair = answered_with(|_| {});
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.deliver();
    let bye = last(&pair, "BYE");
    pair.inject(&reply(&bye, "200 OK", "", "", ""));
    assert_eq!(pair.ours.leg_count(), 0);
    pair.assert_nothing_is_left();
    let (mut pair, invite) = dialled();
    pair.inject(&reply(&invite, "200 OK", "one", "", SDP));
    let bye = in_dialog(&pair, "BYE", 2, "", "");
    pair.inject(&bye);
    pair.clear();
    for tag in ["one", "two", "two", "three"] {
        pair.inject(&reply(&invite, "200 OK", tag, "", SDP));
    }
    assert_eq!(pair.sent(Side::Ours, "ACK").len(), 1);
    assert_eq!(pair.sent(Side::Ours, "BYE").len(), 1);
    assert!(pair.told(Side::Ours).is_empty());
    pair.assert_nothing_is_left();
}

#[test]
fn a_re_invite_that_only_gets_100_ends_some_day() {
    let mut pair = answered_with(|_| {});
    let now = pair.now;
    pair.ours.handle_hold(now, call(1), true);
    pair.deliver();
    let invite = last(&pair, "INVITE");
    pair.inject(&reply(&invite, "100 Trying", "", "", ""));
    pair.pass(Duration::from_secs(200));
    assert_eq!(pair.count(Side::Ours, "HungUp"), 1);
    pair.assert_nothing_is_left();
}

#[test]
fn a_call_that_nobody_takes_is_forgotten() {
    let mut pair = Pair::new();
    pair.inject(&fresh("INVITE", 1, "", ""));
    pair.pass(Duration::from_secs(3601));
    pair.assert_nothing_is_left();
}

#[test]
fn an_answer_after_early_media_is_told() {
    let mut pair = Pair::new();
    pair.inject(&fresh("INVITE", 1, "", SDP));
    let &leg = pair.ours.legs.keys().next().unwrap();
    let (now, media) = (pair.now, "[::]:20000".parse().unwrap());
    pair.ours.take_incoming(now, leg, call(1), true);
    pair.ours.handle_accept(now, call(1), media, true);
    pair.ours.handle_accept(now, call(1), media, false);
    pair.deliver();
    assert_eq!(pair.count(Side::Ours, "EarlyMedia"), 1);
    assert_eq!(pair.count(Side::Ours, "Answered"), 1);
}
