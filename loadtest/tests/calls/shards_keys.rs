//! What an operator writes into `shards.toml` is what the process does: placement, ports, clock, buffers, rings, limits.
//!
//! Which test or bench shows which key is listed in `server/src/config/tests/shards_keys.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use loadtest::gateway::{ECHO_TENANT, Gateway, GatewaySetup};
use loadtest::signalling::{ServerMessage, Signalling};
use server::call::EventType;

use crate::admission::{Dialled, dial, negotiated, outcome, stop_cleanly};
use crate::wire::{Door, next_json, upgrade_head};

const WAIT: Duration = Duration::from_secs(15);

fn start(cores: &[usize], shards_lines: &str) -> Gateway {
    let mut setup = GatewaySetup::new(ECHO_TENANT);
    setup.cores = cores.to_vec();
    setup.shards_lines = shards_lines.to_owned();
    Gateway::start(&setup).unwrap()
}

/// Waits until `holds` does.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn refused(gateway: &Gateway, reason: &str) -> f64 {
    let metrics = gateway.metrics().unwrap();
    let label = format!("reason=\"{reason}\"");
    metrics.matching("clutchcall_connections_refused_total", &label)
}

/// The cores that a thread may run on, as the kernel writes them.
fn cores_of(gateway: &Gateway, thread: &str) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let found = tasks
        .map(|task| task.unwrap().path())
        .find(|task| read(task.join("comm")).trim() == thread);
    let status = read(found.expect(thread).join("status"));
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap().trim().to_owned()
}

/// The main thread is the control thread: its cores and its nice value (the 19th field of `proc_pid_stat(5)`).
fn control_thread(gateway: &Gateway) -> (String, i32) {
    let main = format!("/proc/{0}/task/{0}", gateway.pid());
    let stat = std::fs::read_to_string(format!("{main}/stat")).unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    let nice = behind_name.split_whitespace().nth(16).unwrap();
    let comm = std::fs::read_to_string(format!("{main}/comm")).unwrap();
    (cores_of(gateway, comm.trim()), nice.parse().unwrap())
}

/// The shard of a session, and the port that its SDP answer names.
fn shard_and_media_port(session: &Signalling) -> (u16, u16) {
    let messages = session.received();
    let mut shard = None;
    let mut port = None;
    for message in messages.iter().map(|received| &received.message) {
        match message {
            ServerMessage::Session { session_id, .. } => {
                shard = session_id.split('-').next().unwrap().parse().ok();
            }
            ServerMessage::Answer { sdp } => {
                let candidate = sdp
                    .lines()
                    .find_map(|line| line.strip_prefix("a=candidate:"));
                port = candidate.unwrap().split(' ').nth(5).unwrap().parse().ok();
            }
            _ => {}
        }
    }
    (shard.unwrap(), port.unwrap())
}

#[test]
fn shards_the_control_thread_and_media_ports_are_where_the_file_says() {
    let gateway = start(&[1, 0], "control_core = 1\n[spread]\nacme = 2\n");
    assert_eq!(cores_of(&gateway, "shard-0"), "1");
    assert_eq!(cores_of(&gateway, "shard-1"), "0");
    assert_eq!(control_thread(&gateway).0, "1");

    let shards_toml = std::fs::read_to_string(gateway.file("shards.toml")).unwrap();
    let base: u16 = shards_toml
        .lines()
        .find_map(|line| line.strip_prefix("webrtc_udp_port_base = "))
        .unwrap()
        .parse()
        .unwrap();
    // The kernel chooses the shard; with `spread = 2` it keeps the session.
    let mut seen = [false; 2];
    for _ in 0..100 {
        let session = negotiated(&gateway);
        let (shard, port) = shard_and_media_port(&session);
        assert_eq!(port, base + shard);
        seen[usize::from(shard)] = true;
        if seen == [true; 2] {
            break;
        }
    }
    assert_eq!(seen, [true; 2], "both shards take sessions");
    stop_cleanly(gateway);
}

