//! RTP and RTCP on the wire (RFC 3550, 8285, 4585, transport-cc) and the arithmetic of their clocks. Pure.

mod packet;
mod sequence;

pub use packet::*;
pub use sequence::*;
