//! Two shards: every session lands where it belongs, and a call stays on one shard.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup, Metrics};
use loadtest::judge::Bar;
use loadtest::webrtc_client;
use serde_json::json;
use tungstenite::WebSocket;

use crate::forge::TenantKeys;
use crate::wire::{Door, TEXT, TlsStream, masked_frame, next_json, text_frame, upgrade_head};

const SESSIONS: usize = 2000;
const TENANTS: usize = 20;
/// Sessions that are open at once: a page has 10 s for its offer, and these make none.
const WAVE: usize = 250;
const THREADS: usize = 4;

fn on_shard(metrics: &Metrics, name: &str, shard: u16) -> f64 {
    metrics.matching(name, &format!("shard=\"{shard}\""))
}

/// 20 tenants that take tokens of `keys`, on two shards.
fn many_tenants(keys: &TenantKeys) -> Gateway {
    let browser = keys.browser_toml();
    let tenants: String = (0..TENANTS)
        .map(|number| format!("[[tenants]]\ntenant_id = \"tenant-{number}\"\n{browser}"))
        .collect();
    let mut setup = GatewaySetup::new(&tenants);
    setup.cores = vec![0, 1];
    // One address opens them all here.
    setup.shards_lines =
        "connections_per_address_max = 10000\nconnections_per_address_per_s = 10000\n".to_owned();
    Gateway::start(&setup).unwrap()
}

/// Opens a session and hears `session` and `pong`; every second one sends its first frame in the same record as the head.
fn open(door: &Door, keys: &TenantKeys, number: usize) -> (WebSocket<TlsStream>, u16) {
    let tenant = format!("tenant-{}", number % TENANTS);
    let token = keys.token(&tenant);
    let ping = masked_frame(
        TEXT,
        json!({"type": "ping", "id": number}).to_string().as_bytes(),
    );
    let auth = masked_frame(
        TEXT,
        json!({"type": "auth", "token": token})
            .to_string()
            .as_bytes(),
    );
    // Neighbours are of different tenants, so each tenant has sessions of all kinds.
    let mut socket = match number / TENANTS % 4 {
        0 => door.upgrade(&upgrade_head(&tenant, Some(&token), ""), &ping),
        1 => door.upgrade(&upgrade_head(&tenant, None, ""), &[auth, ping].concat()),
        2 => {
            let mut socket = door.upgrade(&upgrade_head(&tenant, Some(&token), ""), b"");
            socket.get_mut().write_all(&ping).unwrap();
            socket
        }
        _ => {
            let mut socket = door.upgrade(&upgrade_head(&tenant, None, ""), b"");
            socket.get_mut().write_all(&[auth, ping].concat()).unwrap();
            socket
        }
    };
    let messages = [next_json(&mut socket), next_json(&mut socket)];
    let of_type = |name: &str| messages.iter().find(|message| message["type"] == name);
    assert_eq!(of_type("pong").unwrap()["id"], number);
    let session_id = of_type("session").unwrap()["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let shard = session_id.split('-').next().unwrap().parse().unwrap();
    (socket, shard)
}

#[test]
fn two_thousand_sessions_of_20_tenants_land_on_their_shards() {
    let keys = TenantKeys::generate();
    let gateway = many_tenants(&keys);
    let door = Door::of(&gateway);
    let owner: HashMap<usize, u16> = (0..TENANTS)
        .map(|number| {
            (
                number,
                gateway.shards_of(&format!("tenant-{number}")).unwrap()[0],
            )
        })
        .collect();
    let owned: Vec<usize> = [0, 1]
        .map(|shard| owner.values().filter(|owner| **owner == shard).count())
        .to_vec();
    assert!(
        owned.iter().all(|tenants| *tenants > 0),
        "tenants per shard: {owned:?}"
    );

    let began = Instant::now();
    for wave in 0..SESSIONS / WAVE {
        let next = AtomicUsize::new(wave * WAVE);
        let open_sessions: Vec<(WebSocket<TlsStream>, u16)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut opened = Vec::new();
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= (wave + 1) * WAVE {
                                return opened;
                            }
                            let (socket, shard) = open(&door, &keys, number);
                            assert_eq!(shard, owner[&(number % TENANTS)], "session {number}");
                            opened.push((socket, shard));
                        }
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let metrics = gateway.metrics().unwrap();
        for shard in 0..2 {
            let expected = open_sessions.iter().filter(|(_, on)| *on == shard).count();
            assert_eq!(
                on_shard(&metrics, "clutchcall_sessions", shard) as usize,
                expected,
                "wave {wave}"
            );
        }
    }
    let elapsed = began.elapsed();

    gateway.assert_drained();
    let metrics = gateway.metrics().unwrap();
    assert_eq!(metrics.sum("clutchcall_sessions_total") as usize, SESSIONS);
    assert_eq!(metrics.sum("clutchcall_connections_refused_total"), 0.0);
    assert_eq!(metrics.sum("clutchcall_ring_full_total"), 0.0);
    let moved = |name: &str| [0, 1].map(|shard| on_shard(&metrics, name, shard));
    let (sent, received) = (
        moved("clutchcall_hand_offs_sent_total"),
        moved("clutchcall_hand_offs_received_total"),
    );
    assert_eq!([sent[1], sent[0]], received);
    // The kernel spreads connections evenly, so about half of them come to the wrong shard.
    let share = (sent[0] + sent[1]) / SESSIONS as f64;
    assert!(
        (0.3..0.7).contains(&share),
        "{share} of the sessions were handed over"
    );
    println!(
        "{SESSIONS} sessions in {:.1} s, {:.0} % handed over, 0 failures; tenants per shard {owned:?}",
        elapsed.as_secs_f64(),
        share * 100.0
    );
    assert!(gateway.stop().unwrap().success());
}

