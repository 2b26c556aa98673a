//! Decode, conceal, resample, cut into the sink's packets, encode: the audio half of a transcoding direction.
//!
//! Positions are those of [`super::timeline`]. Audio that follows on without a break is joined; a jump ahead begins a
//! new stretch with its own position and the marker. Which packets come, and what is lost, is decided elsewhere.

use std::time::Duration;

use codecs::SampleRate;
use codecs::opus::{Conditions, Limits};
use codecs::resample::Resampler;

use super::audio_codec::{AudioDecoder, AudioEncoder, CodecFault};
use super::direction::PAYLOAD_LEN_MAX;
use super::timeline::{Position, ticks};
use super::{BridgeError, Codec};

/// The longest packet that is decoded: an Opus packet can't be longer.
const PACKET_MS_MAX: u32 = 120;
/// Buffers have room for a packet of this length, and grow with the first longer one: hardly a call has any.
const PACKET_MS_USUAL: u32 = 20;
/// A jump of the source's clock that is smaller than this is no silence: sources that count a little wrong.
const JUMP_MIN: Duration = Duration::from_millis(10);

/// A frame that was encoded for the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EncodedFrame {
    pub position: Position,
    pub marker: bool,
    pub len: usize,
    /// It was not encoded: there was nothing to hear.
    pub is_silence: bool,
}

pub(super) struct Transcoder {
    decoder: AudioDecoder,
    resampler: Option<Resampler>,
    encoder: AudioEncoder,
    decode_rate_hz: i64,
    encode_rate_hz: i64,
    sink_clock_hz: i64,
    frame_samples: usize,
    /// Decoded audio of one packet; as long as the longest so far.
    decoded: Vec<i16>,
    decoded_max: usize,
    /// The same, resampled.
    resampled: Vec<i16>,
    /// Samples that wait to be encoded.
    queue: Vec<i16>,
    /// Where the first sample of the queue lies; with an empty queue, where the last one ended.
    head: Option<Position>,
    /// Where the audio after the first frame of the queue lies, when it does not follow on.
    next_stretch: Option<Position>,
    marker_due: bool,
    /// Sink ticks of the last packet that was decoded.
    packet_ticks: i64,
}

impl Transcoder {
    pub fn new(
        from: Codec,
        to: Codec,
        decode_rate: SampleRate,
        encode_rate: SampleRate,
        ptime_ms: u8,
    ) -> Result<Self, BridgeError> {
        let encoder = AudioEncoder::new(to, encode_rate)?;
        let decoded_usual = decode_rate.samples(PACKET_MS_USUAL);
        let resampler =
            (decode_rate != encode_rate).then(|| Resampler::new(decode_rate, encode_rate));
        let resampled_usual = resampler
            .as_ref()
            .map_or(0, |resampler| resampler.output_len_max(decoded_usual));
        let frame_samples = encode_rate.samples(packet_duration_ms(to, ptime_ms));
        let sink_clock_hz = i64::from(to.clock_rate_hz());
        Ok(Self {
            decoder: AudioDecoder::new(from, decode_rate)?,
            resampler,
            encoder,
            decode_rate_hz: i64::from(decode_rate.hz()),
            encode_rate_hz: i64::from(encode_rate.hz()),
            sink_clock_hz,
            frame_samples,
            decoded: vec![0; decoded_usual],
            decoded_max: decode_rate.samples(PACKET_MS_MAX),
            resampled: vec![0; resampled_usual],
            // At most a frame less one sample waits when a packet comes, and is filled up to a frame before it.
            queue: Vec::with_capacity(frame_samples + decoded_usual.max(resampled_usual)),
            head: None,
            next_stretch: None,
            marker_due: true,
            packet_ticks: sink_clock_hz / 50,
        })
    }

    /// Sink ticks of the last packet that was decoded; 20 ms before the first.
    pub fn packet_ticks(&self) -> i64 {
        self.packet_ticks
    }

    /// Sink ticks of the shortest stretch that can be concealed.
    pub fn concealment_step_ticks(&self) -> i64 {
        ticks(self.decoder.concealment_step(), self.sink_clock_hz as u32).max(1)
    }

    /// Where audio goes on if nothing is missing; none before the first packet.
    pub fn expected_position(&self) -> Option<Position> {
        match self.next_stretch {
            Some(next_stretch) => {
                let samples = self.queue.len().saturating_sub(self.frame_samples);
                Some(next_stretch + self.sink_ticks_of(samples))
            }
            None => Some(self.head? + self.sink_ticks_of(self.queue.len())),
        }
    }

    /// Another source speaks: its decoder knows nothing of the old one.
    pub fn restart_source(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
        self.decoder.restart();
        self.marker_due = true;
    }

    /// The encoder follows the path to the sink, the operator and the CPU.
    pub fn adapt(&mut self, limits: &Limits, conditions: &Conditions) -> Result<(), CodecFault> {
        self.encoder.adapt(limits, conditions)
    }

    /// Decodes a packet that lies at `position`; with `marker` the frame that takes its begin gets the marker. Call
    /// only when no whole frame waits.
    pub fn decode(
        &mut self,
        payload: &[u8],
        position: Position,
        marker: bool,
    ) -> Result<(), CodecFault> {
        let needed = self.decoder.samples_of(payload).min(self.decoded_max);
        grow(&mut self.decoded, needed);
        let samples = self.decoder.decode(payload, &mut self.decoded)?;
        self.packet_ticks = samples as i64 * self.sink_clock_hz / self.decode_rate_hz;
        self.append(samples, position, marker);
        Ok(())
    }

