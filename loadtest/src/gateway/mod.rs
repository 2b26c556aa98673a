//! A gateway for tests: the real binary in a directory of its own, with its certificate, keys, tokens, metrics and events.
//!
//! The binary is `CLUTCHCALL_GATEWAY`, or stands beside the test's own. Everything is told and asked through the command line,
//! the signals and the admin window, as an operator would.

mod events;
pub(crate) mod http;
mod metrics;
mod setup;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use server::call::{CallEvent, EventType};
use tempfile::TempDir;
use thiserror::Error;

pub use http::HttpAnswer;
pub use metrics::Metrics;
pub use setup::{ECHO_TENANT, GATEWAY_VARIABLE, GatewaySetup, PAGE_ORIGIN};

use crate::random_u16;
use crate::signalling::{self, Trust};
use crate::webrtc_client::CallPlan;
use events::EventStream;
use setup::{find_binary, free_tcp_port, free_udp_ports, run, write_private};

/// Tries to start before a lost race for a port is an error.
const START_TRIES_MAX: u32 = 5;
/// From the start of the process to `/readyz` 200.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// From SIGTERM to the end of a gateway without calls.
const STOP_WITHIN: Duration = Duration::from_secs(40);
/// From the last hang-up to everything given back.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// What must be zero without calls, summed over shards.
const ZERO_WHEN_DRAINED: [&str; 6] = [
    "clutchcall_calls",
    "clutchcall_sessions",
    "clutchcall_resume_tokens",
    "clutchcall_peers",
    "clutchcall_media_ports",
    "clutchcall_slab_entries",
];

