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
/// How long a far end may take to answer our close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// A call that ended as it should (RFC 6455 section 7.4.1).
const NORMAL_CLOSURE: u16 = 1000;

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// We have closed: this is the far end's answer.
    pub is_answer: bool,
    /// Of the far end's close frame; none: it had none, or there was no such frame.
    pub close_code: Option<u16>,
    /// The far end has said goodbye in the words of its dialect, if that has any.
    pub had_goodbye: bool,
    /// For people.
    pub how: String,
}

impl StreamEnd {
    /// Why this is no end of a call; none: it is one.
    pub fn fault(&self) -> Option<String> {
        let how = &self.how;
        if self.close_code != Some(NORMAL_CLOSURE) {
            Some(how.clone())
        } else if !self.is_answer && !self.had_goodbye {
            Some(format!("{how}, without a goodbye before it"))
        } else {
            None
        }
    }
}

impl LegRecord {
    /// What was wrong with a stream, or with its end.
    pub fn stream_fault(&self) -> Option<String> {
        if let Some(wrong) = &self.wrong {
            return Some(wrong.clone());
        }
        match &self.end {
            Some(end) => end.fault(),
            None => Some(format!(
                "our close was not answered in {} s",
                CLOSE_WITHIN.as_secs()
            )),
        }
    }
}

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
    /// The far end has said that the call is over.
    had_goodbye: bool,
    /// We have: so long its close is waited for.
    closing_until: Option<Instant>,
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
            had_goodbye: !plan.wire.has_goodbye(),
            closing_until: None,
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
                Err(error) => return self.end(&error),
            }
        }
    }

    fn end(&mut self, error: &StreamError) {
        self.record.end = Some(StreamEnd {
            is_answer: self.closing_until.is_some(),
            close_code: match error {
                StreamError::Closed { code, .. } => Some(*code),
                StreamError::ClosedWithoutCode | StreamError::Lost(_) => None,
            },
            had_goodbye: self.had_goodbye,
            how: error.to_string(),
        });
        self.tell_end.send_replace(Some(error.to_string()));
    }

    fn handle(&mut self, message: &Message, window: &mut MediaWindow, now: &Now) {
        let before = self.pending.len();
        let codec = self.plan.frames.codec();
        let heard = self.plan.wire.hear(codec, message, &mut self.pending);
        if self.had_goodbye && self.plan.wire.has_goodbye() && heard != Heard::Other {
            self.note_wrong("a message behind the goodbye".to_owned());
        }
        match heard {
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
            Heard::Goodbye => {
                self.record.other_messages += 1;
                self.had_goodbye = true;
            }
            Heard::Other => self.record.other_messages += 1,
            Heard::Wrong(why) => {
                self.record.other_messages += 1;
                self.note_wrong(why);
            }
        }
    }

    fn note_wrong(&mut self, why: String) {
        // The first tells what the others come from.
        self.record.wrong.get_or_insert(why);
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

    /// Reads the rest and says goodbye. What the far end sends until it has closed as well is still heard: a socket that is
    /// dropped with unread bytes is reset, and what we said last might be lost.
    pub(super) fn close(&mut self, window: &mut MediaWindow, now: &Now) {
        self.receive(window, now);
        if self.record.end.is_some() {
            return;
        }
        if let Some(goodbye) = self.plan.wire.goodbye() {
            // A socket that has ended needs no goodbye.
            let _ = self.plan.socket.send_text(&goodbye);
        }
        self.plan.socket.close(NORMAL_CLOSURE);
        self.closing_until = Some(now.instant + CLOSE_WITHIN);
    }

    /// Both sides have closed, or the far end does not.
    pub(super) fn is_over(&mut self, window: &mut MediaWindow, now: &Now) -> bool {
        self.receive(window, now);
        self.record.end.is_some() || self.closing_until.is_none_or(|until| now.instant >= until)
    }

    /// What there was.
    pub(super) fn into_record(mut self) -> LegRecord {
        self.hearing.tell(&mut self.record);
        self.record
    }
}
