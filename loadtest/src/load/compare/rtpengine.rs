//! A fresh rtpengine of one's own: found, started on its cores with a port range of its own, ended.
//!
//! It forwards in user space: without its kernel module (`--table=-1`). A service that may run beside it is left alone.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use thiserror::Error;

use super::bencode::Value;
use super::ng::NgClient;
use crate::load::admin::GatewayFigures;
use crate::load::host;

/// What brings it.
const INSTALL: &str = "apt-get install -y --no-install-recommends rtpengine-daemon";
/// Where it takes commands and media.
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Its media ports: below those that this machine gives to sockets that ask for any.
const PORTS: (u16, u16) = (20_000, 32_766);
/// Ports that one call takes: RTP and RTCP, on both sides.
const PORTS_PER_CALL: u16 = 4;
/// The most calls at once.
pub const CALLS_MAX: u16 = (PORTS.1 - PORTS.0) / PORTS_PER_CALL;
/// From the start of the process to the answer to a ping.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// From SIGTERM to its end.
const END_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK_PERIOD: Duration = Duration::from_millis(20);
/// So much of its log is told.
const LOG_LINES_MAX: usize = 20;

/// Why there is no rtpengine.
#[derive(Debug, Error)]
pub enum RtpengineError {
    /// It is not where it was looked for.
    #[error(
        "{0} is no program that can be run. rtpengine is installed with:\n\n    {INSTALL}\n\nIts service need not run: compare starts one of its own"
    )]
    NotInstalled(String),
    /// The system.
    #[error("rtpengine: {what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// It ended, or does not answer.
    #[error("rtpengine {what}; its log ends:\n{log}")]
    NotReady {
        /// What it did.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// More calls than its port range holds.
    #[error("rtpengine has ports for {CALLS_MAX} calls here, not for {0}")]
    TooManyCalls(u32),
}

/// An rtpengine that can be started.
#[derive(Debug, Clone)]
pub struct Installed {
    program: PathBuf,
    /// Such as `10.5.3.5-1+deb12u1`.
    pub version: String,
}

impl Installed {
    /// The program at `path`, or on the PATH; asks it for its version.
    ///
    /// # Errors
    /// [`RtpengineError::NotInstalled`] with the line that installs it.
    pub fn find(path: Option<&Path>) -> Result<Self, RtpengineError> {
        let program = path.unwrap_or_else(|| Path::new("rtpengine")).to_owned();
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|_| RtpengineError::NotInstalled(program.display().to_string()))?;
        // Whether it prints it as output or as an error has changed over its versions.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let version = version_of(&text)
            .ok_or_else(|| RtpengineError::NotInstalled(program.display().to_string()))?;
        Ok(Self {
            program,
            version: version.to_owned(),
        })
    }
}

impl Installed {
    /// As reports name it.
    pub fn name(&self) -> String {
        format!("rtpengine {}", self.version)
    }

    #[cfg(test)]
    pub(super) fn of(program: &str, version: &str) -> Self {
        Self {
            program: program.into(),
            version: version.to_owned(),
        }
    }
}

fn version_of(text: &str) -> Option<&str> {
    let word = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Version:"))?
        .trim();
    (!word.is_empty()).then_some(word)
}

/// A running one. Dropping it ends the process.
pub struct Rtpengine {
    child: Child,
    directory: TempDir,
    /// Where it takes commands.
    pub control: SocketAddr,
}

