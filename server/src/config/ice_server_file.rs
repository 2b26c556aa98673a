//! `webrtc.ice_servers`: STUN and TURN servers for the page, each a URL or a table with the secret that is shared with it.

use super::document::quote;
use super::secret_file::{Environment, secret};
use super::section::{Entry, Section};
use super::{IceServerConfig, TurnSecret};

/// The most servers: a page asks each of them, and browsers warn from five on.
const SERVERS_MAX: usize = 8;
/// The most URLs of one server.
const URLS_MAX: usize = 8;
/// The longest URL, in bytes: a host name and its port fit twice.
const URL_LEN_MAX: usize = 512;
/// A day, as the TURN REST draft recommends: a page may restart ICE late in a long call with what it got at the begin.
const LIFETIME_S_DEFAULT: u64 = 86_400;
/// From the longest life of a SessionAuth token to a week.
const LIFETIME_S: std::ops::RangeInclusive<u64> = 300..=604_800;

const URL: &str = "stun:, stuns:, turn: or turns: with HOST[:PORT], the last two also with ?transport=udp or tcp (RFC 7064, 7065)";
const NEEDS_SECRET: &str = "a page can't use turn: and turns: without credentials (W3C WebRTC, RTCIceServer); allowed: a \
                            table with urls and secret_file";

/// Reads the list; each entry is checked as a page will read it.
pub(super) fn read(webrtc: &mut Section<'_>, environment: Environment<'_>) -> Vec<IceServerConfig> {
    let entries = webrtc.texts_and_sections("ice_servers", SERVERS_MAX);
    let servers = entries.into_iter().filter_map(|entry| match entry {
        Entry::Section(section) => read_table(section, environment),
        Entry::Text(located) => {
            match scheme(&located.value) {
                None => webrtc.wrong(&located, not_allowed(&located.value)),
                Some(Scheme::Turn) => webrtc.wrong(&located, NEEDS_SECRET),
                Some(Scheme::Stun) => {
                    let urls = vec![located.value];
                    return Some(IceServerConfig { urls, turn: None });
                }
            }
            None
        }
    });
    servers.collect()
}

fn read_table(mut section: Section<'_>, environment: Environment<'_>) -> Option<IceServerConfig> {
    let usable = |text: &str| scheme(text).map(|scheme| (text.to_owned(), scheme));
    section.require("urls");
    let urls = section.parsed_list("urls", URL, usable).unwrap_or_default();
    section.require_entries("urls", "URL");
    if urls.len() > URLS_MAX {
        section.wrong_key(
            "urls",
            format!("names {} URLs; allowed: at most {URLS_MAX}", urls.len()),
        );
    }
    let has_turn = urls.iter().any(|(_, scheme)| *scheme == Scheme::Turn);
    let named = section.has("secret") || section.has("secret_file");
    let secret = secret(&mut section, ("secret", "secret_file"), environment);
    let lifetime_s = if named {
        section.integer_or("credential_lifetime_s", LIFETIME_S, LIFETIME_S_DEFAULT)
    } else {
        section.refuse("credential_lifetime_s", "is for servers with a secret");
        LIFETIME_S_DEFAULT
    };
    if has_turn && !named {
        section.wrong_key("urls", NEEDS_SECRET);
    }
    if named && !has_turn && !urls.is_empty() {
        let message = "names no turn: or turns: URL; a secret is for nothing else";
        section.wrong_key("urls", message);
    }
    section.finish();
    let turn = secret.map(|secret| TurnSecret {
        secret,
        credential_lifetime_s: lifetime_s as u32,
    });
    let urls = urls.into_iter().map(|(url, _)| url).collect();
    Some(IceServerConfig { urls, turn })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Stun,
    Turn,
}

/// The scheme of a URL that every browser takes; one that it does not take would cost the page its whole connection.
fn scheme(url: &str) -> Option<Scheme> {
    let (scheme, rest) = url.split_once(':').filter(|_| url.len() <= URL_LEN_MAX)?;
    let scheme = match scheme {
        "stun" | "stuns" => Scheme::Stun,
        "turn" | "turns" => Scheme::Turn,
        _ => return None,
    };
    let (authority, query) = match rest.split_once('?') {
        Some((authority, query)) => (authority, Some(query)),
        None => (rest, None),
    };
    let query_ok = match query {
        None => true,
        Some("transport=udp" | "transport=tcp") => scheme == Scheme::Turn,
        Some(_) => false,
    };
    (is_authority(authority) && query_ok).then_some(scheme)
}

/// `host`, `host:port`, `[IPv6]` or `[IPv6]:port`.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host_ok = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
            !host.is_empty() && host.bytes().all(allowed)
        }
    };
    let port_ok = port.is_none_or(|port| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        digits && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    host_ok && port_ok
}

fn not_allowed(text: &str) -> String {
    format!("{} is not allowed; allowed: {URL}", quote(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_browsers_read_them() {
        for url in [
            "stun:stun.example.com",
            "stuns:192.0.2.1:5349",
            "stun:[2001:db8::1]:3478",
        ] {
            assert_eq!(scheme(url), Some(Scheme::Stun), "{url}");
        }
        for url in [
            "turn:turn.example.com:3478",
            "turn:turn.example.com?transport=udp",
            "turns:[2001:db8::1]?transport=tcp",
        ] {
            assert_eq!(scheme(url), Some(Scheme::Turn), "{url}");
        }
        for url in [
            "",
            "stun:",
            "stun.example.com",
            "http:example.com",
            "stun://stun.example.com",
            "stun:stun.example.com?transport=udp",
            "turn:turn.example.com?transport=sctp",
            "turn:turn.example.com:0",
            "turn:turn.example.com:65536",
            "turn:turn.example.com:+80",
            "turn:user@turn.example.com",
            "turn:2001:db8::1",
            "turn:[turn]:3478",
            "turn:a b",
        ] {
            assert_eq!(scheme(url), None, "{url}");
        }
        assert_eq!(scheme(&format!("stun:{}", "x".repeat(URL_LEN_MAX))), None);
    }
}
