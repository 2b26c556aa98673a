//! The system calls of the bench that the product does not have: pinning, the CPU time of a thread, and an epoll instance
//! that can be waited on.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use shards::udp::UdpSocket;

/// Pins the calling thread.
pub fn pin_to(core: usize) {
    // SAFETY: cpu_set_t is plain data, for which all zeroes is the empty set; it is borrowed for the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// User and system time of the calling thread.
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is borrowed for the call. It can't fail: every thread has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Lets this process open as many files as it may.
pub fn raise_file_limit() {
    // SAFETY: the limit is plain data, borrowed for both calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

/// As [`shards::udp::SocketSet`], with a wait.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// Watches all of `sockets` under their index.
    pub fn of(sockets: &[UdpSocket]) -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is checked before it is owned.
        let fd = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        for (index, socket) in sockets.iter().enumerate() {
            let socket = std::os::fd::AsFd::as_fd(socket).as_raw_fd();
            let mut event = libc::epoll_event {
                events: libc::EPOLLIN as u32,
                u64: index as u64,
            };
            // SAFETY: the event is borrowed for the call.
            let added =
                unsafe { libc::epoll_ctl(fd.as_raw_fd(), libc::EPOLL_CTL_ADD, socket, &mut event) };
            if added != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024],
        })
    }

    /// The sockets that have something, after at most `timeout_ms`.
    pub fn ready(&mut self, timeout_ms: i32) -> impl Iterator<Item = usize> {
        // SAFETY: the kernel writes at most as many events as there is room for.
        let ready = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as i32,
                timeout_ms,
            )
        };
        let ready = usize::try_from(ready).unwrap_or(0);
        self.events
            .iter()
            .take(ready)
            .map(|event| event.u64 as usize)
    }
}
