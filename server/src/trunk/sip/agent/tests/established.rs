//! What happens in a session: hold, session timers, digits, transfer, the far end's own requests.

use super::*;
use crate::rtp::StreamDirection;

#[test]
fn we_hold_and_take_back() {
    let mut pair = Pair::established();
    let now = pair.now;
    pair.ours.handle_hold(now, call(1), true);
    pair.deliver();
    assert_eq!(pair.media(Side::Ours).direction, StreamDirection::SendOnly);
    assert_eq!(
        pair.media(Side::Theirs).direction,
        StreamDirection::RecvOnly
    );
    pair.clear();
    pair.ours.handle_hold(now, call(1), false);
    pair.deliver();
    assert_eq!(pair.media(Side::Ours).direction, StreamDirection::SendRecv);
    assert_eq!(
        pair.media(Side::Theirs).direction,
        StreamDirection::SendRecv
    );
    pair.pass(Duration::from_secs(60));
    assert!(!pair.heard(Side::Ours, "HungUp"));
}

#[test]
fn both_hold_at_once_and_both_get_their_way() {
    let mut pair = Pair::established();
    let now = pair.now;
    pair.ours.handle_hold(now, call(1), true);
    pair.theirs.handle_hold(now, call(2), true);
    pair.deliver();
    assert!(
        !pair.sent(Side::Ours, "SIP/2.0 491").is_empty()
            || !pair.sent(Side::Theirs, "SIP/2.0 491").is_empty()
    );
    pair.pass(Duration::from_secs(10));
    assert_eq!(pair.media(Side::Ours).direction, StreamDirection::Inactive);
    assert_eq!(
        pair.media(Side::Theirs).direction,
        StreamDirection::Inactive
    );
}

#[test]
fn the_caller_refreshes_every_half_interval() {
    let mut pair = Pair::established_with(|sip| sip.session_expires_s = 90, |_| {});
    pair.pass(Duration::from_secs(45 * 5 + 1));
    let refreshes = pair.sent(Side::Ours, "UPDATE").len() + pair.sent(Side::Ours, "INVITE").len();
    assert_eq!(refreshes, 5);
    assert!(pair.sent(Side::Theirs, "UPDATE").is_empty());
    assert!(!pair.heard(Side::Ours, "HungUp") && !pair.heard(Side::Theirs, "HungUp"));
}

#[test]
fn a_caller_that_stops_refreshing_is_ended_by_the_called_side() {
    let mut pair = Pair::established_with(|sip| sip.session_expires_s = 90, |_| {});
    pair.loses = Some((Side::Ours, "SIP/2.0"));
    pair.pass(Duration::from_secs(150));
    assert_eq!(pair.end(Side::Theirs).0, 102);
    pair.loses = None;
    pair.assert_nothing_is_left();
}

#[test]
fn digits_go_by_info_in_order() {
    let mut pair = Pair::established();
    let now = pair.now;
    pair.ours.handle_digits(now, call(1), "12#", 120);
    pair.deliver();
    let digits: String = pair
        .told(Side::Theirs)
        .iter()
        .filter_map(|event| match event {
            AgentEvent::Progress(
                _,
                TrunkProgress::Digit {
                    digit,
                    duration_ms: 120,
                },
            ) => Some(*digit),
            _ => None,
        })
        .collect();
    assert_eq!(digits, "12#");
}

#[test]
fn the_far_end_is_transferred() {
    let mut pair = Pair::established();
    let now = pair.now;
    let target = TransferTarget::Number("+15550177".into());
    pair.ours.handle_transfer(now, call(1), &target).unwrap();
    pair.deliver();
    // Their side calls whom it was sent to: us, in this world.
    let invite = pair.told(Side::Ours).iter().find_map(|event| match event {
        AgentEvent::Incoming(invite) => Some(invite.clone()),
        _ => None,
    });
    let invite = invite.unwrap();
    assert_eq!(invite.to, "+15550177");
    pair.ours.take_incoming(now, invite.leg, call(3), true);
    pair.ours
        .handle_accept(now, call(3), "[::]:20010".parse().unwrap(), false);
    pair.deliver();
    assert!(pair.heard(Side::Ours, "Transferred"));
    assert_eq!(
        pair.end(Side::Ours),
        (16, "the far end was transferred".into())
    );
    assert!(
        pair.heard(Side::Theirs, "Media"),
        "the call there goes on with somebody else"
    );
    assert!(!pair.heard(Side::Theirs, "HungUp"));
    let now = pair.now;
    pair.theirs.handle_hang_up(now, call(2), Q850Cause::NORMAL);
    pair.deliver();
    assert_eq!(pair.count(Side::Ours, "HungUp"), 2);
    pair.assert_nothing_is_left();
}

#[test]
fn a_transfer_that_nobody_answers_leaves_the_call() {
    let mut pair = Pair::established();
    let now = pair.now;
    pair.ours
        .handle_transfer(now, call(1), &TransferTarget::Number("1".into()))
        .unwrap();
    pair.deliver();
    let leg = pair.told(Side::Ours).iter().find_map(|event| match event {
        AgentEvent::Incoming(invite) => Some(invite.leg),
        _ => None,
    });
    pair.ours
        .refuse_incoming(now, leg.unwrap(), StatusCode(486), Q850Cause::USER_BUSY);
    pair.deliver();
    assert!(pair.heard(Side::Ours, "Transferred"));
    assert!(!pair.heard(Side::Ours, "HungUp") && !pair.heard(Side::Theirs, "HungUp"));
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.deliver();
    assert_eq!(pair.end(Side::Theirs).0, 16);
    pair.assert_nothing_is_left();
}

/// A proxy that asks for the password in every request, as some do.
#[test]
fn a_challenged_bye_is_sent_again_with_the_answer() {
    let mut pair = Pair::established_with(
        |sip| {
            sip.credentials = Some(SipCredentials {
                username: "line1".into(),
                password: Secret::new("s3cret"),
            });
        },
        |_| {},
    );
    pair.loses = Some((Side::Ours, "BYE sip:"));
    let now = pair.now;
    pair.ours.handle_hang_up(now, call(1), Q850Cause::NORMAL);
    pair.deliver();
    let bye = (*pair.sent(Side::Ours, "BYE").last().unwrap()).to_owned();
    let challenge = format!(
        "SIP/2.0 407 Proxy Authentication Required\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\nContent-Length: 0\r\n\r\n",
        field(&bye, "Via"),
        field(&bye, "From"),
        field(&bye, "To"),
        field(&bye, "Call-ID"),
        field(&bye, "CSeq")
    );
    pair.loses = None;
    pair.inject(&challenge);
    let again = *pair.sent(Side::Ours, "BYE").last().unwrap();
    assert!(
        again.contains("Proxy-Authorization: Digest username=\"line1\""),
        "{again}"
    );
    assert_ne!(field(again, "CSeq"), field(&bye, "CSeq"));
    assert_eq!(pair.end(Side::Theirs).0, 16);
    pair.assert_nothing_is_left();
}
