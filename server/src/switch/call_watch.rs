//! What is looked at once a second while a call lives: media that does not come, how the paths to both ends are, figures
//! for the caller and the metrics.

use std::time::{Duration, Instant};

use codecs::opus::Conditions;

use super::calls::{Call, HangUp};
use super::mailbox::SessionEvent;
use super::pcm_sockets::count_pcm;
use super::{CallKey, Switch};
use crate::bridge::DirectionStatistics;
use crate::call::q850::Q850Cause;
use crate::fault::Fault;
use crate::id::LegId;
use crate::metrics::{DropReason, ShardMetrics};

impl Switch {
    /// The look itself. Whether media is missing is [`Switch::missing_media`]'s, because it may end the call.
    pub(super) fn watch(&mut self, now: Instant, key: CallKey) {
        self.adapt(now, key);
        self.tell_untold(key);
        self.tell_statistics(key);
        if let Some(call) = self.calls.get_mut(key.0) {
            count_bridge(&self.metrics, call);
        }
        for pcm in self.pcm_of_call(key).into_iter().flatten() {
            if let Some(socket) = self.pcm.get_mut(pcm) {
                count_pcm(&self.metrics, socket);
            }
        }
    }

    /// `no_media_timeout_s`, by leg; a leg that is on hold or does not send is not asked, and before the answer none.
    pub(super) fn missing_media(&self, now: Instant, key: CallKey) -> Option<HangUp> {
        let call = self.calls.get(key.0)?;
        let limit = Duration::from_secs(call.trunk.config.no_media_timeout_s.into());
        if limit.is_zero() || call.machine.answered().is_none() || call.machine.is_on_hold() {
            return None;
        }
        let flows_since = call.flows_since?;
        let silent = |last: Instant| now.saturating_duration_since(last.max(flows_since)) >= limit;
        let peer = self
            .session_of(&call.vendor)
            .and_then(|session| session.peer.as_ref());
        // Whom we dialled, an agent or Vapi, may keep silent. Who called us over a WebSocket sends all the time.
        let pcm = self.session_of(&call.vendor);
        let pcm = pcm.filter(|session| session.dials.is_none());
        let pcm = pcm.and_then(|session| self.pcm.get(session.pcm?));
        let vendor_silent = peer.is_some_and(|peer| {
            peer.direction().receives() && silent(peer.last_media_at().unwrap_or(flows_since))
        }) || pcm.is_some_and(|socket| silent(socket.last_heard()));
        let (leg, fault) = if vendor_silent {
            ("vendor", Fault::Caller)
        } else if call.trunk.last_media_at().is_some_and(silent) {
            ("trunk", Fault::Trunk)
        } else {
            return None;
        };
        let text = format!("no media from the {leg} leg for {} s", limit.as_secs());
        Some(HangUp::new(Q850Cause::TIMER_EXPIRY, fault, text))
    }

    /// Our Opus encoders follow the paths to their listeners, and the CPU.
    pub(super) fn adapt(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get(key.0) else {
            return;
        };
        let peer = self
            .session_of(&call.vendor)
            .and_then(|session| session.peer.as_ref());
        let limits = self.settings.config.webrtc.opus;
        let cpu_is_scarce = self.cpu_pressure.is_scarce();
        let to_vendor = peer.map(|peer| Conditions {
            available_bps: peer.available_bitrate_bps(),
            loss_fraction: peer.remote_loss(now),
            cpu_is_scarce,
        });
        // What is encoded for an echo comes back untouched: the caller is its listener.
        let to_trunk = call
            .trunk
            .remote_loss(now)
            .map_or(to_vendor, |loss_fraction| {
                Some(Conditions {
                    available_bps: u32::MAX,
                    loss_fraction,
                    cpu_is_scarce,
                })
            });
        let Some(bridge) = self
            .calls
            .get_mut(key.0)
            .and_then(|call| call.bridge.as_mut())
        else {
            return;
        };
        for (leg, conditions) in [(LegId::VENDOR, to_vendor), (LegId::TRUNK, to_trunk)] {
            if let (Some(route), Some(conditions)) = (bridge.route_towards_mut(leg), conditions) {
                route.direction.adapt(&limits, &conditions);
            }
        }
    }

    fn tell_statistics(&self, key: CallKey) {
        let Some(call) = self
            .calls
            .get(key.0)
            .filter(|call| call.checks.is_multiple_of(2))
        else {
            return;
        };
        if let Some(stats) = self.call_stats(key) {
            self.tell(
                call.vendor.session(),
                SessionEvent::Statistics(Box::new(stats)),
            );
        }
    }
}

/// Adds what the call's bridge did since the last count to the shard's counters.
pub(super) fn count_bridge(metrics: &ShardMetrics, call: &mut Call) {
    let Some(bridge) = &call.bridge else { return };
    for (index, route) in bridge.routes().enumerate() {
        let now = route.direction.statistics();
        let before = call.counted.get(index).copied().unwrap_or_default();
        count_growth(metrics, &before, &now);
        match call.counted.get_mut(index) {
            Some(counted) => *counted = now,
            None => call.counted.push(now),
        }
    }
}

fn count_growth(metrics: &ShardMetrics, before: &DirectionStatistics, now: &DirectionStatistics) {
    let growth = |count: fn(&DirectionStatistics) -> u64| count(now).saturating_sub(count(before));
    metrics.packets_transcoded.add(growth(|of| of.transcoded));
    metrics.packets_silent.add(growth(|of| of.silent));
    metrics.packets_passed_through.add(growth(|of| of.passed));
    metrics.frames_concealed.add(growth(|of| of.concealed));
    metrics
        .frames_recovered_fec
        .add(growth(|of| of.fec_recovered));
    let drops = [
        (DropReason::Late, growth(|of| of.late)),
        (DropReason::Duplicate, growth(|of| of.duplicates)),
        (DropReason::OnHold, growth(|of| of.held)),
        (DropReason::CodecError, growth(|of| of.codec_errors)),
        (
            DropReason::RtpPayloadType,
            growth(|of| of.unknown_payload_type),
        ),
        (DropReason::Oversized, growth(|of| of.oversized)),
    ];
    for (reason, count) in drops {
        metrics.drops.at(reason as usize).add(count);
    }
}
