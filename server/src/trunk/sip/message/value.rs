//! The grammar inside of header field values: lists, parameters, addresses, Via, SIP and tel URIs (RFC 3261 sections 7.3.1,
//! 19.1, 20; RFC 3966).

use std::net::IpAddr;

use crate::config::SipTransport;

/// The values of a list, split at commas outside of quotes and angle brackets; empty ones are passed over.
pub fn comma_separated(text: &str) -> impl Iterator<Item = &str> {
    split_outside(text, ',')
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// The parameters of a value, after its first semicolon outside of quotes and angle brackets: name and value, unquoted.
pub fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    split_outside(text, ';').skip(1).map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (name.trim(), value.trim().trim_matches('"'))
    })
}

/// The parameter of that name.
pub fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    parameters(text)
        .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The tag of a From or To.
pub fn tag(text: &str) -> Option<&str> {
    parameter(text, "tag")
}

/// Whether what is added behind it stands outside of quotes and angle brackets.
pub fn is_closed(text: &str) -> bool {
    parameters(&format!("{text};closed")).any(|(name, _)| name == "closed")
}

fn split_outside(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut in_quotes, mut in_brackets, mut escaped) = (false, false, false);
        for (at, c) in text.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if in_quotes => escaped = true,
                '"' => in_quotes = !in_quotes,
                '<' if !in_quotes => in_brackets = true,
                '>' if !in_quotes => in_brackets = false,
                _ if c == separator && !in_quotes && !in_brackets => {
                    rest = Some(&text[at + c.len_utf8()..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

/// An address with what stands before and behind it: From, To, Contact, Route, Refer-To.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name, without its quotes.
    pub display_name: Option<&'a str>,
    /// The URI, as it stands.
    pub uri: &'a str,
}

impl<'a> NameAddr<'a> {
    /// Reads `"name" <uri>;parameters` or `uri;parameters`. A name without quotes may be of any text but quotes.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let first = split_outside(text, ';').next()?;
        let (display_name, uri) = match first.rfind('<') {
            Some(open) => {
                let rest = &first[open + 1..];
                let close = rest.find('>')?;
                let name = unquoted(first[..open].trim())?;
                ((!name.is_empty()).then_some(name), &rest[..close])
            }
            // Parameters behind an address without brackets are the field's, not the URI's (RFC 3261 section 20).
            None => (None, first),
        };
        let uri = uri.trim();
        let is_uri = uri.contains(':')
            && uri.bytes().all(|byte| byte.is_ascii_graphic())
            && !uri.contains(['<', '>', '"']);
        is_uri.then_some(Self { display_name, uri })
    }
}

/// What stands in the quotes, or the text itself; none when its quotes don't fit.
fn unquoted(text: &str) -> Option<&str> {
    let Some(inner) = text.strip_prefix('"') else {
        return (!text.contains('"')).then_some(text);
    };
    let mut escaped = false;
    let close = inner.bytes().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => byte == b'"',
    })?;
    (close + 1 == inner.len()).then_some(&inner[..close])
}

/// A `sip:`, `sips:` or `tel:` URI, as far as routing and numbers need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipUri<'a> {
    /// `sips:`
    pub secure: bool,
    /// Before the `@`, or the number of a `tel:` URI; parameters of a number are left out.
    pub user: Option<&'a str>,
    /// Name, IPv4 or IPv6 address (without brackets); empty for `tel:`.
    pub host: &'a str,
    /// Behind the host.
    pub port: Option<u16>,
    /// `;name=value`, as they stand.
    parameters: &'a str,
    /// Behind `?`.
    pub headers: &'a str,
}

