//! Whom the control thread dials by HTTP and WebSocket: AI agents, Vapi, Twilio's REST API, webhooks.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`endpoint`] | a URL, taken apart |
//! | [`connect`] | name, TCP, TLS, by one deadline |
//! | [`http`] | one POST and its answer |
//! | [`websocket`] | a dial up to the upgrade |
//! | [`vapi`], [`twilio_rest`], [`webhook`] | what is said to whom |
//! | [`driver`] | the tasks that do it, and what came of them |
//! | [`error`] | why it came to nothing, and whose fault that is |
//!
//! A tenant's calls dial only its `outbound_hosts`, by TLS or on this machine, and follow no redirect. A socket that was
//! dialled is handed on as a [`shards::tick_stream::LiveStream`]: no media passes through the control thread.

pub mod connect;
pub mod driver;
pub mod endpoint;
pub mod error;
pub mod http;
pub mod twilio_rest;
pub mod vapi;
pub mod webhook;
pub mod websocket;

pub use connect::{Connector, Deadline};
pub use endpoint::Endpoint;
pub use error::{DialFailure, DialOutcome, OutboundError};

use crate::config::TenantConfig;

/// How we name ourselves.
const USER_AGENT: &str = concat!("clutchcall-gateway/", env!("CARGO_PKG_VERSION"));

/// May the gateway dial `endpoint` for a tenant's call?
fn allow(tenant: &TenantConfig, endpoint: &Endpoint) -> Result<(), OutboundError> {
    let host = || endpoint.host.clone();
    if !tenant.allows_host(&endpoint.host) {
        return Err(OutboundError::HostNotAllowed { host: host() });
    }
    if !endpoint.is_protected() {
        return Err(OutboundError::Unprotected { host: host() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
