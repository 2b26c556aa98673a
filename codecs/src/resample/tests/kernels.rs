//! Every instruction set gives the same samples as safe Rust.

use super::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn vectors_and_scalars_agree(
        pair in 0_usize..16,
        // Full-scale samples of either sign are likely: that is where sums are largest.
        input in proptest::collection::vec(prop_oneof![any::<i16>(), Just(i16::MIN), Just(i16::MAX)], 0..2_500),
        cut in 1_usize..1_300,
        short in 0_usize..40,
    ) {
        let (from, to) = (SampleRate::ALL[pair / 4], SampleRate::ALL[pair % 4]);
        let expected = convert_with(Resampler::with_simd(from, to, Simd::SCALAR), &input, cut);
        for &simd in Simd::available() {
            let mut resampler = Resampler::with_simd(from, to, simd);
            prop_assert_eq!(&convert_with(resampler.clone(), &input, cut), &expected, "{}", simd);
            // With less room the beginning is the same.
            let mut output = vec![0; expected.len().saturating_sub(short)];
            let written = resampler.process(&input, &mut output);
            prop_assert_eq!(written, output.len());
            prop_assert_eq!(&output[..], &expected[..written]);
        }
    }
}

/// The input that makes the sums of an output largest is the sign of its coefficients, at full scale.
#[test]
fn the_worst_input_saturates_with_every_instruction_set() {
    for (from, to) in pairs().filter(|(from, to)| from != to) {
        let impulse: Vec<i16> = (0..from.samples(12))
            .map(|n| if n == 0 { 30_000 } else { 0 })
            .collect();
        let response = convert(from, to, &impulse, impulse.len());
        let ratio = (to.hz() as f64 / from.hz() as f64).max(1.0) as usize;
        for offset in 0..ratio {
            let mut input: Vec<i16> = response
                .iter()
                .skip(offset)
                .step_by(ratio)
                .map(|&c| if c < 0 { i16::MIN } else { i16::MAX })
                .collect();
            input.reverse();
            let expected = convert_with(
                Resampler::with_simd(from, to, Simd::SCALAR),
                &input,
                input.len(),
            );
            for &simd in Simd::available() {
                let heard = convert_with(Resampler::with_simd(from, to, simd), &input, input.len());
                assert_eq!(heard, expected, "{from:?} to {to:?}, {simd}");
            }
        }
    }
}
