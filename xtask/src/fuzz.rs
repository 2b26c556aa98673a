//! `cargo xtask fuzz`: builds every fuzz target with coverage instrumentation and runs it for some seconds.
//!
//! Plain stable cargo with the flags that cargo-fuzz would pass; no sanitizer, because the targets are safe Rust.
//! Corpora are kept in target/fuzz-corpus, seeded from each crate's `fuzz/seeds`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{self, Outcome, cargo_command, run, step};

const CRATES: &[&str] = &["server/fuzz", "codecs/fuzz"];
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on";

/// Runs every target for `seconds`.
pub fn fuzz(seconds: u32) -> Outcome {
    let target = run::target().join("fuzz");
    for fuzz_crate in CRATES {
        step(&format!("building the fuzz targets of {fuzz_crate}"));
        let manifest = run::root().join(fuzz_crate).join("Cargo.toml");
        let mut build = cargo_command();
        build
            .arg("build")
            .arg("--release")
            .arg("--manifest-path")
            .arg(&manifest);
        build
            .arg("--target")
            .arg(TRIPLE)
            .arg("--target-dir")
            .arg(&target)
            .env("RUSTFLAGS", INSTRUMENTATION);
        run(&mut build)?;
        for name in targets(&manifest.with_file_name("fuzz_targets"))? {
            step(&format!("fuzzing {name} for {seconds} s"));
            let corpus = run::target().join("fuzz-corpus").join(&name);
            fs::create_dir_all(&corpus)
                .map_err(|error| format!("{}: {error}", corpus.display()))?;
            let mut fuzzer = Command::new(target.join(TRIPLE).join("release").join(&name));
            fuzzer.arg(&corpus);
            let seeds = manifest.with_file_name("seeds").join(&name);
            if seeds.is_dir() {
                fuzzer.arg(seeds);
            }
            fuzzer.arg(format!("-max_total_time={seconds}"));
            fuzzer.args([
                "-timeout=5",
                "-rss_limit_mb=1024",
                "-verbosity=0",
                "-print_final_stats=1",
            ]);
            fuzzer.arg(format!("-artifact_prefix={}/", corpus.display()));
            run(&mut fuzzer)?;
        }
    }
    Ok(())
}

/// The targets are the files of `fuzz_targets`.
fn targets(directory: &Path) -> Result<Vec<String>, String> {
    let entries =
        fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            entry
                .ok()?
                .path()
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    Ok(names)
}
