//! SIP messages as text, as far as a test's far end needs them: headers in their order, bodies as text.
//!
//! Its own reader and writer, so that a fault of the gateway's can't cancel itself out.

use std::fmt;
use std::net::SocketAddr;

/// What RFC 3261 section 7.3.3 and its successors abbreviate.
const COMPACT: [(&str, &str); 12] = [
    ("b", "Referred-By"),
    ("c", "Content-Type"),
    ("e", "Content-Encoding"),
    ("f", "From"),
    ("i", "Call-ID"),
    ("k", "Supported"),
    ("l", "Content-Length"),
    ("m", "Contact"),
    ("r", "Refer-To"),
    ("t", "To"),
    ("v", "Via"),
    ("x", "Session-Expires"),
];

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartLine {
    /// `METHOD uri SIP/2.0`
    Request {
        /// `INVITE` and the like.
        method: String,
        /// Whom it is for.
        uri: String,
    },
    /// `SIP/2.0 status reason`
    Response {
        /// 100 to 699.
        status: u16,
        /// For people.
        reason: String,
    },
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipMessage {
    /// The first line.
    pub start: StartLine,
    /// Names in their long form with their values, in the order of the message; `Content-Length` is made when written.
    pub headers: Vec<(String, String)>,
    /// SDP and the like.
    pub body: String,
}

impl SipMessage {
    /// A request without headers.
    pub fn request(method: &str, uri: &str) -> Self {
        Self::new(StartLine::Request {
            method: method.to_owned(),
            uri: uri.to_owned(),
        })
    }

    /// The response to a request: what RFC 3261 section 8.2.6 copies, and `to_tag` where the request has none.
    pub fn response(request: &Self, status: u16, reason: &str, to_tag: &str) -> Self {
        let mut response = Self::new(StartLine::Response {
            status,
            reason: reason.to_owned(),
        });
        for (name, value) in &request.headers {
            let value = match name.as_str() {
                "To" if tag(value).is_none() && status > 100 => format!("{value};tag={to_tag}"),
                "Via" | "From" | "To" | "Call-ID" | "CSeq" | "Record-Route" => value.clone(),
                _ => continue,
            };
            if name != "Record-Route" || (101..300).contains(&status) {
                response.headers.push((name.clone(), value));
            }
        }
        response
    }

    fn new(start: StartLine) -> Self {
        Self {
            start,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// Reads a whole message; none if it is no SIP.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut lines = head.trim_start().split("\r\n");
        let mut message = Self::new(parse_start_line(lines.next()?)?);
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            message.add_parsed(name.trim(), value.trim());
        }
        message.body = body.to_owned();
        Some(message)
    }

    fn add_parsed(&mut self, name: &str, value: &str) {
        let long = COMPACT
            .iter()
            .find(|(short, _)| short.eq_ignore_ascii_case(name))
            .map_or(name, |(_, long)| long);
        let known = [
            "CSeq",
            "Call-ID",
            "Via",
            "From",
            "To",
            "Contact",
            "Record-Route",
            "Route",
        ];
        let long = known
            .iter()
            .find(|known| known.eq_ignore_ascii_case(long))
            .unwrap_or(&long);
        // Lists of these may stand in one line (RFC 3261 section 7.3.1).
        if ["Via", "Record-Route", "Route"].contains(long) {
            for value in split_list(value) {
                self.headers.push(((*long).to_owned(), value));
            }
        } else if !long.eq_ignore_ascii_case("Content-Length") {
            self.headers.push(((*long).to_owned(), value.to_owned()));
        }
    }

    /// Where a request really came from, into its first `Via` (RFC 3581 section 4).
    pub(super) fn fill_via(&mut self, remote: SocketAddr) {
        let via = self.headers.iter_mut().find(|(name, _)| name == "Via");
        if let Some((_, via)) = via.filter(|(_, via)| via.split(';').any(|part| part == "rport")) {
            let parts: Vec<String> = via
                .split(';')
                .map(|part| match part {
                    "rport" => format!("rport={};received={}", remote.port(), remote.ip()),
                    part => part.to_owned(),
                })
                .collect();
            *via = parts.join(";");
        }
    }

    /// Adds a header at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(self, content_type: &str, body: String) -> Self {
        Self { body, ..self }.with("Content-Type", content_type)
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every header of this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The URI of a request.
    pub fn uri(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Response { .. } => None,
        }
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        match &self.start {
            StartLine::Response { status, .. } => Some(*status),
            StartLine::Request { .. } => None,
        }
    }

    /// Is it a request of this method?
    pub fn is(&self, method: &str) -> bool {
        self.method() == Some(method)
    }

    /// `Call-ID`
    pub fn call_id(&self) -> &str {
        self.header("Call-ID").unwrap_or_default()
    }

    /// The number and the method of `CSeq`.
    pub fn cseq(&self) -> (u32, &str) {
        let value = self.header("CSeq").unwrap_or_default();
        let (number, method) = value.split_once(' ').unwrap_or((value, ""));
        (number.parse().unwrap_or(0), method.trim())
    }

    /// The tag of `From`.
    pub fn from_tag(&self) -> Option<&str> {
        self.header("From").and_then(tag)
    }

    /// The tag of `To`.
    pub fn to_tag(&self) -> Option<&str> {
        self.header("To").and_then(tag)
    }

    /// The branch of the first `Via`.
    pub fn branch(&self) -> &str {
        self.header("Via")
            .and_then(|via| parameter(via, "branch"))
            .unwrap_or_default()
    }

    /// The URI in `Contact`.
    pub fn contact(&self) -> Option<String> {
        self.header("Contact").map(uri_of)
    }
}

