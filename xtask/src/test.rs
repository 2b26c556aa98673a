//! `cargo xtask test`: everything, with the real peers.

use std::path::Path;

use crate::host;
use crate::run::{self, Outcome, cargo, cargo_command, run, step};
use crate::sdk;

/// Many tests are calls in real time; more at once would starve each other on two cores.
const TESTS_AT_ONCE: &str = "2";

/// Runs every test.
pub fn test() -> Outcome {
    host::ensure(host::BUILD_TOOLS)?;
    host::ensure(host::TEST_TOOLS)?;
    host::ensure(host::SDK_TOOLS)?;
    host::check_memlock()?;
    let python = host::ensure_python_peers()?;
    let werift = host::ensure_werift()?;
    let vendors = host::ensure_vendor_peers()?;
    sdk::test()?;

    step("building");
    cargo(&["build", "--workspace", "--bins"])?;
    let gateway = run::target().join("debug").join("clutchcall-gateway");
    step("every test; calls go through the gateway, with these real peers");
    print_peers(&python, &werift, &vendors);
    // One command for all: another choice of packages would build everything anew with other features.
    let mut tests = cargo_command();
    tests.args(["test", "--workspace", "--", "--test-threads", TESTS_AT_ONCE]);
    tests
        .env("CLUTCHCALL_GATEWAY", gateway)
        .env("CLUTCHCALL_PYTHON", &python)
        .env("CLUTCHCALL_WERIFT", &werift)
        .env("CLUTCHCALL_VENDOR_PEERS", &vendors);
    run(&mut tests)?;
    step("all tests passed; the real peers were");
    print_peers(&python, &werift, &vendors);
    Ok(())
}

fn print_peers(python: &Path, werift: &Path, vendors: &Path) {
    let python = python.to_string_lossy();
    let chromium = run::output("chromium", &["--version", "--no-sandbox"])
        .unwrap_or_else(|| "Chromium".into());
    let aiortc = run::output(
        &python,
        &["-c", "import aiortc; print('aiortc', aiortc.__version__)"],
    );
    println!("    peer: {chromium}");
    println!("    peer: {}", aiortc.unwrap_or_else(|| "aiortc".into()));
    let pipecat = run::output(
        &python,
        &[
            "-c",
            "import importlib.metadata; print('pipecat-ai', importlib.metadata.version('pipecat-ai'))",
        ],
    );
    println!(
        "    peer: {}",
        pipecat.unwrap_or_else(|| "pipecat-ai".into())
    );
    for (directory, package) in [
        (werift, "werift"),
        (vendors, "twilio"),
        (vendors, "@vapi-ai/server-sdk"),
    ] {
        println!("    peer: {}", npm_version(directory, package));
    }
    let coturn = run::output("turnserver", &["--version"]);
    let coturn = coturn.map(|version| format!("coturn {version}"));
    println!("    peer: {}", coturn.unwrap_or_else(|| "coturn".into()));
    for (program, package) in [
        ("SIPp", "sip-tester"),
        ("baresip", "baresip-core"),
        ("Kamailio", "kamailio"),
        ("rtpengine", "rtpengine-daemon"),
    ] {
        let version = run::output("dpkg-query", &["-W", "-f=${Version}", package]);
        println!("    peer: {program} {}", version.unwrap_or_default());
    }
    println!("    peer: str0m (the load test's light WebRTC client)");
    println!("    peer: SIP and plain RTP far ends (the load test's)");
}

/// A package.json does not always let itself be imported, so node reads the file.
fn npm_version(directory: &Path, package: &str) -> String {
    let file = directory
        .join("node_modules")
        .join(package)
        .join("package.json");
    let script = format!(
        "console.log({package:?}, JSON.parse(require('fs').readFileSync({:?})).version, 'on node', process.version)",
        file.to_string_lossy()
    );
    run::output("node", &["-e", &script]).unwrap_or_else(|| package.to_owned())
}
