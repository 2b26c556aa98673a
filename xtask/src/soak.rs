//! `cargo xtask soak`: gateways that live under load and end, over and over (`loadtest::soak`).

use crate::host;
use crate::run::{self, Outcome, cargo, run, step};

/// Builds what the tests use, and soaks with `arguments` of `clutchcall-loadtest soak`.
pub fn soak(arguments: &[&str]) -> Outcome {
    host::ensure(host::BUILD_TOOLS)?;
    host::check_memlock()?;
    step("building");
    cargo(&["build", "--workspace", "--bins"])?;
    step("drain, stop, kill, reload and panic under load");
    let program = run::target().join("debug").join("clutchcall-loadtest");
    run(std::process::Command::new(program)
        .arg("soak")
        .args(arguments))
}
