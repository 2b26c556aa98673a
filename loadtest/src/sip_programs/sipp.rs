//! SIPp: one scenario, at a rate or on demand.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::SipProgramError;
use super::process::{Process, directory, free_addr, is_taken_by_udp, write};

const READY_WITHIN: Duration = Duration::from_secs(10);
const PROGRAM: (&str, &str) = ("sipp", "sip-tester");

/// What is played.
#[derive(Debug, Clone)]
pub enum SippScenario {
    /// One that comes with it: `uac`, `uas`, `regexp`, `branchc`, ...
    BuiltIn(&'static str),
    /// XML.
    Text(String),
}

/// How SIPp runs.
#[derive(Debug, Clone)]
pub struct SippConfig {
    /// What is played.
    pub scenario: SippScenario,
    /// Where requests go; none for a scenario that waits for calls.
    pub target: Option<SocketAddr>,
    /// The called user, `[service]` in scenarios.
    pub service: String,
    /// How many calls; 0: without end.
    pub calls: u32,
    /// How many begin in a second.
    pub calls_per_s: u32,
    /// How many at once.
    pub calls_at_once: u32,
    /// `u1`, `t1`, `l1`: UDP, TCP, TLS by one socket; `un` and so on: one for each call.
    pub transport: &'static str,
    /// Besides, as on its command line.
    pub arguments: Vec<String>,
}

impl SippConfig {
    /// Waits for calls.
    pub fn server(scenario: SippScenario) -> Self {
        Self {
            scenario,
            target: None,
            service: "service".to_owned(),
            calls: 0,
            calls_per_s: 10,
            calls_at_once: 1000,
            transport: "u1",
            arguments: Vec::new(),
        }
    }

    /// Places so many calls.
    pub fn client(scenario: SippScenario, target: SocketAddr, calls: u32) -> Self {
        Self {
            target: Some(target),
            calls,
            ..Self::server(scenario)
        }
    }
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SippOutcome {
    /// Calls that went as the scenario says.
    pub successful: u32,
    /// Calls that did not.
    pub failed: u32,
    /// What it says about those.
    pub errors: String,
}

/// A running SIPp. Dropping it ends the process.
#[derive(Debug)]
pub struct Sipp {
    process: Process,
    addr: SocketAddr,
    directory: TempDir,
}

impl Sipp {
    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// It is not installed, or does not listen.
    pub fn start(config: &SippConfig) -> Result<Self, SipProgramError> {
        let directory = directory()?;
        let addr = free_addr()?;
        let mut command = Command::new(PROGRAM.0);
        command.current_dir(directory.path());
        match &config.scenario {
            SippScenario::BuiltIn(name) => command.args(["-sn", name]),
            SippScenario::Text(xml) => {
                write(&directory.path().join("scenario.xml"), xml)?;
                command.args(["-sf", "scenario.xml"])
            }
        };
        let number = |number: u32| number.to_string();
        command
            .args([
                "-i",
                &addr.ip().to_string(),
                "-p",
                &number(addr.port().into()),
            ])
            .args(["-t", config.transport, "-s", &config.service])
            .args([
                "-r",
                &number(config.calls_per_s),
                "-l",
                &number(config.calls_at_once),
            ])
            .args([
                "-nostdin",
                "-trace_stat",
                "-stf",
                "statistics.csv",
                "-fd",
                "1",
            ])
            .args(["-trace_err", "-error_file", "errors.log"]);
        if config.calls > 0 {
            command.args(["-m", &number(config.calls)]);
        }
        command.args(&config.arguments);
        if let Some(target) = config.target {
            command.arg(target.to_string());
        }
        let log = directory.path().join("sipp.log");
        let mut process = Process::start(PROGRAM, &mut command, log)?;
        if config.target.is_none() && config.transport.starts_with('u') {
            let deadline = Instant::now() + READY_WITHIN;
            process.wait("it does not listen", deadline, || {
                is_taken_by_udp(addr).then_some(())
            })?;
        }
        Ok(Self {
            process,
            addr,
            directory,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until its calls are over and it ended.
    ///
    /// # Errors
    /// It goes on.
    pub fn wait(mut self, deadline: Instant) -> Result<SippOutcome, SipProgramError> {
        self.process.wait_for_end(deadline)?;
        Ok(self.outcome())
    }

    /// How it is now, to the second.
    pub fn outcome(&self) -> SippOutcome {
        let read = |name: &str| {
            fs::read_to_string(Path::new(self.directory.path()).join(name)).unwrap_or_default()
        };
        let statistics = read("statistics.csv");
        let mut lines = statistics.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(';').collect();
        let values: Vec<&str> = lines.next_back().unwrap_or_default().split(';').collect();
        let value = |name: &str| {
            let column = names.iter().position(|known| *known == name);
            let text = column.and_then(|column| values.get(column));
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        SippOutcome {
            successful: value("SuccessfulCall(C)"),
            failed: value("FailedCall(C)"),
            errors: read("errors.log"),
        }
    }
}
