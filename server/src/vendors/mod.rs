//! One file or folder per adapter: its dialect as sans-I/O state machine.

pub mod browser;
pub mod twilio;
pub mod vapi;
