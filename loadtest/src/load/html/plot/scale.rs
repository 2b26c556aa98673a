//! From values to places on an axis, with ticks at round numbers.

use crate::load::number;

/// Steps of a linear axis, and the ticks between decades of a short logarithmic one.
const ROUND: [f64; 3] = [1.0, 2.0, 5.0];
/// Decades that a logarithmic axis shows at most, counted from the top.
const DECADES_MAX: i32 = 9;

/// One axis: which values it shows, and where its ticks are.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    logarithmic: bool,
    from: f64,
    to: f64,
    /// Within `from..=to`, rising.
    pub ticks: Vec<f64>,
    decimals: usize,
}

impl Scale {
    /// Ends at round numbers around all values.
    pub fn linear(from: f64, to: f64, ticks_max: usize) -> Self {
        let (from, to) = widened(from, to);
        let step = round_step(from, to, ticks_max);
        let (from, to) = (
            (from / step + 1e-9).floor() * step,
            (to / step - 1e-9).ceil() * step,
        );
        Self::with_step(from, to, step)
    }

    /// Ends where the values end: for time.
    pub fn linear_exact(from: f64, to: f64, ticks_max: usize) -> Self {
        let (from, to) = widened(from, to);
        Self::with_step(from, to, round_step(from, to, ticks_max))
    }

    /// From zero, with ticks at whole numbers.
    pub fn whole(to: f64, ticks_max: usize) -> Self {
        let step = round_step(0.0, to.max(1.0), ticks_max).max(1.0);
        Self::with_step(0.0, ((to / step - 1e-9).ceil() * step).max(step), step)
    }

    /// Ends at round numbers around all values, which must be above zero.
    pub fn logarithmic(from: f64, to: f64) -> Self {
        let to = if to > 0.0 { to } else { 1.0 };
        let from = if from > 0.0 && from < to {
            from
        } else {
            to / 10.0
        };
        let from = from.max(to / 10_f64.powi(DECADES_MAX));
        let mut rounds: Vec<f64> = (from.log10().floor() as i32..=to.log10().ceil() as i32)
            .flat_map(|decade| ROUND.map(|round| round * power_of_ten(decade)))
            .collect();
        let first = rounds
            .iter()
            .rposition(|round| *round <= from * (1.0 + 1e-9))
            .unwrap_or(0);
        let last = rounds
            .iter()
            .position(|round| *round >= to * (1.0 - 1e-9))
            .unwrap_or(rounds.len() - 1);
        rounds = rounds[first..=last].to_vec();
        let (low, high) = (rounds[0], rounds[rounds.len() - 1]);
        let ticks = if (high / low).log10() > 2.4 {
            rounds
                .into_iter()
                .filter(|round| (round.log10() - round.log10().round()).abs() < 1e-6)
                .collect()
        } else {
            rounds
        };
        Self {
            logarithmic: true,
            from: low,
            to: high,
            ticks,
            decimals: 0,
        }
    }

    /// Where a value is, from 0 to 1; values beyond the ends are at the ends.
    pub fn share(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.from) / self.from).log10() / (self.to / self.from).log10()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        share.clamp(0.0, 1.0)
    }

    /// Whether a value is between the ends.
    pub fn holds(&self, value: f64) -> bool {
        value >= self.from && value <= self.to
    }

    /// The upper end.
    pub fn top(&self) -> f64 {
        self.to
    }

    /// The lower end.
    pub fn bottom(&self) -> f64 {
        self.from
    }

    /// What stands at a tick.
    pub fn label(&self, tick: f64) -> String {
        if self.logarithmic {
            return if tick < 1.0 {
                tick.to_string()
            } else {
                number::count(tick.round() as u64)
            };
        }
        let text = format!("{tick:.*}", self.decimals);
        match (text.parse::<f64>(), self.decimals) {
            (Ok(0.0), _) => "0".to_owned(),
            (_, 0) if tick.abs() >= 9_999.5 => number::short(tick),
            _ => text,
        }
    }

    fn with_step(from: f64, to: f64, step: f64) -> Self {
        let first = (from / step - 1e-6).ceil() as i64;
        let last = (to / step + 1e-6).floor() as i64;
        Self {
            logarithmic: false,
            from,
            to,
            ticks: (first..=last).map(|at| at as f64 * step).collect(),
            decimals: (-(step.log10() + 1e-9).floor()).max(0.0) as usize,
        }
    }
}

