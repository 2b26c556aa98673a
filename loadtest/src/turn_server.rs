//! coturn as the TURN server between a browser and the gateway: on loopback, with a shared secret (`use-auth-secret`).
//!
//! It gets a directory and a free port of its own, and is ended by its pid.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use thiserror::Error;

/// From the start of the process to its first answer.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// How long one answer may take before it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);
/// Tries to start before a lost race for the port is an error.
const START_TRIES_MAX: u32 = 5;
/// A Binding request (RFC 8489 section 5) with the transaction id "clutchcall00".
const BINDING_REQUEST: &[u8; 20] = b"\x00\x01\x00\x00\x21\x12\xa4\x42clutchcall00";
/// A Binding success response begins so.
const BINDING_RESPONSE: [u8; 2] = [0x01, 0x01];

/// Why there is no TURN server.
#[derive(Debug, Error)]
pub enum TurnServerError {
    /// It is not installed.
    #[error("turnserver does not start: {0}; install it with: apt-get install -y coturn")]
    NotInstalled(io::Error),
    /// The system.
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    /// It ended, or does not answer.
    #[error("coturn does not answer; its log:\n{0}")]
    NotReady(String),
}

/// A running TURN server. Dropping it ends the process.
pub struct TurnServer {
    child: Child,
    addr: SocketAddr,
    directory: TempDir,
}

impl TurnServer {
    /// Starts coturn with this secret and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not answer.
    pub fn start(secret: &str) -> Result<Self, TurnServerError> {
        let mut tries = 1;
        loop {
            match Self::try_start(secret) {
                // The port was free when it was looked for: another may have been faster.
                Err(TurnServerError::NotReady(_)) if tries < START_TRIES_MAX => tries += 1,
                outcome => return outcome,
            }
        }
    }

    fn try_start(secret: &str) -> Result<Self, TurnServerError> {
        let directory =
            tempfile::tempdir().map_err(|error| TurnServerError::Io("a directory", error))?;
        let addr = free_addr().map_err(|error| TurnServerError::Io("a free port", error))?;
        let file = |name: &str| directory.path().join(name);
        let config = config(addr, secret, &[file("pid"), file("users.sqlite")]);
        // In the file, and not among the arguments, which everybody reads.
        fs::write(file("turnserver.conf"), config)
            .map_err(|error| TurnServerError::Io("turnserver.conf", error))?;
        let log = File::create(file("turnserver.log"))
            .map_err(|error| TurnServerError::Io("turnserver.log", error))?;
        let child = Command::new("turnserver")
            .arg("-c")
            .arg(file("turnserver.conf"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .map_err(TurnServerError::NotInstalled)?;
        let mut server = Self {
            child,
            addr,
            directory,
        };
        server.wait_ready()?;
        Ok(server)
    }

    fn wait_ready(&mut self) -> Result<(), TurnServerError> {
        let io = |error| TurnServerError::Io("asking coturn", error);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN)).map_err(io)?;
        let deadline = Instant::now() + READY_WITHIN;
        let mut answer = [0; 1500];
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            // Nobody listens yet: told by the next receive, as a refused connection.
            let _ = socket.send_to(BINDING_REQUEST, self.addr);
            match socket.recv_from(&mut answer) {
                Ok((2.., from)) if from == self.addr && answer.starts_with(&BINDING_RESPONSE) => {
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(TurnServerError::NotReady(self.log()))
    }

    /// Its URL over UDP, as a page takes it.
    pub fn url(&self) -> String {
        format!("turn:{}?transport=udp", self.addr)
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("turnserver.log")).unwrap_or_default()
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("coturn's log:\n{}", self.log());
        }
    }
}

/// One line a setting; flags have no value.
fn config(addr: SocketAddr, secret: &str, [pid, users]: &[PathBuf; 2]) -> String {
    let mut lines = String::new();
    for (key, value) in [
        ("listening-ip", addr.ip().to_string()),
        ("relay-ip", addr.ip().to_string()),
        ("listening-port", addr.port().to_string()),
        ("realm", "clutchcall.invalid".to_owned()),
        ("static-auth-secret", secret.to_owned()),
        ("log-file", "stdout".to_owned()),
        ("pidfile", pid.display().to_string()),
        ("userdb", users.display().to_string()),
    ] {
        let _ = writeln!(lines, "{key}={value}");
    }
    for flag in [
        "use-auth-secret",
        "fingerprint",
        "verbose",
        "no-tls",
        "no-dtls",
        "no-cli",
        // The gateway of a test listens on loopback, which coturn otherwise keeps callers away from.
        "allow-loopback-peers",
    ] {
        let _ = writeln!(lines, "{flag}");
    }
    lines
}

/// A port of loopback that is free for UDP and TCP.
fn free_addr() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    UdpSocket::bind(addr).map(|_| addr)
}
