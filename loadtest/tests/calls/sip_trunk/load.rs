//! Many calls: the trunk's channel limit over two shards, 500 calls at 50 per second, SIGTERM in the middle of calls.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::*;
use loadtest::sip_peer::CallView;
use server::call::{CallEvent, EventType};

/// An inbound route of every number to the echo.
const TO_THE_ECHO: &str =
    "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"*\"\ntarget = \"echo\"\n";
/// Answers linger so long in their transactions.
const TRANSACTIONS_END: Duration = Duration::from_secs(45);

/// Each call's event types, by call.
fn by_call(events: &[CallEvent]) -> BTreeMap<String, Vec<EventType>> {
    let mut calls: BTreeMap<String, Vec<EventType>> = BTreeMap::new();
    for event in events {
        let types = calls.entry(event.call_sid.to_string()).or_default();
        types.push(event.event_type);
    }
    calls
}

#[test]
fn of_50_dials_at_once_over_two_shards_exactly_5_get_a_channel() {
    const DIALS: usize = 50;
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.channel_limit = 5;
    setup.media_pairs = 16;
    setup.cores = vec![0, 1];
    setup.shards_lines = "[spread]\nacme = 2\n".to_owned();
    let gateway = setup.start();
    let plan = plan(&gateway, AudioCodec::Opus);
    let together = Barrier::new(DIALS);
    let calls: Vec<Option<WebRtcCall>> = std::thread::scope(|scope| {
        let dialling: Vec<_> = (0..DIALS)
            .map(|_| {
                let mut plan = plan.clone();
                plan.token = gateway.token("acme").unwrap();
                plan.step_timeout = Duration::from_secs(30);
                let together = &together;
                scope.spawn(move || {
                    let mut call = WebRtcCall::connect(&plan).unwrap();
                    together.wait();
                    match call.place(&plan) {
                        Ok(()) => Some(call),
                        Err(error) => {
                            assert!(error.to_string().contains("has its 5 channels"), "{error}");
                            None
                        }
                    }
                })
            })
            .collect();
        dialling
            .into_iter()
            .map(|dialled| dialled.join().unwrap())
            .collect()
    });
    let answered: Vec<WebRtcCall> = calls.into_iter().flatten().collect();
    assert_eq!(answered.len(), 5);
    assert_eq!(peer.calls().len(), 5, "no INVITE was sent for the others");
    let on_shard = |shard: u16| {
        gateway
            .metrics()
            .unwrap()
            .matching("clutchcall_calls_total", &format!("shard=\"{shard}\""))
    };
    assert!(
        on_shard(0) > 0.0 && on_shard(1) > 0.0,
        "both shards dialled"
    );
    for call in answered {
        call.hang_up().unwrap();
    }
    end(gateway);
}

/// So many calls at 50 per second, each 2 s long, into the echo.
fn call_and_hang_up(peer: &SipPeer, setup: &SipSetup, count: usize) -> Vec<CallView> {
    const EVERY: Duration = Duration::from_millis(20);
    const LASTS: Duration = Duration::from_secs(2);
    let began = Instant::now();
    let mut calls = Vec::new();
    for number in 0..count {
        let due = began + EVERY * number as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        calls.push(peer.call(OutgoingCall::new(&setup.uri("+15550100"))));
        // Those that are old enough end.
        if let Some(old) = number.checked_sub((LASTS.as_millis() / EVERY.as_millis()) as usize) {
            peer.hang_up(calls[old]);
        }
    }
    for call in calls
        .iter()
        .rev()
        .take((LASTS.as_millis() / EVERY.as_millis()) as usize)
    {
        peer.wait_for(*call, "an answer", in_time(), |call| {
            call.answered_at.or(call.ended_at)
        })
        .unwrap();
        peer.hang_up(*call);
    }
    let end = |call: &CallId| {
        peer.wait_for_state(*call, CallState::Ended, Instant::now() + TRANSACTIONS_END)
            .unwrap()
    };
    calls.iter().map(end).collect()
}

