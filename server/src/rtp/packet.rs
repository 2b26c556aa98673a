//! One RTP packet on the wire (RFC 3550 section 5.1): parsed in place from a receive buffer, written in place into a
//! send buffer.
//!
//! It knows no payload, no key and no socket; the extension block's inside is [`HeaderExtensions`]' subject.

use thiserror::Error;

use super::{
    HeaderExtensions, PayloadType, RtpTimestamp, SequenceNumber, Ssrc, write_one_byte_extensions,
};

/// Bytes of the fixed header.
pub const RTP_HEADER_LEN: usize = 12;

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

/// Bytes that are no RTP packet. The sender's fault, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RtpError {
    /// Fewer bytes than the fixed header.
    #[error("an RTP packet has at least {RTP_HEADER_LEN} bytes, this one has {len}")]
    TooShort {
        /// Bytes received.
        len: usize,
    },
    /// A version other than 2.
    #[error("RTP version {0} instead of 2")]
    Version(u8),
    /// The CSRC list or the extension block runs past the end.
    #[error("the RTP header is {header_len} bytes long, the packet {len}")]
    HeaderTruncated {
        /// Bytes that the header claims.
        header_len: usize,
        /// Bytes received.
        len: usize,
    },
    /// A padding count of zero, or larger than what follows the header.
    #[error("RTP padding of {padding_len} bytes in a payload of {payload_len}")]
    Padding {
        /// The last byte.
        padding_len: usize,
        /// Bytes after the header.
        payload_len: usize,
    },
}

/// A parsed RTP packet; everything borrows from the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// The fixed header's fields.
    pub header: RtpHeader,
    /// Contributing sources, 4 bytes each; see [`RtpPacket::contributing_sources`].
    csrc_list: &'a [u8],
    /// The extension block, if the X bit is set.
    extension: Option<HeaderExtensions<'a>>,
    /// Without padding.
    payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Parses one datagram.
    ///
    /// # Errors
    /// [`RtpError`] names what does not fit. Unknown extensions and payload types are no errors.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, RtpError> {
        let len = datagram.len();
        let too_short = RtpError::TooShort { len };
        let (fixed, rest) = datagram
            .split_first_chunk::<RTP_HEADER_LEN>()
            .ok_or(too_short)?;
        let header = RtpHeader::read(fixed)?;

        let csrc_list_len = 4 * usize::from(fixed[0] & 0x0f);
        let truncated = RtpError::HeaderTruncated {
            header_len: RTP_HEADER_LEN + csrc_list_len,
            len,
        };
        let (csrc_list, rest) = rest.split_at_checked(csrc_list_len).ok_or(truncated)?;

        let (extension, rest) = if fixed[0] & EXTENSION_BIT != 0 {
            let (extension, rest) =
                HeaderExtensions::split_from(rest).ok_or(RtpError::HeaderTruncated {
                    header_len: RTP_HEADER_LEN + csrc_list_len + extension_block_len(rest),
                    len,
                })?;
            (Some(extension), rest)
        } else {
            (None, rest)
        };

        let payload = if fixed[0] & PADDING_BIT != 0 {
            without_padding(rest)?
        } else {
            rest
        };
        Ok(Self {
            header,
            csrc_list,
            extension,
            payload,
        })
    }

    /// What the media rooms hand on.
    pub fn media(&self) -> MediaPacket<'a> {
        let RtpHeader {
            marker,
            payload_type,
            sequence_number,
            timestamp,
            ssrc,
        } = self.header;
        MediaPacket {
            marker,
            payload_type,
            sequence_number,
            timestamp,
            ssrc,
            payload: self.payload,
        }
    }

    /// The payload without padding.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The header extension elements as (id, value), in the packet's order (RFC 8285, one- and two-byte form). Empty
    /// for packets without an extension block and for blocks of another profile.
    pub fn extensions(&self) -> HeaderExtensions<'a> {
        self.extension.unwrap_or_default()
    }

    /// The value of the first extension element with this id.
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        let mut elements = self.extensions();
        elements.find_map(|(found, value)| (found == id).then_some(value))
    }

    /// The contributing sources, at most 15.
    pub fn contributing_sources(&self) -> impl Iterator<Item = Ssrc> + 'a {
        let (sources, _) = self.csrc_list.as_chunks::<4>();
        sources
            .iter()
            .map(|source| Ssrc(u32::from_be_bytes(*source)))
    }
}

