//! The text messages of the raw dialect, both ways.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The most digits in one `dtmf`.
pub const DIGITS_MAX: usize = 32;

/// What an agent says. Flat, so that nothing of it is copied: which members it has says `type`.
#[derive(Deserialize)]
pub(super) struct FromAgent<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// Of a `mark`.
    #[serde(default)]
    pub name: Option<String>,
    /// Of a `dtmf`.
    #[serde(default)]
    pub digits: Option<String>,
    /// Of a `hangup`.
    #[serde(default)]
    pub q850_cause: Option<u8>,
}

/// What an agent hears.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToAgent<'a> {
    Start {
        call_sid: &'a str,
        tenant_id: &'a str,
        from: &'a str,
        to: &'a str,
        format: Format,
    },
    Dtmf {
        digit: char,
        duration_ms: u32,
    },
    Mark {
        name: &'a str,
    },
    Cleared {
        played_ms: u64,
    },
    Interrupted {
        played_ms: u64,
    },
    Overflow {
        dropped_ms: u64,
    },
    Stop {
        q850_cause: u8,
        reason: &'a str,
    },
}

/// How audio is coded, both ways.
#[derive(Serialize)]
pub(super) struct Format {
    pub encoding: &'static str,
    pub sample_rate_hz: u32,
    pub channels: u32,
}
