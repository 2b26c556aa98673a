//! What became of audio on WebSockets, and how their peers broke the rules.

use super::ShardSource;
use super::page::{Kind, Label, Page};
use super::shards::by_shard_and;
use crate::fault::Fault;
use crate::metrics::{PcmMessage, ShardMetrics};
use crate::pcm::ViolationKind;

pub(super) fn render_pcm(page: &mut Page, shards: &[ShardSource<'_>]) {
    for (name, help, counters) in PCM_FAMILIES {
        by_shard_and(page, shards, name, help, "direction", |shard| {
            ["received", "sent"]
                .into_iter()
                .zip(counters(shard.metrics))
        });
    }
    by_shard_and(
        page,
        shards,
        "pcm_messages_total",
        "Messages of WebSockets of audio, by what their dialects count them as.",
        "kind",
        |shard| {
            let messages = &shard.metrics.pcm.messages;
            PcmMessage::ALL
                .iter()
                .map(|kind| (kind.as_str(), messages.at(*kind as usize).value()))
        },
    );
    let name = "pcm_violations_total";
    page.family(
        name,
        Kind::Counter,
        "Broken rules for which a WebSocket of audio was closed, by fault and kind.",
    );
    for (index, shard) in shards.iter().enumerate() {
        for (fault, counts) in Fault::ALL.iter().zip(&shard.metrics.pcm_violations) {
            for kind in ViolationKind::ALL {
                let labels: [Label<'_>; 3] = [
                    ("shard", &index),
                    ("fault", &fault.as_str()),
                    ("kind", &kind.as_str()),
                ];
                page.sample(name, &labels, counts.at(*kind as usize).value());
            }
        }
    }
}

/// First of what came from them, then of what went to them.
pub(super) type PcmFamily = (&'static str, &'static str, fn(&ShardMetrics) -> [u64; 2]);

pub(super) const PCM_FAMILIES: [PcmFamily; 4] = [
    (
        "pcm_frames_total",
        "20 ms frames of WebSockets of audio that went on whole.",
        |metrics| {
            [
                metrics.pcm.frames_received.value(),
                metrics.pcm.frames_sent.value(),
            ]
        },
    ),
    (
        "pcm_frames_concealed_total",
        "20 ms frames of WebSockets of audio that were made up because nothing came in time.",
        |metrics| {
            let pcm = &metrics.pcm;
            [pcm.concealed_received.value(), pcm.concealed_sent.value()]
        },
    ),
    (
        "pcm_frames_crossfaded_total",
        "20 ms frames of WebSockets of audio that went on blended with what was made up before them, because something is missing there.",
        |metrics| {
            let pcm = &metrics.pcm;
            [pcm.crossfaded_received.value(), pcm.crossfaded_sent.value()]
        },
    ),
    (
        "pcm_frames_dropped_total",
        "20 ms frames of WebSockets of audio that were dropped: too much at once, too late, or to end a delay.",
        |metrics| {
            [
                metrics.pcm.dropped_received.value(),
                metrics.pcm.dropped_sent.value(),
            ]
        },
    ),
];
