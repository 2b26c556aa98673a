//! RTP and RTCP on the wire (RFC 3550, 8285, 4585, transport-cc) and the arithmetic of their clocks. Pure.

mod header_extension;
mod ntp;
mod packet;
mod rtcp;
mod sequence;
mod session;
mod statistics;
mod telephone_event;
mod transport_cc;

pub use header_extension::*;
pub use ntp::*;
pub use packet::*;
pub use rtcp::{
    CNAME_LEN_MAX, Goodbye, REPORT_BLOCKS_MAX, RTCP_PACKETS_MAX, ReceiverReport, ReportBlock,
    ReportBlocks, RtcpError, RtcpPacket, RtcpPackets, RtcpWriter, SenderInfo, SenderReport,
    SourceDescription, is_rtcp, rtcp_packets,
};
pub use sequence::*;
pub use session::*;
pub use statistics::*;
pub use telephone_event::*;
pub use transport_cc::*;
