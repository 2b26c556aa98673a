//! AVX2: `vpmaddwd` across outputs; with AVX-VNNI `vpdpwssd`, which adds as well.
//!
//! A vector of 16 samples is 8 pairs of neighbours. Multiplied by a broadcast pair of coefficients and added within each
//! pair, it is a part of the sums of every second group; by the same coefficients shifted by one, of the groups between. So each
//! vector is loaded once, and no sum is ever taken across one. 80 groups at a time share what is broadcast: their sums fill ten of
//! the 16 registers.

use super::{Branch, Filter, Output, STEP_GROUPS, Windows, scalar};
use crate::resample::design::CoefficientPair;
use std::arch::x86_64::{
    __m128i, __m256i, _mm_setr_epi16, _mm_storeu_si128, _mm256_add_epi32, _mm256_blend_epi16,
    _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_dpwssd_avx_epi32,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_loadu2_m128i, _mm256_madd_epi16,
    _mm256_packs_epi32, _mm256_permute2x128_si256, _mm256_permute4x64_epi64, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srai_epi32, _mm256_storeu_si256,
    _mm256_unpackhi_epi16, _mm256_unpackhi_epi64, _mm256_unpacklo_epi16, _mm256_unpacklo_epi64,
};

/// Samples of a vector.
const LANES: usize = 16;
/// Vectors of one output in a step.
const VECTORS: usize = STEP_GROUPS / LANES;

/// See [`super::filter`].
#[target_feature(enable = "avx2")]
pub(super) fn filter(
    filter: &Filter,
    windows: Windows<'_>,
    first_group: usize,
    output: &mut [i16],
) {
    match filter.fraction_bits {
        14 => of_ratio(
            multiply_and_add::sums::<14>,
            filter,
            windows,
            first_group,
            output,
        ),
        _ => of_ratio(
            multiply_and_add::sums::<15>,
            filter,
            windows,
            first_group,
            output,
        ),
    }
}

/// The same with one instruction for product and sum.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn filter_vnni(
    filter: &Filter,
    windows: Windows<'_>,
    first_group: usize,
    output: &mut [i16],
) {
    match filter.fraction_bits {
        14 => of_ratio(fused::sums::<14>, filter, windows, first_group, output),
        _ => of_ratio(fused::sums::<15>, filter, windows, first_group, output),
    }
}

