//! Where the reference lies in the recording: cross-correlation for the whole, then again in short stretches for clocks that
//! drift and jitter buffers that stretch time, then to a fraction of a sample.

use std::f64::consts::PI;
use std::ops::Range;
use std::sync::OnceLock;

use super::{JUDGING_RATE_HZ, Playback, energy};
use crate::spectrum::cross_correlation;

/// Length and distance of the stretches that are searched one by one.
const STRETCH_SAMPLES: usize = 6_400;
const STRETCH_HOP_SAMPLES: usize = 3_200;
/// A stretch says where it lies only if it is at least so much like the recording there (1: the same).
const STRETCH_LIKENESS_MIN: f64 = 0.4;
/// Another place than the one expected must be better by so much: voices repeat themselves every few ms.
const STRETCH_LIKENESS_GAIN: f64 = 0.1;
/// Clocks that drift by more are broken: crystals keep within 100 ppm.
const DRIFT_PPM_MAX: f64 = 500.0;
/// What is heard from the middle of a word on begins with an edge, which band limiting spreads to both sides: 40 ms are left out.
const ONSET_SAMPLES: usize = 320;
/// Sounding begins where 20 ms are above -30 dB of the loudest: the edge that band limiting spreads into a silence before it lies below.
const SOUND_DB: f64 = -30.0;

/// How far the path may move the audio against its first alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elasticity {
    /// One offset and one drift for the whole recording.
    Rigid,
    /// A jitter buffer that inserts and removes some ms now and then: an offset per stretch.
    TimeStretched,
}

impl Elasticity {
    /// How far a stretch may lie from where the whole says.
    fn search_samples(self) -> usize {
        match self {
            // 500 ppm over 10 s.
            Self::Rigid => 40,
            // 80 ms: less than what a lost or doubled tenth of the frames would add up to.
            Self::TimeStretched => 640,
        }
    }
}

/// A stretch that was found: sample `at` of the recording is sample `at - lag` of the endless reference.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    at: f64,
    lag: f64,
}

/// The map from the recording's samples to those of the reference.
#[derive(Debug)]
pub(super) struct Alignment {
    playback: Playback,
    /// Sample of the recording where the reference begins; with `Looped` the first that is not before -period.
    offset: f64,
    /// Seconds per second by which the recording's clock is slower (its samples further apart in the reference).
    drift: f64,
    /// With time-stretching: lags by stretch, ascending in `at`.
    anchors: Vec<Anchor>,
    /// The part of the recording that is judged; may reach beyond its end.
    span: Range<i64>,
}

impl Alignment {
    pub(super) fn find(
        reference: &[f64],
        recording: &[f64],
        playback: Playback,
        elasticity: Elasticity,
    ) -> Self {
        let coarse = coarse_lag(reference, recording, playback);
        let mut alignment = Self {
            playback,
            offset: coarse as f64,
            drift: 0.0,
            anchors: Vec::new(),
            span: 0..0,
        };
        let anchors =
            alignment.anchors_near(coarse, reference, recording, elasticity.search_samples());
        match elasticity {
            Elasticity::Rigid => {
                alignment.fit_line(&anchors);
                alignment.span = alignment.judged_span(reference, recording);
                alignment.refine(reference, recording);
            }
            Elasticity::TimeStretched => {
                if let Some(first) = anchors.first() {
                    alignment.offset = first.lag;
                }
                alignment.anchors = anchors;
            }
        }
        alignment.span = alignment.judged_span(reference, recording);
        alignment
    }

    /// Where the reference begins in the recording, in samples.
    pub(super) fn offset_samples(&self) -> f64 {
        self.offset
    }

    pub(super) fn drift_ppm(&self) -> f64 {
        self.drift * 1e6
    }

