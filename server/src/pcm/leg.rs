//! Both ways of a leg of PCM, and what one has to do with the other.

use std::collections::VecDeque;
use std::time::Instant;

use super::barge_in::BargeIn;
use super::dejitter::Dejitter;
use super::playout::Playout;
use super::{
    FrameKind, FrameOut, MARK_NAME_LEN_MAX, MARKS_MAX, MarkError, PcmConfig, PcmEvent,
    PcmStatistics,
};
use crate::rtp::MediaPacket;

/// The media leg of a peer that speaks PCM over a WebSocket.
///
/// At each tick first give it what came ([`PcmLeg::handle_audio`], [`PcmLeg::handle_packet`]), then call
/// [`PcmLeg::handle_timeout`] if [`PcmLeg::poll_timeout`] is due, then poll packets, frames and events until there are
/// none.
#[derive(Debug)]
pub struct PcmLeg {
    config: PcmConfig,
    now: Instant,
    playout: Playout,
    dejitter: Dejitter,
    barge_in: Option<BargeIn>,
    is_listen_only: bool,
    /// Audio of the socket that there was no room for, and that was not told yet.
    overflow_ms: u64,
    barge_ins: u64,
    events: VecDeque<PcmEvent>,
}

impl PcmLeg {
    /// A leg that begins now.
    pub fn new(config: PcmConfig, now: Instant) -> Self {
        Self {
            config,
            now,
            playout: Playout::new(&config),
            dejitter: Dejitter::new(&config, now),
            barge_in: config.barge_in.map(BargeIn::new),
            is_listen_only: false,
            overflow_ms: 0,
            barge_ins: 0,
            events: VecDeque::new(),
        }
    }

    /// How it was set up.
    pub fn config(&self) -> &PcmConfig {
        &self.config
    }

    /// Audio of the socket, of any length: what is no whole sample or frame waits for the rest.
    pub fn handle_audio(&mut self, now: Instant, wire: &[u8]) {
        self.now = now;
        self.overflow_ms += self.playout.handle_audio(now, wire);
    }

    /// Somebody listens from now on. An agent ([`PcmSource::Ahead`](super::PcmSource)) is held until then; to others it is the same.
    pub fn release(&mut self, now: Instant) {
        self.now = now;
        self.playout.release(now);
    }

    /// A mark behind all audio so far: [`PcmEvent::Played`] tells when that was played.
    ///
    /// # Errors
    /// [`MarkError`]; the mark is not taken.
    pub fn handle_mark(&mut self, now: Instant, name: &str) -> Result<(), MarkError> {
        self.now = now;
        if name.len() > MARK_NAME_LEN_MAX {
            return Err(MarkError::NameTooLong(name.len()));
        }
        if self.playout.marks() + self.events.len() >= MARKS_MAX {
            return Err(MarkError::TooMany);
        }
        self.playout.push_mark(name);
        self.tell_idle_marks();
        Ok(())
    }

    /// What waits of the socket's audio goes, and its marks come back at once. Gives what was played of it since it
    /// was cleared last, or since the leg began, in ms.
    pub fn handle_clear(&mut self, now: Instant) -> u64 {
        self.now = now;
        let played_ms = self.playout.clear();
        self.tell_idle_marks();
        played_ms
    }

    /// A packet of the bridge for the socket.
    pub fn handle_packet(&mut self, now: Instant, packet: &MediaPacket<'_>) {
        self.now = now;
        if !self.is_listen_only {
            self.dejitter.handle_packet(now, packet);
        }
    }

    /// A mark behind all that came of the bridge so far, for a socket that tells when it has played that.
    pub fn push_outgoing_mark(&mut self, name: &str) {
        self.dejitter.push_mark(name);
    }

    /// The next of these that is the socket's: no frame before it is held back any more.
    pub fn poll_outgoing_mark(&mut self) -> Option<String> {
        self.dejitter.pop_mark()
    }

    /// The other side cleared its audio: what waits for the socket goes.
    pub fn drop_outgoing(&mut self) {
        self.dejitter.clear();
    }

    /// Whether nothing may be sent to the socket.
    pub fn set_listen_only(&mut self, is_listen_only: bool) {
        self.is_listen_only = is_listen_only;
        self.dejitter.clear();
    }

    /// What is due at `now` comes out when the leg is polled next.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
    }

    /// When [`PcmLeg::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let frame = match self.is_listen_only {
            true => None,
            false => self.dejitter.poll_timeout(),
        };
        self.playout.poll_timeout().into_iter().chain(frame).min()
    }

    /// The next packet for the bridge; its payload is written to the front of `payload`, which has room for
    /// [`PAYLOAD_LEN_MAX`](crate::bridge::PAYLOAD_LEN_MAX) bytes.
    pub fn poll_packet<'a>(&mut self, payload: &'a mut [u8]) -> Option<MediaPacket<'a>> {
        let events = &mut self.events;
        let played = |mark| events.push_back(PcmEvent::Played { mark });
        self.playout.poll_packet(self.now, payload, played)
    }

    /// The next frame for the socket, written to the front of `frame`, which has room for
    /// [`FRAME_BYTES_MAX`](super::FRAME_BYTES_MAX) bytes.
    pub fn poll_frame(&mut self, frame: &mut [u8]) -> Option<FrameOut> {
        if self.is_listen_only {
            return None;
        }
        let len = self.config.encoding.frame_bytes();
        let kind = self.dejitter.poll_frame(self.now, frame.get_mut(..len)?)?;
        self.listen(kind);
        Some(FrameOut { len, kind })
    }

    /// The frame that was polled last was not sent: its peer does not read.
    pub fn handle_unsent(&mut self, frame: FrameOut) {
        self.dejitter.count_unsent(frame.kind);
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<PcmEvent> {
        if self.overflow_ms > 0 {
            let dropped_ms = std::mem::take(&mut self.overflow_ms);
            return Some(PcmEvent::Overflow { dropped_ms });
        }
        self.events.pop_front()
    }

    /// The account so far.
    pub fn statistics(&self) -> PcmStatistics {
        let (from_socket, queue_ms) = self.playout.account();
        PcmStatistics {
            from_socket,
            to_socket: self.dejitter.flow(),
            queue_ms,
            barge_ins: self.barge_ins,
        }
    }

    /// Does somebody speak over what the socket says?
    fn listen(&mut self, kind: FrameKind) {
        let Some(barge_in) = &mut self.barge_in else {
            return;
        };
        if kind != FrameKind::Audio {
            return barge_in.hears_nothing();
        }
        if barge_in.hears(self.dejitter.pcm(), self.playout.is_speaking()) {
            self.barge_ins += 1;
            let played_ms = self.playout.clear();
            // Told once per patience at most; who never asks need not know them all.
            if self.events.len() < MARKS_MAX {
                self.events.push_back(PcmEvent::BargeIn { played_ms });
            }
            self.tell_idle_marks();
        }
    }

    fn tell_idle_marks(&mut self) {
        while let Some(mark) = self.playout.pop_idle_mark() {
            self.events.push_back(PcmEvent::Played { mark });
        }
    }
}
