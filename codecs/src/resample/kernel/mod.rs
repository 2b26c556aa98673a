//! The sums of the resampler, for each instruction set. All give the same samples, since all compute in whole numbers that can't
//! overflow (`design.rs` sees to that): which order they add in does not matter.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use super::design::{Branch, Filter, HISTORY_GROUPS, Output};
use crate::simd::{Instructions, Simd};

/// Groups that a kernel filters at a time: what fits in the registers. 10 ms at 8 kHz.
pub(super) const STEP_GROUPS: usize = 80;
/// How much further than the last group a kernel reads, without using it.
pub(super) const OVERREAD_SAMPLES: usize = 1;

/// The windows of all phases: each `stride` samples long, history first.
#[derive(Clone, Copy)]
pub(super) struct Windows<'a> {
    pub samples: &'a [i16],
    pub stride: usize,
}

impl<'a> Windows<'a> {
    /// What `branch` looks at for the [`STEP_GROUPS`] groups from `first_group` on: with each coefficient, that many samples
    /// further on.
    fn of_branch(self, branch: &Branch, first_group: usize) -> &'a [i16] {
        let start = branch.phase * self.stride + HISTORY_GROUPS - branch.oldest_age + first_group;
        &self.samples[start..start + STEP_GROUPS + branch.coefficients.len()]
    }

    /// The inputs that a copying output gives for the [`STEP_GROUPS`] groups from `first_group` on.
    fn of_copy(self, phase: usize, age: usize, first_group: usize) -> &'a [i16] {
        let start = phase * self.stride + HISTORY_GROUPS - age + first_group;
        &self.samples[start..start + STEP_GROUPS]
    }
}

/// Filters whole steps of groups, from `first_group` on, until `output` is full: its length is a multiple of [`STEP_GROUPS`] groups.
pub(super) fn filter(
    simd: Simd,
    filter: &Filter,
    windows: Windows<'_>,
    first_group: usize,
    output: &mut [i16],
) {
    match simd.0 {
        Instructions::Scalar => scalar::filter(filter, windows, first_group, output),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Simd` with AVX2 exists only where the processor has it.
        Instructions::Avx2 => unsafe { avx2::filter(filter, windows, first_group, output) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Simd` with AVX-VNNI exists only where the processor has it and AVX2.
        Instructions::AvxVnni => unsafe { avx2::filter_vnni(filter, windows, first_group, output) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Simd` with NEON exists only where the processor has it.
        Instructions::Neon => unsafe { neon::filter(filter, windows, first_group, output) },
    }
}

/// Deals the samples of `input` out to the phases, in turn. Each of the 1 to 3 phases is as long as its share.
pub(super) fn deinterleave(simd: Simd, input: &[i16], phases: &mut [&mut [i16]]) {
    match simd.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Simd` with AVX2 exists only where the processor has it.
        Instructions::Avx2 | Instructions::AvxVnni => unsafe { avx2::deinterleave(input, phases) },
        #[cfg(target_arch = "aarch64")]
        // The compiler makes it `ld2` and `ld3` of the safe loop.
        Instructions::Neon => scalar::deinterleave(input, phases),
        Instructions::Scalar => scalar::deinterleave(input, phases),
    }
}
