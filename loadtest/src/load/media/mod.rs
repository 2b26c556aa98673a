//! The media engine of the load test: RTP, SRTP or WebSocket PCM of thousands of legs on threads of their own, a packet
//! every 20 ms on a grid of 500 us, with the delay of each packet that comes back.
//!
//! One thread for each core given, pinned to it, in real time where allowed, no tokio on it. [`MediaThreads::open`]
//! takes a leg that is set up already (its socket, keys and far end are known), [`MediaThreads::open_stream`] one over a
//! WebSocket, and [`Leg::close`] gives back what it sent and heard. Nothing is decoded or judged here.
//!
//! - **Send times** are of the wall clock right before `sendto`, **receive times** the kernel's stamps
//!   (`SO_TIMESTAMPNS`): the delay does not hold how late the thread reads. How late it sends stands in
//!   [`MediaWindow::lateness`].
//! - **Delays** are the shortest that fit what came (see `frame_clock.rs`): a gateway that holds whole frames back is
//!   found by the judge's alignment only, which corrects them.
//! - **Losses** are from sequence numbers between the first and the last packet of each leg. What a leg never heard at all is
//!   found by the [`Tally`] of the other one's clock.

mod consent;
mod frame_clock;
mod hearing;
mod histogram;
mod leg;
mod protection;
mod reception;
mod speech;
mod stream_leg;
mod stream_socket;
mod sys;
mod thread;
mod twilio_wire;
mod window;
mod wire;

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{oneshot, watch};

pub use consent::Consent;
pub use frame_clock::{FRAMES_KEPT_MAX, FrameClock, Tally};
pub use histogram::DelayHistogram;
pub use leg::{Direction, LegPlan, LegRecord};
pub use protection::{Protection, SrtpMaster, SrtpProfile};
pub use speech::EncodedSpeech;
pub use stream_leg::{StreamEnd, StreamPlan};
pub use stream_socket::{OpenStream, StreamError, StreamSocket};
pub use twilio_wire::{BotStream, read_connected};
pub use window::{MediaWindow, WINDOWS_MAX};
pub use wire::Wire;

use super::host;
use leg::LegState;
use stream_leg::StreamLegState;
use thread::{AnyLeg, Command, Grid, MediaThread};
use window::Windows;

/// Legs that are open at once in all threads.
pub const LEGS_MAX: usize = 20_000;
/// Slots of 500 us in 20 ms: legs with different phases send at different times.
pub const PHASES: usize = 40;
/// Commands that wait for one thread; whoever gives another one waits, less than a tenth of a second.
const COMMANDS_MAX: usize = 2_048;
/// Where real time is not allowed.
const NICE: i32 = -10;
/// How long [`Leg::close`] waits.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);

/// A leg that can't be opened, or whose record can't be had.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The socket can't be used.
    #[error("the socket of a leg: {0}")]
    Socket(#[from] io::Error),
    /// The keys don't fit the profile.
    #[error("SRTP: {0}")]
    Protection(String),
    /// As many legs are open as this generator carries.
    #[error("{LEGS_MAX} legs are open, no more are carried")]
    TooMany,
    /// The media thread is gone, or did not answer for 5 s.
    #[error("the media thread does not answer")]
    Ended,
}

/// The threads. They end when this and every [`Leg`] are dropped.
pub struct MediaThreads {
    threads: Vec<Thread>,
    windows: Vec<Arc<Windows>>,
    next: AtomicUsize,
    legs: Arc<AtomicUsize>,
    ids: AtomicU64,
    began: Instant,
}

struct Thread {
    commands: SyncSender<Command>,
    handle: JoinHandle<()>,
    real_time: bool,
}

