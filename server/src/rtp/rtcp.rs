//! RTCP packets (RFC 3550 section 6, RFC 5761) read: a lenient iterator over a compound packet.
//!
//! Lenient means: a compound may begin with any packet (RFC 5506), unknown types are passed over, and what was read
//! before a fault counts. Writing is [`RtcpWriter`](super::RtcpWriter)'s, when to send what
//! [`RtcpSession`](super::RtcpSession)'s.

use thiserror::Error;

use super::{CompactNtp, NtpTime, RtpTimestamp, Ssrc, TransportFeedback};

/// Packets that are read of one datagram; the rest is left unread.
pub const RTCP_PACKETS_MAX: usize = 32;
/// Report blocks of one SR or RR: all that its 5-bit count can say.
pub const REPORT_BLOCKS_MAX: usize = 31;
/// Longest CNAME in bytes.
pub const CNAME_LEN_MAX: usize = 255;

pub(super) const HEADER_LEN: usize = 4;
pub(super) const REPORT_BLOCK_LEN: usize = 24;
pub(super) const VERSION: u8 = 2;
pub(super) const PADDING_BIT: u8 = 0x20;
pub(super) const SDES_CNAME: u8 = 1;

pub(super) const TYPE_SENDER_REPORT: u8 = 200;
pub(super) const TYPE_RECEIVER_REPORT: u8 = 201;
pub(super) const TYPE_SOURCE_DESCRIPTION: u8 = 202;
pub(super) const TYPE_GOODBYE: u8 = 203;
pub(super) const TYPE_TRANSPORT_LAYER_FEEDBACK: u8 = 205;
pub(super) const FORMAT_TRANSPORT_CC: u8 = 15;

/// Does this datagram, which is RTP or RTCP, hold RTCP (RFC 5761 section 4: second byte 192..=223)?
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [_, 192..=223, ..])
}

/// Bytes that are no RTCP packet. The sender's fault, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RtcpError {
    /// Shorter than a header, or than its own length field says.
    #[error("an RTCP packet of {needed} bytes in {len}")]
    Truncated {
        /// Bytes that it claims.
        needed: usize,
        /// Bytes that are there.
        len: usize,
    },
    /// A version other than 2.
    #[error("RTCP version {0} instead of 2")]
    Version(u8),
    /// A padding count that does not fit the packet.
    #[error("RTCP padding of {0} bytes does not fit")]
    Padding(u8),
    /// A packet too short for the fields or the count that its type has.
    #[error("an RTCP packet of type {packet_type} with count {count} is too short for it")]
    Content {
        /// The packet type.
        packet_type: u8,
        /// The 5-bit count or format.
        count: u8,
    },
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcpPacket<'a> {
    /// SR, 200.
    SenderReport(SenderReport<'a>),
    /// RR, 201.
    ReceiverReport(ReceiverReport<'a>),
    /// SDES, 202.
    SourceDescription(SourceDescription<'a>),
    /// BYE, 203.
    Goodbye(Goodbye<'a>),
    /// RTPFB, 205, format 15: transport-wide congestion control.
    TransportFeedback(TransportFeedback<'a>),
    /// Anything else: APP, NACK, PLI, XR and so on.
    Other {
        /// The packet type.
        packet_type: u8,
        /// The 5-bit count or format.
        count: u8,
    },
}

/// What a sender says of its own stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// Who sends.
    pub ssrc: Ssrc,
    /// Its wall clock at this report.
    pub ntp: NtpTime,
    /// Its media clock at the same instant.
    pub rtp_timestamp: RtpTimestamp,
    /// RTP packets sent; wraps.
    pub packets: u32,
    /// Payload bytes sent; wraps.
    pub octets: u32,
}

/// A sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport<'a> {
    /// What it says of its own stream.
    pub sender: SenderInfo,
    /// What it says of the streams that it receives.
    pub reports: ReportBlocks<'a>,
}

/// A receiver report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverReport<'a> {
    /// Who reports.
    pub ssrc: Ssrc,
    /// What it says of the streams that it receives.
    pub reports: ReportBlocks<'a>,
}

/// What a receiver says of one stream (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: Ssrc,
    /// Lost since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning; duplicates can make it negative. 24 bits on the wire.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with its cycles in the upper half.
    pub extended_highest_sequence: u32,
    /// Interarrival jitter in units of the stream's clock.
    pub jitter: u32,
    /// The last SR's NTP time; zero: none was received.
    pub last_sender_report: CompactNtp,
    /// From that SR to this report; zero: none was received.
    pub delay_since_last_sender_report: CompactNtp,
}

