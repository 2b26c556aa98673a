//! SDP offer/answer for the one audio stream of a SIP call (RFC 8866, 3264): reads what the far end says, makes our
//! offers, computes our answers.
//!
//! [`RemoteDescription`] is the far end's SDP, [`OfferAnswer`] one dialog's state, [`Negotiated`] what both sides
//! agreed on. RTP/AVP and RTP/SAVP with keys in the SDP (RFC 4568, 7714, 8643), separate and muxed RTCP (RFC 3605,
//! 5761), telephone-event (RFC 4733), hold by direction (RFC 3264 section 8.4) and by `0.0.0.0`.
//!
//! The grammar is `rtc-sdp`'s, for reading and writing. It takes lines in the RFC's order only, and refuses the whole
//! SDP for an unknown line, media type or number; so `normalise` gives it only the lines that are read here, in that
//! order.
//! Not here: ICE, DTLS-SRTP, video, fax, host names in `c=`, MKI, and lifetimes of keys, which are longer than calls.
//! Sans-I/O: entropy is passed in.

mod crypto;
mod encoding;
mod error;
mod local;
mod negotiate;
mod normalise;
mod offer_answer;
mod payload_numbers;
mod remote;

pub use error::*;
pub use local::LocalSdp;
pub use negotiate::*;
pub use normalise::{FORMATS_MAX, LINES_MAX, MEDIA_MAX, SDP_LEN_MAX};
pub use offer_answer::*;
pub use remote::RemoteDescription;

#[cfg(test)]
mod tests;
