//! From received packets to a recording on the wall clock: in sequence order, losses concealed, where each packet would have
//! been heard by an ear without a jitter buffer.
//!
//! Packets are kept as they came and decoded at the end, so that recording costs nothing while a call goes on.

use std::collections::BTreeMap;
use std::time::Instant;

use codecs::g711::{self, Law};
use codecs::linear16;
use codecs::opus::{self, Decoder};
use codecs::plc::Concealer;
use serde::Serialize;

use super::codec::{AudioCodec, MediaError};
use crate::audio::Audio;

/// The most packets of one recording: 20 minutes.
const PACKETS_MAX: usize = 20 * 60 * 50;
/// Concealment of one gap ends here; the rest is silence.
const CONCEALED_MS_MAX: u32 = 100;
/// When timestamps and arrival disagree by more, the source began to count anew.
const RESTART_S: f64 = 0.5;
/// The longest recording, in s.
const RECORDING_S_MAX: f64 = 20.0 * 60.0;

/// One RTP packet as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedPacket {
    /// When it was read from the socket.
    pub arrival: Instant,
    /// The source.
    pub ssrc: u32,
    /// As sent.
    pub sequence_number: u16,
    /// In the payload's clock.
    pub timestamp: u32,
    /// As sent.
    pub payload_type: u8,
    /// The marker bit.
    pub marker: bool,
    /// Without header, extensions and padding.
    pub payload: Vec<u8>,
}

/// Keeps the audio packets of one direction of a call.
#[derive(Debug, Clone)]
pub struct Recorder {
    begin: Instant,
    packets: Vec<ReceivedPacket>,
    overflowed: usize,
}

/// What a recorder got.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct RecordingStatistics {
    /// Packets received, without duplicates.
    pub received: u64,
    /// Sequence numbers that never came, between the first and the last that did.
    pub lost: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Sources, and restarts of one source's clock.
    pub streams: u64,
    /// Payloads that the decoder refused.
    pub undecodable: u64,
    /// Interarrival jitter at the end (RFC 3550 section 6.4.1), in ms.
    pub jitter_ms: f64,
}

/// A decoded recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// When its first sample was heard.
    pub begin: Instant,
    /// What was heard.
    pub audio: Audio,
    /// What came over the network.
    pub statistics: RecordingStatistics,
}

impl Recording {
    /// The time `instant` in ms from the first sample.
    pub fn at_ms(&self, instant: Instant) -> f64 {
        match instant.checked_duration_since(self.begin) {
            Some(after) => after.as_secs_f64() * 1000.0,
            None => self.begin.duration_since(instant).as_secs_f64() * -1000.0,
        }
    }
}

impl Recorder {
    /// A recording whose first sample is at `begin`.
    pub fn new(begin: Instant) -> Self {
        Self {
            begin,
            packets: Vec::new(),
            overflowed: 0,
        }
    }

    /// Keeps a packet; telephone-events belong elsewhere.
    pub fn handle_packet(&mut self, packet: ReceivedPacket) {
        if self.packets.len() < PACKETS_MAX {
            self.packets.push(packet);
        } else {
            self.overflowed += 1;
        }
    }

    /// The packets, in the order of arrival.
    pub fn packets(&self) -> &[ReceivedPacket] {
        &self.packets
    }

    /// Decodes what was received so far.
    ///
    /// # Errors
    /// [`MediaError`] when a decoder can't be made; payloads that can't be decoded are counted and concealed.
    pub fn recording(&self, codec: AudioCodec) -> Result<Recording, MediaError> {
        let mut statistics = RecordingStatistics::default();
        let mut audio = Audio {
            sample_rate_hz: codec.clock_rate_hz(),
            samples: Vec::new(),
        };
        for stream in streams(&self.packets, self.begin, codec, &mut statistics) {
            stream.decode(codec, &mut audio, &mut statistics)?;
        }
        Ok(Recording {
            begin: self.begin,
            audio,
            statistics,
        })
    }
}

