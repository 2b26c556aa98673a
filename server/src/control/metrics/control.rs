//! What the control thread counts: the desk, events, SIP, who is dialled.

use super::page::{Kind, Page};
use super::{ControlFigures, Sources};

pub(super) fn render_control(page: &mut Page, sources: &Sources<'_>) {
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
    page.by_label(
        "desk_refusals_total",
        Kind::Counter,
        "Questions that the desk answered with no, by reason.",
        "reason",
        pairs(&control.refusals),
    );
    page.by_label(
        "events_total",
        Kind::Counter,
        "CallEvents told, by type.",
        "event_type",
        pairs(&control.events),
    );
    page.figure(
        "events_missing_total",
        Kind::Counter,
        "Breaches of exactly one CREATE and one HANGUP_COMPLETE per call.",
        control.events_missing,
    );
    page.by_label(
        "reloads_total",
        Kind::Counter,
        "Reloads of the configuration, by result.",
        "result",
        pairs(&control.reloads),
    );
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
    page.by_label(
        "sip_discarded_total",
        Kind::Counter,
        "SIP messages and connections that came to nothing, by reason.",
        "reason",
        pairs(&control.sip_discards),
    );
    page.by_label("sip_trunk_up", Kind::Gauge, "Whether calls may go over a SIP trunk: it answers, is registered, and its circuit breaker is closed.", "trunk_id", control.sip_trunks.iter().map(|(trunk_id, is_up)| (trunk_id, u8::from(*is_up))));
}

fn render_outbound(page: &mut Page, control: &ControlFigures) {
    page.figure(
        "outbound_dials",
        Kind::Gauge,
        "WebSockets to AI agents and vendors that are dialled now.",
        control.outbound_dials,
    );
    page.by_label(
        "outbound_dials_total",
        Kind::Counter,
        "WebSockets to AI agents and vendors that were dialled, by outcome.",
        "outcome",
        pairs(&control.outbound_dial_outcomes),
    );
    page.by_label(
        "agent_up",
        Kind::Gauge,
        "Whether the AI agent of a trunk is dialled: its circuit breaker is closed.",
        "trunk_id",
        control
            .agents
            .iter()
            .map(|(trunk_id, is_up)| (trunk_id, u8::from(*is_up))),
    );
}

fn pairs<'a>(counts: &'a [(&'static str, u64)]) -> impl Iterator<Item = (&'a str, u64)> {
    counts.iter().copied()
}
