//! The README's "Run it" and "Load it" work as they stand, and so does the README of `deploy/`: their commands are read from them and
//! run in a copy of `deploy/`.
//!
//! Only the build and the PATH are the tests' own, and `serve` runs beside the rest. What would change this machine (users, `/etc`,
//! systemd) is led into a directory.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SERVE: &str = "clutchcall-gateway serve";

const README: &str = "README.md";
const DEPLOY_README: &str = "deploy/README.md";
/// Programs that would change this machine; here they succeed without doing anything.
const OF_THE_HOST: [&str; 4] = ["useradd", "chown", "systemctl", "sysctl"];

/// The lines of every `sh` block between two headings.
fn commands(readme: &str, section: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join(readme)).expect(readme);
    let (_, after) = readme.split_once(section).expect("the section");
    let section = after.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
    let blocks: String = blocks.collect();
    let lines = blocks.replace("\\\n", " ");
    let lines = lines.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// A copy of the example configuration.
fn copy_of_deploy() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for name in fs::read_dir(root().join("deploy")).expect("deploy") {
        let file = name.expect("a file of deploy").path();
        let name = file.file_name().expect("its name");
        fs::copy(&file, directory.path().join(name)).expect("a copy");
    }
    directory
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
    let directory = copy_of_deploy();
    let to_run = [
        commands(README, "\n## Run it\n"),
        commands(README, "\n## Load it\n"),
    ];
    let commands_of_all = to_run.concat();
    assert!(
        commands_of_all.iter().any(|line| line.starts_with(SERVE)),
        "{commands_of_all:?}"
    );
    let mut serving = None;
    for line in &commands_of_all {
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
    for line in commands(DEPLOY_README, "\n## Calls and events\n") {
        println!("$ {line}");
        asks_the_admin_port(&line, directory.path());
    }
}

/// Runs a command that is answered with JSON, or with events until it is ended.
fn asks_the_admin_port(line: &str, directory: &Path) {
    let mut command = shell(line, directory);
    if line.ends_with("/v1/events") {
        let child = command.stdout(Stdio::piped()).spawn().expect("bash");
        let mut curl = Serving(child);
        let stdout = curl.0.stdout.take().expect("its output");
        let mut first = String::new();
        BufReader::new(stdout)
            .read_line(&mut first)
            .expect("an event");
        assert_eq!(first.trim_end(), ": subscribed");
        return;
    }
    let output = command.output().expect("bash");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success(), "{answer}");
    let is_answer = answer["calls"].is_array() || answer["state"] == "ended";
    assert!(is_answer, "{answer}");
}

/// The example with the tenant that is commented out at its end.
fn with_voice(gateway_toml: &str) -> String {
    let (before, voice) = gateway_toml
        .split_once("\n# [[tenants]]\n# tenant_id = \"voice\"")
        .expect("the tenant voice");
    let voice = format!("[[tenants]]\ntenant_id = \"voice\"{voice}");
    format!(
        "{before}\n{}",
        voice.replace("\n# ", "\n").replace("\n#\n", "\n")
    )
}

#[test]
fn the_commands_of_deploy_make_what_the_example_names_and_install_it() {
    let directory = copy_of_deploy();
    let path = directory.path();
    let etc = path.join("host/etc");
    for needed in ["sysctl.d", "systemd/system"] {
        fs::create_dir_all(etc.join(needed)).expect(needed);
    }
    fs::create_dir(path.join("stubs")).expect("stubs");
    for name in OF_THE_HOST {
        let stub = path.join("stubs").join(name);
        fs::write(&stub, "#!/bin/sh\n").expect(name);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&stub, mode).expect(name);
    }
    // What somebody pastes.
    let pasted = path.join("pasted");
    fs::write(&pasted, "0123456789abcdef0123456789abcdef\n").expect("pasted");
    let commands = commands(DEPLOY_README, "# Running the gateway on a host\n");
    assert!(commands.len() > 10, "{commands:?}");
    for line in commands {
        let line = line
            .replace(" -g clutchcall", "")
            .replace("/etc/", &format!("{}/", etc.display()));
        println!("$ {line}");
        let line = format!("export PATH=\"$PWD/stubs:$PATH\"; {line}");
        let status = shell(&line, path)
            .stdin(fs::File::open(&pasted).expect("pasted"))
            .status()
            .expect("bash");
        assert!(status.success(), "`{line}` ended with {status}");
    }
    let installed = etc.join("clutchcall/gateway.toml");
    let text = fs::read_to_string(&installed).expect("the installed configuration");
    fs::write(&installed, with_voice(&text)).expect("the tenant voice");
    let check = format!(
        "clutchcall-gateway check --config {0}/gateway.toml --shards {0}/shards.toml",
        etc.join("clutchcall").display()
    );
    let output = shell(&check, path).output().expect("bash");
    let told = format!("{output:?}");
    assert!(output.status.success(), "{told}");
    assert!(told.contains("2 tenants"), "{told}");
    for made in ["90-clutchcall.conf", "clutchcall-gateway.service"] {
        let found = ["sysctl.d", "systemd/system"]
            .iter()
            .any(|folder| etc.join(folder).join(made).exists());
        assert!(found, "{made} was not installed");
    }
}
