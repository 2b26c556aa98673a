//! One leg over a WebSocket inside its media thread: sends the frame that is due, reads what came, keeps the accounts.
//!
//! TCP has neither sequence numbers nor timestamps, so frames are numbered as they come and nothing is ever lost here; what a
//! gateway leaves out or adds is found by comparing frames (`load::frames`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use server::rtp::{MediaPacket, PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use tokio::sync::watch;
use tungstenite::Message;

use super::frame_clock::FrameClock;
use super::hearing::Hearing;
use super::leg::{Direction, LegRecord};
use super::speech::EncodedSpeech;
use super::stream_socket::{StreamError, StreamSocket};
use super::sys;
use super::window::{MediaWindow, Now};
use super::wire::{Heard, Wire};

/// Messages that one leg reads in a turn; the rest waits for the next.
const MESSAGES_PER_TURN_MAX: usize = 64;
/// How long a far end may take to close its side.
const LINGER: Duration = Duration::from_secs(2);

/// What a leg over a WebSocket is to do.
pub struct StreamPlan {
    /// It is closed with the leg.
    pub socket: StreamSocket,
    /// What is spoken over it.
    pub wire: Wire,
    /// Which way it sends.
    pub direction: Direction,
    /// What it says, over and over. What it hears is expected in the same codec.
    pub frames: Arc<EncodedSpeech>,
    /// Its grid of 20 ms begins so many times 500 us later; taken modulo 40.
    pub phase: u8,
    /// Where it notes when it sent which frame.
    pub clock: Arc<FrameClock>,
    /// Where the other leg of the call notes it.
    pub heard_clock: Arc<FrameClock>,
    /// Frames are kept so long from the first one on; later ones are only counted.
    pub record: Duration,
}

pub(super) struct StreamLegState {
    pub(super) id: u64,
    pub(super) phase: usize,
    plan: StreamPlan,
    frame: u64,
    hearing: Hearing,
    /// Sound that is no whole frame yet.
    pending: Vec<u8>,
    heard_frames: u64,
    tell_end: watch::Sender<Option<String>>,
    record: LegRecord,
}

impl StreamLegState {
    pub(super) fn new(
        id: u64,
        plan: StreamPlan,
        tell_first: watch::Sender<Option<Instant>>,
        tell_end: watch::Sender<Option<String>>,
    ) -> Self {
        Self {
            id,
            phase: usize::from(plan.phase) % super::PHASES,
            hearing: Hearing::new(
                plan.direction.reverse(),
                plan.frames.codec(),
                Arc::clone(&plan.heard_clock),
                plan.record,
                tell_first,
            ),
            frame: 0,
            pending: Vec::new(),
            heard_frames: 0,
            tell_end,
            record: LegRecord {
                first_frame: plan.clock.first_frame(),
                ..LegRecord::default()
            },
            plan,
        }
    }

    /// Sends the next frame, which is due at `due_at`. Returns when, by the wall clock.
    pub(super) fn send(&mut self, window: &mut MediaWindow, now: &Now, due_at: Instant) -> u64 {
        if self.record.end.is_some() {
            return now.realtime_ns;
        }
        let payload = self
            .plan
            .frames
            .payload(self.plan.clock.first_frame() + self.frame);
        let codec = self.plan.frames.codec();
        let message = self.plan.wire.frame(self.frame, codec, payload);
        let at_ns = sys::realtime_ns();
        self.plan.clock.note(at_ns);
        match self.plan.socket.send(message) {
            Ok(()) => {
                self.record.sent += 1;
                *self.plan.direction.of(&mut window.sent) += 1;
            }
            Err(_) => {
                self.plan.clock.note_not_sent();
                self.record.send_failures += 1;
            }
        }
        if self.frame == 0 {
            self.record.first_sent_at = now.instant_of(at_ns);
            self.record.first_due_at = Some(due_at);
        }
        self.frame += 1;
        at_ns
    }

    /// Reads what came since the turn before.
    pub(super) fn receive(&mut self, window: &mut MediaWindow, now: &Now) {
        if self.record.end.is_some() {
            return;
        }
        self.plan.socket.begin_turn();
        for _ in 0..MESSAGES_PER_TURN_MAX {
            match self.plan.socket.next() {
                Ok(Some(message)) => self.handle(&message, window, now),
                Ok(None) => return,
                Err(StreamError(end)) => {
                    self.record.end = Some(end.clone());
                    self.tell_end.send_replace(Some(end));
                    return;
                }
            }
        }
    }

    fn handle(&mut self, message: &Message, window: &mut MediaWindow, now: &Now) {
        let before = self.pending.len();
        let codec = self.plan.frames.codec();
        match self.plan.wire.hear(codec, message, &mut self.pending) {
            Heard::Audio => {
                let frame_bytes = self.plan.frames.payload(0).len();
                let came = self.pending.len() - before;
                self.record.odd_sized += u64::from(came != frame_bytes);
                self.cut_frames(frame_bytes, window, now);
            }
            Heard::Answer(text) => {
                self.record.other_messages += 1;
                // A socket that has ended says so when it is read.
                let _ = self.plan.socket.send_text(&text);
            }
            Heard::Other => self.record.other_messages += 1,
        }
    }

    fn cut_frames(&mut self, frame_bytes: usize, window: &mut MediaWindow, now: &Now) {
        let arrival_ns = self.plan.socket.arrival_ns();
        let samples = self.plan.frames.codec().packet_samples() as u64;
        let whole = self.pending.len() - self.pending.len() % frame_bytes.max(1);
        let mut frames: Vec<u8> = self.pending.drain(..whole).collect();
        self.plan
            .wire
            .rtp_samples(self.plan.frames.codec(), &mut frames);
        for payload in frames.chunks_exact(frame_bytes.max(1)) {
            let packet = MediaPacket {
                marker: self.heard_frames == 0,
                payload_type: PayloadType(0),
                sequence_number: SequenceNumber(self.heard_frames as u16),
                timestamp: RtpTimestamp((self.heard_frames * samples) as u32),
                ssrc: Ssrc(0),
                payload,
            };
            self.heard_frames += 1;
            let record = &mut self.record;
            self.hearing.hear(&packet, arrival_ns, window, now, record);
        }
    }

    /// Reads the rest, says goodbye and tells what there was. The socket stays until the far end has closed it as well.
    pub(super) fn close(
        mut self,
        window: &mut MediaWindow,
        now: &Now,
    ) -> (LegRecord, Option<Lingering>) {
        self.receive(window, now);
        let lingering = self.record.end.is_none().then(|| {
            if let Some(goodbye) = self.plan.wire.goodbye() {
                // A socket that has ended needs no goodbye.
                let _ = self.plan.socket.send_text(&goodbye);
            }
            self.plan.socket.close();
            Lingering {
                socket: self.plan.socket,
                until: now.instant + LINGER,
            }
        });
        self.hearing.tell(&mut self.record);
        (self.record, lingering)
    }
}

/// A socket that we have closed and the far end has not: dropped with unread bytes, it would be reset, and what we said last
/// might be lost.
pub(super) struct Lingering {
    socket: StreamSocket,
    until: Instant,
}

impl Lingering {
    /// Reads what comes; false when it can be dropped.
    pub(super) fn wait(&mut self, now: &Now) -> bool {
        if now.instant >= self.until {
            return false;
        }
        self.socket.begin_turn();
        loop {
            match self.socket.next() {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}
