//! A small HTTP/1.1 and WebSocket server for far ends that a gateway dials: an agent, a vendor's service. TLS, or none.
//!
//! Requests one after the other on a connection, bodies by `Content-Length`, nothing else.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Connection, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;

use super::media::{OpenStream, StreamSocket};
use super::stream_client::{end_of_head, header};

/// The longest head and the longest body.
const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 1 << 20;

/// How a far end shows who it is.
#[derive(Clone)]
pub struct ServiceTls(TlsAcceptor);

impl ServiceTls {
    /// Reads a certificate and its key (PEM).
    ///
    /// # Errors
    /// The files, or what they hold.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, Box<dyn Error>> {
        let certificates =
            CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKeyDer::from_pem_file(key)?)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` and the like.
    pub method: String,
    /// With its query.
    pub path: String,
    head: String,
    /// As it came.
    pub body: Vec<u8>,
}

impl Request {
    /// A header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Does it ask for a WebSocket?
    pub fn is_upgrade(&self) -> bool {
        let upgrade = self.header("Upgrade");
        upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection of somebody who dialled us.
pub struct ServiceConnection {
    stream: Stream,
    buffered: Vec<u8>,
}

impl ServiceConnection {
    /// Takes a connection; TLS is spoken if there is any.
    ///
    /// # Errors
    /// The TLS handshake.
    pub async fn accept(tcp: TcpStream, tls: Option<&ServiceTls>) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let stream = match tls {
            Some(ServiceTls(acceptor)) => Stream::Tls(Box::new(acceptor.accept(tcp).await?)),
            None => Stream::Plain(tcp),
        };
        Ok(Self {
            stream,
            buffered: Vec::new(),
        })
    }

    /// The next request; none when the other side has closed.
    ///
    /// # Errors
    /// The connection, or something that is no HTTP.
    pub async fn request(&mut self) -> io::Result<Option<Request>> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let end = loop {
            if let Some(end) = end_of_head(&self.buffered) {
                break end;
            }
            if self.buffered.len() > HEAD_BYTES_MAX {
                return Err(wrong("the head has no end"));
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        };
        let behind = self.buffered.split_off(end);
        let head = std::mem::replace(&mut self.buffered, behind);
        let head = String::from_utf8(head).map_err(|_| wrong("the head is no text"))?;
        let length = header(&head, "Content-Length").map_or(Ok(0), str::parse::<usize>);
        let length = length.map_err(|_| wrong("Content-Length is no number"))?;
        if length > BODY_BYTES_MAX {
            return Err(wrong("the body is too long"));
        }
        while self.buffered.len() < length {
            if self.read().await? == 0 {
                return Err(wrong("closed within the body"));
            }
        }
        let behind = self.buffered.split_off(length);
        let body = std::mem::replace(&mut self.buffered, behind);
        let mut first = head.lines().next().unwrap_or_default().split(' ');
        let (Some(method), Some(path)) = (first.next(), first.next()) else {
            return Err(wrong("the first line is no request"));
        };
        Ok(Some(Request {
            method: method.to_owned(),
            path: path.to_owned(),
            head: head.clone(),
            body,
        }))
    }

    /// Answers with JSON; the connection goes on.
    ///
    /// # Errors
    /// The connection.
    pub async fn respond(&mut self, status: u16, body: &serde_json::Value) -> io::Result<()> {
        let reason = match status {
            200 => "OK",
            201 => "Created",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            _ => "Other",
        };
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.write(answer.as_bytes()).await
    }

    /// Answers an upgrade with 101; from now on it is a WebSocket.
    ///
    /// # Errors
    /// The connection, or a request without a key.
    pub async fn upgrade(mut self, request: &Request) -> io::Result<StreamSocket> {
        let key = request.header("Sec-WebSocket-Key").ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "an upgrade without a key")
        })?;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        self.write(answer.as_bytes()).await?;
        let (tcp, tls) = match self.stream {
            Stream::Plain(tcp) => (tcp, None),
            Stream::Tls(tls) => {
                let (tcp, tls) = tls.into_inner();
                (tcp, Some(Connection::Server(tls)))
            }
        };
        let stream = OpenStream {
            tcp: tcp.into_std()?,
            tls,
            head: self.buffered,
            role: Role::Server,
        };
        stream.into_socket()
    }

    async fn read(&mut self) -> io::Result<usize> {
        let stream: &mut (dyn AsyncRead + Unpin) = match &mut self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.as_mut(),
        };
        stream.read_buf(&mut self.buffered).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream: &mut (dyn AsyncWrite + Unpin) = match &mut self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.as_mut(),
        };
        stream.write_all(bytes).await?;
        stream.flush().await
    }
}
