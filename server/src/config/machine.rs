//! Both files against this machine: cores, and ports that the kernel would give away.
//!
//! A media port within `net.ipv4.ip_local_port_range` can be taken at any moment by an outgoing connection of another
//! program; a call would then fail now and then. So a range that meets it unreserved is refused at start.

use std::fs;
use std::io;
use std::ops::RangeInclusive;

use shards::executor::available_cores;
use thiserror::Error;

use super::{
    ConfigError, Effective, GatewayConfig, Problem, ShardsConfig, SipTransport, TrunkKind,
};

/// What the checks need to know about a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The cores on which this process may run, ascending.
    pub cores: Vec<usize>,
    /// `net.ipv4.ip_local_port_range`
    pub local_ports: RangeInclusive<u16>,
    /// `net.ipv4.ip_local_reserved_ports`
    pub reserved_ports: Vec<RangeInclusive<u16>>,
}

impl Machine {
    /// This machine. What `/proc` does not tell has the kernel's own default.
    ///
    /// # Errors
    /// The system does not tell the cores of this process.
    pub fn read() -> io::Result<Self> {
        let local_ports =
            fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let reserved =
            fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        Ok(Self {
            cores: available_cores()?,
            local_ports: parse_local_ports(&local_ports).unwrap_or(32_768..=60_999),
            reserved_ports: parse_ranges(reserved.trim()).unwrap_or_default(),
        })
    }
}

/// A port range that the kernel may give to others, with the line that keeps it free.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "ports {first} to {last} may be taken by outgoing connections (net.ipv4.ip_local_port_range); \
     reserve them: sysctl -w net.ipv4.ip_local_reserved_ports={sysctl}"
)]
pub struct UnreservedPorts {
    /// The first port at risk.
    pub first: u16,
    /// The last port at risk.
    pub last: u16,
    /// The value for the sysctl: what is reserved already, and this range.
    pub sysctl: String,
}

/// Checks that no port of `range` is in `local_range` without being in `reserved`.
///
/// # Errors
/// The ports at risk, with the sysctl that reserves the whole range.
pub fn check_port_range(
    range: RangeInclusive<u16>,
    local_range: RangeInclusive<u16>,
    reserved: &[RangeInclusive<u16>],
) -> Result<(), UnreservedPorts> {
    let at_risk = |port: &u16| {
        local_range.contains(port) && !reserved.iter().any(|reserved| reserved.contains(port))
    };
    let Some(first) = range.clone().find(at_risk) else {
        return Ok(());
    };
    let last = range.clone().rev().find(at_risk).unwrap_or(first);
    let written = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
        (start, end) if start == end => start.to_string(),
        (start, end) => format!("{start}-{end}"),
    };
    let sysctl = reserved
        .iter()
        .chain([&range])
        .map(written)
        .collect::<Vec<_>>()
        .join(",");
    Err(UnreservedPorts {
        first,
        last,
        sysctl,
    })
}

/// Checks what no file can say alone.
pub(super) fn check(
    (gateway, gateway_effective): (&GatewayConfig, &Effective),
    (shards, shards_effective): (&ShardsConfig, &Effective),
    machine: &Machine,
) -> Result<(), ConfigError> {
    let mut problems = Vec::new();
    check_cores(shards, shards_effective, machine, &mut problems);
    let webrtc_ports = check_webrtc_ports(shards, shards_effective, machine, &mut problems);
    for trunk in gateway
        .trunks
        .values()
        .filter(|trunk| matches!(trunk.kind, TrunkKind::Rtp { .. } | TrunkKind::Sip(_)))
    {
        let key = |name: &str| trunk_key(gateway_effective, trunk.trunk_id.as_str(), name);
        let rtp_ports = trunk.rtp_start_port..=trunk.rtp_end_port;
        if let Err(error) = check_port_range(
            rtp_ports.clone(),
            machine.local_ports.clone(),
            &machine.reserved_ports,
        ) {
            problems.push(gateway_effective.problem(&key("rtp_start_port"), error.to_string()));
        }
        if webrtc_ports.start() <= rtp_ports.end() && rtp_ports.start() <= webrtc_ports.end() {
            let message = format!(
                "{} to {} meets the WebRTC ports {} to {} (webrtc_udp_port_base and one per shard)",
                rtp_ports.start(),
                rtp_ports.end(),
                webrtc_ports.start(),
                webrtc_ports.end()
            );
            problems.push(gateway_effective.problem(&key("rtp_start_port"), message));
        }
        let pairs = rtp_ports
            .filter(|port| port % 2 == 0 && *port < trunk.rtp_end_port)
            .count();
        if pairs < shards.cores.len() {
            let message = format!(
                "{pairs} port pairs are not enough for {} shards",
                shards.cores.len()
            );
            problems.push(gateway_effective.problem(&key("rtp_end_port"), message));
        }
    }
    check_sip_ports(gateway, gateway_effective, &webrtc_ports, &mut problems);
    for tenant_id in shards
        .spread
        .keys()
        .filter(|tenant_id| !gateway.tenants.contains_key(*tenant_id))
    {
        let key = format!("spread.{tenant_id}");
        problems.push(shards_effective.problem(
            &key,
            format!("{} has no such tenant", gateway_effective.file.display()),
        ));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ConfigError::Invalid(problems))
    }
}

