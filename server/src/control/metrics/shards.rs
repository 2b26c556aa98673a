//! What shards count, a line for each of them.

use std::fmt::Display;

use super::ShardSource;
use super::page::{Kind, Page};
use super::pcm::render_pcm;
use crate::metrics::{ConnectionRefusal, DropReason, LoadRefusal};

pub(super) fn render_shards(page: &mut Page, shards: &[ShardSource<'_>]) {
    for (name, kind, help, value) in SHARD_FIGURES {
        by_shard(page, shards, (name, *kind, help), value);
    }
    by_shard(
        page,
        shards,
        (
            "busy_seconds_total",
            Kind::Counter,
            "Time in which the media task worked.",
        ),
        |shard| shard.metrics.busy_ns.value() as f64 / 1e9,
    );
    by_shard(
        page,
        shards,
        (
            "busy_ratio",
            Kind::Gauge,
            "Share of its core that the shard's thread uses, over about a second; 0 to 1.",
        ),
        |shard| shard.metrics.busy_ppm.value() as f64 / 1e6,
    );
    by_shard(
        page,
        shards,
        (
            "tick_late_seconds",
            Kind::Gauge,
            "How late the media ticks are: the median of ten looks in about a second.",
        ),
        |shard| shard.metrics.tick_late_us.value() as f64 / 1e6,
    );
    by_shard_and(
        page,
        shards,
        "calls_refused_by_load_total",
        "Calls, and pages that want one, refused because the shard is too busy or too late, by where.",
        "at",
        |shard| {
            let refusals = &shard.metrics.load_refusals;
            LoadRefusal::ALL
                .iter()
                .map(|at| (at.as_str(), refusals.at(*at as usize).value()))
        },
    );
    by_shard_and(
        page,
        shards,
        "packets_dropped_total",
        "Datagrams that went no further, by reason.",
        "reason",
        |shard| {
            let drops = &shard.metrics.drops;
            DropReason::ALL
                .iter()
                .map(|reason| (reason.as_str(), drops.at(*reason as usize).value()))
        },
    );
    render_pcm(page, shards);
    by_shard_and(
        page,
        shards,
        "connections_refused_total",
        "Connections closed before they became sessions, by reason.",
        "reason",
        |shard| {
            let refusals = &shard.metrics.refusals;
            ConnectionRefusal::ALL
                .iter()
                .map(|reason| (reason.as_str(), refusals.at(*reason as usize).value()))
        },
    );
}

/// A family with a sample of each shard.
fn by_shard<Value: Display>(
    page: &mut Page,
    shards: &[ShardSource<'_>],
    (name, kind, help): (&str, Kind, &str),
    value: impl Fn(&ShardSource<'_>) -> Value,
) {
    let samples = shards.iter().map(value).enumerate();
    page.by_label(name, kind, help, "shard", samples);
}

/// A family of counters with a sample of each shard for each value of another label.
pub(super) fn by_shard_and<'a, Counts>(
    page: &mut Page,
    shards: &'a [ShardSource<'a>],
    name: &str,
    help: &str,
    label: &'static str,
    counts: impl Fn(&'a ShardSource<'a>) -> Counts,
) where
    Counts: IntoIterator<Item = (&'static str, u64)>,
{
    page.family(name, Kind::Counter, help);
    for (index, shard) in shards.iter().enumerate() {
        for (word, count) in counts(shard) {
            page.sample(name, &[("shard", &index), (label, &word)], count);
        }
    }
}

pub(super) type ShardFigure = (
    &'static str,
    Kind,
    &'static str,
    fn(&ShardSource<'_>) -> u64,
);

/// One line per shard each.
pub(super) const SHARD_FIGURES: &[ShardFigure] = &[
    ("calls", Kind::Gauge, "Calls that are live now.", |s| {
        s.metrics.calls.value()
    }),
    (
        "sessions",
        Kind::Gauge,
        "Signalling sessions that are open now.",
        |s| s.metrics.sessions.value(),
    ),
    (
        "resume_tokens",
        Kind::Gauge,
        "Resume tokens that are good now, one per session.",
        |s| s.metrics.resume_tokens.value(),
    ),
    (
        "connections",
        Kind::Gauge,
        "TCP connections that are open now, sessions included.",
        |s| s.metrics.connections.value(),
    ),
    (
        "handshakes_pending",
        Kind::Gauge,
        "TLS handshakes under way now.",
        |s| s.metrics.handshakes_pending.value(),
    ),
    ("peers", Kind::Gauge, "WebRTC peers that exist now.", |s| {
        s.metrics.peers.value()
    }),
    (
        "pcm_sockets",
        Kind::Gauge,
        "WebSockets that carry audio, open now.",
        |s| s.metrics.pcm_sockets.value(),
    ),
    (
        "pcm_frames_unsent_total",
        Kind::Counter,
        "20 ms frames that a peer that does not read was not sent.",
        |s| s.metrics.pcm.unsent.value(),
    ),
    (
        "pcm_barge_ins_total",
        Kind::Counter,
        "Times that a caller's speech cut an agent off.",
        |s| s.metrics.pcm.barge_ins.value(),
    ),
    (
        "media_ports",
        Kind::Gauge,
        "Trunk media ports in use now.",
        |s| s.metrics.media_ports.value(),
    ),
    (
        "slab_entries",
        Kind::Gauge,
        "Occupied entries over all slabs.",
        |s| s.metrics.slab_entries.value(),
    ),
    ("calls_total", Kind::Counter, "Calls created.", |s| {
        s.metrics.calls_total.value()
    }),
    (
        "sessions_total",
        Kind::Counter,
        "Signalling sessions opened.",
        |s| s.metrics.sessions_total.value(),
    ),
    (
        "sessions_resumed_total",
        Kind::Counter,
        "Sessions that got another socket.",
        |s| s.metrics.sessions_resumed.value(),
    ),
    (
        "webrtc_packets_received_total",
        Kind::Counter,
        "Datagrams received on the WebRTC port.",
        |s| s.metrics.webrtc_packets_received.value(),
    ),
    (
        "webrtc_packets_sent_total",
        Kind::Counter,
        "Datagrams sent from the WebRTC port.",
        |s| s.metrics.webrtc_packets_sent.value(),
    ),
    (
        "trunk_packets_received_total",
        Kind::Counter,
        "Datagrams received on trunk ports.",
        |s| s.metrics.trunk_packets_received.value(),
    ),
    (
        "trunk_packets_sent_total",
        Kind::Counter,
        "Datagrams sent from trunk ports.",
        |s| s.metrics.trunk_packets_sent.value(),
    ),
    (
        "packets_transcoded_total",
        Kind::Counter,
        "Packets decoded and encoded again.",
        |s| s.metrics.packets_transcoded.value(),
    ),
    (
        "packets_silent_total",
        Kind::Counter,
        "Packets of silence, for which Opus did not have to encode.",
        |s| s.metrics.packets_silent.value(),
    ),
    (
        "packets_passed_through_total",
        Kind::Counter,
        "Packets forwarded without decoding.",
        |s| s.metrics.packets_passed_through.value(),
    ),
    (
        "frames_concealed_total",
        Kind::Counter,
        "20 ms frames concealed.",
        |s| s.metrics.frames_concealed.value(),
    ),
    (
        "frames_recovered_fec_total",
        Kind::Counter,
        "Frames recovered by in-band FEC.",
        |s| s.metrics.frames_recovered_fec.value(),
    ),
    (
        "cpu_scarce",
        Kind::Gauge,
        "1 while the media task hardly rests and Opus is encoded at complexity 0.",
        |s| s.metrics.cpu_scarce.value(),
    ),
    (
        "admission_closed",
        Kind::Gauge,
        "1 while the shard takes no new call because it is too busy, or its ticks too late.",
        |s| s.metrics.admission_closed.value(),
    ),
    (
        "wakeups_total",
        Kind::Counter,
        "Wake-ups of the media task.",
        |s| s.metrics.wakeups.value(),
    ),
    (
        "oversleeps_total",
        Kind::Counter,
        "Times that the executor slept past its timers and was woken.",
        |s| s.metrics.oversleeps.value(),
    ),
    (
        "hand_offs_sent_total",
        Kind::Counter,
        "Connections given to another shard.",
        |s| s.metrics.hand_offs_sent.value(),
    ),
    (
        "hand_offs_received_total",
        Kind::Counter,
        "Connections taken from another shard.",
        |s| s.metrics.hand_offs_received.value(),
    ),
    (
        "control_ring_depth",
        Kind::Gauge,
        "Messages that wait in the ring to the control thread.",
        |s| s.metrics.control_ring_depth.value(),
    ),
    (
        "ring_full_total",
        Kind::Counter,
        "Messages of the shard that did not fit into a ring.",
        |s| s.metrics.ring_full.value(),
    ),
    (
        "panics_total",
        Kind::Counter,
        "Panics that were caught in a task or a call.",
        |s| s.metrics.panics.value(),
    ),
    (
        "to_shard_waiting",
        Kind::Gauge,
        "Messages that wait for room in the ring to the shard.",
        |s| s.link.waiting.value(),
    ),
    (
        "to_shard_ring_full_total",
        Kind::Counter,
        "Times that the ring to the shard had no room.",
        |s| s.link.ring_full.value(),
    ),
    (
        "to_shard_lost_total",
        Kind::Counter,
        "Messages to the shard that were lost.",
        |s| s.link.lost.value(),
    ),
];
