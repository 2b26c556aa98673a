//! The filters of the resampler: Kaiser-windowed sinc, in 16-bit coefficients, cut into polyphase branches.
//!
//! The prototype runs at the least common multiple of both rates. Its cut-off is the Nyquist frequency of the lower rate,
//! which makes it an L-th band (Nyquist) filter: every L-th coefficient but the middle one is zero, so that one output of
//! an interpolator is its input, delayed, and branches of a decimator fall away. Coefficients are rounded so that
//! each output has a gain of exactly 1 at 0 Hz and the prototype stays symmetric: the phase is exactly linear.

use std::f64::consts::PI;
use std::sync::OnceLock;

/// The most inputs of a group, and the most outputs.
pub(super) const RATIO_MAX: usize = 3;
/// No branch looks further back than this many groups.
pub(super) const HISTORY_GROUPS: usize = 48;

/// What one stage does: groups of `decimation` inputs become groups of `interpolation` outputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    /// Inputs of a group, 1 to 3.
    pub decimation: usize,
    /// Outputs of a group, 1 to 3, coprime to `decimation`.
    pub interpolation: usize,
    /// Length of the prototype, in samples of the lower rate.
    pub span_low_samples: usize,
    /// Shape of the Kaiser window.
    pub kaiser_beta: f64,
}

impl Shape {
    /// Passes up to 0.45 of the lower rate and stops from 0.55 on: for a stage whose lower rate is that of the signal.
    const fn steep(decimation: usize, interpolation: usize) -> Self {
        Self {
            decimation,
            interpolation,
            span_low_samples: 48,
            kaiser_beta: 7.857,
        }
    }

    /// Passes up to 0.25 of the lower rate and stops from 0.75 on: for the stage between 16 and 48 kHz where the signal is
    /// one of 8 kHz and the other stage is steep.
    const fn gentle(decimation: usize, interpolation: usize) -> Self {
        Self {
            decimation,
            interpolation,
            span_low_samples: 10,
            kaiser_beta: 7.0,
        }
    }

    pub const DOUBLE: Self = Self::steep(1, 2);
    pub const TRIPLE: Self = Self::steep(1, 3);
    pub const HALVE: Self = Self::steep(2, 1);
    pub const THIRD: Self = Self::steep(3, 1);
    pub const TWO_TO_THREE: Self = Self::steep(2, 3);
    /// The window is a little narrower at its ends: rounded to 14 bits, as the largest sums ask for, this leaves less noise.
    pub const THREE_TO_TWO: Self = Self {
        kaiser_beta: 8.6,
        ..Self::steep(3, 2)
    };
    pub const GENTLE_TRIPLE: Self = Self::gentle(1, 3);
    pub const GENTLE_THIRD: Self = Self::gentle(3, 1);

    const ALL: [Self; 8] = [
        Self::DOUBLE,
        Self::TRIPLE,
        Self::HALVE,
        Self::THIRD,
        Self::TWO_TO_THREE,
        Self::THREE_TO_TWO,
        Self::GENTLE_TRIPLE,
        Self::GENTLE_THIRD,
    ];

    /// Steps of the common multiple rate per sample of the lower rate.
    fn steps_per_low_sample(self) -> usize {
        self.decimation.max(self.interpolation)
    }

    /// Steps from the middle of the prototype to its end.
    fn half_span_steps(self) -> usize {
        self.span_low_samples / 2 * self.steps_per_low_sample()
    }
}

/// What one output of a group is made of.
#[derive(Debug, Clone)]
pub(super) enum Output {
    /// An input as it came, some groups ago.
    Copy {
        /// Which of the inputs of its group, counted from the oldest.
        phase: usize,
        /// How many groups ago; at most [`HISTORY_GROUPS`].
        age: usize,
    },
    /// Products with inputs, added up.
    Sum(Box<[Branch]>),
}

