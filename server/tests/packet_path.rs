//! A packet of a running call allocates nothing between two sockets, whether its audio is transcoded or passed on; and each comes out
//! on the other side. The parts of a shard are the library's own, but put together here: `Switch`, its sockets and its rings are not
//! in it. The bench of the same path measures its time (`cargo xtask bench path`).
//!
//! A binary of its own because it replaces the global allocator.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test fails by panicking; the bench uses more"
)]

#[path = "../benches/packet_path/allocations.rs"]
mod allocations;
#[path = "../benches/packet_path/media.rs"]
mod media;
#[path = "../benches/packet_path/page.rs"]
mod page;
#[path = "../benches/packet_path/shard.rs"]
mod shard;

use media::Speech;
use shard::{Plan, Shard};

#[test]
fn a_packet_of_a_running_call_allocates_nothing() {
    for plan in Plan::ALL {
        let (at_page, at_trunk) = plan.codecs();
        let (of_page, of_far_end) = (Speech::new(at_page), Speech::new(at_trunk));
        let mut shard = Shard::new(plan, 10);
        shard.talk(300, (&of_page, &of_far_end));
        let account = shard.talk(300, (&of_page, &of_far_end));
        shard.assert_nothing_lost();
        assert!(account.from_pages > 3_000, "media and what comes beside it");
        assert_eq!(account.allocations, 0, "{}", plan.name());
        // Timers that are worth nothing any more die out.
        let timers = shard.timers_per_call();
        assert!(timers <= 6.0, "{timers} timers per call");
    }
}