    /// The judged part of the recording, and what it should be: equally long, silence beyond the recording's ends.
    pub(super) fn pair(&self, reference: &[f64], recording: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let heard = self
            .span
            .clone()
            .map(|at| sample_at(recording, at))
            .collect();
        let expected = self
            .span
            .clone()
            .map(|at| {
                let position = self.reference_position(at as f64);
                match self.playback {
                    Playback::Once => interpolate(|index| sample_at(reference, index), position),
                    Playback::Looped => {
                        let period = reference.len() as i64;
                        interpolate(
                            |index| sample_at(reference, index.rem_euclid(period)),
                            position,
                        )
                    }
                }
            })
            .collect();
        (expected, heard)
    }

    /// The sample of the endless reference that sounds at sample `at` of the recording.
    fn reference_position(&self, at: f64) -> f64 {
        let after = self.anchors.partition_point(|anchor| anchor.at <= at);
        match (
            after
                .checked_sub(1)
                .and_then(|before| self.anchors.get(before)),
            self.anchors.get(after),
        ) {
            (Some(before), Some(after)) => {
                let share = (at - before.at) / (after.at - before.at);
                at - (before.lag + share * (after.lag - before.lag))
            }
            (Some(only), None) | (None, Some(only)) => at - only.lag,
            (None, None) => (at - self.offset) / (1.0 + self.drift),
        }
    }

    fn judged_span(&self, reference: &[f64], recording: &[f64]) -> Range<i64> {
        match self.playback {
            Playback::Once => {
                let begin = self.offset.round() as i64;
                begin..begin + reference.len() as i64
            }
            Playback::Looped => {
                let begin = (first_sound(recording) + ONSET_SAMPLES).min(recording.len());
                begin as i64..recording.len() as i64
            }
        }
    }

    /// Looks for stretches of the reference within `search` samples of where `coarse` puts them.
    fn anchors_near(
        &self,
        coarse: i64,
        reference: &[f64],
        recording: &[f64],
        search: usize,
    ) -> Vec<Anchor> {
        let mut anchors: Vec<Anchor> = Vec::new();
        let period = reference.len() as i64;
        let rounds = match self.playback {
            Playback::Once => 1,
            Playback::Looped => (recording.len() as i64 - coarse).div_euclid(period) + 1,
        };
        let mean_energy = energy(reference) / reference.len() as f64;
        let mut wander = 0.0;
        for round in 0..rounds {
            for (index, stretch) in reference
                .windows(STRETCH_SAMPLES)
                .step_by(STRETCH_HOP_SAMPLES)
                .enumerate()
            {
                let begin = coarse + round * period + (index * STRETCH_HOP_SAMPLES) as i64;
                let from = begin - search as i64;
                let to = begin + (STRETCH_SAMPLES + search) as i64;
                let enough = energy(stretch) > 0.2 * mean_energy * STRETCH_SAMPLES as f64;
                if from < 0 || to > recording.len() as i64 || !enough {
                    continue;
                }
                let area = &recording[from as usize..to as usize];
                if let Some(found) = locate(stretch, area, search as f64 + wander) {
                    wander = found - search as f64;
                    let lag = (coarse + round * period) as f64 + wander;
                    anchors.push(Anchor {
                        at: (begin + STRETCH_SAMPLES as i64 / 2) as f64 + wander,
                        lag: lag - (round * period) as f64,
                    });
                }
            }
        }
        anchors
    }

    /// Offset and drift as the straight line through the anchors.
    fn fit_line(&mut self, anchors: &[Anchor]) {
        let count = anchors.len() as f64;
        if anchors.len() < 4 {
            return;
        }
        let at_mean = anchors.iter().map(|anchor| anchor.at).sum::<f64>() / count;
        let lag_mean = anchors.iter().map(|anchor| anchor.lag).sum::<f64>() / count;
        let (mut product, mut square) = (0.0, 0.0);
        for anchor in anchors {
            product += (anchor.at - at_mean) * (anchor.lag - lag_mean);
            square += (anchor.at - at_mean).powi(2);
        }
        let slope = if square > 0.0 { product / square } else { 0.0 };
        if slope.abs() * 1e6 <= DRIFT_PPM_MAX {
            // lag = at - position, position = (at - offset) / (1 + drift): slope = drift / (1 + drift).
            self.drift = slope / (1.0 - slope);
            self.offset = lag_mean * (1.0 + self.drift) - self.drift * at_mean;
        }
    }

