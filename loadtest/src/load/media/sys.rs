//! The system calls that std has no safe name for: priority, clocks, an absolute sleep, and receiving with the
//! kernel's own stamp, from datagrams and from TCP. All `unsafe` of the media threads is here.

use std::io;
use std::mem;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

const NS_PER_S: u64 = 1_000_000_000;

/// Room for one control message with a `timespec`, with much to spare.
#[repr(align(8))]
struct Control([u8; 64]);

/// The calling thread goes before all ordinary ones (SCHED_FIFO) and is woken at the very time; where that is not
/// allowed it gets this nice value, if it may. Returns whether it is the former: a nice value counts within the
/// scheduler's autogroup of a session only, so it does not help against other sessions' programs.
pub(super) fn raise_priority(nice: i32) -> bool {
    // SAFETY: no pointer is taken.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter lives through the call; 0 is the calling thread.
    let refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) };
    if refused != 0 {
        // SAFETY: no pointer is taken; 0 is the calling thread. A refusal changes nothing and is accepted.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    }
    refused == 0
}

/// Wall clock, in ns since 1970.
pub(super) fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

/// The clock of `Instant`, in ns.
pub(super) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// What the calling thread has used of its core.
pub(super) fn thread_cpu() -> Duration {
    Duration::from_nanos(clock_ns(libc::CLOCK_THREAD_CPUTIME_ID))
}

/// Returns at this time of [`monotonic_ns`], or at once when it has passed, or early at a signal.
pub(super) fn sleep_until(at_ns: u64) {
    let at = libc::timespec {
        tv_sec: (at_ns / NS_PER_S) as libc::time_t,
        tv_nsec: (at_ns % NS_PER_S) as libc::c_long,
    };
    // SAFETY: the timespec lives through the call; no remainder is asked for.
    unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_MONOTONIC,
            libc::TIMER_ABSTIME,
            &raw const at,
            ptr::null_mut(),
        );
    }
}

/// From now on the kernel stamps what this socket receives.
pub(super) fn stamp_arrivals(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is an int that lives through the call, its size is told.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// One datagram, without waiting: its length, and when it came by the wall clock, in ns. A longer one is cut off.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, u64)> {
    receive_stamped(socket, buffer).ok()
}

/// What a TCP connection has, without waiting: its length (0: the end), and when the last of it came by the wall clock, in ns.
pub(super) fn receive_stream(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, u64)> {
    receive_stamped(stream, buffer)
}

fn receive_stamped(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<(usize, u64)> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a msghdr is plain data, all zero is one without parts.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: the message names the buffer and the control block, both alive and of the lengths told.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    Ok((len, stamp(&message).unwrap_or_else(realtime_ns)))
}

fn stamp(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: the kernel filled the control block and told its length in the message, which the macros respect.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if header.cmsg_level != libc::SOL_SOCKET || header.cmsg_type != libc::SCM_TIMESTAMPNS {
        return None;
    }
    // SAFETY: a message of this type carries a timespec; it may stand unaligned.
    let at: libc::timespec = unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
    Some(ns(at))
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut at = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the timespec is written within the call.
    unsafe { libc::clock_gettime(clock, &raw mut at) };
    ns(at)
}

fn ns(at: libc::timespec) -> u64 {
    (at.tv_sec as u64)
        .wrapping_mul(NS_PER_S)
        .wrapping_add(at.tv_nsec as u64)
}
