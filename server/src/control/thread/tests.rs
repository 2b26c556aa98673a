#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use std::time::Instant;

use super::super::fixtures::{
    EventReader, Running, TOKEN, call, config, ended, eventually, no_certificate, no_files,
    open_call, request, set_tenant, shard_ring, told,
};
use super::*;
use crate::call::q850::Q850Cause;
use crate::call::rings::ToShard;
use crate::call::{CallEvent, EventType};
use crate::fault::RefusalCode;
use crate::id::CallSid;

fn ends_call(message: ToShard, expected: CallSid) {
    assert!(
        matches!(
            message,
            ToShard::EndCall { call_sid, cause: Q850Cause::TEMPORARY_FAILURE, fault: Fault::Us } if call_sid == expected
        ),
        "{message:?}"
    );
}

fn remaining_events(mut events: EventReader) -> Vec<(CallSid, EventType, i32)> {
    std::iter::from_fn(|| events.next())
        .map(|event: CallEvent| (event.call_sid, event.event_type, event.q850_cause))
        .collect()
}

#[test]
fn questions_of_all_shards_meet_one_limit() {
    let mut config = config();
    set_tenant(&mut config, "acme", 5, 1000);
    let mut gateway = Running::start(config, 2);
    let mut granted = Vec::new();
    for number in 0..50 {
        let shard = number % 2;
        let call_sid = call(shard, number);
        match gateway.shards[usize::from(shard)].ask(open_call(call_sid)) {
            Ok(()) => granted.push(call_sid),
            Err(refusal) => assert_eq!(refusal.code, RefusalCode::Limit),
        }
    }
    assert_eq!(granted.len(), 5);
    for call_sid in granted {
        let shard = &mut gateway.shards[usize::from(call_sid.shard().0)];
        shard.say(told(call_sid, EventType::ChannelCreate));
        shard.say(ended(call_sid));
    }
    eventually(|| (gateway.get("/metrics").sample("clutchcall_desk_calls") == 0.0).then_some(()));
    assert_eq!(gateway.shards[0].ask(open_call(call(0, 100))), Ok(()));
}

#[test]
fn an_answer_is_there_within_a_few_polls() {
    let mut gateway = Running::start(config(), 1);
    let mut waits: Vec<Duration> = (0..50)
        .map(|number| {
            let asked = Instant::now();
            gateway.shards[0].ask(open_call(call(0, number))).unwrap();
            asked.elapsed()
        })
        .collect();
    waits.sort();
    assert!(waits[25] < Duration::from_millis(50), "{waits:?}");
}

#[test]
fn a_drain_without_calls_stops_the_shards_and_ends_well() {
    let mut gateway = Running::start(config(), 2);
    gateway.shards[1].metrics.sessions.increment();
    gateway.stop.blocking_send(()).unwrap();
    for shard in &mut gateway.shards {
        assert!(matches!(shard.hear(), ToShard::Drain));
        assert!(
            shard.from_control.pop().is_none(),
            "a session is still open"
        );
    }
    gateway.shards[1].metrics.sessions.decrement();
    for shard in &mut gateway.shards {
        assert!(matches!(shard.hear(), ToShard::Stop));
    }
    assert!(gateway.process.draining.load(Ordering::Relaxed));
    assert!(!gateway.is_finished(), "it waits for the shards");
    gateway.join().unwrap();
}

#[test]
fn calls_go_on_during_a_drain_and_are_ended_at_its_deadline() {
    let mut gateway = Running::start(config(), 1);
    let events = gateway.events("");
    let (ends_itself, stays) = (call(0, 1), call(0, 2));
    let shard = &mut gateway.shards[0];
    shard.begin_call(ends_itself);
    shard.begin_call(stays);
    let begun = Instant::now();
    gateway.stop.blocking_send(()).unwrap();
    let shard = &mut gateway.shards[0];
    assert!(matches!(shard.hear(), ToShard::Drain));
    let refusal = shard.ask(open_call(call(0, 3))).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Draining);
    shard.say(ended(ends_itself));
    ends_call(shard.hear(), stays);
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "drain_timeout_s is 1"
    );
    shard.say(ended(stays));
    assert!(matches!(shard.hear(), ToShard::Stop));
    gateway.join().unwrap();
    let expected = [
        (ends_itself, EventType::ChannelCreate, 0),
        (stays, EventType::ChannelCreate, 0),
        (ends_itself, EventType::ChannelHangupComplete, 0),
        (stays, EventType::ChannelHangupComplete, 0),
    ];
    assert_eq!(remaining_events(events), expected);
}

