//! A message with audio allocates nothing, in any dialect and either way. The bench of the same talk measures its time
//! (`cargo bench -p server --bench dialects`).
//!
//! A binary of its own because it replaces the global allocator.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test fails by panicking; the bench uses more"
)]

#[path = "../benches/packet_path/allocations.rs"]
mod allocations;
#[path = "../benches/dialects/talk.rs"]
mod talk;

use talk::{Talk, Talker};

#[test]
fn a_message_with_audio_allocates_nothing() {
    let mut talker = Talker::new();
    for talk in Talk::ALL {
        let account = talker.talk(talk, 20);
        assert_eq!(account.messages, 800);
        assert_eq!(account.allocations, 0, "{}", talk.name());
        talker.assert_fine();
    }
}
