//! `cargo xtask bench path`: what a packet costs on its way through a shard, from the datagram that came to the datagram that
//! leaves, without sockets and `Switch`. Fails when a packet of a running call allocates.
//!
//! Calls are interleaved, so that at 500 of them each packet finds its call's state where a shard would: not in the nearest cache.
//! Everything that is usual beside media is in it: transport-cc both ways, RTCP, STUN checks, timers, the encoders' adaptation.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark may stop at the first surprise"
)]

mod allocations;
mod media;
mod page;
mod shard;

use std::process::ExitCode;
use std::time::Instant;

use media::Speech;
use shard::{Account, Laps, Plan, Shard, Stage};

/// Calls at once.
const CALLS: [usize; 3] = [1, 100, 500];
/// Packets of each side of each call before anything counts: 6 s, in which every timer of a call has fired.
const WARM_UP_PACKETS: usize = 300;
/// Packets that are measured, of all calls together, at least.
const MEASURED_PACKETS: usize = 20_000;

fn main() -> ExitCode {
    println!(
        "ns per packet, median over the ticks of 1 ms; ms/call-s: 50 packets a second each way, timers included, sockets not"
    );
    println!(
        "{:<18} {:>5} {:>14} {:>14} {:>10} {:>11}",
        "plan", "calls", "page to trunk", "trunk to page", "ms/call-s", "allocations"
    );
    let mut allocated = 0;
    let mut stages = Vec::new();
    for plan in Plan::ALL {
        let (at_page, at_trunk) = plan.codecs();
        let (of_page, of_far_end) = (Speech::new(at_page), Speech::new(at_trunk));
        let speech = (&of_page, &of_far_end);
        for calls in CALLS {
            let mut shard = Shard::new(plan, calls);
            shard.talk(WARM_UP_PACKETS, speech);
            let packets = (MEASURED_PACKETS / calls).max(50);
            let account = shard.talk(packets, speech);
            allocated += account.allocations;
            print_row(plan, calls, &account);
            shard.stages = Some(Default::default());
            shard.talk(packets, speech);
            stages.push((plan, calls, shard.stages.take().unwrap_or_default()));
            shard.assert_nothing_lost();
            if calls == 1 {
                let timers = shard.timers_per_call();
                println!("  pages: {}, {timers} timers a call", shard.profile());
            }
        }
    }
    print_stages(&stages);
    if allocated > 0 {
        eprintln!("error: {allocated} allocations in the steady state; there may be none");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn print_row(plan: Plan, calls: usize, account: &Account) {
    let per_packet = |way: usize, count: fn(u64) -> u64| {
        let times = account.ticks.iter().filter_map(|tick| {
            let packets = count(tick[3]);
            (packets > 0).then(|| tick[way] / packets)
        });
        median(times.collect())
    };
    let from_page = per_packet(0, |counts| counts >> 32);
    let from_trunk = per_packet(1, |counts| counts & 0xffff_ffff);
    let timers: u64 = account.ticks.iter().map(|tick| tick[2]).sum();
    let timers = timers as f64 / account.from_trunks as f64;
    // Datagrams beside media come with the page's packets.
    let beside = account.from_pages as f64 / account.from_trunks as f64;
    let per_call_s = 50.0 * (from_page as f64 * beside + from_trunk as f64 + timers) / 1e6;
    println!(
        "{:<18} {calls:>5} {from_page:>14} {from_trunk:>14} {per_call_s:>10.3} {:>11}",
        plan.name(),
        account.allocations,
    );
}

fn print_stages(all: &[(Plan, usize, Laps)]) {
    let clock = clock_ns();
    println!("\nby stage, median ns each, less {clock} ns for the clock");
    print!("{:<24}", "");
    for (_, name) in Stage::ALL {
        print!(" {name:>22}");
    }
    println!();
    for (plan, calls, laps) in all {
        print!("{:<18} {calls:>5}", plan.name());
        for (stage, _) in Stage::ALL {
            let ns = median(laps[stage as usize].clone()).saturating_sub(clock);
            print!(" {ns:>22}");
        }
        println!();
    }
}

/// What asking for the time costs.
fn clock_ns() -> u64 {
    let begun = Instant::now();
    for _ in 0..100_000 {
        std::hint::black_box(Instant::now());
    }
    begun.elapsed().as_nanos() as u64 / 100_000
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
