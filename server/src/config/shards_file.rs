//! `shards.toml`: every key with its default and its range.

use std::path::Path;

use super::document::Document;
use super::report::Report;
use super::section::Section;
use super::{ConfigError, ShardsConfig};
use crate::id::TenantId;

/// The most shards.
const SHARDS_MAX: usize = 1024;
/// The highest core number.
const CORE_MAX: u64 = 4095;

/// Reads and checks the whole file; without a file everything has its default. `machine_cores` are those that this
/// process may run on.
pub(super) fn read(
    path: Option<&Path>,
    machine_cores: &[usize],
) -> Result<(ShardsConfig, Report), ConfigError> {
    let document = match path {
        Some(path) => Document::open(path)?,
        None => Document::from_text(Path::new("(no shards.toml)"), String::new()),
    };
    let config = {
        let table = document.parse()?;
        read_root(Section::root(&document, &table), machine_cores)
    };
    Ok((config, document.finish()?))
}

/// Every default but the cores, of which there are none.
pub(super) fn defaults() -> ShardsConfig {
    let document = Document::from_text(Path::new(""), String::new());
    let empty = toml::Spanned::new(0..0, toml::de::DeTable::new());
    ShardsConfig {
        cores: Vec::new(),
        ..read_root(Section::root(&document, &empty), &[])
    }
}

fn read_root(mut root: Section<'_>, machine_cores: &[usize]) -> ShardsConfig {
    let cores = read_cores(&mut root, machine_cores);
    // All casts below fit: the reader keeps every number within the range beside it.
    let config = ShardsConfig {
        control_core: root
            .integer("control_core", 0..=CORE_MAX)
            .map(|core| core.value as usize),
        tick_us: root.integer_or("tick_us", 250..=10_000, 1_000) as u32,
        preempt_timer_us: root.integer_or("preempt_timer_us", 100..=10_000, 500) as u32,
        webrtc_udp_port_base: root.integer_or("webrtc_udp_port_base", 1_024..=65_535, 10_000)
            as u16,
        control_ring_slots: root.integer_or("control_ring_slots", 64..=1_048_576, 4_096) as usize,
        shard_ring_slots: root.integer_or("shard_ring_slots", 64..=1_048_576, 4_096) as usize,
        hand_off_ring_slots: root.integer_or("hand_off_ring_slots", 8..=65_536, 256) as usize,
        udp_batch_packets: root.integer_or("udp_batch_packets", 1..=1_024, 64) as usize,
        udp_receive_buffer_bytes: root.integer_or("udp_receive_buffer_bytes", BUFFER_BYTES, 8 << 20)
            as usize,
        udp_send_buffer_bytes: root.integer_or("udp_send_buffer_bytes", BUFFER_BYTES, 4 << 20)
            as usize,
        calls_max: root.integer_or("calls_max", 1..=100_000, 1_000) as usize,
        admission_busy_pct_max: root.integer_or("admission_busy_pct_max", 1..=100, 85) as u8,
        admission_tick_late_ms_max: root.integer_or("admission_tick_late_ms_max", 0..=1_000, 5)
            as u32,
        connections_max: root.integer_or("connections_max", 1..=1_000_000, 10_000) as usize,
        handshakes_pending_max: root.integer_or("handshakes_pending_max", 1..=100_000, 256)
            as usize,
        connections_per_address_max: root.integer_or(
            "connections_per_address_max",
            1..=1_000_000,
            1_000,
        ) as usize,
        connections_per_address_per_s: root.integer_or(
            "connections_per_address_per_s",
            1..=1_000_000,
            200,
        ) as u32,
        tls_handshake_timeout_ms: root.integer_or("tls_handshake_timeout_ms", 100..=120_000, 10_000)
            as u32,
        http_head_bytes_max: root.integer_or("http_head_bytes_max", 1_024..=65_536, 8_192) as usize,
        http_head_timeout_ms: root.integer_or("http_head_timeout_ms", 100..=120_000, 5_000) as u32,
        spread: read_spread(&mut root, cores.len()),
        cores,
    };
    if config
        .control_core
        .is_some_and(|core| config.cores.contains(&core))
    {
        root.warn(
            "control_core",
            "is the core of a shard too: its media will be late when the control thread works",
        );
    }
    root.finish();
    config
}

/// From 64 KiB to 1 GiB.
const BUFFER_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(1 << 30);

fn read_cores(root: &mut Section<'_>, machine_cores: &[usize]) -> Vec<usize> {
    let Some(cores) = root.integers("cores", 0..=CORE_MAX) else {
        // The last core is left to the control thread and the system, unless it is the only one.
        let shards = machine_cores.len().saturating_sub(1).max(1);
        let cores: Vec<usize> = machine_cores.iter().take(shards).copied().collect();
        root.record_default("cores", format!("{cores:?}"));
        return cores;
    };
    root.require_entries("cores", "core");
    if cores.len() > SHARDS_MAX {
        root.wrong_key(
            "cores",
            format!("names {} cores; allowed: at most {SHARDS_MAX}", cores.len()),
        );
    }
    let mut unique = cores.clone();
    unique.sort_unstable();
    unique.dedup();
    if unique.len() != cores.len() {
        root.wrong_key("cores", "names a core twice; allowed: one shard per core");
    }
    cores.into_iter().map(|core| core as usize).collect()
}

fn read_spread(root: &mut Section<'_>, shards: usize) -> std::collections::BTreeMap<TenantId, u16> {
    let mut spread = std::collections::BTreeMap::new();
    for entry in root.named_integers("spread", 1..=SHARDS_MAX as u64) {
        let (name, count) = &entry.value;
        match name.parse::<TenantId>() {
            Err(error) => root.wrong(&entry, error.to_string()),
            Ok(_) if *count > shards as u64 => {
                root.wrong(
                    &entry,
                    format!("{count} is more than there are shards; allowed: 1 to {shards}"),
                );
            }
            Ok(tenant_id) => {
                spread.insert(tenant_id, *count as u16);
            }
        }
    }
    spread
}