fn check_cores(
    shards: &ShardsConfig,
    effective: &Effective,
    machine: &Machine,
    problems: &mut Vec<Problem>,
) {
    let here = |core: &usize| machine.cores.contains(core);
    let allowed = &machine.cores;
    for core in shards.cores.iter().filter(|core| !here(core)) {
        problems.push(effective.problem(
            "cores",
            format!("core {core} is not there; allowed here: {allowed:?}"),
        ));
    }
    if let Some(core) = shards.control_core.filter(|core| !here(core)) {
        problems.push(effective.problem(
            "control_core",
            format!("core {core} is not there; allowed here: {allowed:?}"),
        ));
    }
}

fn check_webrtc_ports(
    shards: &ShardsConfig,
    effective: &Effective,
    machine: &Machine,
    problems: &mut Vec<Problem>,
) -> RangeInclusive<u16> {
    let key = "webrtc_udp_port_base";
    let first = shards.webrtc_udp_port_base;
    let last = usize::from(first) + shards.cores.len().saturating_sub(1);
    let Ok(last) = u16::try_from(last) else {
        problems.push(effective.problem(
            key,
            format!("leaves no port for each of {} shards", shards.cores.len()),
        ));
        return first..=u16::MAX;
    };
    if let Err(error) = check_port_range(
        first..=last,
        machine.local_ports.clone(),
        &machine.reserved_ports,
    ) {
        problems.push(effective.problem(key, error.to_string()));
    }
    first..=last
}

/// Signalling over UDP takes a port from nobody's media.
fn check_sip_ports(
    gateway: &GatewayConfig,
    effective: &Effective,
    webrtc_ports: &RangeInclusive<u16>,
    problems: &mut Vec<Problem>,
) {
    let rtp_ports: Vec<RangeInclusive<u16>> = gateway
        .trunks
        .values()
        .filter(|trunk| matches!(trunk.kind, TrunkKind::Rtp { .. } | TrunkKind::Sip(_)))
        .map(|trunk| trunk.rtp_start_port..=trunk.rtp_end_port)
        .collect();
    for trunk in gateway.trunks.values() {
        let TrunkKind::Sip(sip) = &trunk.kind else {
            continue;
        };
        let port = sip.source_pbx_port;
        let media = rtp_ports
            .iter()
            .chain([webrtc_ports])
            .find(|ports| ports.contains(&port));
        if let (SipTransport::Udp, Some(ports)) = (sip.transport, media) {
            let key = trunk_key(effective, trunk.trunk_id.as_str(), "source_pbx_port");
            let message = format!(
                "{port} is one of the media ports {} to {}",
                ports.start(),
                ports.end()
            );
            problems.push(effective.problem(&key, message));
        }
    }
}

/// The full key of a trunk's field: trunks are told apart by place in the file, and found by their id.
fn trunk_key(effective: &Effective, trunk_id: &str, name: &str) -> String {
    let quoted = super::document::quote(trunk_id);
    let entry = effective
        .settings
        .iter()
        .filter(|setting| setting.key.starts_with("trunks[") && setting.value == quoted)
        .find_map(|setting| setting.key.strip_suffix(".trunk_id"));
    format!("{}.{name}", entry.unwrap_or("trunks"))
}

/// The kernel's list format: `0-3,8`.
fn parse_ranges(list: &str) -> Option<Vec<RangeInclusive<u16>>> {
    list.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (start, end) = part.split_once('-').unwrap_or((part, part));
            Some(start.parse().ok()?..=end.parse().ok()?)
        })
        .collect()
}

/// The kernel's pair format: two numbers with white space between.
fn parse_local_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn ports_that_the_kernel_gives_away_are_refused_with_the_sysctl() {
        assert_eq!(
            check_port_range(16_384..=32_767, 32_768..=60_999, &[]),
            Ok(())
        );
        let error = check_port_range(
            16_384..=32_769,
            32_768..=60_999,
            &[8_080..=8_080, 9_000..=9_100],
        )
        .unwrap_err();
        assert_eq!((error.first, error.last), (32_768, 32_769));
        assert!(
            error
                .to_string()
                .ends_with("sysctl -w net.ipv4.ip_local_reserved_ports=8080,9000-9100,16384-32769"),
            "{error}"
        );
        assert_eq!(
            check_port_range(40_000..=40_009, 32_768..=60_999, &[40_000..=40_009]),
            Ok(())
        );
        let half =
            check_port_range(40_000..=40_009, 32_768..=60_999, &[40_000..=40_004]).unwrap_err();
        assert_eq!((half.first, half.last), (40_005, 40_009));
        assert!(check_port_range(65_535..=65_535, 1..=65_535, &[]).is_err());
    }

    #[test]
    fn kernel_formats_are_read() {
        assert_eq!(parse_local_ports("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(parse_ranges(""), Some(Vec::new()));
        assert_eq!(
            parse_ranges("8080,9000-9100"),
            Some(vec![8_080..=8_080, 9_000..=9_100])
        );
        assert!(!Machine::read().unwrap().cores.is_empty());
    }
}