/// A run of packets that share one source and one course of the clock.
struct Stream<'a> {
    /// By extended sequence number.
    packets: BTreeMap<i64, Placed<'a>>,
}

struct Placed<'a> {
    packet: &'a ReceivedPacket,
    /// Extended timestamp from the stream's first packet, in samples.
    timestamp: i64,
    /// Arrival from the recording's begin, in s.
    arrival_s: f64,
}

fn streams<'a>(
    packets: &'a [ReceivedPacket],
    begin: Instant,
    codec: AudioCodec,
    statistics: &mut RecordingStatistics,
) -> Vec<Stream<'a>> {
    struct Open<'a> {
        stream: Stream<'a>,
        ssrc: u32,
        highest: i64,
        last: (u16, u32, i64, f64),
    }
    let clock = f64::from(codec.clock_rate_hz());
    let mut open: Vec<Open<'a>> = Vec::new();
    let mut jitter_s = 0.0;
    for packet in packets {
        let arrival_s = seconds_after(packet.arrival, begin);
        let placed = |timestamp| Placed {
            packet,
            timestamp,
            arrival_s,
        };
        let known = open.iter_mut().rev().find(|open| open.ssrc == packet.ssrc);
        if let Some(known) = known {
            let (sequence, timestamp, extended_timestamp, last_arrival_s) = known.last;
            let step = i64::from(packet.sequence_number.wrapping_sub(known.highest as u16) as i16);
            let extended = known.highest + step;
            let elapsed = i64::from(packet.timestamp.wrapping_sub(timestamp) as i32);
            let disagreement_s = elapsed as f64 / clock - (arrival_s - last_arrival_s);
            if disagreement_s.abs() < RESTART_S {
                jitter_s += (disagreement_s.abs() - jitter_s) / 16.0;
                if known.stream.packets.contains_key(&extended) {
                    statistics.duplicates += 1;
                    continue;
                }
                if packet.sequence_number.wrapping_sub(sequence) as i16 > 0 {
                    known.highest = extended;
                    known.last = (
                        packet.sequence_number,
                        packet.timestamp,
                        extended_timestamp + elapsed,
                        arrival_s,
                    );
                } else {
                    statistics.reordered += 1;
                }
                known
                    .stream
                    .packets
                    .insert(extended, placed(extended_timestamp + elapsed));
                continue;
            }
        }
        let first = i64::from(packet.sequence_number);
        open.push(Open {
            stream: Stream {
                packets: BTreeMap::from([(first, placed(0))]),
            },
            ssrc: packet.ssrc,
            highest: first,
            last: (packet.sequence_number, packet.timestamp, 0, arrival_s),
        });
    }
    statistics.jitter_ms = jitter_s * 1000.0;
    statistics.streams = open.len() as u64;
    open.into_iter().map(|open| open.stream).collect()
}

impl Stream<'_> {
    fn decode(
        &self,
        codec: AudioCodec,
        audio: &mut Audio,
        statistics: &mut RecordingStatistics,
    ) -> Result<(), MediaError> {
        let rate = f64::from(audio.sample_rate_hz);
        let Some(transit) = self.median_transit(rate) else {
            return Ok(());
        };
        let mut decoder = PayloadDecoder::new(codec)?;
        let mut expected: Option<(i64, i64)> = None;
        for (sequence, placed) in &self.packets {
            statistics.received += 1;
            let position = placed.timestamp + transit;
            if let Some((next_sequence, next_position)) = expected {
                let lost = sequence - next_sequence;
                statistics.lost += lost.unsigned_abs();
                // Without a lost packet a gap is silence that the source chose (DTX, hold).
                if lost > 0 && position > next_position {
                    let most = codec.sample_rate().samples(CONCEALED_MS_MAX) as i64;
                    let gap = (position - next_position).min(most);
                    let sound = decoder.conceal(gap as usize, &placed.packet.payload)?;
                    place(audio, next_position, &sound);
                }
            }
            match decoder.decode(&placed.packet.payload) {
                Some(sound) => place(audio, position, &sound),
                None => statistics.undecodable += 1,
            }
            expected = Some((sequence + 1, position + decoder.last_samples as i64));
        }
        Ok(())
    }

    /// Where timestamp 0 is heard, in samples from the recording's begin: the median, so that neither the first packet nor a
    /// late one decides.
    fn median_transit(&self, rate: f64) -> Option<i64> {
        let mut transits: Vec<i64> = self
            .packets
            .values()
            .map(|placed| (placed.arrival_s * rate) as i64 - placed.timestamp)
            .collect();
        transits.sort_unstable();
        transits.get(transits.len() / 2).copied()
    }
}

