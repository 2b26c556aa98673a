#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use super::super::fixtures::{config, state_of};
use super::super::outbound::DialOutcome;
use super::super::sip_transport::Discard;
use super::pcm::PCM_FAMILIES;
use super::shards::SHARD_FIGURES;
use super::*;
use crate::fault::Fault;
use crate::metrics::{ConnectionRefusal, DropReason, Gauge, LoadRefusal, PcmMessage};
use crate::pcm::ViolationKind;

/// Every family, in the order of the page.
const FAMILIES: &[&str] = &[
    "calls gauge",
    "sessions gauge",
    "resume_tokens gauge",
    "connections gauge",
    "handshakes_pending gauge",
    "peers gauge",
    "pcm_sockets gauge",
    "pcm_frames_unsent_total counter",
    "pcm_barge_ins_total counter",
    "media_ports gauge",
    "slab_entries gauge",
    "calls_total counter",
    "sessions_total counter",
    "sessions_resumed_total counter",
    "webrtc_packets_received_total counter",
    "webrtc_packets_sent_total counter",
    "trunk_packets_received_total counter",
    "trunk_packets_sent_total counter",
    "packets_transcoded_total counter",
    "packets_silent_total counter",
    "packets_passed_through_total counter",
    "frames_concealed_total counter",
    "frames_recovered_fec_total counter",
    "cpu_scarce gauge",
    "admission_closed gauge",
    "wakeups_total counter",
    "oversleeps_total counter",
    "hand_offs_sent_total counter",
    "hand_offs_received_total counter",
    "control_ring_depth gauge",
    "ring_full_total counter",
    "panics_total counter",
    "to_shard_waiting gauge",
    "to_shard_ring_full_total counter",
    "to_shard_lost_total counter",
    "busy_seconds_total counter",
    "busy_ratio gauge",
    "tick_late_seconds gauge",
    "calls_refused_by_load_total counter",
    "packets_dropped_total counter",
    "pcm_frames_total counter",
    "pcm_frames_concealed_total counter",
    "pcm_frames_crossfaded_total counter",
    "pcm_frames_dropped_total counter",
    "pcm_messages_total counter",
    "pcm_violations_total counter",
    "connections_refused_total counter",
    "desk_calls gauge",
    "desk_used_tokens gauge",
    "desk_refusals_total counter",
    "events_total counter",
    "events_missing_total counter",
    "reloads_total counter",
    "event_subscribers gauge",
    "event_subscribers_closed_total counter",
    "call_records gauge",
    "waiting_sessions gauge",
    "sip_legs gauge",
    "sip_transactions gauge",
    "sip_discarded_total counter",
    "sip_trunk_up gauge",
    "outbound_dials gauge",
    "outbound_dials_total counter",
    "agent_up gauge",
    "admin_connections gauge",
    "shards gauge",
    "simd_info gauge",
    "ready gauge",
    "draining gauge",
    "unhealthy gauge",
    "fds gauge",
    "resident_memory_bytes gauge",
    "cpu_seconds_total counter",
];

fn page(shards: &[ShardSource<'_>]) -> String {
    let mut state = state_of(config(), 1);
    render(&Sources {
        shards,
        process: &ProcessState::default(),
        control: &ControlFigures::of(&mut state),
        admin_connections: 0,
        host: &HostFigures::default(),
    })
}

fn two_shards(metrics: &[ShardMetrics; 2], links: &[LinkMetrics; 2]) -> String {
    let sources: Vec<_> = metrics
        .iter()
        .zip(links)
        .map(|(metrics, link)| ShardSource { metrics, link })
        .collect();
    page(&sources)
}

#[test]
fn every_family_is_there_once_with_help_and_type() {
    let text = page(&[]);
    let types: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE clutchcall_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(types, FAMILIES);
    let helps = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP clutchcall_"))
        .map(|help| help.split_once(' ').unwrap());
    for (family, (name, help)) in FAMILIES.iter().zip(helps) {
        assert_eq!(family.split(' ').next(), Some(name));
        assert!(help.ends_with('.'), "{name}: {help}");
    }
}

#[test]
fn every_series_is_there_at_zero_from_the_start() {
    let text = two_shards(&Default::default(), &Default::default());
    let samples: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap())
        .collect();
    for (series, value) in &samples {
        let expected = match series.split('{').next() {
            Some("clutchcall_shards") => "2",
            Some("clutchcall_simd_info") => "1",
            _ => "0",
        };
        assert_eq!(*value, expected, "{series}");
    }
    let per_shard = SHARD_FIGURES.len()
        + 3
        + LoadRefusal::ALL.len()
        + DropReason::ALL.len()
        + 2 * PCM_FAMILIES.len()
        + PcmMessage::ALL.len()
        + Fault::ALL.len() * ViolationKind::ALL.len()
        + ConnectionRefusal::ALL.len();
    let desk = super::super::desk::DeskRefusal::ALL.len();
    let unlabelled = FAMILIES.len() - SHARD_FIGURES.len() - 12 - 7;
    // What the agent counts, and what the sockets do; this configuration has no SIP trunk, and no AI agent.
    let sip_discards = 3 + Discard::ALL.len();
    let labelled = 2 * per_shard + desk + 5 + 2 + sip_discards + DialOutcome::ALL.len();
    assert_eq!(samples.len(), labelled + unlabelled);
    for series in [
        "clutchcall_packets_dropped_total{shard=\"1\",reason=\"srtp_auth\"}",
        "clutchcall_connections_refused_total{shard=\"0\",reason=\"tls_timeout\"}",
        "clutchcall_pcm_messages_total{shard=\"1\",kind=\"media_missing\"}",
        "clutchcall_pcm_violations_total{shard=\"0\",fault=\"caller\",kind=\"wrong_account\"}",
        "clutchcall_desk_refusals_total{reason=\"tenant_calls\"}",
        "clutchcall_events_total{event_type=\"CHANNEL_HANGUP_COMPLETE\"}",
    ] {
        assert!(samples.contains(&(series, "0")), "{series}");
    }
}

