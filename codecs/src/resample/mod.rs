//! Streaming conversion between the four sample rates, in 16-bit integers, by vector instructions where the processor has them.
//!
//! A polyphase FIR: linear phase, so that its delay is the same for every frequency and known exactly
//! ([`Resampler::group_delay`]). As fractions of the lower rate: flat within 0.01 dB up to 0.425, -0.05 dB at most at 0.45,
//! aliases and images at -68 dB or less from 0.575 on. Between 8 and 48 kHz there are two stages, a steep one between 8 and 16 kHz
//! and a gentle one between 16 and 48: a quarter of the work.
//!
//! The filters are designed in `design.rs`; `stage.rs` feeds one of them with a stream; `kernel/` has the sums, for each
//! instruction set and in safe Rust, with equal results. Not here: other ratios, drift between clocks, dither.

mod design;
mod kernel;
mod stage;

use crate::SampleRate;
use crate::simd::Simd;
use design::{Filter, Shape};
use stage::Stage;
use std::time::Duration;

/// Samples that go from the first of two stages to the second at a time: 20 ms at 16 kHz.
const BETWEEN_SAMPLES: usize = 320;

/// Converts one stream from one rate to another. Blocks may have any length; where the stream is cut changes nothing.
/// Allocates only in [`new`](Self::new).
///
/// An output comes out with the input that it is due with, and for any whole number of milliseconds of input there are as
/// many of output.
///
/// ```
/// use codecs::{SampleRate, resample::Resampler};
///
/// let mut resampler = Resampler::new(SampleRate::Hz8000, SampleRate::Hz48000);
/// let mut output = [0; 960];
/// assert_eq!(resampler.process(&[0; 160], &mut output), 960);
/// ```
#[derive(Debug, Clone)]
pub struct Resampler {
    from: SampleRate,
    stages: Stages,
}

#[derive(Debug, Clone)]
enum Stages {
    /// Both rates are the same.
    None,
    One(Stage),
    /// With a buffer for what goes from the first to the second.
    Two(Stage, Box<[i16]>, Stage),
}

impl Resampler {
    /// A converter for a stream that begins now, after silence, with the best instructions of this processor.
    pub fn new(from: SampleRate, to: SampleRate) -> Self {
        Self::with_simd(from, to, Simd::detected())
    }

    /// The same with given instructions: for tests and benchmarks, since the result is the same with all.
    pub fn with_simd(from: SampleRate, to: SampleRate, simd: Simd) -> Self {
        use SampleRate::{Hz8000, Hz16000, Hz24000, Hz48000};
        let stage = |shape| Stage::new(Filter::of(shape), simd);
        let one = |shape| Stages::One(stage(shape));
        let two = |first, second| {
            let first = stage(first);
            Stages::Two(
                first,
                vec![0; BETWEEN_SAMPLES].into_boxed_slice(),
                stage(second),
            )
        };
        let stages = match (from, to) {
            (Hz8000, Hz16000) | (Hz24000, Hz48000) => one(Shape::DOUBLE),
            (Hz8000, Hz24000) | (Hz16000, Hz48000) => one(Shape::TRIPLE),
            (Hz16000, Hz24000) => one(Shape::TWO_TO_THREE),
            (Hz8000, Hz48000) => two(Shape::DOUBLE, Shape::GENTLE_TRIPLE),
            (Hz16000, Hz8000) | (Hz48000, Hz24000) => one(Shape::HALVE),
            (Hz24000, Hz8000) | (Hz48000, Hz16000) => one(Shape::THIRD),
            (Hz24000, Hz16000) => one(Shape::THREE_TO_TWO),
            (Hz48000, Hz8000) => two(Shape::GENTLE_THIRD, Shape::HALVE),
            (Hz8000, Hz8000) | (Hz16000, Hz16000) | (Hz24000, Hz24000) | (Hz48000, Hz48000) => {
                Stages::None
            }
        };
        Self { from, stages }
    }

    /// Converts `input`, all of it, and returns the samples written to `output`. Give it
    /// [`output_len_max`](Self::output_len_max) of room; what does not fit is dropped, and the stream stays in time.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        match &mut self.stages {
            Stages::None => {
                let copied = input.len().min(output.len());
                output[..copied].copy_from_slice(&input[..copied]);
                copied
            }
            Stages::One(stage) => stage.process(input, output),
            Stages::Two(first, between, second) => {
                let mut written = 0;
                let shape = first.filter().shape;
                let block_samples = BETWEEN_SAMPLES / shape.interpolation * shape.decimation;
                for block in input.chunks(block_samples) {
                    let passed = first.process(block, between);
                    written += second.process(&between[..passed], &mut output[written..]);
                }
                written
            }
        }
    }

    /// The most samples that `input_len` samples of input can give.
    pub fn output_len_max(&self, input_len: usize) -> usize {
        match &self.stages {
            Stages::None => input_len,
            Stages::One(stage) => stage.output_len_max(input_len),
            Stages::Two(first, _, second) => second.output_len_max(first.output_len_max(input_len)),
        }
    }

    /// How much later the same sound comes out. Exact, and the same at every frequency; 3 ms between 8 and 16 kHz, 3.3125
    /// ms between 8 and 48, 1.5 ms between 16 and 24 or 48, 1 ms between 24 and 48, 3 ms between 8 and 24.
    pub fn group_delay(&self) -> Duration {
        let of_stage = |stage: &Stage, input_hz: u32| {
            // Exact: the delays of these filters are whole multiples of half a microsecond.
            let samples = stage.filter().delay_input_samples() as u64;
            Duration::from_nanos(samples * 1_000_000_000 / u64::from(input_hz))
        };
        let from_hz = self.from.hz();
        match &self.stages {
            Stages::None => Duration::ZERO,
            Stages::One(stage) => of_stage(stage, from_hz),
            Stages::Two(first, _, second) => {
                let shape = first.filter().shape;
                let between_hz = from_hz * shape.interpolation as u32 / shape.decimation as u32;
                of_stage(first, from_hz) + of_stage(second, between_hz)
            }
        }
    }

    /// Forgets the stream so far.
    pub fn reset(&mut self) {
        match &mut self.stages {
            Stages::None => {}
            Stages::One(stage) => stage.reset(),
            Stages::Two(first, _, second) => {
                first.reset();
                second.reset();
            }
        }
    }
}

#[cfg(test)]
mod tests;
