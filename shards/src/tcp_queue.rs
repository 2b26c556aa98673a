//! How much of what was written to a TCP socket its peer's host has not acknowledged yet (`SIOCOUTQ`, tcp(7)).
//!
//! What the peer's host has and the peer itself has not read is not seen from here.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Bytes in the socket's send queue, sent or not.
///
/// # Errors
/// It is no TCP socket, or it listens.
pub(crate) fn unacknowledged_bytes(socket: &impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel writes one int to where the pointer leads.
    let outcome =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}
