//! Tells a URL of an incoming call (`NOTIFY_AND_HANGUP`): one POST with JSON, tried once, bounded in time. Not here: signed and
//! durable webhooks.

use std::io;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::sip_transport::TlsTrust;
use super::state::IncomingWebhook;

/// The whole exchange.
const WITHIN: Duration = Duration::from_secs(5);

/// Tells `message`'s URL; how it went is logged.
pub(super) async fn tell(message: IncomingWebhook) {
    let told = match tokio::time::timeout(WITHIN, post(&message)).await {
        Ok(told) => told,
        Err(_) => Err(io::Error::other("no answer within 5 s")),
    };
    let (call_sid, tenant_id) = (message.call_sid, &message.tenant_id);
    match told {
        Ok(status) if status.is_success() => {
            tracing::debug!(%call_sid, %tenant_id, "the incoming call's webhook was told");
        }
        Ok(status) => {
            tracing::warn!(%call_sid, %tenant_id, status = status.as_u16(), "the incoming call's webhook did not take it");
        }
        Err(error) => {
            tracing::warn!(%call_sid, %tenant_id, %error, "the incoming call's webhook was not reached");
        }
    }
}

async fn post(message: &IncomingWebhook) -> io::Result<StatusCode> {
    let uri: Uri = message.url.parse().map_err(io::Error::other)?;
    let host = uri
        .host()
        .ok_or_else(|| io::Error::other("the URL has no host"))?;
    let is_https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    if !is_https {
        return exchange(stream, request).await;
    }
    let trust = TlsTrust::of_the_system().map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(trust.config());
    exchange(connector.connect(name, stream).await?, request).await
}

async fn exchange(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> io::Result<StatusCode> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let driven = tokio::spawn(connection);
    let answer = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    driven.abort();
    Ok(answer.status())
}
