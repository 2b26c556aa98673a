//! `run`: many calls through a gateway, and a report of what they cost and how they sounded.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use loadtest::gateway::Gateway;
use loadtest::load::admin::Admin;
use loadtest::load::impaired::Impairment;
use loadtest::load::observer::Sample;
use loadtest::load::report::Report;
use loadtest::load::run::{self, RunPlan, Target, WARM_UP_CALLS};
use loadtest::load::scenario::{FarEnd, Scenario};
use loadtest::load::signalling::Endpoint;
use loadtest::load::spawn::{self, SpawnPlan};
use loadtest::load::token::TokenSigner;
use loadtest::load::verdict::{Outcome, Verdict};
use loadtest::load::{host, html, summary};
use loadtest::signalling::{Trust, client_config};

use super::live::LiveView;

/// Which gateway is loaded, and from where: common to `run` and `find-max`.
#[derive(Debug, Args)]
pub(super) struct TargetArguments {
    /// Who calls whom: browser-echo, browser-sip, browser-sip-pcmu, browser-sip-opus
    #[arg(long, value_name = "NAME", help_heading = "Calls")]
    pub(super) scenario: Scenario,
    /// Start a fresh gateway for this run, and stop it afterwards
    #[arg(long, help_heading = "Gateway", conflicts_with_all = ["url", "token_key", "admin"])]
    pub(super) spawn: bool,
    /// Cores of the spawned gateway: a shard on each, everything else there too
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [0], help_heading = "Gateway")]
    pub(super) gateway_cores: Vec<usize>,
    /// A line of the spawned gateway's shards.toml; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Gateway")]
    pub(super) shards_line: Vec<String>,
    /// A gateway that runs: wss://host:port
    #[arg(long, required_unless_present = "spawn", requires_all = ["tenant", "token_key", "admin"], help_heading = "Gateway")]
    url: Option<String>,
    /// Its tenant whose calls these are
    #[arg(long, help_heading = "Gateway")]
    tenant: Option<String>,
    /// Its trunk; without it the tenant's route decides
    #[arg(long, value_name = "TRUNK_ID", help_heading = "Gateway")]
    trunk: Option<String>,
    /// A private key (PEM) that signs a token for each call: the gateway's token_key_file, or with --token-kid a tenant's
    #[arg(long, value_name = "FILE", help_heading = "Gateway")]
    token_key: Option<PathBuf>,
    /// The kid of a tenant's key
    #[arg(
        long,
        value_name = "KID",
        requires = "token_key",
        help_heading = "Gateway"
    )]
    token_kid: Option<String>,
    /// The origin that tokens and pages have, if the tenant wants one
    #[arg(long, help_heading = "Gateway")]
    origin: Option<String>,
    /// Believe the gateway that shows this certificate (PEM), or one signed by it; without it, anybody
    #[arg(long, value_name = "FILE", help_heading = "Gateway")]
    ca: Option<PathBuf>,
    /// Its admin window: events, CPU, memory and what is left behind come from there
    #[arg(
        long,
        value_name = "IP:PORT",
        requires = "admin_token_file",
        help_heading = "Gateway"
    )]
    admin: Option<SocketAddr>,
    /// The admin window's token
    #[arg(long, value_name = "FILE", help_heading = "Gateway")]
    admin_token_file: Option<PathBuf>,
    /// Where our SIP far end listens: the trunk's gateway_ip and destination_sbc_port
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:0",
        help_heading = "Gateway"
    )]
    sip_listen: SocketAddr,
    /// Cores of the generator: a media thread on each
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [1], help_heading = "Generator")]
    pub(super) load_cores: Vec<usize>,
    /// Where the callers' media sockets are bound
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), help_heading = "Generator")]
    pub(super) local_ip: IpAddr,
    /// Spreads the calls' phases: the same seed, the same spread
    #[arg(long, default_value_t = 1, help_heading = "Generator")]
    pub(super) seed: u64,
    /// No live view
    #[arg(long, short, help_heading = "Output")]
    pub(super) quiet: bool,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) json: Option<PathBuf>,
    /// Write the report as one HTML file with pictures
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) html: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Two hundred calls from browsers to a SIP carrier through a gateway of their own, on core 0, callers on core 1:
  clutchcall-loadtest run --spawn --scenario browser-sip --calls 200 --duration 20 --json out.json --html out.html
