//! G.711 with AVX2, 32 samples at a time. No table is read: both laws are a floating-point number of 3 bits of exponent
//! and 4 of mantissa, so the processor's own conversion to `f32` finds segment and step.

use super::{Law, tables};
use std::arch::x86_64::*;

/// Samples that are converted at a time. The last block overlaps the one before it; less than one is done by table.
const BLOCK: usize = 32;
/// What is taken from the upper 13 bits of an `f32` (exponent and 4 bits of mantissa), so that both laws' first doubled
/// segment, which begins at 2^7 of the 16-bit scale, is number 0.
const EXPONENT_OF_SEGMENT_0: i16 = (127 + 7) << 4;
/// Mu-law's bias at the 16-bit scale.
const MU_BIAS: i16 = 33 << 2;

/// Both slices have one length.
#[target_feature(enable = "avx2")]
pub fn encode(law: Law, pcm: &[i16], octets: &mut [u8]) {
    match law {
        Law::Mu => encode_blocks::<true>(pcm, octets),
        Law::A => encode_blocks::<false>(pcm, octets),
    }
}

/// Both slices have one length.
#[target_feature(enable = "avx2")]
pub fn decode(law: Law, octets: &[u8], pcm: &mut [i16]) {
    match law {
        Law::Mu => decode_blocks::<true>(octets, pcm),
        Law::A => decode_blocks::<false>(octets, pcm),
    }
}

#[target_feature(enable = "avx2")]
fn encode_blocks<const IS_MU: bool>(pcm: &[i16], octets: &mut [u8]) {
    let Some(last) = pcm.len().checked_sub(BLOCK) else {
        return tables::encode(law::<IS_MU>(), pcm, octets);
    };
    let mut start = 0;
    loop {
        let samples = pcm[start..start + BLOCK].as_ptr().cast::<__m256i>();
        let block = octets[start..start + BLOCK].as_mut_ptr().cast();
        // SAFETY: two unaligned vectors are the `BLOCK` samples of the slice just taken.
        let (first, second) = unsafe {
            (
                _mm256_loadu_si256(samples),
                _mm256_loadu_si256(samples.add(1)),
            )
        };
        // SAFETY: one unaligned vector is the `BLOCK` octets of the slice just taken.
        unsafe { _mm256_storeu_si256(block, compress::<IS_MU>(first, second)) };
        if start == last {
            return;
        }
        start = (start + BLOCK).min(last);
    }
}

#[target_feature(enable = "avx2")]
fn decode_blocks<const IS_MU: bool>(octets: &[u8], pcm: &mut [i16]) {
    let Some(last) = octets.len().checked_sub(BLOCK) else {
        return tables::decode(law::<IS_MU>(), octets, pcm);
    };
    let mut start = 0;
    loop {
        let block = octets[start..start + BLOCK].as_ptr().cast();
        let samples = pcm[start..start + BLOCK].as_mut_ptr().cast::<__m256i>();
        // SAFETY: one unaligned vector is the `BLOCK` octets of the slice just taken.
        let (first, second) = expand::<IS_MU>(unsafe { _mm256_loadu_si256(block) });
        // SAFETY: two unaligned vectors are the `BLOCK` samples of the slice just taken.
        unsafe {
            _mm256_storeu_si256(samples, first);
            _mm256_storeu_si256(samples.add(1), second);
        }
        if start == last {
            return;
        }
        start = (start + BLOCK).min(last);
    }
}

/// Octets of 2 x 16 samples.
#[target_feature(enable = "avx2")]
fn compress<const IS_MU: bool>(first: __m256i, second: __m256i) -> __m256i {
    // Packing works within each half of a vector: the quarters come out as 0, 2, 1, 3.
    let code = _mm256_packus_epi16(
        segment_and_step::<IS_MU>(first),
        segment_and_step::<IS_MU>(second),
    );
    let sign = _mm256_and_si256(_mm256_packs_epi16(first, second), _mm256_set1_epi8(i8::MIN));
    let octets = _mm256_xor_si256(_mm256_or_si256(code, sign), inverted_bits::<IS_MU>());
    _mm256_permute4x64_epi64::<0b11_01_10_00>(octets)
}

