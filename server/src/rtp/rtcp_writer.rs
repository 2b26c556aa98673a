//! RTCP packets (RFC 3550 section 6) written in place into a send buffer, one after the other as a compound.
//!
//! What is written is read again in the tests of [`rtcp_packets`](super::rtcp_packets).

use super::rtcp::{
    FORMAT_TRANSPORT_CC, HEADER_LEN, PADDING_BIT, REPORT_BLOCK_LEN, SDES_CNAME, TYPE_GOODBYE,
    TYPE_RECEIVER_REPORT, TYPE_SENDER_REPORT, TYPE_SOURCE_DESCRIPTION,
    TYPE_TRANSPORT_LAYER_FEEDBACK, VERSION,
};
use super::{REPORT_BLOCKS_MAX, ReportBlock, SenderInfo, Ssrc};

/// Writes a compound packet, one packet after the other. A packet that does not fit is not written at all.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> RtcpWriter<'a> {
    /// Writes from the front of `out`.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Bytes written so far: the datagram's length in the end.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is nothing written yet?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// An SR. `None`: no room, or more than [`REPORT_BLOCKS_MAX`] blocks.
    pub fn sender_report(&mut self, sender: &SenderInfo, reports: &[ReportBlock]) -> Option<()> {
        let count = report_count(reports)?;
        let body_len = 24 + REPORT_BLOCK_LEN * reports.len();
        let body = self.packet(TYPE_SENDER_REPORT, count, body_len)?;
        body[..4].copy_from_slice(&sender.ssrc.0.to_be_bytes());
        body[4..12].copy_from_slice(&sender.ntp.0.to_be_bytes());
        body[12..16].copy_from_slice(&sender.rtp_timestamp.0.to_be_bytes());
        body[16..20].copy_from_slice(&sender.packets.to_be_bytes());
        body[20..24].copy_from_slice(&sender.octets.to_be_bytes());
        write_report_blocks(reports, &mut body[24..]);
        Some(())
    }

    /// An RR. `None`: no room, or more than [`REPORT_BLOCKS_MAX`] blocks.
    pub fn receiver_report(&mut self, ssrc: Ssrc, reports: &[ReportBlock]) -> Option<()> {
        let count = report_count(reports)?;
        let body_len = 4 + REPORT_BLOCK_LEN * reports.len();
        let body = self.packet(TYPE_RECEIVER_REPORT, count, body_len)?;
        body[..4].copy_from_slice(&ssrc.0.to_be_bytes());
        write_report_blocks(reports, &mut body[4..]);
        Some(())
    }

    /// An SDES with one chunk and its CNAME. `None`: no room, or longer than [`CNAME_LEN_MAX`](super::CNAME_LEN_MAX).
    pub fn source_description(&mut self, ssrc: Ssrc, canonical_name: &str) -> Option<()> {
        let name_len = u8::try_from(canonical_name.len()).ok()?;
        let items_len = 2 + canonical_name.len() + 1;
        let body = self.packet(
            TYPE_SOURCE_DESCRIPTION,
            1,
            4 + items_len.next_multiple_of(4),
        )?;
        body[..4].copy_from_slice(&ssrc.0.to_be_bytes());
        body[4] = SDES_CNAME;
        body[5] = name_len;
        body[6..6 + canonical_name.len()].copy_from_slice(canonical_name.as_bytes());
        Some(())
    }

    /// A BYE of one source without a reason. `None`: no room.
    pub fn goodbye(&mut self, ssrc: Ssrc) -> Option<()> {
        let body = self.packet(TYPE_GOODBYE, 1, 4)?;
        body.copy_from_slice(&ssrc.0.to_be_bytes());
        Some(())
    }

    /// The header and a zeroed body of `body_len` bytes, a multiple of 4.
    fn packet(&mut self, packet_type: u8, count: u8, body_len: usize) -> Option<&mut [u8]> {
        let words = u16::try_from(body_len / 4).ok()?;
        let end = self.len + HEADER_LEN + body_len;
        let packet = self.out.get_mut(self.len..end)?;
        self.len = end;
        let (header, body) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
        *header = rtcp_header(packet_type, count, words);
        body.fill(0);
        Some(body)
    }
}

/// A packet's first four bytes, without padding; `words` is the length of the body in 32-bit words.
fn rtcp_header(packet_type: u8, count: u8, words: u16) -> [u8; HEADER_LEN] {
    let [high, low] = words.to_be_bytes();
    [(VERSION << 6) | (count & 0x1f), packet_type, high, low]
}

/// A transport-cc packet's first four bytes; `padded` sets the P bit.
pub(super) fn transport_feedback_header(words: u16, padded: bool) -> [u8; HEADER_LEN] {
    let mut header = rtcp_header(TYPE_TRANSPORT_LAYER_FEEDBACK, FORMAT_TRANSPORT_CC, words);
    if padded {
        header[0] |= PADDING_BIT;
    }
    header
}

fn report_count(reports: &[ReportBlock]) -> Option<u8> {
    (reports.len() <= REPORT_BLOCKS_MAX).then_some(reports.len() as u8)
}

/// `out` has room for exactly these blocks.
fn write_report_blocks(reports: &[ReportBlock], out: &mut [u8]) {
    let (blocks, _) = out.as_chunks_mut::<REPORT_BLOCK_LEN>();
    for (report, block) in reports.iter().zip(blocks) {
        let lost = report.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        let words = [
            report.ssrc.0,
            (u32::from(report.fraction_lost) << 24) | lost,
            report.extended_highest_sequence,
            report.jitter,
            report.last_sender_report.0,
            report.delay_since_last_sender_report.0,
        ];
        let (fields, _) = block.as_chunks_mut::<4>();
        for (field, word) in fields.iter_mut().zip(words) {
            *field = word.to_be_bytes();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::rtp::CNAME_LEN_MAX;

    #[test]
    fn what_does_not_fit_is_not_written_at_all() {
        let mut buffer = [0xff; 20];
        let mut writer = RtcpWriter::new(&mut buffer);
        writer.receiver_report(Ssrc(1), &[]).unwrap();
        assert_eq!(writer.source_description(Ssrc(1), "longer"), None);
        assert_eq!(writer.len(), 8);
        writer.goodbye(Ssrc(1)).unwrap();
        assert_eq!(writer.len(), 16);
        assert_eq!(buffer[16..], [0xff; 4]);
    }

    #[test]
    fn limits_are_those_of_the_wire() {
        let mut buffer = [0; 2000];
        let mut writer = RtcpWriter::new(&mut buffer);
        let blocks = [ReportBlock::default(); REPORT_BLOCKS_MAX + 1];
        assert_eq!(writer.receiver_report(Ssrc(1), &blocks), None);
        assert_eq!(
            writer.source_description(Ssrc(1), &"n".repeat(CNAME_LEN_MAX + 1)),
            None
        );
        assert!(writer.is_empty());
        assert!(writer.receiver_report(Ssrc(1), &blocks[1..]).is_some());
        assert!(
            writer
                .source_description(Ssrc(1), &"n".repeat(CNAME_LEN_MAX))
                .is_some()
        );
    }
}