#[test]
fn a_handed_over_session_goes_on_as_if_nothing_had_happened() {
    let keys = TenantKeys::generate();
    let gateway = many_tenants(&keys);
    let door = Door::of(&gateway);
    let handed_over = || {
        gateway
            .metrics()
            .unwrap()
            .sum("clutchcall_hand_offs_received_total")
    };
    // Both kinds come by themselves: the kernel chooses the accepting shard by the client's port.
    let mut kinds = [0, 0];
    while kinds.contains(&0) {
        let before = handed_over();
        let (mut socket, _) = open(&door, &keys, 0);
        kinds[usize::from(handed_over() > before)] += 1;
        assert!(kinds.iter().sum::<i32>() < 100, "{kinds:?}");
        // More than one TLS record each way, and a message in pieces of its own.
        for id in 0..20 {
            let ping = text_frame(&json!({"type": "ping", "id": format!("{id:0>60}")}));
            let (first, rest) = ping.split_at(ping.len() / 2);
            socket.get_mut().write_all(first).unwrap();
            socket.get_mut().flush().unwrap();
            socket.get_mut().write_all(rest).unwrap();
            assert_eq!(next_json(&mut socket)["id"], format!("{id:0>60}"));
        }
    }
    gateway.assert_drained();
    assert!(gateway.stop().unwrap().success());
}

#[test]
fn the_packets_of_a_call_are_handled_by_one_shard() {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.cores = vec![0, 1];
    let gateway = Gateway::start(&setup).unwrap();
    let owner = gateway.shards_of("acme").unwrap()[0];
    let other = 1 - owner;
    let plan = gateway.call_plan("acme").unwrap();
    let report = webrtc_client::call(&plan).unwrap();
    let verdict = report.verdict(&plan.speech, Bar::OpusClean).unwrap();
    println!("Opus over two shards: {verdict}");
    // Which shard works is the subject; the quality of a quiet machine is judged elsewhere.
    assert!(verdict.match_score > 0.5, "{verdict}");
    assert_eq!(report.events[0].call_sid.shard().0, owner);
    gateway.assert_drained();

    let metrics = gateway.metrics().unwrap();
    for name in [
        "clutchcall_webrtc_packets_received_total",
        "clutchcall_webrtc_packets_sent_total",
        "clutchcall_packets_transcoded_total",
        "clutchcall_calls_total",
        "clutchcall_sessions_total",
    ] {
        assert!(
            on_shard(&metrics, name, owner) > 0.0,
            "{name} of shard {owner}"
        );
        assert_eq!(
            on_shard(&metrics, name, other),
            0.0,
            "{name} of shard {other}"
        );
    }
    let received = on_shard(&metrics, "clutchcall_webrtc_packets_received_total", owner);
    println!("shard {owner} received {received} datagrams of the call, shard {other} none");
    assert!(gateway.stop().unwrap().success());
}
