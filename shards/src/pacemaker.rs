//! Wakes executors that sleep past their timers.
//!
//! glommio 0.9.0 sometimes sleeps on although a timer is due (see `executor::heartbeat`); under load on Linux 6.18 whole
//! executors were seen to sleep until the next socket event, with every timer of theirs overdue. So each executor beats, on
//! every tick and at least every 20 ms, and one plain thread per process looks every 5 ms: who has missed its beat is woken
//! through an eventfd, which no timer of glommio is needed for. On a machine that keeps its time it never does.
//!
//! A wake-up can itself be lost: when the preemption timer fires between it and the run of the woken tasks (a host that was
//! frozen has all its timers due at once), glommio runs nothing and parks again, with the read of the eventfd used up. So
//! several reads wait at a time, and each look that finds no beat spends one more.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use glommio::io::BufferedFile;

use crate::doorbell::{eventfd, write_eventfd};

/// How often the pacemaker looks. Costs 0.3 % of a core.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Looks without a beat until an executor with a running tick is woken: two, so that one look in the middle of a tick does
/// no harm.
const LOOKS_WHILE_TICKING: u32 = 2;
/// The same for an executor that only has its heartbeat of 20 ms.
const LOOKS_WHILE_IDLE: u32 = 10;
/// Reads of the eventfd that wait at a time: how many wake-ups in a row may be lost. One was lost once in some thousand
/// starts on a host under load, and that executor slept for ever.
const READS_WAITING: usize = 8;

/// The beat of one executor.
#[derive(Debug)]
pub(crate) struct Pulse {
    beats: AtomicU64,
    ticking: AtomicBool,
    kicks: AtomicU64,
    eventfd: OwnedFd,
}

thread_local! {
    static PULSE: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

/// Takes the executor of this thread into care. Each of the futures is to be awaited in a task of its own: every poll of a
/// pending read keeps one more waker, and glommio counts them in 16 bits.
///
/// # Errors
/// Out of file descriptors.
pub(crate) fn adopt() -> io::Result<Vec<impl Future<Output = ()>>> {
    let pulse = Arc::new(Pulse {
        beats: AtomicU64::new(0),
        ticking: AtomicBool::new(false),
        kicks: AtomicU64::new(0),
        eventfd: eventfd()?,
    });
    let reads: Vec<_> = (0..READS_WAITING)
        .map(|_| {
            pulse
                .eventfd
                .as_fd()
                .try_clone_to_owned()
                .map(read_for_ever)
        })
        .collect::<io::Result<_>>()?;
    PULSE.set(Some(Arc::clone(&pulse)));
    patients().push(Patient {
        pulse: Arc::downgrade(&pulse),
        seen: 0,
        looks: 0,
    });
    start_thread()?;
    Ok(reads)
}

/// The executor of this thread is released: nobody wakes it any more.
pub(crate) fn release() {
    PULSE.set(None);
}

/// The executor of this thread is awake.
pub(crate) fn beat() {
    PULSE.with_borrow(|pulse| {
        if let Some(pulse) = pulse {
            pulse.beats.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Whether a tick runs on this thread's executor, so that it is missed sooner.
pub(crate) fn set_ticking(ticking: bool) {
    PULSE.with_borrow(|pulse| {
        if let Some(pulse) = pulse {
            pulse.ticking.store(ticking, Ordering::Relaxed);
        }
    });
}

/// How often the executor of this thread had to be woken.
pub fn kicks() -> u64 {
    PULSE.with_borrow(|pulse| {
        pulse
            .as_ref()
            .map_or(0, |pulse| pulse.kicks.load(Ordering::Relaxed))
    })
}

async fn read_for_ever(eventfd: OwnedFd) {
    // SAFETY: the descriptor is open and given away here.
    let file = unsafe { BufferedFile::from_raw_fd(eventfd.into_raw_fd()) };
    // The completion itself is the wake-up; the number that was read means nothing.
    while file.read_at(0, size_of::<u64>()).await.is_ok() {}
}

/// One executor as the pacemaker knows it.
struct Patient {
    pulse: Weak<Pulse>,
    seen: u64,
    /// Looks since the last beat.
    looks: u32,
}

static PATIENTS: Mutex<Vec<Patient>> = Mutex::new(Vec::new());

fn patients() -> std::sync::MutexGuard<'static, Vec<Patient>> {
    PATIENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start_thread() -> io::Result<()> {
    static STARTED: OnceLock<()> = OnceLock::new();
    if STARTED.set(()).is_err() {
        return Ok(());
    }
    thread::Builder::new()
        .name("pacemaker".to_owned())
        .spawn(look_for_ever)
        .map(drop)
}

fn look_for_ever() {
    loop {
        thread::sleep(LOOK_EVERY);
        patients().retain_mut(look);
    }
}

/// Looks at one executor; `false` once it is gone.
fn look(patient: &mut Patient) -> bool {
    let Some(pulse) = patient.pulse.upgrade() else {
        return false;
    };
    let beats = pulse.beats.load(Ordering::Relaxed);
    if beats != patient.seen {
        patient.seen = beats;
        patient.looks = 0;
        return true;
    }
    patient.looks += 1;
    let patience = if pulse.ticking.load(Ordering::Relaxed) {
        LOOKS_WHILE_TICKING
    } else {
        LOOKS_WHILE_IDLE
    };
    if patient.looks >= patience {
        patient.looks = 0;
        pulse.kicks.fetch_add(1, Ordering::Relaxed);
        write_eventfd(&pulse.eventfd);
    }
    true
}