impl MediaThreads {
    /// Starts a thread on each of these cores.
    ///
    /// # Errors
    /// Without a core, with one that does not exist, or when a thread can't be started.
    pub fn start(cores: &[usize]) -> io::Result<Self> {
        if cores.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "media threads need a core",
            ));
        }
        let grid = Grid {
            begin: Instant::now(),
            begin_ns: sys::monotonic_ns(),
        };
        let (mut threads, mut windows) = (Vec::new(), Vec::new());
        for core in cores.iter().copied() {
            let of_thread = Arc::new(Windows::default());
            threads.push(Thread::start(core, grid, Arc::clone(&of_thread))?);
            windows.push(of_thread);
        }
        Ok(Self {
            threads,
            windows,
            next: AtomicUsize::new(0),
            legs: Arc::new(AtomicUsize::new(0)),
            ids: AtomicU64::new(0),
            began: grid.begin,
        })
    }

    /// Begins to send at the leg's next slot. The threads take legs in turn. Keys are derived here, not in the thread.
    ///
    /// # Errors
    /// [`OpenError`] says why not; the socket is closed then.
    pub fn open(&self, plan: LegPlan) -> Result<Leg, OpenError> {
        self.open_any(|id, tell_first, _| {
            Ok(AnyLeg::Rtp(Box::new(LegState::new(id, plan, tell_first)?)))
        })
    }

    /// The same over a WebSocket that was opened already.
    ///
    /// # Errors
    /// [`OpenError`] says why not; the socket is closed then.
    pub fn open_stream(&self, plan: StreamPlan) -> Result<Leg, OpenError> {
        self.open_any(|id, tell_first, tell_end| {
            let state = StreamLegState::new(id, plan, tell_first, tell_end);
            Ok(AnyLeg::Stream(Box::new(state)))
        })
    }

    fn open_any(
        &self,
        make: impl FnOnce(
            u64,
            watch::Sender<Option<Instant>>,
            watch::Sender<Option<String>>,
        ) -> Result<AnyLeg, OpenError>,
    ) -> Result<Leg, OpenError> {
        let place = Place::take(&self.legs).ok_or(OpenError::TooMany)?;
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (tell_first, first_packet) = watch::channel(None);
        let (tell_end, end) = watch::channel(None);
        let state = make(id, tell_first, tell_end)?;
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len().max(1);
        let thread = self.threads.get(next).ok_or(OpenError::Ended)?;
        let phase = state.phase();
        let open = Command::Open(state);
        thread.commands.send(open).map_err(|_| OpenError::Ended)?;
        Ok(Leg {
            id,
            phase,
            commands: thread.commands.clone(),
            first_packet,
            end,
            closed: false,
            _place: place,
        })
    }

    /// What happened in each second since the threads began that was not taken yet and that all threads have ended.
    /// At most [`WINDOWS_MAX`] wait to be taken.
    pub fn take_windows(&self) -> Vec<MediaWindow> {
        window::take_merged(&self.windows)
    }

    /// When the first second began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Legs that are open.
    pub fn legs(&self) -> usize {
        self.legs.load(Ordering::Relaxed)
    }

    /// Do all threads go before all other programs? Otherwise these make them late, which [`MediaWindow::lateness`]
    /// shows.
    pub fn real_time(&self) -> bool {
        self.threads.iter().all(|thread| thread.real_time)
    }

    /// Have all threads lived so far? One that panicked sends nothing more.
    pub fn alive(&self) -> bool {
        self.threads
            .iter()
            .all(|thread| !thread.handle.is_finished())
    }
}

impl Thread {
    fn start(core: usize, grid: Grid, windows: Arc<Windows>) -> io::Result<Self> {
        let (commands, received) = sync_channel(COMMANDS_MAX);
        let (tell_pinned, pinned) = sync_channel(1);
        let handle = std::thread::Builder::new()
            .name(format!("media-{core}"))
            .spawn(move || {
                let done = host::pin(&[core]).map(|()| sys::raise_priority(NICE));
                let failed = done.is_err();
                // The starter waits for it.
                let _ = tell_pinned.send(done);
                if !failed {
                    MediaThread::new(received, windows, grid).run();
                }
            })?;
        let real_time = pinned.recv().map_err(io::Error::other)??;
        Ok(Self {
            commands,
            handle,
            real_time,
        })
    }
}

/// One of [`LEGS_MAX`].
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(legs: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(legs));
        (legs.fetch_add(1, Ordering::Relaxed) < LEGS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A leg that sends and receives. Dropped without [`Leg::close`], it ends as well.
pub struct Leg {
    id: u64,
    phase: usize,
    commands: SyncSender<Command>,
    first_packet: watch::Receiver<Option<Instant>>,
    end: watch::Receiver<Option<String>>,
    closed: bool,
    _place: Place,
}

impl Leg {
    /// Ends the leg and waits for what it sent and heard; not for async callers.
    ///
    /// # Errors
    /// [`OpenError::Ended`] after 5 s.
    pub fn close(self) -> Result<LegRecord, OpenError> {
        let mut reply = self.close_later();
        let until = Instant::now() + CLOSE_WAIT_MAX;
        loop {
            match reply.try_recv() {
                Ok(record) => return Ok(record),
                Err(oneshot::error::TryRecvError::Empty) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(_) => return Err(OpenError::Ended),
            }
        }
    }

    /// Ends the leg; what it sent and heard comes a millisecond or so later, of a stream when the far end has closed as well, or an
    /// error when the thread is gone.
    pub fn close_later(mut self) -> oneshot::Receiver<LegRecord> {
        let (reply, record) = oneshot::channel();
        self.send_close(Some(reply));
        record
    }

    /// When the kernel received the first RTP packet that is the peer's; none before that. It is known up to 20 ms
    /// later.
    pub fn first_packet_at(&self) -> Option<Instant> {
        *self.first_packet.borrow()
    }

    /// Tells of [`Leg::first_packet_at`]: `wait_for(Option::is_some)`.
    pub fn first_packet(&self) -> watch::Receiver<Option<Instant>> {
        self.first_packet.clone()
    }

    /// Waits until the far end of a stream has ended it, and says how. Never of RTP. Safe to drop at any time.
    pub async fn ended(&mut self) -> String {
        match self.end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    fn send_close(&mut self, reply: Option<oneshot::Sender<LegRecord>>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let close = Command::Close {
            id: self.id,
            phase: self.phase,
            reply,
        };
        // Without a thread there is nothing to close.
        if let Err(TrySendError::Full(close)) = self.commands.try_send(close) {
            let _ = self.commands.send(close);
        }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.send_close(None);
    }
}
