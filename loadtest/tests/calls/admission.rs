//! Limits: one token opens one session, a tenant gets its calls and no more, every slot comes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use loadtest::gateway::{Gateway, GatewaySetup};
use loadtest::media::AudioCodec;
use loadtest::signalling::{
    ClientMessage, Connect, ServerMessage, Signalling, SignallingError, TokenVia,
};
use loadtest::webrtc_client::{CallPlan, WebRtcCall};
use server::call::{CallEvent, EventType};

use crate::wire::OFFER;

const WAIT: Duration = Duration::from_secs(15);

/// One tenant with this limit, an echo trunk, and further trunks.
fn tenant(limits: &str, trunks: &str) -> String {
    format!(
        "[[tenants]]\ntenant_id = \"acme\"\n{limits}\n[tenants.browser]\n\
         [[tenants.routes]]\nvendor = \"browser\"\ntrunk_id = \"echo\"\n\
         [[trunks]]\ntrunk_id = \"echo\"\ntenant_id = \"acme\"\nkind = \"echo\"\nchannel_limit = 1000\n{trunks}"
    )
}

fn two_shards(limits: &str) -> Gateway {
    let mut setup = GatewaySetup::new(&tenant(limits, ""));
    setup.cores = vec![0, 1];
    setup.shards_lines = "[spread]\nacme = 2\n".to_owned();
    Gateway::start(&setup).unwrap()
}

pub fn open(gateway: &Gateway, token: &str) -> Result<Signalling, SignallingError> {
    let signalling = Signalling::connect(&Connect {
        url: format!("{}/signal/browser/acme", gateway.url()),
        trust: gateway.trust(),
        token: token.to_owned(),
        token_via: TokenVia::Subprotocol,
        origin: None,
        timeout: WAIT,
    })?;
    signalling.wait_for_message("session", Instant::now() + WAIT, |message| {
        matches!(message, ServerMessage::Session { .. }).then_some(())
    })?;
    Ok(signalling)
}

/// A session that may dial; its media never comes, so its calls are never answered.
pub fn negotiated(gateway: &Gateway) -> Signalling {
    let signalling = open(gateway, &gateway.token("acme").unwrap()).unwrap();
    signalling.send(&ClientMessage::Offer {
        sdp: OFFER.replace('\n', "\r\n"),
    });
    signalling
        .wait_for_message("answer", Instant::now() + WAIT, |message| {
            matches!(message, ServerMessage::Answer { .. }).then_some(())
        })
        .unwrap();
    signalling
}

pub fn dial(signalling: &Signalling, trunk_id: Option<&str>) {
    signalling.send(&ClientMessage::Dial {
        to: "+15550100".to_owned(),
        trunk_id: trunk_id.map(str::to_owned),
        call_from: None,
        client_id: None,
    });
}

/// What came of a dial: the call, or how it was refused.
pub enum Dialled {
    Live(CallEvent),
    Refused(Refused),
}

pub struct Refused {
    pub events: Vec<CallEvent>,
    pub code: u16,
    pub reason: String,
}

/// Waits until the dial was carried out, or until the socket was closed with the reason.
pub fn outcome(signalling: &Signalling) -> Dialled {
    // Messages are taken in their order: the pong comes when the dial is done.
    signalling.send(&ClientMessage::Ping { id: 1 });
    let done = signalling.wait_for_message("pong", Instant::now() + WAIT, |message| {
        matches!(message, ServerMessage::Pong { .. }).then_some(())
    });
    let events = signalling.events();
    match done {
        Ok(()) => Dialled::Live(events[0].clone()),
        Err(SignallingError::Closed { code, reason }) => Dialled::Refused(Refused {
            events,
            code,
            reason,
        }),
        Err(other) => panic!("{other}"),
    }
}

/// A refused call has its two events, with the cause of a missing circuit, in the dialect and at the admin window.
#[track_caller]
fn assert_refused(gateway: &Gateway, refused: &Refused, about: &str) {
    assert_eq!(refused.code, 4429, "{}", refused.reason);
    assert!(refused.reason.contains(about), "{}", refused.reason);
    let types: Vec<EventType> = refused
        .events
        .iter()
        .map(|event| event.event_type)
        .collect();
    assert_eq!(
        types,
        [EventType::ChannelCreate, EventType::ChannelHangupComplete]
    );
    assert_eq!(refused.events[1].q850_cause, 34);
    assert_eq!(format!("{:?}", refused.events[1].status), "Failed");
    let call_sid = refused.events[0].call_sid;
    let told = gateway.wait_for_events(Instant::now() + WAIT, |events| {
        let ended = events.iter().any(|event| {
            event.call_sid == call_sid && event.event_type == EventType::ChannelHangupComplete
        });
        ended.then_some(())
    });
    assert!(told.is_some(), "{call_sid} is not at /v1/events");
    assert_eq!(gateway.event_types(call_sid.as_str()), types);
}

