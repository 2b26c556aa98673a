//! A trunk's health: OPTIONS, registration, circuit breaker.

use super::*;

fn registrar_answer(pair: &mut Pair, status: &str, extra: &str) {
    let register = (*pair
        .sent(Side::Ours, "REGISTER")
        .last()
        .unwrap_or_else(|| panic!("no REGISTER: {:?}", pair.wire)))
    .to_owned();
    let answer = format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=r\r\nCall-ID: {}\r\nCSeq: {}\r\n{extra}Content-Length: 0\r\n\r\n",
        field(&register, "Via"),
        field(&register, "From"),
        field(&register, "To"),
        field(&register, "Call-ID"),
        field(&register, "CSeq")
    );
    pair.inject(&answer);
}

fn registering() -> Pair {
    let mut pair = Pair::with(
        |sip| {
            sip.require_registration = true;
            sip.credentials = Some(SipCredentials {
                username: "line1".into(),
                password: Secret::new("s3cret"),
            });
        },
        |_| {},
    );
    pair.loses = Some((Side::Ours, "REGISTER"));
    pair.pass(Duration::from_millis(1));
    pair
}

fn health(agent: &Agent) -> TrunkHealth {
    agent.health().next().unwrap().1
}

#[test]
fn a_registration_is_made_challenged_kept_and_given_back() {
    let mut pair = registering();
    assert!(matches!(health(&pair.ours), TrunkHealth::Down(_)));
    registrar_answer(
        &mut pair,
        "401 Unauthorized",
        "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"\r\n",
    );
    let answered = (*pair.sent(Side::Ours, "REGISTER").last().unwrap()).to_owned();
    assert!(
        answered.contains("Authorization: Digest username=\"line1\""),
        "{answered}"
    );
    assert!(!answered.contains("s3cret"));
    registrar_answer(
        &mut pair,
        "200 OK",
        "Contact: <sip:line1@192.0.2.1:5060>;expires=120\r\n",
    );
    assert_eq!(health(&pair.ours), TrunkHealth::Up);
    pair.clear();
    pair.pass(Duration::from_secs(59));
    assert!(pair.sent(Side::Ours, "REGISTER").is_empty());
    pair.pass(Duration::from_secs(2));
    assert!(
        !pair.sent(Side::Ours, "REGISTER").is_empty(),
        "refreshed at half of its time"
    );
    assert_eq!(
        health(&pair.ours),
        TrunkHealth::Up,
        "the old one holds meanwhile"
    );
    registrar_answer(&mut pair, "200 OK", "Expires: 120\r\n");
    let now = pair.now;
    pair.ours.begin_drain(now);
    pair.deliver();
    assert!(
        pair.sent(Side::Ours, "REGISTER")
            .last()
            .unwrap()
            .contains("Expires: 0\r\n")
    );
    assert_eq!(pair.ours.registrations_ending(), 1);
    registrar_answer(
        &mut pair,
        "401 Unauthorized",
        "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"m\", qop=\"auth\"\r\n",
    );
    let answered = (*pair.sent(Side::Ours, "REGISTER").last().unwrap()).to_owned();
    assert!(
        answered.contains("Authorization: Digest") && answered.contains("Expires: 0\r\n"),
        "{answered}"
    );
    assert_eq!(pair.ours.registrations_ending(), 1, "it is not over yet");
    registrar_answer(&mut pair, "200 OK", "");
    assert_eq!(pair.ours.registrations_ending(), 0);
}

#[test]
fn a_wrong_password_is_told_once_and_tried_again_later() {
    let mut pair = registering();
    for _ in 0..2 {
        registrar_answer(
            &mut pair,
            "401 Unauthorized",
            "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\"\r\n",
        );
    }
    let TrunkHealth::Down(why) = health(&pair.ours) else {
        panic!("it is not registered");
    };
    assert!(why.contains("sip_password"), "{why}");
    pair.clear();
    pair.pass(Duration::from_secs(6));
    assert!(!pair.sent(Side::Ours, "REGISTER").is_empty());
}

