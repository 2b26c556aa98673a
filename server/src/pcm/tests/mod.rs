//! A leg as its owner sees it, on a clock that the test moves by 1 ms at a time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod both_ways;
mod from_socket;
mod properties;
mod through_bridge;
mod to_socket;

use std::time::{Duration, Instant};

use codecs::SampleRate;

use super::*;
use crate::rtp::{MediaPacket, RtpTimestamp, SequenceNumber, Ssrc};

const FIRST_SEQUENCE: u16 = 65_530;
const FIRST_TIMESTAMP: u32 = u32::MAX - 1_000;
const WIDE: Encoding = Encoding::Linear16(SampleRate::Hz16000);
const WIDEST: Encoding = Encoding::Linear16(SampleRate::Hz24000);

fn config(encoding: Encoding) -> PcmConfig {
    PcmConfig {
        encoding,
        queue_ms_max: 60_000,
        max_ahead_ms: MAX_AHEAD_MS_DEFAULT,
        continuous: true,
        source: PcmSource::RealTime,
        barge_in: None,
        first_sequence_number: SequenceNumber(FIRST_SEQUENCE),
        first_timestamp: RtpTimestamp(FIRST_TIMESTAMP),
    }
}

/// A packet for the bridge, with timestamp and number counted from the first ones.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packet {
    at_ms: u64,
    marker: bool,
    sequence: u16,
    ticks: u32,
    payload: Vec<u8>,
}

/// A frame for the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    at_ms: u64,
    kind: FrameKind,
    wire: Vec<u8>,
}

struct Harness {
    leg: PcmLeg,
    encoding: Encoding,
    start: Instant,
    now_ms: u64,
    packets: Vec<Packet>,
    frames: Vec<Frame>,
    events: Vec<(u64, PcmEvent)>,
    /// The most of the socket's audio that waited, in ms.
    queue_peak_ms: u64,
}

impl Harness {
    /// Of a call that stands.
    fn new(config: PcmConfig) -> Self {
        let mut harness = Self::before_the_call(config);
        harness.leg.release(harness.start);
        harness
    }

    fn before_the_call(config: PcmConfig) -> Self {
        let start = Instant::now();
        Self {
            leg: PcmLeg::new(config, start),
            encoding: config.encoding,
            start,
            now_ms: 0,
            packets: Vec::new(),
            frames: Vec::new(),
            events: Vec::new(),
            queue_peak_ms: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    /// The socket sends audio.
    fn hears(&mut self, wire: &[u8]) {
        self.leg.handle_audio(self.now(), wire);
        self.queue_peak_ms = self.queue_peak_ms.max(self.statistics().queue_ms);
    }

    /// The bridge sends a packet.
    fn gets(&mut self, sequence: u16, timestamp: u32, payload: &[u8]) {
        self.gets_marked(false, sequence, timestamp, payload);
    }

    fn gets_marked(&mut self, marker: bool, sequence: u16, timestamp: u32, payload: &[u8]) {
        let packet = MediaPacket {
            marker,
            payload_type: self.encoding.leg_format().sink.payload_type,
            sequence_number: SequenceNumber(sequence),
            timestamp: RtpTimestamp(timestamp),
            ssrc: Ssrc(7),
            payload,
        };
        self.leg.handle_packet(self.now(), &packet);
    }

    /// Time passes, a tick each ms.
    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.tick_after(1);
        }
    }

    /// Time passes without a tick until its end.
    fn tick_after(&mut self, milliseconds: u64) {
        self.now_ms += milliseconds;
        self.poll();
    }

    fn poll(&mut self) {
        let now = self.now();
        if self.leg.poll_timeout().is_some_and(|at| at <= now) {
            self.leg.handle_timeout(now);
        }
        let mut buffer = [0; FRAME_BYTES_MAX];
        while let Some(packet) = self.leg.poll_packet(&mut buffer) {
            self.packets.push(Packet {
                at_ms: self.now_ms,
                marker: packet.marker,
                sequence: packet.sequence_number.0.wrapping_sub(FIRST_SEQUENCE),
                ticks: packet.timestamp.0.wrapping_sub(FIRST_TIMESTAMP),
                payload: packet.payload.to_vec(),
            });
        }
        while let Some(frame) = self.leg.poll_frame(&mut buffer) {
            assert_eq!(frame.len, self.encoding.frame_bytes());
            self.frames.push(Frame {
                at_ms: self.now_ms,
                kind: frame.kind,
                wire: buffer[..frame.len].to_vec(),
            });
        }
        while let Some(event) = self.leg.poll_event() {
            self.events.push((self.now_ms, event));
        }
        let timeout = self.leg.poll_timeout();
        assert!(timeout.is_none_or(|at| at > now), "everything due was done");
    }

    fn statistics(&self) -> PcmStatistics {
        self.leg.statistics()
    }

    /// The frames that are not silence.
    fn sounding(&self) -> impl Iterator<Item = &Frame> {
        self.frames
            .iter()
            .filter(|frame| frame.kind != FrameKind::Silence)
    }

    /// When each mark was told.
    fn marks(&self) -> Vec<(u64, &str)> {
        self.events
            .iter()
            .filter_map(|(at_ms, event)| match event {
                PcmEvent::Played { mark } => Some((*at_ms, mark.as_str())),
                _ => None,
            })
            .collect()
    }
}

/// Wire bytes of frame `index` of something loud that never repeats.
fn loud(encoding: Encoding, index: usize) -> Vec<u8> {
    let samples = encoding.sample_rate().samples(FRAME_MS);
    let mut state = (index as u32).wrapping_mul(2_654_435_761) + 1;
    let pcm: Vec<i16> = (0..samples)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 18) as i16 - 8_192
        })
        .collect();
    let mut wire = vec![0; encoding.frame_bytes()];
    encoding.encode(&pcm, &mut wire);
    wire
}

/// The same of something hardly heard.
fn quiet(encoding: Encoding, index: usize) -> Vec<u8> {
    let samples = encoding.sample_rate().samples(FRAME_MS);
    let pcm: Vec<i16> = (0..samples)
        .map(|n| ((n * 7 + index) % 30) as i16)
        .collect();
    let mut wire = vec![0; encoding.frame_bytes()];
    encoding.encode(&pcm, &mut wire);
    wire
}

/// The same bytes as the other side of the leg has them.
fn turned(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    let mut turned = bytes.to_vec();
    encoding.swap(&mut turned);
    turned
}

/// A number below `below` that depends on `index` without a pattern.
fn scatter(index: usize, below: u64) -> u64 {
    let mut state = index as u64 ^ 0x9e37_79b9_7f4a_7c15;
    for _ in 0..3 {
        state ^= state >> 30;
        state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (state >> 32) % below
}
