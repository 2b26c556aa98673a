//! One HTTP/1.1 request and its answer, on a connection of its own: bounded in time and length, redirects are errors.

use std::path::Path;
use std::pin::pin;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use super::{Connector, Deadline, Endpoint, OutboundError};

/// The longest body of an answer, in bytes.
pub const BODY_LEN_MAX: usize = 64 << 10;

/// What of an error that somebody explains is told on, in bytes.
const DETAIL_LEN_MAX: usize = 200;

/// What is posted.
#[derive(Debug)]
pub struct Post<'a> {
    /// Where.
    pub endpoint: &'a Endpoint,
    /// Who signs its certificate, besides the system's authorities.
    pub ca_file: Option<&'a Path>,
    /// What shows who we are.
    pub authorization: Option<HeaderValue>,
    /// Of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer that is no redirect.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// At most [`BODY_LEN_MAX`].
    pub body: Bytes,
}

/// `message` is a text, or several.
#[derive(Deserialize)]
struct Explained {
    message: serde_json::Value,
}

impl Answer {
    /// 2xx
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What is told of an answer that is none: its status, and its `message` if it says why in words and without `secret`.
    pub fn refusal(&self, endpoint: &Endpoint, secret: &str) -> OutboundError {
        OutboundError::Status {
            host: endpoint.shown(),
            status: self.status,
            detail: self.detail(secret),
        }
    }

    fn detail(&self, secret: &str) -> String {
        let Ok(Explained { message }) = serde_json::from_slice(&self.body) else {
            return String::new();
        };
        let words = match message {
            serde_json::Value::String(text) => text,
            serde_json::Value::Array(several) => {
                let texts: Vec<&str> = several.iter().filter_map(|text| text.as_str()).collect();
                texts.join("; ")
            }
            _ => String::new(),
        };
        if words.is_empty() || words.contains(secret) {
            return String::new();
        }
        let mut detail = String::from(": ");
        let printable = words.chars().filter(|letter| !letter.is_control());
        for letter in printable {
            if detail.len() + letter.len_utf8() > DETAIL_LEN_MAX {
                break;
            }
            detail.push(letter);
        }
        detail
    }
}

impl Post<'_> {
    /// Posts, and reads the answer.
    ///
    /// # Errors
    /// No connection, no answer in time, one that is too long, or a redirect.
    pub async fn send(
        self,
        connector: &Connector,
        deadline: &Deadline,
    ) -> Result<Answer, OutboundError> {
        let endpoint = self.endpoint;
        let (stream, _) = connector.connect(endpoint, self.ca_file, deadline).await?;
        let request = self.request()?;
        let host = &endpoint.shown();
        let lost = |error: hyper::Error| OutboundError::Unreachable {
            host: host.clone(),
            reason: error.to_string(),
        };
        let exchange = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(lost)?;
            let mut answer = pin!(async {
                let response = sender.send_request(request).await.map_err(lost)?;
                read(host, response).await
            });
            let mut connection = pin!(connection);
            tokio::select! {
                answer = &mut answer => answer,
                // What was read before its end waits for us.
                _ = &mut connection => answer.await,
            }
        };
        deadline.bound(host, "its answer", exchange).await?
    }

    fn request(self) -> Result<Request<Full<Bytes>>, OutboundError> {
        let mut request = Request::post(&self.endpoint.target)
            .header(header::HOST, &self.endpoint.authority)
            .header(header::USER_AGENT, super::USER_AGENT)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, self.content_type);
        if let Some(authorization) = self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request
            .body(Full::new(Bytes::from(self.body)))
            .map_err(|_| OutboundError::Url("it is no HTTP request target"))
    }
}

async fn read(
    host: &str,
    response: Response<hyper::body::Incoming>,
) -> Result<Answer, OutboundError> {
    let status = response.status();
    if status.is_redirection() {
        return Err(OutboundError::Redirect {
            host: host.to_owned(),
            status: status.as_u16(),
        });
    }
    let body = Limited::new(response.into_body(), BODY_LEN_MAX)
        .collect()
        .await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => OutboundError::Malformed {
            host: host.to_owned(),
            reason: "the answer is longer than 64 KiB".to_owned(),
        },
        false => OutboundError::Unreachable {
            host: host.to_owned(),
            reason: error.to_string(),
        },
    })?;
    Ok(Answer {
        status: status.as_u16(),
        body: body.to_bytes(),
    })
}

/// `Bearer <token>`, hidden from whoever prints it. None: it can't be in a header.
pub fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

/// `Basic <user:password>` (RFC 7617), hidden likewise.
pub fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    use base64::Engine as _;
    let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    sensitive(&format!("Basic {both}"))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
