//! What a reload replaces, whole: `gateway.toml` with the TLS certificate and the gateway's own key that it names, read.
//!
//! Every shard has one, and its calls and sessions keep what they began with. What stays until a restart is
//! [`NEEDS_RESTART`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shards::tls::{self, TlsConfigError};
use thiserror::Error;

use crate::auth::{GatewayKey, InvalidGatewayKey};
use crate::config::{Effective, GatewayConfig};

/// Keys of `gateway.toml` that a reload leaves as they were at the start: sockets that are bound, and what every media leg
/// of a shard shares. All of `shards.toml` is so.
pub const NEEDS_RESTART: [&str; 5] = [
    "server.listen",
    "admin.listen",
    "webrtc.advertised_ips",
    "webrtc.dtls",
    "webrtc.codecs",
];

/// Why the files that a configuration names can't be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A key file can't be read.
    #[error("{path}: {source}")]
    File {
        /// As configured.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The TLS certificate and key.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// `[server] token_key_file`
    #[error("[server] token_key_file: {0}")]
    TokenKey(#[from] InvalidGatewayKey),
}

/// One configuration with its files.
pub struct Settings {
    /// `gateway.toml`
    pub config: Arc<GatewayConfig>,
    /// Certificate and TLS versions.
    pub tls: Arc<rustls::ServerConfig>,
    /// Verifies the tokens that the gateway itself signed.
    pub gateway_key: Option<Arc<GatewayKey>>,
}

impl Settings {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// The first that can't be used.
    pub fn read(config: GatewayConfig) -> Result<Self, SettingsError> {
        let server = &config.server;
        let tls = tls::server_config(&read(&server.cert_file)?, &read(&server.key_file)?)?;
        let gateway_key = match &server.token_key_file {
            Some(path) => Some(Arc::new(GatewayKey::from_pem(&read(path)?)?)),
            None => None,
        };
        Ok(Self {
            tls,
            gateway_key,
            config: Arc::new(config),
        })
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// The keys whose values differ between both files at the start and now, and have to wait for a restart.
pub fn waiting_for_restart(at_start: &[Effective; 2], now: &[Effective; 2]) -> Vec<String> {
    let [gateway, shards] = now;
    let changed = |index: usize, effective: &Effective| {
        let before = &at_start[index].settings;
        let same = |key: &str, value: &str| {
            before
                .iter()
                .any(|setting| setting.key == key && setting.value == value)
        };
        effective
            .settings
            .iter()
            .filter(|setting| !same(&setting.key, &setting.value))
            .map(|setting| setting.key.clone())
            .collect::<Vec<_>>()
    };
    let mut waiting = changed(0, gateway);
    waiting.retain(|key| NEEDS_RESTART.contains(&key.as_str()));
    let left_out = at_start[1]
        .settings
        .iter()
        .filter(|setting| shards.settings.iter().all(|now| now.key != setting.key))
        .map(|setting| setting.key.clone());
    waiting.extend(changed(1, shards));
    waiting.extend(left_out);
    waiting
}

fn read(path: &Path) -> Result<Vec<u8>, SettingsError> {
    fs::read(path).map_err(|source| SettingsError::File {
        path: path.to_owned(),
        source,
    })
}
