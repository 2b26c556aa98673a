//! Digits from tones.
//!
//! Every 5 ms the newest 20 ms at 8 kHz are looked at under a Hann window: eight correlations, one for each tone. The window
//! counts as a digit if its strongest low and high tone are loud enough, not too different, together nearly all of the
//! sound, and at their frequencies: these are measured by how the phase goes on from one look to the next, which no block
//! of 20 ms could tell by its energy alone. Five such looks in a row begin a digit (a tone of 31 ms or more always has
//! them, one of 25 ms or less never), four without it end it.
//!
//! The limits are those of ITU-T Q.24 (its column of AT&T, the widest) and ETSI ES 201 235-3.

use std::f32::consts::{PI, TAU};
use std::sync::LazyLock;

use super::{AMPLITUDE_OF_0_DBM0, HIGH_GROUP_HZ, LOW_GROUP_HZ, digit_of_key};
use crate::SampleRate;
use crate::digit::{DigitProgress, DigitReceived};
use crate::resample::Resampler;

/// The rate that is listened at; others are converted.
const RATE: SampleRate = SampleRate::Hz8000;
const RATE_HZ: f32 = 8_000.0;
/// Samples under the window: 20 ms.
const WINDOW_SAMPLES: usize = 160;
/// Samples from one look to the next: 5 ms.
const HOP_SAMPLES: usize = 40;
const HOP_MS: u32 = 5;
/// Sum of the window.
const WINDOW_SUM: f32 = WINDOW_SAMPLES as f32 / 2.0;
/// Samples that are converted at a time.
const BLOCK_SAMPLES: usize = 240;
const TONES: usize = LOW_GROUP_HZ.len() + HIGH_GROUP_HZ.len();

/// The quietest tone, in dBm0; the standards ask for -25 (Q.24).
const LEVEL_MIN_DBM0: f32 = -34.0;
/// How much louder than the low tone the high one may be, in dB; the standards ask for 4.
const TWIST_MAX_DB: f32 = 6.0;
/// How much quieter it may be; the standards ask for 8.
const REVERSE_TWIST_MAX_DB: f32 = 10.0;
/// A tone is taken up to here off its frequency: halfway between what must be taken (1.5 %) and refused (3.5 %).
const DEVIATION_MAX: f32 = 0.025;
/// The part of the energy that is in the two tones, at least, to begin a digit; at 15 dB of noise it is 0.97.
const PURITY_TO_BEGIN: f32 = 0.75;
/// The same to go on with one: a window that is half over its end has it.
const PURITY_TO_GO_ON: f32 = 0.5;
/// A digit that has become quieter than this part of its loudest amplitude is over: what is left is its echo.
const ECHO: f32 = 0.3;
/// Looks in a row that begin a digit.
const LOOKS_TO_BEGIN: u32 = 5;
/// Looks in a row without it that end a digit: an interruption of 10 ms has three at most, a pause of 25 ms always more.
const LOOKS_TO_END: u32 = 4;
/// A window whose first look hears a digit is already 12.6 ms into it, one whose last look does 10 ms past it, and both
/// wait for the next look, 2.5 ms in the mean.
const DURATION_CORRECTION_MS: u32 = 8;

/// Hears digits in one stream of audio: any rate, blocks of any length. Allocates only in [`new`](Self::new).
#[derive(Debug)]
pub struct ToneDetector {
    resampler: Resampler,
    /// The newest samples at [`RATE`], oldest first; the last hop is filled up to `fresh`.
    window: [f32; WINDOW_SAMPLES],
    /// Samples of the hop under way.
    fresh: usize,
    /// What the look before saw, for the phases; zero when it saw nothing.
    before: [Correlation; TONES],
    candidate: Option<Candidate>,
    held: Option<Held>,
}

/// A digit that may begin.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    digit: char,
    looks: u32,
}

/// A digit under way.
#[derive(Debug, Clone, Copy)]
struct Held {
    digit: char,
    /// Looks since the one that heard it first, that one counted.
    looks: u32,
    /// Of these, since it was heard last.
    missed: u32,
    amplitude_max: f32,
}

/// What one look found to be loudest.
#[derive(Debug, Clone, Copy)]
struct Heard {
    digit: char,
    /// Of both tones, in 16-bit samples.
    amplitude: f32,
    /// Part of the energy that is in the two tones.
    purity: f32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Correlation {
    real: f32,
    imaginary: f32,
}

impl ToneDetector {
    /// A detector that has heard nothing of a stream at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        LazyLock::force(&TABLE);
        Self {
            resampler: Resampler::new(rate, RATE),
            window: [0.0; WINDOW_SAMPLES],
            fresh: 0,
            before: [Correlation::default(); TONES],
            candidate: None,
            held: None,
        }
    }

