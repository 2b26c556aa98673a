//! A fresh gateway for one run: the real binary with a configuration that fits the scenario, bound to its cores.

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::gateway::{Gateway, GatewaySetup};
use crate::signalling::client_config;

use super::admin::Admin;
use super::host;
use super::http_service::ServiceTls;
use super::scenario::{Callers, FarEnd, Scenario};
use super::signalling::Endpoint;
use super::spawn_config::{self, Places};
use super::target::{CallersAre, FarEndAt, Target, TwilioAccount};
use super::token::TokenSigner;

/// The tenant of a spawned gateway.
pub const TENANT: &str = "load";

/// What the far ends of a spawned gateway show it, and it them: long enough for secrets, and no secrets.
const AUTH_TOKEN: &str = "load-test-twilio-auth-token-0123456789";
const BEARER_TOKEN: &str = "load-test-vapi-relay-token-0123456789";
const API_KEY: &str = "load-test-vapi-api-key-0123456789abcdef";
/// The environment variables in which the gateway finds them.
pub(super) const AUTH_TOKEN_VARIABLE: &str = "LOADTEST_TWILIO_AUTH_TOKEN";
pub(super) const BEARER_TOKEN_VARIABLE: &str = "LOADTEST_VAPI_BEARER_TOKEN";
pub(super) const API_KEY_VARIABLE: &str = "LOADTEST_VAPI_API_KEY";
/// Twilio's account.
pub(super) const ACCOUNT_SID: &str = "AC00000000000000000000000000001dad";
/// Where far ends by WebSocket listen, as the gateway's own certificate names it: they show that.
pub(super) const SERVICE_HOST: &str = "127.0.0.1";

/// What is started.
#[derive(Debug, Clone)]
pub struct SpawnPlan {
    /// For which calls.
    pub scenario: Scenario,
    /// A shard on each; all its other threads run there too.
    pub cores: Vec<usize>,
    /// Lines of `shards.toml` besides.
    pub shards_lines: Vec<String>,
    /// Where our SIP carrier listens.
    pub sip_listen: SocketAddr,
    /// Of tokens and pages.
    pub origin: Option<String>,
}

/// Sockets of ours whose addresses stand in the configuration.
struct Sockets {
    sip: Option<UdpSocket>,
    service: Option<TcpListener>,
    /// Where the gateway shall listen for SIP.
    gateway_sip_port: u16,
}

