//! What the control thread knows: desk, trunk signalling, events and records behind one entry.
//!
//! Pure: ring messages and time come in, ring messages come out of [`ControlState::poll_message`]. It guards the rule of
//! exactly one CREATE and one HANGUP_COMPLETE per call: what breaks it is counted and not told.

mod errands;
mod incoming_calls;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shards::ShardIndex;

use super::archive::Archive;
use super::desk::{Desk, LiveCall};
use super::events::EventFanOut;
use super::incoming::Announcements;
use super::outbound::DialOutcome;
use super::reload::ReloadResult;
use super::signalling::{DialOrder, Dialled, Resolve, Signalling, SignallingNews};
use super::sip_transport::Discard;
use super::waiting::WaitingSessions;
use crate::call::q850::Q850Cause;
use crate::call::rings::{Question, ToControl, ToShard};
use crate::call::{CallEvent, CallRecord};
use crate::config::{GatewayConfig, SipTransport};
use crate::fault::{Fault, Refusal};
use crate::id::{CallSid, TenantId, TrunkId, UnixMillis};
use crate::settings::Settings;
use crate::trunk::sip::agent::{Received, TransferTarget};
use crate::trunk::sip::flow::Transmit;
use crate::trunk::sip::tokens::Tokens;
use crate::trunk::sip::trunk_line::{Target, TrunkHealth};

