//! A frame of a running leg of PCM allocates nothing, whichever way it goes, in order or not. The bench of the same
//! leg measures its time (`cargo xtask bench pcm`).
//!
//! A binary of its own because it replaces the global allocator.
#![allow(dead_code, reason = "the bench uses more")]

#[path = "../benches/packet_path/allocations.rs"]
mod allocations;
#[path = "../benches/pcm_leg/line.rs"]
mod line;

use line::{ENCODINGS, Line};

#[test]
fn a_frame_of_a_running_leg_allocates_nothing() {
    for encoding in ENCODINGS {
        let mut line = Line::new(encoding);
        line.bad_talk();
        let before = allocations::so_far();
        let account = line.bad_talk();
        assert_eq!(allocations::so_far() - before, 0, "{encoding:?}");
        assert!(account.from_socket.frames > 1_800, "{account:?}");
        assert!(account.to_socket.frames > 1_800, "{account:?}");
        assert!(account.to_socket.concealed > 10, "{account:?}");
    }
}
