//! A stream in pieces: where it is cut, how much comes out, too little room, reset.

use super::*;
use crate::signals::noise;
use proptest::prelude::*;

#[test]
fn whole_milliseconds_give_whole_milliseconds() {
    for (from, to) in pairs() {
        let mut resampler = Resampler::new(from, to);
        for duration_ms in [1, 10, 20, 20, 120, 7] {
            let input = vec![1; from.samples(duration_ms)];
            let mut output = vec![0; resampler.output_len_max(input.len())];
            assert_eq!(
                resampler.process(&input, &mut output),
                to.samples(duration_ms),
                "{from:?} to {to:?}"
            );
        }
    }
}

#[test]
fn an_impulse_comes_out_when_it_should() {
    for (from, to) in pairs() {
        let mut input = vec![0; from.samples(20)];
        input[0] = 30_000;
        let output = convert(from, to, &input, 7);
        let peak = (0..output.len())
            .max_by_key(|&n| output[n])
            .map(|n| n as f64);
        let delay = samples_of(Resampler::new(from, to).group_delay(), to);
        assert!(
            peak.is_some_and(|peak| (peak - delay).abs() <= 0.5),
            "{from:?} to {to:?}: {peak:?}"
        );
    }
}

#[test]
fn an_upsampled_stream_still_holds_its_own_samples() {
    // The pure-delay branch of the L-th band filter.
    let input = noise(20_000, 400);
    for to in [SampleRate::Hz16000, SampleRate::Hz24000] {
        let output = convert(SampleRate::Hz8000, to, &input, 160);
        let ratio = (to.hz() / 8_000) as usize;
        let delay = samples_of(Resampler::new(SampleRate::Hz8000, to).group_delay(), to) as usize;
        let kept: Vec<i16> = output.into_iter().skip(delay).step_by(ratio).collect();
        assert_eq!(kept, input[..kept.len()], "{to:?}");
    }
}

#[test]
fn too_little_room_loses_sound_but_not_time() {
    let (from, to) = (SampleRate::Hz8000, SampleRate::Hz16000);
    let input = noise(10_000, 480);
    let whole = convert(from, to, &input, 160);
    let mut resampler = Resampler::new(from, to);
    let mut output = [0; 320];
    assert_eq!(resampler.process(&input[..160], &mut output[..100]), 100);
    assert_eq!(output[..100], whole[..100]);
    assert_eq!(resampler.process(&input[160..320], &mut output), 320);
    assert_eq!(output[..], whole[320..640]);
}

#[test]
fn reset_begins_anew() {
    let input = noise(10_000, 480);
    for (from, to) in pairs() {
        let mut resampler = Resampler::new(from, to);
        let mut first = vec![0; resampler.output_len_max(input.len())];
        let mut second = first.clone();
        resampler.process(&input[..477], &mut first);
        resampler.reset();
        let written = resampler.process(&input, &mut first);
        let mut fresh = Resampler::new(from, to);
        assert_eq!(fresh.process(&input, &mut second), written);
        assert_eq!(first, second);
    }
}

proptest! {
    #[test]
    fn where_the_stream_is_cut_changes_nothing(
        pair in 0_usize..16,
        cuts in proptest::collection::vec(0_usize..1_100, 1..12),
    ) {
        let (from, to) = (SampleRate::ALL[pair / 4], SampleRate::ALL[pair % 4]);
        let input = noise(32_000, cuts.iter().sum());
        let whole = convert(from, to, &input, input.len());
        let mut resampler = Resampler::new(from, to);
        let mut in_parts = Vec::new();
        let mut rest = &input[..];
        for cut in cuts {
            let (block, after) = rest.split_at(cut);
            rest = after;
            let mut converted = vec![0; resampler.output_len_max(cut)];
            let written = resampler.process(block, &mut converted);
            in_parts.extend_from_slice(&converted[..written]);
        }
        prop_assert_eq!(&in_parts, &whole);
        let exact = input.len() as f64 * f64::from(to.hz()) / f64::from(from.hz());
        prop_assert!((whole.len() as f64 - exact).abs() < 3.0, "{} of {}", whole.len(), exact);
    }
}
