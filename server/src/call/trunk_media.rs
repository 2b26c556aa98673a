//! What signalling agreed on for a trunk leg's media, as the control thread tells it to the shard that carries the call.

use std::net::SocketAddr;

use shards::tick_stream::LiveStream;

use crate::bridge::StreamFormat;
use crate::config::EchoCodec;
use crate::rtp::StreamDirection;
use crate::srtp::SrtpKeys;

/// The media of a trunk leg.
#[derive(Debug)]
pub enum TrunkMedia {
    /// Our own echo.
    Echo(EchoCodec),
    /// RTP with a far end.
    Rtp(Box<RtpMedia>),
    /// A WebSocket with an AI agent, behind its handshake; the shard owns it from here on. Only as an answer.
    Socket(Box<LiveStream>),
}

/// RTP with a far end, by its SDP and ours, or by the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpMedia {
    /// Where the far end takes RTP.
    pub remote: SocketAddr,
    /// Where it takes RTCP; none: on the RTP port (RFC 5761).
    pub remote_rtcp: Option<SocketAddr>,
    /// What we send: the payload types of the far end's SDP. The codec is the same in both directions.
    pub sends: StreamFormat,
    /// What we take: the payload types of our own SDP.
    pub receives: StreamFormat,
    /// Who sends, seen from us.
    pub direction: StreamDirection,
    /// Keys of both directions, where the media is SRTP.
    pub srtp: Option<SrtpKeyPair>,
}

/// The keys that each side put into its SDP (RFC 4568 section 6.1: who sends with a key has chosen it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeyPair {
    /// What we send is protected with these.
    pub ours: SrtpKeys,
    /// What the far end sends is protected with these.
    pub theirs: SrtpKeys,
}
