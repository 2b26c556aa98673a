//! Tones from digits.

use std::collections::VecDeque;
use std::error::Error;
use std::f64::consts::{PI, TAU};
use std::fmt;

use super::{AMPLITUDE_OF_0_DBM0, frequencies_hz};
use crate::SampleRate;

/// Digits that wait in one generator at most, the one that sounds not counted.
pub const DIGITS_QUEUED_MAX: usize = 64;
/// Shortest tone and shortest pause, in ms: what every receiver has to take (ITU-T Q.24).
pub const DURATION_MIN_MS: u32 = 40;
/// Longest tone and longest pause, in ms; a tone that is not released ends by itself then.
pub const DURATION_MAX_MS: u32 = 10_000;

/// How long a tone swells and fades, in ms, as part of its duration: short enough for every receiver, long enough not to
/// click.
const RAMP_MS: u32 = 3;
/// Levels that are made, in dBm0.
const LEVEL_DBM0: std::ops::RangeInclusive<f32> = -40.0..=0.0;

/// Levels of the two tones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ToneLevels {
    /// Of the low tone, in dBm0; -40 to 0, else the nearer of the two.
    pub low_dbm0: f32,
    /// Of the high tone, in dBm0. Usually 2 dB above the low one, because lines attenuate it more.
    pub high_dbm0: f32,
}

impl Default for ToneLevels {
    /// -10 and -8 dBm0.
    fn default() -> Self {
        Self {
            low_dbm0: -10.0,
            high_dbm0: -8.0,
        }
    }
}

/// Plays digits as tones into the slices of a caller, at any rate. Allocates only in [`new`](Self::new).
///
/// Two tones of 0 dBm0 each are louder than 16-bit samples can be and clip, as they do in G.711.
#[derive(Debug)]
pub struct ToneGenerator {
    rate: SampleRate,
    levels: ToneLevels,
    queue: VecDeque<QueuedDigit>,
    playing: Option<Playing>,
}

#[derive(Debug, Clone, Copy)]
struct QueuedDigit {
    digit: char,
    /// `None`: until [`ToneGenerator::release`].
    duration_samples: Option<usize>,
    pause_samples: usize,
}

#[derive(Debug, Clone, Copy)]
struct Playing {
    low: Oscillator,
    high: Oscillator,
    /// Since the tone began.
    position: usize,
    /// Where the tone ends and the pause begins.
    tone_samples: usize,
    is_open: bool,
    pause_samples: usize,
}

/// A sine by the recursion `y[n] = 2 cos(w) y[n-1] - y[n-2]`: one multiplication a sample. In `f64` its amplitude drifts by
/// less than one part in a million over [`DURATION_MAX_MS`].
#[derive(Debug, Clone, Copy)]
struct Oscillator {
    twice_cosine: f64,
    newest: f64,
    before: f64,
}

impl Oscillator {
    /// Begins at 0, upwards.
    fn new(rate: SampleRate, frequency_hz: f32, level_dbm0: f32) -> Self {
        let step = TAU * f64::from(frequency_hz) / f64::from(rate.hz());
        let level_dbm0 = level_dbm0.clamp(*LEVEL_DBM0.start(), *LEVEL_DBM0.end());
        let amplitude = f64::from(AMPLITUDE_OF_0_DBM0) * 10f64.powf(f64::from(level_dbm0) / 20.0);
        Self {
            twice_cosine: 2.0 * step.cos(),
            newest: 0.0,
            before: -amplitude * step.sin(),
        }
    }

    fn next(&mut self) -> f64 {
        let sample = self.newest;
        self.newest = self.twice_cosine * sample - self.before;
        self.before = sample;
        sample
    }
}

impl ToneGenerator {
    /// A silent generator for a stream of this rate.
    pub fn new(rate: SampleRate, levels: ToneLevels) -> Self {
        Self {
            rate,
            levels,
            queue: VecDeque::with_capacity(DIGITS_QUEUED_MAX),
            playing: None,
        }
    }

