//! `cargo xtask neon`: the tests of `codecs` as a 64-bit ARM processor runs them, under QEMU, so that its vector code is held
//! to the scalar one as well. Not part of `ci`: it needs a Rust target that only rustup brings.

use std::path::Path;
use std::process::Command;

use crate::host;
use crate::run::{self, Outcome, cargo_command, run, step};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Builds and runs them; what is missing is installed.
pub fn neon() -> Outcome {
    host::ensure(host::BUILD_TOOLS)?;
    host::ensure(host::ARM_TOOLS)?;
    ensure_target()?;
    step("the codecs' tests under qemu-aarch64");
    let mut tests = cargo_command();
    // Unit tests (bit-exactness, scalar twins, quality) and the memory harness. Valgrind can't run inside of QEMU.
    tests.args(["test", "-p", "codecs", "--target", TARGET, "--lib"]);
    tests.args(["--test", "memory", "--", "--skip", "under_valgrind"]);
    tests
        .env("CARGO_TARGET_DIR", run::target().join("neon"))
        .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            "aarch64-linux-gnu-gcc",
        )
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
            "qemu-aarch64 -L /usr/aarch64-linux-gnu",
        );
    run(&mut tests)
}

fn ensure_target() -> Outcome {
    let directory = run::output("rustc", &["--print", "target-libdir", "--target", TARGET]);
    if directory.is_some_and(|directory| Path::new(&directory).is_dir()) {
        return Ok(());
    }
    if !host::on_path("rustup") {
        return Err(format!(
            "Rust's standard library for {TARGET} is missing, and so is rustup, which brings it:\n\n    \
             rustup target add {TARGET}\n"
        ));
    }
    run(Command::new("rustup").args(["target", "add", TARGET]))
}
