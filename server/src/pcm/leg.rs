//! Both ways of a leg of PCM.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{
    FRAME_MS, FrameKind, FrameOut, MARK_NAME_LEN_MAX, MARKS_MAX, MarkError, PcmConfig, PcmEvent,
    PcmStatistics,
};
use crate::rtp::{MediaPacket, Ssrc};

/// The only source of the leg; only the bridge ever sees it.
const PCM_SSRC: Ssrc = Ssrc(1);
const FRAME: Duration = Duration::from_millis(FRAME_MS as u64);

/// The media leg of a peer that speaks PCM over a WebSocket.
///
/// At each tick first give it what came ([`PcmLeg::handle_audio`], [`PcmLeg::handle_packet`]), then call
/// [`PcmLeg::handle_timeout`] if [`PcmLeg::poll_timeout`] is due, then poll packets, frames and events until there are none.
#[derive(Debug)]
pub struct PcmLeg {
    config: PcmConfig,
    now: Instant,
    next: Option<Instant>,
    queue: VecDeque<u8>,
    outgoing: VecDeque<u8>,
    frames_sent: u32,
    events: VecDeque<PcmEvent>,
    listen_only: bool,
    statistics: PcmStatistics,
}

impl PcmLeg {
    /// A leg that begins now.
    pub fn new(config: PcmConfig, now: Instant) -> Self {
        Self {
            config,
            now,
            next: None,
            queue: VecDeque::new(),
            outgoing: VecDeque::new(),
            frames_sent: 0,
            events: VecDeque::new(),
            listen_only: false,
            statistics: PcmStatistics::default(),
        }
    }

    /// How it was set up.
    pub fn config(&self) -> &PcmConfig {
        &self.config
    }

    /// Audio of the socket, of any length: what is no whole sample or frame waits for the rest.
    pub fn handle_audio(&mut self, now: Instant, wire: &[u8]) {
        self.now = now;
        self.next.get_or_insert(now + FRAME);
        self.queue.extend(wire);
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
        if self.events.len() >= MARKS_MAX {
            return Err(MarkError::TooMany);
        }
        self.events.push_back(PcmEvent::Played {
            mark: name.to_owned(),
        });
        Ok(())
    }

    /// What waits of the socket's audio goes, and its marks come back at once. Gives what was played of it since it was
    /// cleared last, or since the leg began, in ms.
    pub fn handle_clear(&mut self, now: Instant) -> u64 {
        self.now = now;
        self.queue.clear();
        std::mem::take(&mut self.statistics.played_ms)
    }

    /// A packet of the bridge for the socket.
    pub fn handle_packet(&mut self, now: Instant, packet: &MediaPacket<'_>) {
        self.now = now;
        self.next.get_or_insert(now + FRAME);
        self.outgoing.extend(packet.payload);
    }

    /// The other side cleared its audio: what waits for the socket goes.
    pub fn drop_outgoing(&mut self) {
        self.outgoing.clear();
    }

    /// Whether nothing may be sent to the socket.
    pub fn set_listen_only(&mut self, listen_only: bool) {
        self.listen_only = listen_only;
    }

    /// Whether nothing may be sent to the socket.
    pub fn is_listen_only(&self) -> bool {
        self.listen_only
    }

    /// Does what is due at `now`, when the leg is polled next.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
    }

    /// When [`PcmLeg::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// The next packet for the bridge; its payload is written to the front of `payload`, which has room for
    /// [`PAYLOAD_LEN_MAX`](crate::bridge::PAYLOAD_LEN_MAX) bytes.
    pub fn poll_packet<'a>(&mut self, payload: &'a mut [u8]) -> Option<MediaPacket<'a>> {
        let frame_bytes = self.config.encoding.frame_bytes();
        let next = self.next.filter(|next| *next <= self.now)?;
        if self.queue.len() < frame_bytes {
            return None;
        }
        self.next = Some(next + FRAME);
        let payload = payload.get_mut(..frame_bytes)?;
        for (place, byte) in payload.iter_mut().zip(self.queue.drain(..frame_bytes)) {
            *place = byte;
        }
        self.config.encoding.swap(payload);
        let index = self.frames_sent;
        self.frames_sent += 1;
        self.statistics.from_socket.frames += 1;
        self.statistics.played_ms += u64::from(FRAME_MS);
        let format = self.config.encoding.leg_format().source;
        let frame_ticks = self.config.encoding.sample_rate().samples(FRAME_MS) as u32;
        Some(MediaPacket {
            marker: index == 0,
            payload_type: format.payload_type,
            sequence_number: self.config.first_sequence_number.wrapping_add(index as u16),
            timestamp: self
                .config
                .first_timestamp
                .wrapping_add(index.wrapping_mul(frame_ticks)),
            ssrc: PCM_SSRC,
            payload,
        })
    }

    /// The next frame for the socket, written to the front of `frame`, which has room for
    /// [`FRAME_BYTES_MAX`](super::FRAME_BYTES_MAX) bytes.
    pub fn poll_frame(&mut self, frame: &mut [u8]) -> Option<FrameOut> {
        let len = self.config.encoding.frame_bytes();
        if self.outgoing.len() < len {
            return None;
        }
        let frame = frame.get_mut(..len)?;
        for (place, byte) in frame.iter_mut().zip(self.outgoing.drain(..len)) {
            *place = byte;
        }
        self.config.encoding.swap(frame);
        self.statistics.to_socket.frames += 1;
        Some(FrameOut {
            len,
            kind: FrameKind::Audio,
        })
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<PcmEvent> {
        self.events.pop_front()
    }

    /// The account so far.
    pub fn statistics(&self) -> PcmStatistics {
        self.statistics
    }
}
