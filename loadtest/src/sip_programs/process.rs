//! A program of others: started with its log in a file, ended with its children.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use thiserror::Error;

/// How long a program may take to end by itself.
const END_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at whether something has come true.
const LOOK_PERIOD: Duration = Duration::from_millis(20);
/// How often free ports are looked for.
const PORT_TRIES_MAX: u32 = 50;

/// Why a program is of no use.
#[derive(Debug, Error)]
pub enum SipProgramError {
    /// It is not installed.
    #[error("{program} does not start: {error}; install it with: apt-get install -y {package}")]
    NotInstalled {
        /// What was to be started.
        program: &'static str,
        /// What brings it.
        package: &'static str,
        /// What the kernel says.
        error: io::Error,
    },
    /// Its files or ports.
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    /// It ended, or did not do something in time.
    #[error("{program}: {what}; its log:\n{log}")]
    NotInTime {
        /// Which.
        program: &'static str,
        /// What did not happen.
        what: String,
        /// What it said.
        log: String,
    },
}

/// A running program in a process group of its own.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    program: &'static str,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes to `log`.
    pub(super) fn start(
        (program, package): (&'static str, &'static str),
        command: &mut Command,
        log: PathBuf,
    ) -> Result<Self, SipProgramError> {
        let file = File::create(&log).map_err(|error| SipProgramError::Io("a log", error))?;
        let errors = file
            .try_clone()
            .map_err(|error| SipProgramError::Io("a log", error))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|error| SipProgramError::NotInstalled {
                program,
                package,
                error,
            })?;
        Ok(Self {
            child,
            program,
            log,
        })
    }

    /// Waits until `look` finds something, as long as the program runs.
    pub(super) fn wait<T>(
        &mut self,
        what: &str,
        deadline: Instant,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, SipProgramError> {
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() >= deadline || !matches!(self.child.try_wait(), Ok(None)) {
                return Err(self.not_in_time(what));
            }
            std::thread::sleep(LOOK_PERIOD);
        }
    }

    /// Waits for its end.
    pub(super) fn wait_for_end(
        &mut self,
        deadline: Instant,
    ) -> Result<ExitStatus, SipProgramError> {
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.not_in_time("it did not end"));
            }
            std::thread::sleep(LOOK_PERIOD);
        }
    }

    pub(super) fn not_in_time(&self, what: &str) -> SipProgramError {
        SipProgramError::NotInTime {
            program: self.program,
            what: what.to_owned(),
            log: self.log(),
        }
    }

    pub(super) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn signal(&self, signal: libc::c_int) {
        // A child that is not waited for keeps its number, and so does its group.
        if let Ok(group) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: only sends a signal, to the group that was made for this child.
            unsafe { libc::kill(-group, signal) };
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(libc::SIGTERM);
            let deadline = Instant::now() + END_WITHIN;
            // Ended by force below, if it takes too long.
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(LOOK_PERIOD);
            }
            if matches!(self.child.try_wait(), Ok(None)) {
                self.signal(libc::SIGKILL);
                let _ = self.child.wait();
            }
        }
        if std::thread::panicking() {
            eprintln!("{}'s log:\n{}", self.program, self.log());
        }
    }
}

/// A port of loopback that is free for UDP and TCP, with the next above for TCP.
pub(super) fn free_addr() -> Result<SocketAddr, SipProgramError> {
    let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
    let io = |error| SipProgramError::Io("a free port", error);
    for _ in 0..PORT_TRIES_MAX {
        let udp = UdpSocket::bind((ip, 0)).map_err(io)?;
        let addr = udp.local_addr().map_err(io)?;
        let next = addr.port().checked_add(1);
        let both = next.and_then(|next| {
            Some((
                TcpListener::bind(addr).ok()?,
                TcpListener::bind((ip, next)).ok()?,
            ))
        });
        if both.is_some() {
            return Ok(addr);
        }
    }
    Err(io(io::ErrorKind::AddrInUse.into()))
}

/// Does somebody listen for datagrams there?
pub(super) fn is_taken_by_udp(addr: SocketAddr) -> bool {
    UdpSocket::bind(addr).is_err()
}

/// Writes one of its files.
pub(super) fn write(path: &Path, text: &str) -> Result<(), SipProgramError> {
    fs::write(path, text).map_err(|error| SipProgramError::Io("a configuration file", error))
}

/// A directory of its own.
pub(super) fn directory() -> Result<tempfile::TempDir, SipProgramError> {
    tempfile::tempdir().map_err(|error| SipProgramError::Io("a directory", error))
}