impl<'a> SipUri<'a> {
    /// Reads a URI; none for other schemes.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(':')?;
        if scheme.eq_ignore_ascii_case("tel") {
            let (number, parameters) = split_at(rest, ';');
            return (!number.is_empty()).then_some(Self {
                secure: false,
                user: Some(number),
                host: "",
                port: None,
                parameters,
                headers: "",
            });
        }
        let secure = scheme.eq_ignore_ascii_case("sips");
        if !secure && !scheme.eq_ignore_ascii_case("sip") {
            return None;
        }
        // The user part may hold `;` and `?`; the host can't hold `@`.
        let (user, rest) = match rest.rfind('@') {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let (rest, headers) = split_at(rest, '?');
        let (host_port, parameters) = split_at(rest, ';');
        let (host, port) = split_host_port(host_port)?;
        let user = user.map(|user| split_at(split_at(user, ';').0, ':').0);
        Some(Self {
            secure,
            user: user.filter(|user| !user.is_empty()),
            host,
            port,
            parameters,
            headers: headers.strip_prefix('?').unwrap_or(headers),
        })
    }

    /// The host as an address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters
            .split(';')
            .skip(1)
            .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// `;lr`: a loose router (RFC 3261 section 16.12).
    pub fn is_loose_router(&self) -> bool {
        self.parameter("lr").is_some()
    }

    /// The transport that it asks for.
    pub fn transport(&self) -> Option<SipTransport> {
        match self.parameter("transport") {
            _ if self.secure => Some(SipTransport::Tls),
            Some(name) if name.eq_ignore_ascii_case("tcp") => Some(SipTransport::Tcp),
            Some(name) if name.eq_ignore_ascii_case("tls") => Some(SipTransport::Tls),
            Some(name) if name.eq_ignore_ascii_case("udp") => Some(SipTransport::Udp),
            _ => None,
        }
    }
}

fn split_at(text: &str, separator: char) -> (&str, &str) {
    match text.find(separator) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    }
}

fn split_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || host.len() > 255 || !host.bytes().all(is_host_byte) {
        return None;
    }
    match port {
        Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
        None => Some((host, None)),
    }
}

/// One Via value (RFC 3261 section 20.42, RFC 3581).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via<'a> {
    /// The SIP version; we know `2.0`.
    pub version: &'a str,
    /// `UDP`, `TCP`, `TLS`, as it stands.
    pub transport: &'a str,
    /// sent-by, its host.
    pub host: &'a str,
    /// sent-by, its port.
    pub port: Option<u16>,
    /// The transaction's name.
    pub branch: Option<&'a str>,
    /// `rport`: asked for, and its value in a response.
    pub rport: Option<Option<u16>>,
    /// `received`
    pub received: Option<IpAddr>,
    /// `maddr`, which we don't follow: an amplifier.
    pub has_maddr: bool,
}

impl<'a> Via<'a> {
    /// Reads one value of a Via field.
    pub fn parse(text: &'a str) -> Option<Self> {
        let first = split_outside(text, ';').next()?.trim();
        let (protocol, sent_by) = first.rsplit_once([' ', '\t'])?;
        // Space may stand around the slashes: `SIP / 2.0 / UDP host` (RFC 4475 section 3.1.1.1).
        let mut protocol = protocol.split('/').map(str::trim);
        let (name, version, transport) = (protocol.next()?, protocol.next()?, protocol.next()?);
        if !name.eq_ignore_ascii_case("SIP") || protocol.next().is_some() {
            return None;
        }
        let (host, port) = split_host_port(sent_by.trim())?;
        let mut via = Self {
            version,
            transport,
            host,
            port,
            branch: None,
            rport: None,
            received: None,
            has_maddr: false,
        };
        for (name, value) in parameters(text) {
            match name.to_ascii_lowercase().as_str() {
                "branch" if value.len() <= 256 => via.branch = Some(value),
                "branch" => return None,
                "rport" => via.rport = Some(value.parse().ok()),
                "received" => via.received = value.trim_matches(['[', ']']).parse().ok(),
                "maddr" => via.has_maddr = true,
                _ => {}
            }
        }
        Some(via)
    }
}

/// An address as a URI's host: IPv6 in brackets.
pub fn uri_host(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Text as a quoted string.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
