//! The live view of a run: what the observer sees, drawn once a second.

use std::io::Stderr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use loadtest::load::assemble;
use loadtest::load::observer::Sample;
use loadtest::load::progress::{Progress, ProgressView};
use loadtest::load::report::BothWays;
use loadtest::load::run::RunPlan;

/// Shows one run. Clones show the same.
#[derive(Clone)]
pub(super) struct LiveView {
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    view: ProgressView<Stderr>,
    began: Instant,
    now: Progress,
}

impl LiveView {
    /// Begins, unless it should be quiet.
    pub(super) fn start(quiet: bool, plan: &RunPlan) -> Self {
        let shown = Shown {
            view: ProgressView::on_stderr(quiet),
            began: Instant::now(),
            now: Progress {
                planned: planned(plan),
                ..Progress::default()
            },
        };
        Self {
            shown: Arc::new(Mutex::new(shown)),
        }
    }

    /// What is done from now on.
    pub(super) fn phase(&self, phase: &str) {
        let mut shown = self.shown();
        phase.clone_into(&mut shown.now.phase);
        // Judging has no observer that would draw it.
        if phase.contains("judging") {
            shown.draw();
        }
    }

    /// A look of the observer's.
    pub(super) fn sample(&self, sample: &Sample, last: Option<&Sample>) {
        let mut shown = self.shown();
        let window = assemble::window(sample, last, shown.began, BothWays::default(), false);
        let losses = [window.loss_pct.a_to_b, window.loss_pct.b_to_a];
        let now = &mut shown.now;
        now.calls_up = sample.up;
        now.answered = sample.answered;
        now.failed = sample.failed;
        now.setups_per_s = window.setups as f64;
        now.loss_pct = losses.into_iter().flatten().reduce(f64::max);
        now.delay_ms_p99 = BothWays {
            a_to_b: window.delay_ms.a_to_b.map(|delay| delay.p99),
            b_to_a: window.delay_ms.b_to_a.map(|delay| delay.p99),
        };
        now.gateway_cpu_pct = window.gateway_cpu_pct;
        now.generator_late_ms_p99 = window.generator_late_ms_p99;
        shown.draw();
    }

    /// Takes the drawing away.
    pub(super) fn finish(&self) {
        self.shown().view.finish();
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn draw(&mut self) {
        self.now.elapsed = self.began.elapsed();
        self.view.show(&self.now);
    }
}

/// Warm-up, ramp, steady time and the look at what is left; judging takes what it takes.
fn planned(plan: &RunPlan) -> Duration {
    let setups_s = f64::from(plan.calls) / plan.setups_per_s.max(0.01);
    let calls = plan.call_duration.unwrap_or(plan.duration);
    Duration::from_secs_f64(10.0 + setups_s) + plan.ramp / 2 + calls
}
