//! `cargo xtask test`: everything, with the real peers.

use std::path::Path;

use crate::host;
use crate::run::{self, Outcome, cargo, cargo_command, run, step};

/// Tests whose calls run in real time; more at once would starve each other on two cores.
const CALLS_AT_ONCE: &str = "2";

/// Runs every test.
pub fn test() -> Outcome {
    host::ensure(host::BUILD_TOOLS)?;
    host::ensure(host::TEST_TOOLS)?;
    host::check_memlock()?;
    let python = host::ensure_aiortc()?;

    step("building");
    cargo(&["build", "--workspace", "--bins"])?;
    let gateway = run::target().join("debug").join("clutchcall-gateway");
    step("tests within the crates");
    cargo(&["test", "--workspace", "--lib", "--bins"])?;
    cargo(&[
        "test",
        "--package",
        "codecs",
        "--package",
        "shards",
        "--package",
        "server",
        "--test",
        "*",
    ])?;
    cargo(&["test", "--workspace", "--doc"])?;
    step("calls through the gateway, with real peers");
    print_peers(&python);
    let mut calls = cargo_command();
    calls.args([
        "test",
        "--package",
        "loadtest",
        "--test",
        "*",
        "--",
        "--test-threads",
        CALLS_AT_ONCE,
    ]);
    calls
        .env("CLUTCHCALL_GATEWAY", gateway)
        .env("CLUTCHCALL_PYTHON", &python);
    run(&mut calls)?;
    step("all tests passed; the real peers were");
    print_peers(&python);
    Ok(())
}

fn print_peers(python: &Path) {
    let python = python.to_string_lossy();
    let chromium = run::output("chromium", &["--version", "--no-sandbox"])
        .unwrap_or_else(|| "Chromium".into());
    let aiortc = run::output(
        &python,
        &["-c", "import aiortc; print('aiortc', aiortc.__version__)"],
    );
    println!("    peer: {chromium}");
    println!("    peer: {}", aiortc.unwrap_or_else(|| "aiortc".into()));
    println!("    peer: str0m (the load test's light WebRTC client)");
    println!("    peer: plain RTP far end (the load test's)");
}
