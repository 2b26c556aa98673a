//! Dials to servers on loopback, with TLS certificates made here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shards::tick_stream::{LiveStream, TickStream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::vapi::VapiCall;
use super::websocket::Dial;
use super::*;
use crate::call::dialled::VapiControl;
use crate::call::q850::Q850Cause;
use crate::config::{HostPattern, Secret, TwilioConfig, TwilioRest, VapiConfig};
use crate::control::fixtures::{call, tenant_config};
use crate::fault::Fault;

const PATIENCE: Duration = Duration::from_secs(5);
const ACCOUNT_SID: &str = "AC00000000000000000000000000000001";
const CALL_SID: &str = "CA00000000000000000000000000000002";

mod driver;
mod twilio;
mod vapi_calls;
mod websockets;

/// A certificate for `localhost` that signs itself.
struct Identity {
    directory: TempDir,
    acceptor: TlsAcceptor,
}

impl Identity {
    fn new() -> Self {
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = made.signing_key.serialize_pem();
        let config = shards::tls::server_config(made.cert.pem().as_bytes(), key.as_bytes());
        Self {
            directory,
            acceptor: TlsAcceptor::from(config.unwrap()),
        }
    }

    fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}

/// A server that takes one connection after the other.
struct Server {
    listener: TcpListener,
    identity: Identity,
}

impl Server {
    async fn new() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            identity: Identity::new(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// By the name in its certificate.
    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://localhost:{}{path}", self.address().port())
    }

    async fn accept_tcp(&self) -> TcpStream {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        accepted.unwrap().unwrap().0
    }

    async fn accept(&self, with_tls: bool) -> Box<dyn Peer> {
        let tcp = self.accept_tcp().await;
        match with_tls {
            true => Box::new(self.identity.acceptor.accept(tcp).await.unwrap()),
            false => Box::new(tcp),
        }
    }

    /// Takes a request and gives `answer`; the request, and the stream.
    async fn serve(&self, with_tls: bool, answer: &str) -> (String, Box<dyn Peer>) {
        let mut peer = self.accept(with_tls).await;
        let request = read_request(&mut peer).await;
        let answer = answer.replace("{accept}", &accept_of(&request));
        peer.write_all(answer.as_bytes()).await.unwrap();
        peer.flush().await.unwrap();
        (request, peer)
    }
}

trait Peer: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Peer for T {}

/// Head and body.
async fn read_request(peer: &mut dyn Peer) -> String {
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let len = field(head, "content-length").map_or(0, |len| len.parse().unwrap());
            if body.len() >= len {
                return text;
            }
        }
        assert!(peer.read_buf(&mut received).await.unwrap() > 0, "{text}");
    }
}

/// The value of a field of a head.
fn field(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        let is_it = found.eq_ignore_ascii_case(name);
        is_it.then(|| value.trim().to_owned())
    })
}

/// RFC 6455 section 4.2.2.
fn accept_of(request: &str) -> String {
    let key = field(request, "sec-websocket-key").unwrap_or_default();
    async_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes())
}

fn json_answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Tenant `acme`, which may dial this machine.
fn acme() -> TenantConfig {
    TenantConfig {
        outbound_hosts: vec![
            HostPattern::Name("localhost".into()),
            HostPattern::Ip("127.0.0.1".parse().unwrap()),
        ],
        ..tenant_config("acme")
    }
}

/// Writes and reads on the stream as its owner would, until so many bytes have come.
async fn exchange(live: LiveStream, write: &[u8], len: usize) -> Vec<u8> {
    let (mut stream, mut received) = TickStream::new(live).unwrap();
    stream.write(write);
    let end = tokio::time::Instant::now() + PATIENCE;
    while received.len() < len && tokio::time::Instant::now() < end {
        stream.flush().unwrap();
        stream.read(&mut received, 4096).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    received
}