/// Why there is no gateway, or it does not do what it should.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// The system.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// A command of the gateway failed.
    #[error("clutchcall-gateway {command} failed: {stderr}")]
    Command {
        /// The subcommand.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// It ended, or did not become ready.
    #[error("the gateway is not ready: {reason}; its log ends:\n{log}")]
    NotReady {
        /// Why.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// Something was not given back.
    #[error("after all calls the gateway still has: {0}")]
    NotDrained(String),
    /// The admin window answered with another status than 200.
    #[error("{path} answered {status}: {body}")]
    Admin {
        /// The path.
        path: String,
        /// The status.
        status: u16,
        /// The answer.
        body: String,
    },
}

/// A running gateway. Dropping it kills the process and removes its directory.
pub struct Gateway {
    child: Mutex<Child>,
    pid: u32,
    binary: PathBuf,
    directory: TempDir,
    signalling: SocketAddr,
    media: SocketAddr,
    admin: SocketAddr,
    admin_token: String,
    tls: Arc<ClientConfig>,
    fds_at_start: f64,
    events: Option<EventStream>,
    panics_wanted: u32,
}

impl Gateway {
    /// Writes the files, starts the process, waits until it is ready and subscribes to its events.
    ///
    /// # Errors
    /// [`GatewayError`], with the end of the log when the process did not become ready.
    pub fn start(setup: &GatewaySetup) -> Result<Self, GatewayError> {
        let mut tries = 1;
        loop {
            match Self::try_start(setup) {
                // Free ports are looked for and then given back for the gateway to bind: another may be faster.
                Err(GatewayError::NotReady { log, .. })
                    if log.contains("Address already in use") && tries < START_TRIES_MAX =>
                {
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn try_start(setup: &GatewaySetup) -> Result<Self, GatewayError> {
        let binary = setup.binary.clone().map_or_else(find_binary, Ok)?;
        let directory = tempfile::Builder::new()
            .prefix("clutchcall-")
            .tempdir()
            .map_err(while_doing("a directory"))?;
        let file = |name: &str| directory.path().join(name);
        let mut keygen: Vec<PathBuf> = vec!["keygen".into()];
        for (option, name) in [
            ("--tls-cert", "cert.pem"),
            ("--tls-key", "key.pem"),
            ("--token-key", "token-key.pem"),
        ] {
            keygen.extend([option.into(), file(name)]);
        }
        for name in &setup.names {
            keygen.extend(["--name".into(), name.into()]);
        }
        run(&binary, &keygen)?;

        let admin_token: String = (0..8).map(|_| format!("{:04x}", random_u16())).collect();
        let signalling = SocketAddr::from((Ipv4Addr::LOCALHOST, free_tcp_port()?));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_tcp_port()?));
        let gateway_toml = format!(
            "[server]\nlisten = [\"[::]:{port}\"]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n\
             token_key_file = \"token-key.pem\"\npublic_url = \"wss://localhost:{port}\"\n{server}\n\
             [admin]\nlisten = \"{admin}\"\ntoken_file = \"admin-token\"\n\n[webrtc]\n{webrtc}\n{rest}",
            port = signalling.port(),
            server = setup.server_lines,
            webrtc = setup.webrtc_lines,
            rest = setup
                .tenants_and_trunks
                .replace(PAGE_ORIGIN, &page_origin(signalling.port())),
        );
        let webrtc_port = free_udp_ports(setup.cores.len())?;
        let shards_toml = format!(
            "cores = {:?}\nwebrtc_udp_port_base = {webrtc_port}\n{}",
            setup.cores, setup.shards_lines,
        );
        for (name, text) in [
            ("gateway.toml", gateway_toml),
            ("shards.toml", shards_toml),
            ("admin-token", admin_token.clone()),
        ] {
            write_private(&file(name), &text).map_err(while_doing(name))?;
        }

        let log = File::create(file("gateway.log")).map_err(while_doing("gateway.log"))?;
        let child = Command::new(&binary)
            .args(["serve".into(), "--config".into(), file("gateway.toml")])
            .args(["--shards".into(), file("shards.toml")])
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(while_doing("starting the gateway"))?;
        let trust = Trust::CertificateFile(file("cert.pem"));
        let tls = signalling::client_config(&trust)
            .map_err(|error| while_doing("cert.pem")(io::Error::other(error)))?;
        let mut gateway = Self {
            pid: child.id(),
            child: Mutex::new(child),
            binary,
            directory,
            signalling,
            media: (Ipv4Addr::LOCALHOST, webrtc_port).into(),
            admin,
            admin_token,
            tls,
            fds_at_start: 0.0,
            events: None,
            panics_wanted: 0,
        };
        gateway.wait_ready()?;
        let body = http::open_lines(
            admin,
            "/v1/events",
            Some(&gateway.admin_token),
            Duration::from_millis(100),
        );
        gateway.events = Some(EventStream::start(body.map_err(while_doing("/v1/events"))?));
        gateway.fds_at_start = gateway.metrics()?.sum("clutchcall_fds");
        Ok(gateway)
    }

    fn wait_ready(&mut self) -> Result<(), GatewayError> {
        let deadline = Instant::now() + READY_WITHIN;
        let mut reason = String::new();
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child().try_wait() {
                return Err(GatewayError::NotReady {
                    reason: format!("it ended with {status}"),
                    log: self.log_end(),
                });
            }
            match self.get("/readyz") {
                Ok(HttpAnswer { status: 200, .. }) => return Ok(()),
                Ok(answer) => {
                    reason = format!("/readyz answers {}: {}", answer.status, answer.body)
                }
                Err(error) => reason = format!("/readyz: {error}"),
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Err(GatewayError::NotReady {
            reason,
            log: self.log_end(),
        })
    }

    /// The URL that callers dial, without a path.
    pub fn url(&self) -> String {
        format!("wss://localhost:{}", self.signalling.port())
    }

    /// The origin of its softphone page, as browsers write it.
    pub fn page_origin(&self) -> String {
        page_origin(self.signalling.port())
    }

    /// Where signalling listens, on IPv4 loopback.
    pub fn signalling_addr(&self) -> SocketAddr {
        self.signalling
    }

    /// Where shard 0 takes WebRTC media, on IPv4 loopback.
    pub fn media_addr(&self) -> SocketAddr {
        self.media
    }

    /// Where the admin window listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A file of the gateway's directory, such as `cert.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Whom its callers believe.
    pub fn trust(&self) -> Trust {
        Trust::CertificateFile(self.file("cert.pem"))
    }

    /// A new token that may dial.
    ///
    /// # Errors
    /// [`GatewayError::Command`].
    pub fn token(&self, tenant: &str) -> Result<String, GatewayError> {
        self.token_with(tenant, &[])
    }

    /// A new token with further options of `clutchcall-gateway token`.
    ///
    /// # Errors
    /// [`GatewayError::Command`].
    pub fn token_with(&self, tenant: &str, options: &[&str]) -> Result<String, GatewayError> {
        let config = self.file("gateway.toml");
        let mut arguments = vec![OsStr::new("token"), "--config".as_ref(), config.as_os_str()];
        arguments.extend(["--tenant", tenant].map(OsStr::new));
        arguments.extend(options.iter().map(OsStr::new));
        run(&self.binary, &arguments).map(|token| token.trim().to_owned())
    }

    /// The shards that own a tenant, best first.
    ///
    /// # Errors
    /// [`GatewayError::Command`].
    pub fn shards_of(&self, tenant: &str) -> Result<Vec<u16>, GatewayError> {
        let shards = self.file("shards.toml");
        let arguments = [
            "shard-of".as_ref(),
            "--shards".as_ref(),
            shards.as_os_str(),
            OsStr::new(tenant),
        ];
        let answer = run(&self.binary, &arguments)?;
        Ok(answer
            .split_whitespace()
            .filter_map(|shard| shard.parse().ok())
            .collect())
    }

    /// A plan for a call of `tenant` on loopback, with a new token.
    ///
    /// # Errors
    /// [`GatewayError::Command`].
    pub fn call_plan(&self, tenant: &str) -> Result<CallPlan, GatewayError> {
        let mut plan = CallPlan::new(&self.url(), self.trust(), tenant, &self.token(tenant)?);
        plan.local_ips = vec![Ipv4Addr::LOCALHOST.into()];
        Ok(plan)
    }

    /// GET on the signalling port, over TLS.
    ///
    /// # Errors
    /// What the connection said.
    pub fn get(&self, path: &str) -> io::Result<HttpAnswer> {
        http::get_tls(self.signalling, "localhost", Arc::clone(&self.tls), path)
    }

    /// A request to the admin window with its token.
    ///
    /// # Errors
    /// What the connection said.
    pub fn admin(&self, method: &str, path: &str) -> io::Result<HttpAnswer> {
        http::request(method, self.admin, path, Some(&self.admin_token), None)
    }

    /// A POST to the admin window with its token; the body is JSON.
    ///
    /// # Errors
    /// What the connection said.
    pub fn post(&self, path: &str, body: &serde_json::Value) -> io::Result<HttpAnswer> {
        let (token, body) = (Some(&*self.admin_token), body.to_string());
        http::request("POST", self.admin, path, token, Some(&body))
    }

    /// All metrics now.
    ///
    /// # Errors
    /// [`GatewayError`] when the admin window does not answer with 200.
    pub fn metrics(&self) -> Result<Metrics, GatewayError> {
        self.admin_200("/metrics").map(|text| Metrics::parse(&text))
    }

    /// `/v1/calls` as it came.
    ///
    /// # Errors
    /// [`GatewayError`] when the admin window does not answer with 200 and JSON.
    pub fn calls(&self) -> Result<serde_json::Value, GatewayError> {
        let text = self.admin_200("/v1/calls")?;
        serde_json::from_str(&text).map_err(|error| while_doing("/v1/calls")(error.into()))
    }

    fn admin_200(&self, path: &str) -> Result<String, GatewayError> {
        let answer = self.admin("GET", path).map_err(while_doing(path))?;
        if answer.status != 200 {
            return Err(GatewayError::Admin {
                path: path.to_owned(),
                status: answer.status,
                body: answer.body,
            });
        }
        Ok(answer.body)
    }

    /// Every CallEvent since the start, as `/v1/events` told it.
    pub fn events(&self) -> Vec<CallEvent> {
        self.events
            .as_ref()
            .map(EventStream::events)
            .unwrap_or_default()
    }

    /// The event types of one call, in order.
    pub fn event_types(&self, call_sid: &str) -> Vec<EventType> {
        let of_call =
            |event: &CallEvent| (event.call_sid.as_str() == call_sid).then_some(event.event_type);
        self.events().iter().filter_map(of_call).collect()
    }

    /// Waits until `look` finds what it looks for in all events, at most until `deadline`.
    pub fn wait_for_events<T>(
        &self,
        deadline: Instant,
        look: impl Fn(&[CallEvent]) -> Option<T>,
    ) -> Option<T> {
        self.events
            .as_ref()
            .and_then(|events| events.wait(deadline, look))
    }

    /// So many panics of the gateway are wanted: no more and no less when it has drained.
    pub fn expect_panics(&mut self, count: u32) {
        self.panics_wanted = count;
    }

    /// Waits until no call, session, port, slab entry or file descriptor is left, and nothing panicked that was not to.
    ///
    /// # Errors
    /// [`GatewayError::NotDrained`] names what is left after 10 s.
    pub fn wait_drained(&self) -> Result<(), GatewayError> {
        let deadline = Instant::now() + DRAINED_WITHIN;
        loop {
            let metrics = self.metrics()?;
            let mut left: Vec<String> = ZERO_WHEN_DRAINED
                .iter()
                .map(|name| (name, metrics.sum(name)))
                .filter(|(_, value)| *value != 0.0)
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            let panics = metrics.sum("clutchcall_panics_total");
            if panics != f64::from(self.panics_wanted) {
                left.push(format!("{panics} panics, not {}", self.panics_wanted));
            }
            let fds = metrics.sum("clutchcall_fds");
            if fds > self.fds_at_start {
                left.push(format!(
                    "clutchcall_fds {fds}, {} at the start",
                    self.fds_at_start
                ));
            }
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(GatewayError::NotDrained(left.join(", ")));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// [`Gateway::wait_drained`] for tests.
    ///
    /// # Panics
    /// When something is left.
    #[track_caller]
    pub fn assert_drained(&self) {
        if let Err(error) = self.wait_drained() {
            panic!("{error}\n{}", self.log_end());
        }
    }

    /// Sends a signal, such as `TERM`, to the gateway's own process.
    ///
    /// # Errors
    /// [`GatewayError::Io`].
    pub fn signal(&self, name: &str) -> Result<(), GatewayError> {
        let kill = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        kill.map(drop).map_err(while_doing("kill"))
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Errors
    /// [`GatewayError::NotReady`] when it does not end, then it is killed.
    pub fn stop(mut self) -> Result<ExitStatus, GatewayError> {
        self.events = None;
        self.signal("TERM")?;
        self.wait_for_exit(STOP_WITHIN)
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// [`GatewayError::NotReady`] when it does not.
    pub fn wait_for_exit(&mut self, within: Duration) -> Result<ExitStatus, GatewayError> {
        self.wait_for_exit_shared(within)
    }

    /// The same, while others use it.
    ///
    /// # Errors
    /// As [`Gateway::wait_for_exit`].
    pub fn wait_for_exit_shared(&self, within: Duration) -> Result<ExitStatus, GatewayError> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self
                .child()
                .try_wait()
                .map_err(while_doing("waiting for the gateway"))?
            {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let reason = format!("it did not end within {} s", within.as_secs());
                return Err(GatewayError::NotReady {
                    reason,
                    log: self.log_end(),
                });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the gateway has ended its event stream; `false` if it did not by `deadline`.
    pub fn wait_for_event_stream_end(&self, deadline: Instant) -> bool {
        let ended = || self.events.as_ref().is_none_or(EventStream::has_ended);
        while !ended() && Instant::now() < deadline {
            std::thread::sleep(POLL_INTERVAL);
        }
        ended()
    }

    /// Everything that the gateway logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("gateway.log")).unwrap_or_default()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines
            .get(lines.len().saturating_sub(30)..)
            .unwrap_or_default()
            .join("\n")
    }
}

fn page_origin(port: u16) -> String {
    format!("https://localhost:{port}")
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.events = None;
        // It may have ended already.
        let _ = self.child().kill();
        let _ = self.child().wait();
        if std::thread::panicking() {
            eprintln!("the gateway's log ends:\n{}", self.log_end());
        }
    }
}

fn while_doing(what: &str) -> impl Fn(io::Error) -> GatewayError {
    let what = what.to_owned();
    move |error| GatewayError::Io {
        what: what.clone(),
        error,
    }
}
