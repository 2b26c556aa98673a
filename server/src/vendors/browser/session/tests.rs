//! What a page notices of a session: what it may say when, what it hears, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod resume;

use proptest::prelude::*;
use shards::ShardIndex;

use super::*;
use crate::auth::TurnCredentials;
use crate::call::{CallStatus, EventType};

/// `signal_grace_ms`
const GRACE: Duration = Duration::from_secs(15);

/// A session with a clock of its own.
struct Page {
    session: BrowserSession,
    now: Instant,
}

impl Page {
    fn connect(token: Option<&str>) -> Self {
        Self::connect_with(token, GRACE)
    }

    fn connect_with(token: Option<&str>, signal_grace: Duration) -> Self {
        let now = Instant::now();
        let settings = SessionSettings {
            session_id: "s1".to_owned(),
            signal_grace,
        };
        Self {
            session: BrowserSession::new(now, token.map(str::to_owned), settings),
            now,
        }
    }

    fn authenticated(scope: &str) -> Self {
        let mut page = Self::connect(Some("token"));
        page.session
            .authenticated(page.now, Ok(grant(scope)), welcome(1));
        page
    }

    /// After `session` and `answer`.
    fn ready() -> Self {
        let mut page = Self::authenticated(SCOPE_DIAL);
        page.says(r#"{"type":"offer","sdp":"offer"}"#);
        page.session.offer_answered(Ok("answer".to_owned()));
        page.actions();
        page
    }

    fn in_call() -> Self {
        let mut page = Self::ready();
        page.says(r#"{"type":"dial","to":"+15550100"}"#);
        page.session.call_event(event());
        page.actions();
        page
    }

    fn loses_its_socket(&mut self) {
        self.session.handle_loss(self.now, Vec::new(), false);
    }

    fn says(&mut self, text: &str) {
        self.session.handle_text(text);
    }

    fn waits(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.session.poll_action()).collect()
    }

    /// What the page sees: the `type` of each message with `code` where there is one, `close CODE`, and our actions
    /// in brackets.
    fn sees(&mut self) -> Vec<String> {
        self.actions()
            .into_iter()
            .map(|action| shown(&action))
            .collect()
    }
}

fn shown(action: &Action) -> String {
    match action {
        Action::Send(message) => {
            let json: serde_json::Value = serde_json::from_str(&message.to_json()).unwrap();
            let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("type"), text("code"))
                .trim_end()
                .to_owned()
        }
        Action::Close { code, .. } => format!("close {code}"),
        Action::Authenticate { .. } => "[authenticate]".to_owned(),
        Action::Offer { .. } => "[offer]".to_owned(),
        Action::Candidate(candidate) => format!("[candidate {}]", candidate.is_some()),
        Action::Dial { to, .. } => format!("[dial {to}]"),
        other => format!("[{other:?}]"),
    }
}

fn grant(scope: &str) -> SessionGrant {
    SessionGrant {
        subject: "alice".to_owned(),
        issuer: "app".to_owned(),
        scopes: scope.split_ascii_whitespace().map(str::to_owned).collect(),
        token_id: "3:app:1".to_owned(),
        expires_unix_s: 0,
    }
}

fn welcome(number: u8) -> Welcome {
    Welcome {
        resume_token: Some(token(number)),
        ice_servers: vec![IceServer {
            urls: vec!["turn:turn.example.com".to_owned()],
            credentials: Some(TurnCredentials {
                username: format!("{number}:acme"),
                credential: "sesame".to_owned(),
            }),
        }],
    }
}

fn token(number: u8) -> ResumeToken {
    ResumeToken::new(ShardIndex(0), [number; 16])
}

fn sid() -> CallSid {
    CallSid::new(ShardIndex(0), [0xab; 14])
}

fn event() -> CallEvent {
    CallEvent {
        call_sid: sid(),
        event_type: EventType::ChannelCreate,
        status: CallStatus::Initiated,
        start_timestamp_ms: 1,
        q850_cause: 0,
        recording_url: String::new(),
        duration_seconds: 0,
        answer_timestamp_ms: 0,
        end_timestamp_ms: 0,
        packets_sent: 0,
        packets_received: 0,
        packets_lost: 0,
        bytes_sent: 0,
        jitter_ms: 0.0,
        estimated_mos: 0.0,
        trunk_id: "echo".parse().unwrap(),
        tenant_id: "acme".parse().unwrap(),
        codec: String::new(),
        timestamp_ms: 1,
        client_id: String::new(),
    }
}