/// An iterator over the report blocks of one SR or RR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlocks<'a>(&'a [[u8; REPORT_BLOCK_LEN]]);

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first()?;
        self.0 = rest;
        let word = |at: usize| {
            u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        Some(ReportBlock {
            ssrc: Ssrc(word(0)),
            fraction_lost: block[4],
            // Shifted up and down again to extend the sign of 24 bits.
            cumulative_lost: ((word(4) << 8) as i32) >> 8,
            extended_highest_sequence: word(8),
            jitter: word(12),
            last_sender_report: CompactNtp(word(16)),
            delay_since_last_sender_report: CompactNtp(word(20)),
        })
    }
}

/// An SDES packet. Only CNAME is of interest here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceDescription<'a> {
    chunks: &'a [u8],
    count: u8,
}

impl<'a> SourceDescription<'a> {
    /// The (source, CNAME) pairs; chunks without CNAME are left out, and a chunk that does not fit ends it.
    pub fn canonical_names(&self) -> impl Iterator<Item = (Ssrc, &'a [u8])> + use<'a> {
        let mut rest = self.chunks;
        let chunks = (0..self.count).map_while(move |_| {
            let (ssrc, after) = rest.split_first_chunk::<4>()?;
            let (canonical_name, items_len) = read_items(after)?;
            // Items end with a null byte, then padding to the next word.
            rest = after
                .get(items_len.next_multiple_of(4)..)
                .unwrap_or_default();
            Some((Ssrc(u32::from_be_bytes(*ssrc)), canonical_name))
        });
        chunks.filter_map(|(ssrc, canonical_name)| Some((ssrc, canonical_name?)))
    }
}

/// The CNAME among the items of one SDES chunk, and the items' length with the null that ends them.
fn read_items(items: &[u8]) -> Option<(Option<&[u8]>, usize)> {
    let mut at = 0;
    let mut canonical_name = None;
    loop {
        let kind = *items.get(at)?;
        if kind == 0 {
            return Some((canonical_name, at + 1));
        }
        let value_len = usize::from(*items.get(at + 1)?);
        let value = items.get(at + 2..at + 2 + value_len)?;
        if kind == SDES_CNAME {
            canonical_name = Some(value);
        }
        at += 2 + value_len;
    }
}

/// A BYE packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goodbye<'a> {
    sources: &'a [[u8; 4]],
    /// The reason as sent, maybe no UTF-8; empty if there is none.
    pub reason: &'a [u8],
}

impl<'a> Goodbye<'a> {
    /// Who leaves.
    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + 'a {
        self.sources
            .iter()
            .map(|source| Ssrc(u32::from_be_bytes(*source)))
    }
}

/// The packets of one compound, at most [`RTCP_PACKETS_MAX`].
pub fn rtcp_packets(datagram: &[u8]) -> RtcpPackets<'_> {
    RtcpPackets {
        rest: datagram,
        left: RTCP_PACKETS_MAX,
    }
}

/// An iterator over a compound packet. A packet whose content does not fit its type is an error item and passed over;
/// a header that can't be read is an error item and the last one.
#[derive(Debug, Clone)]
pub struct RtcpPackets<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for RtcpPackets<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let framed = split_packet(self.rest);
        self.rest = framed.map_or(&[], |(_, rest)| rest);
        Some(framed.and_then(|(packet, _)| parse_packet(packet)))
    }
}

/// The first packet with its header, and what follows it.
fn split_packet(bytes: &[u8]) -> Result<(&[u8], &[u8]), RtcpError> {
    let len = bytes.len();
    let [flags, _, high, low, ..] = *bytes else {
        let needed = HEADER_LEN;
        return Err(RtcpError::Truncated { needed, len });
    };
    if flags >> 6 != VERSION {
        return Err(RtcpError::Version(flags >> 6));
    }
    let needed = HEADER_LEN + 4 * usize::from(u16::from_be_bytes([high, low]));
    bytes
        .split_at_checked(needed)
        .ok_or(RtcpError::Truncated { needed, len })
}

fn parse_packet(packet: &[u8]) -> Result<RtcpPacket<'_>, RtcpError> {
    let Some((&[flags, packet_type, _, _], body)) = packet.split_first_chunk::<HEADER_LEN>() else {
        let needed = HEADER_LEN;
        let len = packet.len();
        return Err(RtcpError::Truncated { needed, len });
    };
    let count = flags & 0x1f;
    let body = if flags & PADDING_BIT != 0 {
        let padding_len = body.last().copied().unwrap_or(0);
        let content_len = body.len().checked_sub(usize::from(padding_len));
        let fitting = content_len.filter(|_| padding_len > 0);
        &body[..fitting.ok_or(RtcpError::Padding(padding_len))?]
    } else {
        body
    };
    let parsed = match packet_type {
        TYPE_SENDER_REPORT => parse_sender_report(body, count).map(RtcpPacket::SenderReport),
        TYPE_RECEIVER_REPORT => parse_receiver_report(body, count).map(RtcpPacket::ReceiverReport),
        TYPE_SOURCE_DESCRIPTION => Some(RtcpPacket::SourceDescription(SourceDescription {
            chunks: body,
            count,
        })),
        TYPE_GOODBYE => parse_goodbye(body, count).map(RtcpPacket::Goodbye),
        TYPE_TRANSPORT_LAYER_FEEDBACK if count == FORMAT_TRANSPORT_CC => {
            TransportFeedback::parse(body).map(RtcpPacket::TransportFeedback)
        }
        _ => Some(RtcpPacket::Other { packet_type, count }),
    };
    parsed.ok_or(RtcpError::Content { packet_type, count })
}

