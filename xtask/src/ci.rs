//! `cargo xtask ci`: what must hold before anything lands.

use crate::fuzz;
use crate::host;
use crate::run::{Outcome, cargo, cargo_command, run, step};
use crate::sdk;
use crate::test;

/// The version of cargo-deny that deny.toml was written for.
const CARGO_DENY: &str = "0.20.2";
/// Seconds for each fuzz target: enough to see that it builds, runs and does not fail at once.
const FUZZ_S: u32 = 20;

/// Runs every check, the tests last.
pub fn ci() -> Outcome {
    host::ensure(host::BUILD_TOOLS)?;
    step("formatting");
    cargo(&["fmt", "--all", "--check"])?;
    step("clippy");
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ])?;
    step("documentation");
    run(cargo_command()
        .args(["doc", "--workspace", "--no-deps", "--quiet"])
        .env("RUSTDOCFLAGS", "--deny warnings"))?;
    step("licences, bans, sources");
    ensure_cargo_deny()?;
    cargo(&["deny", "check", "licenses", "bans", "sources"])?;
    sdk::check_types()?;
    step("fuzz targets");
    fuzz::fuzz(FUZZ_S)?;
    test::test()
}

fn ensure_cargo_deny() -> Outcome {
    if cargo(&["deny", "--version"]).is_ok() {
        return Ok(());
    }
    cargo(&["install", "cargo-deny", "--locked", "--version", CARGO_DENY])
}
