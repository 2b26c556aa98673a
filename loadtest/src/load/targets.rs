//! What the figures of a run are held against.

use super::report::{BothWays, Quantiles, Report, Window};
use super::scenario::Scenario;

/// Loss of a direction above this is a fault, in percent.
pub const LOSS_PCT_MAX: f64 = 0.1;
/// Delay of a window, 99th percentile, in ms; met when below.
pub const DELAY_MS_P99_MAX: f64 = 5.0;
/// The same where sound is sent to WebSockets: those who hear it play in the order of arrival, so it goes through a de-jitter
/// buffer of 40 ms and leaves on a clock of 20 ms.
pub const STREAM_DELAY_MS_P99_MAX: f64 = 65.0;
/// The same where it comes from WebSockets as well: what arrives there waits for a frame more, so that TCP's own jitter is none.
pub const STREAMS_DELAY_MS_P99_MAX: f64 = STREAM_DELAY_MS_P99_MAX + 20.0;
/// A generator that is later than this makes delay of its own, in ms.
pub const GENERATOR_LATE_MS_P99_MAX: f64 = 1.0;
/// A host that takes more than this makes delay of its own, in percent of one core.
pub const STEAL_PCT_MAX: f64 = 3.0;
/// Gateway CPU of a browser's set-up, in ms.
pub const CPU_MS_PER_SETUP_MAX: f64 = 1.25;
/// Memory of a WebRTC call, in KiB.
pub const RSS_KIB_PER_CALL_MAX: f64 = 120.0;

/// Delay of a window, 99th percentile, in ms; met when below.
pub fn delay_ms_p99_max(report: &Report) -> f64 {
    let scenario: Result<Scenario, _> = report.scenario.parse();
    if matches!(scenario, Ok(Scenario::TwilioAi)) {
        STREAMS_DELAY_MS_P99_MAX
    } else if scenario.is_ok_and(Scenario::has_streams) {
        STREAM_DELAY_MS_P99_MAX
    } else {
        DELAY_MS_P99_MAX
    }
}

/// Gateway CPU of a second of a call, in ms; none for calls with an agent, whose stream is a leg more than the targets know.
pub fn cpu_ms_per_call_s_max(report: &Report) -> Option<f64> {
    if report.scenario.ends_with("-ai") {
        None
    } else if report.scenario.starts_with("twilio") {
        Some(1.3)
    } else if report.scenario.starts_with("vapi") {
        Some(1.4)
    } else if report.transcoded {
        Some(3.3)
    } else {
        Some(0.5)
    }
}

/// How many times fewer ms of CPU than rtpengine we need for a second of the same call.
pub fn compare_ratio_min(scenario: Scenario) -> f64 {
    if scenario.is_transcoded() { 10.0 } else { 3.0 }
}

/// The delay of those seconds in which neither the generator nor the host could have made it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UndisturbedDelay {
    /// The median of the windows' 99th percentiles, in ms.
    pub median_p99_ms: BothWays<Option<f64>>,
    /// Steady windows that count.
    pub counted: usize,
    /// All steady windows.
    pub steady: usize,
    /// Of these, with a generator that was late.
    pub late: usize,
    /// Of these, with a host that took too much.
    pub stolen: usize,
}

impl UndisturbedDelay {
    /// Of the steady windows.
    pub fn of(windows: &[Window]) -> Self {
        let steady: Vec<&Window> = windows.iter().filter(|window| window.steady).collect();
        let counted: Vec<&&Window> = steady
            .iter()
            .filter(|window| is_undisturbed(window) && has_delay(window))
            .collect();
        let median_of = |direction: fn(&Window) -> Option<Quantiles>| {
            median(
                counted
                    .iter()
                    .filter_map(|window| direction(window))
                    .map(|delay| delay.p99)
                    .collect(),
            )
        };
        Self {
            median_p99_ms: BothWays {
                a_to_b: median_of(|window| window.delay_ms.a_to_b),
                b_to_a: median_of(|window| window.delay_ms.b_to_a),
            },
            counted: counted.len(),
            steady: steady.len(),
            late: steady.iter().filter(|window| is_late(window)).count(),
            stolen: steady.iter().filter(|window| is_stolen(window)).count(),
        }
    }

