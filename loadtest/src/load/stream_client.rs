//! Opens a WebSocket whose media goes to a media thread: TCP, TLS and the upgrade on tokio, byte by byte up to the end of the
//! head, so that nothing of what follows is lost on the way.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;

use super::media::{OpenStream, StreamSocket};
use super::signalling::{Endpoint, OpenError};

/// The longest head, and the longest body of a refusal.
const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 4 << 10;
/// How long the rest of a refusal is waited for.
const REST_WITHIN: Duration = Duration::from_millis(200);
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

impl Endpoint {
    /// TCP, TLS, the upgrade with these headers besides. No subprotocol is asked for.
    ///
    /// # Errors
    /// [`OpenError`] names the step that failed.
    pub async fn open_stream(
        &self,
        path: &str,
        headers: &[(&str, String)],
    ) -> Result<StreamSocket, OpenError> {
        let tcp = TcpStream::connect(self.address)
            .await
            .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
            .map_err(|error| OpenError::Tcp(error.to_string()))?;
        let mut tls = TlsConnector::from(Arc::clone(&self.tls))
            .connect(self.server_name.clone(), tcp)
            .await
            .map_err(|error| OpenError::Tls(error.to_string()))?;
        let failed = |error: std::io::Error| OpenError::WebSocket(error.to_string());
        let key = STANDARD.encode(
            [
                crate::random_u64().to_be_bytes(),
                crate::random_u64().to_be_bytes(),
            ]
            .concat(),
        );
        let request = self.upgrade_request(path, &key, headers);
        tls.write_all(request.as_bytes()).await.map_err(failed)?;
        tls.flush().await.map_err(failed)?;
        let mut head = Vec::new();
        let end = loop {
            if let Some(end) = end_of_head(&head) {
                break end;
            }
            if head.len() > HEAD_BYTES_MAX {
                return Err(OpenError::WebSocket(
                    "the answer's head has no end".to_owned(),
                ));
            }
            if tls.read_buf(&mut head).await.map_err(failed)? == 0 {
                return Err(OpenError::WebSocket(
                    "closed instead of an answer".to_owned(),
                ));
            }
        };
        let behind = head.split_off(end);
        let head = String::from_utf8_lossy(&head).into_owned();
        match status_of(&head) {
            Some(101) => check_accept(&head, &key)?,
            Some(status) => {
                let mut body = behind;
                // What the refusal says; it ends with the connection, or is not waited for.
                let mut rest = tls.take(BODY_BYTES_MAX as u64);
                let rest = rest.read_to_end(&mut body);
                let _ = tokio::time::timeout(REST_WITHIN, rest).await;
                return Err(OpenError::Refused {
                    status,
                    body: String::from_utf8_lossy(&body).into_owned(),
                });
            }
            None => return Err(OpenError::WebSocket("the answer is no HTTP".to_owned())),
        }
        let (tcp, tls) = tls.into_inner();
        let stream = OpenStream {
            tcp: tcp.into_std().map_err(failed)?,
            tls: Some(Connection::Client(tls)),
            head: behind,
            role: Role::Client,
        };
        stream.into_socket().map_err(failed)
    }

    fn upgrade_request(&self, path: &str, key: &str, headers: &[(&str, String)]) -> String {
        let host = self.url.split_once("://").map_or("", |(_, host)| host);
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        )
    }
}

/// Where a head ends, if it has.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let at = bytes
        .windows(END_OF_HEAD.len())
        .position(|window| window == END_OF_HEAD)?;
    Some(at + END_OF_HEAD.len())
}

/// A header of a head, by its name in any case.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(known, _)| known.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

fn status_of(head: &str) -> Option<u16> {
    head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn check_accept(head: &str, key: &str) -> Result<(), OpenError> {
    if header(head, "Sec-WebSocket-Accept") != Some(&derive_accept_key(key.as_bytes())) {
        return Err(OpenError::WebSocket(
            "Sec-WebSocket-Accept is not of our key".to_owned(),
        ));
    }
    if let Some(subprotocol) = header(head, "Sec-WebSocket-Protocol") {
        return Err(OpenError::WebSocket(format!(
            "a subprotocol was selected that nobody asked for: {subprotocol}"
        )));
    }
    Ok(())
}
