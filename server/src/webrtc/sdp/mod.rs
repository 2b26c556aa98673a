//! SDP offer/answer for one audio stream (RFC 8866, 3264, 8829, 8839, 8842, 9143): reads a browser's offer, writes our
//! answer.
//!
//! We never offer. Everything that is copied from an offer into an answer is validated as a token first.

mod answer;
mod candidate;
mod error;
mod negotiate;
mod offer;

pub use answer::*;
pub use candidate::*;
pub use error::*;
pub use negotiate::*;
pub use offer::*;

#[cfg(test)]
mod tests;
