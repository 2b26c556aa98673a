//! The far end's media legs: plain RTP, and the ports that they are bound to. The echo needs no leg: the bridge plays
//! it. Sans-I/O: no sockets, no tokio, no glommio.

pub mod agent;
mod learned_source;
mod ports;
mod protection;
mod rtp_leg;
pub mod sdp;
pub mod sip;

pub use ports::*;
pub use rtp_leg::*;
