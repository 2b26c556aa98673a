//! One look a second at the gateway, this machine and the media threads, while calls are made.
//!
//! A thread of its own, since the admin window is asked over a blocking socket and calls must not wait for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::admin::GatewayFigures;
use super::host::HostFigures;
use super::media::{MediaThreads, MediaWindow};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How far the calls are: written by who makes them.
#[derive(Debug, Default)]
pub struct Counters {
    /// Were begun.
    pub begun: AtomicU64,
    /// Were answered.
    pub answered: AtomicU64,
    /// Did not come about.
    pub unanswered: AtomicU64,
    /// Ended by themselves, or badly.
    pub broken: AtomicU64,
    /// Are up now.
    pub up: AtomicU64,
}

/// One look.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Since the look before.
    pub media: MediaWindow,
    /// None: the admin window did not answer.
    pub gateway: Option<GatewayFigures>,
    /// Why it did not.
    pub gateway_silent: Option<String>,
    /// The media threads go before all other programs.
    pub real_time: bool,
    /// This machine.
    pub host: HostFigures,
    /// Answered so far.
    pub answered: u64,
    /// Failed so far.
    pub failed: u64,
    /// Up now.
    pub up: u64,
}

/// The looking thread. [`Observer::finish`] ends it.
pub struct Observer {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Looks once a second from now on, and shows each look to `on_sample`; `gateway` tells the gateway's own figures, or why it can't.
    pub fn start(
        gateway: impl Fn() -> Result<GatewayFigures, String> + Send + 'static,
        media: Arc<MediaThreads>,
        counters: Arc<Counters>,
        mut on_sample: impl FnMut(&Sample, Option<&Sample>) + Send + 'static,
    ) -> Self {
        let samples: Arc<Mutex<Vec<Sample>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (samples, stop) = (Arc::clone(&samples), Arc::clone(&stop));
            move || {
                let mut next = Instant::now();
                let mut last: Option<Sample> = None;
                while !stop.load(Ordering::Relaxed) {
                    next += LOOK_EVERY;
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    let sample = look(&gateway, &media, &counters);
                    on_sample(&sample, last.as_ref());
                    let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
                    samples.push(sample.clone());
                    last = Some(sample);
                }
            }
        });
        Self {
            samples,
            stop,
            thread: Some(thread),
        }
    }

    /// The looks so far.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends the thread; all looks.
    pub fn finish(mut self) -> Vec<Sample> {
        self.stop();
        self.samples()
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn look(
    gateway: &impl Fn() -> Result<GatewayFigures, String>,
    media: &MediaThreads,
    counters: &Counters,
) -> Sample {
    let (gateway, gateway_silent) = match gateway() {
        Ok(figures) => (Some(figures), None),
        Err(why) => (None, Some(why)),
    };
    let mut merged = MediaWindow::new(Instant::now());
    for window in media.take_windows() {
        merged.merge(&window);
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Sample {
        at: Instant::now(),
        media: merged,
        real_time: media.real_time(),
        gateway,
        gateway_silent,
        host: HostFigures::now(),
        answered: count(&counters.answered),
        failed: count(&counters.unanswered) + count(&counters.broken),
        up: count(&counters.up),
    }
}
