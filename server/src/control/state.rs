//! What the control thread knows: desk, trunk signalling, events and records behind one entry.
//!
//! Pure: ring messages and time come in, ring messages come out of [`ControlState::poll_message`]. It guards the rule of
//! exactly one CREATE and one HANGUP_COMPLETE per call: what breaks it is counted and not told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shards::ShardIndex;

use super::archive::Archive;
use super::desk::{Desk, LiveCall};
use super::events::EventFanOut;
use super::reload::ReloadResult;
use super::signalling::Signalling;
use crate::call::q850::Q850Cause;
use crate::call::rings::{Question, ToControl, ToShard};
use crate::call::{CallEvent, CallRecord};
use crate::config::GatewayConfig;
use crate::fault::{Fault, Refusal};
use crate::id::{CallSid, TenantId, UnixMillis};
use crate::settings::Settings;

/// Now, on the two clocks that calls are measured by.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For rates and deadlines.
    pub instant: Instant,
    /// For events, records and token expiry.
    pub unix: UnixMillis,
}

/// The control thread without its rings, clock and sockets.
#[derive(Debug)]
pub struct ControlState {
    desk: Desk,
    signalling: Signalling,
    events: EventFanOut,
    archive: Archive,
    /// At most a few messages per handled one; the caller polls until it is empty.
    outbox: VecDeque<(ShardIndex, ToShard)>,
    events_missing: u64,
    shards: u16,
    drain_timeout: Duration,
    reloads: [u64; ReloadResult::ALL.len()],
}

/// A call that is not live here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no live call {0}")]
pub struct NoSuchCall(pub CallSid);

impl ControlState {
    /// The state at start, of a gateway with so many shards.
    pub fn new(config: &GatewayConfig, shards: u16) -> Self {
        Self {
            desk: Desk::new(config),
            signalling: Signalling::new(config),
            events: EventFanOut::default(),
            archive: Archive::default(),
            outbox: VecDeque::new(),
            events_missing: 0,
            shards,
            drain_timeout: drain_timeout(config),
            reloads: [0; ReloadResult::ALL.len()],
        }
    }

    /// Takes new tenants, limits and trunks, and has the shards take them; live calls go on.
    pub fn reload(&mut self, settings: &Arc<Settings>) {
        let config = &settings.config;
        self.desk.reconfigure(config);
        self.signalling.reconfigure(config);
        self.drain_timeout = drain_timeout(config);
        for shard in (0..self.shards).map(ShardIndex) {
            let message = ToShard::Reload(Arc::clone(settings));
            self.outbox.push_back((shard, message));
        }
    }

    /// Counts how a reload ended.
    pub fn count_reload(&mut self, result: ReloadResult) {
        self.reloads[result as usize] += 1;
    }

