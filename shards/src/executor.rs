//! One pinned glommio executor per shard: its settings, its thread, its tasks and its clean end.
//!
//! Settings that are fixed here, with their reasons: 64 KiB of registered I/O memory (glommio's default of 10 MiB is for
//! O_DIRECT files), rings of 128 entries, no spinning before parking (it burns the core), no latency statistics.

use std::future::Future;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};

use crate::ShardIndex;
use crate::doorbell::eventfd;
use crate::guard::{Panicked, catch, guarded};
use crate::pacemaker;
use crate::task::cancel_all;

pub use crate::host::{
    MEMLOCK_BYTES_MIN, MemlockError, available_cores, check_memlock, thread_cpu_time,
};
pub use crate::pacemaker::kicks;
pub use crate::task::{live_tasks, task};
pub use glommio::yield_if_needed;

/// Registered I/O memory of one executor in bytes.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// An executor that has not begun its main future by then has overslept it: until the first task runs there is neither a
/// timer nor a pacemaker to wake it. Seen once in some hundred starts on a host with seven times more work than cores.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);

/// Executors that are tried for one shard; the last may take its time.
const START_TRIES_MAX: u32 = 5;

/// Entries of each of the executor's io_uring rings.
const RING_DEPTH: usize = 128;

/// How long a ready task waits at most when glommio oversleeps; see [`heartbeat`]. Costs 0.7 % of a core while idle.
const HEARTBEAT: Duration = Duration::from_millis(20);

/// Shorter sleeps are spent yielding: a timer that fires while the executor is still on its way to sleep makes glommio
/// oversleep (once in 300 to 9000 sleeps of 2 to 10 us, never in 10 000 of 50 us).
pub(crate) const SLEEP_MIN: Duration = Duration::from_micros(50);

/// How an executor runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorSettings {
    /// The core to pin to.
    pub core: usize,
    /// How long a task queue may run before timers and I/O are looked at. glommio's own default of 100 ms makes a 20 ms
    /// timer up to 196 ms late; 0.5 to 1 ms is right for media (at worst twice that late).
    pub preempt_timer: Duration,
    /// The thread's name; Linux shows its first 15 bytes.
    pub name: String,
}

/// Why there is no executor, or no result of it.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The thread could not be started.
    #[error("shard {shard}: can't start its thread: {source}")]
    Thread {
        /// Which shard.
        shard: ShardIndex,
        /// As `pthread_create(3)`.
        source: io::Error,
    },
    /// glommio could not start: no such core, memlock, io_uring forbidden.
    #[error("shard {shard} on core {core}: can't start its executor: {message}")]
    Start {
        /// Which shard.
        shard: ShardIndex,
        /// The core that was asked for.
        core: usize,
        /// What glommio says.
        message: String,
    },
    /// The main future, or a task that was started without the guard, panicked.
    #[error("shard {shard} {panicked}")]
    Panicked {
        /// Which shard.
        shard: ShardIndex,
        /// The panic.
        panicked: Panicked,
    },
}

/// A running executor; `T` is what its main future returns.
#[derive(Debug)]
#[must_use = "an executor that is not joined dies with the process"]
pub struct Executor<T> {
    shard: ShardIndex,
    thread: thread::JoinHandle<Result<T, ExecutorError>>,
}

/// Starts a pinned thread with an executor that runs the future `make_main` makes there, and returns once it runs.
///
/// When that future returns or panics, all tasks of the executor are cancelled, their file descriptors closed, and the
/// thread ends.
///
/// # Errors
/// The thread or the executor could not be started.
pub fn spawn<Fut, T>(
    shard: ShardIndex,
    settings: ExecutorSettings,
    make_main: impl FnOnce() -> Fut + Send + 'static,
) -> Result<Executor<T>, ExecutorError>
where
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let mut make_main = make_main;
    let mut tries = 1;
    loop {
        let slot = Arc::new(Mutex::new(Some(make_main)));
        let (begun, begins) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(settings.name.clone()).spawn({
            let (settings, slot) = (settings.clone(), Arc::clone(&slot));
            move || run(shard, &settings, &slot, &begun)
        });
        let thread = thread.map_err(|source| ExecutorError::Thread { shard, source })?;
        let executor = Executor { shard, thread };
        let has_begun = match begins.recv_timeout(BEGINS_WITHIN) {
            Err(mpsc::RecvTimeoutError::Timeout) if tries < START_TRIES_MAX => {
                if let Some(untouched) = lock(&slot).take() {
                    tracing::warn!(
                        shard = shard.0,
                        "an executor overslept its start; another begins"
                    );
                    make_main = untouched;
                    tries += 1;
                    continue;
                }
                // It was only slow.
                begins.recv().is_ok()
            }
            Err(mpsc::RecvTimeoutError::Timeout) => begins.recv().is_ok(),
            received => received.is_ok(),
        };
        if has_begun {
            return Ok(executor);
        }
        // The sender was dropped without a word: the thread has ended with its error.
        return Err(match executor.join() {
            Err(error) => error,
            Ok(_) => never_began(shard, settings.core),
        });
    }
}

