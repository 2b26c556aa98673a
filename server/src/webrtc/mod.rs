//! The media leg of a WebRTC peer: ICE-lite, DTLS, SRTP, SDP. Sans-I/O.

pub mod srtp;
