//! The thread-per-core runtime; knows nothing about calls.

/// Which shard: 0 to n-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardIndex(pub u16);
