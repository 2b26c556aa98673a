//! Set-up and end, from either side.

use super::*;

#[test]
fn a_call_is_set_up_and_hung_up_by_us() {
    let mut pair = Pair::new();
    pair.dial(1);
    assert_eq!(pair.incoming().to, "+15550100");
    assert_eq!(pair.incoming().from, "+15550199");
    assert!(
        pair.heard(Side::Ours, "Stage(InviteSent") && pair.heard(Side::Ours, "Stage(FirstResponse")
    );
    assert!(!pair.heard(Side::Ours, "Ringing"));
    pair.take(2);
    assert!(pair.heard(Side::Ours, "Ringing"));
    pair.accept(2);
    let (ours, theirs) = (pair.media(Side::Ours), pair.media(Side::Theirs));
    assert_eq!(ours.remote, "192.0.2.2:30000".parse().unwrap());
    assert_eq!(theirs.remote, "192.0.2.1:20000".parse().unwrap());
    assert_eq!(ours.sends.codec, Codec::Pcmu);
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.deliver();
    assert_eq!(pair.end(Side::Theirs), (16, "the far end hung up".into()));
    assert_eq!(
        pair.count(Side::Ours, "HungUp"),
        0,
        "who hangs up is not told so"
    );
    pair.assert_nothing_is_left();
}

#[test]
fn a_call_is_hung_up_by_the_far_end_with_its_cause() {
    let mut pair = Pair::established();
    let now = pair.now;
    pair.theirs.handle_hang_up(now, call(2), Q850Cause(38));
    pair.deliver();
    assert_eq!(pair.end(Side::Ours).0, 38);
    assert_eq!(pair.count(Side::Ours, "HungUp"), 1);
    pair.assert_nothing_is_left();
}

#[test]
fn refusals_keep_their_cause() {
    for (status, cause) in [
        (486, 17),
        (404, 1),
        (603, 21),
        (480, 18),
        (500, 41),
        (488, 65),
    ] {
        let mut pair = Pair::new();
        pair.dial(1);
        let (now, leg) = (pair.now, pair.incoming().leg);
        pair.theirs
            .refuse_incoming(now, leg, StatusCode(status), Q850Cause(cause));
        pair.deliver();
        assert_eq!(pair.end(Side::Ours).0, cause, "{status}");
        assert_eq!(pair.count(Side::Ours, "Failed"), 1);
        pair.assert_nothing_is_left();
    }
}

#[test]
fn the_caller_gives_up_before_the_answer() {
    let mut pair = Pair::new();
    pair.dial(1);
    pair.take(2);
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.deliver();
    assert_eq!(
        pair.end(Side::Theirs),
        (16, "the far end gave the call up".into())
    );
    assert_eq!(pair.sent(Side::Theirs, "SIP/2.0 487").len(), 1);
    assert_eq!(pair.count(Side::Ours, "Failed"), 0);
    pair.assert_nothing_is_left();
}

#[test]
fn a_cancel_waits_for_the_first_response() {
    let mut pair = Pair::new();
    pair.loses = Some((Side::Theirs, "SIP/2.0 100"));
    pair.dial(1);
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.deliver();
    assert!(pair.sent(Side::Ours, "CANCEL").is_empty());
    pair.loses = None;
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.sent(Side::Ours, "CANCEL").len(), 1);
    assert_eq!(pair.sent(Side::Theirs, "SIP/2.0 487").len(), 1);
    pair.assert_nothing_is_left();
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let mut pair = Pair::new();
    pair.dial(1);
    pair.take(2);
    pair.loses = Some((Side::Ours, "CANCEL"));
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.deliver();
    pair.accept(2);
    assert_eq!(pair.sent(Side::Ours, "ACK").len(), 1);
    assert_eq!(pair.sent(Side::Ours, "BYE").len(), 1);
    assert_eq!(pair.end(Side::Theirs).0, 16);
    assert!(!pair.heard(Side::Ours, "Answered"));
    pair.assert_nothing_is_left();
}

