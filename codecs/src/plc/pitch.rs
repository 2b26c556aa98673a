//! The pitch period at the end of a signal: the lag at which it looks most like its own past, by normalised
//! cross-correlation. A coarse search over every few samples, then a fine one around its best.

use crate::SampleRate;

/// Longest pitch period that is looked for, in ms (67 Hz).
pub const PITCH_MAX_MS: u32 = 15;
/// Shortest pitch period, in ms (200 Hz). Higher voices match at a multiple of their period.
const PITCH_MIN_MS: u32 = 5;
/// Length of the signal that is compared with its own past, in ms.
const WINDOW_MS: u32 = 10;
/// The coarse search looks at this many samples a second, and tries as many lags.
const COARSE_HZ: u32 = 4_000;
/// The fine search looks at this many samples a second; lags are tried at the full rate.
const FINE_HZ: u32 = 8_000;

const COARSE_WINDOW: usize = (COARSE_HZ * WINDOW_MS / 1_000) as usize;
const COARSE_LAG_MIN: usize = (COARSE_HZ * PITCH_MIN_MS / 1_000) as usize;
const COARSE_LAG_MAX: usize = (COARSE_HZ * PITCH_MAX_MS / 1_000) as usize;
const FINE_WINDOW: usize = (FINE_HZ * WINDOW_MS / 1_000) as usize;
/// Bits of magnitude that are looked at, so that a sum of products of a window fits into an `i32`.
const MAGNITUDE_BITS: u32 = 12;
const _: () = assert!(FINE_WINDOW << (2 * MAGNITUDE_BITS) <= i32::MAX as usize);

/// The pitch period in samples; the longest if nothing repeats. `history` ends now and has the window and the longest
/// period at least: 25 ms.
pub fn period_samples(history: &[i16], rate: SampleRate) -> usize {
    let (_too_old, recent) =
        history.split_at(history.len() - rate.samples(WINDOW_MS + PITCH_MAX_MS));
    let loudest = recent
        .iter()
        .fold(0, |loudest: u16, sample| loudest.max(sample.unsigned_abs()));
    let excess_bits = (u16::BITS - loudest.leading_zeros()).saturating_sub(MAGNITUDE_BITS);
    let coarse = coarse_period_samples(recent, rate, excess_bits);
    fine_period_samples(recent, rate, excess_bits, coarse)
}

fn coarse_period_samples(recent: &[i16], rate: SampleRate, excess_bits: u32) -> usize {
    let stride = (rate.hz() / COARSE_HZ) as usize;
    let mut thinned = [0_i16; COARSE_LAG_MAX + COARSE_WINDOW];
    thin(recent, stride, excess_bits, &mut thinned);
    let (_, now) = thinned.split_at(COARSE_LAG_MAX);
    let lags = COARSE_LAG_MIN..=COARSE_LAG_MAX;
    let of_lag = |lag: usize| correlation(now, &thinned[COARSE_LAG_MAX - lag..][..COARSE_WINDOW]);
    best_lag(lags, of_lag).map_or(COARSE_LAG_MAX * stride, |lag| lag * stride)
}

fn fine_period_samples(recent: &[i16], rate: SampleRate, excess_bits: u32, coarse: usize) -> usize {
    let stride = (rate.hz() / FINE_HZ) as usize;
    let reach = (rate.hz() / COARSE_HZ) as usize - 1;
    let mut now = [0_i16; FINE_WINDOW];
    thin(recent, stride, excess_bits, &mut now);
    let lags = (coarse - reach).max(rate.samples(PITCH_MIN_MS))
        ..=(coarse + reach).min(rate.samples(PITCH_MAX_MS));
    let of_lag = |lag: usize| {
        let mut past = [0_i16; FINE_WINDOW];
        thin(
            &recent[..recent.len() - lag],
            stride,
            excess_bits,
            &mut past,
        );
        correlation(&now, &past)
    };
    best_lag(lags, of_lag).unwrap_or(coarse)
}

/// The last samples of `signal`, one of `stride`, without their lowest bits.
fn thin(signal: &[i16], stride: usize, excess_bits: u32, thinned: &mut [i16]) {
    let start = signal.len() - thinned.len() * stride;
    for (slot, &sample) in thinned
        .iter_mut()
        .zip(signal[start..].iter().step_by(stride))
    {
        *slot = sample >> excess_bits;
    }
}

/// The first lag with the highest correlation; `None` if none correlates.
fn best_lag(
    lags: impl Iterator<Item = usize>,
    correlation: impl Fn(usize) -> f32,
) -> Option<usize> {
    let mut best = None;
    let mut highest = 0.0;
    for lag in lags {
        let correlation = correlation(lag);
        if correlation > highest {
            highest = correlation;
            best = Some(lag);
        }
    }
    best
}

/// The square of the correlation of `now` with `past` by the energy of `past`; nothing if they go against each other. That of
/// `now` is the same for every lag and left out.
fn correlation(now: &[i16], past: &[i16]) -> f32 {
    let product = sum_of_products(now, past).max(0) as f32;
    let energy = sum_of_products(past, past).max(1) as f32;
    product * product / energy
}

/// The compiler makes vector instructions of this.
fn sum_of_products(a: &[i16], b: &[i16]) -> i32 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| i32::from(a) * i32::from(b))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::vowel;

    #[test]
    fn the_period_of_a_voice_is_found_at_every_rate_and_level() {
        for rate in SampleRate::ALL {
            for pitch_hz in [70.0, 93.0, 120.0, 151.0, 187.0] {
                for quieter_bits in [0, 3, 6] {
                    let mut pcm = vowel(rate, pitch_hz, rate.samples(500));
                    pcm.iter_mut().for_each(|sample| *sample >>= quieter_bits);
                    let period = period_samples(&pcm, rate) as f64;
                    let expected = f64::from(rate.hz()) / pitch_hz;
                    // Two periods are as good where they are short enough.
                    let is_one_or_two = [1.0, 2.0]
                        .iter()
                        .any(|n| (period - n * expected).abs() <= 0.02 * n * expected + 1.0);
                    assert!(
                        is_one_or_two,
                        "{rate:?}, {pitch_hz} Hz: {period}, not {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_loudest_samples_do_not_overflow_and_silence_has_the_longest_period() {
        for rate in SampleRate::ALL {
            let longest = rate.samples(PITCH_MAX_MS);
            let shortest = rate.samples(PITCH_MIN_MS);
            assert_eq!(period_samples(&vec![0; rate.samples(50)], rate), longest);
            for sample in [i16::MIN, i16::MAX] {
                let period = period_samples(&vec![sample; rate.samples(50)], rate);
                assert!((shortest..=longest).contains(&period));
            }
        }
    }
}
