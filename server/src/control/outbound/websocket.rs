//! Dials a WebSocket: name, TCP, TLS, upgrade (RFC 6455 section 4.1), all within one time. What comes out is a stream that the
//! owner of the call drives.

use std::io;
use std::path::Path;
use std::time::Duration;

use shards::tick_stream::LiveStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::Stream;
use super::{Connector, Deadline, Endpoint, OutboundError, allow};
use crate::config::{Secret, TenantConfig};
use crate::websocket::handshake::{self, KEY_ENTROPY_LEN, Key, Response, ResponseError};

/// What is waited for last.
const UPGRADE: &str = "the WebSocket handshake";

/// Who is dialled.
#[derive(Debug, Clone)]
pub struct Dial<'a> {
    /// `wss`, or `ws` to loopback.
    pub url: &'a str,
    /// Sent as `Authorization`.
    pub bearer_token: Option<&'a Secret>,
    /// Who signs its certificate, besides the system's authorities.
    pub ca_file: Option<&'a Path>,
    /// For all of it.
    pub within: Duration,
}

impl Dial<'_> {
    /// Dials for `tenant`.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn connect(
        &self,
        connector: &Connector,
        tenant: &TenantConfig,
    ) -> Result<LiveStream, OutboundError> {
        let endpoint = Endpoint::websocket(self.url)?;
        allow(tenant, &endpoint)?;
        let deadline = Deadline::within(self.within);
        let (mut stream, peer) = connector
            .connect(&endpoint, self.ca_file, &deadline)
            .await?;
        let upgrade = self.upgrade(&endpoint, &mut stream);
        let head = deadline
            .bound(&endpoint.shown(), UPGRADE, upgrade)
            .await??;
        let (tcp, tls) = match stream {
            Stream::Plain(tcp) => (tcp, None),
            Stream::Tls(tls) => {
                let (tcp, session) = tls.into_inner();
                (tcp, Some(rustls::Connection::Client(session)))
            }
        };
        let tcp = tcp.into_std().map_err(|error| lost(&endpoint, &error))?;
        Ok(LiveStream {
            fd: tcp.into(),
            tls,
            head,
            peer,
        })
    }

    /// Asks for the upgrade; answers with what came behind the head.
    async fn upgrade(
        &self,
        endpoint: &Endpoint,
        stream: &mut Stream,
    ) -> Result<Vec<u8>, OutboundError> {
        let mut entropy = [0; KEY_ENTROPY_LEN];
        getrandom::fill(&mut entropy).map_err(|error| lost(endpoint, &io::Error::other(error)))?;
        let key = Key::new(entropy);
        let authorization = self
            .bearer_token
            .map(|token| format!("Bearer {}", token.expose()));
        let mut fields = vec![("User-Agent", super::USER_AGENT)];
        if let Some(authorization) = &authorization {
            fields.push(("Authorization", authorization));
        }
        let request = handshake::request(&endpoint.authority, &endpoint.target, &key, &fields)
            .map_err(|_| OutboundError::Url("it, or its bearer token, can't be in a request"))?;
        let sent = async {
            stream.write_all(&request).await?;
            stream.flush().await
        };
        sent.await.map_err(|error| lost(endpoint, &error))?;
        let mut received = Vec::new();
        loop {
            let read = stream.read_buf(&mut received).await;
            if read.map_err(|error| lost(endpoint, &error))? == 0 {
                let closed = "it closed the connection in the WebSocket handshake";
                return Err(lost(endpoint, &io::Error::other(closed)));
            }
            // A head without an end is refused by its length.
            match Response::parse(&received, &key) {
                Ok(None) => {}
                Ok(Some(granted)) => return Ok(received.split_off(granted.len)),
                Err(error) => return Err(refused(endpoint, &error)),
            }
        }
    }
}

fn lost(endpoint: &Endpoint, error: &io::Error) -> OutboundError {
    OutboundError::Unreachable {
        host: endpoint.shown(),
        reason: error.to_string(),
    }
}

fn refused(endpoint: &Endpoint, error: &ResponseError) -> OutboundError {
    let host = endpoint.shown();
    match error {
        ResponseError::Redirected { status, .. } => OutboundError::Redirect {
            host,
            status: *status,
        },
        ResponseError::Status {
            status: status @ 400..,
            ..
        } => OutboundError::Status {
            host,
            status: *status,
            detail: String::new(),
        },
        error => OutboundError::Malformed {
            host,
            reason: error.to_string(),
        },
    }
}
