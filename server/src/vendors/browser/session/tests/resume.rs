//! A page that loses its socket and comes back, or does not, by a clock that is passed in.

use super::*;

/// After `session` the page hears what waited for it.
fn comes_back(page: &mut Page, number: u8) -> Vec<String> {
    page.session.resumed(welcome(number));
    page.sees()
}

#[test]
fn six_minutes_into_a_call_and_longer_than_any_token_a_page_comes_back() {
    let mut page = Page::in_call();
    page.waits(Duration::from_secs(360));
    assert_eq!(page.sees(), Vec::<String>::new(), "nothing ends by itself");
    for number in 2..10 {
        page.loses_its_socket();
        assert!(page.session.waits_for_page());
        page.waits(GRACE - Duration::from_millis(1));
        assert_eq!(comes_back(&mut page, number), ["session"]);
    }
    page.says(r#"{"type":"offer","sdp":"restart"}"#);
    assert_eq!(page.sees(), ["[offer]"]);
    page.session.offer_answered(Ok("answer".to_owned()));
    assert_eq!(page.sees(), ["answer"]);
    page.waits(Duration::from_secs(3600));
    assert!(page.session.has_call());
}

#[test]
fn what_happened_meanwhile_is_told_once_and_in_order() {
    let mut page = Page::in_call();
    // Said, but still on its way when the socket broke.
    page.session.call_event(event());
    page.session.digit('1', 100);
    page.loses_its_socket();
    page.session.call_event(event());
    page.session.digit('2', 100);
    page.session.ringing(sid());
    assert_eq!(page.sees(), Vec::<String>::new());
    let heard = comes_back(&mut page, 2);
    assert_eq!(
        heard,
        ["session", "event", "dtmf", "event", "dtmf", "ringing"]
    );
    page.loses_its_socket();
    assert_eq!(comes_back(&mut page, 3), ["session"], "nothing twice");
}

#[test]
fn a_page_that_comes_too_late_has_lost_its_call_once() {
    let mut page = Page::in_call();
    page.loses_its_socket();
    page.waits(GRACE - Duration::from_millis(1));
    assert_eq!(page.sees(), Vec::<String>::new());
    page.waits(Duration::from_millis(1));
    let given_up = page.actions();
    let [Action::Abandon { reason }] = given_up.as_slice() else {
        panic!("{given_up:?}")
    };
    assert!(reason.contains("not resumed within 15000 ms"), "{reason}");
    page.waits(GRACE);
    assert_eq!(comes_back(&mut page, 2), Vec::<String>::new());
    assert!(page.session.is_over());
}

#[test]
fn a_call_that_ended_meanwhile_says_so_to_the_page_that_comes_back() {
    let mut page = Page::in_call();
    page.loses_its_socket();
    page.session.call_event(event());
    page.session.ended(Q850Cause::NORMAL, "the far end hung up");
    assert_eq!(page.sees(), Vec::<String>::new());
    let heard = comes_back(&mut page, 2);
    assert_eq!(heard, ["session", "event", "bye", "close 1000"]);
    assert!(page.session.is_over());
}

#[test]
fn without_a_call_without_a_token_or_without_a_grace_nobody_waits() {
    let mut unauthenticated = Page::connect(None);
    unauthenticated.loses_its_socket();
    let mut idle = Page::ready();
    idle.loses_its_socket();
    let mut impatient = Page::connect_with(Some("token"), Duration::ZERO);
    impatient
        .session
        .authenticated(impatient.now, Ok(grant(SCOPE_DIAL)), Welcome::default());
    impatient.loses_its_socket();
    for page in [&mut unauthenticated, &mut idle, &mut impatient] {
        assert!(!page.session.waits_for_page());
        let last = page.actions().pop();
        assert!(matches!(last, Some(Action::Abandon { .. })), "{last:?}");
        assert!(page.session.is_over());
    }
}

#[test]
fn what_waits_is_bounded_and_no_event_is_lost_quietly() {
    let mut page = Page::in_call();
    page.loses_its_socket();
    for _ in 0..2 * BACKLOG_MAX {
        page.session.digit('1', 100);
    }
    assert_eq!(comes_back(&mut page, 2).len(), 1 + BACKLOG_MAX / 2);
    page.loses_its_socket();
    for _ in 0..=BACKLOG_MAX {
        page.session.call_event(event());
    }
    let last = page.actions().pop();
    assert!(matches!(last, Some(Action::Abandon { .. })), "{last:?}");
}

#[test]
fn a_page_comes_back_while_the_gateway_drains() {
    let mut page = Page::in_call();
    page.loses_its_socket();
    page.session.draining();
    assert!(page.session.waits_for_page());
    assert_eq!(comes_back(&mut page, 2), ["session"]);
    assert!(page.session.has_call());
}
