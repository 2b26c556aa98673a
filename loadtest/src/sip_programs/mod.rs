//! SIP programs of others, from Debian, around a gateway: SIPp for call flows, baresip as a phone with TLS and SRTP, Kamailio
//! as the proxy of a carrier. Each has a directory and ports of its own on loopback, is waited for until it is ready, and ends
//! when it is dropped.

mod baresip;
mod kamailio;
mod process;
mod sipp;
#[cfg(test)]
mod tests;

pub use baresip::{
    Baresip, BaresipAccount, BaresipConfig, BaresipEvent, BaresipTransport, MediaEncryption,
};
pub use kamailio::{Kamailio, KamailioConfig, KamailioTls, KamailioUser};
pub use process::SipProgramError;
pub use sipp::{Sipp, SippConfig, SippOutcome, SippScenario};
