//! What a detector has to take, and what it has to refuse.

use super::*;

const RATE: SampleRate = SampleRate::Hz8000;
/// The detector looks every 40 samples, so tones begin at each of these places against its looks.
const ALIGNMENTS: [usize; 5] = [400, 409, 418, 427, 436];

#[test]
fn short_tones_with_short_pauses_are_heard() {
    for lead_samples in ALIGNMENTS {
        for digit in DIGITS {
            let mut pair = Pair::new(digit);
            pair.tone_ms = 40.0;
            // The same digit again is the hardest: only the pause tells them apart.
            let mut pcm = pair.pcm(RATE, lead_samples);
            pcm.truncate(lead_samples + RATE.samples(80));
            pcm.extend(pair.pcm(RATE, 0));
            let told = digits_of(&heard(RATE, &pcm));
            assert_eq!(told.len(), 2, "{digit} after {lead_samples}: {told:?}");
            for ended in told {
                assert_eq!(ended.digit, digit);
                assert!((32..=48).contains(&ended.duration_ms), "{ended:?}");
            }
        }
    }
}

#[test]
fn tones_of_23_ms_are_not_heard() {
    for lead_samples in ALIGNMENTS {
        for digit in DIGITS {
            for tone_ms in [5.0, 10.0, 15.0, 20.0, 23.0] {
                let mut pair = Pair::new(digit);
                pair.tone_ms = tone_ms;
                let told = heard(RATE, &pair.pcm(RATE, lead_samples));
                assert_eq!(told, [], "{digit} for {tone_ms} ms after {lead_samples}");
            }
        }
    }
}

#[test]
fn frequencies_within_1_5_percent_are_heard_and_beyond_3_5_percent_are_not() {
    for digit in DIGITS {
        for lead_samples in ALIGNMENTS {
            for (low, high) in [
                (1.0, 1.0),
                (1.0, -1.0),
                (-1.0, 1.0),
                (-1.0, -1.0),
                (1.0, 0.0),
            ] {
                let mut pair = Pair::new(digit);
                pair.tone_ms = 40.0;
                pair.low_deviation = 1.0 + 0.015 * low;
                pair.high_deviation = 1.0 + 0.015 * high;
                let pcm = pair.pcm(RATE, lead_samples);
                assert_heard(
                    RATE,
                    &pcm,
                    digit,
                    40.0,
                    &format!("{low} {high} times 1.5 %"),
                );
            }
            for (low, high) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (1.0, 1.0)] {
                let mut pair = Pair::new(digit);
                pair.low_deviation = 1.0 + 0.035 * low;
                pair.high_deviation = 1.0 + 0.035 * high;
                let told = heard(RATE, &pair.pcm(RATE, lead_samples));
                assert_eq!(told, [], "{digit} at {low} {high} times 3.5 %");
            }
        }
    }
}

#[test]
fn the_high_tone_may_be_4_db_louder_or_8_db_quieter() {
    for digit in DIGITS {
        for twist_db in [4.0, -8.0] {
            let mut pair = Pair::new(digit);
            pair.tone_ms = 40.0;
            pair.high_dbm0 = pair.low_dbm0 + twist_db;
            let pcm = pair.pcm(RATE, 400);
            assert_heard(RATE, &pcm, digit, 40.0, &format!("twist {twist_db} dB"));
        }
        for twist_db in [8.0, -12.0] {
            let mut pair = Pair::new(digit);
            pair.high_dbm0 = pair.low_dbm0 + twist_db;
            assert_eq!(heard(RATE, &pair.pcm(RATE, 400)), [], "twist {twist_db} dB");
        }
    }
}

#[test]
fn levels_from_0_to_minus_30_dbm0_are_heard_and_below_minus_40_are_not() {
    for digit in DIGITS {
        for level_dbm0 in [0.0, -3.0, -10.0, -20.0, -27.0, -30.0] {
            let mut pair = Pair::new(digit);
            pair.tone_ms = 40.0;
            pair.low_dbm0 = level_dbm0;
            pair.high_dbm0 = level_dbm0;
            let pcm = pair.pcm(RATE, 400);
            assert_heard(RATE, &pcm, digit, 40.0, &format!("{level_dbm0} dBm0"));
        }
        let mut pair = Pair::new(digit);
        pair.low_dbm0 = -40.0;
        pair.high_dbm0 = -40.0;
        assert_eq!(heard(RATE, &pair.pcm(RATE, 400)), []);
    }
}

