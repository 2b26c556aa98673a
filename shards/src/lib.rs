//! The thread-per-core runtime: pinned executors, rings between them, listeners, TLS that moves, batched UDP, timers.
//! It knows nothing about calls.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`owner`] | which shard a tenant lives on |
//! | [`executor`] | one pinned glommio executor per shard, its tasks, its clean end |
//! | [`guard`] | a panic becomes an error value |
//! | [`ring`], [`doorbell`], [`mesh`] | lock-free rings between threads, and waking who sleeps |
//! | [`listener`], [`tls`] | accepting on every shard, TLS, and moving a live connection to its owner |
//! | [`tick_stream`] | TCP and TLS streams that are drained at the tick |
//! | [`udp`] | batched datagrams on sockets of our own |
//! | [`wheel`], [`tick`] | many deadlines on one clock per shard |
//!
//! glommio is used for scheduling, timers and TCP only: its UDP send path truncates datagrams once a socket is full,
//! and it pays per wake-up, so datagrams are read and written in batches on a tick.

pub mod doorbell;
pub mod executor;
pub mod guard;
mod host;
pub mod listener;
pub mod mesh;
pub mod owner;
mod pacemaker;
pub mod ring;
mod task;
mod tcp_queue;
pub mod tick;
pub mod tick_stream;
pub mod tls;
pub mod udp;
pub mod wheel;

/// Which shard: 0 to n-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardIndex(pub u16);

impl std::fmt::Display for ShardIndex {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}
