//! A bad network in user space: a seeded UDP relay that loses, delays, reorders, copies and throttles, for machines whose kernel
//! has no `netem`.
//!
//! [`Link`] is one direction, sans I/O: datagrams and `now` in, datagrams out when they are due, the same for the same seed.
//! [`ImpairmentRelay`] puts two of them and sockets between a client and what it talks to: a WebRTC client and the gateway, or
//! the gateway's RTP trunk (with RTCP on the same port) and its far end. It reads no packet but to tell RTP from the rest in its
//! counters, and knows no IP header: sizes and rates are those of UDP payloads.

mod candidates;
mod counters;
mod dice;
mod link;
#[cfg(test)]
mod link_tests;
mod profile;
mod relay;
#[cfg(test)]
mod relay_tests;
mod select;

pub use candidates::with_candidates_at;
pub(crate) use dice::Dice;

pub use counters::{Counters, LossCause, Tally};
pub use link::Link;
pub use profile::{GilbertElliott, Jitter, Loss, Profile, RateCap, Reorder};
pub use relay::{Direction, ImpairmentRelay};
pub use select::is_server_hello;
