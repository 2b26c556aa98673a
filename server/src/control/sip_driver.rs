//! Joins the SIP agent with its sockets: messages in and out, names looked up, listeners that follow a reload.
//!
//! What a message means is the agent's ([`crate::trunk::sip`]), how it travels the transports' ([`super::sip_transport`]).

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::signalling::Resolve;
use super::sip_transport::{
    Arrival, ListenAddress, SipResolver, SipTransports, TlsPeer, TlsTrust, Transmit,
    local_address_towards,
};
use super::state::{ControlState, Now};
use super::thread::ControlError;
use crate::config::{GatewayConfig, SipTransport, SipTrunkConfig, TrunkKind};
use crate::id::TrunkId;
use crate::trunk::sip::agent::Received;
use crate::trunk::sip::trunk_line::Target;

/// Lookups whose answers may wait.
const RESOLVED_MAX: usize = 1024;

/// Addresses of a trunk, looked up.
type Resolved = (TrunkId, Result<Vec<Target>, String>);

/// What the driver has to hand on.
#[derive(Debug)]
pub(super) enum SipInput {
    /// From the sockets.
    Arrival(Arrival),
    /// From the resolver.
    Resolved(Resolved),
}

/// The sockets, and what goes through them.
pub(super) struct SipDriver {
    transports: SipTransports,
    arrivals: mpsc::Receiver<Arrival>,
    resolver: Arc<SipResolver>,
    resolved: (mpsc::Sender<Resolved>, mpsc::Receiver<Resolved>),
    config: Arc<GatewayConfig>,
    /// Who signs the certificates of which host.
    trust: HashMap<String, TlsTrust>,
    trusted: HashSet<IpAddr>,
    /// Listening addresses that a reload wanted and the kernel refused; tried again then.
    unbound: Vec<ListenAddress>,
    bind_again_at: Instant,
}

impl SipDriver {
    /// Opens the sockets of `config`'s SIP trunks.
    ///
    /// # Errors
    /// The first address that can't be bound, with its trunk's key.
    pub(super) fn bind(
        config: &Arc<GatewayConfig>,
        tls: &rustls::ServerConfig,
    ) -> Result<Self, (ListenAddress, io::Error)> {
        let listen = listen_addresses(config);
        let (transports, arrivals) =
            SipTransports::bind(&[], tls).map_err(|error| (any(), error))?;
        for address in listen {
            transports
                .listen(address)
                .map_err(|error| (address, error))?;
        }
        let mut driver = Self {
            transports,
            arrivals,
            resolver: Arc::new(SipResolver::new(Vec::new())),
            resolved: mpsc::channel(RESOLVED_MAX),
            config: Arc::clone(config),
            trust: HashMap::new(),
            trusted: HashSet::new(),
            unbound: Vec::new(),
            bind_again_at: Instant::now(),
        };
        driver.read_trust();
        Ok(driver)
    }

    /// The next input. Cancel-safe.
    pub(super) async fn receive(&mut self) -> SipInput {
        tokio::select! {
            Some(arrival) = self.arrivals.recv() => SipInput::Arrival(arrival),
            Some(resolved) = self.resolved.1.recv() => SipInput::Resolved(resolved),
            else => std::future::pending().await,
        }
    }

    /// Hands an input to the state, and what waits behind it.
    pub(super) fn handle(&mut self, now: Now, state: &mut ControlState, input: SipInput) {
        self.hand_on(now, state, input);
        // A burst is taken in one go, so that each message costs no turn of the loop.
        for _ in 0..BURST_MAX {
            match self.arrivals.try_recv() {
                Ok(arrival) => self.hand_on(now, state, SipInput::Arrival(arrival)),
                Err(_) => break,
            }
        }
        self.flush(now, state);
    }

    fn hand_on(&mut self, now: Now, state: &mut ControlState, input: SipInput) {
        match input {
            SipInput::Arrival(Arrival::Message(message)) => {
                let received = Received {
                    transport: message.transport,
                    local: message.local,
                    remote: message.remote,
                    connection: (message.transport != SipTransport::Udp).then_some(message.flow),
                    payload: &message.payload,
                };
                state.handle_sip_message(now, &received);
            }
            SipInput::Arrival(Arrival::Connected { .. }) => {}
            SipInput::Arrival(Arrival::Closed { remote, error, .. }) => {
                if let Some(error) = error {
                    tracing::debug!(%remote, error, "a SIP connection failed");
                    state.handle_unreachable(now, remote);
                }
            }
            SipInput::Resolved((trunk_id, found)) => {
                state.handle_resolved(now, &trunk_id, found);
                self.follow_sources(state);
            }
        }
    }

    /// Sends what waits, looks up what is asked for, and follows a reload.
    pub(super) fn flush(&mut self, now: Now, state: &mut ControlState) {
        if !Arc::ptr_eq(&self.config, state.config()) {
            self.follow_reload(now, state);
        } else if !self.unbound.is_empty() && self.bind_again_at <= now.instant {
            self.bind_unbound(now, state);
        }
        while let Some(transmit) = state.poll_transmit() {
            let remote = transmit.flow.remote;
            let tls = transmit.flow.server_name.as_deref().and_then(|name| {
                Some(TlsPeer {
                    server_name: name.to_owned(),
                    trust: self.trust.get(name)?.clone(),
                })
            });
            let sent = self.transports.send(Transmit {
                transport: transmit.flow.transport,
                source: transmit.flow.local,
                destination: remote,
                flow: transmit.flow.connection,
                tls,
                payload: Bytes::copy_from_slice(&transmit.payload),
            });
            if let Err(error) = sent {
                tracing::debug!(%remote, %error, "a SIP message was not sent");
                // Over UDP it is sent again by itself.
                if transmit.flow.is_reliable() {
                    state.handle_unreachable(now, remote);
                }
            }
        }
        while let Some(resolve) = state.poll_resolve() {
            self.resolve(resolve);
        }
        state.set_sip_discards(self.transports.discards());
    }