fn pcmu_plan(gateway: &Gateway) -> CallPlan {
    let mut plan = gateway.call_plan("acme").unwrap();
    plan.codec = AudioCodec::Pcmu;
    plan
}

/// Nothing is left on the shards; the desk hears of the last end a moment later.
#[track_caller]
fn assert_slots_free(gateway: &Gateway) {
    gateway.assert_drained();
    let deadline = Instant::now() + WAIT;
    loop {
        let left = gateway.metrics().unwrap().sum("clutchcall_desk_calls");
        if left == 0.0 {
            return;
        }
        assert!(Instant::now() < deadline, "{left} slots are not free");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn stop_cleanly(gateway: Gateway) {
    assert_slots_free(&gateway);
    let metrics = gateway.metrics().unwrap();
    assert_eq!(metrics.sum("clutchcall_events_missing_total"), 0.0);
    assert!(gateway.stop().unwrap().success());
}

#[test]
fn one_token_on_50_sockets_at_once_opens_one_session() {
    let gateway = two_shards("max_calls = 5");
    let token = gateway.token("acme").unwrap();
    let start = Barrier::new(50);
    let outcomes: Vec<Result<Signalling, SignallingError>> = std::thread::scope(|scope| {
        let sockets: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    open(&gateway, &token)
                })
            })
            .collect();
        sockets
            .into_iter()
            .map(|socket| socket.join().unwrap())
            .collect()
    });
    let opened = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let replayed = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(SignallingError::Closed { code: 4406, .. })))
        .count();
    let others: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .collect();
    assert_eq!((opened, replayed), (1, 49), "{others:?}");
    let counted = gateway
        .metrics()
        .unwrap()
        .matching("clutchcall_desk_refusals_total", "token_replayed");
    assert_eq!(counted, 49.0);
    drop(outcomes);
    stop_cleanly(gateway);
}

#[test]
fn a_limit_of_5_and_50_dials_give_5_calls_and_45_reasons() {
    let gateway = two_shards("max_calls = 5\nsetups_per_s = 1000");
    let connected = Barrier::new(50);
    let callers: Vec<(WebRtcCall, Result<(), String>)> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    let mut plan = pcmu_plan(&gateway);
                    plan.step_timeout = Duration::from_secs(30);
                    let call = WebRtcCall::connect(&plan);
                    // A thread that fails must not leave the others waiting.
                    connected.wait();
                    let mut call = call.unwrap();
                    let placed = call.place(&plan).map_err(|error| error.to_string());
                    (call, placed)
                })
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .collect()
    });
    let reasons: BTreeSet<&String> = callers
        .iter()
        .filter_map(|(_, placed)| placed.as_ref().err())
        .collect();
    assert_eq!(
        reasons,
        ["refused: tenant acme has its 5 calls (limit, fault config)".to_owned()]
            .iter()
            .collect()
    );
    let metrics = gateway.metrics().unwrap();
    assert_eq!(metrics.sum("clutchcall_desk_calls"), 5.0);
    assert_eq!(metrics.sum("clutchcall_calls"), 5.0);
    assert_eq!(
        metrics.matching("clutchcall_desk_refusals_total", "tenant_calls"),
        45.0
    );
    let on_each: Vec<f64> = ["shard=\"0\"", "shard=\"1\""]
        .iter()
        .map(|shard| metrics.matching("clutchcall_calls_total", shard))
        .collect();
    assert!(
        on_each.iter().all(|dials| *dials > 0.0),
        "both shards take part: {on_each:?}"
    );

    let (live, refused): (Vec<_>, Vec<_>) =
        callers.into_iter().partition(|(_, placed)| placed.is_ok());
    assert_eq!(
        (live.len(), refused.len()),
        (5, 45),
        "dials on the shards: {on_each:?}"
    );
    for (call, placed) in &refused {
        assert!(
            placed
                .as_ref()
                .is_err_and(|error| error.contains("its 5 calls")),
            "{placed:?}"
        );
        let Ok(SignallingError::Closed { code, reason }) =
            call.signalling().wait_for_end(Instant::now() + WAIT)
        else {
            panic!("{:?}", call.signalling().ended())
        };
        let events = call.signalling().events();
        assert_refused(
            &gateway,
            &Refused {
                events,
                code,
                reason,
            },
            "tenant acme has its 5 calls",
        );
        let told = call.signalling().received();
        assert!(
            told.iter().any(|received| matches!(&received.message, ServerMessage::Error { code, fault, .. } if code == "limit" && fault == "config")),
            "{told:?}"
        );
        assert!(
            told.iter().any(|received| matches!(
                &received.message,
                ServerMessage::Bye { q850_cause: 34, .. }
            )),
            "{told:?}"
        );
    }
    println!("dials on the shards: {on_each:?}; 5 calls, 45 refusals with 4429 and cause 34");
    drop(refused);
    for (call, _) in live {
        assert_eq!(
            call.hang_up().unwrap().events.last().unwrap().q850_cause,
            16
        );
    }
    assert_slots_free(&gateway);

    // Every slot is free again: five more, and only a sixth is one too many.
    let again: Vec<WebRtcCall> = (0..5)
        .map(|_| WebRtcCall::dial(&pcmu_plan(&gateway)).unwrap())
        .collect();
    let sixth = negotiated(&gateway);
    dial(&sixth, None);
    match outcome(&sixth) {
        Dialled::Refused(refused) => assert_refused(&gateway, &refused, "its 5 calls"),
        Dialled::Live(event) => panic!("a sixth call: {event:?}"),
    }
    drop(sixth);
    for call in again {
        call.hang_up().unwrap();
    }
    stop_cleanly(gateway);
}

