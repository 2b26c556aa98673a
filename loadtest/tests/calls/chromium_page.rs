//! The softphone page as a person uses it, in Chromium: everything by clicks, and what the page says about it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup, PAGE_ORIGIN};
use loadtest::judge::{Bar, Playback, Question, judge};
use loadtest::media::AudioCodec;
use loadtest::sip_peer::{CallId, CallState, OutgoingCall, SipPeer};
use loadtest::socket_relay::SocketRelay;
use loadtest::softphone_page::SoftphonePage;
use loadtest::speech;
use serde_json::json;
use server::call::EventType::{
    self, ChannelAnswer, ChannelCreate, ChannelHangupComplete, ChannelHold, ChannelResume,
};

use crate::chromium::{RECORDINGS_MAX, gateway_with_page, open_page};
use crate::chromium_controls::{Call, DIGITS, assert_pressed};
use crate::rtp_trunk::in_time;
use crate::sip_trunk::incoming::wait_until_waiting;
use crate::sip_trunk::{SipSetup, TO_A_PAGE, far_end, far_end_with};

const WITHIN: Duration = Duration::from_secs(8);
/// How much is recorded for the judge.
const RECORDED_S: u32 = 4;
/// A phone and a desk, in CSS pixels.
const WINDOWS: [(&str, u32, u32, bool); 2] =
    [("phone", 390, 844, true), ("desk", 1280, 800, false)];

/// What a person does with the page, and sees on it.
trait Person {
    fn click(&mut self, id: &str);
    fn type_into(&mut self, id: &str, text: &str);
    fn wait_for_view(&mut self, view: &str);
    fn text(&mut self, id: &str) -> String;
    fn wait_for_text(&mut self, id: &str, part: &str);
    fn take_pictures(&mut self, state: &str);
}

impl Person for SoftphonePage {
    /// Clicks what can be seen and is not switched off.
    #[track_caller]
    fn click(&mut self, id: &str) {
        let id = json!(id);
        let script = format!(
            "(() => {{ const it = document.getElementById({id}) ?? document.querySelector(`[data-digit=\"${{{id}}}\"]`); \
             if (!it || it.disabled || !it.checkVisibility()) throw new Error('nobody can click ' + {id}); it.click(); }})()"
        );
        self.run(&script).unwrap();
    }

    #[track_caller]
    fn type_into(&mut self, id: &str, text: &str) {
        let script = format!(
            "document.getElementById({}).value = {}",
            json!(id),
            json!(text)
        );
        self.run(&script).unwrap();
    }

    #[track_caller]
    fn wait_for_view(&mut self, view: &str) {
        let condition = format!("document.body.dataset.view === {}", json!(view));
        if let Err(error) = self.wait_for(&condition) {
            let said = self.run("document.body.innerText").unwrap_or_default();
            panic!("{error}; the page says: {said}");
        }
    }

    fn text(&mut self, id: &str) -> String {
        let script = format!("document.getElementById({}).innerText", json!(id));
        self.run(&script)
            .unwrap()
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[track_caller]
    fn wait_for_text(&mut self, id: &str, part: &str) {
        let shown = format!(
            "(document.getElementById({}).checkVisibility() && document.getElementById({}).innerText.includes({}))",
            json!(id),
            json!(id),
            json!(part)
        );
        if let Err(error) = self.wait_for(&shown) {
            panic!("{error}; it says: {}", self.text(id));
        }
    }

    /// The page on a phone and on a desk, light and dark; nothing may stick out.
    fn take_pictures(&mut self, state: &str) {
        for (window, width, height, mobile) in WINDOWS {
            self.page().resize(width, height, mobile).unwrap();
            self.wait_for("document.documentElement.scrollWidth <= innerWidth")
                .unwrap();
            for scheme in ["light", "dark"] {
                self.page().prefer_color_scheme(scheme).unwrap();
                let png = self.page().screenshot().unwrap();
                assert!(png.starts_with(b"\x89PNG"));
                let name = format!("softphone-{state}-{window}-{scheme}.png");
                std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), png).unwrap();
            }
        }
    }
}

