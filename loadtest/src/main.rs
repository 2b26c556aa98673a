//! `clutchcall-loadtest`: callers, far ends and the judge, as a command.

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::run()
}
