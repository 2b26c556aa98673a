//! `/v1/events`, read by a thread: every CallEvent of the gateway, in the order in which it was told.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use server::call::CallEvent;

/// The most events that are kept.
const EVENTS_MAX: usize = 1_000_000;

#[derive(Default)]
struct Shared {
    events: Mutex<Vec<CallEvent>>,
    arrived: Condvar,
    stop: AtomicBool,
    ended: AtomicBool,
}

impl Shared {
    fn events(&self) -> MutexGuard<'_, Vec<CallEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscription. Dropping it ends it.
pub(super) struct EventStream {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl EventStream {
    /// Reads Server-Sent Events from an open body.
    pub(super) fn start(body: BufReader<TcpStream>) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                read(body, &shared);
                shared.ended.store(true, Ordering::Release);
            }
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// The events so far.
    pub(super) fn events(&self) -> Vec<CallEvent> {
        self.shared.events().clone()
    }

    /// The gateway has ended the stream: there is no event to come.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Waits until `look` finds what it looks for in the events, at most until `deadline`.
    pub(super) fn wait<T>(
        &self,
        deadline: Instant,
        look: impl Fn(&[CallEvent]) -> Option<T>,
    ) -> Option<T> {
        let mut events = self.shared.events();
        loop {
            if let Some(found) = look(&events) {
                return Some(found);
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())?;
            (events, _) = self
                .shared
                .arrived
                .wait_timeout(events, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(mut body: BufReader<TcpStream>, shared: &Shared) {
    let mut line = String::new();
    while !shared.stop.load(Ordering::Relaxed) {
        match body.read_line(&mut line) {
            Ok(0) => return,
            Ok(_) => {
                let event = line
                    .strip_prefix("data:")
                    .and_then(|json| serde_json::from_str(json.trim()).ok());
                if let Some(event) = event {
                    let mut events = shared.events();
                    if events.len() < EVENTS_MAX {
                        events.push(event);
                    }
                    drop(events);
                    shared.arrived.notify_all();
                }
                line.clear();
            }
            // Half a line may have been read; the next turn reads on behind it.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
