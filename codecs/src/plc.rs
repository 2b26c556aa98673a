//! Concealment of lost PCM frames for codecs that have none of their own (G.711, linear16), after ITU-T G.711
//! Appendix I.
//!
//! A gap is filled with the last pitch period repeated, then the last two, then three (so that it does not buzz), and
//! fades to silence within 60 ms. Unlike Appendix I this adds no delay: instead of holding 3.75 ms of output back for a
//! cross-fade, the first repeated period starts from the last sample that was played and glides to its own course.
//! Opus conceals in its own decoder.

use crate::SampleRate;

/// Longest pitch period that is looked for, in ms (67 Hz).
const PITCH_MAX_MS: u32 = 15;
/// Shortest pitch period, in ms (200 Hz). Higher voices match at a multiple of their period.
const PITCH_MIN_MS: u32 = 5;
/// Length of the signal that is compared with its own past, in ms.
const CORRELATION_MS: u32 = 20;
/// The coarse search looks at one sample of this many per second.
const COARSE_SEARCH_HZ: u32 = 4_000;
/// The fine search looks at one sample of this many per second; lags are tried at the full rate.
const FINE_SEARCH_HZ: u32 = 8_000;
/// How long each number of pitch periods is repeated before one more is taken, and how long the sound keeps its level.
const STAGE_MS: u32 = 10;
/// Most pitch periods that are repeated.
const PERIODS_MAX: usize = 3;
/// When the fade has reached silence, in ms since the loss began.
const SILENT_AFTER_MS: u32 = 60;
/// Longest cross-fade back into received sound, in ms.
const RETURN_MAX_MS: u32 = 10;
/// By how much that cross-fade grows with each lost stage after the first, in ms.
const RETURN_GROWTH_MS: u32 = 4;

/// Conceals losses in one stream of PCM, without delay and without allocation after [`new`](Self::new).
///
/// Give it every frame in order: [`good_frame`](Self::good_frame) for one that arrived,
/// [`conceal`](Self::conceal) for one that did not. Frames may have any length.
#[derive(Debug, Clone)]
pub struct Concealer {
    sample_rate: SampleRate,
    /// What was played last, oldest first: 3.25 of the longest pitch periods.
    history: Box<[i16]>,
    /// `history` as it was when the loss began; the source of all repetition.
    before_loss: Box<[i16]>,
    loss: Option<Loss>,
}

/// Where the synthesis of one loss stands.
#[derive(Debug, Clone, Copy)]
struct Loss {
    pitch_samples: usize,
    /// Synthesised so far.
    samples: usize,
    /// Number of pitch periods that are being repeated.
    periods: usize,
    /// Next sample of the cycle of `periods` periods.
    offset: usize,
    /// The shorter cycle that is being left, and how many samples of the cross-fade out of it are done.
    leaving: Option<Leaving>,
    /// Difference between the last sample played and where the repetition begins; glides away.
    step: f32,
}

#[derive(Debug, Clone, Copy)]
struct Leaving {
    periods: usize,
    offset: usize,
    faded: usize,
}

impl Concealer {
    /// A concealer for a stream that begins now; a loss before the first good frame gives silence.
    pub fn new(sample_rate: SampleRate) -> Self {
        let pitch_max = sample_rate.samples(PITCH_MAX_MS);
        let history =
            vec![0; PERIODS_MAX * pitch_max + overlap_samples(pitch_max)].into_boxed_slice();
        Self {
            sample_rate,
            before_loss: history.clone(),
            history,
            loss: None,
        }
    }

    /// A frame that arrived: remembers it, and right after a loss cross-fades its beginning with the concealment, in
    /// place.
    pub fn good_frame(&mut self, frame: &mut [i16]) {
        if let Some(mut loss) = self.loss.take() {
            let fade = self.return_samples(&loss).min(frame.len());
            for (n, sample) in frame.iter_mut().take(fade).enumerate() {
                let synthetic = self.synthesise(&mut loss);
                let weight = (n + 1) as f32 / (fade + 1) as f32;
                *sample = to_i16(f32::from(*sample) * weight + synthetic * (1.0 - weight));
            }
        }
        self.remember(frame);
    }

    /// A frame that did not arrive: fills it.
    pub fn conceal(&mut self, frame: &mut [i16]) {
        let mut loss = match self.loss.take() {
            Some(loss) => loss,
            None => self.begin_loss(),
        };
        for sample in frame.iter_mut() {
            *sample = to_i16(self.synthesise(&mut loss));
        }
        self.loss = Some(loss);
        self.remember(frame);
    }

    /// Forgets the stream so far.
    pub fn reset(&mut self) {
        self.history.fill(0);
        self.loss = None;
    }

    fn remember(&mut self, frame: &[i16]) {
        let kept = frame.len().min(self.history.len());
        let (_too_old, newest) = frame.split_at(frame.len() - kept);
        self.history.copy_within(kept.., 0);
        let start = self.history.len() - kept;
        self.history[start..].copy_from_slice(newest);
    }

    fn begin_loss(&mut self) -> Loss {
        self.before_loss.copy_from_slice(&self.history);
        let pitch_samples = pitch_samples(&self.before_loss, self.sample_rate);
        let end = self.before_loss.len();
        let step = f32::from(self.before_loss[end - 1])
            - f32::from(self.before_loss[end - 1 - pitch_samples]);
        Loss {
            pitch_samples,
            samples: 0,
            periods: 1,
            offset: 0,
            leaving: None,
            step,
        }
    }

