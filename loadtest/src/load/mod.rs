//! The load test: real calls of a vendor through a gateway, thousands at once, and what each of them cost and how it sounded.
//!
//! Media runs on threads of its own ([`media`]), signalling on one tokio thread; both name nothing of `server` but RTP layouts and
//! the event types. What is found is a [`report::Report`].

pub mod admin;
pub mod agent_answerer;
pub mod assemble;
pub mod browser;
pub mod call;
pub mod compare;
mod drive;
mod far_end;
#[cfg(test)]
mod far_end_tests;
pub mod figures;
pub mod find_max;
mod frame_account;
pub mod frames;
pub mod host;
pub mod html;
pub mod http_service;
pub mod impaired;
pub mod judges;
mod listening;
pub mod media;
pub mod not_shown;
pub mod number;
pub mod observer;
mod parties;
pub mod progress;
pub mod report;
pub mod run;
#[cfg(test)]
mod samples;
pub mod scenario;
pub mod signalling;
pub mod sip_answerer;
pub mod sip_caller;
mod sip_socket;
pub mod spawn;
mod spawn_config;
pub mod stream_call;
mod stream_client;
pub mod summary;
pub mod target;
pub mod targets;
pub mod token;
pub mod twilio;
pub mod vapi;
pub mod vapi_service;
pub mod verdict;
pub mod webrtc;
