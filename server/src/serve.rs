//! The whole gateway as one running process: control thread, shards, and what happens at start and stop.

use thiserror::Error;

use crate::config::{GatewayConfig, ShardsConfig};

/// Why the gateway did not start, or ended other than by a drain.
#[derive(Debug, Error)]
pub enum ServeError {}

/// Runs until the gateway has drained.
///
/// # Errors
/// A part could not start, or died.
pub fn run(_config: GatewayConfig, _shards: ShardsConfig) -> Result<(), ServeError> {
    Ok(())
}
