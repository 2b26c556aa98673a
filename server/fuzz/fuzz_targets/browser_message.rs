//! A page's text frames, one per line, played on a session; lines that begin with `!` are what our side does.
//!
//! However they are mixed: nothing follows the close, commands reach only a call that lives, and what is sent is JSON.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use server::auth::session_auth::SCOPE_DIAL;
use server::auth::{ResumeToken, SessionGrant};
use server::call::q850::Q850Cause;
use server::fault::{Fault, Refusal, RefusalCode};
use server::id::CallSid;
use server::vendors::browser::{
    Action, BACKLOG_MAX, BrowserSession, CLOSE_REASON_LEN_MAX, ClientMessage, HELD_MESSAGES_MAX,
    SessionSettings, Welcome,
};

/// Frames of one input.
const LINES_MAX: usize = 64;
/// What one line can lead to at most: every held message with an answer, or all that waited for the page, and an end.
const ACTIONS_MAX: usize = 2 * HELD_MESSAGES_MAX + BACKLOG_MAX + 4;

struct Page {
    session: BrowserSession,
    now: Instant,
    call: bool,
    closed: bool,
}

fuzz_target!(|input: &str| {
    let now = Instant::now();
    let mut lines = input.lines();
    let token = (lines.next() == Some("!bearer")).then(|| "token".to_owned());
    let settings = SessionSettings {
        signal_grace: Duration::from_secs(15),
        ..SessionSettings::default()
    };
    let session = BrowserSession::new(now, token, settings);
    let mut page = Page {
        session,
        now,
        call: false,
        closed: false,
    };
    page.take_actions();
    for line in lines.take(LINES_MAX) {
        page.play(line);
        page.take_actions();
        assert!(!page.closed || page.session.poll_timeout().is_none());
    }
    page.session.handle_loss(page.now, Vec::new(), false);
    page.take_actions();
    page.now += Duration::from_secs(15);
    page.session.handle_timeout(page.now);
    page.take_actions();
    assert!(!page.session.has_call() && page.session.is_over());
});

impl Page {
    fn play(&mut self, line: &str) {
        let session = &mut self.session;
        match line {
            "!granted" => {
                let grant = SessionGrant {
                    subject: "alice".to_owned(),
                    issuer: "issuer".to_owned(),
                    scopes: vec![SCOPE_DIAL.to_owned()],
                    token_id: "1".to_owned(),
                    expires_unix_s: 1,
                };
                session.authenticated(self.now, Ok(grant), welcome());
            }
            "!denied" => session.authenticated(self.now, Err(refusal()), Welcome::default()),
            "!lost" => session.handle_loss(self.now, Vec::new(), false),
            "!lost with media" => session.handle_loss(self.now, Vec::new(), true),
            "!resumed" => session.resumed(welcome()),
            "!answer" => session.offer_answered(Ok("v=0".to_owned())),
            "!no answer" => session.offer_answered(Err(refusal())),
            "!refused" => {
                self.call = false;
                session.call_refused(refusal());
            }
            "!ended" => {
                self.call = false;
                session.ended(Q850Cause(16), "over");
            }
            "!incoming" => {
                let _busy = session.incoming(call_sid(), "a".to_owned(), "b".to_owned());
            }
            "!ringing" => session.ringing(call_sid()),
            "!digit" => session.digit('#', 100),
            "!drain" => session.draining(),
            "!binary" => session.handle_binary(),
            "!wait" => {
                self.now += Duration::from_secs(5);
                session.handle_timeout(self.now);
                assert!(session.poll_timeout().is_none_or(|due| due > self.now));
            }
            text => {
                if let Err(refusal) = ClientMessage::parse(text) {
                    assert_eq!(refusal.code, RefusalCode::Malformed);
                }
                session.handle_text(text);
            }
        }
    }

    fn take_actions(&mut self) {
        for count in 0.. {
            let Some(action) = self.session.poll_action() else {
                return;
            };
            assert!(count < ACTIONS_MAX, "one input led to {count} actions");
            assert!(!self.closed, "{action:?} after the close");
            match action {
                Action::Send(message) => {
                    assert!(message.to_json().starts_with(r#"{"type":""#));
                }
                Action::Abandon { reason } => {
                    assert!(!reason.is_empty());
                    self.call = false;
                    self.closed = true;
                }
                Action::Close { code, reason } => {
                    assert!(code == 1000 || (1011..=1013).contains(&code) || code >= 4400);
                    assert!(reason.len() <= CLOSE_REASON_LEN_MAX);
                    self.closed = true;
                }
                Action::Dial { .. } | Action::Accept { .. } => {
                    assert!(!self.call, "a second call on one socket");
                    self.call = true;
                }
                Action::Reject { .. } => self.call = true,
                Action::Hold | Action::Unhold | Action::Dtmf { .. } | Action::Hangup => {
                    assert!(self.call, "{action:?} without a call");
                }
                Action::Authenticate { .. } | Action::Offer { .. } | Action::Candidate(_) => {}
            }
        }
    }
}

fn call_sid() -> CallSid {
    "CS00000123456789abcdef0123456789ab"
        .parse()
        .expect("a call sid")
}

fn welcome() -> Welcome {
    Welcome {
        resume_token: Some(resume_token()),
        ..Welcome::default()
    }
}

fn resume_token() -> ResumeToken {
    "AAAAAAAAAAAAAAAAAAAAAAAA"
        .parse()
        .expect("24 characters of base64url")
}

fn refusal() -> Refusal {
    Refusal::new(RefusalCode::Limit, Fault::Caller, "no")
}
