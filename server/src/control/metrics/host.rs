//! What the kernel tells about this process (proc(5)).

/// What the kernel tells about this process; zero where it does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFigures {
    /// Open file descriptors.
    pub fds: u64,
    /// Resident memory.
    pub resident_memory_bytes: u64,
    /// User and system time of all threads.
    pub cpu_seconds: f64,
}

impl HostFigures {
    /// Reads `/proc/self`.
    pub fn read() -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        // Counting opens one itself.
        let fds = std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count().saturating_sub(1));
        Self {
            fds: fds as u64,
            resident_memory_bytes: resident_bytes(&text("/proc/self/status")).unwrap_or(0),
            cpu_seconds: cpu_seconds(&text("/proc/self/stat")).unwrap_or(0.0),
        }
    }
}

/// `VmRSS` of proc_pid_status(5), in kB there.
fn resident_bytes(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = value.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms: USER_HZ is 100 on every architecture that we build for.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read() {
        let status = "Name:\tgateway\nVmHWM:\t  9999 kB\nVmRSS:\t   2048 kB\n";
        assert_eq!(resident_bytes(status), Some(2 * 1024 * 1024));
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 0 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (gateway"), None);
        let host = HostFigures::read();
        assert!(host.fds >= 3, "{host:?}");
        assert!(host.resident_memory_bytes > 1_000_000, "{host:?}");
    }
}
