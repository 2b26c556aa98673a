//! The one post-bridge path that all adapters share: reorder, conceal, decode, resample, encode, DTMF, hold.

mod format;

pub use format::*;