    /// Gauss-Newton on gain, offset and drift: correlation peaks are good to a hundredth of a sample, but 35 dB of SNR at
    /// 1 kHz need three thousandths.
    fn refine(&mut self, reference: &[f64], recording: &[f64]) {
        for _ in 0..4 {
            let (expected, heard) = self.pair(reference, recording);
            let middle = expected.len() as f64 / 2.0;
            // heard = gain * expected - gain * slope * (offset_step + drift_step * (n - middle))
            let mut normal = [[0.0f64; 3]; 3];
            let mut right = [0.0f64; 3];
            for n in 1..expected.len().saturating_sub(1) {
                let slope = (expected[n + 1] - expected[n - 1]) / 2.0;
                let row = [expected[n], -slope, -slope * (n as f64 - middle)];
                for (i, a) in row.iter().enumerate() {
                    for (j, b) in row.iter().enumerate() {
                        normal[i][j] += a * b;
                    }
                    right[i] += a * heard[n];
                }
            }
            let Some([gain, offset, drift]) = solve(normal, right) else {
                return;
            };
            if gain <= 0.0 {
                return;
            }
            let (offset, drift) = (offset / gain, drift / gain);
            // Steps of more than a sample or beyond any clock come from signals that do not fit at all.
            if offset.abs() > 1.0 || ((self.drift + drift) * 1e6).abs() > DRIFT_PPM_MAX {
                return;
            }
            let begin = self.span.start as f64 + middle - self.offset;
            self.offset += offset - drift * begin;
            self.drift += drift;
        }
    }
}

/// The lag of the highest correlation. A looped reference is folded: its lag is in -period+1..=0.
fn coarse_lag(reference: &[f64], recording: &[f64], playback: Playback) -> i64 {
    let correlation = cross_correlation(reference, recording);
    let negative = reference.len() as i64 - 1;
    let highest = |values: &[f64]| {
        values
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or(0, |(index, _)| index as i64)
    };
    match playback {
        Playback::Once => highest(&correlation) - negative,
        Playback::Looped => {
            let mut folded = vec![0.0; reference.len()];
            for chunk in correlation.chunks(reference.len()) {
                for (sum, value) in folded.iter_mut().zip(chunk) {
                    *sum += value;
                }
            }
            highest(&folded) - negative
        }
    }
}

/// Where `stretch` begins in `area`, in samples and fractions; `expected` wins unless another place is clearly better.
fn locate(stretch: &[f64], area: &[f64], expected: f64) -> Option<f64> {
    let correlation = cross_correlation(stretch, area);
    let places = area.len().checked_sub(stretch.len())? + 1;
    let correlation = correlation.get(stretch.len() - 1..stretch.len() - 1 + places)?;
    let stretch_energy = energy(stretch);
    let mut area_energy = energy(&area[..stretch.len()]);
    let mut likeness = Vec::with_capacity(places);
    for (place, value) in correlation.iter().enumerate() {
        likeness.push(value / (stretch_energy * area_energy.max(1.0)).sqrt());
        if let Some(entering) = area.get(place + stretch.len()) {
            area_energy += entering * entering - area[place] * area[place];
        }
    }
    let best_of = |range: Range<usize>| {
        range
            .max_by(|a, b| likeness[*a].total_cmp(&likeness[*b]))
            .unwrap_or(0)
    };
    let near = (expected.round().max(0.0) as usize).min(places - 1);
    // Within 3 ms it is the same place.
    let same = best_of(near.saturating_sub(24)..(near + 25).min(places));
    let other = best_of(0..places);
    let best = if likeness[other] > likeness[same] + STRETCH_LIKENESS_GAIN {
        other
    } else {
        same
    };
    if likeness[best] < STRETCH_LIKENESS_MIN {
        return None;
    }
    // The top of a parabola through the peak and its neighbours.
    let fraction = match (
        best.checked_sub(1).map(|index| likeness[index]),
        likeness.get(best + 1),
    ) {
        (Some(before), Some(after)) => {
            let curvature = before - 2.0 * likeness[best] + after;
            if curvature < 0.0 {
                ((before - after) / (2.0 * curvature)).clamp(-0.5, 0.5)
            } else {
                0.0
            }
        }
        _ => 0.0,
    };
    Some(best as f64 + fraction)
}