    /// Listens to the next samples, and tells what began and ended in them. A digit is told about 30 ms after it began or
    /// ended, and lasts to within 10 ms of what is told.
    pub fn process(&mut self, pcm: &[i16], mut told: impl FnMut(DigitProgress)) {
        let mut narrow = [0; BLOCK_SAMPLES];
        for block in pcm.chunks(BLOCK_SAMPLES) {
            let samples = self.resampler.process(block, &mut narrow);
            for &sample in &narrow[..samples.min(BLOCK_SAMPLES)] {
                self.window[WINDOW_SAMPLES - HOP_SAMPLES + self.fresh] = f32::from(sample);
                self.fresh += 1;
                if self.fresh == HOP_SAMPLES {
                    let heard = self.look();
                    self.decide(heard, &mut told);
                    self.window.copy_within(HOP_SAMPLES.., 0);
                    self.fresh = 0;
                }
            }
        }
    }

    /// The digit that is under way.
    pub fn held(&self) -> Option<char> {
        self.held.map(|held| held.digit)
    }

    /// The stream ends here: the end of a digit under way, if there is one. What comes next is another stream.
    pub fn finish(&mut self) -> Option<DigitProgress> {
        self.resampler.reset();
        self.window = [0.0; WINDOW_SAMPLES];
        self.fresh = 0;
        self.before = [Correlation::default(); TONES];
        self.candidate = None;
        self.held.take().map(Held::ended)
    }

    /// What the window holds; `None` if it is no digit at all.
    fn look(&mut self) -> Option<Heard> {
        let table = &*TABLE;
        let energy = weighted_energy(&self.window, &table.window);
        // Both tones have half of the amplitude's square, and neither is below its least level.
        if energy < amplitude_of(LEVEL_MIN_DBM0).powi(2) * WINDOW_SUM * PURITY_TO_GO_ON {
            self.before = [Correlation::default(); TONES];
            return None;
        }
        let mut correlations = [Correlation::default(); TONES];
        for (correlation, tone) in correlations.iter_mut().zip(&table.tones) {
            *correlation = correlate(&self.window, tone);
        }
        let before = std::mem::replace(&mut self.before, correlations);
        let (low, high) = correlations.split_at(LOW_GROUP_HZ.len());
        let (row, column) = (strongest(low), strongest(high));
        let amplitude = |index: usize| {
            let tone = &table.tones[index];
            tone.amplitude(before[index], correlations[index])
        };
        let low = amplitude(row)?;
        let high = amplitude(LOW_GROUP_HZ.len() + column)?;
        let is_loud = low.min(high) >= amplitude_of(LEVEL_MIN_DBM0);
        let twist_db = 20.0 * (high / low).log10();
        if !is_loud || !(-REVERSE_TWIST_MAX_DB..=TWIST_MAX_DB).contains(&twist_db) {
            return None;
        }
        let power = low * low + high * high;
        Some(Heard {
            digit: digit_of_key(row, column)?,
            amplitude: power.sqrt(),
            purity: power / 2.0 * WINDOW_SUM / energy,
        })
    }

    fn decide(&mut self, heard: Option<Heard>, told: &mut impl FnMut(DigitProgress)) {
        if let Some(held) = &mut self.held {
            held.looks += 1;
            let goes_on = heard.filter(|heard| {
                heard.digit == held.digit
                    && heard.purity >= PURITY_TO_GO_ON
                    && heard.amplitude >= ECHO * held.amplitude_max
            });
            match goes_on {
                Some(heard) => {
                    held.missed = 0;
                    held.amplitude_max = held.amplitude_max.max(heard.amplitude);
                }
                None => held.missed += 1,
            }
            if held.missed >= LOOKS_TO_END {
                told(held.ended());
                self.held = None;
            }
        }
        let pure = heard.filter(|heard| heard.purity >= PURITY_TO_BEGIN);
        let Some(heard) = pure.filter(|heard| Some(heard.digit) != self.held()) else {
            self.candidate = None;
            return;
        };
        let looks = self
            .candidate
            .filter(|candidate| candidate.digit == heard.digit)
            .map_or(0, |candidate| candidate.looks);
        let candidate = Candidate {
            digit: heard.digit,
            looks: looks + 1,
        };
        if candidate.looks < LOOKS_TO_BEGIN {
            self.candidate = Some(candidate);
            return;
        }
        self.candidate = None;
        // One digit straight behind another.
        if let Some(held) = self.held.take() {
            told(held.ended());
        }
        told(DigitProgress::Started(heard.digit));
        self.held = Some(Held {
            digit: heard.digit,
            looks: LOOKS_TO_BEGIN,
            missed: 0,
            amplitude_max: heard.amplitude,
        });
    }
}

impl Held {
    fn ended(self) -> DigitProgress {
        let hops = (self.looks - self.missed).saturating_sub(1);
        DigitProgress::Ended(DigitReceived {
            digit: self.digit,
            duration_ms: hops.saturating_mul(HOP_MS) + DURATION_CORRECTION_MS,
        })
    }
}

