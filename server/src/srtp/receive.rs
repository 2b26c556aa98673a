//! What a peer sends us: unprotected in place, each packet once.

use super::packet_index::{Streams, estimate_index};
use super::transform::{RTCP_CLEAR_LEN, Transform};
use super::{Profile, SrtpError, SrtpKeys};
use crate::rtp::{Ssrc, header_len};

/// One peer's receiving direction.
pub struct ReceiveContext {
    profile: Profile,
    rtp: Transform,
    rtcp: Transform,
    rtp_streams: Streams,
    rtcp_streams: Streams,
}

impl ReceiveContext {
    /// A context with the keys that the peer writes with.
    ///
    /// # Errors
    /// [`SrtpError::Cipher`] if the cipher refuses the keys; never seen.
    pub fn new(keys: &SrtpKeys) -> Result<Self, SrtpError> {
        Ok(Self {
            profile: keys.profile(),
            rtp: Transform::for_rtp(keys)?,
            rtcp: Transform::for_rtcp(keys)?,
            rtp_streams: Streams::default(),
            rtcp_streams: Streams::default(),
        })
    }

    /// Unprotects a whole SRTP packet in place and returns the RTP packet's length.
    ///
    /// # Errors
    /// [`SrtpError`]; the packet's bytes are then unspecified, the context is unchanged.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header_len = header_len(packet).map_err(|_| SrtpError::Malformed)?;
        let [_, _, high, low, _, _, _, _, s0, s1, s2, s3, ..] = *packet else {
            return Err(SrtpError::Malformed);
        };
        let sequence_number = u16::from_be_bytes([high, low]);
        let ssrc = Ssrc(u32::from_be_bytes([s0, s1, s2, s3]));
        let index = match self.rtp_streams.window(ssrc) {
            Some(window) => {
                let index = estimate_index(window.highest(), sequence_number)?;
                window.check(index)?;
                index
            }
            None if self.rtp_streams.has_room_for(ssrc) => u64::from(sequence_number),
            None => return Err(SrtpError::TooManyStreams),
        };
        let len = self.rtp.open_rtp(packet, header_len, ssrc, index)?;
        self.rtp_streams.mark(ssrc, index);
        Ok(len)
    }

    /// Unprotects a whole SRTCP packet in place and returns the RTCP compound's length.
    ///
    /// # Errors
    /// [`SrtpError`]; the packet's bytes are then unspecified, the context is unchanged.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_sender(packet)?;
        let index = self.rtcp.rtcp_index(packet)?;
        match self.rtcp_streams.window(ssrc) {
            Some(window) => window.check(u64::from(index))?,
            None if self.rtcp_streams.has_room_for(ssrc) => {}
            None => return Err(SrtpError::TooManyStreams),
        }
        let len = self.rtcp.open_rtcp(packet, ssrc, index)?;
        self.rtcp_streams.mark(ssrc, u64::from(index));
        Ok(len)
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.profile
    }
}

impl std::fmt::Debug for ReceiveContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveContext")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// The sender of an RTCP compound, which is readable in SRTCP too.
pub(super) fn rtcp_sender(packet: &[u8]) -> Result<Ssrc, SrtpError> {
    let clear = packet.first_chunk::<RTCP_CLEAR_LEN>();
    let [flags, _, _, _, s0, s1, s2, s3] = *clear.ok_or(SrtpError::Malformed)?;
    if flags >> 6 != 2 {
        return Err(SrtpError::Malformed);
    }
    Ok(Ssrc(u32::from_be_bytes([s0, s1, s2, s3])))
}
