//! The steady time of a run, summed: from 2 s after the last set-up to the first hang-up.
//!
//! Calls that come and go have none. Of these packets, lateness and steal are summed over the whole run.

use super::super::media::{DelayHistogram, MediaWindow};
use super::super::observer::Sample;
use super::super::report::BothWays;
use super::super::run::RunPlan;
use super::super::targets::is_on_time;
use super::{Found, quantile};

/// CPU is the median of so many parts of the steady time.
const CPU_WINDOWS: usize = 5;

/// The steady time, summed.
pub(super) struct Steady {
    pub(super) seconds: f64,
    pub(super) samples: usize,
    /// Everything in it, or in the whole run.
    pub(super) media: MediaWindow,
    /// The delays of those seconds in which generator and host were on time.
    pub(super) delays: BothWays<DelayHistogram>,
    pub(super) cpu_ms_per_call_s: Option<f64>,
    /// What the admin window said last instead of figures.
    pub(super) gateway_silent: Option<String>,
    pub(super) rss_kib: Option<f64>,
    pub(super) calls: f64,
    pub(super) steal_pct: Option<f64>,
}

impl Steady {
    pub(super) fn of(plan: &RunPlan, found: &Found) -> Self {
        let inside: Vec<&Sample> = found
            .samples
            .iter()
            .filter(|sample| is_steady(found, sample))
            .collect();
        let mut steady = Self {
            seconds: 0.0,
            samples: inside.len(),
            media: MediaWindow::new(found.began),
            delays: BothWays::default(),
            cpu_ms_per_call_s: cpu_ms_per_call_s(&inside),
            gateway_silent: inside
                .iter()
                .rev()
                .find_map(|sample| sample.gateway_silent.clone()),
            rss_kib: None,
            calls: inside.iter().map(|sample| sample.up as f64).sum::<f64>()
                / inside.len().max(1) as f64,
            steal_pct: None,
        };
        if let (Some(first), Some(last)) = (inside.first(), inside.last()) {
            steady.seconds = (last.at - first.at).as_secs_f64();
        }
        if plan.call_duration.is_none() {
            steady.sum(&inside);
        } else {
            let calls = found.times.first_setup..=found.times.last_hang_up;
            let whole = found.samples.iter();
            let whole: Vec<&Sample> = whole.filter(|sample| calls.contains(&sample.at)).collect();
            steady.sum(&whole);
        }
        let gateways = inside.iter().filter_map(|sample| sample.gateway.as_ref());
        let mut rss: Vec<f64> = gateways.map(|gateway| gateway.rss_kib).collect();
        rss.sort_by(f64::total_cmp);
        steady.rss_kib = quantile(&rss, 0.5);
        steady
    }

    /// What a look tells happened in the second before it.
    fn sum(&mut self, looks: &[&Sample]) {
        for pair in looks.windows(2) {
            if let [before, after] = pair {
                self.add(before, after);
            }
        }
        if let [first, .., last] = looks {
            let seconds = (last.at - first.at).as_secs_f64();
            let stolen = last.host.steal_s - first.host.steal_s;
            self.steal_pct = Some(stolen * 100.0 / seconds.max(0.001));
        }
    }

    fn add(&mut self, before: &Sample, after: &Sample) {
        let media = &after.media;
        self.media.merge(media);
        let seconds = (after.at - before.at).as_secs_f64().max(0.001);
        let steal_pct = (after.host.steal_s - before.host.steal_s) * 100.0 / seconds;
        let late_ms = media.lateness.quantile_ms(0.99).unwrap_or(0.0);
        if is_on_time(late_ms, steal_pct) {
            self.delays.a_to_b.merge(&media.delays.a_to_b);
            self.delays.b_to_a.merge(&media.delays.b_to_a);
        }
    }
}

/// The median of [`CPU_WINDOWS`] parts of the steady time.
fn cpu_ms_per_call_s(inside: &[&Sample]) -> Option<f64> {
    let seconds = inside.len().checked_sub(1)?;
    let mut windows: Vec<f64> = (0..CPU_WINDOWS)
        .filter_map(|window| {
            let (from, to) = (
                window * seconds / CPU_WINDOWS,
                (window + 1) * seconds / CPU_WINDOWS,
            );
            let (first, last) = (inside.get(from)?, inside.get(to)?);
            let cpu_s = last.gateway.as_ref()?.cpu_s - first.gateway.as_ref()?.cpu_s;
            let call_s = (last.at - first.at).as_secs_f64() * (first.up + last.up) as f64 / 2.0;
            (call_s > 0.0).then(|| cpu_s * 1000.0 / call_s)
        })
        .collect();
    windows.sort_by(f64::total_cmp);
    quantile(&windows, 0.5)
}

pub(super) fn is_steady(found: &Found, sample: &Sample) -> bool {
    sample.at >= found.times.steady_from && sample.at <= found.times.first_hang_up
}
