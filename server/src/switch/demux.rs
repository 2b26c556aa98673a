//! Which session a datagram on the WebRTC port belongs to (RFC 7983, RFC 8445 section 7.3).
//!
//! STUN goes by the ufrag in its USERNAME, everything else by the source address; an address stands here only after
//! the session's ICE agent has authenticated it. Nothing here looks into a packet further than that.

use std::collections::HashMap;
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

/// The tables of one shard. Their size is bounded by the sessions and the paths that a peer may have.
#[derive(Debug, Default)]
pub struct Demux {
    by_address: HashMap<SocketAddr, Bound>,
    by_ufrag: HashMap<String, SessionKey>,
}

impl Demux {
    /// Finds the session of `datagram`.
    ///
    /// # Errors
    /// Why it belongs to nobody.
    pub fn find(&self, from: SocketAddr, datagram: &[u8]) -> Result<SessionKey, DropReason> {
        match datagram.first() {
            Some(0..=3) => {
                let message =
                    StunMessage::parse(datagram).map_err(|_| DropReason::StunMalformed)?;
                let ufrag = message.local_ufrag().ok_or(DropReason::StunMalformed)?;
                self.by_ufrag
                    .get(ufrag)
                    .copied()
                    .ok_or(DropReason::StunUnknownUfrag)
            }
            Some(20..=63 | 128..=191) => {
                let bound = self
                    .by_address
                    .get(&from)
                    .ok_or(DropReason::UnknownSource)?;
                Ok(bound.session)
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
        assert_eq!(demux.find(address, &rtp), Ok(SessionKey(2)));
        demux.remove(SessionKey(2));
        assert!(demux.is_empty());
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