fn amplitude_of(level_dbm0: f32) -> f32 {
    AMPLITUDE_OF_0_DBM0 * 10f32.powf(level_dbm0 / 20.0)
}

fn strongest(correlations: &[Correlation]) -> usize {
    let power = |c: &Correlation| c.real * c.real + c.imaginary * c.imaginary;
    let mut strongest = 0;
    for (index, correlation) in correlations.iter().enumerate() {
        if power(correlation) > power(&correlations[strongest]) {
            strongest = index;
        }
    }
    strongest
}

/// The window, and the tones under it.
struct Table {
    window: [f32; WINDOW_SAMPLES],
    tones: [Tone; TONES],
}

struct Tone {
    frequency_hz: f32,
    cosine: [f32; WINDOW_SAMPLES],
    sine: [f32; WINDOW_SAMPLES],
    /// How the tone's phase goes on in a hop.
    advance: Correlation,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let window =
        std::array::from_fn(|n| 0.5 - 0.5 * (TAU * (n as f32 + 0.5) / WINDOW_SAMPLES as f32).cos());
    let mut frequencies = LOW_GROUP_HZ.into_iter().chain(HIGH_GROUP_HZ);
    let tones = std::array::from_fn(|_| {
        // There are as many as the array takes.
        let frequency_hz = frequencies.next().unwrap_or_default();
        let step = std::f64::consts::TAU * f64::from(frequency_hz) / f64::from(RATE_HZ);
        let at = |n: usize| step * n as f64;
        Tone {
            frequency_hz,
            cosine: std::array::from_fn(|n| window[n] * at(n).cos() as f32),
            sine: std::array::from_fn(|n| window[n] * at(n).sin() as f32),
            advance: Correlation {
                real: at(HOP_SAMPLES).cos() as f32,
                imaginary: at(HOP_SAMPLES).sin() as f32,
            },
        }
    });
    Table { window, tones }
});

impl Tone {
    /// The amplitude of a sine near this tone, from two looks one hop apart; `None` if it is too far off.
    fn amplitude(&self, before: Correlation, now: Correlation) -> Option<f32> {
        // Where the phase would be if the frequency were exact.
        let expected = Correlation {
            real: before.real * self.advance.real - before.imaginary * self.advance.imaginary,
            imaginary: before.real * self.advance.imaginary + before.imaginary * self.advance.real,
        };
        let real = now.real * expected.real + now.imaginary * expected.imaginary;
        let imaginary = now.imaginary * expected.real - now.real * expected.imaginary;
        if real == 0.0 && imaginary == 0.0 {
            return None;
        }
        let hop_s = HOP_SAMPLES as f32 / RATE_HZ;
        let deviation_hz = imaginary.atan2(real) / (TAU * hop_s);
        if deviation_hz.abs() > DEVIATION_MAX * self.frequency_hz {
            return None;
        }
        // The window lets less of it through than of an exact one.
        let bins = deviation_hz * WINDOW_SAMPLES as f32 / RATE_HZ;
        let response = if bins.abs() < 0.01 {
            1.0
        } else {
            (PI * bins).sin() / (PI * bins) / (1.0 - bins * bins)
        };
        let magnitude = now.real.hypot(now.imaginary);
        Some(2.0 * magnitude / (WINDOW_SUM * response))
    }
}

/// Sums in eight lanes, so that the compiler may use vector instructions; the window is a multiple of eight.
fn weighted_energy(samples: &[f32; WINDOW_SAMPLES], weights: &[f32; WINDOW_SAMPLES]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (samples, _) = samples.as_chunks::<LANES>();
    let (weights, _) = weights.as_chunks::<LANES>();
    for (samples, weights) in samples.iter().zip(weights) {
        for lane in 0..LANES {
            sums[lane] += samples[lane] * samples[lane] * weights[lane];
        }
    }
    sums.iter().sum()
}

/// As [`weighted_energy`]. The sine is taken negative: a phase that grows is positive.
fn correlate(samples: &[f32; WINDOW_SAMPLES], tone: &Tone) -> Correlation {
    const LANES: usize = 4;
    let mut real = [0.0; LANES];
    let mut imaginary = [0.0; LANES];
    let (samples, _) = samples.as_chunks::<LANES>();
    let (cosine, _) = tone.cosine.as_chunks::<LANES>();
    let (sine, _) = tone.sine.as_chunks::<LANES>();
    for ((samples, cosine), sine) in samples.iter().zip(cosine).zip(sine) {
        for lane in 0..LANES {
            real[lane] += samples[lane] * cosine[lane];
            imaginary[lane] -= samples[lane] * sine[lane];
        }
    }
    Correlation {
        real: real.iter().sum(),
        imaginary: imaginary.iter().sum(),
    }
}
