//! Contracts section 7 with faults on purpose: what a panic ends, what it does not, and a control thread that stands still.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use loadtest::judge::{Bar, Playback};
use loadtest::signalling::{ClientMessage, ServerMessage, SignallingError};
use loadtest::speech;
use loadtest::webrtc_client::{CallReport, WebRtcCall};
use serde_json::json;
use server::call::EventType;

use crate::process::wait_for_status;
use crate::rtp_trunk::{WHOLE_CALL, assert_events, end, in_time, opening, record};

/// From the order to what a caller sees of it.
const AT_ONCE: Duration = Duration::from_secs(2);
const STALL: Duration = Duration::from_secs(5);

fn order(gateway: &Gateway, fault: &serde_json::Value) {
    let answer = gateway.post("/v1/faults", fault).unwrap();
    assert_eq!(answer.status, 202, "{fault}: {}", answer.body);
}

fn dial(gateway: &Gateway) -> WebRtcCall {
    WebRtcCall::dial(&gateway.call_plan("acme").unwrap()).unwrap()
}

/// A call that talks while something breaks beside it.
struct Neighbour {
    call: WebRtcCall,
    spoken: loadtest::audio::Audio,
}

impl Neighbour {
    fn talking(call: WebRtcCall, seconds: usize) -> Self {
        let spoken = opening(speech::alpha(), seconds);
        call.speak(&spoken, Playback::Once);
        Self { call, spoken }
    }

    /// It has noticed nothing: its audio passes and its events are whole.
    fn assert_unhurt(self) -> CallReport {
        let longest = Duration::from_millis(self.spoken.duration_ms() as u64);
        self.call.wait_until_spoken(in_time() + longest).unwrap();
        std::thread::sleep(Duration::from_millis(600));
        let report = self.call.hang_up().unwrap();
        let verdict = report.verdict(&self.spoken, Bar::OpusClean).unwrap();
        println!("the neighbour: {verdict}");
        assert!(verdict.pass, "{verdict}");
        report
    }
}

/// Its one end says 41 and blames us, in the event and in the record.
fn assert_ended_by_us(gateway: &Gateway, call_sid: &str) {
    let record = record(gateway, call_sid);
    assert_eq!(record["fault"], "us", "{record:#}");
    assert_eq!(gateway.event_types(call_sid), WHOLE_CALL);
    let events = gateway.events();
    let end = events
        .iter()
        .rev()
        .find(|event| event.call_sid.as_str() == call_sid)
        .unwrap();
    assert_eq!(end.q850_cause, 41, "{end:?}");
}

fn start() -> Gateway {
    Gateway::start(&GatewaySetup::new(ECHO_TENANT)).unwrap()
}

/// A panic while something of one call is handled ends that call alone.
fn panic_of_one_call(at: &str) {
    let mut gateway = start();
    let neighbour = Neighbour::talking(dial(&gateway), 5);
    let victim = dial(&gateway);
    let call_sid = victim.call_sid().to_owned();
    let ordered = json!({"fault": "panic", "at": at, "call_sid": call_sid});
    order(&gateway, &ordered);
    let began = Instant::now();
    if at == "ending" {
        victim.signalling().send(&ClientMessage::Hangup);
    }
    let report = victim.wait_for_end().unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_events(&gateway, &report, &WHOLE_CALL);
    if at == "ending" {
        // The end itself is the caller's; only its figures are lost.
        assert_eq!(report.events[2].q850_cause, 16);
    } else {
        assert_ended_by_us(&gateway, &call_sid);
        let told = report
            .messages
            .iter()
            .any(|told| matches!(told.message, ServerMessage::Bye { q850_cause: 41, .. }));
        assert!(told, "{:?}", report.messages);
    }
    // The shard takes calls as before.
    let next = dial(&gateway);
    next.hang_up().unwrap();
    let report = neighbour.assert_unhurt();
    assert_events(&gateway, &report, &WHOLE_CALL);
    assert_eq!(gateway.get("/healthz").unwrap().status, 200);
    assert!(gateway.log().contains(&format!("injected at {at}")));
    gateway.expect_panics(1);
    end(gateway);
}

#[test]
fn a_panic_in_a_packet_handler_ends_that_call_alone() {
    panic_of_one_call("packet");
}

#[test]
fn a_panic_in_a_timer_ends_that_call_alone() {
    panic_of_one_call("timer");
}

