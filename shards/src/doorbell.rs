//! Waking a shard that sleeps: an eventfd, written only when somebody really sleeps on it.
//!
//! Ringing costs one atomic operation while the shard is awake; a wake-up costs 12 to 18 us (the write and the interrupt
//! of the other core), so it happens once per sleep, however many rings there are. One doorbell serves all rings into
//! one shard.
//!
//! The state is a three-way token, as in a thread parker. Why no wake-up is lost: the sender makes its message visible
//! and then looks at the state; the listener changes the state and then looks at its rings; a sequentially consistent
//! fence stands between the two steps on both sides. So either the sender sees `SLEEPING` and writes the eventfd, or the
//! listener finds `RUNG`, returns, and sees the message.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering, fence};

use glommio::io::BufferedFile;

/// Nobody rang since the listener last looked, and it is not asleep.
const QUIET: u8 = 0;
/// Somebody rang.
const RUNG: u8 = 1;
/// The listener sleeps, or is about to: the next ring must write the eventfd.
const SLEEPING: u8 = 2;

/// Rung by any thread, heard by one [`DoorbellListener`].
#[derive(Debug)]
pub struct Doorbell {
    state: AtomicU8,
    eventfd: OwnedFd,
}

impl Doorbell {
    /// A doorbell that nobody has rung.
    ///
    /// # Errors
    /// As `eventfd(2)`: out of file descriptors.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            state: AtomicU8::new(QUIET),
            eventfd: eventfd()?,
        }))
    }

    /// Makes the listener's current or next wait return. Whatever the caller did before is visible to the listener then.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        // Most rings find RUNG, and reading is cheaper than writing a line that the listener's core holds.
        if self.state.load(Ordering::Relaxed) == RUNG {
            return;
        }
        if self.state.swap(RUNG, Ordering::SeqCst) == SLEEPING {
            write_eventfd(&self.eventfd);
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// The one who sleeps: lives on the executor that the doorbell wakes.
pub struct DoorbellListener {
    doorbell: Arc<Doorbell>,
    file: Rc<BufferedFile>,
    /// The read that is under way in the kernel. It outlives a `wait` that is dropped: a cancelled read could still
    /// swallow the ring that was meant for the next one.
    reading: Option<Reading>,
}

impl DoorbellListener {
    /// The listener of `doorbell`; there must be one only.
    ///
    /// # Errors
    /// Out of file descriptors.
    ///
    /// # Panics
    /// Outside of an executor.
    pub fn new(doorbell: Arc<Doorbell>) -> io::Result<Self> {
        let own = doorbell.eventfd.as_fd().try_clone_to_owned()?;
        // SAFETY: the duplicate is open and given away here.
        let file = unsafe { BufferedFile::from_raw_fd(own.into_raw_fd()) };
        Ok(Self {
            doorbell,
            file: Rc::new(file),
            reading: None,
        })
    }

    /// Waits until the doorbell rings; returns at once when it rang since the last wait. May return once too often, so
    /// the caller drains its rings and waits again. Dropping the wait loses nothing.
    ///
    /// # Errors
    /// The eventfd can't be read, which the kernel does not do to an open one.
    pub async fn wait(&mut self) -> io::Result<()> {
        let state = &self.doorbell.state;
        if state.swap(QUIET, Ordering::SeqCst) != RUNG
            && state
                .compare_exchange(QUIET, SLEEPING, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        {
            let reading = self.reading.get_or_insert_with(|| read(self.file.clone()));
            let slept = reading.await;
            self.reading = None;
            state.store(QUIET, Ordering::SeqCst);
            slept?;
        }
        fence(Ordering::SeqCst);
        Ok(())
    }
}

fn read(file: Rc<BufferedFile>) -> Reading {
    Box::pin(async move {
        file.read_at(0, size_of::<u64>()).await?;
        Ok(())
    })
}

/// A close-on-exec eventfd at zero.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: eventfd takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn write_eventfd(eventfd: &OwnedFd) {
    let one = 1_u64;
    // SAFETY: eight readable bytes are given with their length. The write can't block or fail: the counter grows by
    // one per sleep, and sleeping takes it back to zero.
    let written = unsafe {
        libc::write(
            eventfd.as_raw_fd(),
            (&raw const one).cast(),
            size_of::<u64>(),
        )
    };
    debug_assert_eq!(
        written,
        8,
        "writing an eventfd: {}",
        io::Error::last_os_error()
    );
}