    fn resolve(&self, resolve: Resolve) {
        let (resolver, sender) = (Arc::clone(&self.resolver), self.resolved.0.clone());
        let listen_ip = self.internal_ip(&resolve.trunk_id);
        tokio::spawn(async move {
            let mut targets = Vec::new();
            let mut failed = None;
            for (index, host) in resolve.hosts.iter().enumerate() {
                match resolver
                    .resolve(host, resolve.port, resolve.transport)
                    .await
                {
                    Ok(addresses) => targets.extend(
                        addresses
                            .into_iter()
                            .filter_map(|remote| target(remote, listen_ip, host, index)),
                    ),
                    Err(error) => failed = Some(error.to_string()),
                }
            }
            let found = match failed {
                Some(error) if targets.is_empty() => Err(error),
                _ if targets.is_empty() => Err("there is no route to it".to_owned()),
                _ => Ok(targets),
            };
            // The control thread ends before its answers are read only when it ends for good.
            let _ = sender.send((resolve.trunk_id, found)).await;
        });
    }

    fn internal_ip(&self, trunk_id: &TrunkId) -> Option<IpAddr> {
        match &self.config.trunks.get(trunk_id)?.kind {
            TrunkKind::Sip(sip) => sip.internal_sip_ip,
            _ => None,
        }
    }

    fn follow_sources(&mut self, state: &ControlState) {
        let trusted: HashSet<IpAddr> = state.signalling().sip().sources().collect();
        if trusted != self.trusted {
            self.trusted.clone_from(&trusted);
            self.transports.set_trusted(trusted);
        }
    }

    /// A port that has just been closed may take a moment to be free.
    fn bind_unbound(&mut self, now: Now, state: &mut ControlState) {
        self.bind_again_at = now.instant + BIND_AGAIN_AFTER;
        let transports = &self.transports;
        self.unbound.retain(|listen| {
            let ListenAddress { transport, address } = *listen;
            let error = transports
                .listen(*listen)
                .err()
                .map(|error| error.to_string());
            state.handle_listen(now, transport, address, error.as_deref());
            error.is_some()
        });
    }

    fn follow_reload(&mut self, now: Now, state: &mut ControlState) {
        self.config = Arc::clone(state.config());
        if let Some(tls) = state.take_tls() {
            self.transports.set_server_tls(&tls);
        }
        let wanted: HashSet<ListenAddress> = listen_addresses(&self.config).into_iter().collect();
        for open in self.transports.listening() {
            if !wanted.contains(&open) {
                self.transports.unlisten(open);
            }
        }
        self.unbound = wanted.into_iter().collect();
        self.bind_unbound(now, state);
        self.read_trust();
    }

    fn read_trust(&mut self) {
        self.trust.clear();
        for (trunk_id, sip) in sip_trunks(&self.config) {
            if sip.transport != SipTransport::Tls {
                continue;
            }
            let trust = match &sip.tls_ca_file {
                Some(path) => TlsTrust::from_ca_file(path),
                None => TlsTrust::of_the_system(),
            };
            match trust {
                Ok(trust) => {
                    for host in sip.sbc_hosts.iter().chain([&sip.gateway_host]) {
                        self.trust.insert(host.clone(), trust.clone());
                    }
                }
                Err(error) => {
                    tracing::error!(%trunk_id, %error, "nobody can be trusted to be the trunk's far end")
                }
            }
        }
    }
}

/// How soon an address that could not be bound is tried again.
const BIND_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Messages that are handed on at once.
const BURST_MAX: usize = 256;

fn target(
    remote: SocketAddr,
    listen_ip: Option<IpAddr>,
    host: &str,
    index: usize,
) -> Option<Target> {
    let local_ip = match listen_ip.filter(|ip| !ip.is_unspecified()) {
        Some(ip) => ip,
        None => local_address_towards(remote).ok()?,
    };
    Some(Target {
        remote,
        local_ip,
        server_name: Some(Arc::from(host)),
        host: index,
    })
}

fn sip_trunks(config: &GatewayConfig) -> impl Iterator<Item = (&TrunkId, &SipTrunkConfig)> {
    config
        .trunks
        .values()
        .filter_map(|trunk| match &trunk.kind {
            TrunkKind::Sip(sip) => Some((&trunk.trunk_id, sip.as_ref())),
            _ => None,
        })
}

/// Tries each SIP address and lets it go again, so that a taken one is told before anything runs.
///
/// # Errors
/// [`ControlError::SipBind`], for the first that is taken or not ours.
pub fn check_sip_addresses(config: &GatewayConfig) -> Result<(), ControlError> {
    for ListenAddress { transport, address } in listen_addresses(config) {
        let tried = match transport {
            SipTransport::Udp => std::net::UdpSocket::bind(address).map(drop),
            SipTransport::Tcp | SipTransport::Tls => std::net::TcpListener::bind(address).map(drop),
        };
        tried.map_err(|source| ControlError::SipBind { address, source })?;
    }
    Ok(())
}

/// Each address once: trunks may share one.
fn listen_addresses(config: &GatewayConfig) -> Vec<ListenAddress> {
    let mut addresses: Vec<ListenAddress> = Vec::new();
    for (_, sip) in sip_trunks(config) {
        let ip = sip
            .internal_sip_ip
            .unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let address = ListenAddress {
            transport: sip.transport,
            address: SocketAddr::new(ip, sip.source_pbx_port),
        };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn any() -> ListenAddress {
    ListenAddress {
        transport: SipTransport::Udp,
        address: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}