impl Rtpengine {
    /// Starts it with a thread of each kind for each of `cores`, bound to them, and waits until it answers.
    ///
    /// # Errors
    /// [`RtpengineError`], with the end of its log when it did not become ready.
    pub fn start(installed: &Installed, cores: &[usize]) -> Result<Self, RtpengineError> {
        let failed = |what| move |error| RtpengineError::Io { what, error };
        let directory = tempfile::Builder::new()
            .prefix("clutchcall-rtpengine-")
            .tempdir()
            .map_err(failed("a directory"))?;
        let log = File::create(directory.path().join("log")).map_err(failed("its log"))?;
        let control = free_address().map_err(failed("a free port"))?;
        let arguments = arguments(&control.to_string(), cores.len());
        let started = host::on_cores(cores, || {
            Command::new(&installed.program)
                .args(&arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
        });
        let child = started
            .map_err(failed("its cores"))?
            .map_err(failed("starting it"))?;
        let mut rtpengine = Self {
            child,
            directory,
            control,
        };
        rtpengine.wait_ready()?;
        Ok(rtpengine)
    }

    fn wait_ready(&mut self) -> Result<(), RtpengineError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.still_runs()?;
            if self.answers() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let waited = READY_WITHIN.as_secs();
                return Err(self.not_ready(format!("did not answer within {waited} s")));
            }
            std::thread::sleep(LOOK_PERIOD);
        }
    }

    fn answers(&self) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else { return false };
        runtime.block_on(async {
            let ping = Value::dictionary([("command", Value::text("ping"))]);
            match NgClient::connect(self.control).await {
                Ok(client) => client.command(&ping).await.is_ok(),
                Err(_) => false,
            }
        })
    }

    /// It must not end by itself.
    ///
    /// # Errors
    /// [`RtpengineError::NotReady`] when it did, with the end of its log.
    pub fn still_runs(&mut self) -> Result<(), RtpengineError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(self.not_ready(format!("ended with {status}"))),
            _ => Ok(()),
        }
    }

    fn not_ready(&self, what: String) -> RtpengineError {
        let log = fs::read(self.directory.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let begin = lines.len().saturating_sub(LOG_LINES_MAX);
        RtpengineError::NotReady {
            what,
            log: lines.get(begin..).unwrap_or_default().join("\n"),
        }
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let Ok(pid) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: only sends a signal, to a child that was not waited for and so keeps its number.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let deadline = Instant::now() + END_WITHIN;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK_PERIOD);
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What the process of this number used, as far as the system tells: CPU and memory.
///
/// # Errors
/// It is no more.
pub fn figures(pid: u32, threads: u64) -> io::Result<GatewayFigures> {
    Ok(GatewayFigures {
        cpu_s: host::process_cpu_s(pid)?,
        rss_kib: host::process_rss_kib(pid)?,
        shards: threads,
        ..GatewayFigures::default()
    })
}

/// How it is started on so many cores; the port that it takes commands on is another one each time.
pub fn command_line(installed: &Installed, threads: usize) -> String {
    let program = installed.program.display();
    let arguments = arguments(&format!("{LOOPBACK}:PORT"), threads);
    format!("{program} {}", arguments.join(" "))
}

fn arguments(control: &str, threads: usize) -> Vec<String> {
    let (port_min, port_max) = PORTS;
    [
        "--config-file=none".to_owned(),
        "--table=-1".to_owned(),
        format!("--interface={LOOPBACK}"),
        format!("--listen-ng={control}"),
        "--foreground".to_owned(),
        "--log-stderr".to_owned(),
        "--log-level=4".to_owned(),
        format!("--num-threads={threads}"),
        format!("--media-num-threads={threads}"),
        format!("--port-min={port_min}"),
        format!("--port-max={port_max}"),
        "--timeout=60".to_owned(),
        "--delete-delay=0".to_owned(),
    ]
    .into()
}

fn free_address() -> io::Result<SocketAddr> {
    UdpSocket::bind((LOOPBACK, 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_version_is_read() {
        assert_eq!(
            version_of("Version: 10.5.3.5-1+deb12u1\n"),
            Some("10.5.3.5-1+deb12u1")
        );
        assert_eq!(version_of("rtpengine 11"), None);
        assert_eq!(version_of("Version: \n"), None);
    }

    #[test]
    fn a_missing_one_is_told_with_the_line_that_installs_it() {
        let missing = Installed::find(Some(Path::new("/nowhere/rtpengine")));
        let told = missing.map_err(|error| error.to_string());
        assert!(
            matches!(&told, Err(text) if text.contains(INSTALL)),
            "{told:?}"
        );
    }

    #[test]
    fn a_process_has_cpu_and_memory() {
        let figures = figures(std::process::id(), 1);
        assert!(matches!(figures, Ok(figures) if figures.rss_kib > 1_000.0));
        assert!(super::figures(u32::MAX, 1).is_err());
    }
}
