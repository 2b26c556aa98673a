//! What a load test sees of a gateway: its admin window, nothing else. Works the same for one that was started here and for one
//! that runs elsewhere.

use std::collections::HashMap;
use std::io::{BufRead, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;
use server::call::{CallEvent, EventType};
use thiserror::Error;

use super::report::GatewayFrames;
use crate::gateway::{Metrics, http};

/// What must be zero without calls, summed over shards.
const OBJECTS: [&str; 6] = [
    "clutchcall_calls",
    "clutchcall_sessions",
    "clutchcall_resume_tokens",
    "clutchcall_peers",
    "clutchcall_media_ports",
    "clutchcall_slab_entries",
];
/// Frames of 20 ms that the legs of Twilio, Vapi and AI agents made up, blended, left out and did not send.
const PCM_CONCEALED: &str = "clutchcall_pcm_frames_concealed_total";
const PCM_CROSSFADED: &str = "clutchcall_pcm_frames_crossfaded_total";
const PCM_DROPPED: &str = "clutchcall_pcm_frames_dropped_total";
const PCM_UNSENT: &str = "clutchcall_pcm_frames_unsent_total";
/// Of [`GatewayFigures::dropped`]: what came before anybody listened.
const NOT_ANSWERED: &str = "not_answered";
/// How long the event stream may be silent before the reader looks whether it should end.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// The most calls whose events are counted.
const CALLS_MAX: usize = 2_000_000;

/// The admin window of a gateway.
#[derive(Clone)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its bearer token.
    pub token: String,
}

/// The admin window does not say what it should.
#[derive(Debug, Error)]
#[error("the admin window at {address}: {reason}")]
pub struct AdminError {
    /// Where it listens.
    pub address: SocketAddr,
    /// What was wrong.
    pub reason: String,
}

/// One look at `/metrics`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GatewayFigures {
    /// CPU of all its threads since its start, in s.
    pub cpu_s: f64,
    /// Resident memory, in KiB.
    pub rss_kib: f64,
    /// File descriptors.
    pub fds: f64,
    /// Calls, sessions, peers, ports and slab entries.
    pub objects: f64,
    /// Datagrams that went no further, by reason.
    pub dropped: HashMap<String, f64>,
    /// Shards.
    pub shards: u64,
    /// What legs of sound over WebSockets did to their frames; none: not all of it is told.
    pub pcm_frames: Option<GatewayFrames>,
}

impl Admin {
    /// Reads `/metrics`.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn figures(&self) -> Result<GatewayFigures, AdminError> {
        let wrong = |reason: String| AdminError {
            address: self.address,
            reason,
        };
        let answer = http::request("GET", self.address, "/metrics", Some(&self.token), None)
            .map_err(|error| wrong(error.to_string()))?;
        if answer.status != 200 {
            return Err(wrong(format!("/metrics answers {}", answer.status)));
        }
        let metrics = Metrics::parse(&answer.body);
        let dropped = "clutchcall_packets_dropped_total{";
        let mut figures = GatewayFigures {
            cpu_s: metrics.sum("clutchcall_cpu_seconds_total"),
            rss_kib: metrics.sum("clutchcall_resident_memory_bytes") / 1024.0,
            fds: metrics.sum("clutchcall_fds"),
            objects: OBJECTS.iter().map(|name| metrics.sum(name)).sum(),
            dropped: HashMap::new(),
            shards: count(&metrics, "clutchcall_busy_seconds_total{"),
            pcm_frames: pcm_frames(&metrics),
        };
        for (series, value) in &metrics.series {
            let reason = series
                .strip_prefix(dropped)
                .and_then(|labels| labels.split_once("reason=\""))
                .and_then(|(_, rest)| rest.split('"').next());
            if let Some(reason) = reason {
                *figures.dropped.entry(reason.to_owned()).or_default() += value;
            }
        }
        Ok(figures)
    }
}

fn pcm_frames(metrics: &Metrics) -> Option<GatewayFrames> {
    let told = |name: &str| (count(metrics, name) > 0).then(|| metrics.sum(name) as u64);
    let label = format!("reason=\"{NOT_ANSWERED}\"");
    Some(GatewayFrames {
        concealed: told(PCM_CONCEALED)?,
        crossfaded: told(PCM_CROSSFADED)?,
        dropped: told(PCM_DROPPED)?,
        unsent: told(PCM_UNSENT)?,
        not_answered: metrics.matching("clutchcall_packets_dropped_total", &label) as u64,
    })
}

