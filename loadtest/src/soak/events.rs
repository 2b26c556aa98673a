//! What `/v1/events` told of a cycle's calls, held against the rule: exactly one CREATE first, exactly one end last.

use std::collections::BTreeMap;

use server::call::{CallEvent, EventType};

/// The causes by which the gateway itself ends a call: a drain, a panic, a dead shard.
const ENDED_BY_US: i32 = 41;

/// The calls of one cycle.
#[derive(Debug, Clone, Default)]
pub struct Endings {
    /// Calls that had a CREATE.
    pub calls: usize,
    /// Of these, how many the gateway ended itself (cause 41).
    pub ended_by_us: usize,
    /// Of these, how many had no end.
    pub without_end: usize,
    disorder: Vec<String>,
    unheard: Vec<String>,
}

impl Endings {
    /// Counts `events`; `answered` are the calls that callers know of.
    pub(super) fn of(events: &[CallEvent], answered: &[String]) -> Self {
        let mut by_call: BTreeMap<&str, Vec<&CallEvent>> = BTreeMap::new();
        for event in events {
            by_call
                .entry(event.call_sid.as_str())
                .or_default()
                .push(event);
        }
        let mut endings = Self::default();
        for (call_sid, told) in &by_call {
            let count = |wanted| {
                told.iter()
                    .filter(|event| event.event_type == wanted)
                    .count()
            };
            let (creates, ends) = (
                count(EventType::ChannelCreate),
                count(EventType::ChannelHangupComplete),
            );
            let last = told.last().map(|event| event.event_type);
            let first = told.first().map(|event| event.event_type);
            endings.calls += 1;
            endings.without_end += usize::from(ends == 0);
            let by_us = told.iter().any(|event| {
                event.event_type == EventType::ChannelHangupComplete
                    && event.q850_cause == ENDED_BY_US
            });
            endings.ended_by_us += usize::from(by_us);
            let in_order = creates == 1
                && first == Some(EventType::ChannelCreate)
                && (ends == 0 || (ends == 1 && last == Some(EventType::ChannelHangupComplete)));
            if !in_order {
                let types: Vec<_> = told.iter().map(|event| event.event_type).collect();
                endings.disorder.push(format!("{call_sid}: {types:?}"));
            }
        }
        endings.unheard = answered
            .iter()
            .filter(|call_sid| !by_call.contains_key(call_sid.as_str()))
            .cloned()
            .collect();
        endings
    }

    /// What breaks the rule; `all_told` when the process had the time to tell everything.
    pub(super) fn breaches(&self, all_told: bool) -> Vec<String> {
        let mut breaches = self.disorder.clone();
        if all_told {
            if self.without_end > 0 {
                breaches.push(format!("{} calls without an end", self.without_end));
            }
            if !self.unheard.is_empty() {
                let names = self.unheard.join(", ");
                breaches.push(format!("answered calls without any event: {names}"));
            }
        }
        breaches
    }
}
