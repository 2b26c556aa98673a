//! Callers, far ends and the judge: what the tests and the load test put around a gateway.
//!
//! ICE, DTLS and SRTP come from `str0m`, never from `server`, so that a fault of the gateway can't cancel itself out. Blocking
//! threads and std sockets: this is no product code path.

pub mod audio;
pub mod chromium;
pub mod gateway;
pub mod impairment;
pub mod judge;
pub mod load;
pub mod media;
pub mod nat_network;
pub mod rtp_peer;
pub mod signalling;
pub mod sip_peer;
pub mod sip_programs;
pub mod soak;
pub mod socket_relay;
pub mod softphone_page;
pub mod spectrum;
pub mod speech;
pub mod stream_peer;
pub mod turn_server;
pub mod webrtc_client;

/// A random number for what RFC 3550 wants random: initial sequence numbers and timestamps.
fn random_u16() -> u16 {
    let mut bytes = [0; 2];
    // Without entropy a fixed start is still valid RTP.
    let _ = getrandom::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

/// A random number for tags, branches and nonces.
fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    // Without entropy calls would be mistaken for each other, which a test notices.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
