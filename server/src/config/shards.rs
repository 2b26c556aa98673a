//! The typed form of `shards.toml`: cores, tick, ports, rings, batches and limits of each shard.

use std::collections::BTreeMap;

use crate::id::TenantId;

/// All of `shards.toml`. Every key has a default, so the file may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardsConfig {
    /// One shard per entry, pinned there. Default: all cores but the last, at least one.
    pub cores: Vec<usize>,
    /// Core of the control thread. Default: the first core without a shard, else floating at nice 5.
    pub control_core: Option<usize>,
    /// Media tick, default 1000 us.
    pub tick_us: u32,
    /// glommio's preemption timer, default 500 us.
    pub preempt_timer_us: u32,
    /// Shard i binds its WebRTC socket to this + i, default 10000.
    pub webrtc_udp_port_base: u16,
    /// Slots of the ring from a shard to the control thread, default 4096.
    pub control_ring_slots: usize,
    /// Slots of the ring from the control thread to a shard, default 4096.
    pub shard_ring_slots: usize,
    /// Slots of each hand-off ring between two shards, default 256.
    pub hand_off_ring_slots: usize,
    /// Datagrams per `recvmmsg` and `sendmmsg`, default 64.
    pub udp_batch_packets: usize,
    /// `SO_RCVBUF` of the WebRTC socket, default 8 MiB.
    pub udp_receive_buffer_bytes: usize,
    /// `SO_SNDBUF` of the WebRTC socket, default 4 MiB.
    pub udp_send_buffer_bytes: usize,
    /// Live calls per shard, default 1000.
    pub calls_max: usize,
    /// New calls are refused from this busy share of the shard's core on, default 85 %; 100: never.
    pub admission_busy_pct_max: u8,
    /// New calls are refused when the media ticks are so late, as the median of ten looks in a second, default 5 ms; 0: never.
    pub admission_tick_late_ms_max: u32,
    /// Open TCP connections per shard, default 10000.
    pub connections_max: usize,
    /// TLS handshakes under way per shard, default 256.
    pub handshakes_pending_max: usize,
    /// Open TCP connections of one address on one shard, default 1000.
    pub connections_per_address_max: usize,
    /// New TCP connections of one address per second on one shard, default 200.
    pub connections_per_address_per_s: u32,
    /// Time for the TLS handshake, default 10000 ms.
    pub tls_handshake_timeout_ms: u32,
    /// Bytes of an HTTP head, default 8192.
    pub http_head_bytes_max: usize,
    /// Time for the HTTP head, default 5000 ms.
    pub http_head_timeout_ms: u32,
    /// How many shards a big tenant may use; absent: 1.
    pub spread: BTreeMap<TenantId, u16>,
}
