//! The load test: real calls of a vendor through a gateway, thousands at once, and what each of them cost and how it sounded.
//!
//! Media runs on threads of its own ([`media`]), signalling on one tokio thread; both name nothing of `server` but RTP layouts and
//! the event types. What is found is a [`report::Report`].

pub mod figures;
pub mod html;
pub mod media;
pub mod number;
pub mod progress;
pub mod report;
#[cfg(test)]
mod samples;
pub mod targets;
pub mod verdict;
