//! A reload: both files read anew and taken whole, or refused whole while the old configuration stays.
//!
//! SIGHUP and `POST /v1/reload` come here, one at a time. The desk, the trunks' signalling, the admin token and the drain
//! timeout take the new values at once, each shard with the next message that it reads. Running calls and sessions go on
//! with what they began with.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::Mutex as AsyncMutex;

use super::admin::AdminToken;
use super::state::ControlState;
use super::thread::{lock, now};
use crate::config::{ConfigError, ConfigFiles, Effective, Loaded};
use crate::settings::{Settings, SettingsError, waiting_for_restart};

/// Where a reload reads from.
#[derive(Debug, Clone)]
pub struct ReloadSource {
    /// Both files.
    pub files: ConfigFiles,
    /// What they said when the process started.
    pub at_start: [Effective; 2],
}

/// How reloads ended, the label of their counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadResult {
    /// Taken.
    Ok,
    /// Refused; the old configuration stays.
    Refused,
}

impl ReloadResult {
    /// Both, in the order of their counters.
    pub const ALL: [Self; 2] = [Self::Ok, Self::Refused];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
        }
    }
}

/// What a reload took.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Taken {
    result: &'static str,
    tenants: usize,
    trunks: usize,
    /// Keys that were changed in the files and keep their old value until a restart.
    needs_restart: Vec<String>,
    warnings: Vec<String>,
}

/// Why a reload was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the configuration could not be read: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// The admin window's token, which a reload may change.
pub(super) type SharedToken = Arc<Mutex<Option<AdminToken>>>;

/// Reloads, one at a time.
#[derive(Debug)]
pub(super) struct Reloading {
    source: ReloadSource,
    state: Arc<Mutex<ControlState>>,
    token: SharedToken,
    one_at_a_time: AsyncMutex<()>,
}

impl Reloading {
    pub(super) fn new(
        source: ReloadSource,
        state: Arc<Mutex<ControlState>>,
        token: SharedToken,
    ) -> Self {
        Self {
            source,
            state,
            token,
            one_at_a_time: AsyncMutex::default(),
        }
    }

    /// Reads the files, and takes them or says what is wrong. The result is logged and counted.
    pub(super) async fn reload(&self) -> Result<Taken, ReloadError> {
        let _one = self.one_at_a_time.lock().await;
        let outcome = self.read_and_take().await;
        let result = match &outcome {
            Ok(taken) => {
                for warning in &taken.warnings {
                    tracing::warn!("{warning}");
                }
                for key in &taken.needs_restart {
                    tracing::warn!(key, "changed in the file, but needs a restart");
                }
                tracing::info!(
                    tenants = taken.tenants,
                    trunks = taken.trunks,
                    "configuration reloaded"
                );
                ReloadResult::Ok
            }
            Err(error) => {
                tracing::error!("reload refused, the old configuration stays:\n{error}");
                ReloadResult::Refused
            }
        };
        lock(&self.state).count_reload(result);
        outcome
    }

    async fn read_and_take(&self) -> Result<Taken, ReloadError> {
        let files = self.source.files.clone();
        // Thousands of key files take their time; calls are set up meanwhile.
        let read = move || -> Result<_, ReloadError> {
            let Loaded {
                gateway,
                warnings,
                effective,
                ..
            } = files.load()?;
            Ok((Settings::read(gateway)?, warnings, effective))
        };
        let (settings, warnings, effective) = tokio::task::spawn_blocking(read).await??;
        let config = Arc::clone(&settings.config);
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) =
            config.admin.token.as_ref().map(AdminToken::new);
        lock(&self.state).reload(now(), &Arc::new(settings));
        Ok(Taken {
            result: ReloadResult::Ok.as_str(),
            tenants: config.tenants.len(),
            trunks: config.trunks.len(),
            needs_restart: waiting_for_restart(&self.source.at_start, &effective),
            warnings: warnings.0.iter().map(ToString::to_string).collect(),
        })
    }
}
