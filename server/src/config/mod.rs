//! `gateway.toml` and `shards.toml`: parse, validate with the line at fault, reload.
//!
//! Parsed, not validated: what leaves this room is typed and consistent. Contracts: one file per subject, unknown keys
//! refused with file and line, secrets only as `*_file` or `env:NAME` and never printed.

mod gateway;
mod public_key;
mod shards;

pub use gateway::*;
pub use public_key::*;
pub use shards::*;
