//! What is played.

use super::*;

fn played(rate: SampleRate, digits: &str, duration_ms: u32, pause_ms: u32) -> Vec<i16> {
    let mut generator = ToneGenerator::new(rate, ToneLevels::default());
    generator.start(digits, duration_ms, pause_ms).unwrap();
    drained(&mut generator, 160)
}

fn drained(generator: &mut ToneGenerator, block_samples: usize) -> Vec<i16> {
    let mut pcm = Vec::new();
    let mut block = vec![0; block_samples];
    loop {
        let written = generator.fill(&mut block);
        pcm.extend_from_slice(&block[..written]);
        if written < block_samples {
            assert!(!generator.is_playing());
            return pcm;
        }
    }
}

#[test]
fn every_digit_has_its_two_tones_at_their_levels() {
    assert_eq!(frequencies_hz('1'), Some((697.0, 1_209.0)));
    assert_eq!(frequencies_hz('0'), Some((941.0, 1_336.0)));
    assert_eq!(frequencies_hz('d'), Some((941.0, 1_633.0)));
    assert_eq!(frequencies_hz('x'), None);
    for rate in SampleRate::ALL {
        for digit in DIGITS {
            let pcm = played(rate, &digit.to_string(), 1_000, 40);
            let steady = &pcm[rate.samples(20)..rate.samples(980)];
            let (low_hz, high_hz) = frequencies_hz(digit).unwrap();
            let level_dbm0 = |hz: f32| {
                let (amplitude, _) = signals::sine_fit(rate, f64::from(hz), steady);
                20.0 * (amplitude / f64::from(AMPLITUDE_OF_0_DBM0)).log10()
            };
            let (low_dbm0, high_dbm0) = (level_dbm0(low_hz), level_dbm0(high_hz));
            assert!((low_dbm0 + 10.0).abs() < 0.05, "{digit}: {low_dbm0}");
            assert!((high_dbm0 + 8.0).abs() < 0.05, "{digit}: {high_dbm0}");
        }
    }
}

#[test]
fn the_level_stays_for_as_long_as_a_tone_may_last() {
    let rate = SampleRate::Hz48000;
    let pcm = played(rate, "5", DURATION_MAX_MS, 40);
    let tone_end = rate.samples(DURATION_MAX_MS);
    let amplitude = |from: usize| {
        let part = &pcm[from..from + rate.samples(100)];
        signals::sine_fit(rate, 770.0, part).0
    };
    let (first, last) = (
        amplitude(rate.samples(5)),
        amplitude(tone_end - rate.samples(105)),
    );
    assert!((first / last - 1.0).abs() < 1e-3, "{first} and {last}");
}

#[test]
fn durations_and_pauses_are_exact_and_edges_do_not_click() {
    for rate in SampleRate::ALL {
        let pcm = played(rate, "18", 50, 60);
        assert_eq!(pcm.len(), 2 * rate.samples(110));
        let pause = &pcm[rate.samples(50)..rate.samples(110)];
        assert!(pause.iter().all(|&sample| sample == 0));
        // No step is larger than that of the steady tones.
        let steepest = |pcm: &[i16]| pcm.windows(2).map(|w| (w[1] - w[0]).abs()).max().unwrap();
        let edge = rate.samples(1);
        let steady = steepest(&pcm[rate.samples(10)..rate.samples(40)]);
        assert!(steepest(&pcm[..edge]) < steady / 2);
        assert!(steepest(&pcm[rate.samples(50) - edge..rate.samples(50) + edge]) < steady / 2);
    }
}

#[test]
fn where_the_slices_are_cut_changes_nothing() {
    let rate = SampleRate::Hz8000;
    let whole = played(rate, "159#", 70, 50);
    for block_samples in [1, 7, 159, 1_000] {
        let mut generator = ToneGenerator::new(rate, ToneLevels::default());
        generator.start("159#", 70, 50).unwrap();
        assert_eq!(drained(&mut generator, block_samples), whole);
    }
}

#[test]
fn a_pressed_key_sounds_until_it_is_released() {
    let rate = SampleRate::Hz8000;
    let mut generator = ToneGenerator::new(rate, ToneLevels::default());
    generator.press('7', 50).unwrap();
    generator.press('8', 50).unwrap();
    let mut pcm = vec![0; rate.samples(500)];
    assert_eq!(generator.fill(&mut pcm), pcm.len());
    // It was shorter than what was played already; the second is released before it begins.
    generator.release(60);
    generator.release(60);
    generator.release(60);
    pcm.extend(drained(&mut generator, 33));
    let told = digits_of(&heard(rate, &pcm));
    assert_eq!(told.len(), 2);
    assert!((495..=515).contains(&told[0].duration_ms), "{told:?}");
    assert!((50..=70).contains(&told[1].duration_ms), "{told:?}");
    let mut forgotten = ToneGenerator::new(rate, ToneLevels::default());
    forgotten.press('7', 40).unwrap();
    let all = drained(&mut forgotten, 160).len();
    assert_eq!(all, rate.samples(DURATION_MAX_MS + 40));
}

#[test]
fn what_cannot_be_played_is_refused_whole() {
    let mut generator = ToneGenerator::new(SampleRate::Hz8000, ToneLevels::default());
    assert_eq!(
        generator.start("12x", 100, 100),
        Err(ToneError::NoDigit('x'))
    );
    assert!(!generator.is_playing());
    let many = "1".repeat(DIGITS_QUEUED_MAX + 1);
    assert_eq!(generator.start(&many, 100, 100), Err(ToneError::QueueFull));
    assert!(!generator.is_playing());
    generator.start(&many[1..], 100, 100).unwrap();
    assert_eq!(generator.press('1', 100), Err(ToneError::QueueFull));
    generator.reset();
    assert_eq!(generator.fill(&mut [0; 10]), 0);
}