/// Length in bytes of a packet's header with CSRC list and extension block: where the payload begins.
///
/// # Errors
/// Those of [`RtpPacket::parse`], but padding is not looked at: it may be encrypted still.
pub fn header_len(datagram: &[u8]) -> Result<usize, RtpError> {
    let len = datagram.len();
    let too_short = RtpError::TooShort { len };
    let (fixed, rest) = datagram
        .split_first_chunk::<RTP_HEADER_LEN>()
        .ok_or(too_short)?;
    if fixed[0] >> 6 != VERSION {
        return Err(RtpError::Version(fixed[0] >> 6));
    }
    let csrc_list_len = 4 * usize::from(fixed[0] & 0x0f);
    let mut header_len = RTP_HEADER_LEN + csrc_list_len;
    let truncated = RtpError::HeaderTruncated { header_len, len };
    let rest = rest.get(csrc_list_len..).ok_or(truncated)?;
    if fixed[0] & EXTENSION_BIT != 0 {
        header_len += extension_block_len(rest);
    }
    if header_len > len {
        return Err(RtpError::HeaderTruncated { header_len, len });
    }
    Ok(header_len)
}

/// The fields of the fixed header that a sender chooses: 12 bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHeader {
    /// Start of a talkspurt for audio.
    pub marker: bool,
    /// At most 127; the upper bit is not written.
    pub payload_type: PayloadType,
    /// One higher for each packet sent.
    pub sequence_number: SequenceNumber,
    /// In the payload's clock.
    pub timestamp: RtpTimestamp,
    /// Who sends.
    pub ssrc: Ssrc,
}

impl RtpHeader {
    /// Writes the fixed header without CSRC, extension or padding to the front of `out`. Returns [`RTP_HEADER_LEN`],
    /// or `None` when `out` is shorter.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let fixed = out.first_chunk_mut::<RTP_HEADER_LEN>()?;
        fixed[0] = VERSION << 6;
        fixed[1] = (u8::from(self.marker) << 7) | (self.payload_type.0 & 0x7f);
        fixed[2..4].copy_from_slice(&self.sequence_number.0.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.timestamp.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ssrc.0.to_be_bytes());
        Some(RTP_HEADER_LEN)
    }

    /// Writes the header with these extension elements in one-byte form (RFC 8285 section 4.2). Returns the header's
    /// length in bytes, or `None` when `out` is too short, or an id (1..=14) or a value's length (1..=16 bytes) does
    /// not fit the form. Without elements it is [`RtpHeader::write`].
    pub fn write_with_extensions(&self, elements: &[(u8, &[u8])], out: &mut [u8]) -> Option<usize> {
        self.write(out)?;
        if elements.is_empty() {
            return Some(RTP_HEADER_LEN);
        }
        let block_len = write_one_byte_extensions(elements, out.get_mut(RTP_HEADER_LEN..)?)?;
        *out.first_mut()? |= EXTENSION_BIT;
        Some(RTP_HEADER_LEN + block_len)
    }

    /// Writes header and payload. Returns the packet's length in bytes, or `None` when `out` is too short.
    pub fn write_packet(&self, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        self.write_packet_with_extensions(&[], payload, out)
    }

    /// As [`RtpHeader::write_packet`], with the elements of [`RtpHeader::write_with_extensions`].
    pub fn write_packet_with_extensions(
        &self,
        elements: &[(u8, &[u8])],
        payload: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let header_len = self.write_with_extensions(elements, out)?;
        let packet_len = header_len + payload.len();
        out.get_mut(header_len..packet_len)?
            .copy_from_slice(payload);
        Some(packet_len)
    }

    fn read(fixed: &[u8; RTP_HEADER_LEN]) -> Result<Self, RtpError> {
        let [
            flags,
            marker_and_type,
            s0,
            s1,
            t0,
            t1,
            t2,
            t3,
            c0,
            c1,
            c2,
            c3,
        ] = *fixed;
        if flags >> 6 != VERSION {
            return Err(RtpError::Version(flags >> 6));
        }
        Ok(Self {
            marker: marker_and_type & 0x80 != 0,
            payload_type: PayloadType(marker_and_type & 0x7f),
            sequence_number: SequenceNumber(u16::from_be_bytes([s0, s1])),
            timestamp: RtpTimestamp(u32::from_be_bytes([t0, t1, t2, t3])),
            ssrc: Ssrc(u32::from_be_bytes([c0, c1, c2, c3])),
        })
    }
}

