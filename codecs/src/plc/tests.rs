//! What a loss sounds like, on signals that are known.

use super::*;
use crate::signals::{noise, sine_fit, snr_db, tone, vowel};

/// Plays `pcm` in frames of 20 ms with those lost that `is_lost` names.
fn play(rate: SampleRate, pcm: &[i16], is_lost: impl Fn(usize) -> bool) -> Vec<i16> {
    let mut concealer = Concealer::new(rate);
    let mut played = pcm.to_vec();
    for (index, frame) in played.chunks_mut(rate.samples(20)).enumerate() {
        if is_lost(index) {
            frame.fill(i16::MAX);
            concealer.conceal(frame);
        } else {
            concealer.good_frame(frame);
        }
    }
    played
}

fn largest_step(pcm: &[i16]) -> i32 {
    pcm.windows(2)
        .map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs())
        .max()
        .unwrap_or(0)
}

fn rms(pcm: &[i16]) -> f64 {
    (pcm.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / pcm.len() as f64).sqrt()
}

#[test]
fn without_loss_nothing_is_touched() {
    let pcm = noise(20_000, 8_000);
    assert_eq!(play(SampleRate::Hz8000, &pcm, |_| false), pcm);
}

#[test]
fn a_lost_frame_of_a_voice_is_hard_to_tell_from_the_voice() {
    for rate in SampleRate::ALL {
        for pitch_hz in [80.0, 123.0, 190.0, 250.0] {
            let pcm = vowel(rate, pitch_hz, rate.samples(1_000));
            let played = play(rate, &pcm, |index| index == 20);
            let lost = rate.samples(400)..rate.samples(420);
            let snr_db = snr_db(&pcm[lost.clone()], &played[lost]);
            assert!(snr_db > 8.0, "{rate:?}, {pitch_hz} Hz: {snr_db} dB");
        }
    }
}

#[test]
fn losses_do_not_click() {
    for rate in SampleRate::ALL {
        for pitch_hz in [70.0, 111.0, 173.0, 301.0] {
            let pcm = vowel(rate, pitch_hz, rate.samples(2_000));
            for burst in 1..6 {
                let played = play(rate, &pcm, |index| index % 17 >= 17 - burst);
                let (before, after) = (largest_step(&pcm), largest_step(&played));
                assert!(
                    after * 10 <= before * 13,
                    "{rate:?}, {pitch_hz} Hz, {burst} frames: step {after}, was {before}"
                );
            }
        }
    }
}

#[test]
fn the_first_concealed_sample_follows_the_last_one_heard() {
    // A signal without any period, where repetition alone would jump.
    let rate = SampleRate::Hz8000;
    let ramp: Vec<i16> = (0..800).map(|n| (n * 40 - 16_000) as i16).collect();
    let played = play(rate, &ramp, |index| index == 4);
    let step = i32::from(played[640]) - i32::from(played[639]);
    assert!(step.abs() < 1_000, "jump of {step}");
}

#[test]
fn a_long_loss_fades_to_silence_within_60_ms() {
    let rate = SampleRate::Hz16000;
    let pcm = vowel(rate, 120.0, rate.samples(1_000));
    let played = play(rate, &pcm, |index| (10..20).contains(&index));
    let level = |from_ms| rms(&played[rate.samples(from_ms)..rate.samples(from_ms + 10)]);
    let spoken = level(180);
    assert!(
        level(200) > 0.7 * spoken,
        "the first 10 ms keep their level"
    );
    assert!(level(230) < 0.75 * spoken && level(230) > 0.3 * spoken);
    assert!(level(250) < level(230));
    assert!(
        played[rate.samples(260)..rate.samples(400)]
            .iter()
            .all(|&sample| sample == 0)
    );
    let again = rate.samples(410);
    assert_eq!(
        played[again..],
        pcm[again..],
        "10 ms after the loss only received sound is left"
    );
}

#[test]
fn the_pitch_stays_through_a_loss() {
    let rate = SampleRate::Hz8000;
    let pcm = tone(rate, 150.0, 10_000.0, 8_000);
    let played = play(rate, &pcm, |index| index == 10);
    let (amplitude, _) = sine_fit(rate, 150.0, &played[1_600..1_680]);
    assert!((8_500.0..11_500.0).contains(&amplitude), "{amplitude}");
}

#[test]
fn a_loss_before_any_sound_is_silence_and_reset_forgets() {
    let mut concealer = Concealer::new(SampleRate::Hz8000);
    let mut frame = [77; 160];
    concealer.conceal(&mut frame);
    assert_eq!(frame, [0; 160]);
    concealer.good_frame(&mut tone(SampleRate::Hz8000, 440.0, 9_000.0, 160));
    concealer.reset();
    concealer.conceal(&mut frame);
    assert_eq!(frame, [0; 160]);
}

proptest::proptest! {
    #[test]
    fn any_frames_of_any_length_are_taken(
        frames in proptest::collection::vec((proptest::bool::ANY, proptest::collection::vec(proptest::num::i16::ANY, 0..900)), 0..20),
        rate in 0_usize..4,
    ) {
        let mut concealer = Concealer::new(SampleRate::ALL[rate]);
        for (is_lost, mut frame) in frames {
            if is_lost { concealer.conceal(&mut frame) } else { concealer.good_frame(&mut frame) }
        }
    }
}
