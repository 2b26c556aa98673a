//! HTTP/1.1 request heads and the few whole answers that the front door gives. Pure.
//!
//! Only what a WebSocket upgrade and three GET pages need (RFC 9112, RFC 6455 section 4.2): no bodies, no keep-alive,
//! no chunked coding.

use serde_json::json;
use thiserror::Error;

use crate::auth::twilio_signature::{SETTINGS_HEADER, SIGNATURE_HEADER};
use crate::config::Secret;
use crate::fault::Refusal;

/// Header fields of one request; browsers send about 15.
const HEADERS_MAX: usize = 64;

/// The parts of a request head that routing and the upgrade read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHead {
    /// `GET` for everything that is served.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// `Origin`, if sent.
    pub origin: Option<String>,
    /// `Sec-WebSocket-Key` of a well-formed upgrade request; none: no upgrade was asked for.
    pub websocket_key: Option<String>,
    /// `Sec-WebSocket-Protocol`, the values of all its lines joined by commas.
    pub websocket_protocols: Option<String>,
    /// `Authorization`, if sent.
    pub authorization: Option<Secret>,
    /// `X-Twilio-Signature`, if sent.
    pub twilio_signature: Option<String>,
    /// `X-Twilio-Webhooks-Signature-Settings`, if sent.
    pub twilio_settings: Option<String>,
    /// Bytes of the head; what was read beyond belongs to the WebSocket.
    pub len: usize,
}

/// A head that can't be served. The caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeadError {
    /// Not HTTP.
    #[error("the request is not HTTP/1.1: {0}")]
    Malformed(String),
    /// An upgrade that RFC 6455 does not allow.
    #[error("the WebSocket upgrade is not valid: {0}")]
    Upgrade(&'static str),
}

/// Reads a head from the start of `bytes`; `None` while it is not complete.
///
/// # Errors
/// [`HeadError`] if no continuation of `bytes` could be served.
pub fn parse_head(bytes: &[u8]) -> Result<Option<RequestHead>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(HeadError::Malformed(error.to_string())),
    };
    let mut head = RequestHead {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        len,
        ..RequestHead::default()
    };
    let mut upgrade = Upgrade::default();
    for header in request.headers.iter() {
        let value = std::str::from_utf8(header.value)
            .map_err(|_| {
                HeadError::Malformed(format!("the value of {} is not UTF-8", header.name))
            })?
            .trim();
        head.take_header(header.name, value, &mut upgrade)?;
    }
    head.websocket_key = upgrade.key(request.version)?;
    Ok(Some(head))
}

impl RequestHead {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }

    fn take_header(
        &mut self,
        name: &str,
        value: &str,
        upgrade: &mut Upgrade,
    ) -> Result<(), HeadError> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("origin") {
            set_once(&mut self.origin, value.to_owned(), "Origin")?;
        } else if is("authorization") {
            set_once(&mut self.authorization, Secret::new(value), "Authorization")?;
        } else if is(SIGNATURE_HEADER) {
            set_once(
                &mut self.twilio_signature,
                value.to_owned(),
                SIGNATURE_HEADER,
            )?;
        } else if is(SETTINGS_HEADER) {
            set_once(&mut self.twilio_settings, value.to_owned(), SETTINGS_HEADER)?;
        } else if is("upgrade") {
            upgrade.websocket |= has_token(value, "websocket");
        } else if is("connection") {
            upgrade.connection |= has_token(value, "upgrade");
        } else if is("sec-websocket-version") {
            upgrade.version = Some(value.to_owned());
        } else if is("sec-websocket-key") {
            upgrade.key = Some(value.to_owned());
        } else if is("sec-websocket-protocol") {
            match &mut self.websocket_protocols {
                Some(all) => {
                    all.push(',');
                    all.push_str(value);
                }
                None => self.websocket_protocols = Some(value.to_owned()),
            }
        } else if is("content-length") && value != "0" || is("transfer-encoding") {
            return Err(HeadError::Malformed(
                "a request body is not taken here".into(),
            ));
        }
        Ok(())
    }
}

/// A field that decides who somebody is stands once, or two readers of one head may read two different callers.
fn set_once<T>(field: &mut Option<T>, value: T, name: &str) -> Result<(), HeadError> {
    if field.is_some() {
        return Err(HeadError::Malformed(format!("{name} stands twice")));
    }
    *field = Some(value);
    Ok(())
}

#[derive(Default)]
struct Upgrade {
    websocket: bool,
    connection: bool,
    version: Option<String>,
    key: Option<String>,
}

