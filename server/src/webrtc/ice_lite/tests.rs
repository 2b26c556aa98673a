#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicU32, Ordering};

use super::seen_checks::SEEN_CHECKS_MAX;
use super::*;
use crate::webrtc::stun::{IntegrityKey, RESPONSE_LEN_MAX, StunWriter, TransactionId, attribute};

const REMOTE_UFRAG: &str = "peer";

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn agent(now: Instant) -> IceLite {
    IceLite::new(
        now,
        IceCredentials::from_entropy([7; 9], [9; 18]),
        REMOTE_UFRAG,
    )
}

/// What a check carries beside USERNAME and MESSAGE-INTEGRITY.
#[derive(Clone, Copy, Default)]
struct Check {
    use_candidate: bool,
    controlled: bool,
    unknown: bool,
}

/// A transaction id that no other check of the test has.
fn transaction_id() -> TransactionId {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut id = [1; 12];
    id[..4].copy_from_slice(&NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    TransactionId(id)
}

fn request(username: &str, password: Option<&str>, check: Check) -> Vec<u8> {
    let mut out = [0; 300];
    let mut writer = StunWriter::new(&mut out, StunClass::Request, transaction_id()).unwrap();
    writer
        .attribute(attribute::USERNAME, &[username.as_bytes()])
        .unwrap();
    writer
        .attribute(attribute::PRIORITY, &[&[0x6e, 0, 1, 0xff]])
        .unwrap();
    let role = if check.controlled {
        attribute::ICE_CONTROLLED
    } else {
        attribute::ICE_CONTROLLING
    };
    writer.attribute(role, &[&[3; 8]]).unwrap();
    if check.use_candidate {
        writer.attribute(attribute::USE_CANDIDATE, &[]).unwrap();
    }
    if check.unknown {
        writer.attribute(0x7fff, &[b"new"]).unwrap();
    }
    if let Some(password) = password {
        writer
            .message_integrity(&IntegrityKey::new(password))
            .unwrap();
    }
    writer.fingerprint().unwrap();
    let len = writer.len();
    out[..len].to_vec()
}

fn check(
    agent: &mut IceLite,
    now: Instant,
    from: SocketAddr,
    check: Check,
) -> (Option<u16>, BindingOutcome) {
    let username = format!("{}:{REMOTE_UFRAG}", agent.local().ufrag);
    let password = agent.local().password.clone();
    send(
        agent,
        now,
        from,
        &request(&username, Some(&password), check),
    )
}

/// A check with these credentials of ours, after a restart or before.
fn check_with(
    agent: &mut IceLite,
    now: Instant,
    from: SocketAddr,
    local: &IceCredentials,
    remote_ufrag: &str,
    check: Check,
) -> Option<u16> {
    let username = format!("{}:{remote_ufrag}", local.ufrag);
    send(
        agent,
        now,
        from,
        &request(&username, Some(&local.password), check),
    )
    .0
}

fn send(
    agent: &mut IceLite,
    now: Instant,
    from: SocketAddr,
    raw: &[u8],
) -> (Option<u16>, BindingOutcome) {
    let mut response = [0; RESPONSE_LEN_MAX];
    let message = StunMessage::parse(raw).unwrap();
    let outcome = agent.handle_binding(now, from, &message, &mut response);
    let response = &response[..outcome.response_len];
    let code = (!response.is_empty()).then(|| StunMessage::parse(response).unwrap());
    (code.and_then(|message| message.error_code()), outcome)
}

fn events(agent: &mut IceLite) -> Vec<IceEvent> {
    std::iter::from_fn(|| agent.poll_event()).collect()
}

const PLAIN: Check = Check {
    use_candidate: false,
    controlled: false,
    unknown: false,
};
const NOMINATE: Check = Check {
    use_candidate: true,
    ..PLAIN
};

#[test]
fn credentials_are_long_enough_ice_chars() {
    let credentials = IceCredentials::from_entropy([0xff; 9], [0xfb; 18]);
    let ice_char = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    assert_eq!(credentials.ufrag.len(), 12);
    assert_eq!(credentials.password.len(), 24);
    assert!(
        credentials
            .ufrag
            .chars()
            .chain(credentials.password.chars())
            .all(ice_char)
    );
    assert!(!format!("{credentials:?}").contains(&credentials.password));
}

#[test]
fn first_check_binds_and_selects_and_a_nomination_moves() {
    let now = Instant::now();
    let mut agent = agent(now);
    assert_eq!(check(&mut agent, now, address(1), PLAIN).0, None);
    let first = [
        IceEvent::PathBound(address(1)),
        IceEvent::PathSelected(address(1)),
    ];
    assert_eq!(events(&mut agent), first);
    check(&mut agent, now, address(2), PLAIN);
    assert_eq!(events(&mut agent), [IceEvent::PathBound(address(2))]);
    check(&mut agent, now, address(2), NOMINATE);
    assert_eq!(events(&mut agent), [IceEvent::PathSelected(address(2))]);
    check(&mut agent, now, address(1), NOMINATE);
    assert_eq!(agent.selected(), Some(address(1)));
}

#[test]
fn nothing_is_bound_before_integrity_held() {
    let now = Instant::now();
    let mut agent = agent(now);
    let ufrag = agent.local().ufrag.clone();
    let password = agent.local().password.clone();
    let ours = format!("{ufrag}:{REMOTE_UFRAG}");
    let foreign = format!("{ufrag}:other");
    for (username, password, code, reason) in [
        (ours.as_str(), Some("wrong"), 401, DropReason::StunIntegrity),
        (ours.as_str(), None, 400, DropReason::StunIntegrity),
        (
            foreign.as_str(),
            Some(password.as_str()),
            401,
            DropReason::StunUnknownUfrag,
        ),
        (
            "nobody",
            Some(password.as_str()),
            401,
            DropReason::StunUnknownUfrag,
        ),
    ] {
        let raw = request(username, password, NOMINATE);
        let (error, outcome) = send(&mut agent, now, address(9), &raw);
        assert_eq!(error, Some(code));
        assert_eq!(outcome.drop_reason, Some(reason));
    }
    assert_eq!(agent.bound_addresses().count(), 0);
    assert_eq!(agent.selected(), None);
    assert_eq!(events(&mut agent), []);
}

#[test]
fn role_conflict_and_unknown_attributes_are_refused_and_bind_nothing() {
    let now = Instant::now();
    let mut agent = agent(now);
    let conflict = Check {
        controlled: true,
        ..NOMINATE
    };
    assert_eq!(check(&mut agent, now, address(1), conflict).0, Some(487));
    let unknown = Check {
        unknown: true,
        ..NOMINATE
    };
    assert_eq!(check(&mut agent, now, address(1), unknown).0, Some(420));
    assert_eq!(events(&mut agent), []);
}

#[test]
fn media_moves_the_path_only_after_silence_and_only_between_paths() {
    let now = Instant::now();
    let mut agent = agent(now);
    check(&mut agent, now, address(1), NOMINATE);
    check(&mut agent, now, address(2), PLAIN);
    events(&mut agent);
    agent.handle_authenticated_media(now + Duration::from_millis(1900), address(2));
    assert_eq!(agent.selected(), Some(address(1)));
    agent.handle_authenticated_media(now + Duration::from_millis(2100), address(3));
    assert_eq!(agent.selected(), Some(address(1)));
    agent.handle_authenticated_media(now + Duration::from_millis(2100), address(2));
    assert_eq!(events(&mut agent), [IceEvent::PathSelected(address(2))]);
}

#[test]
fn paths_are_bounded_and_the_selected_one_stays() {
    let now = Instant::now();
    let mut agent = agent(now);
    check(&mut agent, now, address(1), NOMINATE);
    for port in 2..100 {
        check(
            &mut agent,
            now + Duration::from_millis(port.into()),
            address(port),
            PLAIN,
        );
        events(&mut agent);
        assert!(agent.bound_addresses().count() <= PATHS_MAX);
        assert!(agent.is_bound(address(1)) && agent.is_bound(address(port)));
    }
}

#[test]
fn consent_is_lost_after_30_s_of_silence_and_told_once() {
    let start = Instant::now();
    let mut agent = agent(start);
    check(&mut agent, start, address(1), NOMINATE);
    let checked = start + Duration::from_secs(29);
    assert_eq!(agent.poll_timeout(), Some(start + CONSENT_TIMEOUT));
    check(&mut agent, checked, address(1), PLAIN);
    events(&mut agent);
    agent.handle_timeout(start + Duration::from_secs(31));
    assert_eq!(events(&mut agent), []);
    // Media alone is no consent.
    agent.handle_authenticated_media(checked + Duration::from_secs(29), address(1));
    agent.handle_timeout(checked + CONSENT_TIMEOUT);
    assert_eq!(
        events(&mut agent),
        [IceEvent::PathReleased(address(1)), IceEvent::ConsentLost]
    );
    agent.handle_timeout(checked + 2 * CONSENT_TIMEOUT);
    assert_eq!((agent.poll_timeout(), agent.selected()), (None, None));
    assert_eq!(events(&mut agent), []);
}

#[test]
fn a_silent_path_is_released_while_another_lives() {
    let start = Instant::now();
    let mut agent = agent(start);
    check(&mut agent, start, address(1), NOMINATE);
    check(
        &mut agent,
        start + Duration::from_secs(20),
        address(2),
        PLAIN,
    );
    events(&mut agent);
    agent.handle_timeout(start + CONSENT_TIMEOUT);
    let moved = [
        IceEvent::PathReleased(address(1)),
        IceEvent::PathSelected(address(2)),
    ];
    assert_eq!(events(&mut agent), moved);
}

#[test]
fn the_handshake_path_serves_until_a_nomination() {
    let now = Instant::now();
    let mut agent = agent(now);
    check(&mut agent, now, address(1), PLAIN);
    check(&mut agent, now, address(2), PLAIN);
    agent.handle_handshake(address(2));
    assert_eq!(agent.selected(), Some(address(2)));
    check(&mut agent, now, address(1), NOMINATE);
    agent.handle_handshake(address(2));
    assert_eq!(agent.selected(), Some(address(1)));
}

/// An agent whose path from `address(1)` is nominated, restarted; its credentials before and after.
fn restarted(now: Instant) -> (IceLite, IceCredentials, IceCredentials) {
    let mut agent = agent(now);
    check(&mut agent, now, address(1), NOMINATE);
    let old = agent.local().clone();
    let new = IceCredentials::from_entropy([8; 9], [10; 18]);
    agent.restart(new.clone(), "again");
    assert_eq!((agent.local(), agent.remote_ufrag()), (&new, "again"));
    events(&mut agent);
    (agent, old, new)
}

#[test]
fn after_a_restart_both_credentials_hold_until_the_new_path_is_nominated() {
    let now = Instant::now();
    let (mut agent, old, new) = restarted(now);
    for check in [PLAIN, NOMINATE] {
        let refused = check_with(&mut agent, now, address(1), &old, REMOTE_UFRAG, check);
        assert_eq!(refused, None, "the old path is checked on");
    }
    // Halves of two generations are none.
    for (local, remote) in [(&old, "again"), (&new, REMOTE_UFRAG)] {
        let refused = check_with(&mut agent, now, address(9), local, remote, NOMINATE);
        assert_eq!(refused, Some(401));
    }
    check_with(&mut agent, now, address(2), &new, "again", PLAIN);
    assert_eq!(events(&mut agent), [IceEvent::PathBound(address(2))]);
    assert_eq!(agent.selected(), Some(address(1)), "media goes on");

    check_with(&mut agent, now, address(2), &new, "again", NOMINATE);
    let moved = [
        IceEvent::PathSelected(address(2)),
        IceEvent::UfragRetired(old.ufrag.clone()),
    ];
    assert_eq!(events(&mut agent), moved);
    let late = check_with(&mut agent, now, address(1), &old, REMOTE_UFRAG, NOMINATE);
    assert_eq!((late, agent.selected()), (Some(401), Some(address(2))));
    assert!(
        agent.is_bound(address(1)),
        "what is under way still arrives"
    );
}

#[test]
fn a_restart_on_the_same_address_retires_the_credentials_alone() {
    let now = Instant::now();
    let (mut agent, old, new) = restarted(now);
    check_with(&mut agent, now, address(1), &new, "again", NOMINATE);
    assert_eq!(events(&mut agent), [IceEvent::UfragRetired(old.ufrag)]);
    assert_eq!(agent.selected(), Some(address(1)));
}

#[test]
fn media_moves_to_the_restarts_path_when_the_old_one_is_silent_and_stays_there() {
    let now = Instant::now();
    let (mut agent, old, new) = restarted(now);
    let later = now + PATH_SILENCE;
    check_with(&mut agent, later, address(2), &new, "again", PLAIN);
    agent.handle_authenticated_media(later, address(2));
    assert_eq!(agent.selected(), Some(address(2)));
    check_with(&mut agent, later, address(1), &old, REMOTE_UFRAG, NOMINATE);
    assert_eq!(agent.selected(), Some(address(2)), "an old nomination");
    check_with(&mut agent, later, address(2), &new, "again", NOMINATE);
    let retired = IceEvent::UfragRetired(old.ufrag);
    assert_eq!(events(&mut agent).last(), Some(&retired));
}

#[test]
fn restarts_without_a_nomination_keep_two_generations_and_the_path() {
    let now = Instant::now();
    let (mut agent, old, first) = restarted(now);
    for number in 20..40 {
        let next = IceCredentials::from_entropy([number; 9], [number; 18]);
        let replaced = agent.local().ufrag.clone();
        agent.restart(next, "third");
        assert_eq!(events(&mut agent), [IceEvent::UfragRetired(replaced)]);
    }
    let late = check_with(&mut agent, now, address(2), &first, "again", NOMINATE);
    assert_eq!(late, Some(401));
    let on = check_with(&mut agent, now, address(1), &old, REMOTE_UFRAG, NOMINATE);
    assert_eq!((on, agent.selected()), (None, Some(address(1))));
}

/// A thief on the way records a check and sends it again from its own address.
#[test]
fn a_recorded_check_moves_nothing() {
    let now = Instant::now();
    let (caller, thief) = (address(1), address(666));
    let mut agent = agent(now);
    let username = format!("{}:{REMOTE_UFRAG}", agent.local().ufrag);
    let password = agent.local().password.clone();
    let recorded = request(&username, Some(&password), NOMINATE);
    send(&mut agent, now, caller, &recorded);
    agent.handle_authenticated_media(now, caller);
    events(&mut agent);
    let (_, outcome) = send(&mut agent, now, thief, &recorded);
    assert_eq!(outcome, BindingOutcome::dropped(DropReason::StunReplay));
    assert_eq!(events(&mut agent), [], "not even bound");
    // The caller's own retransmission is answered.
    assert_eq!(send(&mut agent, now, caller, &recorded).1.drop_reason, None);

    // Long after, the recording is forgotten; the call's media stays where it is as long as the caller is heard.
    for _ in 0..SEEN_CHECKS_MAX {
        check(&mut agent, now, caller, PLAIN);
    }
    let (_, outcome) = send(&mut agent, now, thief, &recorded);
    assert_eq!(outcome.drop_reason, None);
    agent.handle_handshake(thief);
    assert_eq!(agent.selected(), Some(caller));
}

#[test]
fn a_nominated_path_carries_the_media_when_it_brings_some_or_the_old_one_is_silent() {
    let now = Instant::now();
    for silent in [false, true] {
        let mut agent = agent(now);
        check(&mut agent, now, address(1), NOMINATE);
        agent.handle_authenticated_media(now, address(1));
        check(&mut agent, now, address(2), NOMINATE);
        assert_eq!(agent.selected(), Some(address(1)), "no proof yet");
        if silent {
            check(&mut agent, now + PATH_SILENCE, address(2), NOMINATE);
        } else {
            agent.handle_authenticated_media(now, address(2));
        }
        assert_eq!(agent.selected(), Some(address(2)));
        // Both are proven now, or one is silent: the agent may go back at once.
        check(&mut agent, now + PATH_SILENCE, address(1), NOMINATE);
        assert_eq!(agent.selected(), Some(address(1)));
    }
}