fn never_began(shard: ShardIndex, core: usize) -> ExecutorError {
    ExecutorError::Start {
        shard,
        core,
        message: "it ended before it began".to_owned(),
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Executor<T> {
    /// Which shard.
    pub fn shard(&self) -> ShardIndex {
        self.shard
    }

    /// The thread has ended: [`Executor::join`] returns at once.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Blocks until the executor has ended.
    ///
    /// # Errors
    /// It panicked.
    pub fn join(self) -> Result<T, ExecutorError> {
        let shard = self.shard;
        self.thread.join().unwrap_or_else(|payload| {
            Err(ExecutorError::Panicked {
                shard,
                panicked: Panicked::from_payload(payload),
            })
        })
    }
}

/// Waits for `duration`, on this executor.
pub async fn sleep(duration: Duration) {
    if duration >= SLEEP_MIN {
        glommio::timer::sleep(duration).await;
        return;
    }
    let deadline = Instant::now() + duration;
    while Instant::now() < deadline {
        glommio::executor().yield_now().await;
    }
}

/// Keeps the executor from oversleeping.
///
/// glommio 0.9.0 may go to sleep although a task is ready: when the preemption timer, or the remains of a cancelled
/// timer, come between waking a task and running it, `run_task_queues` reports that it ran nothing, and the executor
/// parks until the next event, which may never come. With a timer pending at all times that lasts
/// [`HEARTBEAT`] at most, and where even that fails the [`pacemaker`] wakes it.
async fn heartbeat() {
    loop {
        glommio::timer::sleep(HEARTBEAT).await;
        pacemaker::beat();
    }
}

fn run<Fut, T>(
    shard: ShardIndex,
    settings: &ExecutorSettings,
    slot: &Mutex<Option<impl FnOnce() -> Fut>>,
    begun: &mpsc::SyncSender<()>,
) -> Result<T, ExecutorError>
where
    Fut: Future<Output = T> + 'static,
    T: 'static,
{
    let start_failed = |message: String| ExecutorError::Start {
        shard,
        core: settings.core,
        message,
    };
    let builder = LocalExecutorBuilder::new(Placement::Fixed(settings.core))
        .preempt_timer(settings.preempt_timer)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .record_io_latencies(false);
    // glommio panics where io_uring is forbidden (seccomp profiles of containers), so its start is guarded too.
    let executor = catch(|| builder.make())
        .map_err(|panicked| start_failed(format!("{panicked} (is io_uring allowed here?)")))?
        .map_err(|error| start_failed(error.to_string()))?;
    let outcome = catch(|| {
        executor.run(async {
            let Some(make_main) = lock(slot).take() else {
                // Too late: another executor has begun in its place.
                return Ok(None);
            };
            // A full channel can't be: it has one slot. It is closed when `spawn` has given up, and taken the slot first.
            let _ = begun.send(());
            task("heartbeat", heartbeat(), |_| ());
            // Not tasks of `task`'s, so that they are there to the end, while those are cancelled.
            let woken: Vec<_> = match pacemaker::adopt() {
                Ok(reads) => reads.into_iter().map(glommio::spawn_local).collect(),
                Err(error) => {
                    tracing::warn!(%error, "nobody wakes this executor when it oversleeps");
                    Vec::new()
                }
            };
            let outcome = guarded(async move { make_main().await }).await;
            // The task of the heartbeat is about to be cancelled, and a wake-up may be lost here as anywhere.
            let last_heartbeat = glommio::spawn_local(heartbeat());
            cancel_all().await;
            flush_closes().await;
            for read in woken {
                read.cancel().await;
            }
            flush_closes().await;
            pacemaker::release();
            drop(last_heartbeat);
            outcome.map(Some)
        })
    });
    let ended = catch(|| drop(executor));
    outcome
        .and_then(|outcome| outcome)
        .and_then(|value| ended.map(|()| value))
        .map_err(|panicked| ExecutorError::Panicked { shard, panicked })?
        .ok_or_else(|| never_began(shard, settings.core))
}

/// Waits until the kernel has closed what was dropped: glommio closes dropped files by a queued io_uring operation,
/// which would be lost with the executor. The queue is served in order, so a close of our own that is done proves that
/// those before it are.
async fn flush_closes() {
    if let Ok(last) = eventfd() {
        // SAFETY: the descriptor is open and given away here.
        let last = unsafe { glommio::io::BufferedFile::from_raw_fd(last.into_raw_fd()) };
        if let Err(error) = last.close().await {
            tracing::warn!("closing at the end of an executor: {error}");
        }
    }
}