fn parse_sender_report(body: &[u8], count: u8) -> Option<SenderReport<'_>> {
    let (info, rest) = body.split_first_chunk::<24>()?;
    let word = |at: usize| u32::from_be_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
    let sender = SenderInfo {
        ssrc: Ssrc(word(0)),
        ntp: NtpTime((u64::from(word(4)) << 32) | u64::from(word(8))),
        rtp_timestamp: RtpTimestamp(word(12)),
        packets: word(16),
        octets: word(20),
    };
    let reports = parse_report_blocks(rest, count)?;
    Some(SenderReport { sender, reports })
}

fn parse_receiver_report(body: &[u8], count: u8) -> Option<ReceiverReport<'_>> {
    let (ssrc, rest) = body.split_first_chunk::<4>()?;
    let ssrc = Ssrc(u32::from_be_bytes(*ssrc));
    let reports = parse_report_blocks(rest, count)?;
    Some(ReceiverReport { ssrc, reports })
}

/// Profile-specific extensions may follow the blocks.
fn parse_report_blocks(bytes: &[u8], count: u8) -> Option<ReportBlocks<'_>> {
    let (blocks, _) = bytes.as_chunks::<REPORT_BLOCK_LEN>();
    blocks.get(..usize::from(count)).map(ReportBlocks)
}