#[test]
fn noise_15_db_below_changes_nothing() {
    // Uniform noise has a third of its amplitude's square, each tone half of its own.
    let tone_power = f64::from(AMPLITUDE_OF_0_DBM0).powi(2) * 10f64.powf(-2.0);
    let amplitude = (3.0 * tone_power * 10f64.powf(-1.5)).sqrt();
    let noise = signals::noise(amplitude as i32, RATE.samples(60_000));
    let mut place = 0;
    for digit in DIGITS {
        for lead_samples in ALIGNMENTS {
            for (tone_ms, deviation) in [(40.0, 1.0), (40.0, 1.015), (40.0, 0.985), (23.0, 1.0)] {
                let mut pair = Pair::new(digit);
                pair.tone_ms = tone_ms;
                pair.low_deviation = deviation;
                pair.high_deviation = deviation;
                let mut signal = pair.signal(RATE, lead_samples);
                place = (place + signal.len()) % (noise.len() - 2 * signal.len());
                for (sample, noise) in signal.iter_mut().zip(&noise[place..]) {
                    *sample += f64::from(*noise);
                }
                let told = heard(RATE, &to_pcm(&signal));
                let expected = usize::from(tone_ms >= 40.0);
                assert_eq!(
                    told.len(),
                    2 * expected,
                    "{digit} {tone_ms} {deviation}: {told:?}"
                );
                assert!(text_of(&told).chars().all(|heard| heard == digit));
            }
        }
    }
}

#[test]
fn an_interruption_of_10_ms_is_none() {
    for digit in DIGITS {
        for lead_samples in ALIGNMENTS {
            let mut pcm = Pair::new(digit).pcm(RATE, lead_samples);
            pcm[lead_samples + 360..lead_samples + 440].fill(0);
            assert_heard(RATE, &pcm, digit, 100.0, "with 10 ms of silence in it");
        }
    }
}

#[test]
fn an_echo_does_not_make_a_digit_longer() {
    for digit in DIGITS {
        let mut pcm = Pair::new(digit).signal(RATE, 400);
        let mut echo = Pair::new(digit);
        echo.low_dbm0 -= 16.0;
        echo.high_dbm0 -= 16.0;
        for (sample, echo) in pcm
            .iter_mut()
            .zip(echo.signal(RATE, 400 + RATE.samples(30)))
        {
            *sample += echo;
        }
        assert_heard(RATE, &to_pcm(&pcm), digit, 100.0, "with an echo");
    }
}

#[test]
fn one_digit_straight_behind_another_is_two() {
    for (index, first) in DIGITS.into_iter().enumerate() {
        let second = DIGITS[(index + 5) % 16];
        let mut pcm = Pair::new(first).pcm(RATE, 400);
        pcm.truncate(400 + RATE.samples(100));
        pcm.extend(Pair::new(second).pcm(RATE, 0));
        let told = digits_of(&heard(RATE, &pcm));
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!((told[0].digit, told[1].digit), (first, second));
    }
}

#[test]
fn blocks_of_any_length_give_the_same() {
    for rate in SampleRate::ALL {
        let mut pcm = Vec::new();
        for digit in DIGITS {
            pcm.extend(Pair::new(digit).pcm(rate, 0));
        }
        let expected = heard(rate, &pcm);
        assert_eq!(text_of(&expected), DIGITS.iter().collect::<String>());
        for block_samples in [1, 13, 161, 4_000] {
            let mut detector = ToneDetector::new(rate);
            let mut told = Vec::new();
            for block in pcm.chunks(block_samples) {
                detector.process(block, |progress| told.push(progress));
            }
            assert_eq!(told, expected);
        }
    }
}

#[test]
fn the_end_of_the_stream_ends_a_digit() {
    let mut detector = ToneDetector::new(RATE);
    let mut told = Vec::new();
    let pcm = Pair::new('5').pcm(RATE, 400);
    detector.process(&pcm[..400 + 800], |progress| told.push(progress));
    assert_eq!(detector.held(), Some('5'));
    told.extend(detector.finish());
    assert_eq!(text_of(&told), "5");
    assert_eq!((detector.held(), detector.finish()), (None, None));
}
