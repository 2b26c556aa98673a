//! Hosts, origins and URLs as the files write them.

use std::net::{IpAddr, Ipv6Addr};

/// The longest URI or URL, in bytes.
pub(super) const URI_LEN_MAX: usize = 1024;

pub(super) const HOST: &str = "an IPv4 or IPv6 address or a host name, without a port";

/// A URL that the gateway dials: `scheme://host[:port][/path][?query]`, without user and fragment, the host in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Url<'a> {
    pub(super) scheme: &'a str,
    /// An IPv6 address without its brackets.
    pub(super) host: &'a str,
    /// With the query; empty: the URL ends with its authority.
    pub(super) path: &'a str,
}

impl<'a> Url<'a> {
    /// Reads a URL of one of these schemes.
    pub(super) fn parse(text: &'a str, schemes: &[&str]) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let origin = text.get(..text.len() - path.len())?;
        let (host, _) = host_and_port(authority);
        let host = without_brackets(host);
        let is_path = path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"#<>\"\\".contains(&byte));
        let usable = text.len() <= URI_LEN_MAX
            && is_origin(origin, schemes)
            && parse_host(host).is_some()
            && is_path;
        usable.then_some(Self { scheme, host, path })
    }

    /// Does it lead to this machine, whatever the network does?
    pub(super) fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => self.host == "localhost",
        }
    }
}

/// Whether a text is `scheme://host[:port]` in the form in which browsers write origins (RFC 6454 section 6.2).
pub(super) fn is_origin(text: &str, schemes: &[&str]) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let (host, port) = host_and_port(authority);
    let host_ok = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        }
    };
    let port_ok = port.is_none_or(|port| {
        port.parse::<u16>()
            .is_ok_and(|number| number.to_string() == port)
    });
    schemes.contains(&scheme) && host_ok && port_ok
}

/// The host, an IPv6 address with its brackets, and the port, unread.
pub(super) fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// An address (IPv6 without brackets) or a host name, as texts in which both are looked up.
pub(super) fn parse_host(text: &str) -> Option<String> {
    let bare = without_brackets(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        let reachable = !ip.is_unspecified() && !ip.is_multicast();
        return reachable.then(|| bare.to_owned());
    }
    is_host_name(text).then(|| text.to_owned())
}

/// RFC 1123 section 2.1. What looks like an IPv4 address is none.
pub(super) fn is_host_name(text: &str) -> bool {
    const NAME_LEN_MAX: usize = 253;
    const LABEL_LEN_MAX: usize = 63;
    let is_label = |label: &str| {
        (1..=LABEL_LEN_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_numeric = labels
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= NAME_LEN_MAX && !is_numeric && labels.split('.').all(is_label)
}

/// An IPv6 address as it is written outside of URLs.
pub(super) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_in_parts() {
        let parse = |text| Url::parse(text, &["wss", "ws"]);
        let parts = |scheme, host, path| Some(Url { scheme, host, path });
        assert_eq!(
            parse("wss://a.example.com"),
            parts("wss", "a.example.com", "")
        );
        assert_eq!(
            parse("ws://[::1]:8080/media?bot=1"),
            parts("ws", "::1", "/media?bot=1")
        );
        assert_eq!(parse("wss://192.0.2.1?x"), parts("wss", "192.0.2.1", "?x"));
        for wrong in [
            "",
            "wss://",
            "wss:///media",
            "https://a.example.com",
            "wss://A.example.com",
            "wss://me:secret@a.example.com/",
            "wss://a.example.com:0443/",
            "wss://a.example.com:65536/",
            "wss://a.example.com/#part",
            "wss://a.example.com/a b",
            "wss://192.0.2.300/",
            "wss://0.0.0.0/",
            "wss://a.example.com#part",
            "wss://-a.example.com/",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let long = format!("wss://a.example.com/{}", "x".repeat(URI_LEN_MAX));
        assert_eq!(parse(&long), None);
    }

    #[test]
    fn loopback_is_this_machine() {
        let is_loopback = |text| Url::parse(text, &["ws"]).map(|url| url.is_loopback());
        for ours in [
            "ws://localhost/",
            "ws://127.0.0.1:9000/",
            "ws://[::1]/",
            "ws://127.1.2.3",
        ] {
            assert_eq!(is_loopback(ours), Some(true), "{ours}");
        }
        for theirs in [
            "ws://localhost.example.com/",
            "ws://10.0.0.1/",
            "ws://[2001:db8::1]/",
        ] {
            assert_eq!(is_loopback(theirs), Some(false), "{theirs}");
        }
    }
}
