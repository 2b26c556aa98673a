//! Tenant `outbound_hosts`: which hosts the gateway dials by HTTP and WebSocket for a tenant, whoever names them.

use std::net::IpAddr;

use super::url::{is_host_name, without_brackets};

/// One entry of `outbound_hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// `"api.example.com"`, in lower case.
    Name(String),
    /// `"*.example.com"`: every name below `example.com`, at any depth, but not `example.com` itself.
    Below(String),
    /// An address.
    Ip(IpAddr),
}

impl HostPattern {
    /// Reads `"api.example.com"`, `"*.example.com"` or an address. A wildcard keeps at least two labels: nobody means all of
    /// `com`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(ip) = without_brackets(text).parse() {
            return Some(Self::Ip(ip));
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (text, false),
        };
        if !is_host_name(name) {
            return None;
        }
        let name = without_dot(name).to_ascii_lowercase();
        match below {
            false => Some(Self::Name(name)),
            true => name.contains('.').then_some(Self::Below(name)),
        }
    }

    /// Does it allow this host of a URL? Names in any case, IPv6 addresses with or without brackets.
    pub fn allows(&self, host: &str) -> bool {
        match self {
            Self::Ip(ip) => without_brackets(host)
                .parse::<IpAddr>()
                .is_ok_and(|host| host.to_canonical() == ip.to_canonical()),
            Self::Name(name) => without_dot(host).eq_ignore_ascii_case(name),
            Self::Below(domain) => {
                let host = without_dot(host);
                let Some(dot) = host.len().checked_sub(domain.len() + 1) else {
                    return false;
                };
                dot > 0
                    && host.as_bytes()[dot] == b'.'
                    && host.as_bytes()[dot + 1..].eq_ignore_ascii_case(domain.as_bytes())
            }
        }
    }
}

/// A name with the root's dot at its end is the same name.
fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_wildcards_and_addresses() {
        let name = |text: &str| Some(HostPattern::Name(text.to_owned()));
        assert_eq!(
            HostPattern::parse("API.example.com."),
            name("api.example.com")
        );
        assert_eq!(HostPattern::parse("localhost"), name("localhost"));
        let below = HostPattern::Below("example.com".to_owned());
        assert_eq!(HostPattern::parse("*.Example.com"), Some(below));
        let ip = Some(HostPattern::Ip(std::net::Ipv6Addr::LOCALHOST.into()));
        assert_eq!(HostPattern::parse("[::1]"), ip);
        assert_eq!(HostPattern::parse("::1"), ip);
        for wrong in [
            "",
            "*",
            "*.",
            "*.com",
            "a.*.com",
            "*example.com",
            "a b",
            "a.example.com:443",
            "wss://a.example.com",
            "192.0.2.300",
            "*.192.0.2.1",
        ] {
            assert_eq!(HostPattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_allows_itself_alone() {
        let name = HostPattern::Name("api.example.com".to_owned());
        for allowed in ["api.example.com", "API.Example.com", "api.example.com."] {
            assert!(name.allows(allowed), "{allowed}");
        }
        for refused in [
            "",
            ".",
            "example.com",
            "x.api.example.com",
            "api.example.com.evil.test",
            "apiXexample.com",
        ] {
            assert!(!name.allows(refused), "{refused}");
        }
    }

    #[test]
    fn a_wildcard_allows_what_is_below() {
        let below = HostPattern::Below("example.com".to_owned());
        for allowed in ["api.example.com", "a.b.Example.com", "a.example.com."] {
            assert!(below.allows(allowed), "{allowed}");
        }
        for refused in [
            "example.com",
            ".example.com",
            "evilexample.com",
            "a.example.com.evil.test",
            "\u{e4}xample.com",
            "",
        ] {
            assert!(!below.allows(refused), "{refused}");
        }
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        let ip = |text: &str| HostPattern::Ip(text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0])));
        assert!(ip("::1").allows("[0:0:0:0:0:0:0:1]"));
        assert!(ip("::1").allows("::1"));
        assert!(ip("192.0.2.1").allows("192.0.2.1"));
        assert!(ip("192.0.2.1").allows("[::ffff:192.0.2.1]"));
        assert!(!ip("192.0.2.1").allows("192.0.2.10"));
        assert!(!ip("192.0.2.1").allows("localhost"));
    }
}