fn first_sound(recording: &[f64]) -> usize {
    let window = JUDGING_RATE_HZ as usize / 50;
    let loudest = recording.chunks(window).map(energy).fold(0.0, f64::max);
    let audible = loudest * 10f64.powf(SOUND_DB / 10.0);
    recording
        .chunks(window)
        .position(|samples| energy(samples) > audible)
        .map_or(recording.len(), |index| index * window)
}

fn sample_at(samples: &[f64], index: i64) -> f64 {
    usize::try_from(index)
        .ok()
        .and_then(|index| samples.get(index))
        .copied()
        .unwrap_or(0.0)
}

/// Taps of the interpolation filter on each side.
const INTERPOLATION_TAPS: i64 = 32;
/// Positions between two samples; half of one is the error of a position: -70 dB at 1 kHz.
const INTERPOLATION_PHASES: usize = 2_048;

/// The value between the samples: a windowed sinc, flat up to 3400 Hz at 8 kHz.
fn interpolate(samples: impl Fn(i64) -> f64, position: f64) -> f64 {
    static PHASES: OnceLock<Vec<Vec<f64>>> = OnceLock::new();
    let phases = PHASES.get_or_init(|| {
        (0..=INTERPOLATION_PHASES)
            .map(interpolation_phase)
            .collect()
    });
    let whole = position.floor();
    let phase = ((position - whole) * INTERPOLATION_PHASES as f64).round() as usize;
    let first = whole as i64 - INTERPOLATION_TAPS + 1;
    let taps = &phases[phase.min(INTERPOLATION_PHASES)];
    taps.iter()
        .zip(first..)
        .map(|(tap, index)| tap * samples(index))
        .sum()
}

fn interpolation_phase(phase: usize) -> Vec<f64> {
    let fraction = phase as f64 / INTERPOLATION_PHASES as f64;
    (1 - INTERPOLATION_TAPS..=INTERPOLATION_TAPS)
        .map(|tap| {
            let x = tap as f64 - fraction;
            let sinc = if x.abs() < 1e-9 {
                1.0
            } else {
                (PI * x).sin() / (PI * x)
            };
            // Blackman: its first side lobe lies at -58 dB, far below what is judged.
            let w = PI * x / INTERPOLATION_TAPS as f64;
            sinc * (0.42 + 0.5 * w.cos() + 0.08 * (2.0 * w).cos())
        })
        .collect()
}

/// Three linear equations by Cramer's rule; none when they are dependent.
fn solve(matrix: [[f64; 3]; 3], right: [f64; 3]) -> Option<[f64; 3]> {
    let determinant = |m: &[[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = determinant(&matrix);
    // Relative to the diagonal: the rows have very different units.
    let scale = matrix[0][0] * matrix[1][1] * matrix[2][2];
    if scale <= 0.0 || whole.abs() < 1e-12 * scale {
        return None;
    }
    Some(std::array::from_fn(|column| {
        let mut replaced = matrix;
        for (row, value) in replaced.iter_mut().zip(right) {
            row[column] = value;
        }
        determinant(&replaced) / whole
    }))
}
