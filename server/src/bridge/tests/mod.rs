//! Directions as their legs see them: packets in, packets out, on a clock that the test moves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod audio;
mod digits;
mod framing;
mod gaps;
mod loss_rule;
mod properties;
mod script;
mod tones;

use std::time::{Duration, Instant};

use codecs::SampleRate;

use super::*;
use crate::rtp::{MediaPacket, PayloadType, RtpTimestamp, SequenceNumber, Ssrc};

const FIRST_SEQUENCE: u16 = 65_530;
const FIRST_TIMESTAMP: u32 = u32::MAX - 1_000;
const AUDIO: u8 = 96;
const EVENT: u8 = 101;
/// As SDP knows it.
const L16: Codec = Codec::L16(SampleRate::Hz16000);

/// A packet that came out, with timestamp and number counted from the first ones.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    kind: PacketKind,
    marker: bool,
    payload_type: u8,
    sequence: u16,
    ticks: u32,
    payload: Vec<u8>,
    made: Made,
}

/// What audio came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// The source's packet.
    Decoded,
    /// Concealment.
    Concealed,
    /// In-band FEC.
    Recovered,
}

struct Harness {
    direction: Direction,
    now: Instant,
    ssrc: u32,
    seen: Vec<Seen>,
    digits: Vec<(char, u32)>,
}

impl Harness {
    fn new(source: &StreamFormat, sink: &StreamFormat) -> Self {
        Self::with_options(source, sink, options(false))
    }

    fn with_options(source: &StreamFormat, sink: &StreamFormat, options: DirectionOptions) -> Self {
        Self {
            direction: Direction::new(source, sink, options).unwrap(),
            now: Instant::now(),
            ssrc: 1,
            seen: Vec::new(),
            digits: Vec::new(),
        }
    }

    /// A packet arrives now.
    fn send(
        &mut self,
        payload_type: u8,
        marker: bool,
        sequence: u16,
        timestamp: u32,
        payload: &[u8],
    ) {
        let packet = MediaPacket {
            marker,
            payload_type: PayloadType(payload_type),
            sequence_number: SequenceNumber(sequence),
            timestamp: RtpTimestamp(timestamp),
            ssrc: Ssrc(self.ssrc),
            payload,
        };
        self.direction.handle_packet(self.now, &packet);
        self.drain();
    }

    fn audio(&mut self, sequence: u16, timestamp: u32, payload: &[u8]) {
        self.send(AUDIO, false, sequence, timestamp, payload);
    }

    /// Time passes, with every timeout at its time.
    fn pass(&mut self, milliseconds: u64) {
        let until = self.now + Duration::from_millis(milliseconds);
        while let Some(timeout) = self.direction.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(timeout);
            self.direction.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn drain(&mut self) {
        let mut payload = [0; PAYLOAD_LEN_MAX];
        loop {
            let before = self.statistics();
            let Some(output) = self.direction.poll_output(&mut payload) else {
                return;
            };
            let after = self.statistics();
            let made = if after.fec_recovered > before.fec_recovered {
                Made::Recovered
            } else if after.concealed > before.concealed {
                Made::Concealed
            } else {
                Made::Decoded
            };
            match output {
                Output::Packet {
                    kind,
                    marker,
                    payload_type,
                    sequence_number,
                    timestamp,
                    payload_len,
                } => self.seen.push(Seen {
                    kind,
                    marker,
                    payload_type: payload_type.0,
                    sequence: sequence_number.0.wrapping_sub(FIRST_SEQUENCE),
                    ticks: timestamp.0.wrapping_sub(FIRST_TIMESTAMP),
                    payload: payload[..payload_len].to_vec(),
                    made,
                }),
                Output::Digit { digit, duration_ms } => self.digits.push((digit, duration_ms)),
            }
        }
    }

    fn statistics(&self) -> DirectionStatistics {
        self.direction.statistics()
    }

    /// Sequence, ticks and marker of all audio so far.
    fn audio_seen(&self) -> Vec<(u16, u32, bool)> {
        self.seen
            .iter()
            .filter(|seen| seen.kind == PacketKind::Audio)
            .map(|seen| (seen.sequence, seen.ticks, seen.marker))
            .collect()
    }

    fn events_seen(&self) -> Vec<&Seen> {
        self.seen
            .iter()
            .filter(|seen| seen.kind == PacketKind::TelephoneEvent)
            .collect()
    }
}

fn format(codec: Codec) -> StreamFormat {
    StreamFormat {
        codec,
        payload_type: PayloadType(AUDIO),
        ptime_ms: 20,
        telephone_event: None,
    }
}

fn format_with_events(codec: Codec) -> StreamFormat {
    StreamFormat {
        telephone_event: Some(TelephoneEventFormat {
            payload_type: PayloadType(EVENT),
            clock_rate_hz: codec.clock_rate_hz(),
        }),
        ..format(codec)
    }
}

fn options(force_transcode: bool) -> DirectionOptions {
    DirectionOptions {
        reorder_wait: Duration::from_millis(20),
        force_transcode,
        tones_to_sink: DigitTones::Never,
        tones_from_source: DigitTones::Never,
        initial_sequence_number: SequenceNumber(FIRST_SEQUENCE),
        initial_timestamp: RtpTimestamp(FIRST_TIMESTAMP),
    }
}

/// `samples` of a tone of half the full scale.
fn tone(rate_hz: u32, frequency_hz: f64, samples: usize) -> Vec<i16> {
    (0..samples)
        .map(|n| {
            let phase = std::f64::consts::TAU * frequency_hz * n as f64 / f64::from(rate_hz);
            (phase.sin() * 12_000.0) as i16
        })
        .collect()
}

fn pcmu(pcm: &[i16]) -> Vec<u8> {
    let mut payload = vec![0; pcm.len()];
    codecs::g711::encode(codecs::g711::Law::Mu, pcm, &mut payload);
    payload
}

/// Packets of an Opus tone, each of `frame_ms`, with in-band FEC.
fn opus_packets(frame_ms: u32, packets: usize) -> Vec<Vec<u8>> {
    let config = codecs::opus::EncoderConfig::wideband().with_fec(20);
    encoded(config, frame_ms, packets)
}

fn opus_packets_without_fec(frame_ms: u32, packets: usize) -> Vec<Vec<u8>> {
    encoded(codecs::opus::EncoderConfig::wideband(), frame_ms, packets)
}

fn encoded(config: codecs::opus::EncoderConfig, frame_ms: u32, packets: usize) -> Vec<Vec<u8>> {
    use codecs::opus::Encoder;
    let rate = codecs::SampleRate::Hz16000;
    let mut encoder = Encoder::new(config).unwrap();
    let frame = rate.samples(frame_ms);
    let pcm = tone(16_000, 330.0, frame * packets);
    pcm.chunks(frame)
        .map(|frame| {
            let mut packet = vec![0; 1_275];
            let len = encoder.encode(frame, &mut packet).unwrap();
            packet.truncate(len);
            packet
        })
        .collect()
}