    /// The next sample of the concealment.
    fn synthesise(&self, loss: &mut Loss) -> f32 {
        let silent_after = self.sample_rate.samples(SILENT_AFTER_MS);
        if loss.samples >= silent_after {
            return 0.0;
        }
        let stage = self.sample_rate.samples(STAGE_MS);
        let overlap = overlap_samples(loss.pitch_samples);
        if loss.periods < PERIODS_MAX && loss.samples == loss.periods * stage {
            // The new cycle begins one period earlier, so the same offset is the same phase.
            loss.leaving = Some(Leaving {
                periods: loss.periods,
                offset: loss.offset,
                faded: 0,
            });
            loss.periods += 1;
        }
        let mut value = self.cycle(loss.pitch_samples, loss.periods, loss.offset);
        loss.offset = (loss.offset + 1) % (loss.periods * loss.pitch_samples);
        if let Some(leaving) = &mut loss.leaving {
            let old = self.cycle(loss.pitch_samples, leaving.periods, leaving.offset);
            leaving.offset = (leaving.offset + 1) % (leaving.periods * loss.pitch_samples);
            leaving.faded += 1;
            let weight = leaving.faded as f32 / (overlap + 1) as f32;
            value = value * weight + old * (1.0 - weight);
            if leaving.faded == overlap {
                loss.leaving = None;
            }
        }
        if loss.samples < overlap {
            value += loss.step * (1.0 - (loss.samples + 1) as f32 / (overlap + 1) as f32);
        }
        let fading = loss.samples.saturating_sub(stage) as f32 / (silent_after - stage) as f32;
        loss.samples += 1;
        value * (1.0 - fading)
    }

    /// Sample `offset` of the last `periods` pitch periods before the loss, whose end is cross-faded into what came before
    /// their beginning, so that they can follow themselves.
    fn cycle(&self, pitch_samples: usize, periods: usize, offset: usize) -> f32 {
        let cycle = periods * pitch_samples;
        let overlap = overlap_samples(pitch_samples);
        // In bounds: `offset` < `cycle`, and the history holds `PERIODS_MAX` periods and an overlap of the longest pitch.
        let index = self.before_loss.len() - cycle + offset;
        let value = f32::from(self.before_loss[index]);
        match (offset + overlap).checked_sub(cycle) {
            None => value,
            Some(into_overlap) => {
                let weight = (into_overlap + 1) as f32 / overlap as f32;
                value * (1.0 - weight) + f32::from(self.before_loss[index - cycle]) * weight
            }
        }
    }

    /// How long to cross-fade from the concealment into received sound: the longer the loss, the longer.
    fn return_samples(&self, loss: &Loss) -> usize {
        let stages_after_first =
            (loss.samples / self.sample_rate.samples(STAGE_MS)).saturating_sub(1);
        let growth = stages_after_first * self.sample_rate.samples(RETURN_GROWTH_MS);
        (overlap_samples(loss.pitch_samples) + growth).min(self.sample_rate.samples(RETURN_MAX_MS))
    }
}

/// A quarter of a pitch period: the length of the cross-fades within the concealment.
const fn overlap_samples(pitch_samples: usize) -> usize {
    pitch_samples / 4
}

/// The pitch period at the end of `history`, by the peak of the normalised cross-correlation: a coarse search over every
/// few samples, then a fine one around its best.
fn pitch_samples(history: &[i16], rate: SampleRate) -> usize {
    let shortest = rate.samples(PITCH_MIN_MS);
    let longest = rate.samples(PITCH_MAX_MS);
    let coarse_stride = (rate.hz() / COARSE_SEARCH_HZ) as usize;
    let fine_stride = (rate.hz() / FINE_SEARCH_HZ) as usize;
    let every_few = (shortest..=longest).step_by(coarse_stride);
    let coarse = best_lag(history, rate, every_few, coarse_stride).unwrap_or(longest);
    let around = coarse.saturating_sub(coarse_stride - 1).max(shortest)
        ..=(coarse + coarse_stride - 1).min(longest);
    best_lag(history, rate, around, fine_stride).unwrap_or(coarse)
}

/// The lag with the highest normalised correlation, looking at every `stride`th sample; `None` if no lag correlates.
fn best_lag(
    history: &[i16],
    rate: SampleRate,
    lags: impl Iterator<Item = usize>,
    stride: usize,
) -> Option<usize> {
    let window = rate.samples(CORRELATION_MS);
    let (_, recent) = history.split_at(history.len() - window);
    let mut best = None;
    let mut best_correlation = 0.0;
    for lag in lags {
        // In bounds: the history is longer than window and longest lag together.
        let past = &history[history.len() - window - lag..history.len() - lag];
        let (mut product, mut energy) = (0_i64, 1_i64);
        for (&now, &before) in recent.iter().zip(past).step_by(stride) {
            product += i64::from(i32::from(now) * i32::from(before));
            energy += i64::from(i32::from(before) * i32::from(before));
        }
        let correlation = product as f64 / (energy as f64).sqrt();
        if correlation > best_correlation {
            best_correlation = correlation;
            best = Some(lag);
        }
    }
    best
}

/// Nearest sample, without the call to the maths library that `round` is on plain x86-64. The cast saturates.
fn to_i16(value: f32) -> i16 {
    (value + 0.5_f32.copysign(value)) as i16
}

#[cfg(test)]
mod tests {
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
}
