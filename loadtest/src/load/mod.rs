//! The load test: real calls of a vendor through a gateway, thousands at once, and what each of them cost and how it sounded.
//!
//! Media runs on threads of its own ([`media`]), signalling on one tokio thread; both name nothing of `server` but RTP layouts and
//! the event types. What is found is a [`report::Report`].

pub mod admin;
pub mod assemble;
pub mod browser;
pub mod call;
pub mod compare;
mod drive;
pub mod figures;
pub mod find_max;
pub mod host;
pub mod html;
pub mod impaired;
pub mod judges;
pub mod media;
pub mod not_shown;
pub mod number;
pub mod observer;
pub mod progress;
pub mod report;
pub mod run;
#[cfg(test)]
mod samples;
pub mod scenario;
pub mod signalling;
pub mod sip_answerer;
pub mod spawn;
pub mod summary;
pub mod targets;
pub mod token;
pub mod verdict;
pub mod webrtc;
