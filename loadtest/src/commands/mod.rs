//! The command line: what there is to ask for, and the exit codes.

mod call;
mod compare;
mod find_max;
mod judge;
mod live;
mod measuring;
mod run;
mod soak;
mod target;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use loadtest::judge::Bar;

/// Calls a voice gateway as a browser would, and judges what comes back.
#[derive(Debug, Parser)]
#[command(
    name = "clutchcall-loadtest",
    version,
    about = "Calls a voice gateway as a browser would, and judges what comes back",
    after_help = "\
One call through an echo trunk:
  clutchcall-loadtest call --url wss://localhost:7443 --tenant acme --trunk echo --token TOKEN --ca cert.pem
A token for it:
  clutchcall-gateway token --config gateway.toml --tenant acme
Two files, is the second one the first, heard through a telephone?
  clutchcall-loadtest judge said.wav heard.wav --bar chromium

Exit codes: 0 the audio or the soak passed, 1 it did not, or there was no call, 2 the command line is wrong."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make one call with speech, and judge the echo
    Call(call::CallArguments),
    /// Judge a recording against what was said
    Judge(judge::JudgeArguments),
    /// Make many calls at once, and report what they cost and how they sounded
    Run(Box<run::RunArguments>),
    /// Raise the calls until packets get lost or late: how many does a core carry?
    FindMax(Box<find_max::FindMaxArguments>),
    /// Take turns with rtpengine: what does a call cost here, and there?
    Compare(Box<compare::CompareArguments>),
    /// End gateways under load, over and over: does every call have its end?
    Soak(soak::SoakArguments),
}

/// How good the audio has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BarName {
    /// G.711 end to end: SNR of at least 30 dB
    Pcmu,
    /// Opus on the way, no loss: match of at least 0.95
    Opus,
    /// Chromium without echo cancelling and the like: match of at least 0.90
    Chromium,
    /// 5 % of the packets lost: match of at least 0.85
    Loss5,
}

impl From<BarName> for Bar {
    fn from(name: BarName) -> Self {
        match name {
            BarName::Pcmu => Self::PcmuToRtp,
            BarName::Opus => Self::OpusClean,
            BarName::Chromium => Self::Chromium,
            BarName::Loss5 => Self::Loss5,
        }
    }
}

/// Carries the command line out.
pub(crate) fn run() -> ExitCode {
    let passed = match CommandLine::parse().command {
        Command::Call(arguments) => call::run(&arguments),
        Command::Judge(arguments) => judge::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::FindMax(arguments) => find_max::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