fn parse_goodbye(body: &[u8], count: u8) -> Option<Goodbye<'_>> {
    let (sources, after) = body.split_at_checked(4 * usize::from(count))?;
    let (sources, _) = sources.as_chunks::<4>();
    let reason = match after.split_first() {
        Some((reason_len, text)) => text.get(..usize::from(*reason_len)).unwrap_or_default(),
        None => &[],
    };
    Some(Goodbye { sources, reason })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::rtp::RtcpWriter;
    use proptest::prelude::*;

    const SENDER: SenderInfo = SenderInfo {
        ssrc: Ssrc(0x1111_2222),
        ntp: NtpTime(0x0102_0304_0506_0708),
        rtp_timestamp: RtpTimestamp(0x0a0b_0c0d),
        packets: 1000,
        octets: 160_000,
    };

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: Ssrc(0x3333_4444),
        fraction_lost: 12,
        cumulative_lost: -3,
        extended_highest_sequence: 0x0001_0005,
        jitter: 77,
        last_sender_report: CompactNtp(0x1234_5678),
        delay_since_last_sender_report: CompactNtp(0x8000),
    };

    fn all(datagram: &[u8]) -> Vec<Result<RtcpPacket<'_>, RtcpError>> {
        rtcp_packets(datagram).collect()
    }

    #[test]
    fn a_compound_is_read_as_it_was_written() {
        let mut buffer = [0xff; 256];
        let mut writer = RtcpWriter::new(&mut buffer);
        writer.sender_report(&SENDER, &[BLOCK]).unwrap();
        writer.receiver_report(Ssrc(7), &[BLOCK, BLOCK]).unwrap();
        writer.source_description(Ssrc(7), "a@b").unwrap();
        writer.goodbye(Ssrc(7)).unwrap();
        let len = writer.len();
        assert_eq!(len % 4, 0);

        let packets = all(&buffer[..len]);
        let [
            Ok(RtcpPacket::SenderReport(sender_report)),
            Ok(RtcpPacket::ReceiverReport(receiver_report)),
            Ok(RtcpPacket::SourceDescription(description)),
            Ok(RtcpPacket::Goodbye(goodbye)),
        ] = packets.as_slice()
        else {
            panic!("{packets:?}");
        };
        assert_eq!(sender_report.sender, SENDER);
        assert_eq!(sender_report.reports.collect::<Vec<_>>(), [BLOCK]);
        assert_eq!(receiver_report.ssrc, Ssrc(7));
        assert_eq!(receiver_report.reports.count(), 2);
        let names: Vec<_> = description.canonical_names().collect();
        assert_eq!(names, [(Ssrc(7), &b"a@b"[..])]);
        assert_eq!(goodbye.sources().collect::<Vec<_>>(), [Ssrc(7)]);
        assert_eq!(goodbye.reason, b"");
    }

    #[test]
    fn a_goodbye_may_give_a_reason() {
        let datagram = [
            0x81, 203, 0, 3, 0, 0, 0, 9, 4, b'd', b'o', b'n', b'e', 0, 0, 0,
        ];
        let packets = all(&datagram);
        let [Ok(RtcpPacket::Goodbye(goodbye))] = packets.as_slice() else {
            panic!("{packets:?}");
        };
        assert_eq!(goodbye.reason, b"done");
    }

    #[test]
    fn several_description_chunks_are_read() {
        let mut datagram = vec![0x82, 202, 0, 0];
        datagram.extend([0, 0, 0, 1, 2, 1, b'x', 1, 2, b'a', b'b', 0]); // NAME, then CNAME
        datagram.extend([0, 0, 0, 2, 1, 1, b'c', 0]);
        datagram[3] = (datagram.len() / 4 - 1) as u8;
        let packets = all(&datagram);
        let [Ok(RtcpPacket::SourceDescription(description))] = packets.as_slice() else {
            panic!("{packets:?}");
        };
        let names: Vec<_> = description.canonical_names().collect();
        assert_eq!(names, [(Ssrc(1), &b"ab"[..]), (Ssrc(2), &b"c"[..])]);
    }

    #[test]
    fn what_was_read_before_a_fault_counts() {
        let mut datagram = vec![0x80, 204, 0, 0]; // APP: unknown here
        datagram.extend([0x81, 201, 0, 1, 0, 0, 0, 1]); // an RR that claims a block it does not have
        datagram.extend([0x80, 201, 0, 1, 0, 0, 0, 2]);
        datagram.extend([0x80, 201, 0, 9]);
        let packets = all(&datagram);
        assert_eq!(
            packets[0],
            Ok(RtcpPacket::Other {
                packet_type: 204,
                count: 0
            })
        );
        assert_eq!(
            packets[1],
            Err(RtcpError::Content {
                packet_type: 201,
                count: 1
            })
        );
        assert!(
            matches!(packets[2], Ok(RtcpPacket::ReceiverReport(report)) if report.ssrc == Ssrc(2))
        );
        assert_eq!(packets[3], Err(RtcpError::Truncated { needed: 40, len: 4 }));
        assert_eq!(packets.len(), 4);
    }

    #[test]
    fn a_datagram_of_many_packets_is_cut_off() {
        let datagram = [0x80, 204, 0, 0].repeat(RTCP_PACKETS_MAX + 5);
        assert_eq!(all(&datagram).len(), RTCP_PACKETS_MAX);
    }

    #[test]
    fn rtp_and_rtcp_are_told_apart() {
        assert!(is_rtcp(&[0x80, 200]));
        assert!(is_rtcp(&[0x80, 205]));
        assert!(!is_rtcp(&[0x80, 111]));
        assert!(!is_rtcp(&[0x80, 0x80 | 111]));
        assert!(!is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn no_datagram_is_too_strange(mut datagram in proptest::collection::vec(any::<u8>(), 0..256), steer: bool) {
            if steer && datagram.len() > 4 {
                datagram[0] = 0x80 | (datagram[0] & 0x3f);
                datagram[1] = 200 + datagram[1] % 8;
                datagram[2] = 0;
            }
            for packet in rtcp_packets(&datagram).flatten() {
                match packet {
                    RtcpPacket::SenderReport(report) => drop(report.reports.count()),
                    RtcpPacket::ReceiverReport(report) => drop(report.reports.count()),
                    RtcpPacket::SourceDescription(description) => drop(description.canonical_names().count()),
                    RtcpPacket::Goodbye(goodbye) => drop(goodbye.sources().count()),
                    RtcpPacket::TransportFeedback(feedback) => drop(feedback.packets().count()),
                    RtcpPacket::Other { .. } => {}
                }
            }
        }

        #[test]
        fn report_blocks_round_trip(
            ssrc: u32, fraction_lost: u8, cumulative_lost in -0x80_0000..0x80_0000_i32,
            extended_highest_sequence: u32, jitter: u32, lsr: u32, dlsr: u32
        ) {
            let block = ReportBlock {
                ssrc: Ssrc(ssrc), fraction_lost, cumulative_lost, extended_highest_sequence, jitter,
                last_sender_report: CompactNtp(lsr), delay_since_last_sender_report: CompactNtp(dlsr),
            };
            let mut buffer = [0; 64];
            let mut writer = RtcpWriter::new(&mut buffer);
            writer.receiver_report(Ssrc(1), &[block]).unwrap();
            let len = writer.len();
            let Some(Ok(RtcpPacket::ReceiverReport(report))) = rtcp_packets(&buffer[..len]).next() else {
                panic!("no receiver report");
            };
            prop_assert_eq!(report.reports.collect::<Vec<_>>(), vec![block]);
        }
    }
}
