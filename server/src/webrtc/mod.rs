//! The media leg of a WebRTC peer: ICE-lite, DTLS, SRTP, SDP. Sans-I/O.
//!
//! [`Peer`] is the leg; what it is made of stands in the modules and knows nothing of it.

pub mod congestion;
pub mod dtls;
pub mod ice_lite;
mod peer;
pub mod sdp;
pub mod stun;

pub use peer::*;
