//! SRTP of one leg, with the keys that both sides told in their SDP (RFC 4568).

use crate::call::SrtpKeyPair;
use crate::metrics::DropReason;
use crate::srtp::{ReceiveContext, SendContext, SrtpError};

/// Both directions' contexts.
#[derive(Debug)]
pub(super) struct Protection {
    keys: SrtpKeyPair,
    send: SendContext,
    receive: ReceiveContext,
}

impl Protection {
    pub fn new(keys: &SrtpKeyPair) -> Result<Self, SrtpError> {
        Ok(Self {
            send: SendContext::new(&keys.ours)?,
            receive: ReceiveContext::new(&keys.theirs)?,
            keys: keys.clone(),
        })
    }

    /// A direction whose keys changed begins anew; one with the same keys must not, or it would protect two packets with
    /// one key stream.
    pub fn update(&mut self, keys: &SrtpKeyPair) -> Result<(), SrtpError> {
        let send = (keys.ours != self.keys.ours).then(|| SendContext::new(&keys.ours));
        let receive = (keys.theirs != self.keys.theirs).then(|| ReceiveContext::new(&keys.theirs));
        let (send, receive) = (send.transpose()?, receive.transpose()?);
        if let Some(send) = send {
            self.send = send;
        }
        if let Some(receive) = receive {
            self.receive = receive;
        }
        self.keys = keys.clone();
        Ok(())
    }

    /// Unprotects in place; the packet's length.
    pub fn unprotect_rtp(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        let unprotected = self.receive.unprotect_rtp(datagram);
        unprotected.map_err(SrtpError::drop_reason)
    }

    /// The same for RTCP.
    pub fn unprotect_rtcp(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        let unprotected = self.receive.unprotect_rtcp(datagram);
        unprotected.map_err(SrtpError::drop_reason)
    }

    /// Protects `out[..len]`; none if there is no room behind it, or the packet was sent before.
    pub fn protect_rtp(&mut self, out: &mut [u8], len: usize) -> Option<usize> {
        self.send.protect_rtp(out, len).ok()
    }

    /// The same for RTCP.
    pub fn protect_rtcp(&mut self, out: &mut [u8], len: usize) -> Option<usize> {
        self.send.protect_rtcp(out, len).ok()
    }
}