A gateway that runs, with the example configuration:
  clutchcall-loadtest run --url wss://localhost:7443 --tenant acme --trunk echo --scenario browser-echo --calls 20 \\
      --token-key keys/token-key.pem --ca tls/cert.pem --admin 127.0.0.1:7444 --admin-token-file keys/admin-token
Calls that come and go: 10000 of 4 s each
  clutchcall-loadtest run --spawn --scenario browser-sip-pcmu --calls 10000 --call-duration 4 --setup-rate 50

Exit codes: 0 every call was answered and passed the judge, with all its events and nothing left behind; 1 not; 2 the command
line is wrong.")]
pub(super) struct RunArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// How many calls
    #[arg(long, default_value_t = 20, help_heading = "Calls")]
    calls: u32,
    /// Set-ups a second
    #[arg(
        long,
        value_name = "PER_S",
        default_value_t = 50.0,
        help_heading = "Calls"
    )]
    setup_rate: f64,
    /// The rate grows from nothing in the first so many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0.0,
        help_heading = "Calls"
    )]
    ramp: f64,
    /// How long all calls are up together, measured: a soak has hours here
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 20.0,
        help_heading = "Calls"
    )]
    duration: f64,
    /// Instead: each call ends after so long, others follow until all were made
    #[arg(
        long,
        value_name = "SECONDS",
        conflicts_with = "duration",
        help_heading = "Calls"
    )]
    call_duration: Option<f64>,
    /// A bad network for the media of the vendor's side, both ways: loss, reorder, duplicate in %, delay, jitter in ms, rate in
    /// kbit/s, such as loss=5,jitter=30; 100 calls at most
    #[arg(long, value_name = "PROFILE", help_heading = "Calls")]
    impairment: Option<Impairment>,
    /// So much of each call is judged
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 20.0,
        help_heading = "Judge"
    )]
    judged: f64,
    /// Judge every so manieth call; 0: none
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Judge")]
    judge_every: u32,
}

