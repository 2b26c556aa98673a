//! Dialling: TCP, TLS, the upgrade with any headers.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tungstenite::HandshakeError;
use tungstenite::client::ClientRequestBuilder;
use tungstenite::http::Uri;

use super::driver::{Bytes, Socket};
use super::{StreamConnect, StreamPeerError};
use crate::signalling::client_config;

/// For each step.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn dial(connect: &StreamConnect) -> Result<Socket, StreamPeerError> {
    let failed = |error: &dyn std::fmt::Display| StreamPeerError::Connect(error.to_string());
    let uri: Uri = connect.url.parse().map_err(|error| failed(&error))?;
    let host = uri.host().unwrap_or_default().to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let address = (host.as_str(), port)
        .to_socket_addrs()?
        .find(|a| a.is_ipv4());
    let address = address.ok_or_else(|| failed(&format!("{host} has no IPv4 address")))?;
    let tcp = TcpStream::connect_timeout(&address, TIMEOUT)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(TIMEOUT))?;
    tcp.set_write_timeout(Some(TIMEOUT))?;
    let tls = client_config(&connect.trust).map_err(|error| failed(&error))?;
    let name = ServerName::try_from(host).map_err(|error| failed(&error))?;
    let connection = ClientConnection::new(Arc::clone(&tls), name).map_err(|e| failed(&e))?;
    let stream: Bytes = Box::new(StreamOwned::new(connection, tcp.try_clone()?));
    let mut request = ClientRequestBuilder::new(uri);
    for (name, value) in &connect.headers {
        request = request.with_header(name, value);
    }
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(Socket { socket, tcp }),
        Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            let body = response.body().as_deref().unwrap_or_default();
            Err(StreamPeerError::Refused {
                status: response.status().as_u16(),
                body: String::from_utf8_lossy(body).into_owned(),
            })
        }
        Err(HandshakeError::Failure(error)) => Err(failed(&error)),
        Err(HandshakeError::Interrupted(_)) => Err(failed(&"timed out")),
    }
}
