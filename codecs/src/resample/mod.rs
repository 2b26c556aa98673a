//! Streaming conversion between the four sample rates.
//!
//! A polyphase FIR ([`design`]): linear phase, so that its delay is the same for every frequency and known exactly. Each
//! output sample is one dot product of a branch of the filter with the newest input. Plain scalar code for now; vector
//! code will take its place behind the same type.

mod design;

use crate::SampleRate;
use design::Polyphase;

/// Input samples that are filtered at a time; longer input is cut up. 10 ms at 48 kHz.
const BLOCK_SAMPLES: usize = 480;

/// Converts one stream from one rate to another. Blocks may have any length; where the stream is cut changes nothing.
/// Allocates only in [`new`](Self::new).
#[derive(Debug, Clone)]
pub struct Resampler {
    /// `None` when both rates are the same.
    filter: Option<Filter>,
}

#[derive(Debug, Clone)]
struct Filter {
    polyphase: &'static Polyphase,
    /// The newest `taps - 1` samples of what came before, then room for one block.
    window: Box<[f32]>,
    /// When the next output is due, in steps of the common multiple of both rates, counted from the first sample of the
    /// next block.
    next_output: usize,
}

impl Resampler {
    /// A converter for a stream that begins now, after silence.
    pub fn new(from: SampleRate, to: SampleRate) -> Self {
        let filter = Polyphase::between(from, to).map(|polyphase| Filter {
            polyphase,
            window: vec![0.0; polyphase.taps() - 1 + BLOCK_SAMPLES].into_boxed_slice(),
            next_output: 0,
        });
        Self { filter }
    }

    /// Converts `input`, all of it, and returns the samples written to `output`. Give it
    /// [`output_len_max`](Self::output_len_max) of room; what does not fit is dropped, and the stream stays in time.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let Some(filter) = &mut self.filter else {
            let copied = input.len().min(output.len());
            output[..copied].copy_from_slice(&input[..copied]);
            return copied;
        };
        let mut written = 0;
        for block in input.chunks(BLOCK_SAMPLES) {
            written += filter.process_block(block, &mut output[written..]);
        }
        written
    }

    /// The most samples that `input_len` samples of input can give.
    pub fn output_len_max(&self, input_len: usize) -> usize {
        match &self.filter {
            None => input_len,
            Some(filter) => (input_len * filter.polyphase.interpolation())
                .div_ceil(filter.polyphase.decimation()),
        }
    }

    /// How much later the same sound comes out, in output samples. Exact and the same at every frequency.
    pub fn group_delay(&self) -> usize {
        self.filter
            .as_ref()
            .map_or(0, |filter| filter.polyphase.delay_output_samples())
    }

    /// Forgets the stream so far.
    pub fn reset(&mut self) {
        if let Some(filter) = &mut self.filter {
            filter.window.fill(0.0);
            filter.next_output = 0;
        }
    }
}

impl Filter {
    /// `block` has at most [`BLOCK_SAMPLES`].
    fn process_block(&mut self, block: &[i16], output: &mut [i16]) -> usize {
        let taps = self.polyphase.taps();
        let interpolation = self.polyphase.interpolation();
        for (slot, &sample) in self.window[taps - 1..].iter_mut().zip(block) {
            *slot = f32::from(sample);
        }
        let mut room = output.iter_mut();
        let mut written = 0;
        while self.next_output < block.len() * interpolation {
            let newest = self.next_output / interpolation;
            let branch = self.polyphase.branch(self.next_output % interpolation);
            self.next_output += self.polyphase.decimation();
            if let Some(slot) = room.next() {
                // In bounds: `newest` < `block.len()`, and the window holds `taps - 1` samples before the block.
                *slot = to_i16(dot_product(&self.window[newest..newest + taps], branch));
                written += 1;
            }
        }
        self.next_output -= block.len() * interpolation;
        self.window
            .copy_within(block.len()..block.len() + taps - 1, 0);
        written
    }
}

/// Sums in eight lanes, so that the compiler may use vector instructions; `design` makes every branch a multiple of eight.
fn dot_product(samples: &[f32], branch: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (samples, _) = samples.as_chunks::<LANES>();
    let (branch, _) = branch.as_chunks::<LANES>();
    for (samples, coefficients) in samples.iter().zip(branch) {
        for lane in 0..LANES {
            sums[lane] += samples[lane] * coefficients[lane];
        }
    }
    sums.iter().sum()
}

fn to_i16(value: f32) -> i16 {
    // Casts from float saturate.
    value.round() as i16
}
