//! Where the control thread runs: on a core of its own, or floating below the shards.

use std::io;

use tracing::{info, warn};

/// Politeness of a control thread that shares its cores with shards.
const NICE_WHEN_SHARED: libc::c_int = 5;

/// Pins the calling thread to `core`; without one lets it float at nice 5. Failing is no reason not to start.
pub fn place(core: Option<usize>) {
    let placed = match core {
        Some(core) => pin(core),
        None => be_nice(),
    };
    match placed {
        Ok(()) => info!(?core, "control thread placed"),
        Err(error) => warn!(?core, %error, "the control thread could not be placed"),
    }
}

fn pin(core: usize) -> io::Result<()> {
    // SAFETY: `cpu_set_t` is plain bits; CPU_SET bounds-checks the core by panicking, so it is checked before.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if core >= libc::CPU_SETSIZE as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        libc::CPU_SET(core, &mut set);
        set
    };
    // SAFETY: 0 is the calling thread; the set lives through the call.
    check(unsafe { libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set) })
}

fn be_nice() -> io::Result<()> {
    // SAFETY: no memory is passed. On Linux PRIO_PROCESS with 0 is the calling thread alone.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE_WHEN_SHARED) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
