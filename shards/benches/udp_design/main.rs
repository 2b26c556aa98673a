//! How a shard moves the datagrams of its calls, measured: designs for many sockets, and who wakes the shard.
//!
//! `cargo xtask bench udp`, or `cargo bench -p shards --bench udp_design [-- --rounds N]`. One thread under test on core 0
//! answers each packet from the socket that it came to; a generator on core 1 sends 172 bytes per call and 20 ms over
//! loopback. The rounds of all designs are interleaved, and what is compared is the CPU time of the thread under test, so
//! that a busy machine disturbs all of them alike. Prints Markdown; takes about three minutes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a bench fails by panicking"
)]

mod design;
mod epoll;
mod on_a_shard;
mod one_socket;
mod report;
mod sys;
mod traffic;
mod uring;

use std::io::Write;
use std::time::Duration;

use design::{Conditions, Measured, Waking, on_a_thread};
use epoll::{EpollDesign, Reading};
use one_socket::OneSocket;
use report::Table;
use uring::{Batched, Multishot, Options};

/// Rounds of each cell.
const ROUNDS: usize = 4;
const MEASURE: Duration = Duration::from_millis(700);
const BUFFERS: u16 = 1024;

/// One line of the first table.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Epoll(Reading),
    Batched,
    Multishot(Options),
    /// `udp_batch_packets` of the WebRTC port.
    OneSocket(usize),
}

const MULTISHOT: Options = Options {
    deferred: true,
    registered: true,
    buffers: BUFFERS,
};

const DESIGNS: &[(&str, Kind)] = &[
    (
        "epoll, recvfrom until empty, sendto",
        Kind::Epoll(Reading::UntilEmpty),
    ),
    (
        "epoll in rounds, one recvfrom each, sendto",
        Kind::Epoll(Reading::InRounds),
    ),
    (
        "epoll, recvmmsg of 4, sendto",
        Kind::Epoll(Reading::Batch(4)),
    ),
    (
        "epoll, receives and sends batched by io_uring",
        Kind::Batched,
    ),
    (
        "io_uring multishot, plain",
        Kind::Multishot(Options {
            deferred: false,
            registered: false,
            ..MULTISHOT
        }),
    ),
    (
        "io_uring multishot, deferred",
        Kind::Multishot(Options {
            registered: false,
            ..MULTISHOT
        }),
    ),
    (
        "io_uring multishot, deferred, registered, 256 buffers",
        Kind::Multishot(Options {
            buffers: 256,
            ..MULTISHOT
        }),
    ),
    (
        "io_uring multishot, deferred, registered files",
        Kind::Multishot(MULTISHOT),
    ),
];

fn run(kind: Kind, conditions: Conditions) -> Option<Measured> {
    on_a_thread(conditions, |sockets| {
        Ok(match kind {
            Kind::Epoll(reading) => Box::new(EpollDesign::new(sockets, reading)?),
            Kind::Batched => Box::new(Batched::new(sockets)?),
            Kind::OneSocket(batch) => Box::new(OneSocket::new(sockets, batch)?),
            Kind::Multishot(options) => Box::new(Multishot::new(sockets, options)?),
        })
    })
}

fn conditions(calls: usize) -> Conditions {
    Conditions {
        calls,
        sockets: calls,
        waking: Waking::Tick,
        pause: Duration::from_micros(200),
        stall: Duration::ZERO,
        measure: MEASURE,
    }
}

/// Many sockets on the 1 ms tick.
fn designs(rounds: usize) -> Vec<Table> {
    let mut tables = Vec::new();
    for calls in [10, 100, 1000] {
        let mut table = Table::new(&format!("{calls} trunk sockets, 1 ms tick"));
        for round in 0..rounds {
            for (name, kind) in DESIGNS {
                progress(&format!(
                    "{calls} sockets, round {} of {rounds}: {name}",
                    round + 1
                ));
                table.add(name, run(*kind, conditions(calls)));
            }
        }
        tables.push(table);
    }
    tables
}

/// The shard sleeps for 100 ms with 1000 sockets: 5000 packets wait for it.
fn stalls() -> Table {
    let mut table = Table::new("1000 trunk sockets, one stall of 100 ms");
    let stalled = Conditions {
        stall: Duration::from_millis(100),
        measure: Duration::from_millis(1200),
        ..conditions(1000)
    };
    let small = Options {
        buffers: 64,
        ..MULTISHOT
    };
    let kinds = [
        (
            "epoll, recvfrom until empty, sendto",
            Kind::Epoll(Reading::UntilEmpty),
        ),
        (
            "epoll in rounds, one recvfrom each, sendto",
            Kind::Epoll(Reading::InRounds),
        ),
        (
            "io_uring multishot, 1024 buffers",
            Kind::Multishot(MULTISHOT),
        ),
        ("io_uring multishot, 64 buffers", Kind::Multishot(small)),
    ];
    for (name, kind) in kinds {
        progress(&format!("a stall: {name}"));
        table.add(name, run(kind, stalled));
    }
    table
}

/// `udp_batch_packets`: all calls on one socket.
fn batches(rounds: usize) -> Table {
    let mut table = Table::new("1000 calls on one socket, 1 ms tick");
    for round in 0..rounds {
        for batch in [1, 8, 64, 256] {
            let name = format!("recvmmsg and sendmmsg of {batch}");
            progress(&format!("round {} of {rounds}: {name}", round + 1));
            let one = Conditions {
                sockets: 1,
                ..conditions(1000)
            };
            table.add(&name, run(Kind::OneSocket(batch), one));
        }
    }
    table
}

/// Tick or packet, from one call to many.
fn wakings(rounds: usize) -> Vec<Table> {
    let mut tables = Vec::new();
    for calls in [1, 10, 100, 500] {
        let mut table = Table::new(&format!("{calls} calls, who wakes the shard"));
        for round in 0..rounds {
            for waking in [Waking::Tick, Waking::Packet] {
                let who = match waking {
                    Waking::Tick => "1 ms tick",
                    Waking::Packet => "every packet",
                };
                let conditions = Conditions {
                    waking,
                    pause: Duration::ZERO,
                    ..conditions(calls)
                };
                progress(&format!(
                    "{calls} calls, round {} of {rounds}: {who}",
                    round + 1
                ));
                let kinds = [
                    ("epoll", Kind::Epoll(Reading::InRounds)),
                    ("io_uring", Kind::Multishot(MULTISHOT)),
                ];
                for (name, kind) in kinds {
                    table.add(
                        &format!("bare thread, {name}, {who}"),
                        run(kind, conditions),
                    );
                }
                table.add(
                    &format!("shard, one socket, {who}"),
                    on_a_shard::run(conditions),
                );
            }
        }
        tables.push(table);
    }
    tables
}

fn progress(what: &str) {
    eprint!("\r\x1b[K{what}");
    let _ = std::io::stderr().flush();
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds = arguments
        .windows(2)
        .find(|pair| pair[0] == "--rounds")
        .and_then(|pair| pair[1].parse().ok())
        .unwrap_or(ROUNDS);
    sys::raise_file_limit();
    let wakings = wakings(rounds.min(3));
    let batches = batches(rounds.min(2));
    let stalls = stalls();
    let designs = designs(rounds);
    progress("");
    for table in designs.iter().chain([&stalls, &batches]).chain(&wakings) {
        println!("{table}");
    }
}