#[test]
fn a_whole_call() {
    let mut page = Page::connect(None);
    page.says(r#"{"type":"auth","token":"t"}"#);
    assert_eq!(
        page.actions(),
        [Action::Authenticate {
            token: AuthToken("t".to_owned())
        }]
    );
    page.session
        .authenticated(page.now, Ok(grant(SCOPE_DIAL)), welcome(1));
    assert_eq!(page.sees(), ["session"]);
    page.says(r#"{"type":"offer","sdp":"o"}"#);
    page.session.offer_answered(Ok("a".to_owned()));
    assert_eq!(page.sees(), ["[offer]", "answer"]);
    page.says(r#"{"type":"dial","to":"+15550100","trunk_id":"echo","client_id":"c"}"#);
    page.session.call_event(event());
    page.session.ringing(sid());
    page.session.call_event(event());
    assert_eq!(
        page.sees(),
        ["[dial +15550100]", "event", "ringing", "event"]
    );
    page.says(r#"{"type":"dtmf","digits":"12#"}"#);
    page.says(r#"{"type":"dtmf","digits":"D","duration_ms":2000}"#);
    page.session.digit('5', 160);
    assert_eq!(
        page.sees(),
        [
            r##"[Dtmf { digits: "12#", duration_ms: 200 }]"##,
            r#"[Dtmf { digits: "D", duration_ms: 2000 }]"#,
            "dtmf"
        ]
    );
    page.says(r#"{"type":"hold"}"#);
    page.says(r#"{"type":"unhold"}"#);
    page.says(r#"{"type":"hangup"}"#);
    page.session.call_event(event());
    page.session
        .ended(Q850Cause::NORMAL, "normal call clearing");
    assert_eq!(
        page.sees(),
        [
            "[Hold]",
            "[Unhold]",
            "[Hangup]",
            "event",
            "bye",
            "close 1000"
        ]
    );
    page.says(r#"{"type":"ping","id":1}"#);
    page.loses_its_socket();
    assert!(page.sees().is_empty(), "a closed session is silent");
}

#[test]
fn a_token_in_the_handshake_is_checked_at_once() {
    let mut page = Page::connect(Some("jwt"));
    assert_eq!(
        page.actions(),
        [Action::Authenticate {
            token: AuthToken("jwt".to_owned())
        }]
    );
    let code = RefusalCode::TokenExpired;
    page.session.authenticated(
        page.now,
        Err(Refusal::new(code, Fault::Caller, "the token has expired")),
        Welcome::default(),
    );
    assert_eq!(page.sees(), ["error token_expired", "close 4402"]);
}

#[test]
fn messages_sent_ahead_are_taken_in_their_order() {
    let mut page = Page::connect(Some("jwt"));
    page.says(r#"{"type":"offer","sdp":"o"}"#);
    page.says(r#"{"type":"candidate","candidate":{"candidate":"candidate:1 1 udp 1 192.0.2.2 9 typ host"}}"#);
    page.says(r#"{"type":"candidate","candidate":{"candidate":""}}"#);
    page.says(r#"{"type":"dial","to":"x"}"#);
    page.says(r#"{"type":"hangup"}"#);
    assert_eq!(page.sees(), ["[authenticate]"]);
    page.session
        .authenticated(page.now, Ok(grant(SCOPE_DIAL)), welcome(1));
    assert_eq!(page.sees(), ["session", "[offer]"]);
    page.session.offer_answered(Ok("a".to_owned()));
    assert_eq!(
        page.sees(),
        [
            "answer",
            "[candidate true]",
            "[candidate false]",
            "[dial x]",
            "[Hangup]"
        ]
    );
}

#[test]
fn too_many_messages_ahead_close_the_session() {
    for text in [
        r#"{"type":"hold"}"#.to_owned(),
        format!(r#"{{"type":"offer","sdp":"{}"}}"#, "x".repeat(40_000)),
    ] {
        let mut page = Page::connect(Some("jwt"));
        for _ in 0..=HELD_MESSAGES_MAX {
            page.says(&text);
        }
        assert_eq!(page.sees(), ["[authenticate]", "error limit", "close 4429"]);
    }
}

#[test]
fn silence_ends_the_session() {
    let mut page = Page::connect(None);
    page.says(r#"{"type":"ping","id":1}"#);
    page.waits(TOKEN_TIMEOUT - Duration::from_millis(1));
    assert_eq!(page.sees(), ["pong"]);
    page.waits(Duration::from_millis(1));
    assert_eq!(page.sees(), ["error timeout", "close 4408"]);

    let mut page = Page::authenticated(SCOPE_DIAL);
    page.actions();
    assert_eq!(page.session.poll_timeout(), Some(page.now + OFFER_TIMEOUT));
    page.waits(OFFER_TIMEOUT);
    assert_eq!(page.sees(), ["error timeout", "close 4408"]);

    let mut page = Page::ready();
    assert_eq!(page.session.poll_timeout(), None);
    page.waits(Duration::from_secs(3600));
    assert!(page.sees().is_empty());
}

#[test]
fn order_is_required() {
    let mut page = Page::connect(None);
    page.says(r#"{"type":"dial","to":"x"}"#);
    assert_eq!(page.sees(), ["error token_invalid", "close 4401"]);

    let mut page = Page::authenticated(SCOPE_DIAL);
    page.actions();
    page.says(r#"{"type":"dial","to":"x"}"#);
    page.says(r#"{"type":"candidate"}"#);
    assert_eq!(
        page.sees(),
        ["error offer_required", "error offer_required"]
    );

    let mut page = Page::ready();
    for text in [
        r#"{"type":"hangup"}"#,
        r#"{"type":"hold"}"#,
        r#"{"type":"dtmf","digits":"1"}"#,
    ] {
        page.says(text);
        assert_eq!(page.sees(), ["error no_call"]);
    }
    page.says(r#"{"type":"auth","token":"again"}"#);
    assert_eq!(page.sees(), ["error malformed", "close 4400"]);
}

#[test]
fn a_second_dial_is_refused_and_the_call_goes_on() {
    let mut page = Page::in_call();
    page.says(r#"{"type":"dial","to":"y"}"#);
    assert_eq!(page.sees(), ["error call_exists"]);
    page.says(r#"{"type":"hangup"}"#);
    assert_eq!(page.sees(), ["[Hangup]"]);
}

#[test]
fn a_dial_needs_the_scope() {
    let mut page = Page::authenticated("call.barge");
    page.says(r#"{"type":"offer","sdp":"o"}"#);
    page.session.offer_answered(Ok("a".to_owned()));
    page.says(r#"{"type":"dial","to":"x"}"#);
    assert_eq!(page.sees()[4..], ["error scope", "close 4403"]);
}

#[test]
fn a_refused_call_says_why() {
    let mut page = Page::ready();
    page.says(r#"{"type":"dial","to":"x"}"#);
    let full = Refusal::new(
        RefusalCode::Limit,
        Fault::Config,
        "the tenant has 5 calls, which is its limit",
    );
    page.session
        .call_refused(full.with_cause(Q850Cause::NO_CIRCUIT));
    let actions = page.actions();
    let bye = ServerMessage::Bye {
        q850_cause: 34,
        reason: "the tenant has 5 calls, which is its limit".to_owned(),
    };
    assert_eq!(actions[2], Action::Send(bye));
    let close = Action::Close {
        code: 4429,
        reason: "the tenant has 5 calls, which is its limit".to_owned(),
    };
    assert_eq!(actions[3], close);
}

#[test]
fn malformed_frames_end_call_and_session() {
    let mut page = Page::in_call();
    page.says(r#"{"type":"dance"}"#);
    let actions = page.actions();
    assert_eq!(actions[0], Action::Hangup);
    let Action::Close { code, reason } = &actions[2] else {
        panic!("{actions:?}")
    };
    assert_eq!(*code, 4400);
    assert!(reason.contains("unknown variant `dance`"), "{reason}");
    assert!(reason.len() <= CLOSE_REASON_LEN_MAX);

    let mut page = Page::ready();
    page.session.handle_binary();
    assert_eq!(page.sees(), ["error malformed", "close 4400"]);
}

#[test]
fn close_reasons_are_cut_between_characters() {
    let mut page = Page::ready();
    page.session.refuse(Refusal::new(
        RefusalCode::Internal,
        Fault::Us,
        "\u{e4}".repeat(200),
    ));
    let actions = page.actions();
    assert_eq!(
        actions[1],
        Action::Close {
            code: 1011,
            reason: "\u{e4}".repeat(61)
        }
    );
}

#[test]
fn bad_digits_are_refused_and_the_call_goes_on() {
    let mut page = Page::in_call();
    let long = format!(
        r#"{{"type":"dtmf","digits":"{}"}}"#,
        "1".repeat(DIGITS_MAX + 1)
    );
    for text in [
        r#"{"type":"dtmf","digits":""}"#,
        r#"{"type":"dtmf","digits":"a"}"#,
        r#"{"type":"dtmf","digits":"E"}"#,
        r#"{"type":"dtmf","digits":"1","duration_ms":39}"#,
        r#"{"type":"dtmf","digits":"1","duration_ms":2001}"#,
        long.as_str(),
    ] {
        page.says(text);
        assert_eq!(page.sees(), ["error invalid_value"], "{text}");
    }
    page.says(r#"{"type":"dtmf","digits":"0123456789*#ABCD","duration_ms":40}"#);
    assert_eq!(
        page.actions(),
        [Action::Dtmf {
            digits: "0123456789*#ABCD".to_owned(),
            duration_ms: 40
        }]
    );
}

#[test]
fn renegotiation_leaves_the_call_alone() {
    let mut page = Page::in_call();
    page.says(r#"{"type":"offer","sdp":"hold"}"#);
    page.session.offer_answered(Ok("answer".to_owned()));
    assert_eq!(page.sees(), ["[offer]", "answer"]);
    page.says(r#"{"type":"offer","sdp":"bad"}"#);
    page.session.offer_answered(Err(Refusal::new(
        RefusalCode::Malformed,
        Fault::Caller,
        "line 3: no version",
    )));
    assert_eq!(page.sees(), ["[offer]", "error malformed"]);
    page.says(r#"{"type":"hangup"}"#);
    assert_eq!(page.sees(), ["[Hangup]"]);
}

#[test]
fn a_refused_first_offer_ends_the_session() {
    let mut page = Page::authenticated(SCOPE_DIAL);
    page.says(r#"{"type":"offer","sdp":"bad"}"#);
    page.session.offer_answered(Err(Refusal::new(
        RefusalCode::Malformed,
        Fault::Caller,
        "no common codec",
    )));
    assert_eq!(
        page.sees()[2..],
        ["[offer]", "error malformed", "close 4400"]
    );
}

#[test]
fn incoming_calls_are_accepted_or_rejected_once() {
    let accept = format!(r#"{{"type":"accept","call_sid":"{}"}}"#, sid());
    let reject = format!(
        r#"{{"type":"reject","call_sid":"{}","q850_cause":17}}"#,
        sid()
    );
    let mut page = Page::ready();
    page.says(&accept);
    assert_eq!(page.sees(), ["error no_call"]);
    page.session
        .incoming(sid(), "+15550100".to_owned(), "alice".to_owned())
        .unwrap();
    assert_eq!(
        page.session.incoming(sid(), String::new(), String::new()),
        Err(NotAvailable)
    );
    page.says(&accept);
    page.says(&reject);
    assert_eq!(page.actions()[1], Action::Accept { call_sid: sid() });

    let mut page = Page::ready();
    page.session
        .incoming(sid(), "+15550100".to_owned(), "alice".to_owned())
        .unwrap();
    page.says(&reject);
    assert_eq!(
        page.actions()[1],
        Action::Reject {
            call_sid: sid(),
            cause: Q850Cause::USER_BUSY
        }
    );

    assert_eq!(
        Page::in_call()
            .session
            .incoming(sid(), String::new(), String::new()),
        Err(NotAvailable)
    );
}

#[test]
fn a_drain_ends_idle_sessions_at_once_and_others_with_their_call() {
    for mut idle in [Page::connect(None), Page::ready()] {
        idle.session.draining();
        assert_eq!(idle.sees(), ["error draining", "close 1012"]);
    }
    let mut busy = Page::in_call();
    busy.session.draining();
    assert!(busy.sees().is_empty());
    busy.session
        .ended(Q850Cause::NORMAL, "normal call clearing");
    assert_eq!(busy.sees(), ["bye", "close 1000"]);

    let mut opening = Page::connect(Some("jwt"));
    opening.session.draining();
    opening
        .session
        .authenticated(opening.now, Ok(grant(SCOPE_DIAL)), welcome(1));
    assert_eq!(
        opening.sees(),
        ["[authenticate]", "error draining", "close 1012"]
    );
}

#[test]
fn debug_shows_no_token() {
    let page = Page::connect(Some("sesame"));
    assert!(!format!("{:?}", page.session).contains("sesame"));
}

fn any_input() -> impl Strategy<Value = u8> {
    0u8..24
}

fn apply(page: &mut Page, input: u8) {
    let refusal = || Refusal::new(RefusalCode::Limit, Fault::Config, "full");
    match input {
        0 => page.says(r#"{"type":"auth","token":"t"}"#),
        1 => page.says(r#"{"type":"offer","sdp":"o"}"#),
        2 => page.says(r#"{"type":"dial","to":"x"}"#),
        3 => page.says(r#"{"type":"hangup"}"#),
        4 => page.says(r#"{"type":"hold"}"#),
        5 => page.says(r#"{"type":"dtmf","digits":"1"}"#),
        6 => page.says(r#"{"type":"candidate"}"#),
        7 => page.says(&format!(r#"{{"type":"accept","call_sid":"{}"}}"#, sid())),
        8 => page.says(&format!(r#"{{"type":"reject","call_sid":"{}"}}"#, sid())),
        9 => page.says(r#"{"type":"ping","id":1}"#),
        10 => page.says("nonsense"),
        11 => page.waits(Duration::from_secs(4)),
        12 => page
            .session
            .authenticated(page.now, Ok(grant(SCOPE_DIAL)), welcome(1)),
        13 => page
            .session
            .authenticated(page.now, Err(refusal()), welcome(1)),
        14 => page.session.offer_answered(Ok("a".to_owned())),
        15 => page.session.offer_answered(Err(refusal())),
        16 => page.session.call_event(event()),
        17 => page.session.call_refused(refusal()),
        18 => page.session.ended(Q850Cause::NORMAL, "over"),
        19 => page.session.draining(),
        20 => {
            let _ = page.session.incoming(sid(), String::new(), String::new());
        }
        21 => page.session.resumed(welcome(2)),
        22 => page.waits(GRACE),
        _ => page.loses_its_socket(),
    }
}

proptest! {
    /// Whatever happens in whatever order: nothing panics, nothing follows a close, no call starts before a token
    /// and an offer, and a call that was started is ended before the socket is closed by us.
    #[test]
    fn any_order_keeps_the_rules(inputs in proptest::collection::vec(any_input(), 0..40)) {
        let mut page = Page::connect(None);
        let (mut authenticated, mut offered, mut closed) = (false, false, false);
        for input in inputs {
            let had_call = page.session.has_call();
            apply(&mut page, input);
            let actions = page.actions();
            for action in &actions {
                prop_assert!(!closed, "{action:?} after the close");
                match action {
                    Action::Send(ServerMessage::Session { .. }) => authenticated = true,
                    Action::Send(ServerMessage::Answer { .. }) => offered = true,
                    Action::Dial { .. } => prop_assert!(authenticated && offered),
                    Action::Close { .. } | Action::Abandon { .. } => closed = true,
                    _ => {}
                }
            }
            let ended_by_us = matches!(input, 17 | 18);
            let gone = had_call && !page.session.has_call();
            if gone && !ended_by_us {
                let told = actions.iter().any(|a| matches!(
                    a,
                    Action::Hangup | Action::Reject { .. } | Action::Abandon { .. }
                ));
                prop_assert!(told, "the call was forgotten: {actions:?}");
            }
        }
    }
}
