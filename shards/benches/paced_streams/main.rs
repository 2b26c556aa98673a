//! What a shard pays for a WebSocket that carries audio: a task for each, or all of them drained at the tick.
//!
//! `cargo xtask bench streams`, or `cargo bench -p shards --bench paced_streams [-- --rounds N]`. The thread under test on
//! core 0 serves TLS 1.3 connections; callers on core 1 send each of them a masked WebSocket frame of 300 bytes every 20 ms,
//! spread over the 20 ms, and want it back. The rounds of the designs take turns, and what is compared is the CPU time of
//! the thread under test. Prints Markdown; takes two minutes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench fails by panicking"
)]

mod callers;
mod frames;
mod serving;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serving::{Design, Served};

const ROUNDS: usize = 4;
const SETTLE: Duration = Duration::from_millis(700);
const MEASURE: Duration = Duration::from_millis(2500);
/// With this, both threads begin to count, and with the next they are done.
const COUNTING: u8 = 1;
const DONE: u8 = 2;

const DESIGNS: [(&str, Design); 3] = [
    ("a glommio task for each, futures-rustls", Design::Tasks),
    ("the same beside a 1 ms tick", Design::TasksBesideTick),
    ("`TickStream` at the 1 ms tick", Design::TickStreams),
];

/// One round of one design.
struct Measured {
    cpu_us_per_message: f64,
    cpu_share: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// None: the callers were late.
fn run(design: Design, connections: usize) -> Option<Measured> {
    let phase = Arc::new(AtomicU8::new(0));
    let (server, client) = callers::configs();
    let (tell, addr) = mpsc::channel();
    let serving = serving::start(design, server, tell, phase.clone());
    let addr = addr.recv().unwrap();
    let (connected, is_connected) = mpsc::channel();
    let calling = thread::spawn({
        let phase = phase.clone();
        move || callers::run(addr, client, connections, connected, &phase)
    });
    is_connected.recv().unwrap();
    thread::sleep(SETTLE);
    phase.store(COUNTING, Ordering::SeqCst);
    thread::sleep(MEASURE);
    phase.store(DONE, Ordering::SeqCst);
    let Served {
        messages,
        cpu,
        elapsed,
    } = serving.join().unwrap();
    let mut delays_ms = calling.join().unwrap();
    let due = elapsed.as_secs_f64() * connections as f64 * 50.0;
    if (messages as f64) < 0.95 * due {
        eprintln!(
            "\n{messages} messages where {due:.0} were due: something else was running, not counted"
        );
        return None;
    }
    delays_ms.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| delays_ms[((delays_ms.len() - 1) as f64 * part) as usize];
    Some(Measured {
        cpu_us_per_message: cpu.as_secs_f64() * 1e6 / messages as f64,
        cpu_share: cpu.as_secs_f64() / elapsed.as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
    })
}

fn sorted(rounds: &[Measured], figure: impl Fn(&Measured) -> f64) -> Vec<f64> {
    let mut all: Vec<f64> = rounds.iter().map(figure).collect();
    all.sort_unstable_by(f64::total_cmp);
    all
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds = arguments
        .windows(2)
        .find(|pair| pair[0] == "--rounds")
        .and_then(|pair| pair[1].parse().ok())
        .unwrap_or(ROUNDS);
    for connections in [100, 400] {
        let mut table: Vec<Vec<Measured>> = DESIGNS.iter().map(|_| Vec::new()).collect();
        for round in 1..=rounds {
            for ((name, design), measured) in DESIGNS.iter().zip(&mut table) {
                eprint!("\r\x1b[K{connections} connections, round {round} of {rounds}: {name}");
                let _ = std::io::stderr().flush();
                measured.extend(run(*design, connections));
            }
        }
        eprint!("\r\x1b[K");
        println!(
            "| {connections} TLS connections, 50 messages a second each way | CPU us per message and its answer: \
             least, median | of a core | delay p50 ms | p99 ms |\n| --- | --- | --- | --- | --- |"
        );
        for ((name, _), rounds) in DESIGNS.iter().zip(&table) {
            let median = |figure: fn(&Measured) -> f64| {
                let all = sorted(rounds, figure);
                all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
            };
            let cpu = |measured: &Measured| measured.cpu_us_per_message;
            println!(
                "| {name} | {:.2}, {:.2} | {:.1} % | {:.2} | {:.2} |",
                sorted(rounds, cpu).first().copied().unwrap_or(f64::NAN),
                median(cpu),
                100.0 * median(|measured| measured.cpu_share),
                median(|measured| measured.p50_ms),
                median(|measured| measured.p99_ms),
            );
        }
        println!();
    }
}
