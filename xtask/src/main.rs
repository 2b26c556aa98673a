//! `cargo xtask <command>`: the commands of the README and of CI. No dependencies, so it builds in a second anywhere.

mod ci;
mod demo;
mod fuzz;
mod host;
mod neon;
mod run;
mod sdk;
mod soak;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <command>

  demo [--once]   Build, start a gateway with an echo trunk, place one call with speech through it, print its events,
                  delay and score, then the address of a softphone page; stays up until Ctrl-C. --once ends after the
                  call: exit code 0 only if the audio passed.
  test            Every test, with the real peers (Chromium, aiortc, Pipecat, the vendors' packages), and the SDK's. Installs what is
                  missing (as root), else prints the line that does.
  ci              fmt, clippy, doc, deny, the SDK's types, the fuzz targets for 20 s each, then `test`.
  fuzz [SECONDS]  Every fuzz target for SECONDS (default 1800).
  neon            The codecs' tests as 64-bit ARM, under QEMU (4 minutes at first). Not in `ci`: it needs a target of rustup.
  soak [--cycles N] [--seed N] [--long-call-s N]
                  Gateways under load that drain, stop, are killed, reloaded and panic, 200 times: does every call that
                  had a CREATE have its end? A summary at the end. `--long-call-s 3600 --cycles 0`: one call over a SIP
                  trunk that lasts an hour.
  bench [udp | streams | codecs | path | pcm]
                  The benchmarks of every crate; `udp` alone: how a shard moves datagrams, as a table (3 minutes); `streams`: what
                  a WebSocket of audio costs as a task of its own and drained at the tick (2 minutes); `codecs`: what
                  each part of the codecs costs, beside speexdsp, soxr and the usual chain; `path`: what a packet costs from
                  datagram to datagram without sockets, at 1, 100 and 500 calls; fails if one allocates (1 minute); `pcm`: what a frame
                  costs in a leg of PCM.

Everything that they make is under target/.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo"] => demo::demo(false),
        ["demo", "--once"] => demo::demo(true),
        ["test"] => test::test(),
        ["ci"] => ci::ci(),
        ["fuzz"] => fuzz::fuzz(1800),
        ["fuzz", seconds] if seconds.parse::<u32>().is_ok() => {
            fuzz::fuzz(seconds.parse().unwrap_or(1800))
        }
        ["neon"] => neon::neon(),
        ["soak", arguments @ ..] => soak::soak(arguments),
        ["bench"] => host::ensure_yardsticks()
            .and_then(|()| run::cargo(&["bench", "--workspace", "--benches"])),
        ["bench", "codecs"] => {
            host::ensure_yardsticks().and_then(|()| run::cargo(&["bench", "-p", "codecs"]))
        }
        ["bench", "path"] => run::cargo(&["bench", "-p", "server", "--bench", "packet_path"]),
        ["bench", "pcm"] => run::cargo(&["bench", "-p", "server", "--bench", "pcm_leg"]),
        ["bench", "udp"] => run::cargo(&["bench", "-p", "shards", "--bench", "udp_design"]),
        ["bench", "streams"] => run::cargo(&["bench", "-p", "shards", "--bench", "paced_streams"]),
        ["help" | "--help" | "-h"] | [] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => Err(format!("no such command: {}\n\n{HELP}", words.join(" "))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