/// Each counter is set to a number of its own and must be found under its own name, with its own unit.
#[test]
fn each_counter_shows_under_its_own_name() {
    let metrics: [ShardMetrics; 2] = Default::default();
    let links: [LinkMetrics; 2] = Default::default();
    let shard = &metrics[1];
    let expected: &[(&Gauge, &str)] = &[
        (&shard.calls, "calls"),
        (&shard.sessions, "sessions"),
        (&shard.resume_tokens, "resume_tokens"),
        (&shard.connections, "connections"),
        (&shard.handshakes_pending, "handshakes_pending"),
        (&shard.peers, "peers"),
        (&shard.media_ports, "media_ports"),
        (&shard.slab_entries, "slab_entries"),
        (&shard.calls_total, "calls_total"),
        (&shard.sessions_total, "sessions_total"),
        (&shard.sessions_resumed, "sessions_resumed_total"),
        (
            &shard.webrtc_packets_received,
            "webrtc_packets_received_total",
        ),
        (&shard.webrtc_packets_sent, "webrtc_packets_sent_total"),
        (
            &shard.trunk_packets_received,
            "trunk_packets_received_total",
        ),
        (&shard.trunk_packets_sent, "trunk_packets_sent_total"),
        (&shard.packets_transcoded, "packets_transcoded_total"),
        (&shard.packets_silent, "packets_silent_total"),
        (
            &shard.packets_passed_through,
            "packets_passed_through_total",
        ),
        (&shard.frames_concealed, "frames_concealed_total"),
        (&shard.frames_recovered_fec, "frames_recovered_fec_total"),
        (&shard.cpu_scarce, "cpu_scarce"),
        (&shard.admission_closed, "admission_closed"),
        (&shard.wakeups, "wakeups_total"),
        (&shard.oversleeps, "oversleeps_total"),
        (&shard.hand_offs_sent, "hand_offs_sent_total"),
        (&shard.hand_offs_received, "hand_offs_received_total"),
        (&shard.control_ring_depth, "control_ring_depth"),
        (&shard.ring_full, "ring_full_total"),
        (&shard.panics, "panics_total"),
        (&links[1].waiting, "to_shard_waiting"),
        (&links[1].ring_full, "to_shard_ring_full_total"),
        (&links[1].lost, "to_shard_lost_total"),
    ];
    for (number, (gauge, _)) in expected.iter().enumerate() {
        gauge.set(number as u64 + 1);
    }
    shard.busy_ns.set(1_500_000_000);
    shard.busy_ppm.set(250_000);
    shard.tick_late_us.set(1_500);
    shard.refused_by_load(LoadRefusal::Dial);
    shard.dropped(DropReason::Late);
    shard.refused(ConnectionRefusal::Origin);
    let text = two_shards(&metrics, &links);
    let shows = |line: &str| assert!(text.lines().any(|found| found == line), "{line}");
    for (number, (_, name)) in expected.iter().enumerate() {
        shows(&format!("clutchcall_{name}{{shard=\"1\"}} {}", number + 1));
        shows(&format!("clutchcall_{name}{{shard=\"0\"}} 0"));
    }
    shows("clutchcall_busy_seconds_total{shard=\"1\"} 1.5");
    shows("clutchcall_busy_ratio{shard=\"1\"} 0.25");
    shows("clutchcall_tick_late_seconds{shard=\"1\"} 0.0015");
    shows("clutchcall_calls_refused_by_load_total{shard=\"1\",at=\"dial\"} 1");
    shows("clutchcall_packets_dropped_total{shard=\"1\",reason=\"late\"} 1");
    shows("clutchcall_connections_refused_total{shard=\"1\",reason=\"origin\"} 1");
}
