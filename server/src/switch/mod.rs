//! One switch per shard: it owns the live calls, the media sockets and the clock that drives them.