const VERSION: u8 = 2;
const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;

/// Bytes that the extension block at the front of `rest` claims, its own 4-byte head included.
fn extension_block_len(rest: &[u8]) -> usize {
    match rest {
        [_, _, high, low, ..] => 4 + 4 * usize::from(u16::from_be_bytes([*high, *low])),
        _ => 4,
    }
}

fn without_padding(payload: &[u8]) -> Result<&[u8], RtpError> {
    let payload_len = payload.len();
    let padding_len = payload.last().map_or(0, |last| usize::from(*last));
    if padding_len == 0 || padding_len > payload_len {
        return Err(RtpError::Padding {
            padding_len,
            payload_len,
        });
    }
    Ok(&payload[..payload_len - padding_len])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: RtpHeader = RtpHeader {
        marker: true,
        payload_type: PayloadType(111),
        sequence_number: SequenceNumber(0xfffe),
        timestamp: RtpTimestamp(0x0102_0304),
        ssrc: Ssrc(0xdead_beef),
    };

    #[test]
    fn what_is_written_is_read_again() {
        let mut buffer = [0; 64];
        let len = HEADER.write_packet(b"payload", &mut buffer).unwrap();
        assert_eq!(
            buffer[..12],
            [0x80, 0xef, 0xff, 0xfe, 1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef]
        );
        let packet = RtpPacket::parse(&buffer[..len]).unwrap();
        assert_eq!(packet.header, HEADER);
        assert_eq!(packet.media().payload, b"payload");
        assert_eq!(header_len(&buffer[..len]), Ok(12));
    }

    #[test]
    fn a_full_header_is_taken_apart() {
        let mut datagram = vec![0xb2, 0x00, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        datagram.extend([0, 0, 0, 10, 0, 0, 0, 11]); // two CSRCs
        datagram.extend([0xbe, 0xde, 0, 2, 0x31, 0x12, 0x34, 0x00, 0x10, 0xab, 0, 0]);
        datagram.extend(b"media");
        datagram.extend([0, 0, 3]); // padding
        let packet = RtpPacket::parse(&datagram).unwrap();
        assert_eq!(header_len(&datagram), Ok(32));
        assert_eq!(packet.payload(), b"media");
        let sources: Vec<_> = packet.contributing_sources().collect();
        assert_eq!(sources, [Ssrc(10), Ssrc(11)]);
        assert_eq!(packet.extension(3), Some(&[0x12, 0x34][..]));
        assert_eq!(packet.extension(1), Some(&[0xab][..]));
        assert_eq!(packet.extension(2), None);
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(
            RtpPacket::parse(&[0x80; 11]),
            Err(RtpError::TooShort { len: 11 })
        );
        assert_eq!(RtpPacket::parse(&[0x40; 12]), Err(RtpError::Version(1)));
        let csrc_missing = [0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let truncated = RtpError::HeaderTruncated {
            header_len: 16,
            len: 12,
        };
        assert_eq!(RtpPacket::parse(&csrc_missing), Err(truncated));
        assert_eq!(header_len(&csrc_missing), Err(truncated));
        let padding_past_header = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(
            RtpPacket::parse(&padding_past_header),
            Err(RtpError::Padding {
                padding_len: 3,
                payload_len: 2
            })
        );
    }

    #[test]
    fn a_short_buffer_is_refused() {
        assert_eq!(HEADER.write(&mut [0; 11]), None);
        assert_eq!(HEADER.write_packet(&[0; 9], &mut [0; 20]), None);
    }

    proptest! {
        #[test]
        fn header_len_agrees_with_the_parser(mut datagram in proptest::collection::vec(any::<u8>(), 0..96)) {
            if let Some(first) = datagram.first_mut() {
                *first = 0x80 | (*first & 0x1f); // version 2, no padding: the part that both look at
            }
            let parsed = RtpPacket::parse(&datagram);
            let len = header_len(&datagram);
            match parsed {
                Ok(packet) => {
                    prop_assert_eq!(len, Ok(datagram.len() - packet.payload().len()));
                    let _ = packet.extensions().count();
                    let _ = packet.contributing_sources().count();
                }
                Err(error) => prop_assert_eq!(len, Err(error)),
            }
        }
    }
}
