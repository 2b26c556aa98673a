//! The Prometheus text (exposition format 0.0.4) of everything that is counted, present at zero from the start.
//!
//! Pure but for [`HostFigures::read`]. Names begin `clutchcall_` and end in their unit; `_total` only goes up.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use codecs::simd::Simd;

use super::links::LinkMetrics;
use super::state::ControlState;
use crate::fault::Fault;
use crate::metrics::{
    ConnectionRefusal, DropReason, LoadRefusal, PcmMessage, ProcessState, ShardMetrics,
};
use crate::pcm::ViolationKind;
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

/// What the kernel tells about this process; zero where it does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFigures {
    /// Open file descriptors.
    pub fds: u64,
    /// Resident memory.
    pub resident_memory_bytes: u64,
    /// User and system time of all threads.
    pub cpu_seconds: f64,
}

impl HostFigures {
    /// Reads `/proc/self`.
    pub fn read() -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        // Counting opens one itself.
        let fds = std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count().saturating_sub(1));
        Self {
            fds: fds as u64,
            resident_memory_bytes: resident_bytes(&text("/proc/self/status")).unwrap_or(0),
            cpu_seconds: cpu_seconds(&text("/proc/self/stat")).unwrap_or(0.0),
        }
    }
}

/// `VmRSS` of proc_pid_status(5), in kB there.
fn resident_bytes(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = value.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms: USER_HZ is 100 on every architecture that we build for.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / 100.0)
}

