//! A TLS WebSocket for many calls on one thread: tokio, one task per call.
//!
//! [`crate::signalling`] is the same with a thread per socket, for tests; here thousands are open at once. Frames only: what they
//! say is the vendor's.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tungstenite::client::ClientRequestBuilder;
use tungstenite::http::Uri;
use tungstenite::protocol::WebSocketConfig;

/// An open socket.
pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// The largest frame and message of a gateway.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// `tungstenite` takes 128 KiB a socket by default.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// Where a gateway is.
#[derive(Clone)]
pub struct Endpoint {
    /// `wss://host:port`, without a path.
    pub url: String,
    /// Where that is.
    pub address: SocketAddr,
    /// The name in its certificate.
    pub server_name: ServerName<'static>,
    /// Whom to believe.
    pub tls: Arc<ClientConfig>,
}

/// Why there is no socket.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The URL is none of a gateway's.
    #[error("{0}: not wss://host[:port]")]
    Url(String),
    /// TCP.
    #[error("TCP: {0}")]
    Tcp(String),
    /// TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The gateway said no before 101.
    #[error("refused with HTTP {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The answer's body.
        body: String,
    },
    /// The WebSocket handshake.
    #[error("WebSocket: {0}")]
    WebSocket(String),
}

impl Endpoint {
    /// Reads a URL and finds its address.
    ///
    /// # Errors
    /// [`OpenError::Url`], or [`OpenError::Tcp`] for a host that nobody knows.
    pub fn new(url: &str, tls: Arc<ClientConfig>) -> Result<Self, OpenError> {
        let bad = || OpenError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("wss") {
            return Err(bad());
        }
        let host = uri.host().ok_or_else(bad)?.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(443);
        let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(host, port))
            .map_err(|error| OpenError::Tcp(format!("{host}: {error}")))?;
        // A gateway on `localhost` may listen on one family only; IPv4 is what its media candidates are in tests.
        let mut addresses: Vec<SocketAddr> = addresses.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        Ok(Self {
            address: *addresses.first().ok_or_else(bad)?,
            server_name: ServerName::try_from(host.to_owned()).map_err(|_| bad())?,
            url: url.trim_end_matches('/').to_owned(),
            tls,
        })
    }

    /// TCP, TLS, WebSocket.
    ///
    /// # Errors
    /// [`OpenError`] names the step that failed.
    pub async fn open(&self, path: &str, subprotocols: &[String]) -> Result<Socket, OpenError> {
        let tcp = TcpStream::connect(self.address)
            .await
            .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
            .map_err(|error| OpenError::Tcp(error.to_string()))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls))
            .connect(self.server_name.clone(), tcp)
            .await
            .map_err(|error| OpenError::Tls(error.to_string()))?;
        let url = format!("{}{path}", self.url);
        let uri: Uri = url.parse().map_err(|_| OpenError::Url(url.clone()))?;
        let request = subprotocols
            .iter()
            .fold(ClientRequestBuilder::new(uri), |request, subprotocol| {
                request.with_sub_protocol(subprotocol)
            });
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX));
        match tokio_tungstenite::client_async_with_config(request, tls, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => Err(OpenError::Refused {
                status: response.status().as_u16(),
                body: response
                    .body()
                    .as_deref()
                    .map(|body| String::from_utf8_lossy(body).into_owned())
                    .unwrap_or_default(),
            }),
            Err(error) => Err(OpenError::WebSocket(error.to_string())),
        }
    }
}