fn wait_for_no_transactions(gateway: &Gateway) {
    let deadline = Instant::now() + TRANSACTIONS_END;
    while gateway
        .metrics()
        .unwrap()
        .sum("clutchcall_sip_transactions")
        > 0.0
    {
        assert!(Instant::now() < deadline, "transactions are left");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(gateway.metrics().unwrap().sum("clutchcall_sip_legs"), 0.0);
}

#[test]
fn of_500_calls_at_50_per_second_none_fails_and_nothing_is_left() {
    const CALLS: usize = 500;
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.inbound = TO_THE_ECHO.to_owned();
    setup.media_pairs = 600;
    setup.channel_limit = 1000;
    setup.trunk_lines = "options_interval_s = 0\n".to_owned();
    let gateway = setup.start();
    call_and_hang_up(&peer, &setup, 100);
    wait_for_no_transactions(&gateway);
    let resident = || {
        gateway
            .metrics()
            .unwrap()
            .sum("clutchcall_resident_memory_bytes")
    };
    let before = resident();
    let views = call_and_hang_up(&peer, &setup, CALLS);
    let failed: Vec<&CallView> = views
        .iter()
        .filter(|view| view.answered_at.is_none())
        .collect();
    assert!(
        failed.is_empty(),
        "{} calls were not answered: {:?}",
        failed.len(),
        failed.first()
    );
    wait_for_no_transactions(&gateway);
    let grown_kib = (resident() - before) / 1024.0;
    println!("{CALLS} calls: resident memory grew by {grown_kib} KiB, records included");
    // The records of the last calls are kept: some KiB each.
    assert!(grown_kib < 8.0 * CALLS as f64, "{grown_kib} KiB");
    let events = gateway.events();
    let calls = by_call(&events);
    assert_eq!(calls.len(), CALLS + 100);
    assert!(
        calls.values().all(|types| types[..] == WHOLE_CALL),
        "{calls:?}"
    );
    end(gateway);
}

#[test]
fn sigterm_refuses_what_is_new_and_ends_calls_with_41() {
    const CALLS: usize = 40;
    let peer = far_end(AudioCodec::Pcmu);
    let mut setup = SipSetup::new(&peer, AudioCodec::Pcmu);
    setup.inbound = TO_THE_ECHO.to_owned();
    setup.media_pairs = 60;
    setup.server_lines = "drain_timeout_s = 3\n".to_owned();
    let mut gateway = setup.start();
    let calls: Vec<CallId> = (0..CALLS)
        .map(|_| peer.call(OutgoingCall::new(&setup.uri("1"))))
        .collect();
    for call in &calls {
        peer.wait_for_state(*call, CallState::Answered, in_time())
            .unwrap();
    }
    gateway.signal("TERM").unwrap();
    // The kernel delivers a signal when it likes.
    let deadline = in_time();
    while gateway.get("/readyz").unwrap().status != 503 {
        assert!(Instant::now() < deadline, "it does not drain");
        std::thread::sleep(Duration::from_millis(5));
    }
    let late = peer.call(OutgoingCall::new(&setup.uri("1")));
    let refused = peer
        .wait_for_state(late, CallState::Ended, in_time())
        .unwrap();
    assert_eq!(refused.statuses, [503]);
    let options = options(&setup);
    assert!(options.starts_with("SIP/2.0 503 "), "{options}");
    assert!(options.contains("Retry-After: "), "{options}");
    for (place, call) in calls.iter().enumerate() {
        if place % 2 == 0 {
            peer.hang_up(*call);
        }
    }
    for (place, call) in calls.iter().enumerate() {
        let view = peer
            .wait_for_state(*call, CallState::Ended, in_time())
            .unwrap();
        if place % 2 == 1 {
            assert!(
                view.reason
                    .as_deref()
                    .is_some_and(|reason| reason.contains("cause=41")),
                "{view:?}"
            );
        }
    }
    let status = gateway.wait_for_exit(Duration::from_secs(10)).unwrap();
    assert!(status.success(), "{status}");
    assert!(gateway.wait_for_event_stream_end(in_time()));
    let calls = by_call(&gateway.events());
    assert!(
        calls.values().all(|types| types[..] == WHOLE_CALL),
        "{calls:?}"
    );
    assert_eq!(calls.len(), CALLS);
}

/// What the gateway answers to OPTIONS.
fn options(setup: &SipSetup) -> String {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let request = format!(
        "OPTIONS {} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKoptions;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:far-end@127.0.0.1>;tag=1\r\nTo: <sip:gateway@127.0.0.1>\r\nCall-ID: options\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        setup.uri("gateway")
    );
    socket
        .send_to(request.as_bytes(), (Ipv4Addr::LOCALHOST, setup.sip_port))
        .unwrap();
    let mut answer = [0; 2048];
    let (len, _) = socket.recv_from(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..len]).into_owned()
}
