//! The control thread (tokio, current-thread): what happens per call or slower, and what several shards share.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`desk`] | admission: used tokens, slots of tenants and trunks, the mirror of the live calls |
//! | [`signalling`] | the trunk legs' signalling side, one variant per kind of trunk |
//! | [`sip_transport`] | SIP messages over UDP, TCP and TLS |
//! | [`outbound`] | whom we dial by HTTP and WebSocket: agents, vendors, webhooks |
//! | [`events`] | CallEvents to their subscribers |
//! | [`archive`] | the records of the last calls |
//! | [`state`] | the four above behind one entry: ring messages in, ring messages out |
//! | [`links`] | the rings to the shards, with an overflow queue each |
//! | [`shutdown`] | drain, second signal, dead shard: in which order the process ends |
//! | [`reload`] | SIGHUP: both files read anew, taken or refused whole |
//! | [`metrics`] | the Prometheus text |
//! | [`admin`] | the HTTP window for operators and tests |
//! | [`thread`] | the loop that joins them with rings, clock and signals |
//!
//! Everything but `admin`, `links`, `outbound`, `reload`, `sip_transport` and `thread` is pure. No glommio type is named here, and no media passes through.

pub mod admin;
pub mod archive;
pub mod desk;
pub mod events;
#[cfg(test)]
mod fixtures;
mod incoming;
pub mod links;
pub mod metrics;
pub mod outbound;
pub mod reload;
pub mod shutdown;
pub mod signalling;
mod sip_driver;
pub mod sip_transport;
pub mod state;
pub mod thread;
mod waiting;

pub use admin::AdminListener;
pub use links::ShardLink;
pub use reload::ReloadSource;
pub use sip_driver::check_sip_addresses;
pub use thread::{ControlError, ControlInputs, run};
