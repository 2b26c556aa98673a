//! What a message of 20 ms costs in each dialect, from the message's text or bytes to the leg's queue, and from the frame to the
//! bytes for the socket; neither TLS nor sockets. Fails when a message allocates. `cargo bench -p server --bench dialects`.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark may stop at the first surprise"
)]

#[path = "../packet_path/allocations.rs"]
mod allocations;
mod talk;

use std::process::ExitCode;

use talk::{Talk, Talker};

/// Batches of each round.
const BATCHES: u32 = 200;
const ROUNDS: usize = 9;

fn main() -> ExitCode {
    let mut allocated = 0;
    println!(
        "{:<24} {:>15} {:>12}",
        "messages", "ns per message", "allocations"
    );
    for talk in Talk::ALL {
        let mut rounds: Vec<f64> = Vec::new();
        let mut allocations = 0;
        for _ in 0..ROUNDS {
            let mut talker = Talker::new();
            let account = talker.talk(talk, BATCHES);
            talker.assert_fine();
            rounds.push(account.ns());
            allocations += account.allocations;
        }
        rounds.sort_by(f64::total_cmp);
        let median = rounds[ROUNDS / 2];
        println!("{:<24} {median:>15.0} {allocations:>12}", talk.name());
        allocated += allocations;
    }
    if allocated > 0 {
        eprintln!("a message allocates");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