/// Values that are all the same still need an axis.
fn widened(from: f64, to: f64) -> (f64, f64) {
    let to = to.max(from);
    if to - from > to.abs() * 1e-9 {
        (from, to)
    } else {
        (from, from + from.abs().max(1.0))
    }
}

fn round_step(from: f64, to: f64, ticks_max: usize) -> f64 {
    let rough = (to - from) / ticks_max.max(1) as f64;
    let decade = rough.log10().floor() as i32;
    let steps = ROUND.map(|round| round * power_of_ten(decade));
    steps
        .into_iter()
        .find(|step| *step >= rough * (1.0 - 1e-9))
        .unwrap_or(power_of_ten(decade + 1))
}

/// Exact below one too: 5 * 0.001 is not 0.005 for every digit, 5 / 1000 is.
fn power_of_ten(exponent: i32) -> f64 {
    if exponent < 0 {
        1.0 / 10_f64.powi(-exponent)
    } else {
        10_f64.powi(exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks.iter().map(|tick| scale.label(*tick)).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        assert_eq!(
            labels(&Scale::linear(0.0, 87.0, 5)),
            ["0", "20", "40", "60", "80", "100"]
        );
        assert_eq!(
            labels(&Scale::linear(0.0, 0.37, 5)),
            ["0", "0.1", "0.2", "0.3", "0.4"]
        );
        assert_eq!(
            labels(&Scale::linear(0.962, 0.998, 5)),
            ["0.96", "0.97", "0.98", "0.99", "1.00"]
        );
        assert_eq!(
            labels(&Scale::linear(0.0, 48_000.0, 5)),
            ["0", "10 000", "20 000", "30 000", "40 000", "50 000"]
        );
        assert_eq!(
            labels(&Scale::linear(-3.0, 4.0, 4)),
            ["-4", "-2", "0", "2", "4"]
        );
    }

    #[test]
    fn values_that_are_all_the_same_have_an_axis() {
        assert_eq!(labels(&Scale::linear(0.0, 0.0, 2)), ["0", "0.5", "1.0"]);
        let scale = Scale::linear(7.0, 7.0, 5);
        assert!(scale.holds(7.0) && scale.share(7.0).is_finite());
    }

    #[test]
    fn time_ends_where_it_ends() {
        let scale = Scale::linear_exact(0.0, 27.3, 6);
        assert_eq!(labels(&scale), ["0", "5", "10", "15", "20", "25"]);
        assert_eq!(scale.share(27.3), 1.0);
    }

    #[test]
    fn logarithmic_ticks_are_decades_or_their_parts() {
        assert_eq!(
            labels(&Scale::logarithmic(0.3, 40.0)),
            ["0.2", "0.5", "1", "2", "5", "10", "20", "50"]
        );
        let decades = ["0.01", "0.1", "1", "10", "100", "1000", "10 000"];
        assert_eq!(labels(&Scale::logarithmic(0.006, 13_000.0)), decades);
        let scale = Scale::logarithmic(0.1, 10.0);
        assert!((scale.share(1.0) - 0.5).abs() < 1e-9);
        assert_eq!(scale.share(0.0), 0.0);
        for (from, to) in [(0.0, 0.0), (-1.0, 5.0), (3.0, 3.0), (1e-30, 1.0)] {
            let scale = Scale::logarithmic(from, to);
            assert!(
                scale.top() > scale.bottom() && scale.ticks.len() > 1,
                "{scale:?}"
            );
        }
    }
}