pub use errands::{Errand, IncomingWebhook};

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
    config: Arc<GatewayConfig>,
    /// The certificate that a reload brought.
    tls: Option<Arc<rustls::ServerConfig>>,
    announcements: Announcements,
    waiting: WaitingSessions,
    /// Names of incoming calls.
    call_names: Tokens,
    resolves: VecDeque<Resolve>,
    sip_discards: Vec<(Discard, u64)>,
    errands: VecDeque<Errand>,
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
    /// The state at start, of a gateway with so many shards. `seed` is random.
    pub fn new(now: Now, config: &Arc<GatewayConfig>, shards: u16, seed: [u8; 32]) -> Self {
        let mut call_names = Tokens::new(seed);
        Self {
            desk: Desk::new(config),
            signalling: Signalling::new(now.instant, config, call_names.bytes()),
            config: Arc::clone(config),
            tls: None,
            announcements: Announcements::read(config),
            waiting: WaitingSessions::default(),
            call_names,
            resolves: VecDeque::new(),
            sip_discards: Discard::ALL.map(|reason| (reason, 0)).into(),
            errands: VecDeque::new(),
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
    pub fn reload(&mut self, now: Now, settings: &Arc<Settings>) {
        let config = &settings.config;
        self.desk.reconfigure(config);
        self.signalling.reconfigure(now.instant, config);
        self.announcements = Announcements::read(config);
        self.config = Arc::clone(config);
        self.tls = Some(Arc::clone(&settings.tls));
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
            ToControl::Ended(record) => {
                self.signalling.handle_over(record.event.call_sid);
                self.handle_end(Arc::from(record));
            }
            ToControl::Release(call_sid) => {
                self.signalling.handle_over(call_sid);
                self.handle_release(now, call_sid);
            }
            ToControl::TrunkDial(dial) => self.signalling.handle_dial(now.instant, &dial),
            ToControl::TrunkHangup { call_sid, cause } => {
                self.signalling.handle_hang_up(now.instant, call_sid, cause);
            }
            ToControl::TrunkHold { call_sid, hold } => {
                self.signalling.handle_hold(now.instant, call_sid, hold);
            }
            ToControl::TrunkAccept {
                call_sid,
                local_rtp,
                early,
            } => self
                .signalling
                .handle_accept(now.instant, call_sid, local_rtp, early),
            ToControl::TrunkDigits {
                call_sid,
                digits,
                duration_ms,
            } => self
                .signalling
                .handle_digits(now.instant, call_sid, &digits, duration_ms),
            ToControl::VendorDial(dial) => self.signalling.handle_vendor_dial(*dial),
            ToControl::TwilioHangUp {
                tenant_id,
                vendor_call,
            } => self.hang_up_at_twilio(&tenant_id, vendor_call),
            ToControl::VapiHangUp(call_sid, vapi) => self.hang_up_at_vapi(call_sid, *vapi),
            ToControl::Waiting(session) => self.waiting.add(*session),
            ToControl::NotWaiting(session) => self.waiting.remove(session),
        }
        self.settle(now);
    }

    /// The listening address of some SIP trunks could not be opened, or is open now.
    pub fn handle_listen(
        &mut self,
        now: Now,
        transport: SipTransport,
        listen: SocketAddr,
        error: Option<&str>,
    ) {
        self.signalling
            .handle_listen(now.instant, transport, listen, error);
        self.settle(now);
    }

    /// A SIP message came.
    pub fn handle_sip_message(&mut self, now: Now, received: &Received<'_>) {
        self.signalling.handle_sip_message(now.instant, received);
        self.settle(now);
    }

    /// The addresses of a SIP trunk, or why there are none.
    pub fn handle_resolved(
        &mut self,
        now: Now,
        trunk_id: &TrunkId,
        found: Result<Vec<Target>, String>,
    ) {
        self.signalling
            .handle_resolved(now.instant, trunk_id, found);
        self.settle(now);
    }

    /// What was sent there over a stream did not arrive.
    pub fn handle_unreachable(&mut self, now: Now, remote: SocketAddr) {
        self.signalling.handle_unreachable(now.instant, remote);
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.signalling.handle_timeout(now.instant);
        self.settle(now);
    }

    /// Sends a live call's far end elsewhere, for an operator.
    ///
    /// # Errors
    /// Why it can't be asked.
    pub fn transfer(
        &mut self,
        now: Now,
        call_sid: CallSid,
        to: &TransferTarget,
    ) -> Result<(), String> {
        let asked = self.signalling.handle_transfer(now.instant, call_sid, to);
        self.settle(now);
        asked
    }

    /// The next SIP message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.signalling.poll_transmit()
    }

    /// The next hosts to look up.
    pub fn poll_resolve(&mut self) -> Option<Resolve> {
        self.resolves.pop_front()
    }

    /// The next dial to do, or to give up.
    pub fn poll_dial_order(&mut self) -> Option<DialOrder> {
        self.signalling.poll_dial_order()
    }

    /// What came of a dial.
    pub fn handle_dialled(&mut self, now: Now, dialled: Dialled) {
        if let Err(failure) = &dialled.outcome
            && failure.outcome != DialOutcome::GivenUp
        {
            let (refusal, call_sid) = (&failure.refusal, dialled.key.call_sid);
            tracing::info!(%call_sid, shard = call_sid.shard().0, outcome = failure.outcome.as_str(),
                fault = refusal.fault.as_str(), reason = refusal.message, "nobody could be dialled");
        }
        self.signalling.handle_dialled(now.instant, dialled);
        self.settle(now);
    }

    /// Trunk signalling, to be counted.
    pub fn signalling(&self) -> &Signalling {
        &self.signalling
    }

    /// What the SIP sockets threw away so far, by reason.
    pub fn sip_discards(&self) -> &[(Discard, u64)] {
        &self.sip_discards
    }

    /// Notes what the SIP sockets threw away so far.
    pub fn set_sip_discards(&mut self, discards: impl Iterator<Item = (Discard, u64)>) {
        self.sip_discards.clear();
        self.sip_discards.extend(discards);
    }

    /// The certificate that a reload has brought since it was asked last.
    pub fn take_tls(&mut self) -> Option<Arc<rustls::ServerConfig>> {
        self.tls.take()
    }

    /// The configuration that new calls follow.
    pub fn config(&self) -> &Arc<GatewayConfig> {
        &self.config
    }

    /// Pages that can be called.
    pub fn waiting_session_count(&self) -> usize {
        self.waiting.len()
    }

    /// Follows what came of an input until nothing is left to follow.
    fn settle(&mut self, now: Now) {
        loop {
            if let Some((call_sid, progress)) = self.signalling.poll_progress() {
                let message = ToShard::Trunk(call_sid, progress);
                self.outbox.push_back((call_sid.shard(), message));
                continue;
            }
            match self.signalling.poll_news() {
                Some(SignallingNews::Incoming(invite)) => self.handle_incoming(now, invite),
                Some(SignallingNews::VendorSocket(call_sid, socket)) => {
                    let message = ToShard::VendorSocket(call_sid, socket);
                    self.outbox.push_back((call_sid.shard(), message));
                }
                Some(SignallingNews::VapiLeft(call_sid, vapi)) => {
                    self.hang_up_at_vapi(call_sid, vapi);
                }
                Some(SignallingNews::Resolve(resolve)) => self.resolves.push_back(resolve),
                Some(SignallingNews::Health(trunk_id, health)) => {
                    match &health {
                        TrunkHealth::Up => tracing::info!(%trunk_id, "the trunk is up"),
                        TrunkHealth::Down(reason) => {
                            tracing::warn!(%trunk_id, reason, "the trunk is down");
                        }
                        TrunkHealth::BreakerOpen => {
                            tracing::warn!(%trunk_id, "calls over the trunk keep failing: none is tried for a while");
                        }
                    }
                    self.desk.set_health(trunk_id, health);
                }
                Some(SignallingNews::Transferred(call_sid, outcome)) => {
                    tracing::info!(%call_sid, shard = call_sid.shard().0, ?outcome, "a transfer is over");
                }
                None => break,
            }
        }
    }

    /// Tells the ends that a dead shard can't tell any more. Returns how many calls it had.
    pub fn handle_shard_death(&mut self, now: Now, shard: ShardIndex) -> usize {
        let lost = self.desk.shard_died(shard);
        self.waiting.shard_died(shard);
        for call in &lost {
            tracing::error!(
                call_sid = %call.call_sid, tenant_id = %call.tenant_id, shard = shard.0,
                "the call ended with its shard"
            );
            self.tell_untold(now, call, "the shard of this call ended before it");
            let cause = Q850Cause::TEMPORARY_FAILURE;
            self.signalling
                .handle_hang_up(now.instant, call.call_sid, cause);
        }
        self.settle(now);
        lost.len()
    }

    /// Refuses every new call from now on.
    pub fn begin_drain(&mut self, now: Now) {
        self.desk.begin_drain();
        self.signalling.begin_drain(now.instant);
        self.settle(now);
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

    /// In test builds alone: gives a shard something to carry.
    #[cfg(debug_assertions)]
    pub fn burden(&mut self, shard: ShardIndex, burden: crate::injection::Burden) {
        self.outbox.push_back((shard, ToShard::Burden(burden)));
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
