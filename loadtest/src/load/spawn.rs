//! A fresh gateway for one run: the real binary with a configuration that fits the scenario, bound to its cores.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::gateway::{Gateway, GatewayError, GatewaySetup};
use crate::media::AudioCodec;

use super::host;
use super::scenario::{FarEnd, Scenario};

/// The tenant of a spawned gateway.
pub const TENANT: &str = "load";

/// The first media port of a spawned gateway is one of so many even ones from here; the range ends at 32767.
const RTP_PORT_MIN: u16 = 16_384;
const RTP_STARTS: u16 = 3_000;

/// What is started.
#[derive(Debug, Clone)]
pub struct SpawnPlan {
    /// For which calls.
    pub scenario: Scenario,
    /// A shard on each; all its other threads run there too.
    pub cores: Vec<usize>,
    /// Lines of `shards.toml` besides.
    pub shards_lines: Vec<String>,
    /// Where our SIP far end listens.
    pub far_end: Option<SocketAddr>,
    /// SDES-SRTP and the like: lines of the trunk besides.
    pub trunk_lines: Vec<String>,
}

/// Starts it.
///
/// # Errors
/// [`GatewayError`]; the cores do not exist.
pub fn spawn(plan: &SpawnPlan) -> Result<Gateway, GatewayError> {
    let mut setup = GatewaySetup::new(&configuration(plan)?);
    setup.cores.clone_from(&plan.cores);
    setup.shards_lines = shards_lines(plan);
    setup.webrtc_lines = "advertised_ips = [\"127.0.0.1\"]\n".to_owned();
    setup.environment = vec![("RUST_LOG".to_owned(), "warn".to_owned())];
    host::on_cores(&plan.cores, || Gateway::start(&setup)).map_err(|error| GatewayError::Io {
        what: format!("cores {:?} for the gateway", plan.cores),
        error,
    })?
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

fn configuration(plan: &SpawnPlan) -> Result<String, GatewayError> {
    let tenant = format!(
        "[[tenants]]\ntenant_id = \"{TENANT}\"\nmax_calls = 100000\nsetups_per_s = 100000\n\
         [tenants.browser]\norigins = [\"https://load.example.com\"]\n"
    );
    let route =
        |trunk: &str| format!("[[tenants.routes]]\nvendor = \"browser\"\ntrunk_id = \"{trunk}\"\n");
    let trunk = |kind: &str| {
        format!(
            "[[trunks]]\ntrunk_id = \"{kind}\"\ntenant_id = \"{TENANT}\"\nkind = \"{kind}\"\n\
             channel_limit = 20000\n"
        )
    };
    let text = match (plan.scenario.far_end(), plan.far_end) {
        (FarEnd::Sip, Some(far_end)) => {
            let codec = match plan.scenario.codec_b() {
                AudioCodec::Opus => "OPUS",
                other => other.name(),
            };
            format!(
                "{tenant}{route}{trunk}gateway_ip = \"{ip}\"\ndestination_sbc_port = {port}\nsource_pbx_port = {own}\n\
                 rtp_start_port = {rtp}\ncodec_preferences = [\"{codec}\"]\noptions_interval_s = 0\n{more}\n",
                route = route("sip"),
                trunk = trunk("sip"),
                ip = far_end.ip(),
                port = far_end.port(),
                own = free_sip_port()?,
                // Not where another gateway of this machine begins to look.
                rtp = RTP_PORT_MIN + 2 * (crate::random_u16() % RTP_STARTS),
                more = plan.trunk_lines.join("\n"),
            )
        }
        _ => format!("{tenant}{}{}", route("echo"), trunk("echo")),
    };
    Ok(text)
}

fn free_sip_port() -> Result<u16, GatewayError> {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let free = UdpSocket::bind((ip, 0)).and_then(|socket| socket.local_addr());
    free.map(|address| address.port())
        .map_err(|error| GatewayError::Io {
            what: "a free SIP port".to_owned(),
            error,
        })
}