/// Turns of the media loop per second while one peer lives.
fn ticks_per_s(gateway: &Gateway) -> f64 {
    let _peer = negotiated(gateway);
    let ticks = || gateway.metrics().unwrap().sum("clutchcall_wakeups_total");
    let (before, began) = (ticks(), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    (ticks() - before) / began.elapsed().as_secs_f64()
}

/// How many of 2000 datagrams are there when the shard looks: nobody reads the port while no peer lives.
fn kept_by_the_port(gateway: &Gateway) -> f64 {
    let received = || {
        let metrics = gateway.metrics().unwrap();
        metrics.sum("clutchcall_webrtc_packets_received_total")
    };
    let before = received();
    let shards_toml = std::fs::read_to_string(gateway.file("shards.toml")).unwrap();
    let base = shards_toml
        .lines()
        .find_map(|line| line.strip_prefix("webrtc_udp_port_base = "));
    let port: u16 = base.unwrap().parse().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..2000 {
        stranger.send_to(&[0xff; 172], ("127.0.0.1", port)).unwrap();
    }
    let _peer = negotiated(gateway);
    let mut last = -1.0;
    eventually("the port is never drained", || {
        std::thread::sleep(Duration::from_millis(100));
        let now = received() - before;
        std::mem::replace(&mut last, now) == now && now > 0.0
    });
    last
}

#[test]
fn the_tick_and_the_buffers_are_as_large_as_the_file_says() {
    let small = start(
        &[0],
        "tick_us = 10000\nudp_receive_buffer_bytes = 65536\nudp_send_buffer_bytes = 131072\n",
    );
    let default = start(&[0], "");
    // Without a core of its own the control thread gives way to the shards.
    assert!(control_thread(&default).1 >= 5);

    let kept = [kept_by_the_port(&small), kept_by_the_port(&default)];
    let ticks = [ticks_per_s(&small), ticks_per_s(&default)];
    println!("kept of 2000 datagrams: {kept:?}; ticks per second: {ticks:?}");
    assert!(kept[0] < 500.0 && kept[1] > kept[0] * 1.5, "{kept:?}");
    // A loaded machine skips ticks, and never makes more of them.
    assert!(ticks[0] < 150.0 && ticks[1] > ticks[0] * 2.0, "{ticks:?}");
    let log = small.log();
    assert!(
        log.contains("receive_buffer_bytes=65536 send_buffer_bytes=131072"),
        "{log}"
    );
    stop_cleanly(small);
    stop_cleanly(default);
}

#[test]
fn a_shard_carries_as_many_calls_as_the_file_says() {
    let gateway = start(&[0], "calls_max = 2\n");
    let sessions: Vec<Signalling> = (0..3).map(|_| negotiated(&gateway)).collect();
    let dialled: Vec<Dialled> = sessions
        .iter()
        .map(|session| {
            dial(session, None);
            outcome(session)
        })
        .collect();
    let [Dialled::Live(_), Dialled::Live(_), Dialled::Refused(third)] = dialled.as_slice() else {
        panic!("two calls and a refusal were due");
    };
    assert_eq!(
        (third.code, third.reason.as_str()),
        (1013, "the shard carries all the calls it may")
    );
    let end = third.events.last().unwrap();
    assert_eq!(
        (end.event_type, end.q850_cause),
        (EventType::ChannelHangupComplete, 42)
    );
    drop(sessions);
    stop_cleanly(gateway);
}

/// A call keeps the slots of its later events from the start, so the ring to the control thread bounds the calls.
#[test]
fn a_small_event_ring_carries_few_calls() {
    let gateway = start(&[0], "control_ring_slots = 64\n");
    let sessions: Vec<Signalling> = (0..40).map(|_| negotiated(&gateway)).collect();
    let mut live = 0;
    for session in &sessions {
        dial(session, None);
        match outcome(session) {
            Dialled::Live(_) => live += 1,
            Dialled::Refused(refused) => {
                assert_eq!(
                    (refused.code, refused.reason.as_str()),
                    (1013, "the event ring is full")
                );
                assert!(refused.events.is_empty(), "no event without a slot");
            }
        }
    }
    // Two slots for each call that is not answered, three to begin one, and one to ask for it.
    assert!((20..=31).contains(&live), "{live} calls on 64 slots");
    let full = gateway.metrics().unwrap().sum("clutchcall_ring_full_total");
    // Besides those that were refused: that a page can't be called any more had to wait for room.
    assert!(
        full >= f64::from(40 - live),
        "{full} times full, {live} calls"
    );
    drop(sessions);
    eventually("the calls never end", || {
        gateway.metrics().unwrap().sum("clutchcall_calls") == 0.0
    });
    let again = negotiated(&gateway);
    dial(&again, None);
    assert!(
        matches!(outcome(&again), Dialled::Live(_)),
        "slots come back"
    );
    drop(again);
    stop_cleanly(gateway);
}

/// Reads until the gateway has closed; it may say so by a reset.
fn assert_closed(mut stream: TcpStream) {
    let mut byte = [0];
    let read = stream.read(&mut byte);
    assert!(!matches!(read, Ok(1)), "an answer before any handshake");
}

#[test]
fn connections_handshakes_and_heads_have_the_limits_of_the_file() {
    let gateway = start(
        &[0],
        "connections_max = 6\nhandshakes_pending_max = 2\nconnections_per_address_max = 4\n\
         http_head_bytes_max = 1024\n",
    );
    let gauge = |name: &str| gateway.metrics().unwrap().sum(name);
    let door = Door::of(&gateway);
    let mut door_v6 = door.clone();
    door_v6.address = SocketAddr::from((Ipv6Addr::LOCALHOST, door.address.port()));
    let none_left = |what: &str| {
        eventually(what, || gauge("clutchcall_connections") == 0.0);
    };
    none_left("the start's own connection stays");

    let answer =
        door.exchange(format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(1500)).as_bytes());
    assert_eq!(answer.status, 431);
    assert!(answer.body.contains("longer than 1024 bytes"), "{answer:?}");
    none_left("the refused head stays");

    let silent = [door.tcp(), door.tcp()];
    eventually("two handshakes are never under way", || {
        gauge("clutchcall_handshakes_pending") == 2.0
    });
    assert_closed(door.tcp());
    assert_eq!(refused(&gateway, "handshakes"), 1.0);
    drop(silent);
    none_left("silent connections stay");

    let open = |door: &Door| {
        let token = gateway.token("acme").unwrap();
        let mut socket = door.upgrade(&upgrade_head("acme", Some(&token), ""), b"");
        assert_eq!(next_json(&mut socket)["type"], "session");
        socket
    };
    let four: Vec<_> = (0..4).map(|_| open(&door)).collect();
    assert_closed(door.tcp());
    assert_eq!(refused(&gateway, "address"), 1.0);
    // Another address still has its own, until the shard has all it takes.
    let two: Vec<_> = (0..2).map(|_| open(&door_v6)).collect();
    assert_closed(door_v6.tcp());
    assert_eq!(refused(&gateway, "connections"), 1.0);
    drop((four, two));
    gateway.assert_drained();
    drop(open(&door));
    stop_cleanly(gateway);
}

#[test]
fn an_address_opens_as_many_connections_a_second_as_the_file_says() {
    let gateway = start(&[0], "connections_per_address_per_s = 3\n");
    let door = Door::of(&gateway);
    let burst: Vec<TcpStream> = (0..30).map(|_| door.tcp()).collect();
    // On a slow machine the burst itself takes a while, and a rate gives more meanwhile.
    eventually("nothing is refused", || {
        refused(&gateway, "address_rate") >= 15.0
    });
    drop(burst);
    eventually("the rate never comes back", || {
        std::thread::sleep(Duration::from_millis(400));
        gateway
            .get("/healthz")
            .is_ok_and(|answer| answer.status == 200)
    });
    stop_cleanly(gateway);
}