#[test]
fn a_trunk_that_stops_answering_options_is_down_and_up_again() {
    let mut pair = Pair::with(|sip| sip.options_interval_s = 30, |_| {});
    pair.pass(Duration::from_secs(61));
    assert_eq!(pair.sent(Side::Ours, "OPTIONS").len(), 3);
    assert_eq!(health(&pair.ours), TrunkHealth::Up);
    pair.loses = Some((Side::Ours, "OPTIONS"));
    pair.pass(Duration::from_secs(45));
    assert!(matches!(health(&pair.ours), TrunkHealth::Down(_)));
    assert_eq!(pair.count(Side::Ours, "Health"), 1);
    pair.loses = None;
    pair.pass(Duration::from_secs(20));
    assert_eq!(health(&pair.ours), TrunkHealth::Up);
    assert_eq!(pair.count(Side::Ours, "Health"), 2);
}

#[test]
fn the_breaker_opens_after_failures_in_a_row_and_tries_again() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.theirs.begin_drain(now);
    for number in 0..3 {
        assert_eq!(health(&pair.ours), TrunkHealth::Up);
        pair.dial(number);
        assert_eq!(pair.end(Side::Ours).0, 41);
    }
    assert_eq!(health(&pair.ours), TrunkHealth::BreakerOpen);
    pair.pass(Duration::from_secs(31));
    assert_eq!(health(&pair.ours), TrunkHealth::Up, "one may be tried");
    pair.dial(9);
    assert_eq!(
        health(&pair.ours),
        TrunkHealth::BreakerOpen,
        "and opens it at once"
    );
    assert_eq!(pair.count(Side::Ours, "Health"), 3);
}

#[test]
fn when_the_first_target_is_dead_the_next_one_is_asked_and_the_trunk_is_up() {
    let mut pair = Pair::with(|sip| sip.options_interval_s = 30, |_| {});
    let now = pair.now;
    let targets = vec![target(DEAD, OURS), target(THEIRS, OURS)];
    pair.ours
        .handle_resolved(now, &"carrier".parse().unwrap(), Ok(targets));
    // Names are looked up again meanwhile; nobody answers that here.
    for _ in 0..12 {
        pair.pass(Duration::from_secs(5));
        assert_eq!(health(&pair.ours), TrunkHealth::Up);
    }
    // With none left it is down.
    pair.loses = Some((Side::Ours, "OPTIONS"));
    pair.pass(Duration::from_secs(90));
    assert!(matches!(health(&pair.ours), TrunkHealth::Down(_)));
}

/// What an operator does when a trunk is down: corrects the file, and reloads.
#[test]
fn a_reload_that_cures_a_trunk_takes_its_being_down_back() {
    let mut pair = Pair::with(|sip| sip.options_interval_s = 30, |_| {});
    pair.loses = Some((Side::Ours, "OPTIONS"));
    pair.pass(Duration::from_secs(45));
    assert!(matches!(health(&pair.ours), TrunkHealth::Down(_)));
    let mut sip = sip_config(THEIRS);
    sip.options_interval_s = 0;
    let now = pair.now;
    pair.ours.configure(now, [trunk_config(sip)].iter());
    pair.deliver();
    let told = pair.told(Side::Ours).last();
    assert!(
        matches!(
            told,
            Some(AgentEvent::Health {
                health: TrunkHealth::Up,
                ..
            })
        ),
        "{told:?}"
    );
}

#[test]
fn a_trunk_whose_address_can_not_be_bound_is_down_until_it_is() {
    let mut pair = Pair::new();
    let (now, listen) = (pair.now, "[::]:5060".parse().unwrap());
    pair.ours
        .handle_listen(now, SipTransport::Udp, listen, Some("Address in use"));
    let TrunkHealth::Down(why) = health(&pair.ours) else {
        panic!("nothing can come or go");
    };
    assert!(
        why.contains("5060") && why.contains("Address in use"),
        "{why}"
    );
    pair.ours
        .handle_listen(now, SipTransport::Udp, listen, None);
    assert_eq!(health(&pair.ours), TrunkHealth::Up);
}
