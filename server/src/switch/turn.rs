//! The media loop: one turn per tick while anything lives, asleep on the doorbell while nothing does.
//!
//! A turn takes the control thread's messages, drains the WebRTC port in batches, then the trunk sockets that have
//! something, lets the timers fire, and sends. A panic while a packet or a timer is handled ends that one call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shards::doorbell::DoorbellListener;
use shards::guard;
use shards::ring::Consumer;
use shards::tick::Tick;
use shards::udp::{ReceiveBatch, ReceivedPacket};
use tracing::{error, info};

use super::calls::HangUp;
use super::mailbox::SessionEvent;
use super::media::Way;
use super::pcm_begin::{AskedCall, begin_calls};
use super::trunk_media::TrunkInbox;
use super::{CallKey, DATAGRAM_BYTES_MAX, Switch, SwitchHandle, Timer};
use crate::call::q850::Q850Cause;
use crate::call::rings::ToShard;
use crate::fault::Fault;
#[cfg(debug_assertions)]
use crate::injection::Place;
use crate::metrics::ShardMetrics;

/// Batches drained from the WebRTC port in one turn before the timers get theirs.
const BATCHES_PER_TURN_MAX: usize = 16;
/// When the trunk sockets were read so long ago, more than one packet of a stream may wait in them.
const LATE: Duration = Duration::from_millis(5);
/// Messages taken from the control thread in one turn.
const MESSAGES_PER_TURN_MAX: usize = 256;

/// Runs the shard's media until the control thread says stop. `on_wake` runs at every turn, for what else the doorbell
/// rings for.
pub async fn media_loop(
    switch: SwitchHandle,
    mut from_control: Consumer<ToShard>,
    mut doorbell: DoorbellListener,
    mut on_wake: impl FnMut(),
) {
    let (metrics, tick_period, batch_packets) = {
        let switch = switch.0.borrow();
        let settings = &switch.shards_config;
        (
            Arc::clone(&switch.metrics),
            Duration::from_micros(settings.tick_us.into()),
            settings.udp_batch_packets,
        )
    };
    let mut received = ReceiveBatch::new(batch_packets, DATAGRAM_BYTES_MAX);
    let mut inbox = TrunkInbox::default();
    let mut tick = Tick::new(tick_period);
    loop {
        let idle = {
            let mut switch = switch.0.borrow_mut();
            switch.idle = !switch.is_busy();
            switch.watch_load(Instant::now(), || tick.take_lateness());
            switch.publish_gauges();
            switch.metrics.oversleeps.set(shards::executor::kicks());
            switch.idle
        };
        if idle {
            tick.pause();
            if let Err(error) = doorbell.wait().await {
                // The tick still drives everything, only dearer.
                error!(%error, "waiting for the doorbell failed");
                shards::executor::sleep(tick_period).await;
            }
            tick.restart();
        } else {
            tick.next().await;
        }
        let turn = Busy::start(&metrics);
        on_wake();
        if take_messages(&switch, &mut from_control).is_break() {
            return;
        }
        for _ in 0..BATCHES_PER_TURN_MAX {
            if !switch.0.borrow_mut().drain_webrtc_port(&mut received) {
                break;
            }
            shards::executor::yield_if_needed().await;
        }
        let asked = switch.0.borrow_mut().turn(&mut inbox);
        begin_calls(&switch, asked);
        drop(turn);
    }
}

impl Switch {
    /// What is done at each tick. Gives the calls that were asked for meanwhile.
    pub(super) fn turn(&mut self, inbox: &mut TrunkInbox) -> Vec<AskedCall> {
        self.to_control.tell_waiting();
        #[cfg(debug_assertions)]
        {
            self.trap.step_on(Place::Tick, || None);
            self.burden.carry();
        }
        self.drain_trunk_sockets(inbox);
        self.drain_pcm_sockets();
        self.fire_timers();
        self.deliver_told();
        self.flush_pcm_sockets();
        self.flush_now();
        std::mem::take(&mut self.asked_calls)
    }
}

/// Time in which the media task worked.
struct Busy<'a> {
    metrics: &'a ShardMetrics,
    since: Instant,
}