/// The 7 bits without sign, before bits are inverted, as 16-bit numbers.
#[target_feature(enable = "avx2")]
fn segment_and_step<const IS_MU: bool>(samples: __m256i) -> __m256i {
    // One's complement, as G.191 takes it.
    let magnitude = _mm256_xor_si256(samples, _mm256_srai_epi16::<15>(samples));
    let magnitude = if IS_MU {
        // Saturates where G.191 clips.
        _mm256_adds_epi16(magnitude, _mm256_set1_epi16(MU_BIAS))
    } else {
        magnitude
    };
    let zero = _mm256_setzero_si256();
    let low = float_bits(_mm256_unpacklo_epi16(magnitude, zero));
    let high = float_bits(_mm256_unpackhi_epi16(magnitude, zero));
    let code = _mm256_sub_epi16(
        _mm256_packs_epi32(low, high),
        _mm256_set1_epi16(EXPONENT_OF_SEGMENT_0),
    );
    if IS_MU {
        return code;
    }
    // A-law's first segment has no doubling before it: its steps are plain, and above those of the float below 16.
    let plain = _mm256_min_epi16(_mm256_srli_epi16::<4>(magnitude), _mm256_set1_epi16(15));
    _mm256_max_epi16(code, plain)
}

/// Exponent and the upper 4 bits of mantissa. Exact: 15 bits fit into the mantissa.
#[target_feature(enable = "avx2")]
fn float_bits(magnitude: __m256i) -> __m256i {
    _mm256_srli_epi32::<{ 23 - 4 }>(_mm256_castps_si256(_mm256_cvtepi32_ps(magnitude)))
}

/// 2 x 16 samples of 32 octets.
#[target_feature(enable = "avx2")]
fn expand<const IS_MU: bool>(octets: __m256i) -> (__m256i, __m256i) {
    // Unpacking works within each half of a vector, so the quarters 0, 2, 1, 3 come out in order.
    let octets = _mm256_permute4x64_epi64::<0b11_01_10_00>(octets);
    let code = _mm256_xor_si256(octets, inverted_bits::<IS_MU>());
    let low_bits = _mm256_set1_epi8(0x0f);
    let step = _mm256_and_si256(code, low_bits);
    // With the sign on top: the tables of segments are there twice.
    let segment = _mm256_and_si256(_mm256_srli_epi16::<4>(code), low_bits);

    // Each sample is a sum of two products of bytes, which one instruction makes: unsigned by signed.
    let (unsigned, signed) = if IS_MU {
        // ((2 * step + 33) << segment) - 33
        let doubling = lookup([1, 2, 4, 8, 16, 32, 64, -128], segment);
        let odd = _mm256_add_epi8(_mm256_add_epi8(step, step), _mm256_set1_epi8(33));
        (
            [doubling, _mm256_set1_epi8(33)],
            [odd, _mm256_set1_epi8(-1)],
        )
    } else {
        // (2 * step + 1) << (segment - 1), plus 32 at the same scale from segment 1 on
        let doubling = lookup([1, 1, 2, 4, 8, 16, 32, 64], segment);
        let offset = lookup([0, 1, 2, 4, 8, 16, 32, 64], segment);
        let odd = _mm256_add_epi8(_mm256_add_epi8(step, step), _mm256_set1_epi8(1));
        ([doubling, offset], [odd, _mm256_set1_epi8(32)])
    };
    // Negative if the sign is set, and never 0, which would clear the sample.
    let one = _mm256_set1_epi8(1);
    let first = _mm256_maddubs_epi16(
        _mm256_unpacklo_epi8(unsigned[0], unsigned[1]),
        _mm256_unpacklo_epi8(signed[0], signed[1]),
    );
    let second = _mm256_maddubs_epi16(
        _mm256_unpackhi_epi8(unsigned[0], unsigned[1]),
        _mm256_unpackhi_epi8(signed[0], signed[1]),
    );
    (
        _mm256_sign_epi16(to_16_bits::<IS_MU>(first), _mm256_unpacklo_epi8(one, code)),
        _mm256_sign_epi16(to_16_bits::<IS_MU>(second), _mm256_unpackhi_epi8(one, code)),
    )
}

/// Mu-law has 14 bits, A-law 13.
#[target_feature(enable = "avx2")]
fn to_16_bits<const IS_MU: bool>(magnitude: __m256i) -> __m256i {
    if IS_MU {
        _mm256_slli_epi16::<2>(magnitude)
    } else {
        _mm256_slli_epi16::<3>(magnitude)
    }
}

/// An entry for each byte of `index`, which is below 16; its bit 3 is ignored.
#[target_feature(enable = "avx2")]
fn lookup(table: [i8; 8], index: __m256i) -> __m256i {
    _mm256_shuffle_epi8(
        _mm256_set1_epi64x(i64::from_le_bytes(table.map(i8::cast_unsigned))),
        index,
    )
}

/// The line's inversions, with the sign's: here it is set for negative samples.
#[target_feature(enable = "avx2")]
fn inverted_bits<const IS_MU: bool>() -> __m256i {
    _mm256_set1_epi8(law::<IS_MU>().silence().cast_signed())
}

const fn law<const IS_MU: bool>() -> Law {
    if IS_MU { Law::Mu } else { Law::A }
}
