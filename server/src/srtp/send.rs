//! What we send to a peer: protected in place, no packet index twice.

use super::packet_index::{Streams, estimate_index};
use super::receive::rtcp_sender;
use super::transform::Transform;
use super::{Profile, SrtpError, SrtpKeys};
use crate::rtp::{Ssrc, header_len};

/// RFC 3711 section 9.2: keys may protect 2^31 RTCP packets.
const RTCP_INDEX_MAX: u32 = 0x7fff_ffff;

/// One peer's sending direction.
pub struct SendContext {
    profile: Profile,
    rtp: Transform,
    rtcp: Transform,
    streams: Streams,
    /// One count for all our sources: SRTCP asks only that no index comes twice.
    next_rtcp_index: u32,
}

impl SendContext {
    /// A context with the keys that we write with.
    ///
    /// # Errors
    /// [`SrtpError::Cipher`] if the cipher refuses the keys; never seen.
    pub fn new(keys: &SrtpKeys) -> Result<Self, SrtpError> {
        Ok(Self {
            profile: keys.profile(),
            rtp: Transform::for_rtp(keys)?,
            rtcp: Transform::for_rtcp(keys)?,
            streams: Streams::default(),
            next_rtcp_index: 1,
        })
    }

    /// Protects the RTP packet `buffer[..len]` in place and returns the SRTP packet's length, which is
    /// [`Profile::rtp_overhead`] more.
    ///
    /// # Errors
    /// [`SrtpError::Replay`] for a sequence number that was used before: its key stream must not be used twice.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = buffer.get(..len).ok_or(SrtpError::Malformed)?;
        let header_len = header_len(packet).map_err(|_| SrtpError::Malformed)?;
        let [_, _, high, low, _, _, _, _, s0, s1, s2, s3, ..] = *packet else {
            return Err(SrtpError::Malformed);
        };
        let sequence_number = u16::from_be_bytes([high, low]);
        let ssrc = Ssrc(u32::from_be_bytes([s0, s1, s2, s3]));
        let index = match self.streams.window(ssrc) {
            Some(window) => {
                let index = estimate_index(window.highest(), sequence_number)?;
                window.check(index)?;
                index
            }
            None if self.streams.has_room_for(ssrc) => u64::from(sequence_number),
            None => return Err(SrtpError::TooManyStreams),
        };
        let len = self.rtp.seal_rtp(buffer, header_len, len, ssrc, index)?;
        self.streams.mark(ssrc, index);
        Ok(len)
    }

    /// Protects the RTCP compound `buffer[..len]` in place and returns the SRTCP packet's length, which is
    /// [`Profile::rtcp_overhead`] more.
    ///
    /// # Errors
    /// [`SrtpError`]; the context is unchanged.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let ssrc = rtcp_sender(buffer.get(..len).ok_or(SrtpError::Malformed)?)?;
        if self.next_rtcp_index > RTCP_INDEX_MAX {
            return Err(SrtpError::KeysUsedUp);
        }
        let len = self
            .rtcp
            .seal_rtcp(buffer, len, ssrc, self.next_rtcp_index)?;
        self.next_rtcp_index += 1;
        Ok(len)
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.profile
    }
}

impl std::fmt::Debug for SendContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendContext")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}