type ShardFigure = (
    &'static str,
    Kind,
    &'static str,
    fn(&ShardSource<'_>) -> u64,
);

/// One line per shard each.
const SHARD_FIGURES: &[ShardFigure] = &[
    ("calls", Kind::Gauge, "Calls that are live now.", |s| {
        s.metrics.calls.value()
    }),
    (
        "sessions",
        Kind::Gauge,
        "Signalling sessions that are open now.",
        |s| s.metrics.sessions.value(),
    ),
    (
        "resume_tokens",
        Kind::Gauge,
        "Resume tokens that are good now, one per session.",
        |s| s.metrics.resume_tokens.value(),
    ),
    (
        "connections",
        Kind::Gauge,
        "TCP connections that are open now, sessions included.",
        |s| s.metrics.connections.value(),
    ),
    (
        "handshakes_pending",
        Kind::Gauge,
        "TLS handshakes under way now.",
        |s| s.metrics.handshakes_pending.value(),
    ),
    ("peers", Kind::Gauge, "WebRTC peers that exist now.", |s| {
        s.metrics.peers.value()
    }),
    (
        "pcm_sockets",
        Kind::Gauge,
        "WebSockets that carry audio, open now.",
        |s| s.metrics.pcm_sockets.value(),
    ),
    (
        "pcm_frames_unsent_total",
        Kind::Counter,
        "20 ms frames that a peer that does not read was not sent.",
        |s| s.metrics.pcm.unsent.value(),
    ),
    (
        "pcm_barge_ins_total",
        Kind::Counter,
        "Times that a caller's speech cut an agent off.",
        |s| s.metrics.pcm.barge_ins.value(),
    ),
    (
        "media_ports",
        Kind::Gauge,
        "Trunk media ports in use now.",
        |s| s.metrics.media_ports.value(),
    ),
    (
        "slab_entries",
        Kind::Gauge,
        "Occupied entries over all slabs.",
        |s| s.metrics.slab_entries.value(),
    ),
    ("calls_total", Kind::Counter, "Calls created.", |s| {
        s.metrics.calls_total.value()
    }),
    (
        "sessions_total",
        Kind::Counter,
        "Signalling sessions opened.",
        |s| s.metrics.sessions_total.value(),
    ),
    (
        "sessions_resumed_total",
        Kind::Counter,
        "Sessions that got another socket.",
        |s| s.metrics.sessions_resumed.value(),
    ),
    (
        "webrtc_packets_received_total",
        Kind::Counter,
        "Datagrams received on the WebRTC port.",
        |s| s.metrics.webrtc_packets_received.value(),
    ),
    (
        "webrtc_packets_sent_total",
        Kind::Counter,
        "Datagrams sent from the WebRTC port.",
        |s| s.metrics.webrtc_packets_sent.value(),
    ),
    (
        "trunk_packets_received_total",
        Kind::Counter,
        "Datagrams received on trunk ports.",
        |s| s.metrics.trunk_packets_received.value(),
    ),
    (
        "trunk_packets_sent_total",
        Kind::Counter,
        "Datagrams sent from trunk ports.",
        |s| s.metrics.trunk_packets_sent.value(),
    ),
    (
        "packets_transcoded_total",
        Kind::Counter,
        "Packets decoded and encoded again.",
        |s| s.metrics.packets_transcoded.value(),
    ),
    (
        "packets_silent_total",
        Kind::Counter,
        "Packets of silence, for which Opus did not have to encode.",
        |s| s.metrics.packets_silent.value(),
    ),
    (
        "packets_passed_through_total",
        Kind::Counter,
        "Packets forwarded without decoding.",
        |s| s.metrics.packets_passed_through.value(),
    ),
    (
        "frames_concealed_total",
        Kind::Counter,
        "20 ms frames concealed.",
        |s| s.metrics.frames_concealed.value(),
    ),
    (
        "frames_recovered_fec_total",
        Kind::Counter,
        "Frames recovered by in-band FEC.",
        |s| s.metrics.frames_recovered_fec.value(),
    ),
    (
        "cpu_scarce",
        Kind::Gauge,
        "1 while the media task hardly rests and Opus is encoded at complexity 0.",
        |s| s.metrics.cpu_scarce.value(),
    ),
    (
        "admission_closed",
        Kind::Gauge,
        "1 while the shard takes no new call because it is too busy, or its ticks too late.",
        |s| s.metrics.admission_closed.value(),
    ),
    (
        "wakeups_total",
        Kind::Counter,
        "Wake-ups of the media task.",
        |s| s.metrics.wakeups.value(),
    ),
    (
        "oversleeps_total",
        Kind::Counter,
        "Times that the executor slept past its timers and was woken.",
        |s| s.metrics.oversleeps.value(),
    ),
    (
        "hand_offs_sent_total",
        Kind::Counter,
        "Connections given to another shard.",
        |s| s.metrics.hand_offs_sent.value(),
    ),
    (
        "hand_offs_received_total",
        Kind::Counter,
        "Connections taken from another shard.",
        |s| s.metrics.hand_offs_received.value(),
    ),
    (
        "control_ring_depth",
        Kind::Gauge,
        "Messages that wait in the ring to the control thread.",
        |s| s.metrics.control_ring_depth.value(),
    ),
    (
        "ring_full_total",
        Kind::Counter,
        "Messages of the shard that did not fit into a ring.",
        |s| s.metrics.ring_full.value(),
    ),
    (
        "panics_total",
        Kind::Counter,
        "Panics that were caught in a task or a call.",
        |s| s.metrics.panics.value(),
    ),
    (
        "to_shard_waiting",
        Kind::Gauge,
        "Messages that wait for room in the ring to the shard.",
        |s| s.link.waiting.value(),
    ),
    (
        "to_shard_ring_full_total",
        Kind::Counter,
        "Times that the ring to the shard had no room.",
        |s| s.link.ring_full.value(),
    ),
    (
        "to_shard_lost_total",
        Kind::Counter,
        "Messages to the shard that were lost.",
        |s| s.link.lost.value(),
    ),
];

/// The metrics as text.
pub fn render(sources: &Sources<'_>) -> String {
    let mut page = Page::default();
    render_shards(&mut page, sources.shards);
    render_control(&mut page, sources);
    render_process(&mut page, sources);
    page.text
}

fn render_shards(page: &mut Page, shards: &[ShardSource<'_>]) {
    for (name, kind, help, value) in SHARD_FIGURES {
        page.family(name, *kind, help);
        for (index, shard) in shards.iter().enumerate() {
            page.sample(name, &[("shard", &index)], value(shard));
        }
    }
    let name = "busy_seconds_total";
    page.family(name, Kind::Counter, "Time in which the media task worked.");
    for (index, shard) in shards.iter().enumerate() {
        let seconds = shard.metrics.busy_ns.value() as f64 / 1e9;
        page.sample(name, &[("shard", &index)], seconds);
    }
    let name = "busy_ratio";
    page.family(
        name,
        Kind::Gauge,
        "Share of its core that the shard's thread uses, over about a second; 0 to 1.",
    );
    for (index, shard) in shards.iter().enumerate() {
        let share = shard.metrics.busy_ppm.value() as f64 / 1e6;
        page.sample(name, &[("shard", &index)], share);
    }
    let name = "tick_late_seconds";
    page.family(
        name,
        Kind::Gauge,
        "How late the media ticks are: the median of ten looks in about a second.",
    );
    for (index, shard) in shards.iter().enumerate() {
        let seconds = shard.metrics.tick_late_us.value() as f64 / 1e6;
        page.sample(name, &[("shard", &index)], seconds);
    }
    let name = "calls_refused_by_load_total";
    page.family(
        name,
        Kind::Counter,
        "Calls, and pages that want one, refused because the shard is too busy or too late, by where.",
    );
    for (index, shard) in shards.iter().enumerate() {
        for at in LoadRefusal::ALL {
            let labels: [Label<'_>; 2] = [("shard", &index), ("at", &at.as_str())];
            let count = shard.metrics.load_refusals.at(*at as usize).value();
            page.sample(name, &labels, count);
        }
    }
    let name = "packets_dropped_total";
    page.family(
        name,
        Kind::Counter,
        "Datagrams that went no further, by reason.",
    );
    for (index, shard) in shards.iter().enumerate() {
        for reason in DropReason::ALL {
            let labels: [Label<'_>; 2] = [("shard", &index), ("reason", &reason.as_str())];
            let count = shard.metrics.drops.at(*reason as usize).value();
            page.sample(name, &labels, count);
        }
    }
    for (name, help, counters) in PCM_FAMILIES {
        page.family(name, Kind::Counter, help);
        for (index, shard) in shards.iter().enumerate() {
            for (direction, count) in ["received", "sent"].iter().zip(counters(shard.metrics)) {
                let labels: [Label<'_>; 2] = [("shard", &index), ("direction", direction)];
                page.sample(name, &labels, count);
            }
        }
    }
    let name = "pcm_messages_total";
    page.family(
        name,
        Kind::Counter,
        "Messages of WebSockets of audio, by what their dialects count them as.",
    );
    for (index, shard) in shards.iter().enumerate() {
        for kind in PcmMessage::ALL {
            let labels: [Label<'_>; 2] = [("shard", &index), ("kind", &kind.as_str())];
            let count = shard.metrics.pcm.messages.at(*kind as usize).value();
            page.sample(name, &labels, count);
        }
    }
    let name = "pcm_violations_total";
    page.family(
        name,
        Kind::Counter,
        "Broken rules for which a WebSocket of audio was closed, by fault and kind.",
    );
    for (index, shard) in shards.iter().enumerate() {
        for (fault, counts) in Fault::ALL.iter().zip(&shard.metrics.pcm_violations) {
            for kind in ViolationKind::ALL {
                let labels: [Label<'_>; 3] = [
                    ("shard", &index),
                    ("fault", &fault.as_str()),
                    ("kind", &kind.as_str()),
                ];
                page.sample(name, &labels, counts.at(*kind as usize).value());
            }
        }
    }
    let name = "connections_refused_total";
    page.family(
        name,
        Kind::Counter,
        "Connections closed before they became sessions, by reason.",
    );
    for (index, shard) in shards.iter().enumerate() {
        for reason in ConnectionRefusal::ALL {
            let labels: [Label<'_>; 2] = [("shard", &index), ("reason", &reason.as_str())];
            let count = shard.metrics.refusals.at(*reason as usize).value();
            page.sample(name, &labels, count);
        }
    }
}

/// What became of audio on WebSockets, first of what came from them, then of what went to them.
type PcmFamily = (&'static str, &'static str, fn(&ShardMetrics) -> [u64; 2]);

const PCM_FAMILIES: [PcmFamily; 4] = [
    (
        "pcm_frames_total",
        "20 ms frames of WebSockets of audio that went on whole.",
        |metrics| {
            [
                metrics.pcm.frames_received.value(),
                metrics.pcm.frames_sent.value(),
            ]
        },
    ),
    (
        "pcm_frames_concealed_total",
        "20 ms frames of WebSockets of audio that were made up because nothing came in time.",
        |metrics| {
            let pcm = &metrics.pcm;
            [pcm.concealed_received.value(), pcm.concealed_sent.value()]
        },
    ),
    (
        "pcm_frames_crossfaded_total",
        "20 ms frames of WebSockets of audio that went on blended with what was made up before them, because something is missing there.",
        |metrics| {
            let pcm = &metrics.pcm;
            [pcm.crossfaded_received.value(), pcm.crossfaded_sent.value()]
        },
    ),
    (
        "pcm_frames_dropped_total",
        "20 ms frames of WebSockets of audio that were dropped: too much at once, too late, or to end a delay.",
        |metrics| {
            [
                metrics.pcm.dropped_received.value(),
                metrics.pcm.dropped_sent.value(),
            ]
        },
    ),
];

fn render_control(page: &mut Page, sources: &Sources<'_>) {
    let control = sources.control;
    page.figure(
        "desk_calls",
        Kind::Gauge,
        "Calls that the desk mirrors now, those without CREATE yet included.",
        control.live_calls,
    );
    page.figure(
        "desk_used_tokens",
        Kind::Gauge,
        "Used tokens that are remembered until they expire.",
        control.used_tokens,
    );
    let name = "desk_refusals_total";
    page.family(
        name,
        Kind::Counter,
        "Questions that the desk answered with no, by reason.",
    );
    for (reason, count) in &control.refusals {
        page.sample(name, &[("reason", reason)], count);
    }
    let name = "events_total";
    page.family(name, Kind::Counter, "CallEvents told, by type.");
    for (event_type, count) in &control.events {
        page.sample(name, &[("event_type", event_type)], count);
    }
    page.figure(
        "events_missing_total",
        Kind::Counter,
        "Breaches of exactly one CREATE and one HANGUP_COMPLETE per call.",
        control.events_missing,
    );
    let name = "reloads_total";
    page.family(
        name,
        Kind::Counter,
        "Reloads of the configuration, by result.",
    );
    for (result, count) in &control.reloads {
        page.sample(name, &[("result", result)], count);
    }
    page.figure(
        "event_subscribers",
        Kind::Gauge,
        "Readers of the event stream now.",
        control.event_subscribers,
    );
    page.figure(
        "event_subscribers_closed_total",
        Kind::Counter,
        "Readers of the event stream that were closed because they did not keep up.",
        control.subscribers_closed,
    );
    page.figure(
        "call_records",
        Kind::Gauge,
        "Records of ended calls that are kept in memory.",
        control.call_records,
    );
    render_sip(page, control);
    render_outbound(page, control);
    page.figure(
        "admin_connections",
        Kind::Gauge,
        "Open connections to the admin window, this one included.",
        sources.admin_connections,
    );
}

fn render_sip(page: &mut Page, control: &ControlFigures) {
    page.figure(
        "waiting_sessions",
        Kind::Gauge,
        "Browser sessions that can be called now.",
        control.waiting_sessions,
    );
    page.figure(
        "sip_legs",
        Kind::Gauge,
        "SIP legs that live, those that only wait for an answer to their BYE included.",
        control.sip_legs,
    );
    page.figure(
        "sip_transactions",
        Kind::Gauge,
        "SIP transactions that live; each lingers up to 32 s.",
        control.sip_transactions,
    );
    let name = "sip_discarded_total";
    page.family(
        name,
        Kind::Counter,
        "SIP messages and connections that came to nothing, by reason.",
    );
    for (reason, count) in &control.sip_discards {
        page.sample(name, &[("reason", reason)], count);
    }
    let name = "sip_trunk_up";
    page.family(
        name,
        Kind::Gauge,
        "Whether calls may go over a SIP trunk: it answers, is registered, and its circuit breaker is closed.",
    );
    for (trunk_id, is_up) in &control.sip_trunks {
        page.sample(name, &[("trunk_id", trunk_id)], u8::from(*is_up));
    }
}

fn render_outbound(page: &mut Page, control: &ControlFigures) {
    page.figure(
        "outbound_dials",
        Kind::Gauge,
        "WebSockets to AI agents and vendors that are dialled now.",
        control.outbound_dials,
    );
    let name = "outbound_dials_total";
    page.family(
        name,
        Kind::Counter,
        "WebSockets to AI agents and vendors that were dialled, by outcome.",
    );
    for (outcome, count) in &control.outbound_dial_outcomes {
        page.sample(name, &[("outcome", outcome)], count);
    }
    let name = "agent_up";
    page.family(
        name,
        Kind::Gauge,
        "Whether the AI agent of a trunk is dialled: its circuit breaker is closed.",
    );
    for (trunk_id, is_up) in &control.agents {
        page.sample(name, &[("trunk_id", trunk_id)], u8::from(*is_up));
    }
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

#[derive(Debug, Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

/// A label's name and value; values are numbers or words of ours, so that nothing needs escaping.
type Label<'a> = (&'static str, &'a dyn Display);

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        self.line(format_args!("# HELP clutchcall_{name} {help}"));
        self.line(format_args!("# TYPE clutchcall_{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        let mut braces = String::new();
        for (index, (label, label_value)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            let written = write!(braces, "{opening}{label}=\"{label_value}\"");
            debug_assert!(written.is_ok(), "a String takes everything");
        }
        if !labels.is_empty() {
            braces.push('}');
        }
        self.line(format_args!("clutchcall_{name}{braces} {value}"));
    }

    /// A family of one sample without labels.
    fn figure(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let written = self.text.write_fmt(line);
        debug_assert!(written.is_ok(), "a String takes everything");
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests;