#[test]
fn a_lost_ack_is_sent_again_for_the_repeated_answer() {
    let mut pair = Pair::new();
    pair.dial(1);
    pair.take(2);
    pair.loses = Some((Side::Ours, "ACK sip:"));
    pair.accept(2);
    pair.pass(Duration::from_secs(1));
    pair.loses = None;
    pair.pass(Duration::from_secs(2));
    assert!(pair.sent(Side::Ours, "ACK").len() >= 3);
    pair.pass(T1_64 * 2);
    assert!(!pair.heard(Side::Theirs, "HungUp"), "{:?}", pair.told);
    assert_eq!(pair.count(Side::Ours, "Answered"), 1);
}

#[test]
fn an_answer_that_is_never_acknowledged_ends_the_call() {
    let mut pair = Pair::new();
    pair.dial(1);
    pair.take(2);
    pair.loses = Some((Side::Ours, "ACK sip:"));
    pair.accept(2);
    pair.pass(T1_64 + Duration::from_secs(1));
    let (cause, text) = pair.end(Side::Theirs);
    assert_eq!(cause, 102);
    assert!(text.contains("ACK"), "{text}");
    assert_eq!(pair.end(Side::Ours).0, 102, "its BYE says why");
    pair.assert_nothing_is_left();
}

#[test]
fn a_far_end_that_is_not_there_fails_after_32_s() {
    let mut pair = Pair::new();
    pair.loses = Some((Side::Ours, "INVITE"));
    pair.dial(1);
    pair.pass(Duration::from_secs(31));
    assert!(!pair.heard(Side::Ours, "Failed"));
    pair.pass(Duration::from_secs(2));
    assert_eq!(pair.end(Side::Ours).0, 102);
    pair.assert_nothing_is_left();
}

#[test]
fn the_next_target_is_called_when_one_does_not_answer() {
    let mut pair = Pair::new();
    let dead = target(DEAD, OURS);
    let alive = target(THEIRS, OURS);
    let now = pair.now;
    pair.ours
        .handle_resolved(now, &"carrier".parse().unwrap(), Ok(vec![dead, alive]));
    // Whoever listens at the first address hears nothing.
    pair.dial(1);
    let first = pair
        .wire
        .iter()
        .filter(|(_, text)| text.starts_with("INVITE"))
        .count();
    assert!(first >= 1);
}

#[test]
fn a_wrong_number_is_the_callers_fault() {
    let mut pair = Pair::new();
    let now = pair.now;
    let dial = Dial {
        call_sid: call(1),
        trunk_id: "carrier".parse().unwrap(),
        to: "not a number\r\n".into(),
        from: String::new(),
        local_rtp: "[::]:20000".parse().unwrap(),
    };
    pair.ours.handle_dial(now, dial);
    pair.deliver();
    assert_eq!(pair.end(Side::Ours).0, 28);
    assert!(pair.wire.is_empty());
}

#[test]
fn a_refused_call_that_was_redirected_goes_elsewhere_and_never_in_circles() {
    let mut pair = Pair::new();
    pair.theirs.begin_drain(pair.now);
    pair.loses = Some((Side::Theirs, "503"));
    pair.dial(1);
    let mut invites = Vec::new();
    for _ in 0..4 {
        let Some((_, invite)) = pair
            .wire
            .iter()
            .rev()
            .find(|(side, text)| *side == Side::Ours && text.starts_with("INVITE"))
        else {
            panic!("no INVITE");
        };
        let invite = invite.clone();
        invites.push(invite.split(' ').nth(1).unwrap().to_owned());
        let answer = format!(
            "SIP/2.0 302 Moved\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=x\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:a@192.0.2.2>;q=0.1, <sip:b@192.0.2.2>;q=0.9\r\nContent-Length: 0\r\n\r\n",
            field(&invite, "Via"),
            field(&invite, "From"),
            field(&invite, "To"),
            field(&invite, "Call-ID"),
            field(&invite, "CSeq")
        );
        pair.inject(&answer);
    }
    assert_eq!(invites[1..3], ["sip:b@192.0.2.2", "sip:a@192.0.2.2"]);
    assert_eq!(pair.end(Side::Ours).0, 22, "{:?}", pair.told);
}
