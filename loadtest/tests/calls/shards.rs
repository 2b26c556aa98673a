//! Two shards: every session lands where it belongs, and a call stays on one shard.
