//! Which gateway is loaded, and what its callers and far ends need: common to `run` and `find-max`.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use loadtest::gateway::Gateway;
use loadtest::load::admin::Admin;
use loadtest::load::http_service::ServiceTls;
use loadtest::load::run::{RunPlan, WARM_UP_CALLS};
use loadtest::load::scenario::{Callers, FarEnd, Scenario};
use loadtest::load::signalling::Endpoint;
use loadtest::load::spawn::{self, SpawnPlan};
use loadtest::load::target::{CallersAre, FarEndAt, Target, TwilioAccount};
use loadtest::load::token::TokenSigner;
use loadtest::signalling::{Trust, client_config};

use super::measuring::MeasuringArguments;

/// Which gateway is loaded, and from where: common to `run` and `find-max`.
#[derive(Debug, Args)]
pub(super) struct TargetArguments {
    /// Who calls whom: browser-echo, browser-sip, browser-sip-pcmu, browser-sip-opus, browser-ai, twilio-sip, twilio-ai, vapi-sip,
    /// vapi-client
    #[arg(long, value_name = "NAME", help_heading = "Calls")]
    pub(super) scenario: Scenario,
    /// Start a fresh gateway for this run, and stop it afterwards
    #[arg(long, help_heading = "Gateway", conflicts_with_all = ["url", "token_key", "admin", "twilio_token_file", "vapi_token_file", "vapi_key_file"])]
    pub(super) spawn: bool,
    /// Cores of the spawned gateway: a shard on each, everything else there too
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [0], help_heading = "Gateway")]
    pub(super) gateway_cores: Vec<usize>,
    /// A line of the spawned gateway's shards.toml; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Gateway")]
    pub(super) shards_line: Vec<String>,
    /// A gateway that runs: wss://host:port
    #[arg(long, required_unless_present = "spawn", requires_all = ["tenant", "admin"], help_heading = "Gateway")]
    url: Option<String>,
    /// Its tenant whose calls these are
    #[arg(long, help_heading = "Gateway")]
    tenant: Option<String>,
    /// Its trunk; without it the tenant's route decides
    #[arg(long, value_name = "TRUNK_ID", help_heading = "Gateway")]
    trunk: Option<String>,
    /// For pages: a private key (PEM) that signs a token for each call: the gateway's token_key_file, or with --token-kid a tenant's
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
    /// For Twilio: the account's auth token, the trunk's api_bearer_token
    #[arg(
        long,
        value_name = "FILE",
        requires = "twilio_account",
        help_heading = "Gateway"
    )]
    twilio_token_file: Option<PathBuf>,
    /// For Twilio: the tenant's account_sid
    #[arg(long, value_name = "AC...", help_heading = "Gateway")]
    twilio_account: Option<String>,
    /// For Twilio: the gateway's public_url, which it signs; without it, the URL that is dialled
    #[arg(long, value_name = "URL", help_heading = "Gateway")]
    public_url: Option<String>,
    /// For vapi-sip: the tenant's bearer_token
    #[arg(long, value_name = "FILE", help_heading = "Gateway")]
    vapi_token_file: Option<PathBuf>,
    /// For vapi-client: the tenant's api_key
    #[arg(long, value_name = "FILE", help_heading = "Gateway")]
    vapi_key_file: Option<PathBuf>,
    /// For AI agents and vapi-client: where these listen, as the trunk's inbound_ai_websocket_url or the tenant's api_url says
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:0",
        help_heading = "Gateway"
    )]
    service_listen: SocketAddr,
    /// Their certificate (PEM); without it, no TLS
    #[arg(
        long,
        value_name = "FILE",
        requires = "service_key",
        help_heading = "Gateway"
    )]
    service_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(
        long,
        value_name = "FILE",
        requires = "service_cert",
        help_heading = "Gateway"
    )]
    service_key: Option<PathBuf>,
    /// Their name in URLs
    #[arg(
        long,
        value_name = "HOST",
        default_value = "localhost",
        help_heading = "Gateway"
    )]
    service_host: String,
    /// For vapi-client: where the gateway listens for SIP, its address and the trunk's source_pbx_port
    #[arg(long, value_name = "IP:PORT", help_heading = "Gateway")]
    sip_gateway: Option<SocketAddr>,
    /// Where our SIP carrier listens: the trunk's gateway_ip and destination_sbc_port
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:0",
        help_heading = "Gateway"
    )]
    sip_listen: SocketAddr,
    /// Where the callers' media sockets are bound
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), help_heading = "Generator")]
    pub(super) local_ip: IpAddr,
    #[command(flatten)]
    pub(super) measuring: MeasuringArguments,
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
            seed: self.measuring.seed,
            judged: duration,
            judge_every: 1,
            impairment: None,
            load_cores: self.measuring.load_cores.clone(),
            local_ip: self.local_ip,
            warm_up_calls: WARM_UP_CALLS,
            notes: notes(self),
        }
    }

    /// The gateway under test; the one that was spawned ends when it is dropped.
    pub(super) fn open(
        &self,
        shards_lines: &[String],
    ) -> Result<(Option<Gateway>, Target), Box<dyn Error>> {
        if self.spawn {
            let plan = SpawnPlan {
                scenario: self.scenario,
                cores: self.gateway_cores.clone(),
                shards_lines: [&self.shards_line, shards_lines].concat(),
                sip_listen: self.sip_listen,
                origin: self.origin.clone(),
            };
            let (gateway, target) = spawn::spawn(&plan)?;
            return Ok((Some(gateway), target));
        }
        let url = wanted("--url", self.url.as_deref())?;
        let tenant = wanted("--tenant", self.tenant.as_deref())?;
        let trust = self
            .ca
            .clone()
            .map_or(Trust::Anybody, Trust::CertificateFile);
        let sip = || {
            UdpSocket::bind(self.sip_listen)
                .map_err(|error| format!("--sip-listen {}: {error}", self.sip_listen))
        };
        let callers = match self.scenario.callers() {
            Callers::Browser => {
                let key = wanted("--token-key", self.token_key.as_deref())?;
                let (kid, origin) = (self.token_kid.as_deref(), self.origin.as_deref());
                CallersAre::Browsers(Box::new(TokenSigner::from_file(key, kid, tenant, origin)?))
            }
            Callers::Twilio => CallersAre::Twilio(TwilioAccount {
                public_url: self.public_url.as_deref().unwrap_or(url).to_owned(),
                auth_token: secret("--twilio-token-file", self.twilio_token_file.as_deref())?,
                account_sid: wanted("--twilio-account", self.twilio_account.clone())?,
            }),
            Callers::VapiRelay => {
                let file = self.vapi_token_file.as_deref();
                CallersAre::VapiRelays(secret("--vapi-token-file", file)?)
            }
            Callers::Sip => CallersAre::Sip {
                socket: sip()?,
                gateway: wanted("--sip-gateway", self.sip_gateway)?,
            },
        };
        let far_end = match self.scenario.far_end() {
            FarEnd::Echo => FarEndAt::Echo,
            FarEnd::Sip => FarEndAt::Sip(sip()?),
            FarEnd::Agent(_) => FarEndAt::Agent {
                listener: self.service()?,
                tls: self.service_tls()?,
            },
            FarEnd::Vapi => FarEndAt::Vapi {
                listener: self.service()?,
                tls: self.service_tls()?,
                host: self.service_host.clone(),
                api_key: secret("--vapi-key-file", self.vapi_key_file.as_deref())?,
            },
        };
        let target = Target {
            endpoint: Endpoint::new(url, client_config(&trust)?)?,
            tenant: tenant.to_owned(),
            admin: Admin {
                address: wanted("--admin", self.admin)?,
                token: secret("--admin-token-file", self.admin_token_file.as_deref())?,
            },
            trunk_id: self.trunk.clone(),
            callers,
            far_end,
        };
        Ok((None, target))
    }

    fn service(&self) -> Result<TcpListener, String> {
        TcpListener::bind(self.service_listen)
            .map_err(|error| format!("--service-listen {}: {error}", self.service_listen))
    }

    fn service_tls(&self) -> Result<Option<ServiceTls>, Box<dyn Error>> {
        let files = self.service_cert.as_ref().zip(self.service_key.as_ref());
        files
            .map(|(certificate, key)| ServiceTls::from_files(certificate, key))
            .transpose()
    }
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

/// An option that this scenario needs.
fn wanted<T>(option: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("{option} is missing"))
}

/// The secret in a file that this scenario needs.
fn secret(option: &str, file: Option<&Path>) -> Result<String, String> {
    let file = wanted(option, file)?;
    let text = fs::read_to_string(file);
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(text.trim().to_owned())
}
