//! The vendors' own packages, run by node: `peers/vendors/*.mjs`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The environment variable that names the directory with the packages.
const VENDOR_PEERS_VARIABLE: &str = "CLUTCHCALL_VENDOR_PEERS";
/// Where `cargo xtask test` puts it, from the workspace's root.
const VENDOR_PEERS_DEFAULT: &str = "target/test-peers/vendors";

/// The directory with the packages.
pub(crate) fn vendor_peers() -> PathBuf {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let modules = std::env::var_os(VENDOR_PEERS_VARIABLE)
        .map_or_else(|| workspace.join(VENDOR_PEERS_DEFAULT), PathBuf::from);
    assert!(
        modules.join("node_modules/twilio").is_dir(),
        "the vendors' packages are not in {}; they are installed by: cargo xtask test",
        modules.display()
    );
    modules.canonicalize().unwrap()
}

/// Runs a script to its end; what it told.
pub(crate) fn run_script(name: &str, arguments: &[&str], input: &Value) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/vendors");
    let mut child = Command::new("node")
        .arg(folder.join(name))
        .arg("--modules")
        .arg(vendor_peers())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("node does not start: {error}; install it with: apt-get install -y nodejs npm")
        });
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{name} ended with {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