impl fmt::Display for SipMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.start {
            StartLine::Request { method, uri } => write!(f, "{method} {uri} SIP/2.0\r\n")?,
            StartLine::Response { status, reason } => write!(f, "SIP/2.0 {status} {reason}\r\n")?,
        }
        for (name, value) in &self.headers {
            write!(f, "{name}: {value}\r\n")?;
        }
        write!(
            f,
            "Content-Length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        )
    }
}

fn parse_start_line(line: &str) -> Option<StartLine> {
    if let Some(status) = line.strip_prefix("SIP/2.0 ") {
        let (status, reason) = status.split_once(' ').unwrap_or((status, ""));
        return Some(StartLine::Response {
            status: status.parse().ok()?,
            reason: reason.to_owned(),
        });
    }
    let (method, uri) = line.strip_suffix(" SIP/2.0")?.split_once(' ')?;
    Some(StartLine::Request {
        method: method.to_owned(),
        uri: uri.to_owned(),
    })
}

/// The parts of a list, with commas in quotes and brackets left alone.
fn split_list(value: &str) -> Vec<String> {
    let (mut quoted, mut bracketed, mut start) = (false, false, 0);
    let mut parts = Vec::new();
    for (at, letter) in value.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            ',' if !quoted && !bracketed => {
                parts.push(value[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(value[start..].trim().to_owned());
    parts
}

/// A parameter of a header value, behind the address in brackets if there is one.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let parameters = value.rsplit_once('>').map_or(value, |(_, behind)| behind);
    parameters
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(known, _)| known.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn tag(value: &str) -> Option<&str> {
    parameter(value, "tag")
}

/// The URI of a name-addr or addr-spec.
pub fn uri_of(value: &str) -> String {
    let uri = match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => value.split(';').next().unwrap_or(value),
    };
    uri.trim().to_owned()
}

/// Host and port of a SIP URI, as text.
pub fn host_and_port(uri: &str) -> (String, Option<u16>) {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host_port = rest.split([';', '?']).next().unwrap_or(rest);
    match host_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') && !port.is_empty() => {
            (host.trim_matches(['[', ']']).to_owned(), port.parse().ok())
        }
        _ => (host_port.trim_matches(['[', ']']).to_owned(), None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:+1@192.0.2.1:5070;transport=udp SIP/2.0\r\n\
        v: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1, SIP/2.0/UDP 192.0.2.3;branch=z9hG4bK2\r\n\
        f: \"A, b\" <sip:a@b;x=1>;tag=1\r\nTO: sip:c@d\r\ni: 7\r\ncseq: 3 INVITE\r\nSubject: a\r\n b\r\n\
        Record-Route: <sip:p;lr>,<sip:q;lr>\r\nm: <sip:a@[::1]:5080>\r\nl: 4\r\n\r\nbody";

    #[test]
    fn a_message_is_read_and_written() {
        let message = SipMessage::parse(INVITE).unwrap();
        assert!(message.is("INVITE"));
        assert_eq!(message.all("Via").count(), 2);
        assert_eq!(message.branch(), "z9hG4bK1");
        assert_eq!((message.from_tag(), message.to_tag()), (Some("1"), None));
        assert_eq!((message.call_id(), message.cseq()), ("7", (3, "INVITE")));
        assert_eq!(message.header("subject"), Some("a b"));
        assert_eq!(message.contact().unwrap(), "sip:a@[::1]:5080");
        assert_eq!(message.body, "body");
        let written = message.to_string();
        assert!(written.ends_with("Content-Length: 4\r\n\r\nbody"));
        assert_eq!(SipMessage::parse(&written).unwrap(), message);
        assert_eq!(SipMessage::parse("GET / HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn a_response_copies_what_it_must() {
        let request = SipMessage::parse(INVITE).unwrap();
        let ok = SipMessage::response(&request, 200, "OK", "me");
        assert_eq!(ok.to_tag(), Some("me"));
        assert_eq!(
            (ok.all("Via").count(), ok.all("Record-Route").count()),
            (2, 2)
        );
        let trying = SipMessage::response(&request, 100, "Trying", "me");
        assert_eq!(
            (trying.to_tag(), trying.header("Record-Route")),
            (None, None)
        );
    }

    #[test]
    fn uris_have_hosts() {
        for (uri, host, port) in [
            (
                "sip:+1@192.0.2.1:5070;transport=udp",
                "192.0.2.1",
                Some(5070),
            ),
            ("sip:p;lr", "p", None),
            ("sips:a@[::1]:5061", "::1", Some(5061)),
            ("sip:[::1]", "::1", None),
        ] {
            assert_eq!(host_and_port(uri), (host.to_owned(), port), "{uri}");
        }
    }
}
