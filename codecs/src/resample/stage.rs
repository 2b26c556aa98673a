//! One filter at work on a stream: sorts the input into phases, keeps what later outputs need, and has whole groups filtered.

use super::design::{Filter, HISTORY_GROUPS, RATIO_MAX};
use super::kernel::{self, OVERREAD_SAMPLES, STEP_GROUPS};
use crate::simd::Simd;

/// Groups that are filtered at a time; longer input is cut up. A whole number of steps.
const BLOCK_GROUPS: usize = 320;
/// Samples of a window: history, one block, and what comes after it.
const WINDOW_SAMPLES: usize = HISTORY_GROUPS + BLOCK_GROUPS + OVERREAD_SAMPLES;

/// The state of one stage. Allocates only in [`new`](Self::new).
#[derive(Debug, Clone)]
pub(super) struct Stage {
    filter: &'static Filter,
    simd: Simd,
    /// One window for each phase of the input, one after the other. Group g of a block is at [`HISTORY_GROUPS`] + g.
    windows: Box<[i16]>,
    /// Samples of the next group that are in the windows already.
    filled: usize,
}

impl Stage {
    pub fn new(filter: &'static Filter, simd: Simd) -> Self {
        Self {
            filter,
            simd,
            windows: vec![0; filter.shape.decimation * WINDOW_SAMPLES].into_boxed_slice(),
            filled: filter.lead_in,
        }
    }

    pub fn filter(&self) -> &'static Filter {
        self.filter
    }

    /// The most samples that `input_len` samples can give.
    pub fn output_len_max(&self, input_len: usize) -> usize {
        let shape = self.filter.shape;
        input_len.div_ceil(shape.decimation) * shape.interpolation
    }

    /// Takes all of `input`. Returns the samples written; what does not fit is dropped.
    pub fn process(&mut self, mut input: &[i16], output: &mut [i16]) -> usize {
        let mut written = 0;
        while !input.is_empty() {
            let room = BLOCK_GROUPS * self.filter.shape.decimation - self.filled;
            let (block, rest) = input.split_at(input.len().min(room));
            input = rest;
            let groups = self.sort_into_phases(block);
            written += self.filter_groups(groups, &mut output[written..]);
            for window in self.windows.chunks_exact_mut(WINDOW_SAMPLES) {
                // One more than the history: the group that is not complete.
                window.copy_within(groups..=groups + HISTORY_GROUPS, 0);
            }
        }
        written
    }

    pub fn reset(&mut self) {
        self.windows.fill(0);
        self.filled = self.filter.lead_in;
    }

    /// Puts `block` behind the history and returns the number of groups that are complete with it: at most
    /// [`BLOCK_GROUPS`].
    fn sort_into_phases(&mut self, block: &[i16]) -> usize {
        let decimation = self.filter.shape.decimation;
        let (whole, rest) = block.split_at(block.len() / decimation * decimation);
        let each = whole.len() / decimation;
        // The first sample goes to phase `filled` of the group that is begun; those of the phases before it to the next.
        let mut phases: [&mut [i16]; RATIO_MAX] = [&mut [], &mut [], &mut []];
        let windows = self.windows.chunks_exact_mut(WINDOW_SAMPLES);
        for (phase, window) in windows.enumerate() {
            let (turn, first) = match phase.checked_sub(self.filled) {
                Some(turn) => (turn, HISTORY_GROUPS),
                None => (phase + decimation - self.filled, HISTORY_GROUPS + 1),
            };
            phases[turn] = &mut window[first..first + each];
        }
        kernel::deinterleave(self.simd, whole, &mut phases[..decimation]);
        let mut groups = each;
        for &sample in rest {
            self.windows[self.filled * WINDOW_SAMPLES + HISTORY_GROUPS + groups] = sample;
            self.filled += 1;
            if self.filled == decimation {
                self.filled = 0;
                groups += 1;
            }
        }
        groups
    }

    /// Filters the first `groups` groups. Returns the samples written.
    fn filter_groups(&self, groups: usize, output: &mut [i16]) -> usize {
        let interpolation = self.filter.shape.interpolation;
        let step_samples = STEP_GROUPS * interpolation;
        let wanted = (groups * interpolation).min(output.len());
        let whole = wanted / step_samples * step_samples;
        let (direct, tail) = output[..wanted].split_at_mut(whole);
        let windows = kernel::Windows {
            samples: &self.windows,
            stride: WINDOW_SAMPLES,
        };
        kernel::filter(self.simd, self.filter, windows, 0, direct);
        if !tail.is_empty() {
            let mut step = [0; STEP_GROUPS * RATIO_MAX];
            let step = &mut step[..step_samples];
            kernel::filter(self.simd, self.filter, windows, whole / interpolation, step);
            tail.copy_from_slice(&step[..tail.len()]);
        }
        wanted
    }
}
