//! SIGHUP before the control thread listens for it: what it asks for, reading the files, is being done anyway.

/// Lets SIGHUP pass instead of ending the process. The control thread's own handler takes its place.
pub fn ignore() {
    // SAFETY: no handler of ours runs; SIG_IGN is always valid.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}