    /// Which windows were left out, in words.
    pub fn counted_windows(&self) -> String {
        format!(
            "{} of {} steady windows count; generator late in {}, CPU stolen in {}",
            self.counted, self.steady, self.late, self.stolen
        )
    }
}

/// The middle one, or the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied()?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((values.get(middle.checked_sub(1)?)? + upper) / 2.0)
}

/// A steady window in which neither the generator nor the host could have made the delay.
pub fn is_undisturbed(window: &Window) -> bool {
    window.steady && is_on_time(window.generator_late_ms_p99, window.steal_pct)
}

/// Neither the generator, so late at its 99th percentile, nor the host made any delay. A value that is no number is no proof.
pub fn is_on_time(generator_late_ms_p99: f64, steal_pct: f64) -> bool {
    generator_late_ms_p99 < GENERATOR_LATE_MS_P99_MAX && steal_pct < STEAL_PCT_MAX
}

fn has_delay(window: &Window) -> bool {
    window.delay_ms.a_to_b.is_some() || window.delay_ms.b_to_a.is_some()
}

// A value that is no number counts as disturbed.
fn is_late(window: &Window) -> bool {
    window.generator_late_ms_p99.is_nan()
        || window.generator_late_ms_p99 >= GENERATOR_LATE_MS_P99_MAX
}

fn is_stolen(window: &Window) -> bool {
    window.steal_pct.is_nan() || window.steal_pct >= STEAL_PCT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(p99: f64, generator_late_ms_p99: f64, steal_pct: f64, steady: bool) -> Window {
        let delay = Some(Quantiles { p50: 0.2, p99 });
        let delay_ms = BothWays {
            a_to_b: delay,
            b_to_a: None,
        };
        Window {
            steady,
            delay_ms,
            generator_late_ms_p99,
            steal_pct,
            ..Window::default()
        }
    }

    #[test]
    fn only_undisturbed_steady_windows_count() {
        let windows = [
            window(90.0, 0.1, 0.0, false),
            window(1.0, 0.1, 0.0, true),
            window(70.0, 1.0, 0.0, true),
            window(80.0, 0.1, 3.0, true),
            window(3.0, 0.9, 2.9, true),
            window(60.0, f64::NAN, 9.0, true),
        ];
        let found = UndisturbedDelay::of(&windows);
        assert_eq!(
            found.median_p99_ms,
            BothWays {
                a_to_b: Some(2.0),
                b_to_a: None
            }
        );
        assert_eq!(
            (found.counted, found.steady, found.late, found.stolen),
            (2, 5, 2, 2)
        );
        assert_eq!(
            UndisturbedDelay::of(&windows[2..4]).median_p99_ms.a_to_b,
            None
        );
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, f64::NAN, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn a_sink_that_plays_as_it_comes_may_wait_for_its_buffer() {
        let of = |scenario: &str| {
            delay_ms_p99_max(&Report {
                scenario: scenario.to_owned(),
                ..Report::default()
            })
        };
        assert_eq!(of("browser-sip"), DELAY_MS_P99_MAX);
        assert_eq!(of("twilio-sip"), STREAM_DELAY_MS_P99_MAX);
        assert_eq!(of("browser-ai"), STREAM_DELAY_MS_P99_MAX);
        assert_eq!(of("twilio-ai"), STREAMS_DELAY_MS_P99_MAX);
    }

    #[test]
    fn what_a_call_may_cost_depends_on_its_work() {
        let of = |scenario: &str, transcoded| {
            cpu_ms_per_call_s_max(&Report {
                scenario: scenario.to_owned(),
                transcoded,
                ..Report::default()
            })
        };
        assert_eq!(of("browser-sip", true), Some(3.3));
        assert_eq!(of("browser-sip-pcmu", false), Some(0.5));
        assert_eq!(of("twilio-sip", false), Some(1.3));
        assert_eq!(of("vapi-sip", true), Some(1.4));
        assert_eq!(of("browser-ai", true), None);
    }
}
