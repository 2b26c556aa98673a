//! G.711 with NEON, 16 samples at a time. No table is read: counting leading zeros finds the segment.

use super::{Law, tables};
use std::arch::aarch64::*;

/// Samples that are converted at a time. The last block overlaps the one before it; less than one is done by table.
const BLOCK: usize = 16;

/// Both slices have one length.
#[target_feature(enable = "neon")]
pub fn encode(law: Law, pcm: &[i16], octets: &mut [u8]) {
    match law {
        Law::Mu => encode_blocks::<true>(pcm, octets),
        Law::A => encode_blocks::<false>(pcm, octets),
    }
}

/// Both slices have one length.
#[target_feature(enable = "neon")]
pub fn decode(law: Law, octets: &[u8], pcm: &mut [i16]) {
    match law {
        Law::Mu => decode_blocks::<true>(octets, pcm),
        Law::A => decode_blocks::<false>(octets, pcm),
    }
}

#[target_feature(enable = "neon")]
fn encode_blocks<const IS_MU: bool>(pcm: &[i16], octets: &mut [u8]) {
    let Some(last) = pcm.len().checked_sub(BLOCK) else {
        return tables::encode(law::<IS_MU>(), pcm, octets);
    };
    let mut start = 0;
    loop {
        let samples = pcm[start..start + BLOCK].as_ptr();
        let block = octets[start..start + BLOCK].as_mut_ptr();
        // SAFETY: two vectors are the `BLOCK` samples of the slice just taken.
        let (first, second) = unsafe { (vld1q_s16(samples), vld1q_s16(samples.add(BLOCK / 2))) };
        // SAFETY: one vector is the `BLOCK` octets of the slice just taken.
        unsafe { vst1q_u8(block, compress::<IS_MU>(first, second)) };
        if start == last {
            return;
        }
        start = (start + BLOCK).min(last);
    }
}

#[target_feature(enable = "neon")]
fn decode_blocks<const IS_MU: bool>(octets: &[u8], pcm: &mut [i16]) {
    let Some(last) = octets.len().checked_sub(BLOCK) else {
        return tables::decode(law::<IS_MU>(), octets, pcm);
    };
    let mut start = 0;
    loop {
        let block = octets[start..start + BLOCK].as_ptr();
        let samples = pcm[start..start + BLOCK].as_mut_ptr();
        // SAFETY: one vector is the `BLOCK` octets of the slice just taken.
        let code = veorq_u8(unsafe { vld1q_u8(block) }, inverted_bits::<IS_MU>());
        // SAFETY: two vectors are the `BLOCK` samples of the slice just taken.
        unsafe {
            vst1q_s16(samples, expand::<IS_MU>(vget_low_u8(code)));
            vst1q_s16(samples.add(BLOCK / 2), expand::<IS_MU>(vget_high_u8(code)));
        }
        if start == last {
            return;
        }
        start = (start + BLOCK).min(last);
    }
}

/// Octets of 2 x 8 samples.
#[target_feature(enable = "neon")]
fn compress<const IS_MU: bool>(first: int16x8_t, second: int16x8_t) -> uint8x16_t {
    let code = vcombine_u8(signed_code::<IS_MU>(first), signed_code::<IS_MU>(second));
    veorq_u8(code, inverted_bits::<IS_MU>())
}

/// Segment and step, with the top bit set for negative samples, before bits are inverted.
#[target_feature(enable = "neon")]
fn signed_code<const IS_MU: bool>(samples: int16x8_t) -> uint8x8_t {
    let negative = vshrq_n_s16::<15>(samples);
    // One's complement, as G.191 takes it.
    let magnitude = veorq_s16(samples, negative);
    // `leading` zeros, and the number of them in the segment whose steps are what is left after shifting them out.
    let (magnitude, leading, leading_in_first) = if IS_MU {
        // Saturates where G.191 clips. The bias sets bit 7 at least: segment 0.
        let biased = vqaddq_s16(magnitude, vdupq_n_s16(33 << 2));
        (biased, vclzq_s16(biased), 8)
    } else {
        // The first two segments have the same step: below 2^5, nothing more is shifted out.
        let magnitude = vshrq_n_s16::<4>(magnitude);
        let leading = vminq_s16(vclzq_s16(magnitude), vdupq_n_s16(11));
        (magnitude, leading, 11)
    };
    let five_bits = vshrq_n_u16::<11>(vshlq_u16(vreinterpretq_u16_s16(magnitude), leading));
    let segment = vreinterpretq_u16_s16(vsubq_s16(vdupq_n_s16(leading_in_first), leading));
    // Mu-law's five bits have the leading one, which is not sent. A-law's count it, so that its second segment follows.
    let leading_one = vdupq_n_u16(if IS_MU { 16 } else { 0 });
    let code = vsubq_u16(vaddq_u16(vshlq_n_u16::<4>(segment), five_bits), leading_one);
    let sign = vandq_u16(vreinterpretq_u16_s16(negative), vdupq_n_u16(0x80));
    vmovn_u16(vorrq_u16(code, sign))
}

/// 8 samples of codes with the top bit set for negative ones.
#[target_feature(enable = "neon")]
fn expand<const IS_MU: bool>(code: uint8x8_t) -> int16x8_t {
    let negative = vmovl_s8(vshr_n_s8::<7>(vreinterpret_s8_u8(code)));
    let code = vreinterpretq_s16_u16(vmovl_u8(code));
    let segment = vandq_s16(vshrq_n_s16::<4>(code), vdupq_n_s16(7));
    let step = vandq_s16(code, vdupq_n_s16(0x0f));
    let odd = vorrq_s16(vaddq_s16(step, step), vdupq_n_s16(1));
    let magnitude = if IS_MU {
        // ((2 * step + 33) << segment) - 33, 14 bits
        let bias = vdupq_n_s16(33);
        let shifted = vshlq_s16(vaddq_s16(odd, vdupq_n_s16(32)), segment);
        vshlq_n_s16::<2>(vsubq_s16(shifted, bias))
    } else {
        // (2 * step + 1) << (segment - 1), plus 32 at the same scale from segment 1 on, 13 bits
        let doublings = vmaxq_s16(vsubq_s16(segment, vdupq_n_s16(1)), vdupq_n_s16(0));
        let offset = vminq_s16(vshlq_n_s16::<5>(segment), vdupq_n_s16(32));
        vshlq_n_s16::<3>(vshlq_s16(vaddq_s16(odd, offset), doublings))
    };
    vsubq_s16(veorq_s16(magnitude, negative), negative)
}

/// The line's inversions, with the sign's: here it is set for negative samples.
#[target_feature(enable = "neon")]
fn inverted_bits<const IS_MU: bool>() -> uint8x16_t {
    vdupq_n_u8(law::<IS_MU>().silence())
}

const fn law<const IS_MU: bool>() -> Law {
    if IS_MU { Law::Mu } else { Law::A }
}