/// One decoder over all codecs.
struct PayloadDecoder {
    codec: AudioCodec,
    opus: Decoder,
    concealer: Concealer,
    last_samples: usize,
}

impl PayloadDecoder {
    fn new(codec: AudioCodec) -> Result<Self, MediaError> {
        Ok(Self {
            codec,
            opus: Decoder::new(codec.sample_rate())?,
            concealer: Concealer::new(codec.sample_rate()),
            last_samples: codec.packet_samples(),
        })
    }

    fn decode(&mut self, payload: &[u8]) -> Option<Vec<i16>> {
        let mut sound = match self.codec {
            AudioCodec::Opus => {
                let mut sound = vec![0; opus::packet_samples_max(self.codec.sample_rate())];
                let samples = self.opus.decode(payload, &mut sound).ok()?;
                sound.truncate(samples);
                self.last_samples = samples;
                return Some(sound);
            }
            AudioCodec::Pcmu | AudioCodec::Pcma => {
                let law = if self.codec == AudioCodec::Pcmu {
                    Law::Mu
                } else {
                    Law::A
                };
                let mut sound = vec![0; payload.len()];
                g711::decode(law, payload, &mut sound);
                sound
            }
            AudioCodec::L16 => {
                let mut sound = vec![0; payload.len() / 2];
                linear16::from_be_bytes(payload, &mut sound);
                sound
            }
        };
        self.concealer.good_frame(&mut sound);
        self.last_samples = sound.len();
        Some(sound)
    }

    /// Sound for a gap of `samples` before `next_payload`.
    fn conceal(&mut self, samples: usize, next_payload: &[u8]) -> Result<Vec<i16>, MediaError> {
        let mut sound = vec![0; samples];
        let packet = self.codec.packet_samples();
        if self.codec != AudioCodec::Opus {
            self.concealer.conceal(&mut sound);
            return Ok(sound);
        }
        // Gaps are whole packets, except behind a source that changes its packet length: then silence is honest.
        if !samples.is_multiple_of(packet) {
            return Ok(sound);
        }
        let recovered = if opus::has_lbrr(next_payload) {
            packet
        } else {
            0
        };
        let (guessed, copied) = sound.split_at_mut(samples - recovered);
        for frame in guessed.chunks_mut(packet) {
            self.opus.conceal(frame)?;
        }
        if !copied.is_empty() && self.opus.decode_fec(next_payload, copied).is_err() {
            copied.fill(0);
        }
        Ok(sound)
    }
}

/// Writes `sound` at `position`; what would lie before the recording or hours behind it is cut off.
fn place(audio: &mut Audio, position: i64, sound: &[i16]) {
    let longest = (RECORDING_S_MAX * f64::from(audio.sample_rate_hz)) as i64;
    let skipped = usize::try_from(-position).unwrap_or(0).min(sound.len());
    let sound = sound.get(skipped..).unwrap_or_default();
    let begin = position.max(0);
    if sound.is_empty() || begin + sound.len() as i64 > longest {
        return;
    }
    let begin = begin as usize;
    let end = begin + sound.len();
    if audio.samples.len() < end {
        audio.samples.resize(end, 0);
    }
    audio.samples[begin..end].copy_from_slice(sound);
}

fn seconds_after(instant: Instant, begin: Instant) -> f64 {
    match instant.checked_duration_since(begin) {
        Some(after) => after.as_secs_f64(),
        None => -begin.duration_since(instant).as_secs_f64(),
    }
}