/// The page of `gateway`, at `origin`, after the person has connected.
fn connect(gateway: &Gateway, origin: &str) -> SoftphonePage {
    let token = gateway.token("acme").unwrap();
    let fragment = format!("tenant=acme&token={token}");
    let mut page = SoftphonePage::open_at(origin, &speech::alpha(), &fragment).unwrap();
    println!("peer: {}", page.version());
    assert_eq!(
        page.run("location.hash").unwrap(),
        json!(""),
        "a token stays in the address bar"
    );
    // Echo cancellation would take away exactly what an echo trunk sends back.
    page.click("processing");
    page.click("connect");
    page.wait_for_view("ready");
    page
}

/// The page hears its own microphone, in one of [`RECORDINGS_MAX`] recordings.
fn assert_hears_itself(page: &mut SoftphonePage) {
    let passed = (0..RECORDINGS_MAX).any(|_| {
        let recording = page.record(RECORDED_S).unwrap();
        let question = Question::new(Bar::Chromium).looped();
        let verdict = judge(&speech::alpha(), &recording, &question).unwrap();
        println!("{verdict}");
        verdict.pass
    });
    assert!(passed, "see the verdicts above");
}

#[track_caller]
fn assert_event_types(gateway: &Gateway, expected: &[EventType]) {
    let types = gateway.wait_for_events(Instant::now() + WITHIN, |events| {
        let types: Vec<_> = events.iter().map(|event| event.event_type).collect();
        types.contains(&ChannelHangupComplete).then_some(types)
    });
    assert_eq!(types.unwrap_or_default(), expected);
}

fn finish(page: SoftphonePage, gateway: Gateway) {
    drop(page);
    gateway.assert_drained();
    assert_eq!(gateway.stop().unwrap().code(), Some(0));
}

#[test]
fn a_person_calls_hears_presses_keys_holds_mutes_and_hangs_up() {
    let mut call = Call::start_by(|gateway| {
        let token = gateway.token("acme").unwrap();
        let mut page = open_page(gateway, &format!("tenant=acme&token={token}"));
        page.take_pictures("idle");
        page.click("processing");
        page.click("connect");
        page.wait_for_view("ready");
        page.type_into("to", "+15550100");
        page.take_pictures("ready");
        page.type_into("trunk", "far-end");
        page.click("dial");
        page.wait_for_view("active");
        page
    });
    call.assert_heard_both_ways();
    let moving = "Number(document.getElementById('heard').style.getPropertyValue('--level')) > 0.2";
    call.page.wait_for(moving).unwrap();
    call.page
        .wait_for(&moving.replace("heard", "spoken"))
        .unwrap();
    for (figure, part) in [
        ("codec", "48 kHz"),
        ("rtt", " ms"),
        ("loss", "0.0"),
        ("bitrate", "kb/s"),
        ("encryption", "DTLS 1.3"),
        ("path", "host · udp"),
        ("mos", "/ 4"),
    ] {
        let shown = format!("document.querySelector('[data-stat={figure}]').innerText");
        let condition = format!("{shown}.includes({})", json!(part));
        let outcome = call.page.wait_for(&condition);
        outcome.unwrap_or_else(|error| panic!("{error}: {}", call.page.run(&shown).unwrap()));
    }
    call.page.wait_for_text("quality", "Good quality");
    call.page.take_pictures("in-call");

    call.page.click("keypad-toggle");
    for digit in DIGITS.chars() {
        call.page.click(&digit.to_string());
    }
    assert_pressed(&call.digits(DIGITS.len()), DIGITS);
    assert_eq!(call.page.text("pressed"), DIGITS);
    call.page.take_pictures("keypad");
    call.page.click("keypad-toggle");
    call.far_end
        .send_digits(call.source, "7", 120, true)
        .unwrap();
    call.page.wait_for_text("events", "Digit 7");

    call.page.click("hold");
    call.page.wait_for_view("held");
    call.page.wait_for_text("state", "On hold");
    call.page.click("hold");
    call.page.wait_for_view("active");

    call.page.click("mute");
    let pressed = "document.getElementById('mute').getAttribute('aria-pressed') === 'true'";
    call.page.wait_for(pressed).unwrap();
    // What was said before is still on its way.
    call.far_end_hears(Duration::from_millis(500));
    let muted = call.far_end_hears(Duration::from_millis(1_500));
    assert!(muted.level_dbov() < -65.0, "{:.1} dBov", muted.level_dbov());
    call.page.click("mute");
    let heard = call.far_end_hears(Duration::from_millis(2_000));
    assert!(heard.level_dbov() > -45.0, "{:.1} dBov", heard.level_dbov());

    call.page.click("hang-up");
    call.page.wait_for_view("ended");
    call.page
        .wait_for_text("ended-reason", "Hung up · after 0:");
    call.page
        .wait_for_text("events", "CHANNEL_HANGUP_COMPLETE · COMPLETED · cause 16");
    call.page.take_pictures("ended");
    let all = [
        ChannelCreate,
        ChannelAnswer,
        ChannelHold,
        ChannelResume,
        ChannelHangupComplete,
    ];
    assert_event_types(&call.gateway, &all);
    call.page.click("again");
    call.page.wait_for_view("offline");
    assert_eq!(
        call.page
            .run("document.getElementById('token').value")
            .unwrap(),
        json!("")
    );
    call.finish();
}

