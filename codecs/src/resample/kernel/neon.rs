//! NEON: multiply-accumulate of 16-bit samples into 32-bit sums, across outputs.

use super::{Branch, Filter, Output, STEP_GROUPS, Windows};
use std::arch::aarch64::{
    int16x8_t, int16x8x2_t, int16x8x3_t, int32x4_t, vcombine_s16, vdupq_n_s16, vdupq_n_s32,
    vget_low_s16, vld1q_s16, vmlal_high_s16, vmlal_s16, vqmovn_s32, vrshlq_s32, vst1q_s16,
    vst2q_s16, vst3q_s16,
};

/// Samples of a vector.
const LANES: usize = 8;
/// Groups whose sums fit in the registers.
const BLOCK_GROUPS: usize = 40;
/// Vectors of one output in such a block.
const VECTORS: usize = BLOCK_GROUPS / LANES;

#[target_feature(enable = "neon")]
pub(super) fn filter(
    filter: &Filter,
    windows: Windows<'_>,
    first_group: usize,
    output: &mut [i16],
) {
    match filter.shape.interpolation {
        1 => steps::<1>(filter, windows, first_group, output),
        2 => steps::<2>(filter, windows, first_group, output),
        _ => steps::<3>(filter, windows, first_group, output),
    }
}

#[target_feature(enable = "neon")]
fn steps<const INTERPOLATION: usize>(
    filter: &Filter,
    windows: Windows<'_>,
    first_group: usize,
    output: &mut [i16],
) {
    let steps = output.chunks_exact_mut(STEP_GROUPS * INTERPOLATION);
    for (step, samples) in steps.enumerate() {
        let first_group = first_group + step * STEP_GROUPS;
        for (block, samples) in samples
            .chunks_exact_mut(BLOCK_GROUPS * INTERPOLATION)
            .enumerate()
        {
            let offset = block * BLOCK_GROUPS;
            let mut results = [[vdupq_n_s16(0); VECTORS]; INTERPOLATION];
            for (result, output) in results.iter_mut().zip(&filter.outputs) {
                *result = match output {
                    Output::Copy { phase, age } => {
                        copies(&windows.of_copy(*phase, *age, first_group)[offset..])
                    }
                    Output::Sum(branches) => {
                        sums(branches, windows, first_group, offset, filter.fraction_bits)
                    }
                };
            }
            for (index, samples) in samples.chunks_exact_mut(LANES * INTERPOLATION).enumerate() {
                store(&results.map(|result| result[index]), samples);
            }
        }
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn copies(window: &[i16]) -> [int16x8_t; VECTORS] {
    let (chunks, _) = window.as_chunks::<LANES>();
    let mut vectors = [vdupq_n_s16(0); VECTORS];
    for (vector, samples) in vectors.iter_mut().zip(chunks) {
        // SAFETY: the array is as long as the vector.
        *vector = unsafe { vld1q_s16(samples.as_ptr()) };
    }
    vectors
}

/// The samples of an output for the 40 groups from `first_group` + `offset` on.
#[target_feature(enable = "neon")]
#[inline]
fn sums(
    branches: &[Branch],
    windows: Windows<'_>,
    first_group: usize,
    offset: usize,
    fraction_bits: u32,
) -> [int16x8_t; VECTORS] {
    // A shift to the left by less than nothing is one to the right, and this one rounds.
    let shift = vdupq_n_s32(-(fraction_bits as i32));
    let mut sums = [[vdupq_n_s32(0); 2]; VECTORS];
    for branch in branches {
        let window = windows.of_branch(branch, first_group);
        add_branch(&mut sums, &window[offset..], &branch.coefficients);
    }
    let mut samples = [vdupq_n_s16(0); VECTORS];
    for (samples, [low, high]) in samples.iter_mut().zip(sums) {
        let (low, high) = (
            vqmovn_s32(vrshlq_s32(low, shift)),
            vqmovn_s32(vrshlq_s32(high, shift)),
        );
        *samples = vcombine_s16(low, high);
    }
    samples
}

/// Adds what a branch gives to the sums of the low and high half of each vector.
#[target_feature(enable = "neon")]
#[inline]
fn add_branch(sums: &mut [[int32x4_t; 2]; VECTORS], window: &[i16], coefficients: &[i16]) {
    assert!(window.len() >= BLOCK_GROUPS + coefficients.len());
    for (age, &coefficient) in coefficients.iter().enumerate() {
        let coefficient = vdupq_n_s16(coefficient);
        for (index, [low, high]) in sums.iter_mut().enumerate() {
            let at = window.as_ptr().wrapping_add(age + index * LANES);
            // SAFETY: ends at most `BLOCK_GROUPS` samples after `age`, which is below the number of coefficients: within the
            // window, as asserted at the top.
            let samples = unsafe { vld1q_s16(at) };
            *low = vmlal_s16(*low, vget_low_s16(samples), vget_low_s16(coefficient));
            *high = vmlal_high_s16(*high, samples, coefficient);
        }
    }
}

/// Stores 8 groups, interleaved: `samples` are 8 for each vector.
#[target_feature(enable = "neon")]
#[inline]
fn store(vectors: &[int16x8_t], samples: &mut [i16]) {
    assert!(samples.len() >= LANES * vectors.len());
    let at = samples.as_mut_ptr();
    // SAFETY: each of them writes 8 samples for each of its vectors, and there is room for these; asserted above.
    unsafe {
        match *vectors {
            [a] => vst1q_s16(at, a),
            [a, b] => vst2q_s16(at, int16x8x2_t(a, b)),
            [a, b, c] => vst3q_s16(at, int16x8x3_t(a, b, c)),
            _ => {}
        }
    }
}