/// The coefficients that lead from one phase of the input to one of the outputs of a group.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    /// Which of the inputs of each group, counted from the oldest.
    pub phase: usize,
    /// How many groups back the first coefficient lies; at most [`HISTORY_GROUPS`].
    pub oldest_age: usize,
    /// One for each group from there on; an even number.
    pub coefficients: Box<[i16]>,
    /// The same in pairs, for vectors that hold pairs of neighbours: as an even group sees them, which begins with such a
    /// pair, and as the odd group after it does, which begins in the middle of one.
    pub pairs: Box<[[CoefficientPair; 2]]>,
}

/// Coefficients of two neighbours, the older one first.
pub(super) type CoefficientPair = [i16; 2];

/// The filter of one stage, shared by all resamplers that need it.
#[derive(Debug)]
pub(super) struct Filter {
    pub shape: Shape,
    /// Coefficients count in units of 2^-`fraction_bits`: as many as leave 32-bit sums that no input overflows.
    pub fraction_bits: u32,
    /// The outputs of a group.
    pub outputs: Box<[Output]>,
    /// Silent inputs before the first one, so that each group is complete when its last output is due.
    pub lead_in: usize,
}

impl Filter {
    /// The filter of `shape`, made on first use.
    pub fn of(shape: Shape) -> &'static Self {
        static FILTERS: [OnceLock<Filter>; Shape::ALL.len()] =
            [const { OnceLock::new() }; Shape::ALL.len()];
        let slot = Shape::ALL.iter().position(|known| *known == shape);
        // `Shape` can't be made outside of this file, and all its values are in `ALL`.
        FILTERS[slot.unwrap_or_default()].get_or_init(|| Self::design(shape))
    }

    /// Delay in input samples: half of the span.
    pub fn delay_input_samples(&self) -> usize {
        self.shape.half_span_steps() / self.shape.interpolation
    }

    fn design(shape: Shape) -> Self {
        let finest = Prototype::new(shape, 15);
        let prototype = if finest.fits() {
            finest
        } else {
            Prototype::new(shape, 14)
        };
        let last_due = (shape.interpolation - 1) * shape.decimation / shape.interpolation;
        let lead_in = shape.decimation - 1 - last_due;
        let outputs = (0..shape.interpolation)
            .map(|output| {
                let branches: Box<[Branch]> = (0..shape.decimation)
                    .filter_map(|phase| branch(&prototype, output, phase, lead_in))
                    .collect();
                as_copy(&branches, prototype.fraction_bits).unwrap_or(Output::Sum(branches))
            })
            .collect();
        Self {
            shape,
            fraction_bits: prototype.fraction_bits,
            outputs,
            lead_in,
        }
    }
}

/// Picks the coefficients that `output` has for `phase`; `None` if all are zero.
///
/// Input n of the stream meets output time t, both in input samples, with the prototype `interpolation` * (t - delay -
/// n) steps from its middle. Group i has the inputs from `decimation` * i - `lead_in` on and its output j is due at
/// `decimation` * (i + j / `interpolation`).
fn branch(prototype: &Prototype, output: usize, phase: usize, lead_in: usize) -> Option<Branch> {
    let shape = prototype.shape;
    let (decimation, interpolation) = (shape.decimation as i64, shape.interpolation as i64);
    let middle = shape.half_span_steps() as i64;
    let first =
        output as i64 * decimation + interpolation * (lead_in as i64 - phase as i64) - middle;
    let steps_of_age = |age: usize| first + interpolation * decimation * age as i64;
    let ages: Vec<usize> = (0..=HISTORY_GROUPS)
        .filter(|&age| prototype.at(steps_of_age(age)) != 0)
        .collect();
    let (&newest, &oldest) = (ages.first()?, ages.last()?);
    // The kernels take coefficients in pairs: a zero fills the last one up, or the first where nothing newer is there.
    let (newest, oldest) = match ((oldest - newest) % 2, newest) {
        (1, _) => (newest, oldest),
        (_, 0) => (newest, oldest + 1),
        _ => (newest - 1, oldest),
    };
    let coefficients: Box<[i16]> = (newest..=oldest)
        .rev()
        // In range: `Prototype::fits`, or 14 bits and no coefficient above 1.
        .map(|age| prototype.at(steps_of_age(age)) as i16)
        .collect();
    Some(Branch {
        phase,
        oldest_age: oldest,
        pairs: pairs(&coefficients),
        coefficients,
    })
}