    /// How often reloads ended how.
    pub fn reloads(&self) -> impl Iterator<Item = (ReloadResult, u64)> + '_ {
        ReloadResult::ALL.into_iter().zip(self.reloads)
    }

    /// How long running calls may go on after SIGTERM.
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// Takes one message of `shard`'s ring.
    pub fn handle_message(&mut self, now: Now, shard: ShardIndex, message: ToControl) {
        match message {
            ToControl::Ask(ask_id, question) => {
                let answer = self.answer(now, &question);
                self.outbox
                    .push_back((shard, ToShard::Answer(ask_id, answer)));
            }
            ToControl::Event(event) => self.handle_event(&event),
            ToControl::Ended(record) => self.handle_end(Arc::from(record)),
            ToControl::Release(call_sid) => self.handle_release(now, call_sid),
            ToControl::TrunkDial(dial) => self.signalling.handle_dial(&dial),
            // Neither an echo nor a fixed RTP peer has anybody to tell.
            ToControl::TrunkHangup { .. }
            | ToControl::TrunkHold { .. }
            | ToControl::TrunkAccept { .. }
            | ToControl::TrunkDigits { .. } => {}
            // Nobody calls yet.
            ToControl::Waiting(_) | ToControl::NotWaiting(_) => {}
        }
        while let Some((call_sid, progress)) = self.signalling.poll_progress() {
            let message = ToShard::Trunk(call_sid, progress);
            self.outbox.push_back((call_sid.shard(), message));
        }
    }

    /// Tells the ends that a dead shard can't tell any more. Returns how many calls it had.
    pub fn handle_shard_death(&mut self, now: Now, shard: ShardIndex) -> usize {
        let lost = self.desk.shard_died(shard);
        for call in &lost {
            tracing::error!(
                call_sid = %call.call_sid, tenant_id = %call.tenant_id, shard = shard.0,
                "the call ended with its shard"
            );
            self.tell_untold(now, call, "the shard of this call ended before it");
        }
        lost.len()
    }

    /// Refuses every new call from now on.
    pub fn begin_drain(&mut self) {
        self.desk.begin_drain();
    }

    /// Has its shard end one live call, for an operator. A repetition says nothing to the shard.
    ///
    /// # Errors
    /// The call is not live.
    pub fn end_call(
        &mut self,
        call_sid: CallSid,
        cause: Q850Cause,
        fault: Fault,
    ) -> Result<(), NoSuchCall> {
        let first = self
            .desk
            .mark_ending(call_sid)
            .ok_or(NoSuchCall(call_sid))?;
        if first {
            let tenant_id = self
                .desk
                .live_call(call_sid)
                .map(|call| call.tenant_id.as_str());
            tracing::info!(%call_sid, tenant_id, shard = call_sid.shard().0, cause = cause.0, "ended by operator");
            let message = ToShard::EndCall {
                call_sid,
                cause,
                fault,
            };
            self.outbox.push_back((call_sid.shard(), message));
        }
        Ok(())
    }

    /// Has the shards end all live calls with cause 41.
    pub fn end_all_calls(&mut self) {
        for call in self.desk.live_calls() {
            let message = ToShard::EndCall {
                call_sid: call.call_sid,
                cause: Q850Cause::TEMPORARY_FAILURE,
                fault: Fault::Us,
            };
            self.outbox.push_back((ShardIndex(call.shard), message));
        }
    }

    /// Has a shard panic on purpose.
    #[cfg(debug_assertions)]
    pub fn inject(&mut self, shard: ShardIndex, order: crate::injection::PanicOrder) {
        self.outbox.push_back((shard, ToShard::Panic(order)));
    }

    /// The next message to a shard.
    pub fn poll_message(&mut self) -> Option<(ShardIndex, ToShard)> {
        self.outbox.pop_front()
    }

    /// Tokens, slots and live calls.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The subscribers of events.
    pub fn events(&mut self) -> &mut EventFanOut {
        &mut self.events
    }

    /// The records of ended calls.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Breaches of exactly one CREATE and one HANGUP_COMPLETE per call.
    pub fn events_missing(&self) -> u64 {
        self.events_missing
    }

    fn answer(&mut self, now: Now, question: &Question) -> Result<(), Refusal> {
        match question {
            Question::UseToken {
                tenant_id,
                token,
                expires_unix_s,
            } => {
                let now_unix_s = u64::try_from(now.unix.0 / 1000).unwrap_or(0);
                self.desk
                    .use_token(now_unix_s, tenant_id, token, *expires_unix_s)
            }
            Question::OpenCall {
                call_sid,
                tenant_id,
                trunk_id,
            } => self
                .desk
                .open_call(now.instant, *call_sid, tenant_id, trunk_id),
        }
    }

    fn handle_event(&mut self, event: &CallEvent) {
        match self.desk.handle_event(event) {
            Ok(()) => self.events.tell(event),
            Err(breach) => self.count_breach(event.call_sid, &event.tenant_id, &breach.to_string()),
        }
    }

    fn handle_end(&mut self, record: Arc<CallRecord>) {
        let CallEvent {
            call_sid,
            tenant_id,
            ..
        } = &record.event;
        match self.desk.close_call(*call_sid) {
            None => {
                self.count_breach(*call_sid, tenant_id, "an end of a call that is not live");
                return;
            }
            Some(call) if !call.was_created() => {
                self.count_breach(*call_sid, tenant_id, "an end without CHANNEL_CREATE");
            }
            Some(_) => {}
        }
        self.tell_end(record);
    }

    fn handle_release(&mut self, now: Now, call_sid: CallSid) {
        // Nothing to give back is no breach: a refused call may be released too.
        if let Some(call) = self.desk.close_call(call_sid)
            && call.was_created()
        {
            self.count_breach(call_sid, &call.tenant_id, "released without its end");
            self.tell_untold(
                now,
                &call,
                "the shard of this call let it go without an end",
            );
        }
    }

    fn tell_untold(&mut self, now: Now, call: &LiveCall, reason: &str) {
        if call.was_created() {
            self.tell_end(Arc::new(call.end_untold(now.unix, reason)));
        }
    }

    fn tell_end(&mut self, record: Arc<CallRecord>) {
        self.events.tell(&record.event);
        self.archive.keep(record);
    }

    fn count_breach(&mut self, call_sid: CallSid, tenant_id: &TenantId, what: &str) {
        self.events_missing += 1;
        tracing::error!(
            %call_sid, %tenant_id, shard = call_sid.shard().0, what,
            "the events of a call are not in order"
        );
    }
}

fn drain_timeout(config: &GatewayConfig) -> Duration {
    Duration::from_secs(config.server.drain_timeout_s.into())
}

#[cfg(test)]
mod tests;
