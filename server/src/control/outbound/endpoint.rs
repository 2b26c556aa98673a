//! The URL of somebody that we dial, taken apart: HTTP or WebSocket, with TLS or without.
//!
//! A URL may be a secret (Vapi's names its call): nothing but its host is ever shown.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hyper::Uri;

use super::OutboundError;

/// The longest URL that is dialled, in bytes.
pub const URL_LEN_MAX: usize = 2048;

/// Where, and with what request target.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `https` and `wss`.
    pub is_tls: bool,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// As written, else 443 or 80.
    pub port: u16,
    /// The Host field: as written.
    pub authority: String,
    /// Path and query.
    pub target: String,
}

impl Endpoint {
    /// Reads an `https` or `http` URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn http(url: &str) -> Result<Self, OutboundError> {
        Self::parse(url, "https", "http")
    }

    /// Reads a `wss` or `ws` URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn websocket(url: &str) -> Result<Self, OutboundError> {
        Self::parse(url, "wss", "ws")
    }

    fn parse(url: &str, with_tls: &str, without: &str) -> Result<Self, OutboundError> {
        if url.len() > URL_LEN_MAX {
            return Err(OutboundError::Url("it is longer than 2048 bytes"));
        }
        // The parser's own error could quote a part of it.
        let uri: Uri = url
            .parse()
            .map_err(|_| OutboundError::Url("it can't be read"))?;
        let is_tls = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case(with_tls) => true,
            Some(scheme) if scheme.eq_ignore_ascii_case(without) => false,
            _ => return Err(OutboundError::Url("its scheme does not fit")),
        };
        let authority = uri
            .authority()
            .ok_or(OutboundError::Url("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(OutboundError::Url("it holds a user name"));
        }
        let (written, host) = (authority.as_str(), authority.host());
        let port = match written.strip_prefix(host) {
            Some("") if is_tls => 443,
            Some("") => 80,
            rest => rest
                .and_then(|rest| rest.strip_prefix(':')?.parse().ok())
                .filter(|port| *port != 0)
                .ok_or(OutboundError::Url("its port is no port"))?,
        };
        let host = host.trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(OutboundError::Url("it has no host"));
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
            authority: written.to_owned(),
            target: target.to_owned(),
        })
    }

    /// Host and port, for a person.
    pub fn shown(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Nobody on the way can listen: it is reached by TLS, or never leaves this machine.
    pub fn is_protected(&self) -> bool {
        self.is_tls || self.names_this_machine()
    }

    /// Of the addresses of its host, those that may be connected: what is allowed without TLS since it names this machine has
    /// to be on it, whatever a name server says.
    pub fn reachable(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        if !self.is_tls && self.names_this_machine() {
            addresses.retain(|address| address.ip().to_canonical().is_loopback());
        }
        addresses
    }

    fn names_this_machine(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("is_tls", &self.is_tls)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let endpoint = Endpoint::websocket("wss://agent.example.com/call?a=b").unwrap();
        assert_eq!(
            endpoint,
            Endpoint {
                is_tls: true,
                host: "agent.example.com".into(),
                port: 443,
                authority: "agent.example.com".into(),
                target: "/call?a=b".into(),
            }
        );
        let endpoint = Endpoint::http("http://[::1]:8080").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 8080));
        assert_eq!(
            (endpoint.authority.as_str(), endpoint.target.as_str()),
            ("[::1]:8080", "/")
        );
        assert_eq!(Endpoint::http("http://a").unwrap().port, 80);
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        let long = format!("wss://a/{}", "x".repeat(URL_LEN_MAX));
        for url in [
            "",
            "agent.example.com",
            "https://a",
            "wss://",
            "wss:///path",
            "wss://user@a/",
            "wss://a:0/",
            "wss://a:99999/",
            "wss://a b/",
            &long,
        ] {
            let error = Endpoint::websocket(url).unwrap_err();
            assert!(matches!(error, OutboundError::Url(_)), "{url}: {error}");
        }
    }

    #[test]
    fn what_stays_on_this_machine_needs_no_tls() {
        let protected = |url| Endpoint::websocket(url).unwrap().is_protected();
        for url in [
            "wss://a",
            "ws://localhost",
            "ws://127.9.9.9",
            "ws://[::1]:1",
        ] {
            assert!(protected(url), "{url}");
        }
        for url in ["ws://a", "ws://192.0.2.1", "ws://localhost.example.com"] {
            assert!(!protected(url), "{url}");
        }
    }

    #[test]
    fn a_name_of_this_machine_leads_to_no_other() {
        let elsewhere: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let here: SocketAddr = "[::1]:80".parse().unwrap();
        for (url, reachable) in [
            ("ws://localhost", vec![here]),
            ("wss://localhost", vec![elsewhere, here]),
            ("ws://hooks.example.com", vec![elsewhere, here]),
        ] {
            let endpoint = Endpoint::websocket(url).unwrap();
            assert_eq!(
                endpoint.reachable(vec![elsewhere, here]),
                reachable,
                "{url}"
            );
        }
    }

    #[test]
    fn a_url_shows_its_host_alone() {
        let endpoint = Endpoint::websocket("wss://a/secret-call-id/transport").unwrap();
        assert!(!format!("{endpoint:?}").contains("secret"));
        assert_eq!(endpoint.shown(), "a:443");
        assert_eq!(
            Endpoint::http("http://[::1]:8080").unwrap().shown(),
            "[::1]:8080"
        );
    }
}
