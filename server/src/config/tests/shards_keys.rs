//! Every key of `shards.toml` does something, and a test or a bench shows it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A key; the file that shows its effect; the function there.
const SHOWN_BY: &[(&str, &str, &str)] = &[
    ("cores", CALLS, PLACES),
    ("control_core", CALLS, PLACES),
    ("tick_us", CALLS, SIZES),
    (
        "preempt_timer_us",
        "shards/tests/executors.rs",
        "the_preemption_timer_says_how_long_a_task_keeps_the_shard",
    ),
    ("webrtc_udp_port_base", CALLS, PLACES),
    (
        "control_ring_slots",
        CALLS,
        "a_small_event_ring_carries_few_calls",
    ),
    (
        "shard_ring_slots",
        "server/src/control/links/tests.rs",
        "answers_that_find_no_room_wait_in_order",
    ),
    (
        "hand_off_ring_slots",
        "shards/src/mesh.rs",
        "values_arrive_with_their_sender_and_senders_take_turns",
    ),
    (
        "udp_batch_packets",
        "shards/benches/udp_design/main.rs",
        "batches",
    ),
    ("udp_receive_buffer_bytes", CALLS, SIZES),
    ("udp_send_buffer_bytes", CALLS, SIZES),
    (
        "calls_max",
        CALLS,
        "a_shard_carries_as_many_calls_as_the_file_says",
    ),
    (
        "admission_busy_pct_max",
        OVERLOAD,
        "a_busy_shard_refuses_whoever_comes_and_keeps_its_calls",
    ),
    (
        "admission_tick_late_ms_max",
        OVERLOAD,
        "a_late_shard_refuses_calls",
    ),
    ("connections_max", CALLS, LIMITS),
    ("handshakes_pending_max", CALLS, LIMITS),
    ("connections_per_address_max", CALLS, LIMITS),
    (
        "connections_per_address_per_s",
        CALLS,
        "an_address_opens_as_many_connections_a_second_as_the_file_says",
    ),
    ("tls_handshake_timeout_ms", BAD_INPUT, SLOW),
    ("http_head_bytes_max", CALLS, LIMITS),
    ("http_head_timeout_ms", BAD_INPUT, SLOW),
    (
        "spread",
        "loadtest/tests/calls/admission.rs",
        "a_limit_of_5_and_50_dials_give_5_calls_and_45_reasons",
    ),
];

const CALLS: &str = "loadtest/tests/calls/shards_keys.rs";
const PLACES: &str = "shards_the_control_thread_and_media_ports_are_where_the_file_says";
const SIZES: &str = "the_tick_and_the_buffers_are_as_large_as_the_file_says";
const LIMITS: &str = "connections_handshakes_and_heads_have_the_limits_of_the_file";
const OVERLOAD: &str = "loadtest/tests/calls/overload.rs";
const BAD_INPUT: &str = "loadtest/tests/calls/bad_input.rs";
const SLOW: &str = "slow_callers_are_closed_in_time";

#[test]
fn every_key_has_a_test_or_a_bench_and_is_documented() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(house.join(path)).unwrap();
    // The public fields are the keys.
    let keys: BTreeSet<&str> = include_str!("../shards.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split(':').next())
        .collect();
    let shown: BTreeSet<&str> = SHOWN_BY.iter().map(|(key, _, _)| *key).collect();
    assert_eq!(
        keys, shown,
        "a key without a proof, or a proof without a key"
    );
    assert_eq!(shown.len(), SHOWN_BY.len(), "a key is listed twice");

    let documented = read("deploy/shards.toml");
    for (key, file, function) in SHOWN_BY {
        assert!(
            read(file).contains(&format!("fn {function}(")),
            "{key}: {file} has no {function}"
        );
        let says = |line: &str| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{key} =")) || line == format!("[{key}]")
        };
        assert!(
            documented.lines().any(says),
            "{key} is not in deploy/shards.toml"
        );
    }
}
