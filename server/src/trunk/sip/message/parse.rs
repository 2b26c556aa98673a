//! Bytes to messages: bounded, and strict about framing and mandatory fields (RFC 3261 sections 7.3, 8.1.1, 18.3).
//!
//! A request that is wrong but tells who sent it keeps what was read of it, so that it can be answered.

use thiserror::Error;

use super::{HeaderName, Headers, Message, Method, Request, Response, StatusCode, value};

/// The longest message that is taken, in bytes.
pub const MESSAGE_LEN_MAX: usize = 64 * 1024;
/// The longest head: start line and header fields.
pub const HEAD_LEN_MAX: usize = 16 * 1024;
/// The longest body.
pub const BODY_LEN_MAX: usize = 48 * 1024;
/// The most header fields.
pub const HEADERS_MAX: usize = 128;
/// The longest Request-URI.
const URI_LEN_MAX: usize = 1024;
/// The longest method name, header field name, tag or Call-ID: they are kept.
const TOKEN_LEN_MAX: usize = 256;

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct ParseError {
    /// What was wrong, for people.
    pub reason: String,
    /// What a request deserves for it.
    pub status: StatusCode,
    /// What was read of a request, when that is enough to answer it.
    pub answerable: Option<Box<Request>>,
}

impl ParseError {
    fn new(status: u16, reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            status: StatusCode(status),
            answerable: None,
        }
    }
}

impl Message {
    /// Reads one datagram, or one message that a stream was cut into.
    ///
    /// # Errors
    /// [`ParseError`], with the status that a request deserves.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(ParseError::new(513, "the message is too long"));
        }
        let Some((head_len, body_at)) = head_end(bytes) else {
            return Err(ParseError::new(400, "the head does not end"));
        };
        let head_is_long = head_len > HEAD_LEN_MAX;
        let head = String::from_utf8_lossy(&bytes[..head_len.min(HEAD_LEN_MAX)]);
        let mut lines = head.split("\r\n").flat_map(|line| line.split('\n'));
        let start = lines.next().unwrap_or_default();
        let (headers, wrong) = read_headers(lines);
        let body = &bytes[body_at..];
        let checked = wrong
            .map_or(Ok(()), Err)
            .and_then(|()| {
                if head_is_long {
                    return Err(ParseError::new(513, "the head is too long"));
                }
                Ok(())
            })
            .and_then(|()| check_mandatory(&headers))
            .and_then(|()| read_body(&headers, body));
        if start.starts_with("SIP/") {
            let (status, reason) = read_status_line(start)?;
            let body = checked?;
            return Ok(Self::Response(Response {
                status,
                reason,
                headers,
                body,
            }));
        }
        let line = read_request_line(start);
        let method = line.as_ref().map_or_else(
            |_| start.split(' ').next().unwrap_or_default().to_owned(),
            |(method, _)| method.clone(),
        );
        let uri = line
            .as_ref()
            .map_or_else(|_| String::new(), |(_, uri)| uri.clone());
        let mut request = Request {
            method: Method::from_name(&method),
            uri,
            headers,
            body: Vec::new(),
        };
        let outcome = line.map(|_| ()).and(checked).and_then(|body| {
            request.body = body;
            check_request(&request)
        });
        match outcome {
            Ok(()) => Ok(Self::Request(request)),
            Err(mut error) => {
                let can_be_answered =
                    request.method != Method::Ack && identifies_transaction(&request.headers);
                error.answerable = can_be_answered.then(|| Box::new(request));
                Err(error)
            }
        }
    }
}

/// Where the head ends and the body begins. Bare line feeds are taken: some equipment sends them.
fn head_end(bytes: &[u8]) -> Option<(usize, usize)> {
    let crlf = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let lf = bytes.windows(2).position(|window| window == b"\n\n");
    match (crlf, lf) {
        (Some(crlf), Some(lf)) if lf < crlf => Some((lf, lf + 2)),
        (Some(crlf), _) => Some((crlf, crlf + 4)),
        (None, Some(lf)) => Some((lf, lf + 2)),
        (None, None) => None,
    }
}

fn read_status_line(line: &str) -> Result<(StatusCode, String), ParseError> {
    let mut parts = line.splitn(3, ' ');
    let version = parts.next().unwrap_or_default();
    let code = parts.next().unwrap_or_default();
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return Err(ParseError::new(505, "the version is not SIP/2.0"));
    }
    let code = code
        .parse()
        .ok()
        .filter(|code| (100..700).contains(code))
        .ok_or_else(|| ParseError::new(400, "the status code is not 100 to 699"))?;
    let reason = parts.next().unwrap_or_default().chars();
    let reason: String = reason.filter(|c| !c.is_control()).take(128).collect();
    Ok((StatusCode(code), reason.trim().to_owned()))
}

fn read_request_line(line: &str) -> Result<(String, String), ParseError> {
    let wrong = |reason| ParseError::new(400, reason);
    let mut parts = line.split(' ');
    let (Some(method), Some(uri), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong("the request line is not method, URI and version"));
    };
    if method.is_empty() || method.len() > TOKEN_LEN_MAX || !method.bytes().all(is_token_byte) {
        return Err(wrong("the method is no token"));
    }
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return Err(ParseError::new(505, "the version is not SIP/2.0"));
    }
    if uri.len() > URI_LEN_MAX {
        return Err(ParseError::new(414, "the Request-URI is too long"));
    }
    if uri.is_empty() || uri.starts_with('<') || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("the Request-URI is none"));
    }
    Ok((method.to_owned(), uri.to_owned()))
}