/// A page in a call of the echo whose signalling goes through a relay; more lines for `[server]`.
fn call_by_relay(server_lines: &str) -> (SocketRelay, Gateway, SoftphonePage) {
    let relay = SocketRelay::listen().unwrap();
    let origin = format!("https://localhost:{}", relay.port());
    let mut setup = GatewaySetup::new(&ECHO_TENANT.replace("https://app.example.com", &origin));
    setup.server_lines = format!("demo_page = true\n{server_lines}");
    let gateway = Gateway::start(&setup).unwrap();
    relay.lead_to(gateway.signalling_addr());
    let mut page = connect(&gateway, &origin);
    page.type_into("to", "echo");
    page.click("dial");
    page.wait_for_view("active");
    (relay, gateway, page)
}

/// The signalling socket is cut for some seconds: the call goes on, and the page says what happens.
#[test]
fn a_call_goes_on_while_the_page_reconnects_and_after() {
    let (relay, gateway, mut page) = call_by_relay("");
    page.wait_for("document.body.dataset.line === 'connected'")
        .unwrap();
    assert_hears_itself(&mut page);

    relay.cut();
    page.wait_for_text("notice", "Connection lost. Reconnecting…");
    page.wait_for_text("notice", "The call goes on.");
    page.wait_for_text("line", "Reconnecting");
    page.take_pictures("reconnecting");
    // In the middle of it the page still hears, and still says that it tries.
    page.record(1).unwrap();
    page.wait_for_text("notice", "s left");
    page.wait_for_view("active");
    assert!(relay.refused() > 0, "the page did not try");
    relay.mend();
    page.wait_for("document.body.dataset.line === 'connected'")
        .unwrap();
    page.wait_for_text("events", "Reconnected");
    page.wait_for("!document.getElementById('notice').checkVisibility()")
        .unwrap();

    // Another network, and the socket lives: ICE starts anew at once.
    let ufrag = "/a=ice-ufrag:(.*)/.exec(connections.at(-1).localDescription.sdp)[1]";
    let before = page.run(ufrag).unwrap();
    page.run("dispatchEvent(new Event('online'))").unwrap();
    page.wait_for(&format!("{ufrag} !== {before}")).unwrap();
    page.wait_for("connections.at(-1).signalingState === 'stable'")
        .unwrap();
    assert_hears_itself(&mut page);
    page.click("hold");
    page.wait_for_view("held");
    page.click("hold");
    page.wait_for_view("active");
    page.click("hang-up");
    page.wait_for_view("ended");
    let all = [
        ChannelCreate,
        ChannelAnswer,
        ChannelHold,
        ChannelResume,
        ChannelHangupComplete,
    ];
    assert_event_types(&gateway, &all);
    let resumed = gateway
        .metrics()
        .unwrap()
        .sum("clutchcall_sessions_resumed_total");
    assert_eq!(resumed, 1.0);
    finish(page, gateway);
}

/// The network stays away for longer than the gateway keeps the call.
#[test]
fn a_page_that_can_not_come_back_says_so_and_the_call_ends() {
    let (relay, gateway, mut page) = call_by_relay("signal_grace_ms = 3000\n");
    relay.cut();
    page.wait_for_text("notice", "Connection lost. Reconnecting…");
    page.wait_for_view("ended");
    page.wait_for_text("error", "did not come back within 3 s");
    page.wait_for_text("line", "Not connected");
    assert!(relay.refused() > 1, "the page tried once only");
    let whole = [ChannelCreate, ChannelAnswer, ChannelHangupComplete];
    assert_event_types(&gateway, &whole);
    finish(page, gateway);
}

