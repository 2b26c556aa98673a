//! Images: what an upsampler without a filter leaves above the band of its source, where telephone speech has nothing.
//!
//! The judge works at 8 kHz and can't hear them. What is measured is all energy above [`EDGE_HZ`] against all below, in windows, so
//! that the ends of a recording count for nothing.

use std::f64::consts::TAU;

use realfft::RealFftPlanner;

use crate::audio::Audio;

/// Above the highest tone of 8 kHz, by as much as a filter needs.
const EDGE_HZ: f64 = 4_200.0;
const WINDOW_MS: u32 = 32;
/// Speech that begins in the middle of a word begins with an edge: so many windows are left out.
const ONSET_WINDOWS: usize = 6;
/// Sound is what is above the loudest window by no less than this.
const SOUND_DB: f64 = -40.0;
/// Less sound tells nothing.
const WINDOWS_MIN: usize = 30;

/// The energy above 4.2 kHz against that below, in dB, -120 at least. None: a rate that has nothing there, or too little sound.
pub fn images_db(audio: &Audio) -> Option<f64> {
    let rate_hz = f64::from(audio.sample_rate_hz);
    if rate_hz <= 2.0 * EDGE_HZ {
        return None;
    }
    let len = (audio.sample_rate_hz * WINDOW_MS / 1000) as usize;
    let mut windows = energies(audio, len, EDGE_HZ * len as f64 / rate_hz)?;
    let loudest = windows
        .iter()
        .map(|(low, high)| low + high)
        .fold(0.0, f64::max);
    let audible = loudest * 10f64.powf(SOUND_DB / 10.0);
    let sounds = |(low, high): &(f64, f64)| low + high > audible;
    let first = windows.iter().position(sounds)?;
    windows.drain(..(first + ONSET_WINDOWS).min(windows.len()));
    if windows.iter().filter(|window| sounds(window)).count() < WINDOWS_MIN {
        return None;
    }
    let low: f64 = windows.iter().map(|(low, _)| low).sum();
    let high: f64 = windows.iter().map(|(_, high)| high).sum();
    Some(10.0 * (high / low.max(1e-9)).max(1e-12).log10())
}

/// Of each window, which overlap by half, below and above a bin.
fn energies(audio: &Audio, len: usize, edge: f64) -> Option<Vec<(f64, f64)>> {
    let mut planner = RealFftPlanner::<f64>::new();
    let fft = planner.plan_fft_forward(len);
    let mut bins = fft.make_output_vec();
    let hann: Vec<f64> = (0..len)
        .map(|n| 0.5 - 0.5 * (TAU * (n as f64 + 0.5) / len as f64).cos())
        .collect();
    let windows = audio.samples.windows(len).step_by((len / 2).max(1));
    windows
        .map(|window| {
            let mut time: Vec<f64> = window
                .iter()
                .zip(&hann)
                .map(|(sample, weight)| f64::from(*sample) * weight)
                .collect();
            fft.process(&mut time, &mut bins).ok()?;
            let (mut low, mut high) = (0.0, 0.0);
            for (index, bin) in bins.iter().enumerate() {
                if index as f64 <= edge {
                    low += bin.norm_sqr();
                } else {
                    high += bin.norm_sqr();
                }
            }
            Some((low, high))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::speech;

    /// Telephone speech at 16 kHz, each second sample by this.
    fn upsampled(between: impl Fn(i16, i16) -> i16) -> Audio {
        let narrow = speech::alpha().resampled(8_000).samples;
        let pairs = narrow.iter().zip(narrow.iter().skip(1));
        Audio {
            sample_rate_hz: 16_000,
            samples: pairs.flat_map(|(a, b)| [*a, between(*a, *b)]).collect(),
        }
    }

    #[test]
    fn an_upsampler_without_a_filter_is_heard() {
        for (name, audio) in [
            ("zeros", upsampled(|_, _| 0)),
            ("twice", upsampled(|a, _| a)),
            (
                "a line",
                upsampled(|a, b| ((i32::from(a) + i32::from(b)) / 2) as i16),
            ),
        ] {
            let images = images_db(&audio).unwrap();
            assert!(images > -40.0, "{name}: {images}");
        }
    }

    #[test]
    fn one_with_a_filter_is_not_even_where_the_sound_begins_and_ends_at_once() {
        let mut audio = speech::alpha().resampled(8_000).resampled(16_000);
        let images = images_db(&audio).unwrap();
        assert!(images < -45.0, "{images}");
        audio.samples.drain(..20_000);
        audio.samples.truncate(70_003);
        audio.samples.splice(..0, [0; 8_000]);
        let images = images_db(&audio).unwrap();
        assert!(images < -45.0, "{images}");
    }

    #[test]
    fn what_has_no_such_band_or_no_sound_tells_nothing() {
        assert_eq!(images_db(&speech::alpha().resampled(8_000)), None);
        assert_eq!(images_db(&Audio::silence(16_000, 3_000)), None);
        let mut short = speech::alpha();
        short.samples.truncate(1_600);
        assert_eq!(images_db(&short), None);
    }
}
