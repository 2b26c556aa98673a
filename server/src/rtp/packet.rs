//! One RTP packet as the media rooms hand it on (RFC 3550 section 5.1), borrowed from the receive buffer.

use super::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};

/// A received RTP packet after unprotecting: the header's fields and the payload without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaPacket<'a> {
    /// Start of a talkspurt for audio.
    pub marker: bool,
    /// As the sender numbers it.
    pub payload_type: PayloadType,
    /// As received.
    pub sequence_number: SequenceNumber,
    /// In the source's clock.
    pub timestamp: RtpTimestamp,
    /// The source.
    pub ssrc: Ssrc,
    /// Without header extensions and padding.
    pub payload: &'a [u8],
}
