//! `cargo xtask bench pcm`: what a frame costs in a leg that speaks PCM over a WebSocket, both ways together: queue,
//! de-jitter, concealment's memory, the ear for barge-in. Without socket, TLS, WebSocket, dialect and bridge.

#[allow(dead_code, reason = "the test of the same uses more")]
mod line;

use std::time::Instant;

use line::{ENCODINGS, Line};

/// Legs that take turns, so that each finds its state where a shard would.
const LEGS: usize = 100;
/// Rounds of 20 ms before anything counts, and those that are measured.
const WARM_UP_ROUNDS: usize = 300;
const MEASURED_ROUNDS: usize = 1_000;

fn main() {
    println!(
        "ns for a frame each way, median over {MEASURED_ROUNDS} rounds of {LEGS} legs; us/leg-s"
    );
    for encoding in ENCODINGS {
        let mut lines: Vec<Line> = (0..LEGS).map(|_| Line::new(encoding)).collect();
        let mut times: Vec<u128> = (0..WARM_UP_ROUNDS + MEASURED_ROUNDS)
            .map(|_| {
                let begin = Instant::now();
                lines.iter_mut().for_each(Line::frame);
                begin.elapsed().as_nanos() / LEGS as u128
            })
            .skip(WARM_UP_ROUNDS)
            .collect();
        times.sort_unstable();
        let median_ns = times.get(times.len() / 2).copied().unwrap_or_default();
        let concealed: u64 = lines
            .iter()
            .map(|line| line.statistics().to_socket.concealed)
            .sum();
        let name = format!("{encoding:?}");
        let us_per_s = median_ns as f64 * 0.05;
        println!("{name:<20} {median_ns:>6} {us_per_s:>6.1}  ({concealed} made up)");
    }
}