/// The one branch of an output that has a single coefficient, which is 1.
fn as_copy(branches: &[Branch], fraction_bits: u32) -> Option<Output> {
    let [branch] = branches else {
        return None;
    };
    let is_copy = *branch.coefficients == [1 << fraction_bits, 0];
    is_copy.then_some(Output::Copy {
        phase: branch.phase,
        age: branch.oldest_age,
    })
}

fn pairs(coefficients: &[i16]) -> Box<[[CoefficientPair; 2]]> {
    let at = |index: Option<usize>| {
        index
            .and_then(|index| coefficients.get(index))
            .copied()
            .unwrap_or(0)
    };
    (0..=coefficients.len() / 2)
        .map(|pair| {
            let even = [at(Some(2 * pair)), at(Some(2 * pair + 1))];
            let odd = [at((2 * pair).checked_sub(1)), at(Some(2 * pair))];
            [even, odd]
        })
        .take_while(|pair| *pair != [[0; 2]; 2])
        .collect()
}

/// The windowed sinc in whole units of 2^-`fraction_bits`: one half of it, since it is symmetric.
struct Prototype {
    shape: Shape,
    fraction_bits: u32,
    /// By distance from the middle in steps.
    half: Vec<i32>,
}

impl Prototype {
    fn new(shape: Shape, fraction_bits: u32) -> Self {
        let half_span = shape.half_span_steps();
        // An output takes every `interpolation`th step, and its gain is 1.
        let gain = shape.interpolation as f64 / shape.steps_per_low_sample() as f64;
        let exact: Vec<f64> = (0..half_span)
            .map(|steps| gain * windowed_sinc(shape, steps) * f64::from(1_u32 << fraction_bits))
            .collect();
        let half = exact.iter().map(|value| value.round() as i32).collect();
        let mut prototype = Self {
            shape,
            fraction_bits,
            half,
        };
        for output in 0..shape.interpolation {
            prototype.settle_gain(output, &exact);
        }
        prototype
    }

    /// Coefficient so many steps from the middle, on either side.
    fn at(&self, steps: i64) -> i32 {
        let distance = steps.unsigned_abs() as usize;
        self.half.get(distance).copied().unwrap_or(0)
    }

    /// Rounds some coefficients of an output the other way, those that are nearest to it, until they sum up to 1.
    fn settle_gain(&mut self, output: usize, exact: &[f64]) {
        let interpolation = self.shape.interpolation;
        let residue = output * self.shape.decimation % interpolation;
        let mirrored = (interpolation - residue) % interpolation;
        let is_member =
            |steps: usize| steps % interpolation == residue || steps % interpolation == mirrored;
        loop {
            let missing = (1_i32 << self.fraction_bits) - self.sum(residue);
            // A coefficient off the middle counts twice in an output that is its own mirror image, once otherwise.
            let twice = residue == mirrored;
            let candidates = (0..exact.len()).filter(|&steps| {
                let counts = if twice && steps > 0 { 2 } else { 1 };
                is_member(steps) && exact[steps].abs() > 1e-6 && counts <= missing.abs()
            });
            let sign = missing.signum();
            let shortfall =
                |steps: usize| (exact[steps] - f64::from(self.half[steps])) * f64::from(sign);
            let Some(best) = candidates.max_by(|&a, &b| shortfall(a).total_cmp(&shortfall(b)))
            else {
                return;
            };
            self.half[best] += sign;
        }
    }

    /// Sum of the coefficients of the outputs with this residue.
    fn sum(&self, residue: usize) -> i32 {
        let interpolation = self.shape.interpolation as i64;
        let half_span = self.half.len() as i64;
        (1 - half_span..half_span)
            .filter(|steps| steps.rem_euclid(interpolation) == residue as i64)
            .map(|steps| self.at(steps))
            .sum()
    }