/// Starts it; what its callers need, and the sockets that it dials.
///
/// # Errors
/// The gateway, a socket of ours, or cores that do not exist.
pub fn spawn(plan: &SpawnPlan) -> Result<(Gateway, Target), Box<dyn Error>> {
    let sockets = Sockets::bind(plan)?;
    let mut setup = GatewaySetup::new(&spawn_config::tenants_and_trunks(plan, &sockets.places()?));
    setup.cores.clone_from(&plan.cores);
    setup.shards_lines = shards_lines(plan);
    setup.webrtc_lines = "advertised_ips = [\"127.0.0.1\"]\n".to_owned();
    setup.environment = [
        ("RUST_LOG", "warn"),
        (AUTH_TOKEN_VARIABLE, AUTH_TOKEN),
        (BEARER_TOKEN_VARIABLE, BEARER_TOKEN),
        (API_KEY_VARIABLE, API_KEY),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let gateway = host::on_cores(&plan.cores, || Gateway::start(&setup))
        .map_err(|error| format!("cores {:?} for the gateway: {error}", plan.cores))??;
    let target = target(plan, &gateway, sockets)?;
    Ok((gateway, target))
}

fn target(plan: &SpawnPlan, gateway: &Gateway, sockets: Sockets) -> Result<Target, Box<dyn Error>> {
    let gateway_sip = SocketAddr::from((Ipv4Addr::LOCALHOST, sockets.gateway_sip_port));
    let tls = || ServiceTls::from_files(&gateway.file("cert.pem"), &gateway.file("key.pem"));
    let (mut sip, mut service) = (sockets.sip, sockets.service);
    let missing = || format!("{}: no socket was bound for it", plan.scenario);
    let callers = match plan.scenario.callers() {
        Callers::Browser => CallersAre::Browsers(Box::new(TokenSigner::from_file(
            &gateway.file("token-key.pem"),
            None,
            TENANT,
            plan.origin.as_deref(),
        )?)),
        Callers::Twilio => CallersAre::Twilio(TwilioAccount {
            public_url: gateway.url(),
            auth_token: AUTH_TOKEN.to_owned(),
            account_sid: ACCOUNT_SID.to_owned(),
        }),
        Callers::VapiRelay => CallersAre::VapiRelays(BEARER_TOKEN.to_owned()),
        Callers::Sip => CallersAre::Sip {
            socket: sip.take().ok_or_else(missing)?,
            gateway: gateway_sip,
        },
    };
    let far_end = match plan.scenario.far_end() {
        FarEnd::Echo => FarEndAt::Echo,
        FarEnd::Sip => FarEndAt::Sip(sip.take().ok_or_else(missing)?),
        FarEnd::Agent(_) => FarEndAt::Agent {
            listener: service.take().ok_or_else(missing)?,
            tls: Some(tls()?),
        },
        FarEnd::Vapi => FarEndAt::Vapi {
            listener: service.take().ok_or_else(missing)?,
            tls: Some(tls()?),
            host: SERVICE_HOST.to_owned(),
            api_key: API_KEY.to_owned(),
        },
    };
    Ok(Target {
        endpoint: Endpoint::new(&gateway.url(), client_config(&gateway.trust())?)?,
        tenant: TENANT.to_owned(),
        admin: Admin {
            address: gateway.admin_addr(),
            token: fs::read_to_string(gateway.file("admin-token"))?
                .trim()
                .to_owned(),
        },
        trunk_id: None,
        callers,
        far_end,
    })
}

impl Sockets {
    fn bind(plan: &SpawnPlan) -> Result<Self, Box<dyn Error>> {
        let dials = matches!(plan.scenario.far_end(), FarEnd::Agent(_) | FarEnd::Vapi);
        let sip = plan
            .scenario
            .has_sip()
            .then(|| UdpSocket::bind(plan.sip_listen));
        let service = dials.then(|| TcpListener::bind((SERVICE_HOST, 0)));
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Self {
            sip: sip
                .transpose()
                .map_err(|error| format!("{}: {error}", plan.sip_listen))?,
            service: service.transpose()?,
            gateway_sip_port: free.local_addr()?.port(),
        })
    }

    fn places(&self) -> std::io::Result<Places> {
        Ok(Places {
            sip: self.sip.as_ref().map(UdpSocket::local_addr).transpose()?,
            service: self
                .service
                .as_ref()
                .map(TcpListener::local_addr)
                .transpose()?,
            gateway_sip_port: self.gateway_sip_port,
        })
    }
}

/// Lines of `shards.toml` with which a gateway refuses no call for its load, less those whose keys are given already: what is
/// looked for is where calls suffer.
pub fn without_admission(given: &[String]) -> Vec<String> {
    let keys = given.iter().filter_map(|line| key_of(line));
    let keys: Vec<&str> = keys.collect();
    let lines = ADMISSION_OFF.iter().filter(|(key, _)| !keys.contains(key));
    lines
        .map(|(key, value)| format!("{key} = {value}"))
        .collect()
}

fn key_of(line: &str) -> Option<&str> {
    line.split('=').next().map(str::trim)
}

/// No shard is too busy, no tick too late.
const ADMISSION_OFF: [(&str, u32); 2] = [
    ("admission_busy_pct_max", 100),
    ("admission_tick_late_ms_max", 0),
];
/// All callers have one address: limits by address would measure only themselves. Each gives way to a line of the plan's.
const SHARDS: [(&str, u32); 6] = [
    ("calls_max", 20_000),
    ("connections_max", 40_000),
    ("connections_per_address_max", 40_000),
    ("connections_per_address_per_s", 40_000),
    ("handshakes_pending_max", 4_096),
    ("control_ring_slots", 65_536),
];

fn shards_lines(plan: &SpawnPlan) -> String {
    let given: Vec<&str> = plan
        .shards_lines
        .iter()
        .filter_map(|line| key_of(line))
        .collect();
    let ours = SHARDS.iter().filter(|(key, _)| !given.contains(key));
    let mut lines: String = ours
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    for line in &plan.shards_lines {
        lines.push_str(line);
        lines.push('\n');
    }
    lines.push_str(&format!("[spread]\n{TENANT} = {}\n", plan.cores.len()));
    lines
}
