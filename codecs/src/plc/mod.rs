//! Concealment of lost PCM frames for codecs that have none of their own (G.711, linear16), after ITU-T G.711
//! Appendix I.
//!
//! A gap is filled with the last pitch period repeated, from 20 ms on with the last two, then three (so that it does not
//! buzz), and fades to silence within 60 ms. The cross-fade back into received sound is the longer, the longer the loss.
//! Opus conceals in its own decoder.
//!
//! Unlike Appendix I this adds no delay: instead of holding 3.75 ms of output back for a cross-fade, the first repeated
//! period starts from the last sample that was played and glides to its own course. What is lost by that is made good by
//! listening to the last 10 ms (not 20) for the pitch, by one period for 20 ms (not 10), and by a fade from 5 ms on (not 10).
//! PESQ-NB of two voices at 8 kHz, 20 ms frames lost by chance, five seeds each, against the same without loss:
//!
//! | lost | silence | last frame again | Appendix I | this |
//! | --- | --- | --- | --- | --- |
//! | 3 % | 3.26 | 3.38 | 3.73 | 3.76 |
//! | 10 % | 2.12 | 2.35 | 2.81 | 2.88 |

mod pitch;

#[cfg(test)]
mod tests;

use crate::SampleRate;
use pitch::PITCH_MAX_MS;

/// How long each number of pitch periods is repeated before one more is taken.
const PERIODS_STAGE_MS: u32 = 20;
/// Most pitch periods that are repeated.
const PERIODS_MAX: usize = 3;
/// How long the sound keeps its level, in ms since the loss began.
const FADE_AFTER_MS: u32 = 5;
/// When the fade has reached silence, in ms since the loss began.
const SILENT_AFTER_MS: u32 = 60;
/// Longest cross-fade back into received sound, in ms.
const RETURN_MAX_MS: u32 = 10;
/// By how much that cross-fade grows with each [`RETURN_STAGE_MS`] lost after the first, in ms.
const RETURN_GROWTH_MS: u32 = 4;
const RETURN_STAGE_MS: u32 = 10;

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
        let pitch_samples = pitch::period_samples(&self.before_loss, self.sample_rate);
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
        let stage = self.sample_rate.samples(PERIODS_STAGE_MS);
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
        loss.offset = following(loss.offset, loss.periods * loss.pitch_samples);
        if let Some(leaving) = &mut loss.leaving {
            let old = self.cycle(loss.pitch_samples, leaving.periods, leaving.offset);
            leaving.offset = following(leaving.offset, leaving.periods * loss.pitch_samples);
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
        let level_until = self.sample_rate.samples(FADE_AFTER_MS);
        let fading =
            loss.samples.saturating_sub(level_until) as f32 / (silent_after - level_until) as f32;
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
            (loss.samples / self.sample_rate.samples(RETURN_STAGE_MS)).saturating_sub(1);
        let growth = stages_after_first * self.sample_rate.samples(RETURN_GROWTH_MS);
        (overlap_samples(loss.pitch_samples) + growth).min(self.sample_rate.samples(RETURN_MAX_MS))
    }
}

/// The offset after `offset` in a cycle of this length.
const fn following(offset: usize, cycle: usize) -> usize {
    if offset + 1 < cycle { offset + 1 } else { 0 }
}

/// A quarter of a pitch period: the length of the cross-fades within the concealment.
const fn overlap_samples(pitch_samples: usize) -> usize {
    pitch_samples / 4
}

/// Nearest sample, without the call to the maths library that `round` is on plain x86-64. The cast saturates.
fn to_i16(value: f32) -> i16 {
    (value + 0.5_f32.copysign(value)) as i16
}
