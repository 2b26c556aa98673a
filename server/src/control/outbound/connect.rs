//! From a host to an open stream: its addresses, TCP, TLS. Every step is bounded by one deadline.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    trust: Mutex<KnownTrust>,
    /// Who holds it reads authorities; the others wait for what comes of it.
    reads_trust: tokio::sync::Mutex<()>,
}

/// Authorities that were read.
#[derive(Default)]
struct KnownTrust {
    /// By file; none: the system's alone.
    by_file: HashMap<Option<PathBuf>, TlsTrust>,
    /// How often all was forgotten: what was read before is not kept afterwards.
    forgotten: u64,
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
            reads_trust: tokio::sync::Mutex::default(),
        }
    }
}

impl Connector {
    /// The files of authorities are read anew when they are needed next.
    pub fn forget_trust(&self) {
        let mut trust = self.trust();
        trust.by_file.clear();
        trust.forgotten += 1;
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
            true => Some(self.trust_of(ca_file).await?),
            false => None,
        };
        let (tcp, peer) = self.connect_tcp(endpoint, deadline).await?;
        // It fails when the peer is gone already, which the next step tells.
        let _ = tcp.set_nodelay(true);
        let Some(trust) = trust else {
            return Ok((Stream::Plain(tcp), peer));
        };
        let host = &endpoint.shown();
        let name = ServerName::try_from(endpoint.host.clone())
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
        let reason = match addresses.is_empty() {
            true => "no name server knows one",
            false => "its name leads to another machine, and without TLS",
        };
        let mut failed = OutboundError::NotFound {
            host: host.clone(),
            reason: reason.to_owned(),
        };
        let addresses = endpoint.reachable(addresses);
        for (index, address) in addresses.iter().enumerate() {
            // One that drops our packets must not take the time of those behind it.
            let share = deadline.share(addresses.len() - index);
            match tokio::time::timeout(share, TcpStream::connect(*address)).await {
                Ok(Ok(tcp)) => return Ok((tcp, *address)),
                Ok(Err(error)) => {
                    failed = OutboundError::Unreachable {
                        host: endpoint.shown(),
                        reason: error.to_string(),
                    };
                }
                Err(_) => {
                    failed = OutboundError::Timeout {
                        host: endpoint.shown(),
                        step: "connecting",
                        within: deadline.within,
                    };
                }
            }
        }
        Err(failed)
    }

    /// The system's authorities are many files: another thread reads them, while this one goes on with calls.
    async fn trust_of(&self, ca_file: Option<&Path>) -> Result<TlsTrust, OutboundError> {
        let key = ca_file.map(Path::to_owned);
        if let Some(trust) = self.known_trust(&key) {
            return Ok(trust);
        }
        let _reads = self.reads_trust.lock().await;
        if let Some(trust) = self.known_trust(&key) {
            return Ok(trust);
        }
        let forgotten = self.trust().forgotten;
        let file = key.clone();
        let read = move || TlsTrust::of_the_system_and(file.as_deref());
        let trust = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| OutboundError::Trust(error.to_string()))?
            .map_err(|error| OutboundError::Trust(error.to_string()))?;
        let mut known = self.trust();
        if known.forgotten == forgotten {
            if known.by_file.len() >= TRUST_MAX {
                known.by_file.clear();
            }
            known.by_file.insert(key, trust.clone());
        }
        Ok(trust)
    }

    fn known_trust(&self, key: &Option<PathBuf>) -> Option<TlsTrust> {
        self.trust().by_file.get(key).cloned()
    }

    fn trust(&self) -> MutexGuard<'_, KnownTrust> {
        // Each entry is whole, whoever panicked.
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
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