/// Reads the fields, unfolded; and what was wrong with the first bad one.
fn read_headers<'a>(lines: impl Iterator<Item = &'a str>) -> (Headers, Option<ParseError>) {
    let mut headers = Headers::default();
    let mut wrong = None;
    let mut pending: Option<(HeaderName, String)> = None;
    let put = |headers: &mut Headers, (name, value): (HeaderName, String)| {
        headers.push(name, value.trim().to_owned());
    };
    for line in lines {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = &mut pending {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        if let Some(field) = pending.take() {
            put(&mut headers, field);
        }
        if line.trim_end().is_empty() {
            continue;
        }
        if headers.len() >= HEADERS_MAX {
            wrong.get_or_insert_with(|| ParseError::new(513, "too many header fields"));
            break;
        }
        match line.split_once(':') {
            Some((name, value)) if is_name(name.trim_end()) => {
                pending = Some((HeaderName::from_name(name.trim_end()), value.to_owned()));
            }
            _ => {
                wrong.get_or_insert_with(|| {
                    ParseError::new(400, "a header field is no name and value")
                });
            }
        }
    }
    if let Some(field) = pending.take() {
        put(&mut headers, field);
    }
    (headers, wrong)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= TOKEN_LEN_MAX && name.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Fields that every message has exactly once (RFC 3261 section 8.1.1), and what they may be.
fn check_mandatory(headers: &Headers) -> Result<(), ParseError> {
    let wrong = |reason: String| ParseError::new(400, reason);
    let single = [
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
    ];
    for name in single {
        match headers.iter().filter(|header| header.name == name).count() {
            1 => {}
            0 => return Err(wrong(format!("{name} is missing"))),
            _ => return Err(wrong(format!("{name} stands more than once"))),
        }
    }
    if headers.get(&HeaderName::Via).is_none_or(str::is_empty) {
        return Err(wrong("Via is missing".into()));
    }
    let call_id = headers.call_id();
    if call_id.is_empty() || call_id.len() > TOKEN_LEN_MAX || call_id.contains(' ') {
        return Err(wrong("Call-ID is none".into()));
    }
    let (number, _) = headers
        .cseq()
        .ok_or_else(|| wrong("CSeq is no number and method".into()))?;
    if number > i32::MAX as u32 {
        return Err(wrong("CSeq is 2^31 or more".into()));
    }
    for name in [HeaderName::From, HeaderName::To] {
        let field = headers.get(&name).unwrap_or_default();
        if value::NameAddr::parse(field).is_none() {
            return Err(wrong(format!("{name} has no address")));
        }
        if !value::is_closed(field) {
            return Err(wrong(format!("{name} has a quote that does not end")));
        }
        if value::tag(field).is_some_and(|tag| tag.is_empty() || tag.len() > TOKEN_LEN_MAX) {
            return Err(wrong(format!("the tag of {name} is none")));
        }
    }
    let via = headers.values(&HeaderName::Via).next().unwrap_or_default();
    match value::Via::parse(via) {
        None => return Err(wrong("the first Via can't be read".into())),
        Some(via) if via.version != "2.0" => {
            return Err(wrong("the first Via is of another version".into()));
        }
        // RFC 4475 section 3.1.2.1: what should stand between the semicolons may be what tells transactions apart.
        Some(_) if value::parameters(via).any(|(name, _)| name.is_empty()) => {
            return Err(wrong("the first Via has a parameter without a name".into()));
        }
        Some(_) => {}
    }
    Ok(())
}

fn check_request(request: &Request) -> Result<(), ParseError> {
    let (_, method) = request
        .headers
        .cseq()
        .ok_or_else(|| ParseError::new(400, "CSeq is no number and method"))?;
    if method != request.method {
        return Err(ParseError::new(400, "CSeq names another method"));
    }
    if request.headers.from_tag().is_none() {
        return Err(ParseError::new(400, "From has no tag"));
    }
    let max_forwards = request.headers.get(&HeaderName::MaxForwards);
    if max_forwards.is_some_and(|value| value.parse::<u8>().is_err()) {
        return Err(ParseError::new(400, "Max-Forwards is not 0 to 255"));
    }
    // RFC 3261 section 19.1.1: they are for whoever makes a request of the URI.
    if value::SipUri::parse(&request.uri).is_some_and(|uri| !uri.headers.is_empty()) {
        return Err(ParseError::new(400, "the Request-URI has header fields"));
    }
    Ok(())
}

fn read_body(headers: &Headers, rest: &[u8]) -> Result<Vec<u8>, ParseError> {
    let mut lengths = headers
        .iter()
        .filter(|header| header.name == HeaderName::ContentLength);
    let len = match (lengths.next(), lengths.next()) {
        (None, _) => rest.len(),
        (Some(length), None) => length
            .value
            .parse::<u32>()
            .map_err(|_| ParseError::new(400, "Content-Length is no number"))?
            as usize,
        (Some(_), Some(_)) => {
            return Err(ParseError::new(400, "Content-Length stands more than once"));
        }
    };
    if len > BODY_LEN_MAX {
        return Err(ParseError::new(513, "the body is too long"));
    }
    // A datagram may be longer than its message (RFC 3261 section 18.3), never shorter.
    rest.get(..len)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| ParseError::new(400, "the body is shorter than Content-Length"))
}

/// Whether a response finds its way and its request: without From, To or Call-ID too (RFC 4475 section 3.3.1).
fn identifies_transaction(headers: &Headers) -> bool {
    let via = headers.values(&HeaderName::Via).next();
    via.and_then(value::Via::parse).is_some() && headers.get(&HeaderName::CSeq).is_some()
}
