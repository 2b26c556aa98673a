//! SIP messages as they stand on the wire (RFC 3261 section 7): start line, header fields in order, body.
//!
//! A header field's value stays the text that came, so that what must be copied (Via, Record-Route, tags, URIs) is copied to
//! the byte; [`value`] reads the grammar inside of values where something depends on it. Reading is strict where
//! leniency would guess (framing, mandatory fields) and says which status a request deserves for it. Not here: what a
//! message means.

mod header;
mod parse;
pub mod value;
mod write;

pub use header::{Header, HeaderName, Headers};
pub use parse::{BODY_LEN_MAX, HEADERS_MAX, MESSAGE_LEN_MAX, ParseError};

use std::fmt;

/// A request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Asks for something.
    Request(Request),
    /// Answers a request.
    Response(Response),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// The Request-URI, as it stands.
    pub uri: String,
    /// The header fields, in order.
    pub headers: Headers,
    /// The body; its type is in Content-Type.
    pub body: Vec<u8>,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 100..=699
    pub status: StatusCode,
    /// The reason phrase.
    pub reason: String,
    /// The header fields, in order.
    pub headers: Headers,
    /// The body; its type is in Content-Type.
    pub body: Vec<u8>,
}

/// A method. Names are case-sensitive (RFC 3261 section 7.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 3261.
    Invite,
    /// RFC 3261.
    Ack,
    /// RFC 3261.
    Bye,
    /// RFC 3261.
    Cancel,
    /// RFC 3261.
    Register,
    /// RFC 3261.
    Options,
    /// RFC 3262.
    Prack,
    /// RFC 3311.
    Update,
    /// RFC 6086.
    Info,
    /// RFC 3515.
    Refer,
    /// RFC 6665.
    Notify,
    /// Any other, which we don't take.
    Other(String),
}

impl Method {
    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Info => "INFO",
            Self::Refer => "REFER",
            Self::Notify => "NOTIFY",
            Self::Other(name) => name,
        }
    }

    /// The method of that name.
    pub fn from_name(name: &str) -> Self {
        match name {
            "INVITE" => Self::Invite,
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "REGISTER" => Self::Register,
            "OPTIONS" => Self::Options,
            "PRACK" => Self::Prack,
            "UPDATE" => Self::Update,
            "INFO" => Self::Info,
            "REFER" => Self::Refer,
            "NOTIFY" => Self::Notify,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A status code, 100..=699.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode(pub u16);

impl StatusCode {
    /// 1xx.
    pub fn is_provisional(self) -> bool {
        self.0 < 200
    }

    /// 2xx.
    pub fn is_success(self) -> bool {
        (200..300).contains(&self.0)
    }

    /// 3xx.
    pub fn is_redirection(self) -> bool {
        (300..400).contains(&self.0)
    }

    /// The phrase of the registry.
    pub fn reason(self) -> &'static str {
        match self.0 {
            100 => "Trying",
            180 => "Ringing",
            183 => "Session Progress",
            200 => "OK",
            202 => "Accepted",
            302 => "Moved Temporarily",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            408 => "Request Timeout",
            413 => "Request Entity Too Large",
            414 => "Request-URI Too Long",
            415 => "Unsupported Media Type",
            416 => "Unsupported URI Scheme",
            420 => "Bad Extension",
            421 => "Extension Required",
            422 => "Session Interval Too Small",
            480 => "Temporarily Unavailable",
            481 => "Call/Transaction Does Not Exist",
            482 => "Loop Detected",
            483 => "Too Many Hops",
            484 => "Address Incomplete",
            486 => "Busy Here",
            487 => "Request Terminated",
            488 => "Not Acceptable Here",
            491 => "Request Pending",
            500 => "Server Internal Error",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            504 => "Server Time-out",
            505 => "Version Not Supported",
            513 => "Message Too Large",
            600 => "Busy Everywhere",
            603 => "Decline",
            604 => "Does Not Exist Anywhere",
            606 => "Not Acceptable",
            code => match code / 100 {
                1 => "Progress",
                2 => "Success",
                3 => "Redirection",
                4 => "Request Failure",
                5 => "Server Failure",
                _ => "Global Failure",
            },
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Request {
    /// A request without header fields.
    pub fn new(method: Method, uri: impl Into<String>) -> Self {
        Self {
            method,
            uri: uri.into(),
            headers: Headers::default(),
            body: Vec::new(),
        }
    }

    /// The CSeq number; the parser has checked it.
    pub fn cseq(&self) -> u32 {
        self.headers.cseq().map_or(0, |(number, _)| number)
    }
}

impl Response {
    /// The response to `request`, with the header fields that each has of it (RFC 3261 section 8.2.6.2): Via, From, To,
    /// Call-ID, CSeq. `to_tag` is added to a To without one.
    pub fn to(request: &Request, status: StatusCode, to_tag: Option<&str>) -> Self {
        let mut headers = Headers::default();
        for header in request.headers.iter() {
            if matches!(
                header.name,
                HeaderName::Via | HeaderName::From | HeaderName::CallId | HeaderName::CSeq
            ) {
                headers.push(header.name.clone(), header.value.clone());
            }
        }
        // A malformed request may have none.
        if let Some(to) = request.headers.get(&HeaderName::To) {
            let to = match to_tag {
                Some(tag) if value::tag(to).is_none() => format!("{to};tag={tag}"),
                _ => to.to_owned(),
            };
            headers.push(HeaderName::To, to);
        }
        Self {
            status,
            reason: status.reason().to_owned(),
            headers,
            body: Vec::new(),
        }
    }
}

impl Message {
    /// The header fields.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }
}

#[cfg(test)]
mod tests;