    /// Makes up `sink_ticks` of audio at `position`. Call only when no whole frame waits.
    pub fn conceal(&mut self, sink_ticks: i64, position: Position) -> Result<(), CodecFault> {
        let samples = self.decoded_samples(sink_ticks);
        grow(&mut self.decoded, samples.min(self.decoded_max));
        let missing = self.decoded.get_mut(..samples).ok_or(CodecFault)?;
        self.decoder.conceal(missing)?;
        self.append(samples, position, false);
        Ok(())
    }

    /// Sink ticks of the frame before `next` that `next` can bring back; none if it carries no in-band FEC.
    pub fn recoverable_ticks(&self, next: &[u8]) -> Option<i64> {
        let samples = self.decoder.recoverable_samples(next)?;
        Some(samples as i64 * self.sink_clock_hz / self.decode_rate_hz)
    }

    /// Brings back the frame of `sink_ticks` before `next`. Call only when no whole frame waits.
    pub fn recover(
        &mut self,
        next: &[u8],
        sink_ticks: i64,
        position: Position,
    ) -> Result<(), CodecFault> {
        let samples = self.decoded_samples(sink_ticks);
        grow(&mut self.decoded, samples.min(self.decoded_max));
        let missing = self.decoded.get_mut(..samples).ok_or(CodecFault)?;
        self.decoder.recover(next, missing)?;
        self.append(samples, position, false);
        Ok(())
    }

    /// Encodes the frame that waits into `payload`. None without a whole frame.
    pub fn encode(&mut self, payload: &mut [u8]) -> Option<Result<EncodedFrame, CodecFault>> {
        let frame = self.queue.get(..self.frame_samples)?;
        let encoded = self.encoder.encode(frame, payload);
        let position = self.head.unwrap_or_default();
        let marker = std::mem::take(&mut self.marker_due);
        self.queue.drain(..self.frame_samples);
        match self.next_stretch.take() {
            Some(next_stretch) => {
                self.head = Some(next_stretch);
                self.marker_due = true;
            }
            None => self.head = Some(position + self.sink_ticks_of(self.frame_samples)),
        }
        Some(encoded.map(|encoded| EncodedFrame {
            position,
            marker,
            len: encoded.len,
            is_silence: encoded.is_silence,
        }))
    }

    fn append(&mut self, samples: usize, position: Position, marker: bool) {
        let jump_min = ticks(JUMP_MIN, self.sink_clock_hz as u32);
        match self.expected_position() {
            None => self.head = Some(position),
            Some(expected) if position - expected <= jump_min => self.marker_due |= marker,
            Some(_) if self.queue.is_empty() => {
                self.head = Some(position);
                self.marker_due = true;
            }
            Some(_) => {
                // The rest before the jump is less than a frame: silence fills it up.
                self.queue.resize(self.frame_samples, 0);
                let filled_to = self.expected_position().unwrap_or(position);
                self.next_stretch = Some(position.max(filled_to));
            }
        }
        // Never longer than the buffers: decoder and resampler say what they wrote into them.
        let decoded = self.decoded.get(..samples).unwrap_or(&self.decoded);
        match &mut self.resampler {
            None => self.queue.extend_from_slice(decoded),
            Some(resampler) => {
                grow(&mut self.resampled, resampler.output_len_max(decoded.len()));
                let written = resampler.process(decoded, &mut self.resampled);
                let resampled = self.resampled.get(..written).unwrap_or(&self.resampled);
                self.queue.extend_from_slice(resampled);
            }
        }
    }

    fn sink_ticks_of(&self, samples: usize) -> i64 {
        samples as i64 * self.sink_clock_hz / self.encode_rate_hz
    }

    fn decoded_samples(&self, sink_ticks: i64) -> usize {
        usize::try_from(sink_ticks * self.decode_rate_hz / self.sink_clock_hz).unwrap_or(0)
    }
}

/// Makes a buffer at least `samples` long.
pub(super) fn grow(buffer: &mut Vec<i16>, samples: usize) {
    if buffer.len() < samples {
        buffer.resize(samples, 0);
    }
}

/// The packet duration towards a sink that asked for `ptime_ms`: what the codec can do, and what fits in a datagram. Of 30
/// ms of Opus 20 are made: `ptime` is a wish, and no frame of Opus has 30.
pub(super) fn packet_duration_ms(codec: Codec, ptime_ms: u8) -> u32 {
    let ptime_ms = u32::from(ptime_ms);
    match codec {
        Codec::Opus => match ptime_ms {
            0..20 => 10,
            20..40 => 20,
            40..60 => 40,
            60.. => 60,
        },
        Codec::Pcmu | Codec::Pcma => ptime_ms.clamp(10, 60),
        Codec::L16(rate) => {
            let longest_ms = PAYLOAD_LEN_MAX / rate.samples(1) / 2;
            // In steps of 10 ms, as the far ends' own.
            let longest_ms = longest_ms as u32 / 10 * 10;
            ptime_ms.clamp(10, longest_ms.clamp(10, 60))
        }
    }
}