#[test]
fn a_panic_while_a_call_ends_loses_its_figures_and_not_its_end() {
    panic_of_one_call("ending");
}

#[test]
fn a_panic_in_the_adapter_ends_that_call_alone_and_the_page_hears_1011() {
    let mut gateway = start();
    let neighbour = Neighbour::talking(dial(&gateway), 5);
    let victim = dial(&gateway);
    let call_sid = victim.call_sid().to_owned();
    let ordered = json!({"fault": "panic", "at": "adapter", "call_sid": call_sid});
    order(&gateway, &ordered);
    // The order travels to the shard while the page goes on talking to it.
    let deadline = in_time();
    while victim.signalling().ended().is_none() && Instant::now() < deadline {
        victim.signalling().send(&ClientMessage::Ping { id: 1 });
        std::thread::sleep(Duration::from_millis(20));
    }
    let end_of_socket = victim.signalling().wait_for_end(in_time()).unwrap();
    assert!(
        matches!(end_of_socket, SignallingError::Closed { code: 1011, .. }),
        "{end_of_socket}"
    );
    assert_ended_by_us(&gateway, &call_sid);
    drop(victim);
    let report = neighbour.assert_unhurt();
    assert_events(&gateway, &report, &WHOLE_CALL);
    gateway.expect_panics(1);
    end(gateway);
}

/// A gateway with two shards, and at least `each` calls on both.
fn calls_on_two_shards(each: usize) -> (Gateway, [Vec<WebRtcCall>; 2]) {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.cores = vec![0, 1];
    setup.shards_lines = "[spread]\nacme = 2\n".to_owned();
    setup.server_lines = "drain_timeout_s = 30\n".to_owned();
    let gateway = Gateway::start(&setup).unwrap();
    let mut calls: [Vec<WebRtcCall>; 2] = Default::default();
    // The kernel chooses the shard that accepts, and with `spread = 2` that one keeps the session.
    for _ in 0..64 {
        if calls.iter().all(|calls| calls.len() >= each) {
            return (gateway, calls);
        }
        let call = dial(&gateway);
        let shard = usize::from_str_radix(&call.call_sid()[2..6], 16).unwrap();
        calls[shard].push(call);
    }
    panic!("64 calls on one of two shards");
}