impl Upgrade {
    /// The key, if this is an upgrade; nothing, if it is a plain request.
    fn key(self, http_version: Option<u8>) -> Result<Option<String>, HeadError> {
        if !self.websocket {
            return Ok(None);
        }
        if http_version != Some(1) {
            return Err(HeadError::Upgrade("HTTP/1.1 is needed"));
        }
        if !self.connection {
            return Err(HeadError::Upgrade("`Connection: Upgrade` is missing"));
        }
        if self.version.as_deref() != Some("13") {
            return Err(HeadError::Upgrade("Sec-WebSocket-Version is not 13"));
        }
        match self.key {
            // 16 bytes in base64 are 24 characters.
            Some(key) if key.len() == 24 => Ok(Some(key)),
            _ => Err(HeadError::Upgrade(
                "Sec-WebSocket-Key is not 16 bytes of base64",
            )),
        }
    }
}

fn has_token(list: &str, token: &str) -> bool {
    list.split(',')
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The `101 Switching Protocols` answer; `protocol` is echoed if the caller offered one that we speak.
pub fn switching_protocols(accept_key: &str, protocol: Option<&str>) -> String {
    let protocol = protocol
        .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
        .unwrap_or_default();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept_key}\r\n{protocol}\r\n"
    )
}

/// A refusal before 101: the status and `{code,message,fault}`.
pub fn refusal_response(refusal: &Refusal) -> String {
    refusal_response_with_status(refusal, refusal.code.http_status())
}

/// The same, where HTTP has a status of its own for it (405, 431).
pub fn refusal_response_with_status(refusal: &Refusal, status: u16) -> String {
    let body = json!({
        "code": refusal.code.as_str(),
        "message": refusal.message,
        "fault": refusal.fault.as_str(),
    });
    response(status, "application/json", &body.to_string())
}

/// A whole answer that closes the connection.
pub fn response(status: u16, content_type: &str, body: &str) -> String {
    response_with(status, content_type, &[], body)
}

/// [`response`] with more header fields.
pub fn response_with(
    status: u16,
    content_type: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> String {
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Error",
    };
    let retry = if matches!(status, 429 | 503) {
        "Retry-After: 5\r\n"
    } else {
        ""
    };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{retry}{fields}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use proptest::prelude::*;

    use super::*;

    const UPGRADE: &str = "GET /signal/browser/acme?x=1 HTTP/1.1\r\nHost: gw\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nOrigin: https://app.example.com\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: clutchcall.v1, bearer.a.b.c\r\n\r\n";

    #[test]
    fn reads_an_upgrade_and_leaves_what_follows() {
        let mut bytes = UPGRADE.as_bytes().to_vec();
        bytes.extend_from_slice(b"\x81\x80abcd");
        let head = parse_head(&bytes).unwrap().unwrap();
        assert_eq!(head.path(), "/signal/browser/acme");
        assert_eq!(head.origin.as_deref(), Some("https://app.example.com"));
        assert_eq!(
            head.websocket_protocols.as_deref(),
            Some("clutchcall.v1, bearer.a.b.c")
        );
        assert_eq!(
            head.websocket_key.as_deref(),
            Some("dGhlIHNhbXBsZSBub25jZQ==")
        );
        assert_eq!(head.len, UPGRADE.len());
    }

    #[test]
    fn every_proper_prefix_is_incomplete() {
        for end in 0..UPGRADE.len() {
            assert_eq!(
                parse_head(&UPGRADE.as_bytes()[..end]),
                Ok(None),
                "prefix of {end} bytes"
            );
        }
    }

    #[test]
    fn what_decides_who_somebody_is_stands_once() {
        for name in [
            "Origin",
            "authorization",
            "x-twilio-signature",
            "X-Twilio-Webhooks-Signature-Settings",
        ] {
            let fields = |value: &str| format!("Host: gw\r\n{name}: {value}\r\n");
            let once = UPGRADE
                .replacen("Origin: https://app.example.com\r\n", "", 1)
                .replacen("Host: gw\r\n", &fields("s3cret"), 1);
            let head = parse_head(once.as_bytes()).unwrap().unwrap();
            let found = [
                head.origin.as_deref(),
                head.authorization.as_ref().map(Secret::expose),
                head.twilio_signature.as_deref(),
                head.twilio_settings.as_deref(),
            ];
            assert_eq!(found.iter().flatten().collect::<Vec<_>>(), [&"s3cret"]);
            let twice = once.replacen("Host: gw\r\n", &fields("other"), 1);
            let error = parse_head(twice.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("stands twice"), "{error}");
        }
    }

    #[test]
    fn names_what_is_wrong_with_an_upgrade() {
        let wrong = [
            (
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Version: 8",
                "not 13",
            ),
            (
                "Connection: keep-alive, Upgrade",
                "Connection: close",
                "Connection",
            ),
            ("dGhlIHNhbXBsZSBub25jZQ==", "short", "Sec-WebSocket-Key"),
            ("Host: gw", "Content-Length: 5", "body"),
            ("HTTP/1.1", "HTTP/7.1", "HTTP"),
        ];
        for (from, to, hint) in wrong {
            let error = parse_head(UPGRADE.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(hint), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse_head(&bytes);
        }
    }
}