pub(super) fn run(arguments: &RunArguments) -> Result<bool, Box<dyn Error>> {
    let target = &arguments.target;
    prepare(&target.load_cores)?;
    let duration = seconds("--duration", arguments.duration)?;
    let plan = RunPlan {
        ramp: seconds("--ramp", arguments.ramp)?,
        call_duration: arguments
            .call_duration
            .map(|duration| seconds("--call-duration", duration))
            .transpose()?,
        judged: seconds("--judged", arguments.judged)?,
        judge_every: arguments.judge_every,
        impairment: arguments.impairment.clone(),
        ..target.plan(arguments.calls, arguments.setup_rate, duration)
    };
    let view = LiveView::start(target.quiet, &plan);
    let report = measure(target, &[], &plan, &view)?;
    if let Some(file) = &target.json {
        fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(file) = &target.html {
        fs::write(file, html::page(&report))?;
    }
    print!("{}", summary::summary(&report));
    Ok(Verdict::of(&report).outcome() != Outcome::Failed)
}

/// One run against the target, shown as it goes; `shards_lines` are for a spawned gateway besides the user's own.
pub(super) fn measure(
    target: &TargetArguments,
    shards_lines: &[String],
    plan: &RunPlan,
    view: &LiveView,
) -> Result<Report, Box<dyn Error>> {
    let (gateway, under_test) = open_target(target, shards_lines)?;
    let on_sample = {
        let view = view.clone();
        move |sample: &Sample, last: Option<&Sample>| view.sample(sample, last)
    };
    let report = run::run(plan, under_test, on_sample, |phase| view.phase(phase));
    view.finish();
    drop(gateway);
    Ok(report?)
}

impl TargetArguments {
    /// So many calls that are up for so long; all else by default.
    pub(super) fn plan(&self, calls: u32, setups_per_s: f64, duration: Duration) -> RunPlan {
        RunPlan {
            scenario: self.scenario,
            calls,
            setups_per_s,
            ramp: Duration::ZERO,
            duration,
            call_duration: None,
            seed: self.seed,
            judged: duration,
            judge_every: 1,
            impairment: None,
            load_cores: self.load_cores.clone(),
            local_ip: self.local_ip,
            warm_up_calls: WARM_UP_CALLS,
            notes: notes(self),
        }
    }
}

/// Binds this process to its cores and takes as many file descriptors as it may.
pub(super) fn prepare(load_cores: &[usize]) -> Result<(), Box<dyn Error>> {
    host::raise_open_files();
    host::pin(load_cores).map_err(|error| format!("--load-cores: {error}"))?;
    Ok(())
}

pub(super) fn seconds(option: &str, value: f64) -> Result<Duration, Box<dyn Error>> {
    Duration::try_from_secs_f64(value).map_err(|error| format!("{option} {value}: {error}").into())
}

/// What else stands in a report's settings.
fn notes(target: &TargetArguments) -> Vec<(String, String)> {
    let mut notes = Vec::new();
    if target.spawn {
        notes.push((
            "gateway_cores".to_owned(),
            format!("{:?}", target.gateway_cores),
        ));
        for line in &target.shards_line {
            notes.push(("shards.toml".to_owned(), line.clone()));
        }
    } else if let Some(url) = &target.url {
        notes.push(("url".to_owned(), url.clone()));
    }
    notes
}

/// The gateway under test; the one that was spawned ends when it is dropped.
fn open_target(
    arguments: &TargetArguments,
    shards_lines: &[String],
) -> Result<(Option<Gateway>, Target), Box<dyn Error>> {
    let sip_socket = match arguments.scenario.far_end() {
        FarEnd::Sip => Some(
            UdpSocket::bind(arguments.sip_listen)
                .map_err(|error| format!("--sip-listen {}: {error}", arguments.sip_listen))?,
        ),
        FarEnd::Echo => None,
    };
    if arguments.spawn {
        let plan = SpawnPlan {
            scenario: arguments.scenario,
            cores: arguments.gateway_cores.clone(),
            shards_lines: [&arguments.shards_line, shards_lines].concat(),
            far_end: sip_socket.as_ref().map(UdpSocket::local_addr).transpose()?,
            trunk_lines: Vec::new(),
        };
        let (gateway, target) = spawned(&plan, arguments.origin.as_deref(), sip_socket)?;
        return Ok((Some(gateway), target));
    }
    let missing = |option: &str| format!("{option} is missing");
    let tenant = arguments
        .tenant
        .clone()
        .ok_or_else(|| missing("--tenant"))?;
    let key = arguments
        .token_key
        .as_ref()
        .ok_or_else(|| missing("--token-key"))?;
    let token_file = arguments
        .admin_token_file
        .as_ref()
        .ok_or_else(|| missing("--admin-token-file"))?;
    let admin_token = fs::read_to_string(token_file)
        .map_err(|error| format!("{}: {error}", token_file.display()))?;
    let trust = arguments
        .ca
        .clone()
        .map_or(Trust::Anybody, Trust::CertificateFile);
    let url = arguments.url.as_deref().ok_or_else(|| missing("--url"))?;
    let origin = arguments.origin.as_deref();
    let target = Target {
        endpoint: Endpoint::new(url, client_config(&trust)?)?,
        tokens: TokenSigner::from_file(key, arguments.token_kid.as_deref(), &tenant, origin)?,
        tenant,
        admin: Admin {
            address: arguments.admin.ok_or_else(|| missing("--admin"))?,
            token: admin_token.trim().to_owned(),
        },
        trunk_id: arguments.trunk.clone(),
        sip_socket,
    };
    Ok((None, target))
}

/// A fresh gateway whose trunk calls `sip_socket`.
pub(super) fn spawned(
    plan: &SpawnPlan,
    origin: Option<&str>,
    sip_socket: Option<UdpSocket>,
) -> Result<(Gateway, Target), Box<dyn Error>> {
    let gateway = spawn::spawn(plan)?;
    let target = Target {
        endpoint: Endpoint::new(&gateway.url(), client_config(&gateway.trust())?)?,
        tokens: TokenSigner::from_file(
            &gateway.file("token-key.pem"),
            None,
            spawn::TENANT,
            origin,
        )?,
        tenant: spawn::TENANT.to_owned(),
        admin: Admin {
            address: gateway.admin_addr(),
            token: fs::read_to_string(gateway.file("admin-token"))?
                .trim()
                .to_owned(),
        },
        trunk_id: None,
        sip_socket,
    };
    Ok((gateway, target))
}