/// The shard of the victim dies with all its calls, the other one drains, the process ends with 1.
#[test]
fn a_panic_in_the_tick_ends_the_shards_calls_and_the_process_with_1() {
    let (mut gateway, calls) = calls_on_two_shards(2);
    let [mut dying, mut living] = calls;
    let neighbour = Neighbour::talking(living.pop().unwrap(), 5);
    for call in living {
        call.hang_up().unwrap();
    }
    let idle = WebRtcCall::connect(&gateway.call_plan("acme").unwrap()).unwrap();

    order(
        &gateway,
        &json!({"fault": "panic", "at": "tick", "shard": 0}),
    );
    let began = Instant::now();
    for call in &dying {
        // Its event is the control thread's to tell; the page hears `bye` from the session.
        let bye = |message: &ServerMessage| match message {
            ServerMessage::Bye { q850_cause, .. } => Some(*q850_cause),
            _ => None,
        };
        let told = call.signalling().wait_for_message("bye", in_time(), bye);
        assert_eq!(told.unwrap(), 41);
        assert_ended_by_us(&gateway, call.call_sid());
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    wait_for_status(&gateway, "/healthz", 503);
    wait_for_status(&gateway, "/readyz", 503);
    let metrics = gateway.metrics().unwrap();
    assert_eq!(metrics.sum("clutchcall_unhealthy"), 1.0);
    assert_eq!(metrics.sum("clutchcall_panics_total"), 1.0);
    assert_eq!(metrics.sum("clutchcall_events_missing_total"), 0.0);
    for name in ["calls", "peers", "media_ports"] {
        let left = metrics.matching(&format!("clutchcall_{name}"), "shard=\"0\"");
        assert_eq!(left, 0.0, "{name} of the dead shard");
    }
    let closed = idle.signalling().wait_for_end(in_time()).unwrap();
    assert!(
        matches!(
            closed,
            SignallingError::Closed {
                code: 1011 | 1012,
                ..
            }
        ),
        "{closed}"
    );
    // A page of the dead shard that comes back is not left waiting.
    let mut returning = dying.pop().unwrap();
    let tried = Instant::now();
    assert!(returning.resume().is_err());
    assert!(tried.elapsed() < AT_ONCE, "{:?}", tried.elapsed());

    // With it ends the last call, and so does the process.
    let report = neighbour.assert_unhurt();
    let told: Vec<EventType> = report.events.iter().map(|event| event.event_type).collect();
    assert_eq!(told, WHOLE_CALL);
    drop((dying, returning, idle));
    let status = gateway.wait_for_exit(Duration::from_secs(10)).unwrap();
    assert_eq!(status.code(), Some(1), "{}", gateway.log());
    assert!(gateway.log().contains("shard 0 died"), "{}", gateway.log());
}

/// A shard that dies in the middle of a drain changes nothing for the calls of the others, but the exit code.
#[test]
fn a_shard_that_dies_during_a_drain_leaves_the_others_their_time() {
    let (mut gateway, [dying, mut living]) = calls_on_two_shards(1);
    let neighbour = Neighbour::talking(living.pop().unwrap(), 4);
    gateway.signal("TERM").unwrap();
    wait_for_status(&gateway, "/readyz", 503);
    order(
        &gateway,
        &json!({"fault": "panic", "at": "tick", "shard": 0}),
    );
    for call in &dying {
        assert_ended_by_us(&gateway, call.call_sid());
    }
    neighbour.assert_unhurt();
    for call in living {
        call.hang_up().unwrap();
    }
    let status = gateway.wait_for_exit(Duration::from_secs(10)).unwrap();
    assert_eq!(status.code(), Some(1), "{}", gateway.log());
}

#[test]
fn a_control_thread_that_stands_still_holds_up_no_audio_and_loses_no_event() {
    let gateway = start();
    let neighbour = Neighbour::talking(dial(&gateway), 8);
    let leaving = dial(&gateway);
    let plan = gateway.call_plan("acme").unwrap();
    let stall_ms = STALL.as_millis() as u64;
    order(
        &gateway,
        &json!({"fault": "stall", "at": "control", "ms": stall_ms}),
    );
    let log_line = "stands still";
    let deadline = in_time();
    while !gateway.log().contains(log_line) {
        assert!(Instant::now() < deadline, "no stall");
        std::thread::sleep(Duration::from_millis(5));
    }
    let began = Instant::now();
    // What concerns one call alone goes on: hold, and the end.
    neighbour.call.hold().unwrap();
    neighbour.call.unhold().unwrap();
    let left = leaving.hang_up().unwrap();
    assert_eq!(left.events.len(), 3);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    // A set-up waits for the desk, and is refused after 2 s.
    let asked = Instant::now();
    let refused = WebRtcCall::dial(&plan).map(|_| ()).unwrap_err().to_string();
    let waited = asked.elapsed();
    println!("a set-up meanwhile: {refused}, after {waited:?}");
    assert!(refused.contains("within 2 s"), "{refused}");
    assert!(
        waited >= Duration::from_millis(1900) && waited < Duration::from_secs(4),
        "{waited:?}"
    );
    assert!(
        began.elapsed() < STALL,
        "the stall was over before the refusal"
    );

    let report = neighbour.assert_unhurt();
    let wanted = [
        EventType::ChannelCreate,
        EventType::ChannelAnswer,
        EventType::ChannelHold,
        EventType::ChannelResume,
        EventType::ChannelHangupComplete,
    ];
    assert_events(&gateway, &report, &wanted);
    assert_events(&gateway, &left, &WHOLE_CALL);
    let metrics = gateway.metrics().unwrap();
    assert_eq!(metrics.sum("clutchcall_events_missing_total"), 0.0);
    // A new call is possible again.
    dial(&gateway).hang_up().unwrap();
    end(gateway);
}

#[test]
fn an_order_that_can_not_be_carried_out_is_refused() {
    let gateway = start();
    for (order, status) in [
        (json!({"fault": "panic", "at": "packet"}), 400),
        (json!({"fault": "panic", "at": "nowhere", "shard": 0}), 400),
        (json!({"fault": "panic", "at": "tick", "shard": 7}), 404),
        (json!({"fault": "flood"}), 400),
    ] {
        let answer = gateway.post("/v1/faults", &order).unwrap();
        assert_eq!(answer.status, status, "{order}: {}", answer.body);
    }
    end(gateway);
}