#[test]
fn set_ups_per_second_and_channels_are_limits_of_their_own() {
    let channels = "[[trunks]]\ntrunk_id = \"narrow\"\ntenant_id = \"acme\"\nkind = \"echo\"\nchannel_limit = 1\n";
    let setup = GatewaySetup::new(&tenant("setups_per_s = 2", channels));
    let gateway = Gateway::start(&setup).unwrap();
    let sessions: Vec<Signalling> = (0..6).map(|_| negotiated(&gateway)).collect();
    for session in &sessions {
        dial(session, None);
    }
    let mut live = 0;
    for session in &sessions {
        match outcome(session) {
            Dialled::Live(event) => {
                assert_eq!(event.event_type, EventType::ChannelCreate);
                live += 1;
            }
            Dialled::Refused(refused) => assert_refused(&gateway, &refused, "2 calls per second"),
        }
    }
    // The burst is 2; on a slow machine half a second may pass and give another.
    assert!((2..=4).contains(&live), "{live} calls in one go");
    drop(sessions);
    assert_slots_free(&gateway);

    // The rate is a rate: it comes back by itself. One channel is one call at a time.
    let first = dial_until_admitted(&gateway, "narrow");
    let second = loop {
        let session = negotiated(&gateway);
        dial(&session, Some("narrow"));
        match outcome(&session) {
            Dialled::Refused(refused) if refused.reason.contains("per second") => {}
            Dialled::Refused(refused) => break refused,
            Dialled::Live(_) => panic!("two calls on one channel"),
        }
    };
    assert_refused(&gateway, &second, "trunk narrow has its 1 channels");
    drop(first);
    assert_slots_free(&gateway);
    drop(dial_until_admitted(&gateway, "narrow"));
    stop_cleanly(gateway);
}

/// Dials until the rate lets it through.
fn dial_until_admitted(gateway: &Gateway, trunk_id: &str) -> Signalling {
    let deadline = Instant::now() + WAIT;
    loop {
        let session = negotiated(gateway);
        dial(&session, Some(trunk_id));
        match outcome(&session) {
            Dialled::Live(_) => return session,
            Dialled::Refused(refused) => {
                assert!(refused.reason.contains("per second"), "{}", refused.reason);
                assert!(Instant::now() < deadline, "the rate never comes back");
            }
        }
    }
}

#[test]
fn when_the_media_ports_are_used_up_calls_are_refused_and_then_work_again() {
    let far_end = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Below the ephemeral range, above what the other fixtures take.
    let first_port = 31_000 + std::process::id() as u16 % 700 * 2;
    let rtp = format!(
        "[[trunks]]\ntrunk_id = \"rtp\"\ntenant_id = \"acme\"\nkind = \"rtp\"\nremote = \"{}\"\n\
         rtp_start_port = {first_port}\nrtp_end_port = {}\n",
        far_end.local_addr().unwrap(),
        first_port + 3
    );
    let gateway = Gateway::start(&GatewaySetup::new(&tenant("setups_per_s = 100", &rtp))).unwrap();
    for round in 0..2 {
        let sessions: Vec<Signalling> = (0..3).map(|_| negotiated(&gateway)).collect();
        for session in &sessions {
            dial(session, Some("rtp"));
        }
        let mut live = 0;
        for session in &sessions {
            match outcome(session) {
                Dialled::Live(_) => live += 1,
                Dialled::Refused(refused) => assert_refused(&gateway, &refused, "no media ports"),
            }
        }
        assert_eq!(live, 2, "two pairs of ports, round {round}");
        let metrics = gateway.metrics().unwrap();
        assert!(
            metrics.sum("clutchcall_media_ports") >= 2.0,
            "{:?}",
            metrics.sum("clutchcall_media_ports")
        );
        drop(sessions);
        assert_slots_free(&gateway);
    }
    stop_cleanly(gateway);
}
