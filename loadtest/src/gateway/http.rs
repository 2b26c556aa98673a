//! The little HTTP that the fixture needs: one request, one answer; and a body that stays open, line by line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// For connecting, and between two reads.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer: `/metrics` of many shards.
const BODY_BYTES_MAX: u64 = 16 << 20;
/// The most header lines.
const HEADERS_MAX: usize = 100;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// `Retry-After`, as it was sent.
    pub retry_after: Option<String>,
    /// The whole body.
    pub body: String,
}

/// One request in plain HTTP; a body is JSON.
pub(crate) fn request(
    method: &str,
    address: SocketAddr,
    path: &str,
    bearer: Option<&str>,
    body: Option<&str>,
) -> io::Result<HttpAnswer> {
    let mut reader = BufReader::new(open(address, TIMEOUT)?);
    exchange(&mut reader, method, path, bearer, body)
}

/// One GET over TLS; `server_name` must be in the certificate.
pub(super) fn get_tls(
    address: SocketAddr,
    server_name: &str,
    tls: Arc<ClientConfig>,
    path: &str,
) -> io::Result<HttpAnswer> {
    let name = ServerName::try_from(server_name.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(tls, name).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, open(address, TIMEOUT)?));
    exchange(&mut reader, "GET", path, None, None)
}

/// A GET whose body goes on: the lines as they come. `idle` is how long the body may be silent before reading gives
/// [`io::ErrorKind::WouldBlock`].
pub(crate) fn open_lines(
    address: SocketAddr,
    path: &str,
    bearer: Option<&str>,
    idle: Duration,
) -> io::Result<BufReader<TcpStream>> {
    let mut reader = BufReader::new(open(address, TIMEOUT)?);
    let (status, _) = send(&mut reader, "GET", path, bearer, None)?;
    if status != 200 {
        return Err(io::Error::other(format!("{path} answered {status}")));
    }
    reader.get_ref().set_read_timeout(Some(idle))?;
    Ok(reader)
}

fn open(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

fn exchange<S: Read + Write>(
    reader: &mut BufReader<S>,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: Option<&str>,
) -> io::Result<HttpAnswer> {
    let (status, retry_after) = send(reader, method, path, bearer, body)?;
    let mut body = Vec::new();
    match reader.take(BODY_BYTES_MAX).read_to_end(&mut body) {
        // The other side may end TLS by closing TCP.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    Ok(HttpAnswer {
        status,
        retry_after,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Sends the request and reads the head. HTTP/1.0, so that bodies are neither chunked nor kept alive.
fn send<S: Read + Write>(
    reader: &mut BufReader<S>,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: Option<&str>,
) -> io::Result<(u16, Option<String>)> {
    let authorization = bearer.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let described = body.map_or_else(String::new, |body| {
        let length = body.len();
        format!("Content-Type: application/json\r\nContent-Length: {length}\r\n")
    });
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{authorization}{described}Connection: close\r\n\r\n{body}",
        body = body.unwrap_or_default()
    );
    reader.get_mut().write_all(head.as_bytes())?;
    reader.get_mut().flush()?;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status =
        status.ok_or_else(|| io::Error::other(format!("{line:?} is no HTTP status line")))?;
    let mut retry_after = None;
    for _ in 0..HEADERS_MAX {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            return Ok((status, retry_after));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("retry-after")
        {
            retry_after = Some(value.trim().to_owned());
        }
    }
    Err(io::Error::other("too many header lines"))
}
