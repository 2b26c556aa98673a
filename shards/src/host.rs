//! What the host allows: cores and locked memory, checked at start so that the operator reads what to change. And what a
//! thread has used of its core.

use std::io;
use std::time::Duration;

/// Soft limit of `RLIMIT_MEMLOCK` below which glommio refuses to start an executor, also for root.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// The limit on locked memory is too low.
#[derive(Debug, thiserror::Error)]
pub enum MemlockError {
    /// The limit can't be read.
    #[error("can't read the memlock limit: {0}")]
    Unreadable(#[source] io::Error),
    /// The limit is too low for the executors.
    #[error(
        "the memlock limit is {limit_bytes} bytes, {executors} executors need {needed_bytes}: \
         set `LimitMEMLOCK={needed_bytes}` in the systemd unit, or run `ulimit -l {}` before the start",
        needed_bytes.div_ceil(1024)
    )]
    TooLow {
        /// The soft limit now.
        limit_bytes: u64,
        /// What it must be at least.
        needed_bytes: u64,
        /// For how many executors.
        executors: usize,
    },
}

/// Checks that `executors` executors can start in this process. The limit is one per process and does not grow with
/// them: where more can't be locked, glommio goes on without registered buffers, which only file I/O would use.
///
/// # Errors
/// The limit and the remedy.
pub fn check_memlock(executors: usize) -> Result<(), MemlockError> {
    let limit_bytes = memlock_limit_bytes().map_err(MemlockError::Unreadable)?;
    if limit_bytes < MEMLOCK_BYTES_MIN {
        return Err(MemlockError::TooLow {
            limit_bytes,
            needed_bytes: MEMLOCK_BYTES_MIN,
            executors,
        });
    }
    Ok(())
}

fn memlock_limit_bytes() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit writes one rlimit through a valid pointer.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// The cores that this process may run on (its affinity mask: `taskset`, cpusets and containers narrow it), ascending.
///
/// # Errors
/// As `sched_getaffinity(2)`; a host with more than 1024 cores answers `EINVAL`.
pub fn available_cores() -> io::Result<Vec<usize>> {
    // SAFETY: cpu_set_t is a plain bit mask, all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the given size into `set`.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let cores = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: every index is below CPU_SETSIZE, so inside the mask.
    Ok(cores
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect())
}

/// CPU time that the calling thread has used, user and system.
///
/// # Errors
/// As `clock_gettime(2)`: a kernel without that clock.
pub fn thread_cpu_time() -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime writes one timespec through a valid pointer.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The kernel keeps both parts within what fits.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Ok(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn there_is_a_core_to_run_on() {
        let cores = available_cores().unwrap();
        assert!(!cores.is_empty());
        assert!(cores.is_sorted());
    }

    #[test]
    fn a_thread_that_works_uses_time_and_one_that_sleeps_does_not() {
        let start = thread_cpu_time().unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let slept = thread_cpu_time().unwrap() - start;
        assert!(slept < Duration::from_millis(20), "{slept:?}");
        let start = thread_cpu_time().unwrap();
        while thread_cpu_time().unwrap() - start < Duration::from_millis(5) {}
    }

    #[test]
    fn a_low_limit_names_the_remedy() {
        let error = MemlockError::TooLow {
            limit_bytes: 65536,
            needed_bytes: MEMLOCK_BYTES_MIN,
            executors: 2,
        };
        assert_eq!(
            error.to_string(),
            "the memlock limit is 65536 bytes, 2 executors need 524288: set `LimitMEMLOCK=524288` in the systemd \
             unit, or run `ulimit -l 512` before the start"
        );
    }
}
