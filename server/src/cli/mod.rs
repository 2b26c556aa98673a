//! The commands and how they end: exit code 0 for success, 2 for a configuration that is refused, 1 for anything else.
//!
//! What a command was asked for goes to stdout; warnings, errors and logs go to stderr.

mod check;
mod keygen;
mod logging;
mod token;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use server::config::{ConfigError, ConfigFiles, Loaded, ShardsConfig};
use server::id::TenantId;
use thiserror::Error;

use self::logging::LogFormat;

/// The voice media gateway.
#[derive(Debug, Parser)]
#[command(
    name = "clutchcall-gateway",
    version,
    about = "Bridges browsers and voice vendors to trunks; media and signalling in one process",
    after_help = "\
Try it on one machine:
  clutchcall-gateway keygen --tls-cert cert.pem --tls-key key.pem --token-key token-key.pem
  clutchcall-gateway check --config gateway.toml --print
  clutchcall-gateway serve --config gateway.toml
  clutchcall-gateway token --config gateway.toml --tenant acme

Exit codes: 0 success, 2 the configuration is refused, 1 anything else.
Log level: RUST_LOG, for example RUST_LOG=info,server::switch=debug"
)]
struct CommandLine {
    /// Form of the log on stderr
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM
    #[command(after_help = "\
The first SIGTERM drains: no new calls, running ones go on for [server] drain_timeout_s. A second one ends at once.
SIGHUP reads both files again: tenants, trunks, TLS files and keys count for what begins then. A bad file is refused whole.

  clutchcall-gateway serve --config /etc/clutchcall/gateway.toml --shards /etc/clutchcall/shards.toml --log json")]
    Serve(Files),
    /// Check the configuration and say what is wrong with it, and where
    #[command(after_help = "\
  clutchcall-gateway check --config gateway.toml
  clutchcall-gateway check --config gateway.toml --shards shards.toml --print")]
    Check {
        #[command(flatten)]
        files: Files,
        /// Print every effective value and where it came from
        #[arg(long)]
        print: bool,
    },
    /// Print a SessionAuth token for a browser session, signed with the gateway's own key
    #[command(after_help = "\
  clutchcall-gateway token --config gateway.toml --tenant acme
  clutchcall-gateway token --config gateway.toml --tenant acme --scope call.dial --origin https://app.example.com")]
    Token(token::TokenArgs),
    /// Print the shards that own a tenant, best first
    #[command(after_help = "\
  clutchcall-gateway shard-of acme
  clutchcall-gateway shard-of --shards shards.toml acme")]
    ShardOf {
        /// shards.toml: how many shards there are, and each tenant's spread
        #[arg(long, value_name = "FILE")]
        shards: Option<PathBuf>,
        /// The tenant in the path of its signalling URL
        tenant: TenantId,
    },
    /// Make a self-signed TLS certificate with its key, and the key that signs tokens
    #[command(after_help = "\
For development and tests: clients must be told to trust the certificate. It names localhost, 127.0.0.1 and ::1.

  clutchcall-gateway keygen --tls-cert cert.pem --tls-key key.pem --token-key token-key.pem
  clutchcall-gateway keygen --tls-cert cert.pem --tls-key key.pem --token-key token-key.pem --name gw.lan --force")]
    Keygen(keygen::KeygenArgs),
}

#[derive(Debug, Args)]
struct Files {
    /// gateway.toml: listeners, tenants, trunks
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// shards.toml: cores, ports, rings, limits; without it everything has its default
    #[arg(long, value_name = "FILE")]
    shards: Option<PathBuf>,
}

impl Files {
    fn load(&self) -> Result<(ConfigFiles, Loaded), CommandError> {
        let files = ConfigFiles::new(self.config.clone(), self.shards.clone())?;
        let loaded = files.load()?;
        Ok((files, loaded))
    }
}

/// Why a command failed.
#[derive(Debug, Error)]
enum CommandError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration lacks what the command needs.
    #[error("{0}")]
    ConfigLacks(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::ConfigLacks(_) => 2,
            Self::Other(_) => 1,
        }
    }
}

/// Carries the command line out.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command_line = match CommandLine::try_parse_from(arguments) {
        Ok(command_line) => command_line,
        Err(error) => {
            // Nothing is left to say where even stderr is closed.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match carry_out(command_line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn carry_out(command_line: CommandLine) -> Result<(), CommandError> {
    match command_line.command {
        Command::Serve(files) => {
            logging::start(command_line.log);
            let (files, loaded) = files.load()?;
            for warning in &loaded.warnings.0 {
                tracing::warn!("{warning}");
            }
            server::serve::run(files, loaded)
                .map_err(|error| CommandError::Other(error.to_string()))
        }
        Command::Check { files, print } => check::check(&files, print),
        Command::Token(arguments) => token::token(&arguments),
        Command::ShardOf { shards, tenant } => {
            let (config, _) = ShardsConfig::load(shards.as_deref())?;
            println!("{}", owners(&config, &tenant));
            Ok(())
        }
        Command::Keygen(arguments) => keygen::keygen(&arguments),
    }
}

/// The indexes of a tenant's shards, separated by spaces.
fn owners(config: &ShardsConfig, tenant: &TenantId) -> String {
    // `ShardsConfig` has at most 1024 cores.
    let shards = config.cores.len() as u16;
    let spread = config.spread.get(tenant).copied().unwrap_or(1);
    let owners: Vec<String> = shards::owner::owners(tenant.as_str(), shards, spread)
        .map(|shard| shard.0.to_string())
        .collect();
    owners.join(" ")
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
