//! Which session a datagram on the WebRTC port belongs to (RFC 7983, RFC 8445 section 7.3).
//!
//! STUN goes by the ufrag in its USERNAME, everything else by the source address; an address stands here only after
//! the session's ICE agent has authenticated it. Nothing here looks into a packet further than that.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};

use crate::metrics::DropReason;
use crate::webrtc::stun::StunMessage;

use super::SessionKey;

/// An authenticated address.
#[derive(Debug, Clone, Copy)]
struct Bound {
    session: SessionKey,
    /// Which address of ours its media and DTLS come to, so that ours leaves from there.
    local: Option<IpAddr>,
}

/// Whose a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The session.
    pub session: SessionKey,
    /// Which address of ours its media came to last; none for a check, which tells nothing of that.
    pub local: Option<IpAddr>,
}

/// The tables of one shard. Their size is bounded by the sessions and the paths that a peer may have.
#[derive(Debug, Default)]
pub struct Demux {
    by_address: HashMap<SocketAddr, Bound, AddressHash>,
    by_ufrag: HashMap<String, SessionKey>,
}

impl Demux {
    /// Finds the session of `datagram`.
    ///
    /// # Errors
    /// Why it belongs to nobody.
    pub fn find(&self, from: SocketAddr, datagram: &[u8]) -> Result<Found, DropReason> {
        match datagram.first() {
            Some(0..=3) => {
                let message =
                    StunMessage::parse(datagram).map_err(|_| DropReason::StunMalformed)?;
                let ufrag = message.local_ufrag().ok_or(DropReason::StunMalformed)?;
                let &session = self
                    .by_ufrag
                    .get(ufrag)
                    .ok_or(DropReason::StunUnknownUfrag)?;
                Ok(Found {
                    session,
                    local: None,
                })
            }
            Some(20..=63 | 128..=191) => {
                let bound = self
                    .by_address
                    .get(&from)
                    .ok_or(DropReason::UnknownSource)?;
                Ok(Found {
                    session: bound.session,
                    local: bound.local,
                })
            }
            _ => Err(DropReason::UnknownProtocol),
        }
    }

    /// Adds a session's ufrag. `false` if another session has it.
    pub fn add_ufrag(&mut self, ufrag: &str, session: SessionKey) -> bool {
        if self.by_ufrag.contains_key(ufrag) {
            return false;
        }
        self.by_ufrag.insert(ufrag.to_owned(), session);
        true
    }

    /// Does a session have this ufrag?
    pub fn has_ufrag(&self, ufrag: &str) -> bool {
        self.by_ufrag.contains_key(ufrag)
    }

    /// Forgets a ufrag of `session`.
    pub fn remove_ufrag(&mut self, ufrag: &str, session: SessionKey) {
        if self.by_ufrag.get(ufrag) == Some(&session) {
            self.by_ufrag.remove(ufrag);
        }
    }

    /// Binds an address that was authenticated for `session` by a check to our address `local`; a later owner wins over
    /// an earlier one.
    pub fn bind(&mut self, address: SocketAddr, local: Option<IpAddr>, session: SessionKey) {
        self.by_address.insert(address, Bound { session, local });
    }

    /// Authenticated media or DTLS of `remote` came to our address `local`: a peer chooses its path by where it sends
    /// these, not by where it checks.
    pub fn heard(&mut self, remote: SocketAddr, local: Option<IpAddr>) {
        if let Some(bound) = self.by_address.get_mut(&remote) {
            bound.local = local;
        }
    }

    /// From which address of ours to send to `remote`.
    pub fn local_for(&self, remote: SocketAddr) -> Option<IpAddr> {
        self.by_address.get(&remote)?.local
    }

    /// Releases an address, if it is still bound to `session`.
    pub fn release(&mut self, address: SocketAddr, session: SessionKey) {
        if self
            .by_address
            .get(&address)
            .is_some_and(|bound| bound.session == session)
        {
            self.by_address.remove(&address);
        }
    }

    /// Forgets everything about `session`.
    pub fn remove(&mut self, session: SessionKey) {
        self.by_address.retain(|_, bound| bound.session != session);
        self.by_ufrag.retain(|_, owner| *owner != session);
    }

    /// Entries in both tables, for the slab gauge.
    pub fn len(&self) -> usize {
        self.by_address.len() + self.by_ufrag.len()
    }

    /// Does it know nobody?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Hashes addresses, several times per packet: a multiplication per word, where SipHash takes a dozen steps. The keys are random,
/// so nobody can choose addresses that meet; and an address is only here after a session has authenticated it.
#[derive(Debug, Clone)]
struct AddressHash {
    keys: [u64; 2],
}

impl Default for AddressHash {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            keys: [0, 1].map(|number: u8| random.hash_one(number)),
        }
    }
}

impl BuildHasher for AddressHash {
    type Hasher = AddressHasher;

    fn build_hasher(&self) -> AddressHasher {
        let [state, key] = self.keys;
        AddressHasher {
            state,
            // An even factor would lose bits.
            key: key | 1,
        }
    }
}

/// Both halves of each product go on, so that every bit of a word reaches every bit of the hash.
struct AddressHasher {
    state: u64,
    key: u64,
}

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        fold(self.state, self.key)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.key);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn addresses_belong_to_who_authenticated_them_last() {
        let mut demux = Demux::default();
        let address: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let rtp = [0x80; 12];
        assert_eq!(demux.find(address, &rtp), Err(DropReason::UnknownSource));
        demux.bind(address, None, SessionKey(1));
        demux.bind(address, None, SessionKey(2));
        demux.release(address, SessionKey(1));
        let found = demux.find(address, &rtp).unwrap();
        assert_eq!((found.session, found.local), (SessionKey(2), None));
        let local = Some(IpAddr::from([127, 0, 0, 1]));
        demux.heard(address, local);
        assert_eq!(demux.find(address, &rtp).unwrap().local, local);
        demux.remove(SessionKey(2));
        assert!(demux.is_empty());
    }

    /// Neighbours, as a NAT or a load generator makes them, spread over low and high bits: what a table goes by.
    #[test]
    fn neighbours_do_not_meet() {
        let hash = AddressHash::default();
        for mapped in [false, true] {
            let mut low = [0_u32; 256];
            let mut high = [0_u32; 128];
            for number in 0..25_600_u32 {
                let [_, _, b, c] = number.to_be_bytes();
                let v4 = [10, 0, b, 7];
                let ip = match mapped {
                    true => IpAddr::from(std::net::Ipv4Addr::from(v4).to_ipv6_mapped()),
                    false => IpAddr::from(v4),
                };
                let hashed = hash.hash_one(SocketAddr::new(ip, 40_000 + u16::from(c)));
                low[(hashed & 0xff) as usize] += 1;
                high[(hashed >> 57) as usize] += 1;
            }
            // 100 and 200 are the means; ten standard deviations are far.
            assert!(low.iter().all(|count| (20..200).contains(count)), "{low:?}");
            assert!(
                high.iter().all(|count| (60..340).contains(count)),
                "{high:?}"
            );
        }
    }

    #[test]
    fn unknown_first_bytes_are_named() {
        let demux = Demux::default();
        let address: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        assert_eq!(demux.find(address, &[]), Err(DropReason::UnknownProtocol));
        assert_eq!(
            demux.find(address, &[70, 0]),
            Err(DropReason::UnknownProtocol)
        );
        assert_eq!(demux.find(address, &[0, 1]), Err(DropReason::StunMalformed));
    }
}