impl<'a> Busy<'a> {
    fn start(metrics: &'a ShardMetrics) -> Self {
        metrics.wakeups.increment();
        Self {
            metrics,
            since: Instant::now(),
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.metrics
            .busy_ns
            .add(u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
}

fn take_messages(
    switch: &SwitchHandle,
    from_control: &mut Consumer<ToShard>,
) -> std::ops::ControlFlow<()> {
    let mut switch = switch.0.borrow_mut();
    for _ in 0..MESSAGES_PER_TURN_MAX {
        let Some(message) = from_control.pop() else {
            break;
        };
        let now = Instant::now();
        match message {
            ToShard::Answer(id, answer) => switch.asks.answered(id, answer),
            ToShard::Trunk(call_sid, progress) => switch.for_call(now, call_sid, |switch| {
                switch.trunk_progress(now, call_sid, progress);
            }),
            ToShard::Incoming(call) => switch.for_call(now, call.call_sid, |switch| {
                switch.incoming(now, *call);
            }),
            ToShard::VendorSocket(call_sid, dialled) => {
                switch.for_call(now, call_sid, |switch| {
                    switch.vendor_dialled(now, call_sid, dialled);
                });
            }
            ToShard::EndCall {
                call_sid,
                cause,
                fault,
            } => switch.for_call(now, call_sid, |switch| {
                switch.end_call_by_sid(now, call_sid, cause, fault);
            }),
            #[cfg(debug_assertions)]
            ToShard::Panic(order) => switch.trap.set(order),
            #[cfg(debug_assertions)]
            ToShard::Burden(burden) => switch.burden = burden,
            ToShard::Reload(settings) => {
                info!(shard = switch.shard.0, "new settings");
                switch.settings = settings;
            }
            ToShard::Drain => switch.drain(),
            ToShard::Stop => {
                switch.stop(now);
                return std::ops::ControlFlow::Break(());
            }
        }
    }
    std::ops::ControlFlow::Continue(())
}

impl Switch {
    /// One batch from the WebRTC port; `true` if it was full, so that there may be more.
    fn drain_webrtc_port(&mut self, batch: &mut ReceiveBatch) -> bool {
        let count = match self.port.receive(batch) {
            Ok(count) => count,
            // ICMP errors of earlier sends come here; the next call tells the truth.
            Err(error) => {
                tracing::debug!(%error, "receiving on the WebRTC port failed");
                0
            }
        };
        let now = Instant::now();
        for ReceivedPacket {
            from,
            addressed,
            bytes,
            truncated,
        } in batch.packets_mut()
        {
            if truncated {
                self.metrics.dropped(crate::metrics::DropReason::Oversized);
                continue;
            }
            let found = match self.demux.find(from, bytes) {
                Ok(found) => found,
                Err(reason) => {
                    self.metrics.dropped(reason);
                    continue;
                }
            };
            let way = Way {
                remote: from,
                local: addressed,
            };
            let whose = Timer::Session(found.session);
            let handled = guard::catch(|| {
                #[cfg(debug_assertions)]
                self.step_on_trap(Place::Packet, whose);
                self.handle_webrtc_datagram(now, found, way, bytes);
            });
            if let Err(panicked) = handled {
                self.after_panic(now, whose, &panicked.message);
            }
        }
        count == batch.capacity()
    }

    pub(super) fn drain_trunk_sockets(&mut self, inbox: &mut TrunkInbox) {
        let TrunkInbox { ready, datagram } = inbox;
        ready.clear();
        self.trunk_sockets.ready(|socket| ready.push(socket));
        let now = Instant::now();
        self.turn += 1;
        self.is_late = now.saturating_duration_since(self.trunks_read) > LATE;
        self.trunks_read = now;
        for &socket in ready.iter() {
            let whose = Timer::Call(super::trunk_media::call_of(socket));
            let handled = guard::catch(|| {
                #[cfg(debug_assertions)]
                self.step_on_trap(Place::Packet, whose);
                self.drain_trunk_socket(now, socket, datagram);
            });
            if let Err(panicked) = handled {
                self.after_panic(now, whose, &panicked.message);
            }
        }
    }

    pub(super) fn fire_timers(&mut self) {
        let now = Instant::now();
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now, |timer| due.push(timer));
        for timer in due.drain(..) {
            let handled = guard::catch(|| {
                #[cfg(debug_assertions)]
                self.step_on_trap(Place::Timer, timer);
                match timer {
                    Timer::Session(session) => self.session_due(now, session),
                    Timer::Call(call) => self.call_due(now, call),
                    Timer::Pcm(socket) => self.pcm_due(now, socket),
                }
            });
            if let Err(panicked) = handled {
                self.after_panic(now, timer, &panicked.message);
            }
        }
        self.due = due;
    }

    fn end_call_by_sid(
        &mut self,
        now: Instant,
        call_sid: crate::id::CallSid,
        cause: Q850Cause,
        fault: Fault,
    ) {
        let Some(&key) = self.calls_by_sid.get(&call_sid) else {
            return;
        };
        let text = match cause {
            Q850Cause::TEMPORARY_FAILURE => "ended by the gateway: it drains",
            _ => "ended by the operator",
        };
        self.end_call(now, key, HangUp::new(cause, fault, text));
    }

    fn drain(&mut self) {
        info!(shard = self.shard.0, calls = self.calls.len(), "draining");
        self.draining = true;
        for (_, session) in &self.sessions {
            session.tell(SessionEvent::Drain);
        }
    }

    pub(super) fn stop(&mut self, now: Instant) {
        self.stop_pcm_sockets(now, "the gateway stops");
        let calls: Vec<CallKey> = self.calls.iter().map(|(key, _)| CallKey(key)).collect();
        for call in calls {
            let hang_up = HangUp::ours(Q850Cause::TEMPORARY_FAILURE, "the gateway stops");
            self.end_call(now, call, hang_up);
        }
        for session in self.session_keys() {
            self.tell(Some(session), SessionEvent::Stop);
            self.close_peer(now, session);
        }
        self.deliver_told();
        self.flush_pcm_sockets();
        self.flush_now();
        self.publish_gauges();
    }
}
