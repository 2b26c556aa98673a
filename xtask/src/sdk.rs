//! The SDK for pages (`sdk/typescript`): its types, checked by the pinned tsc, and its tests, run by node. It has no build step.

use std::path::PathBuf;
use std::process::Command;

use crate::host;
use crate::run::{self, Outcome, run, step};

/// The first major version of node whose `EventTarget` has `CustomEvent` beside it.
const NODE_MAJOR_MIN: u32 = 20;

/// Checks the types. The lock file names the compiler and its hash.
pub fn check_types() -> Outcome {
    host::ensure(host::SDK_TOOLS)?;
    step("types of the SDK and of the softphone page");
    run(Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--prefix"])
        .arg(directory()))?;
    run(Command::new("npm")
        .args(["run", "check", "--prefix"])
        .arg(directory()))
}

/// Runs the tests: signalling, calls and figures without a browser. Chromium has its own, in `loadtest`.
pub fn test() -> Outcome {
    check_node_version()?;
    step("tests of the SDK");
    run(Command::new("npm")
        .args(["test", "--prefix"])
        .arg(directory()))
}

fn check_node_version() -> Outcome {
    let version = run::output("node", &["--version"]).unwrap_or_default();
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= NODE_MAJOR_MIN => Ok(()),
        _ => Err(format!(
            "node {NODE_MAJOR_MIN} or newer is needed for the SDK's tests; the one on the PATH is {version:?}"
        )),
    }
}

fn directory() -> PathBuf {
    run::root().join("sdk").join("typescript")
}