/// The samples of an output for 80 groups, in order.
type Sums = unsafe fn(&[Branch], Windows<'_>, usize) -> [__m256i; VECTORS];

#[target_feature(enable = "avx2")]
#[inline]
fn of_ratio(
    sums: Sums,
    filter: &Filter,
    windows: Windows<'_>,
    first_group: usize,
    output: &mut [i16],
) {
    match filter.shape.interpolation {
        1 => steps::<1>(sums, filter, windows, first_group, output),
        2 => steps::<2>(sums, filter, windows, first_group, output),
        _ => steps::<3>(sums, filter, windows, first_group, output),
    }
}

#[target_feature(enable = "avx2")]
fn steps<const INTERPOLATION: usize>(
    sums: Sums,
    filter: &Filter,
    windows: Windows<'_>,
    first_group: usize,
    output: &mut [i16],
) {
    let steps = output.chunks_exact_mut(STEP_GROUPS * INTERPOLATION);
    for (step, samples) in steps.enumerate() {
        let first_group = first_group + step * STEP_GROUPS;
        let mut results = [[_mm256_setzero_si256(); VECTORS]; INTERPOLATION];
        for (result, output) in results.iter_mut().zip(&filter.outputs) {
            *result = match output {
                Output::Copy { phase, age } => copies(windows.of_copy(*phase, *age, first_group)),
                // SAFETY: it needs the instructions that the function which named it was called for.
                Output::Sum(branches) => unsafe { sums(branches, windows, first_group) },
            };
        }
        let (vectors, _) = samples.as_chunks_mut::<LANES>();
        for (index, samples) in vectors.chunks_exact_mut(INTERPOLATION).enumerate() {
            let vectors = results.map(|result| result[index]);
            match (&vectors[..], samples) {
                ([a], [out]) => store(out, *a),
                ([a, b], [out_0, out_1]) => interleave_2(*a, *b, out_0, out_1),
                ([a, b, c], samples) => interleave_3(*a, *b, *c, samples.as_flattened_mut()),
                _ => {}
            }
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn copies(window: &[i16]) -> [__m256i; VECTORS] {
    let (chunks, _) = window.as_chunks::<LANES>();
    let mut vectors = [_mm256_setzero_si256(); VECTORS];
    for (vector, samples) in vectors.iter_mut().zip(chunks) {
        *vector = load(samples);
    }
    vectors
}

/// The sums, in a module for each way to multiply and add: a function that is inlined can only use the instructions that all of
/// its callers may.
macro_rules! sums_by {
    ($module:ident, $features:literal, |$sum:ident, $samples:ident, $pair:ident| $added:expr) => {
        mod $module {
            use super::*;

            #[target_feature(enable = $features)]
            pub(super) fn sums<const FRACTION_BITS: i32>(
                branches: &[Branch],
                windows: Windows<'_>,
                first_group: usize,
            ) -> [__m256i; VECTORS] {
                let half = _mm256_set1_epi32(1 << (FRACTION_BITS - 1));
                let mut even = [half; VECTORS];
                let mut odd = [half; VECTORS];
                for branch in branches {
                    let window = windows.of_branch(branch, first_group);
                    add_branch(&mut even, &mut odd, window, &branch.pairs);
                }
                let mut samples = [half; VECTORS];
                for (samples, (even, odd)) in samples.iter_mut().zip(even.into_iter().zip(odd)) {
                    let even = _mm256_srai_epi32::<FRACTION_BITS>(even);
                    let odd = _mm256_srai_epi32::<FRACTION_BITS>(odd);
                    *samples = to_samples(even, odd);
                }
                samples
            }

            /// Adds what a branch gives to the sums of the even and of the odd groups.
            #[target_feature(enable = $features)]
            #[inline]
            fn add_branch(
                even: &mut [__m256i; VECTORS],
                odd: &mut [__m256i; VECTORS],
                window: &[i16],
                pairs: &[[CoefficientPair; 2]],
            ) {
                let add = |$sum: __m256i, $samples: __m256i, $pair: __m256i| $added;
                for (index, &[of_even, of_odd]) in pairs.iter().enumerate() {
                    let (of_even, of_odd) = (broadcast(of_even), broadcast(of_odd));
                    let (vectors, _) = window[2 * index..][..STEP_GROUPS].as_chunks::<LANES>();
                    for ((even, odd), samples) in even.iter_mut().zip(&mut *odd).zip(vectors) {
                        let samples = load(samples);
                        *even = add(*even, samples, of_even);
                        *odd = add(*odd, samples, of_odd);
                    }
                }
            }
        }
    };
}

sums_by!(multiply_and_add, "avx2", |sum, samples, pair| {
    _mm256_add_epi32(sum, _mm256_madd_epi16(samples, pair))
});
sums_by!(fused, "avx2,avxvnni", |sum, samples, pair| {
    _mm256_dpwssd_avx_epi32(sum, samples, pair)
});

/// Sums of even and odd groups, saturated and put in order.
#[target_feature(enable = "avx2")]
#[inline]
fn to_samples(even: __m256i, odd: __m256i) -> __m256i {
    // Packed, each half of a vector has four even groups and then four odd ones.
    let zip = order_of_8([0, 4, 1, 5, 2, 6, 3, 7]);
    _mm256_shuffle_epi8(_mm256_packs_epi32(even, odd), zip)
}

#[target_feature(enable = "avx2")]
#[inline]
fn broadcast([older, newer]: CoefficientPair) -> __m256i {
    _mm256_set1_epi32(i32::from(older.cast_unsigned()) | i32::from(newer) << 16)
}

/// a0 b0 a1 b1 ...
#[target_feature(enable = "avx2")]
#[inline]
fn interleave_2(a: __m256i, b: __m256i, out_0: &mut [i16; LANES], out_1: &mut [i16; LANES]) {
    let (low, high) = (_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b));
    store(out_0, _mm256_permute2x128_si256::<0x20>(low, high));
    store(out_1, _mm256_permute2x128_si256::<0x31>(low, high));
}

/// a0 b0 c0 a1 b1 c1 ...: 48 samples.
///
/// In the 24 samples that 8 of each make, those of `a` have the places 0 3 6 1 4 7 2 5 in their vector, since 3 and 8 have no common
/// divisor; likewise the others. So one shuffle puts all samples of a vector where they belong, and blends do the rest.
#[target_feature(enable = "avx2")]
#[inline]
fn interleave_3(a: __m256i, b: __m256i, c: __m256i, out: &mut [i16]) {
    let a = _mm256_shuffle_epi8(a, order_of_8([0, 3, 6, 1, 4, 7, 2, 5]));
    let b = _mm256_shuffle_epi8(b, order_of_8([5, 0, 3, 6, 1, 4, 7, 2]));
    let c = _mm256_shuffle_epi8(c, order_of_8([2, 5, 0, 3, 6, 1, 4, 7]));
    let parts = [
        _mm256_blend_epi16::<PLACES_2_5>(_mm256_blend_epi16::<PLACES_1_4_7>(a, b), c),
        _mm256_blend_epi16::<PLACES_2_5>(_mm256_blend_epi16::<PLACES_1_4_7>(c, a), b),
        _mm256_blend_epi16::<PLACES_2_5>(_mm256_blend_epi16::<PLACES_1_4_7>(b, c), a),
    ];
    let (low, high) = out.split_at_mut(24);
    for ((low, high), part) in low
        .chunks_exact_mut(8)
        .zip(high.chunks_exact_mut(8))
        .zip(parts)
    {
        store_8(low, _mm256_castsi256_si128(part));
        store_8(high, _mm256_extracti128_si256::<1>(part));
    }
}

/// A mask of samples in each half of a vector.
const PLACES_1_4_7: i32 = 0b1001_0010;
/// The same for these.
const PLACES_2_5: i32 = 0b0010_0100;

/// See [`super::deinterleave`].
#[target_feature(enable = "avx2")]
pub(super) fn deinterleave(input: &[i16], phases: &mut [&mut [i16]]) {
    let done = match phases {
        [a, b] => deinterleave_2(input, a, b),
        [a, b, c] => deinterleave_3(input, a, b, c),
        _ => 0,
    };
    let rest = &input[done * phases.len()..];
    match phases {
        [a] => scalar::deinterleave(rest, &mut [&mut a[done..]]),
        [a, b] => scalar::deinterleave(rest, &mut [&mut a[done..], &mut b[done..]]),
        [a, b, c] => {
            scalar::deinterleave(rest, &mut [&mut a[done..], &mut b[done..], &mut c[done..]])
        }
        _ => {}
    }
}

/// Returns how many samples each phase got: all but a few at the end.
#[target_feature(enable = "avx2")]
#[inline]
fn deinterleave_2(input: &[i16], a: &mut [i16], b: &mut [i16]) -> usize {
    let halves = order_of_8([0, 2, 4, 6, 1, 3, 5, 7]);
    let (a, _) = a.as_chunks_mut::<LANES>();
    let (b, _) = b.as_chunks_mut::<LANES>();
    let (vectors, _) = input.as_chunks::<LANES>();
    let (blocks, _) = vectors.as_chunks::<2>();
    for ((a, b), [first, second]) in a.iter_mut().zip(b).zip(blocks) {
        // In each quarter of both vectors now four of one phase.
        let first = _mm256_shuffle_epi8(load(first), halves);
        let second = _mm256_shuffle_epi8(load(second), halves);
        store(
            a,
            _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpacklo_epi64(first, second)),
        );
        store(
            b,
            _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpackhi_epi64(first, second)),
        );
    }
    blocks.len() * LANES
}

/// The reverse of [`interleave_3`]. Returns how many samples each phase got: all but a few at the end.
#[target_feature(enable = "avx2")]
#[inline]
fn deinterleave_3(input: &[i16], a: &mut [i16], b: &mut [i16], c: &mut [i16]) -> usize {
    let (a, _) = a.as_chunks_mut::<LANES>();
    let (b, _) = b.as_chunks_mut::<LANES>();
    let (c, _) = c.as_chunks_mut::<LANES>();
    let (blocks, _) = input.as_chunks::<{ 3 * LANES }>();
    for (((a, b), c), block) in a.iter_mut().zip(b).zip(c).zip(blocks) {
        let load = |offset: usize| {
            let at = block.as_ptr().wrapping_add(offset);
            // SAFETY: `offset` is 0, 8 or 16, and 8 samples from there and from 24 further on are within the 48.
            unsafe { _mm256_loadu2_m128i(at.wrapping_add(24).cast(), at.cast()) }
        };
        let (x, y, z) = (load(0), load(8), load(16));
        let of_a = _mm256_blend_epi16::<PLACES_2_5>(_mm256_blend_epi16::<PLACES_1_4_7>(x, y), z);
        let of_b = _mm256_blend_epi16::<PLACES_2_5>(_mm256_blend_epi16::<PLACES_1_4_7>(z, x), y);
        let of_c = _mm256_blend_epi16::<PLACES_2_5>(_mm256_blend_epi16::<PLACES_1_4_7>(y, z), x);
        store(
            a,
            _mm256_shuffle_epi8(of_a, order_of_8([0, 3, 6, 1, 4, 7, 2, 5])),
        );
        store(
            b,
            _mm256_shuffle_epi8(of_b, order_of_8([1, 4, 7, 2, 5, 0, 3, 6])),
        );
        store(
            c,
            _mm256_shuffle_epi8(of_c, order_of_8([2, 5, 0, 3, 6, 1, 4, 7])),
        );
    }
    blocks.len() * LANES
}

/// A shuffle within each half of a vector: sample `order[n]` of 8 goes to place n.
#[target_feature(enable = "avx2")]
#[inline]
fn order_of_8(order: [u8; 8]) -> __m256i {
    let bytes = order.map(|sample| i16::from_le_bytes([2 * sample, 2 * sample + 1]));
    let [a, b, c, d, e, f, g, h] = bytes;
    _mm256_broadcastsi128_si256(_mm_setr_epi16(a, b, c, d, e, f, g, h))
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(samples: &[i16; LANES]) -> __m256i {
    // SAFETY: the array is as long as the vector.
    unsafe { _mm256_loadu_si256(samples.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(samples: &mut [i16; LANES], vector: __m256i) {
    // SAFETY: the array is as long as the vector.
    unsafe { _mm256_storeu_si256(samples.as_mut_ptr().cast(), vector) }
}

/// `samples` are 8 at least.
#[target_feature(enable = "avx2")]
#[inline]
fn store_8(samples: &mut [i16], vector: __m128i) {
    assert!(samples.len() >= 8);
    // SAFETY: 8 samples are as long as the vector; asserted above.
    unsafe { _mm_storeu_si128(samples.as_mut_ptr().cast(), vector) }
}