    /// Queues digits of `duration_ms` each, with silence of `pause_ms` after each; both [`DURATION_MIN_MS`] to
    /// [`DURATION_MAX_MS`], else the nearer of the two.
    ///
    /// # Errors
    /// [`ToneError::NoDigit`], [`ToneError::QueueFull`]; nothing is queued then.
    pub fn start(
        &mut self,
        digits: &str,
        duration_ms: u32,
        pause_ms: u32,
    ) -> Result<(), ToneError> {
        let before = self.queue.len();
        for digit in digits.chars() {
            let queued = self.enqueue(digit, Some(self.samples(duration_ms)), pause_ms);
            if let Err(error) = queued {
                self.queue.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Queues a digit whose length is not known yet: somebody holds the key down. [`release`](Self::release) ends it, and
    /// so does [`DURATION_MAX_MS`].
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn press(&mut self, digit: char, pause_ms: u32) -> Result<(), ToneError> {
        self.enqueue(digit, None, pause_ms)
    }

    /// Says how long the oldest digit of [`press`](Self::press) that has no end yet lasts; what was played of it already
    /// can't be taken back. No-op when there is none.
    pub fn release(&mut self, duration_ms: u32) {
        let duration_samples = self.samples(duration_ms);
        let ramp_samples = self.rate.samples(RAMP_MS);
        if let Some(playing) = self.playing.as_mut().filter(|playing| playing.is_open) {
            playing.is_open = false;
            playing.tone_samples = duration_samples
                .max(playing.position + ramp_samples)
                .min(playing.tone_samples);
            return;
        }
        let open = self
            .queue
            .iter_mut()
            .find(|queued| queued.duration_samples.is_none());
        if let Some(open) = open {
            open.duration_samples = Some(duration_samples);
        }
    }

    /// Is a digit or its pause under way, or waiting? Meanwhile other audio gives way.
    pub fn is_playing(&self) -> bool {
        self.playing.is_some() || !self.queue.is_empty()
    }

    /// Writes what sounds next and returns how many samples it wrote: all of `pcm` unless the last pause ended in it. What
    /// lies behind is untouched.
    pub fn fill(&mut self, pcm: &mut [i16]) -> usize {
        let mut written = 0;
        while let Some(room) = pcm.get_mut(written..).filter(|room| !room.is_empty()) {
            let Some(mut playing) = self.playing.take().or_else(|| self.next_digit()) else {
                break;
            };
            written += playing.fill(self.rate, room);
            if !playing.is_over() {
                self.playing = Some(playing);
            }
        }
        written
    }

    /// Silent at once, and nothing waits.
    pub fn reset(&mut self) {
        self.queue.clear();
        self.playing = None;
    }

    fn next_digit(&mut self) -> Option<Playing> {
        let queued = self.queue.pop_front()?;
        // Only digits are queued.
        let (low_hz, high_hz) = frequencies_hz(queued.digit)?;
        Some(Playing {
            low: Oscillator::new(self.rate, low_hz, self.levels.low_dbm0),
            high: Oscillator::new(self.rate, high_hz, self.levels.high_dbm0),
            position: 0,
            tone_samples: queued
                .duration_samples
                .unwrap_or_else(|| self.samples(DURATION_MAX_MS)),
            is_open: queued.duration_samples.is_none(),
            pause_samples: queued.pause_samples,
        })
    }

    fn enqueue(
        &mut self,
        digit: char,
        duration_samples: Option<usize>,
        pause_ms: u32,
    ) -> Result<(), ToneError> {
        if frequencies_hz(digit).is_none() {
            return Err(ToneError::NoDigit(digit));
        }
        if self.queue.len() >= DIGITS_QUEUED_MAX {
            return Err(ToneError::QueueFull);
        }
        self.queue.push_back(QueuedDigit {
            digit,
            duration_samples,
            pause_samples: self.samples(pause_ms),
        });
        Ok(())
    }

    fn samples(&self, duration_ms: u32) -> usize {
        self.rate
            .samples(duration_ms.clamp(DURATION_MIN_MS, DURATION_MAX_MS))
    }
}

impl Playing {
    /// Writes as much as fits of tone and pause.
    fn fill(&mut self, rate: SampleRate, room: &mut [i16]) -> usize {
        let ramp_samples = rate.samples(RAMP_MS);
        let left = self.tone_samples + self.pause_samples - self.position;
        let samples = left.min(room.len());
        for slot in &mut room[..samples] {
            *slot = if self.position < self.tone_samples {
                let from_edge = self.position.min(self.tone_samples - 1 - self.position);
                let sample = self.low.next() + self.high.next();
                // The cast saturates.
                (sample * envelope(from_edge, ramp_samples)).round() as i16
            } else {
                0
            };
            self.position += 1;
        }
        samples
    }

    fn is_over(&self) -> bool {
        self.position >= self.tone_samples + self.pause_samples
    }
}

/// A raised cosine over the first `ramp_samples` from either end of the tone.
fn envelope(from_edge: usize, ramp_samples: usize) -> f64 {
    if from_edge >= ramp_samples {
        return 1.0;
    }
    0.5 - 0.5 * (PI * (from_edge as f64 + 0.5) / ramp_samples as f64).cos()
}

/// Why a digit can't be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToneError {
    /// A character that is no digit.
    NoDigit(char),
    /// More than [`DIGITS_QUEUED_MAX`] digits wait.
    QueueFull,
}

impl fmt::Display for ToneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDigit(character) => write!(f, "{character:?} is no digit: 0-9, *, #, A-D"),
            Self::QueueFull => write!(f, "more than {DIGITS_QUEUED_MAX} digits wait to be played"),
        }
    }
}

impl Error for ToneError {}
