//! Callers, far ends and the judge: what the tests and the load test put around a gateway.
//!
//! ICE, DTLS and SRTP come from `str0m`, never from `server`, so that a fault of the gateway can't cancel itself out. Blocking
//! threads and std sockets: this is no product code path.

pub mod audio;
pub mod judge;
pub mod spectrum;
pub mod speech;
