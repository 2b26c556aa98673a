//! ICE candidates as text (RFC 8839 section 5.1): validates the peer's, writes ours.
//!
//! An ICE-lite agent needs no candidate of its peer, because every address proves itself by a check: the peer's are
//! validated and counted, never dialled, and `.local` names (mDNS) are never resolved.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use super::SdpError;

/// The longest candidate attribute, in bytes.
pub const CANDIDATE_LEN_MAX: usize = 512;

/// What a candidate's address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CandidateAddress {
    /// A literal.
    Ip(IpAddr),
    /// An mDNS or DNS name; never resolved.
    Name(String),
}

/// A candidate's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateKind {
    /// An interface of the peer.
    Host,
    /// Seen by a STUN server.
    ServerReflexive,
    /// Seen by a check.
    PeerReflexive,
    /// A TURN server's.
    Relayed,
}

/// A candidate of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCandidate {
    /// 1 for RTP, 2 for RTCP.
    pub component: u8,
    /// Is the transport UDP?
    pub udp: bool,
    /// Higher is better.
    pub priority: u32,
    /// Where.
    pub address: CandidateAddress,
    /// UDP or TCP port; 9 stands for an active TCP candidate.
    pub port: u16,
    /// Which kind.
    pub kind: CandidateKind,
}

impl RemoteCandidate {
    /// Reads `candidate:...`, with or without a leading `a=`. None for an empty text: the end of candidates.
    ///
    /// # Errors
    /// [`SdpError::Candidate`] says which part can't be read.
    pub fn parse(text: &str) -> Result<Option<Self>, SdpError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > CANDIDATE_LEN_MAX {
            return Err(SdpError::Candidate("too long"));
        }
        let text = text.strip_prefix("a=").unwrap_or(text);
        let Some(rest) = text.strip_prefix("candidate:") else {
            return Err(SdpError::Candidate("does not begin `candidate:`"));
        };
        let mut words = rest.split_ascii_whitespace();
        let mut word = |what| words.next().ok_or(SdpError::Candidate(what));
        let foundation = word("no foundation")?;
        if foundation.len() > 32 || !foundation.bytes().all(is_ice_char) {
            return Err(SdpError::Candidate(
                "the foundation is not 1 to 32 ice-chars",
            ));
        }
        let component = word("no component")?
            .parse()
            .ok()
            .filter(|id| (1..=2).contains(id));
        let component = component.ok_or(SdpError::Candidate("the component is not 1 or 2"))?;
        let transport = word("no transport")?;
        let udp = transport.eq_ignore_ascii_case("udp");
        if !udp && !transport.eq_ignore_ascii_case("tcp") {
            return Err(SdpError::Candidate("the transport is not udp or tcp"));
        }
        let priority = word("no priority")?.parse();
        let priority =
            priority.map_err(|_| SdpError::Candidate("the priority is no 32-bit number"))?;
        let address = word("no address")?;
        let address = match address.parse() {
            Ok(ip) => CandidateAddress::Ip(ip),
            Err(_) if is_host_name(address) => CandidateAddress::Name(address.to_owned()),
            Err(_) => return Err(SdpError::Candidate("the address is neither IP nor name")),
        };
        let port = word("no port")?
            .parse()
            .map_err(|_| SdpError::Candidate("the port is no port"))?;
        if word("no type")? != "typ" {
            return Err(SdpError::Candidate("no `typ` after the port"));
        }
        let kind = match word("no type")? {
            "host" => CandidateKind::Host,
            "srflx" => CandidateKind::ServerReflexive,
            "prflx" => CandidateKind::PeerReflexive,
            "relay" => CandidateKind::Relayed,
            _ => return Err(SdpError::Candidate("unknown type")),
        };
        Ok(Some(Self {
            component,
            udp,
            priority,
            address,
            port,
            kind,
        }))
    }
}

/// One of our host candidates, written by `Display` without `a=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalCandidate {
    /// The advertised address.
    pub address: SocketAddr,
    /// Its place among ours, 0 first.
    pub index: u16,
}

impl LocalCandidate {
    /// RFC 8445 section 5.1.2.1: type preference 126 (host), then our order, component 1.
    pub fn priority(&self) -> u32 {
        (126 << 24) | (u32::from(u16::MAX - self.index) << 8) | 255
    }
}

impl fmt::Display for LocalCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (foundation, priority) = (u32::from(self.index) + 1, self.priority());
        let (ip, port) = (self.address.ip().to_canonical(), self.address.port());
        write!(
            f,
            "candidate:{foundation} 1 udp {priority} {ip} {port} typ host"
        )
    }
}

/// Writes the `a=candidate` lines of all `addresses`, and `a=end-of-candidates`.
pub(super) fn write_candidates(sdp: &mut String, addresses: &[SocketAddr]) {
    for (index, address) in (0u16..).zip(addresses) {
        let candidate = LocalCandidate {
            address: *address,
            index,
        };
        // Writing to a String can't fail.
        let _ = write!(sdp, "a={candidate}\r\n");
    }
    sdp.push_str("a=end-of-candidates\r\n");
}

/// ice-char of RFC 8839 section 5.4.
pub(super) fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

fn is_host_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    text.len() <= 255 && text.contains('.') && text.bytes().all(allowed)
}
