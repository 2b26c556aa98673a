//! The client's side of the upgrade (RFC 6455 section 4.1): the request that asks for it, and the response that grants it. Of the
//! server's only the answer to a key.
//!
//! A redirect is not followed: whoever may be dialled was decided before. No extension and no subprotocol is asked for,
//! so none may be granted.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest head of a response, in bytes.
pub const RESPONSE_HEAD_LEN_MAX: usize = 16 * 1024;
/// The most header lines of a response.
pub const RESPONSE_HEADERS_MAX: usize = 64;
/// Random bytes of a [`Key`].
pub const KEY_ENTROPY_LEN: usize = 16;

/// What the key is hashed with (section 1.3).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// What is told of a word that came from the far end.
const SHOWN_LEN_MAX: usize = 64;

/// The nonce of a request (`Sec-WebSocket-Key`): the response proves that it answers this request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// A key of random bytes.
    pub fn new(entropy: [u8; KEY_ENTROPY_LEN]) -> Self {
        Self(STANDARD.encode(entropy))
    }

    /// `Sec-WebSocket-Key`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `Sec-WebSocket-Accept` that answers it.
    pub fn accept(&self) -> String {
        accept_of(&self.0)
    }
}

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (section 4.2.2).
pub fn accept_of(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(ACCEPT_GUID);
    STANDARD.encode(hash.finish())
}

/// A request can't be written. The text holds no value, as it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Empty, or with a space or control character.
    #[error("the host can't be part of a request")]
    Host,
    /// Does not begin with `/`, or has a space, control character or fragment.
    #[error("the path can't be part of a request")]
    Target,
    /// No token, or a line break in its value.
    #[error("the header {0:?} can't be part of a request")]
    Header(String),
}

/// The request for `wss://{host}{target}`. `host` has its port unless that is the scheme's own; `target` is path and
/// query. `headers` are added, `Authorization` perhaps.
///
/// # Errors
/// Something would be no HTTP.
pub fn request(
    host: &str,
    target: &str,
    key: &Key,
    headers: &[(&str, &str)],
) -> Result<Vec<u8>, RequestError> {
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || host.contains(['/', '?', '#', '@']) || !is_word(host) {
        return Err(RequestError::Host);
    }
    if !target.starts_with('/') || target.contains('#') || !is_word(target) {
        return Err(RequestError::Target);
    }
    let mut head = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n",
        key.as_str()
    );
    for (name, value) in headers {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_value = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        if name.is_empty() || !name.bytes().all(is_name) || !value.bytes().all(is_value) {
            return Err(RequestError::Header((*name).to_owned()));
        }
        head.extend([*name, ": ", *value, "\r\n"]);
    }
    head.push_str("\r\n");
    Ok(head.into_bytes())
}

/// Why there is no WebSocket; what came instead is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// No HTTP/1.1.
    #[error("the answer to the upgrade is no HTTP: {0}")]
    NotHttp(#[from] httparse::Error),
    /// Above [`RESPONSE_HEAD_LEN_MAX`].
    #[error("the answer to the upgrade has no end after {RESPONSE_HEAD_LEN_MAX} bytes")]
    TooLong,
    /// 3xx.
    #[error("the upgrade was redirected ({status}){}, which is not followed", to(.origin))]
    Redirected {
        /// The status.
        status: u16,
        /// Where to: scheme and host alone, as the rest may be a secret.
        origin: Option<String>,
    },
    /// Any other status but 101.
    #[error("the upgrade was refused: {status} {reason}")]
    Status {
        /// The status.
        status: u16,
        /// Its words, shortened.
        reason: String,
    },
    /// 101, but to something else.
    #[error("the answer is 101 without `Upgrade: websocket`")]
    NoUpgrade,
    /// 101, without the word that makes it one.
    #[error("the answer is 101 without `Connection: Upgrade`")]
    NoConnection,
    /// An answer to another request, or of something that is no WebSocket server.
    #[error("the answer's Sec-WebSocket-Accept is missing or does not belong to our key")]
    WrongAccept,
    /// An extension, which nobody asked for.
    #[error("the answer agrees to the extension {0:?}, which was not offered")]
    Extension(String),
    /// A subprotocol, which nobody asked for.
    #[error("the answer selects the subprotocol {0:?}, which was not offered")]
    Subprotocol(String),
}

impl ResponseError {
    /// The status, when one came that is not 101.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Redirected { status, .. } | Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// An upgrade that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The length of its head; what follows are frames.
    pub len: usize,
}

impl Response {
    /// Reads the response to the request with `key` at the beginning of `bytes`. None: its head is not complete.
    ///
    /// # Errors
    /// There is no WebSocket; see [`ResponseError`].
    pub fn parse(bytes: &[u8], key: &Key) -> Result<Option<Self>, ResponseError> {
        let head = &bytes[..bytes.len().min(RESPONSE_HEAD_LEN_MAX)];
        let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let len = match response.parse(head)? {
            httparse::Status::Complete(len) => len,
            httparse::Status::Partial if bytes.len() >= RESPONSE_HEAD_LEN_MAX => {
                return Err(ResponseError::TooLong);
            }
            httparse::Status::Partial => return Ok(None),
        };
        let headers = Headers(response.headers);
        match response.code.unwrap_or(0) {
            101 => {}
            status @ 300..=399 => {
                let origin = headers.first("location").and_then(origin);
                return Err(ResponseError::Redirected { status, origin });
            }
            status => {
                let reason = shown(response.reason.unwrap_or("").as_bytes());
                return Err(ResponseError::Status { status, reason });
            }
        }
        if !headers.has_word("upgrade", "websocket") {
            return Err(ResponseError::NoUpgrade);
        }
        if !headers.has_word("connection", "upgrade") {
            return Err(ResponseError::NoConnection);
        }
        if headers.first("sec-websocket-accept") != Some(key.accept().as_bytes()) {
            return Err(ResponseError::WrongAccept);
        }
        if let Some(extension) = headers.first("sec-websocket-extensions") {
            return Err(ResponseError::Extension(shown(extension)));
        }
        if let Some(subprotocol) = headers.first("sec-websocket-protocol") {
            return Err(ResponseError::Subprotocol(shown(subprotocol)));
        }
        Ok(Some(Self { len }))
    }
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.0.iter();
        lines
            .filter(move |line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value.trim_ascii())
    }

    /// The value of the first such line that has one.
    fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// Whether a list of words has this one.
    fn has_word(&self, name: &str, word: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// A word of the far end as it may be told: printable and short.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(SHOWN_LEN_MAX)
        .collect()
}

/// Scheme and host of an absolute URL.
fn origin(location: &[u8]) -> Option<String> {
    let text = shown(location);
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    // Before an @ stand a name and a password.
    let host = authority.rsplit('@').next()?;
    Some(format!("{scheme}://{host}"))
}

fn to(origin: &Option<String>) -> String {
    match origin {
        Some(origin) => format!(" to {origin}"),
        None => String::new(),
    }
}
