//! The front door on port 7443, one on every shard: accept, TLS, the HTTP head, limits, the route
//! `{vendor, tenant}`, the hand-off to the owning shard, and the WebSocket session of each caller.
//!
//! `connection` is the path of one connection from top to bottom; `resumptions` is where one that resumes finds its session. What is said on a session is the adapter's
//! ([`crate::vendors`]); what it does to a call is the switch's ([`crate::switch`]).

mod accept;
mod address_limits;
mod browser_socket;
mod connection;
mod http;
mod line;
mod page;
mod pcm_session;
mod resumptions;
mod route;
mod vendor_upgrade;

pub use accept::{Front, Resumable, accept_loop, adopt_handed_over};
pub use address_limits::AddressLimits;
pub use http::{HeadError, RequestHead, parse_head};
pub use route::{Route, RouteError, Vendor, route};
