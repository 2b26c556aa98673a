//! The Prometheus text (exposition format 0.0.4) of everything that is counted, present at zero from the start.
//!
//! Pure but for [`HostFigures::read`]. Names begin `clutchcall_` and end in their unit; `_total` only goes up.

mod control;
mod host;
mod page;
mod pcm;
mod shards;

use std::sync::atomic::{AtomicBool, Ordering};

use codecs::simd::Simd;

pub use host::HostFigures;

use control::render_control;
use page::{Kind, Page};
use shards::render_shards;

use super::links::LinkMetrics;
use super::state::ControlState;
use crate::metrics::{ProcessState, ShardMetrics};
use crate::trunk::sip::trunk_line::TrunkHealth;

/// All that is shown at once.
#[derive(Debug)]
pub struct Sources<'a> {
    /// One per shard, by index.
    pub shards: &'a [ShardSource<'a>],
    /// Readiness and drain.
    pub process: &'a ProcessState,
    /// What the control thread knows.
    pub control: &'a ControlFigures,
    /// Open connections to the admin window.
    pub admin_connections: usize,
    /// What the kernel knows.
    pub host: &'a HostFigures,
}

/// One shard's counters, from both sides of its rings.
#[derive(Debug, Clone, Copy)]
pub struct ShardSource<'a> {
    /// Written by the shard.
    pub metrics: &'a ShardMetrics,
    /// Written by the control thread.
    pub link: &'a LinkMetrics,
}

/// The control thread's own figures at one moment.
#[derive(Debug, Clone, Default)]
pub struct ControlFigures {
    live_calls: usize,
    used_tokens: usize,
    call_records: usize,
    events_missing: u64,
    event_subscribers: usize,
    subscribers_closed: u64,
    events: Vec<(&'static str, u64)>,
    refusals: Vec<(&'static str, u64)>,
    reloads: Vec<(&'static str, u64)>,
    waiting_sessions: usize,
    sip_legs: usize,
    sip_transactions: usize,
    sip_discards: Vec<(&'static str, u64)>,
    /// Per SIP trunk: its name, and whether calls may go over it.
    sip_trunks: Vec<(String, bool)>,
    outbound_dials: usize,
    outbound_dial_outcomes: Vec<(&'static str, u64)>,
    /// Per trunk with an AI agent: its name, and whether the agent is dialled.
    agents: Vec<(String, bool)>,
}

impl ControlFigures {
    /// The figures of `state` now.
    pub fn of(state: &mut ControlState) -> Self {
        let (event_subscribers, subscribers_closed) = {
            let events = state.events();
            (events.subscriber_count(), events.closed_too_slow())
        };
        let events = state.events().told().collect();
        let sip = state.signalling().sip();
        let counters = sip.counters();
        let mut sip_discards = vec![
            ("malformed", counters.malformed),
            ("stranger", counters.strangers),
            ("panic", counters.panics),
        ];
        let discards = state.sip_discards().iter();
        sip_discards.extend(discards.map(|(reason, count)| (reason.name(), *count)));
        Self {
            live_calls: state.desk().live_call_count(),
            used_tokens: state.desk().used_token_count(),
            call_records: state.archive().len(),
            events_missing: state.events_missing(),
            event_subscribers,
            subscribers_closed,
            events,
            refusals: state
                .desk()
                .refusals()
                .map(|(reason, count)| (reason.as_str(), count))
                .collect(),
            reloads: state
                .reloads()
                .map(|(result, count)| (result.as_str(), count))
                .collect(),
            waiting_sessions: state.waiting_session_count(),
            sip_legs: sip.leg_count(),
            sip_transactions: sip.transaction_count(),
            sip_discards,
            sip_trunks: sip
                .health()
                .map(|(trunk_id, health)| (trunk_id.to_string(), health == TrunkHealth::Up))
                .collect(),
            outbound_dials: state.signalling().dialling(),
            outbound_dial_outcomes: state
                .signalling()
                .dial_outcomes()
                .map(|(outcome, count)| (outcome.as_str(), count))
                .collect(),
            agents: state
                .signalling()
                .agents()
                .map(|(trunk_id, is_up)| (trunk_id.to_string(), is_up))
                .collect(),
        }
    }
}

/// The metrics as text.
pub fn render(sources: &Sources<'_>) -> String {
    let mut page = Page::default();
    render_shards(&mut page, sources.shards);
    render_control(&mut page, sources);
    render_process(&mut page, sources);
    page.text
}

fn render_process(page: &mut Page, sources: &Sources<'_>) {
    let flag = |flag: &AtomicBool| u64::from(flag.load(Ordering::Relaxed));
    let process = sources.process;
    let host = sources.host;
    page.figure(
        "shards",
        Kind::Gauge,
        "Shards of this process.",
        sources.shards.len(),
    );
    let name = "simd_info";
    page.family(
        name,
        Kind::Gauge,
        "1 for the vector instructions that codecs and resamplers use.",
    );
    page.sample(name, &[("instructions", &Simd::detected())], 1);
    page.figure(
        "ready",
        Kind::Gauge,
        "1 when all shards listen.",
        flag(&process.ready),
    );
    page.figure(
        "draining",
        Kind::Gauge,
        "1 after SIGTERM.",
        flag(&process.draining),
    );
    page.figure(
        "unhealthy",
        Kind::Gauge,
        "1 after a shard died.",
        flag(&process.unhealthy),
    );
    page.figure("fds", Kind::Gauge, "Open file descriptors.", host.fds);
    page.figure(
        "resident_memory_bytes",
        Kind::Gauge,
        "Resident memory.",
        host.resident_memory_bytes,
    );
    page.figure(
        "cpu_seconds_total",
        Kind::Counter,
        "User and system time of all threads.",
        host.cpu_seconds,
    );
}

#[cfg(test)]
mod tests;
