//! The WebSocket-PCM peers of a shard: taken in, drained and sent at the tick, closed. What they ask for is `pcm_calls`'.
//!
//! No task waits on such a socket: waking one for each of a hundred messages a second and call would cost more than the messages
//! (ARCHITECTURE, "Streams, measured").

use std::any::Any;
use std::time::Instant;

use shards::tick_stream::{LiveStream, TickStream};
use shards::udp::SocketSet;
use slab::Slab;
use tracing::{debug, warn};

use super::media_path::PathEnd;
use super::pcm_socket::{PcmKey, PcmOwner, PcmSocket, ReadBudget, Step};
use super::{Switch, Timer, entropy};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::metrics::{DropReason, PcmMessage, ShardMetrics};
use crate::pcm::{Dialect, FRAME_BYTES_MAX, PcmLeg, PcmStatistics};
use crate::websocket::{Reader, Role, Writer};

/// The longest message of a peer that dialled us; beyond it the socket is closed with 1009 (contracts section 4).
const CALLER_MESSAGE_LEN_MAX: usize = 64 << 10;
/// The same of one that we dialled: an agent may send a whole utterance in one message (20 s at 24 kHz), and Vapi tells the whole
/// talk so far again after each turn.
const DIALLED_MESSAGE_LEN_MAX: usize = 1 << 20;

/// The sockets, and what of them wants the next turn.
pub(super) struct PcmSockets {
    slab: Slab<PcmSocket>,
    set: SocketSet,
    ready: Vec<PcmKey>,
    /// Have something to send; sent at the turn's end.
    dirty: Vec<PcmKey>,
    frame: Box<[u8]>,
}

