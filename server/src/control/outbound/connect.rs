//! From a host to an open stream: its addresses, TCP, TLS. Every step is bounded by one deadline.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::sip_transport::{SipResolver, TlsTrust};
use super::{Endpoint, OutboundError};
use crate::config::SipTransport;

/// Configured files of authorities that are kept read.
const TRUST_MAX: usize = 256;

/// Opens connections. Names and authorities that were looked up once are remembered.
pub struct Connector {
    resolver: SipResolver,
    /// By file; none: the system's alone.
    trust: Mutex<HashMap<Option<PathBuf>, TlsTrust>>,
}

/// An open stream.
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// How long everything may take together.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    within: Duration,
}

impl Deadline {
    /// So long from now on.
    pub fn within(within: Duration) -> Self {
        let at = Instant::now() + within;
        Self { at, within }
    }

    /// Waits for a step, until the deadline.
    pub(super) async fn bound<T>(
        &self,
        host: &str,
        step: &'static str,
        work: impl Future<Output = T>,
    ) -> Result<T, OutboundError> {
        tokio::time::timeout_at(self.at, work)
            .await
            .map_err(|_| OutboundError::Timeout {
                host: host.to_owned(),
                step,
                within: self.within,
            })
    }

    /// As much of what is left as each of so many tries may take.
    fn share(&self, tries: usize) -> Duration {
        let left = self.at.saturating_duration_since(Instant::now());
        left / u32::try_from(tries).unwrap_or(u32::MAX).max(1)
    }
}

impl Default for Connector {
    /// Inside of a tokio runtime only.
    fn default() -> Self {
        Self {
            resolver: SipResolver::new(Vec::new()),
            trust: Mutex::default(),
        }
    }
}

impl Connector {
    /// The files of authorities are read anew when they are needed next.
    pub fn forget_trust(&self) {
        self.trust().clear();
    }

    /// Opens a connection to `endpoint`; who signs its certificate is known to the system, or stands in `ca_file`.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        ca_file: Option<&Path>,
        deadline: &Deadline,
    ) -> Result<(Stream, SocketAddr), OutboundError> {
        let trust = match endpoint.is_tls {
            true => Some(self.trust_of(ca_file)?),
            false => None,
        };
        let (tcp, peer) = self.connect_tcp(endpoint, deadline).await?;
        // It fails when the peer is gone already, which the next step tells.
        let _ = tcp.set_nodelay(true);
        let Some(trust) = trust else {
            return Ok((Stream::Plain(tcp), peer));
        };
        let host = &endpoint.host;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| OutboundError::Url("its host can't be in a certificate"))?;
        let handshake = TlsConnector::from(trust.config()).connect(name, tcp);
        let tls = deadline
            .bound(host, "the TLS handshake", handshake)
            .await?
            .map_err(|error| OutboundError::Tls {
                host: host.clone(),
                reason: error.to_string(),
            })?;
        Ok((Stream::Tls(Box::new(tls)), peer))
    }

    async fn connect_tcp(
        &self,
        endpoint: &Endpoint,
        deadline: &Deadline,
    ) -> Result<(TcpStream, SocketAddr), OutboundError> {
        let host = &endpoint.host;
        let looked_up = self
            .resolver
            .resolve(host, Some(endpoint.port), SipTransport::Tcp);
        let addresses = deadline
            .bound(host, "looking its name up", looked_up)
            .await?
            .map_err(|error| OutboundError::NotFound {
                host: host.clone(),
                reason: error.reason,
            })?;
        let mut failed = OutboundError::NotFound {
            host: host.clone(),
            reason: "no name server knows one".to_owned(),
        };
        for (index, address) in addresses.iter().enumerate() {
            // One that drops our packets must not take the time of those behind it.
            let share = deadline.share(addresses.len() - index);
            match tokio::time::timeout(share, TcpStream::connect(*address)).await {
                Ok(Ok(tcp)) => return Ok((tcp, *address)),
                Ok(Err(error)) => {
                    failed = OutboundError::Unreachable {
                        host: host.clone(),
                        reason: error.to_string(),
                    };
                }
                Err(_) => {
                    failed = OutboundError::Timeout {
                        host: host.clone(),
                        step: "connecting",
                        within: deadline.within,
                    };
                }
            }
        }
        Err(failed)
    }

    fn trust_of(&self, ca_file: Option<&Path>) -> Result<TlsTrust, OutboundError> {
        let mut known = self.trust();
        let key = ca_file.map(Path::to_owned);
        if let Some(trust) = known.get(&key) {
            return Ok(trust.clone());
        }
        let trust = TlsTrust::of_the_system_and(ca_file)
            .map_err(|error| OutboundError::Trust(error.to_string()))?;
        if known.len() >= TRUST_MAX {
            known.clear();
        }
        known.insert(key, trust.clone());
        Ok(trust)
    }

    fn trust(&self) -> std::sync::MutexGuard<'_, HashMap<Option<PathBuf>, TlsTrust>> {
        // Each entry is whole, whoever panicked.
        self.trust
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(context),
        }
    }
}
