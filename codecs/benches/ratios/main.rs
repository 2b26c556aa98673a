//! `cargo bench -p codecs`: what each part costs, and its ratio to a yardstick that was timed turn about with it in this run. The
//! crate's documentation says how to read it.
//!
//! Not a test: bars are shown, and missing one does not fail.

#![allow(
    clippy::expect_used,
    reason = "a benchmark may stop at the first surprise"
)]

mod g711;
mod measure;
mod opus;
mod payloads;
mod resamplers;
mod speech;
mod yardsticks;

use codecs::SampleRate;
use std::process::ExitCode;
use yardsticks::Yardsticks;

fn main() -> ExitCode {
    let yardsticks = match Yardsticks::load() {
        Ok(yardsticks) => yardsticks,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "CPU time of one thread for 20 ms of mono audio, the best of 5 passes, turn about. The first line is the yardstick."
    );
    let missed =
        resamplers::run(&yardsticks) + g711::run() + opus::run(&yardsticks) + payloads::run();
    println!("\nbars missed: {missed}");
    ExitCode::SUCCESS
}

/// 20 ms that sound like speech to a codec: a vowel of 130 Hz with a little noise.
fn sound(rate: SampleRate) -> Vec<i16> {
    let mut state = 1_u32;
    (0..rate.samples(20))
        .map(|n| {
            let t = n as f64 / f64::from(rate.hz());
            let voice: f64 = (1..20)
                .map(|k| (f64::from(k) * 130.0 * std::f64::consts::TAU * t).sin() / f64::from(k))
                .sum();
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (6_000.0 * voice) as i16 + (state >> 24) as i16
        })
        .collect()
}