#[test]
fn the_second_signal_stops_at_once_and_still_tells_every_end() {
    let mut config = config();
    config.server.drain_timeout_s = 600;
    let mut gateway = Running::start(config, 1);
    let events = gateway.events("?tenant_id=acme");
    gateway.shards[0].begin_call(call(0, 1));
    gateway.stop.blocking_send(()).unwrap();
    assert!(matches!(gateway.shards[0].hear(), ToShard::Drain));
    gateway.stop.blocking_send(()).unwrap();
    assert!(matches!(gateway.shards[0].hear(), ToShard::Stop));
    gateway.join().unwrap();
    let expected = [
        (call(0, 1), EventType::ChannelCreate, 0),
        (call(0, 1), EventType::ChannelHangupComplete, 41),
    ];
    assert_eq!(remaining_events(events), expected);
}

#[test]
fn a_dead_shard_ends_its_calls_and_drains_the_others() {
    let mut gateway = Running::start(config(), 2);
    let events = gateway.events("");
    gateway.shards[0].begin_call(call(0, 1));
    eventually(|| (gateway.get("/metrics").sample("clutchcall_desk_calls") == 1.0).then_some(()));
    gateway.shards[1].begin_call(call(1, 2));
    drop(gateway.shards.remove(1));
    let survivor = &mut gateway.shards[0];
    assert!(matches!(survivor.hear(), ToShard::Drain));
    assert!(gateway.process.unhealthy.load(Ordering::Relaxed));
    survivor.say(ended(call(0, 1)));
    assert!(matches!(survivor.hear(), ToShard::Stop));
    let outcome = gateway.join();
    assert!(
        matches!(outcome, Err(ControlError::ShardDied(ShardIndex(1)))),
        "{outcome:?}"
    );
    let expected = [
        (call(0, 1), EventType::ChannelCreate, 0),
        (call(1, 2), EventType::ChannelCreate, 0),
        (call(1, 2), EventType::ChannelHangupComplete, 41),
        (call(0, 1), EventType::ChannelHangupComplete, 0),
    ];
    assert_eq!(remaining_events(events), expected);
}

#[test]
fn shards_that_do_not_stop_are_an_error_and_their_calls_are_told() {
    let mut gateway = Running::start(config(), 1);
    let events = gateway.events("");
    gateway.shards[0].begin_call(call(0, 1));
    for _ in 0..2 {
        gateway.stop.blocking_send(()).unwrap();
    }
    let told = remaining_events(events);
    assert_eq!(
        told.last(),
        Some(&(call(0, 1), EventType::ChannelHangupComplete, 41))
    );
    eventually(|| gateway.is_finished().then_some(()));
    let outcome = gateway.join();
    assert!(
        matches!(outcome, Err(ControlError::ShardsDidNotStop(1))),
        "{outcome:?}"
    );
}

#[test]
fn a_taken_admin_port_is_the_configurations_fault_and_named() {
    let taken = AdminListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = AdminListener::bind(taken.local_address()).unwrap_err();
    assert_eq!(error.fault(), Fault::Config);
    let text = error.to_string();
    assert!(text.contains(&taken.local_address().to_string()), "{text}");
}

#[test]
fn sigterm_drains() {
    let admin = AdminListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = admin.local_address();
    let (link, mut shard) = shard_ring();
    let inputs = ControlInputs {
        config: Arc::new(config()),
        tls: no_certificate(),
        reload: no_files(),
        shards: vec![link],
        process: Arc::default(),
        admin,
    };
    let thread = std::thread::spawn(move || run(inputs));
    // Once the admin window answers, the signal handlers are there.
    assert_eq!(request(address, "GET", "/metrics", Some(TOKEN)).status, 200);
    let process = std::process::id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &process])
        .status();
    assert!(killed.unwrap().success());
    assert!(matches!(shard.hear(), ToShard::Drain));
    assert!(matches!(shard.hear(), ToShard::Stop));
    drop(shard);
    thread.join().unwrap().unwrap();
}