fn count(metrics: &Metrics, prefix: &str) -> u64 {
    let series = metrics.series.keys();
    series.filter(|series| series.starts_with(prefix)).count() as u64
}

/// What `/v1/events` told of one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallStory {
    /// `CHANNEL_CREATE`s.
    pub created: u32,
    /// `CHANNEL_HANGUP_COMPLETE`s.
    pub ended: u32,
    /// Of the last one.
    pub estimated_mos: f64,
    /// Of the last one: what the trunk leg missed.
    pub packets_lost: u64,
    /// The caller's own name of it.
    pub client_id: String,
}

/// Reads `/v1/events` on a thread of its own. Dropping it ends it.
pub struct EventReader {
    stories: Arc<Mutex<HashMap<String, CallStory>>>,
    broken: Arc<OnceLock<String>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Deserialize)]
struct Line(CallEvent);

impl EventReader {
    /// Subscribes to the calls of this tenant.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn start(admin: &Admin, tenant: &str) -> Result<Self, AdminError> {
        let path = format!("/v1/events?tenant_id={tenant}");
        let body = http::open_lines(admin.address, &path, Some(&admin.token), READ_TIMEOUT)
            .map_err(|error| AdminError {
                address: admin.address,
                reason: format!("{path}: {error}"),
            })?;
        let stories = Arc::new(Mutex::new(HashMap::new()));
        let broken = Arc::new(OnceLock::new());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (stories, stop) = (Arc::clone(&stories), Arc::clone(&stop));
            let broken = Arc::clone(&broken);
            move || {
                if let Err(why) = read(body, &stories, &stop) {
                    // Nobody else sets it.
                    let _ = broken.set(why);
                }
            }
        });
        Ok(Self {
            stories,
            broken,
            stop,
            thread: Some(thread),
        })
    }

    /// What was told so far, by call.
    pub fn stories(&self) -> MutexGuard<'_, HashMap<String, CallStory>> {
        lock(&self.stories)
    }
}

impl EventReader {
    /// Why nothing more is read, if it is so: what is told after that is missed.
    pub fn broken(&self) -> Option<String> {
        self.broken.get().cloned()
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(stories: &Mutex<HashMap<String, CallStory>>) -> MutexGuard<'_, HashMap<String, CallStory>> {
    stories.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until it should stop, or an error.
fn read(
    mut body: impl BufRead,
    stories: &Mutex<HashMap<String, CallStory>>,
    stop: &AtomicBool,
) -> Result<(), String> {
    let mut line = String::new();
    while !stop.load(Ordering::Relaxed) {
        match body.read_line(&mut line) {
            Ok(0) => return Err("/v1/events has ended".to_owned()),
            Ok(_) => {
                let event = line
                    .strip_prefix("data:")
                    .and_then(|json| serde_json::from_str::<Line>(json.trim()).ok());
                if let Some(Line(event)) = event {
                    note(&mut lock(stories), &event);
                }
                line.clear();
            }
            // Half a line may have been read; the next turn reads on behind it.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(format!("/v1/events: {error}")),
        }
    }
    Ok(())
}

fn note(stories: &mut HashMap<String, CallStory>, event: &CallEvent) {
    let call_sid = event.call_sid.to_string();
    if stories.len() >= CALLS_MAX && !stories.contains_key(&call_sid) {
        return;
    }
    let story = stories.entry(call_sid).or_default();
    match event.event_type {
        EventType::ChannelCreate => {
            story.created += 1;
            story.client_id = event.client_id.clone();
        }
        EventType::ChannelHangupComplete => {
            story.ended += 1;
            story.estimated_mos = event.estimated_mos;
            story.packets_lost = event.packets_lost.into();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_ends_by_itself_says_so() {
        let (stories, stop) = (Mutex::default(), AtomicBool::new(false));
        let body = b": a comment\n".as_slice();
        let ended = read(body, &stories, &stop);
        assert!(ended.is_err_and(|why| why.contains("has ended")));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(read(b"".as_slice(), &stories, &stop), Ok(()));
    }
}
