//! The README's "Run it" and "Load it" work as they stand: their commands are read from it and run in a copy of `deploy/`.
//!
//! Only the build and the PATH are the tests' own, and `serve` runs beside the rest.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SERVE: &str = "clutchcall-gateway serve";

/// The lines of every `sh` block between two headings.
fn commands(section: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let (_, after) = readme.split_once(section).expect("the section");
    let section = after.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    lines.map(str::to_owned).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Killed by its own pid, also when the test fails.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shell(line: &str, directory: &Path) -> Command {
    let test_program = std::env::current_exe().expect("our own path");
    // target/debug/deps/calls-... stands beside the binaries of the same build.
    let binaries = test_program
        .ancestors()
        .nth(2)
        .expect("target/debug")
        .to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", line])
        .current_dir(directory);
    command.env("PATH", format!("{}:{path}", binaries.display()));
    command
}

fn wait_until_ready() {
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(("127.0.0.1", 7443)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on 7443");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_commands_of_run_it_and_load_it_make_calls() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for name in ["gateway.toml", "shards.toml"] {
        fs::copy(
            root().join("deploy").join(name),
            directory.path().join(name),
        )
        .expect(name);
    }
    let commands = [commands("\n## Run it\n"), commands("\n## Load it\n")].concat();
    assert!(
        commands.iter().any(|line| line.starts_with(SERVE)),
        "{commands:?}"
    );
    let mut serving = None;
    for line in &commands {
        if ["cargo build", "export PATH", "cd deploy"]
            .iter()
            .any(|own| line.starts_with(own))
        {
            continue;
        }
        println!("$ {line}");
        if line.starts_with(SERVE) {
            let line = format!("exec {line}");
            let child = shell(&line, directory.path())
                .stdin(Stdio::null())
                .spawn()
                .expect("bash");
            serving = Some(Serving(child));
            wait_until_ready();
            continue;
        }
        let status = shell(line, directory.path()).status().expect("bash");
        assert!(status.success(), "`{line}` ended with {status}");
    }
    assert!(serving.is_some(), "nothing was served");
}
