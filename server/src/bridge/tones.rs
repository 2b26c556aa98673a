//! Digits as tones in the audio (ITU-T Q.23), for legs without telephone-events: made towards the sink, heard from the source.
//!
//! Tones go out in packets of their own on the sink's packet clock, so that they sound whether or not the source speaks; its
//! audio gives way, as it does to telephone-events. What is heard is told and changes nothing: the tone passes as it came.

use std::time::{Duration, Instant};

use codecs::SampleRate;
use codecs::digit::{DigitProgress, DigitReceived};
use codecs::dtmf::{ToneDetector, ToneGenerator, ToneLevels};

use super::audio_codec::{AudioDecoder, AudioEncoder};
use super::source_sequence::Ordinal;
use super::timeline::Position;
use super::transcoder::{grow, packet_duration_ms};
use super::{BridgeError, Codec, StreamFormat};

/// Silence after each digit, in ms; detectors want 40 at least (ITU-T Q.24).
const PAUSE_MS: u32 = 60;
/// The longest packet that is listened to.
const PACKET_MS_MAX: u32 = 120;
/// A player that is later than this does not catch up: the tone goes on where it stands.
const LATE_MAX: Duration = Duration::from_millis(200);
/// Packets in a row that are made up for the ear at most.
const CONCEALED_MAX: i64 = 2;
/// What Opus encodes tones from and decodes them to: enough for the highest of them.
const OPUS_RATE: SampleRate = SampleRate::Hz8000;

/// Which of a leg's digits are tones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigitTones {
    /// None.
    #[default]
    Never,
    /// Those of a leg without telephone-events whose codec carries tones as they are: G.711, L16.
    WhereCarried,
    /// Those of a leg without telephone-events, whatever its codec.
    Always,
}

impl DigitTones {
    /// Whether they go for a leg of this format.
    pub fn apply_to(self, format: &StreamFormat) -> bool {
        format.telephone_event.is_none()
            && match self {
                Self::Never => false,
                Self::WhereCarried => format.codec != Codec::Opus,
                Self::Always => true,
            }
    }
}

fn rate_of(codec: Codec) -> SampleRate {
    match codec {
        Codec::Pcmu | Codec::Pcma => SampleRate::Hz8000,
        Codec::L16(rate) => rate,
        Codec::Opus => OPUS_RATE,
    }
}

/// Plays digits to a sink.
pub(super) struct TonePlayer {
    generator: ToneGenerator,
    encoder: AudioEncoder,
    frame: Vec<i16>,
    frame_duration: Duration,
    frame_ticks: Position,
    /// When and where the next packet goes, or the last one ends; none while silent.
    next: Option<(Instant, Position)>,
}

impl TonePlayer {
    pub fn new(sink: &StreamFormat) -> Result<Self, BridgeError> {
        let rate = rate_of(sink.codec);
        let frame_ms = packet_duration_ms(sink.codec, sink.ptime_ms);
        Ok(Self {
            generator: ToneGenerator::new(rate, ToneLevels::default()),
            encoder: AudioEncoder::new(sink.codec, rate)?,
            frame: vec![0; rate.samples(frame_ms)],
            frame_duration: Duration::from_millis(frame_ms.into()),
            frame_ticks: Position::from(sink.codec.clock_rate_hz() / 1_000 * frame_ms),
            next: None,
        })
    }

    /// Queues digits, all or none.
    pub fn start(&mut self, digits: &str, duration_ms: u32) -> Result<(), BridgeError> {
        Ok(self.generator.start(digits, duration_ms, PAUSE_MS)?)
    }

    /// A key goes down; false if too many digits wait.
    pub fn press(&mut self, digit: char) -> bool {
        self.generator.press(digit, PAUSE_MS).is_ok()
    }

    /// The key that is down comes up after so long.
    pub fn release(&mut self, duration_ms: u32) {
        self.generator.release(duration_ms);
    }

    /// Whether the sink hears a digit now, or is about to.
    pub fn is_sending(&self, now: Instant) -> bool {
        self.generator.is_playing() || self.next.is_some_and(|(until, _)| now < until)
    }

    /// When [`TonePlayer::poll_packet`] has something to do.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let begins = self.generator.is_playing().then_some(now);
        self.next.map(|(at, _)| at).or(begins)
    }

    /// The next packet that is due: where it lies and how long it is, its payload in `payload`. `position` is the sink's
    /// clock at `now`.
    pub fn poll_packet(
        &mut self,
        now: Instant,
        position: Position,
        payload: &mut [u8],
    ) -> Option<(Position, usize)> {
        loop {
            if self.next.is_some_and(|(at, _)| now < at) {
                return None;
            }
            if !self.generator.is_playing() {
                self.next = None;
                return None;
            }
            let on_time = self
                .next
                .filter(|(at, _)| now.saturating_duration_since(*at) <= LATE_MAX);
            let (at, position) = on_time.unwrap_or((now, position));
            self.next = Some((at + self.frame_duration, position + self.frame_ticks));
            let written = self.generator.fill(&mut self.frame);
            self.frame.get_mut(written..).unwrap_or_default().fill(0);
            // A frame that could not be encoded is a gap in the tone; no codec of ours refuses one.
            if let Ok(encoded) = self.encoder.encode(&self.frame, payload) {
                return Some((position, encoded.len));
            }
        }
    }
}

/// Hears digits in what a source sends.
pub(super) struct ToneEar {
    decoder: AudioDecoder,
    detector: ToneDetector,
    /// As long as the longest packet so far.
    pcm: Vec<i16>,
    pcm_max: usize,
    /// The newest packet that was heard, and its samples.
    newest: Option<(Ordinal, usize)>,
}

impl ToneEar {
    pub fn new(source: &StreamFormat) -> Result<Self, BridgeError> {
        let rate = rate_of(source.codec);
        Ok(Self {
            decoder: AudioDecoder::new(source.codec, rate)?,
            detector: ToneDetector::new(rate),
            pcm: Vec::new(),
            pcm_max: rate.samples(PACKET_MS_MAX),
            newest: None,
        })
    }

    /// Listens to a packet; the source's packets in order, as far as they came. What is missing before it is made up, so that
    /// a tone goes on. The digits that ended go to `ended`.
    pub fn hear(&mut self, payload: &[u8], ordinal: Ordinal, mut ended: impl FnMut(DigitReceived)) {
        if let Some((newest, samples)) = self.newest {
            let missing = (ordinal - newest - 1).clamp(0, CONCEALED_MAX);
            for _ in 0..missing {
                let lost = self.pcm.get_mut(..samples).unwrap_or_default();
                if self.decoder.conceal(lost).is_ok() {
                    self.listen(samples, &mut ended);
                }
            }
        }
        grow(
            &mut self.pcm,
            self.decoder.samples_of(payload).min(self.pcm_max),
        );
        let Ok(samples) = self.decoder.decode(payload, &mut self.pcm) else {
            return;
        };
        self.newest = Some((ordinal, samples));
        self.listen(samples, &mut ended);
    }

    fn listen(&mut self, samples: usize, mut ended: impl FnMut(DigitReceived)) {
        let pcm = self.pcm.get(..samples).unwrap_or(&self.pcm);
        self.detector.process(pcm, |progress| {
            if let DigitProgress::Ended(digit) = progress {
                ended(digit);
            }
        });
    }

    /// Another source speaks: the digit that the old one held ends.
    pub fn restart(&mut self, mut ended: impl FnMut(DigitReceived)) {
        self.decoder.restart();
        self.newest = None;
        if let Some(DigitProgress::Ended(digit)) = self.detector.finish() {
            ended(digit);
        }
    }
}
