//! `gateway.toml` and `shards.toml`: parse, validate with the line at fault, reload.
//!
//! Parsed, not validated: what leaves this room is typed and consistent. Unknown keys are refused with file and line,
//! secrets come only as `*_file` or `env:NAME` and are never printed. All problems of a file are told at once. A
//! reload is [`load`] again: it gives a whole new configuration or an error, and the old one stays untouched.
//!
//! | file | subject |
//! | --- | --- |
//! | `gateway`, `inbound`, `sip_trunk`, `agent`, `twilio`, `vapi`, `outbound_hosts`, `shards` | the typed forms |
//! | `gateway_file`, `ice_server_file`, `tenant_file`, `twilio_file`, `vapi_file`, `inbound_file`, `trunk_file`, `sip_trunk_file`, `agent_file`, `secret_file`, `shards_file` | from TOML to the typed forms |
//! | `sip_neighbours` | SIP trunks against each other: sockets, and whose call it is |
//! | `document`, `section`, `spelling` | a TOML file with the place of every value, read key by key |
//! | `url` | hosts, origins and URLs as the files write them |
//! | `report` | problems, warnings and effective values, as people read them |
//! | `tls`, `public_key` | the key files that the configuration names |
//! | `machine` | ports and cores of this machine against both files |

mod agent;
mod agent_file;
mod document;
mod gateway;
mod gateway_file;
mod ice_server_file;
mod inbound;
mod inbound_file;
mod machine;
mod outbound_hosts;
mod public_key;
mod report;
mod secret_file;
mod section;
mod shards;
mod shards_file;
mod shown;
mod sip_neighbours;
mod sip_trunk;
mod sip_trunk_file;
mod spelling;
mod tenant_file;
mod tls;
mod trunk_file;
mod twilio;
mod twilio_file;
mod url;
mod vapi;
mod vapi_file;

use std::path::{Path, PathBuf};

pub use agent::*;
pub use gateway::*;
pub use inbound::*;
pub use machine::*;
pub use outbound_hosts::*;
pub use public_key::*;
pub use report::*;
pub use shards::*;
pub use sip_trunk::*;
pub use twilio::*;
pub use vapi::*;

/// Both files, consistent with each other and with this machine.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// `gateway.toml`
    pub gateway: GatewayConfig,
    /// `shards.toml`
    pub shards: ShardsConfig,
    /// What an operator should know although it is no error.
    pub warnings: Warnings,
    /// The effective values of both files and where each came from.
    pub effective: [Effective; 2],
}

/// Where the configuration is, and the machine as it was when the process started: later its threads are pinned, and see
/// fewer cores.
#[derive(Debug, Clone)]
pub struct ConfigFiles {
    /// `gateway.toml`
    pub gateway: PathBuf,
    /// `shards.toml`; none: every default.
    pub shards: Option<PathBuf>,
    /// Cores and ports.
    pub machine: Machine,
}

impl ConfigFiles {
    /// These files, on this machine.
    ///
    /// # Errors
    /// [`ConfigError::Machine`]
    pub fn new(gateway: PathBuf, shards: Option<PathBuf>) -> Result<Self, ConfigError> {
        let machine = Machine::read().map_err(ConfigError::Machine)?;
        Ok(Self {
            gateway,
            shards,
            machine,
        })
    }

    /// [`load`] of both.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.gateway, self.shards.as_deref(), &self.machine)
    }
}

/// Reads both files and checks them against each other and against `machine`.
///
/// # Errors
/// Everything that was wrong, each with file, line, column and key.
pub fn load(
    gateway_path: &Path,
    shards_path: Option<&Path>,
    machine: &Machine,
) -> Result<Loaded, ConfigError> {
    let gateway = gateway_file::read(gateway_path, &|name| std::env::var(name).ok());
    let shards = shards_file::read(shards_path, &machine.cores);
    let ((gateway, gateway_report), (shards, shards_report)) = match (gateway, shards) {
        (Ok(gateway), Ok(shards)) => (gateway, shards),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => return Err(error),
        (Err(error), Err(other)) => return Err(error.and(other)),
    };
    machine::check(
        (&gateway, &gateway_report.effective),
        (&shards, &shards_report.effective),
        machine,
    )?;
    let mut warnings = gateway_report.warnings;
    warnings.0.extend(shards_report.warnings.0);
    Ok(Loaded {
        gateway,
        shards,
        warnings,
        effective: [gateway_report.effective, shards_report.effective],
    })
}

impl GatewayConfig {
    /// Reads `gateway.toml` alone. [`load`] also checks it against `shards.toml` and the machine.
    ///
    /// # Errors
    /// Everything that was wrong, each with file, line, column and key.
    pub fn load(path: &Path) -> Result<(Self, Warnings), ConfigError> {
        gateway_file::read(path, &|name| std::env::var(name).ok())
            .map(|(config, report)| (config, report.warnings))
    }

    /// As [`GatewayConfig::load`], from the text of a file at `path`: relative paths count from its directory, and the
    /// environment has no secrets.
    ///
    /// # Errors
    /// Everything that was wrong, each with file, line, column and key.
    pub fn parse(text: &str, path: &Path) -> Result<(Self, Warnings), ConfigError> {
        let document = document::Document::from_text(path, text.to_owned());
        gateway_file::read_document(document, &|_| None)
            .map(|(config, report)| (config, report.warnings))
    }
}

impl ShardsConfig {
    /// Reads `shards.toml`, or takes every default if there is none.
    ///
    /// # Errors
    /// Everything that was wrong, each with file, line, column and key.
    pub fn load(path: Option<&Path>) -> Result<(Self, Warnings), ConfigError> {
        let machine = Machine::read().map_err(ConfigError::Machine)?;
        shards_file::read(path, &machine.cores).map(|(config, report)| (config, report.warnings))
    }

    /// Every default, with shards on these cores.
    pub fn on_cores(cores: Vec<usize>) -> Self {
        Self {
            cores,
            ..shards_file::defaults()
        }
    }
}

#[cfg(test)]
mod tests;