impl PcmSockets {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            slab: Slab::new(),
            set: SocketSet::new()?,
            ready: Vec::new(),
            dirty: Vec::new(),
            frame: vec![0; FRAME_BYTES_MAX].into_boxed_slice(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Every socket, to be gone through while they change.
    pub(super) fn keys(&self) -> Vec<PcmKey> {
        self.slab.iter().map(|(key, _)| PcmKey(key)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    pub(super) fn get(&self, key: PcmKey) -> Option<&PcmSocket> {
        self.slab.get(key.0)
    }

    pub(super) fn get_mut(&mut self, key: PcmKey) -> Option<&mut PcmSocket> {
        self.slab.get_mut(key.0)
    }

    pub(super) fn leg(&self, key: PcmKey) -> Option<&PcmLeg> {
        self.slab.get(key.0)?.leg.as_ref()
    }

    /// The legs at both ends of a call, as packets meet them.
    pub(super) fn path_ends(
        &mut self,
        vendor: Option<PcmKey>,
        trunk: Option<PcmKey>,
    ) -> (Option<PathEnd<'_>>, Option<PathEnd<'_>>) {
        match (vendor, trunk) {
            (Some(vendor), Some(trunk)) => match self.slab.get2_mut(vendor.0, trunk.0) {
                Some((vendor, trunk)) => (path_end(vendor), path_end(trunk)),
                None => (None, None),
            },
            (Some(vendor), None) => (self.slab.get_mut(vendor.0).and_then(path_end), None),
            (None, Some(trunk)) => (None, self.slab.get_mut(trunk.0).and_then(path_end)),
            (None, None) => (None, None),
        }
    }

    /// It has something to send: at the turn's end.
    pub(super) fn mark_dirty(&mut self, key: PcmKey) {
        if let Some(socket) = self.slab.get_mut(key.0)
            && socket.wants_flush()
            && !std::mem::replace(&mut socket.is_dirty, true)
        {
            self.dirty.push(key);
        }
    }
}

fn path_end(socket: &mut PcmSocket) -> Option<PathEnd<'_>> {
    socket.leg.as_mut().map(PathEnd::Pcm)
}

impl Switch {
    /// Takes a socket behind its upgrade in. Its dialect is set up already.
    ///
    /// # Errors
    /// The socket is gone.
    pub(super) fn adopt_pcm_socket(
        &mut self,
        live: LiveStream,
        role: Role,
        dialect: Box<dyn Dialect>,
        owner: PcmOwner,
        place: Option<Box<dyn Any>>,
    ) -> Result<PcmKey, Refusal> {
        let now = Instant::now();
        let lost = |error: std::io::Error| {
            let message = format!("the socket was lost: {error}");
            Refusal::new(RefusalCode::Internal, Fault::Us, message)
        };
        let (stream, head) = TickStream::new(live).map_err(lost)?;
        let message_len_max = match role {
            Role::Server => CALLER_MESSAGE_LEN_MAX,
            Role::Client => DIALLED_MESSAGE_LEN_MAX,
        };
        let mut reader = Reader::new(role, message_len_max);
        reader.buffer().extend_from_slice(&head);
        let writer = match role {
            Role::Server => Writer::server(),
            Role::Client => Writer::client(entropy()),
        };
        let mut socket = PcmSocket::new(now, stream, reader, writer, dialect, owner, place);
        // What came with the head is in no poll set's sight.
        socket.has_more = true;
        let entry = self.pcm.slab.vacant_entry();
        let key = PcmKey(entry.key());
        self.pcm
            .set
            .insert(key.0 as u64, socket.stream())
            .map_err(lost)?;
        entry.insert(socket);
        self.pcm.ready.push(key);
        self.pcm.mark_dirty(key);
        self.reserve_timers();
        self.arm_pcm(key);
        self.publish_gauges();
        self.wake();
        Ok(key)
    }

    /// Takes what has come on all of them.
    pub(super) fn drain_pcm_sockets(&mut self) {
        if self.pcm.is_empty() {
            return;
        }
        let now = Instant::now();
        // Those that had more than a turn may take come first.
        let mut ready = std::mem::take(&mut self.pcm.ready);
        let before = ready.len();
        self.pcm.set.ready(|key| {
            let key = PcmKey(key as usize);
            if !ready[..before].contains(&key) {
                ready.push(key);
            }
        });
        for key in ready.drain(..) {
            self.guarded(now, Timer::Pcm(key), |switch| {
                switch.drain_pcm_socket(now, key);
            });
        }
        // What was pushed meanwhile is for the next turn.
        ready.append(&mut self.pcm.ready);
        self.pcm.ready = ready;
    }

    fn drain_pcm_socket(&mut self, now: Instant, key: PcmKey) {
        let mut budget = ReadBudget::default();
        while let Some(socket) = self.pcm.get_mut(key) {
            match socket.step(now, &mut budget) {
                Step::Ask(ask) => self.pcm_ask(now, key, ask),
                Step::Idle => break,
                Step::Gone => return self.forget_pcm_socket(key),
            }
        }
        if self.pcm.get(key).is_some_and(|socket| socket.has_more) {
            self.pcm.ready.push(key);
        }
        self.pump_pcm(now, key);
    }

    /// A socket's timers.
    pub(super) fn pcm_due(&mut self, now: Instant, key: PcmKey) {
        let Some(socket) = self.pcm.get_mut(key) else {
            return;
        };
        if !socket.alarm.fired(now) {
            return;
        }
        socket.handle_timeout(now);
        // A deadline may be an ask, or the end.
        let mut nothing_read = ReadBudget::none();
        while let Some(socket) = self.pcm.get_mut(key) {
            match socket.step(now, &mut nothing_read) {
                Step::Ask(ask) => self.pcm_ask(now, key, ask),
                Step::Idle => break,
                Step::Gone => return self.forget_pcm_socket(key),
            }
        }
        self.pump_pcm(now, key);
    }

    /// Moves audio on: of the socket into its call's bridge, of the bridge onto the socket.
    pub(super) fn pump_pcm(&mut self, now: Instant, key: PcmKey) {
        let of_call = self.call_of_pcm(key);
        let bridge = of_call.and_then(|(call, leg_id)| {
            let bridge = self.calls.get_mut(call.0)?.bridge.as_mut();
            Some((call, leg_id, bridge?))
        });
        let leg = self
            .pcm
            .slab
            .get_mut(key.0)
            .and_then(|socket| socket.leg.as_mut());
        match (bridge, leg) {
            (Some((call, leg_id, bridge)), Some(leg)) => {
                leg.release(now);
                let mut moved = false;
                while let Some(packet) = leg.poll_packet(&mut self.buffers.payload) {
                    bridge.handle_packet(leg_id, now, &packet);
                    moved = true;
                }
                if moved {
                    self.pump(now, call);
                    self.arm_call(call);
                }
            }
            // Nobody hears it yet: what a caller says is over, what an agent says waits.
            (None, Some(leg)) => {
                while leg.poll_packet(&mut self.buffers.payload).is_some() {
                    self.metrics.dropped(DropReason::NotAnswered);
                }
            }
            _ => {}
        }
        self.send_pcm(now, key);
    }

    /// Writes what a leg has for its peer, and what it tells of itself.
    pub(super) fn send_pcm(&mut self, now: Instant, key: PcmKey) {
        let PcmSockets { slab, frame, .. } = &mut self.pcm;
        if let Some(socket) = slab.get_mut(key.0) {
            socket.write_frames(now, frame);
        }
        while let Some(event) = self
            .pcm
            .get_mut(key)
            .and_then(|socket| socket.leg.as_mut()?.poll_event())
        {
            self.pcm_leg_event(now, key, event);
        }
        self.pcm.mark_dirty(key);
        self.arm_pcm(key);
    }

    /// Sends what all of them have to say.
    pub(super) fn flush_pcm_sockets(&mut self) {
        if self.pcm.dirty.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut dirty = std::mem::take(&mut self.pcm.dirty);
        let mut kept = 0;
        for at in 0..dirty.len() {
            let key = dirty[at];
            let Some(socket) = self.pcm.get_mut(key) else {
                continue;
            };
            if socket.flush(now).is_err() {
                let violation = socket.stalled();
                self.guarded(now, Timer::Pcm(key), |switch| {
                    switch.pcm_violated(now, key, &violation);
                    switch.forget_pcm_socket(key);
                });
                continue;
            }
            // A peer that does not read is tried again at the next turn.
            socket.is_dirty = socket.wants_flush();
            if socket.is_dirty {
                dirty[kept] = key;
                kept += 1;
            }
        }
        dirty.truncate(kept);
        dirty.append(&mut self.pcm.dirty);
        self.pcm.dirty = dirty;
    }

    /// Says goodbye, and lets the socket close by itself.
    pub(super) fn close_pcm_socket(&mut self, now: Instant, key: PcmKey, code: u16, reason: &str) {
        let Some(socket) = self.pcm.slab.get_mut(key.0) else {
            return;
        };
        count_pcm(&self.metrics, socket);
        socket.close(now, code, reason);
        socket.owner = PcmOwner::Nobody;
        self.pcm.mark_dirty(key);
        self.arm_pcm(key);
    }

    /// Drops a socket. What waits to be said is said as far as the peer takes it now.
    pub(super) fn forget_pcm_socket(&mut self, key: PcmKey) {
        let Some(mut socket) = self.pcm.slab.try_remove(key.0) else {
            return;
        };
        count_pcm(&self.metrics, &mut socket);
        socket.say_goodbye();
        if let Err(error) = self.pcm.set.remove(socket.stream()) {
            warn!(%error, "a socket could not be taken off the poll set");
        }
        if let PcmOwner::Session(session) = socket.owner
            && let Some(session) = self.sessions.get_mut(session.0)
        {
            session.pcm = None;
        }
        debug!(shard = self.shard.0, peer = %socket.stream().peer(), "a WebSocket of audio is closed");
        self.publish_gauges();
    }

    /// Makes the wheel know of a socket's next deadline.
    pub(super) fn arm_pcm(&mut self, key: PcmKey) {
        let Some(socket) = self.pcm.slab.get_mut(key.0) else {
            return;
        };
        if let Some(due) = socket.poll_timeout() {
            socket.alarm.set(&mut self.wheel, due, Timer::Pcm(key));
        }
    }
}

/// Adds what a socket's dialect and leg did since the last count to the shard's counters.
pub(super) fn count_pcm(metrics: &ShardMetrics, socket: &mut PcmSocket) {
    count_messages(metrics, socket);
    let Some(leg) = &socket.leg else { return };
    let now = leg.statistics();
    let before = std::mem::replace(&mut socket.counted, now);
    let growth = |count: fn(&PcmStatistics) -> u64| count(&now).saturating_sub(count(&before));
    let metrics = &metrics.pcm;
    metrics
        .frames_received
        .add(growth(|of| of.from_socket.frames));
    metrics.frames_sent.add(growth(|of| of.to_socket.frames));
    metrics
        .concealed_received
        .add(growth(|of| of.from_socket.concealed));
    metrics
        .concealed_sent
        .add(growth(|of| of.to_socket.concealed));
    metrics
        .dropped_received
        .add(growth(|of| of.from_socket.dropped));
    metrics.dropped_sent.add(growth(|of| of.to_socket.dropped));
    metrics
        .crossfaded_received
        .add(growth(|of| of.from_socket.crossfaded));
    metrics
        .crossfaded_sent
        .add(growth(|of| of.to_socket.crossfaded));
    metrics.unsent.add(growth(|of| of.to_socket.unsent));
    metrics.barge_ins.add(growth(|of| of.barge_ins));
}

fn count_messages(metrics: &ShardMetrics, socket: &mut PcmSocket) {
    let now = socket.dialect.statistics();
    let before = std::mem::replace(&mut socket.messages_counted, now);
    for (kind, count) in [
        (
            PcmMessage::MediaReceived,
            now.media_received - before.media_received,
        ),
        (PcmMessage::MediaSent, now.media_sent - before.media_sent),
        (
            PcmMessage::MediaMissing,
            now.media_missing - before.media_missing,
        ),
        (
            PcmMessage::MediaUnused,
            now.media_unused - before.media_unused,
        ),
        (PcmMessage::Ignored, now.ignored - before.ignored),
    ] {
        metrics.pcm.messages.at(kind as usize).add(count);
    }
}