#[test]
fn an_incoming_call_is_shown_and_answered() {
    let peer = far_end_with(AudioCodec::Pcmu, |config| {
        config.media[0].speech = Some((speech::alpha(), Playback::Looped));
    });
    let (gateway, setup) = gateway_to_be_called(&peer);
    let (mut page, call) = call_a_page(&gateway, &peer, &setup);
    assert_eq!(page.text("party"), CALLER);
    assert_eq!(
        page.run("document.title").unwrap(),
        json!(format!("Incoming call: {CALLER}"))
    );
    assert_eq!(
        page.run("document.activeElement.id").unwrap(),
        json!("answer")
    );
    page.take_pictures("incoming");
    page.click("answer");
    page.wait_for_view("active");
    peer.wait_for_state(call, CallState::Answered, in_time())
        .unwrap();
    // The far end says what the page's microphone hears.
    assert_hears_itself(&mut page);
    page.click("hang-up");
    page.wait_for_view("ended");
    assert_event_types(
        &gateway,
        &[ChannelCreate, ChannelAnswer, ChannelHangupComplete],
    );
    finish(page, gateway);
}

#[test]
fn an_incoming_call_is_rejected() {
    let peer = far_end(AudioCodec::Pcmu);
    let (gateway, setup) = gateway_to_be_called(&peer);
    let (mut page, call) = call_a_page(&gateway, &peer, &setup);
    page.click("reject");
    page.wait_for_view("ended");
    page.wait_for_text("ended-reason", "Rejected · not answered");
    let refused = peer
        .wait_for_state(call, CallState::Ended, in_time())
        .unwrap();
    assert_eq!(refused.statuses, [180, 603]);
    finish(page, gateway);
}

/// Who calls the page.
const CALLER: &str = "+15550123";

/// A gateway with the page, whose tenant is called by `peer`.
fn gateway_to_be_called(peer: &SipPeer) -> (Gateway, SipSetup) {
    let mut setup = SipSetup::new(peer, AudioCodec::Pcmu);
    setup.inbound = TO_A_PAGE.to_owned();
    setup.origin = PAGE_ORIGIN.to_owned();
    setup.server_lines = "demo_page = true\n".to_owned();
    (setup.start(), setup)
}

/// The page connects and is called.
fn call_a_page(gateway: &Gateway, peer: &SipPeer, setup: &SipSetup) -> (SoftphonePage, CallId) {
    let token = gateway.token("acme").unwrap();
    let mut page = open_page(gateway, &format!("tenant=acme&token={token}"));
    page.click("processing");
    page.click("connect");
    page.wait_for_view("ready");
    wait_until_waiting(gateway, 1);
    let mut call = OutgoingCall::new(&setup.uri("+15550100"));
    call.from_user = Some(CALLER.to_owned());
    let call = peer.call(call);
    page.wait_for_view("incoming");
    (page, call)
}

#[test]
fn errors_are_told_in_words_with_whose_fault_they_are() {
    let gateway = gateway_with_page("", ECHO_TENANT);
    let mut page = open_page(&gateway, "tenant=acme&token=a.b.c");
    page.click("connect");
    page.wait_for_text("error", "The token is not valid");
    page.wait_for_text("error", "Something on this side has to change.");
    page.wait_for_view("offline");
    page.take_pictures("error");
    page.click("error-close");
    page.type_into("tenant", "nobody");
    page.type_into("token", &gateway.token("acme").unwrap());
    page.click("connect");
    page.wait_for_text("error", "no tenant nobody");
    page.wait_for_text("error", "The operator's configuration has to change.");

    page.type_into("tenant", "acme");
    page.type_into("token", &gateway.token("acme").unwrap());
    page.click("connect");
    page.wait_for_view("ready");
    assert!(
        !page
            .run("document.getElementById('error').checkVisibility()")
            .unwrap()
            .as_bool()
            .unwrap()
    );
    page.type_into("to", "+15550100");
    page.type_into("trunk", "nothing");
    page.click("dial");
    page.wait_for_view("ended");
    page.wait_for_text("error", "nothing");
    page.wait_for_text("ended-reason", "not answered");
    finish(page, gateway);
}
