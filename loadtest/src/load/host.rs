//! What the machine itself says: CPU of this process, CPU that a hypervisor took, and on which cores threads run.

use std::fs;

use serde::Serialize;

/// One look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HostFigures {
    /// CPU of this process since its start, in s.
    pub own_cpu_s: f64,
    /// CPU that the hypervisor took from all cores since boot, in s.
    pub steal_s: f64,
}

impl HostFigures {
    /// Now. What can't be read is 0.
    pub fn now() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Self {
            own_cpu_s: cpu_ticks(&read("/proc/self/stat")).unwrap_or(0.0) / ticks_per_s(),
            steal_s: steal_ticks(&read("/proc/stat")).unwrap_or(0.0) / ticks_per_s(),
        }
    }
}

/// `/proc/<pid>/stat`: utime and stime are fields 14 and 15; the name before them may hold anything.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(field(11)? + field(12)?)
}

/// The line of all cores: user nice system idle iowait irq softirq steal.
fn steal_ticks(stat: &str) -> Option<f64> {
    stat.lines().next()?.split_whitespace().nth(8)?.parse().ok()
}

/// CPU of all threads of another process since its start, in s.
///
/// # Errors
/// There is none of this number.
pub fn process_cpu_s(pid: u32) -> std::io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = cpu_ticks(&stat).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(ticks / ticks_per_s())
}

/// Memory of another process that is in RAM, in KiB.
///
/// # Errors
/// There is none of this number.
pub fn process_rss_kib(pid: u32) -> std::io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(resident_kib(&status).ok_or(std::io::ErrorKind::InvalidData)?)
}

/// `/proc/<pid>/status`: `VmRSS:     1234 kB`.
fn resident_kib(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn ticks_per_s() -> f64 {
    // SAFETY: asks for a constant of the system.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// Cores of this machine, not only those that this process is bound to.
pub fn cores() -> usize {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpuinfo.matches("processor\t").count()
}

/// The processor's name and the kernel, for the caveats.
pub fn description() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = cores();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// Binds the calling thread, and what it starts from now on, to `cores`.
///
/// # Errors
/// The system refuses: no such core.
pub fn pin(cores: &[usize]) -> std::io::Result<()> {
    // SAFETY: an all-zero set is a valid empty set; CPU_SET writes within it as the index is checked.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for core in cores {
            if *core < libc::CPU_SETSIZE as usize {
                libc::CPU_SET(*core, &mut set);
            }
        }
        set
    };
    // SAFETY: `set` is a whole cpu_set_t, 0 is the calling thread.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// Starts a process, or whatever else `work` does, on a thread that is bound to `cores`: the process inherits them.
///
/// # Errors
/// The system refuses: no such core.
pub fn on_cores<T: Send>(cores: &[usize], work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    let done = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            pin(cores)?;
            Ok(work())
        });
        worker.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Puts the calling thread behind all others: what it does must not delay media.
pub fn lowest_priority() {
    // SAFETY: names the calling thread by 0; a refusal leaves the priority as it was.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
    }
}

/// Asks for a larger receive buffer; the kernel gives what `net.core.rmem_max` allows.
pub fn grow_receive_buffer(socket: &std::net::UdpSocket, bytes: usize) {
    use std::os::fd::AsRawFd;
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open, the value is an int of the length that is told.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// Raises the number of file descriptors to the most that is allowed; how many there are then.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit to write to and to read from.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
    limit.rlim_cur
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let stat = "17 (a b) c) S 1 1 1 0 -1 4 5 0 0 0 120 30 0 0 20 0 4 0 1 2";
        assert_eq!(cpu_ticks(stat), Some(150.0));
        assert_eq!(
            resident_kib("VmHWM:\t 9 kB\nVmRSS:\t  1234 kB\n"),
            Some(1_234.0)
        );
        assert_eq!(steal_ticks("cpu  1 2 3 4 5 6 7 88 0 0\ncpu0 1"), Some(88.0));
    }
}
