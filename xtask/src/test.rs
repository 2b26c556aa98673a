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
    let python = host::ensure_aiortc()?;
    let werift = host::ensure_werift()?;
    sdk::test()?;

    step("building");
    cargo(&["build", "--workspace", "--bins"])?;
    let gateway = run::target().join("debug").join("clutchcall-gateway");
    step("every test; calls go through the gateway, with these real peers");
    print_peers(&python, &werift);
    // One command for all: another choice of packages would build everything anew with other features.
    let mut tests = cargo_command();
    tests.args(["test", "--workspace", "--", "--test-threads", TESTS_AT_ONCE]);
    tests
        .env("CLUTCHCALL_GATEWAY", gateway)
        .env("CLUTCHCALL_PYTHON", &python)
        .env("CLUTCHCALL_WERIFT", &werift);
    run(&mut tests)?;
    step("all tests passed; the real peers were");
    print_peers(&python, &werift);
    Ok(())
}

fn print_peers(python: &Path, werift: &Path) {
    let python = python.to_string_lossy();
    let chromium = run::output("chromium", &["--version", "--no-sandbox"])
        .unwrap_or_else(|| "Chromium".into());
    let aiortc = run::output(
        &python,
        &["-c", "import aiortc; print('aiortc', aiortc.__version__)"],
    );
    println!("    peer: {chromium}");
    println!("    peer: {}", aiortc.unwrap_or_else(|| "aiortc".into()));
    println!("    peer: {}", werift_version(werift));
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

/// Its package.json does not let itself be imported, so node reads the file.
fn werift_version(directory: &Path) -> String {
    let package = directory.join("node_modules/werift/package.json");
    let script = format!(
        "console.log('werift', JSON.parse(require('fs').readFileSync({:?})).version, 'on node', process.version)",
        package.to_string_lossy()
    );
    run::output("node", &["-e", &script]).unwrap_or_else(|| "werift".into())
}