    /// Whether the coefficients fit in 16 bits and the worst input of all in 32, with the half that rounding adds.
    fn fits(&self) -> bool {
        let interpolation = self.shape.interpolation as i64;
        let half_span = self.half.len() as i64;
        let is_in_range = self.half.iter().all(|&c| i16::try_from(c).is_ok());
        let worst = (0..interpolation).map(|residue| {
            (1 - half_span..half_span)
                .filter(|steps| steps.rem_euclid(interpolation) == residue)
                .map(|steps| i64::from(self.at(steps)).abs() << 15)
                .sum::<i64>()
        });
        let rounding = 1 << (self.fraction_bits - 1);
        is_in_range
            && worst
                .max()
                .is_some_and(|worst| worst + rounding <= i64::from(i32::MAX))
    }
}

/// The windowed sinc, `steps` away from its middle, where it is 1.
fn windowed_sinc(shape: Shape, steps: usize) -> f64 {
    let per_low_sample = shape.steps_per_low_sample();
    // Exactly zero where it should be, whatever `sin` makes of multiples of pi.
    if steps > 0 && steps.is_multiple_of(per_low_sample) {
        return 0.0;
    }
    let x = steps as f64 / per_low_sample as f64;
    let sinc = if steps == 0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    };
    let within_window = 1.0 - (steps as f64 / shape.half_span_steps() as f64).powi(2);
    sinc * bessel_i0(shape.kaiser_beta * within_window.sqrt()) / bessel_i0(shape.kaiser_beta)
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let mut sum = 1.0;
    let mut term = 1.0;
    let mut k = 1.0;
    while term > sum * f64::EPSILON {
        term *= (x / (2.0 * k)).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branches(filter: &Filter) -> impl Iterator<Item = &Branch> {
        filter.outputs.iter().flat_map(|output| match output {
            Output::Copy { .. } => &[],
            Output::Sum(branches) => &**branches,
        })
    }

    #[test]
    fn every_output_passes_a_constant_unchanged_and_no_input_overflows() {
        for shape in Shape::ALL {
            let filter = Filter::of(shape);
            for output in &filter.outputs {
                let Output::Sum(branches) = output else {
                    continue;
                };
                let all = || {
                    branches
                        .iter()
                        .flat_map(|branch| &branch.coefficients)
                        .map(|&c| i64::from(c))
                };
                assert_eq!(all().sum::<i64>(), 1 << filter.fraction_bits, "{shape:?}");
                let worst =
                    all().map(|c| c.abs() << 15).sum::<i64>() + (1 << (filter.fraction_bits - 1));
                assert!(worst <= i64::from(i32::MAX), "{shape:?}: {worst}");
            }
        }
    }

    #[test]
    fn branches_are_in_pairs_and_within_the_history() {
        for shape in Shape::ALL {
            let filter = Filter::of(shape);
            assert_eq!(filter.outputs.len(), shape.interpolation);
            for branch in branches(filter) {
                assert!(branch.phase < shape.decimation);
                assert!(branch.oldest_age <= HISTORY_GROUPS);
                assert!(branch.coefficients.len().is_multiple_of(2));
                assert!(
                    branch.coefficients.len() <= branch.oldest_age + 1,
                    "{shape:?} looks ahead"
                );
                let odd: Vec<i16> = branch
                    .pairs
                    .iter()
                    .flat_map(|[_, odd]| *odd)
                    .skip(1)
                    .collect();
                let even: Vec<i16> = branch.pairs.iter().flat_map(|[even, _]| *even).collect();
                let used = branch.coefficients.len().min(odd.len());
                assert_eq!(odd[..used], branch.coefficients[..used]);
                assert!(even.starts_with(&branch.coefficients));
            }
        }
    }

    #[test]
    fn one_output_of_an_interpolator_is_a_pure_delay() {
        for shape in [
            Shape::DOUBLE,
            Shape::TRIPLE,
            Shape::TWO_TO_THREE,
            Shape::GENTLE_TRIPLE,
        ] {
            assert!(
                matches!(Filter::of(shape).outputs[0], Output::Copy { phase: 0, .. }),
                "{shape:?}"
            );
        }
    }
}
