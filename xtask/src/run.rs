//! Running other programs, loudly: every command is shown before it runs, and its failure names it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// What a step ends with: nothing, or a message for a person.
pub type Outcome = Result<(), String>;

/// The repository's root.
pub fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

/// Where builds and everything temporary go.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| root().join("target"))
}

/// Announces a step.
pub fn step(what: &str) {
    println!("\n==> {what}");
}

/// Runs `command` in the root and fails with its name.
pub fn run(command: &mut Command) -> Outcome {
    let shown = shown(command);
    println!("    $ {shown}");
    let status = command
        .current_dir(root())
        .status()
        .map_err(|error| format!("`{shown}` did not start: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{shown}` failed: {status}"))
    }
}

/// Runs cargo with `arguments`.
pub fn cargo<S: AsRef<OsStr>>(arguments: &[S]) -> Outcome {
    run(cargo_command().args(arguments))
}

/// The cargo that runs us.
pub fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What a program prints, or nothing if it is not there or fails.
pub fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
