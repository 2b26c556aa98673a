//! SIP trunks against each other: which share a socket, which can't, and whose an incoming call is.

use std::collections::HashMap;
use std::net::IpAddr;

use super::trunk_file::ReadTrunk;
use super::{SipTransport, SipTrunkConfig, TrunkKind};
use crate::id::TrunkId;

/// The SIP trunks that were read so far.
#[derive(Default)]
pub(super) struct SipNeighbours {
    /// By UDP or not and port: listeners at one port of TCP are neighbours, whether they speak TLS or not.
    listeners: HashMap<(bool, u16), Vec<Listener>>,
    /// The trunks that take calls, by what tells an incoming request's trunk.
    callers: HashMap<Caller, TrunkId>,
}

/// A listening socket with the first trunk that uses it.
struct Listener {
    ip: Option<IpAddr>,
    transport: SipTransport,
    trunk_id: TrunkId,
}

#[derive(PartialEq, Eq, Hash)]
struct Caller {
    transport: SipTransport,
    ip: Option<IpAddr>,
    port: u16,
    gateway_host: String,
    gateway_port: u16,
}

impl SipNeighbours {
    /// Adds a trunk, and tells what it can't share with those before it.
    pub(super) fn add(&mut self, trunk: &ReadTrunk<'_>) {
        let TrunkKind::Sip(sip) = &trunk.config.kind else {
            return;
        };
        self.add_listener(trunk, sip);
        if !sip.reject_incoming_calls {
            self.add_caller(trunk, sip);
        }
    }

    fn add_listener(&mut self, trunk: &ReadTrunk<'_>, sip: &SipTrunkConfig) {
        let place = (sip.transport == SipTransport::Udp, sip.source_pbx_port);
        let others = self.listeners.entry(place).or_default();
        let port = sip.source_pbx_port;
        for other in others.iter() {
            if other.ip == sip.internal_sip_ip {
                if other.transport == sip.transport {
                    return;
                }
                let message = format!(
                    "port {port} is that of trunk \"{}\", one with transport \"tls\", the other with \"tcp\"",
                    other.trunk_id
                );
                trunk.section.wrong_key("source_pbx_port", message);
                return;
            }
            if is_wildcard_of(other.ip, sip.internal_sip_ip)
                || is_wildcard_of(sip.internal_sip_ip, other.ip)
            {
                let message = format!(
                    "trunk \"{}\" has the same port at another internal_sip_ip, and one of both is every address",
                    other.trunk_id
                );
                trunk.section.wrong_key("source_pbx_port", message);
                return;
            }
        }
        others.push(Listener {
            ip: sip.internal_sip_ip,
            transport: sip.transport,
            trunk_id: trunk.config.trunk_id.clone(),
        });
    }

    fn add_caller(&mut self, trunk: &ReadTrunk<'_>, sip: &SipTrunkConfig) {
        let caller = Caller {
            transport: sip.transport,
            ip: sip.internal_sip_ip,
            port: sip.source_pbx_port,
            gateway_host: sip.gateway_host.to_ascii_lowercase(),
            gateway_port: sip.destination_port.unwrap_or(sip.transport.default_port()),
        };
        if let Some(other) = self.callers.get(&caller) {
            let message = format!(
                "calls from {} port {} are trunk \"{other}\"'s already; allowed: another source_pbx_port, or \
                 reject_incoming_calls = true on one of both",
                sip.gateway_host, caller.gateway_port
            );
            trunk.section.wrong_key("gateway_ip", message);
            return;
        }
        self.callers.insert(caller, trunk.config.trunk_id.clone());
    }
}

/// Does a socket at `wide` take the place of one at `narrow`?
fn is_wildcard_of(wide: Option<IpAddr>, narrow: Option<IpAddr>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(IpAddr::V6(wide)), _) => wide.is_unspecified(),
        (Some(IpAddr::V4(wide)), Some(IpAddr::V4(_))) => wide.is_unspecified(),
        (Some(IpAddr::V4(_)), _) => false,
    }
}
