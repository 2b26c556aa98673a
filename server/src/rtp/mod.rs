//! RTP and RTCP on the wire (RFC 3550, 8285, 4585, transport-cc) and the arithmetic of their clocks. Pure.

mod header_extension;
mod loss_estimate;
mod ntp;
mod packet;
mod receive_statistics;
mod rtcp;
mod rtcp_writer;
mod sequence;
mod session;
mod statistics;
mod stream_direction;
mod telephone_event;
mod transport_cc;

pub use header_extension::*;
pub use loss_estimate::*;
pub use ntp::*;
pub use packet::*;
pub use receive_statistics::*;
pub use rtcp::{
    CNAME_LEN_MAX, Goodbye, REPORT_BLOCKS_MAX, RTCP_PACKETS_MAX, ReceiverReport, ReportBlock,
    ReportBlocks, RtcpError, RtcpPacket, RtcpPackets, SenderInfo, SenderReport, SourceDescription,
    is_rtcp, rtcp_packets,
};
pub use rtcp_writer::RtcpWriter;
pub use sequence::*;
pub use session::*;
pub use statistics::*;
pub use stream_direction::*;
pub use telephone_event::*;
pub use transport_cc::*;
