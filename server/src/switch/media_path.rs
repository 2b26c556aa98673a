//! From one leg of a call to the other, without sockets: what the bridge has ready becomes datagrams of the leg that it is for.
//!
//! No allocation per packet: payloads and datagrams are written into the shard's two buffers. Where datagrams go from here is
//! the [`Wire`]'s: the shard's sockets, or the memory of a bench.

use std::net::SocketAddr;
use std::time::Instant;

use super::DATAGRAM_BYTES_MAX;
use crate::bridge::{Bridge, Output, PAYLOAD_LEN_MAX};
use crate::id::LegId;
use crate::metrics::DropReason;
use crate::pcm::PcmLeg;
use crate::rtp::{MediaPacket, Ssrc};
use crate::trunk::RtpLeg;
use crate::webrtc::Peer;

/// The source of reflected and of played packets, as the bridge sees it.
pub(super) const ECHO_SSRC: Ssrc = Ssrc(0xec40);

/// What every packet of a shard is written into on its way.
#[derive(Debug)]
pub struct PacketBuffers {
    pub(super) payload: Box<[u8]>,
    pub(super) datagram: Box<[u8]>,
}

impl Default for PacketBuffers {
    fn default() -> Self {
        Self {
            payload: vec![0; PAYLOAD_LEN_MAX].into_boxed_slice(),
            datagram: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
        }
    }
}

/// One leg of a call, as packets meet it.
pub enum PathEnd<'a> {
    /// A page.
    Peer(&'a mut Peer),
    /// A far end that speaks RTP.
    Rtp(&'a mut RtpLeg),
    /// A peer with a WebSocket of audio: its leg's clock sends.
    Pcm(&'a mut PcmLeg),
    /// What it is sent comes back.
    Echo,
    /// Nothing leaves here: a recording, or a leg without media yet.
    None,
}

/// The bridge of a call, between its legs.
pub struct MediaPath<'a> {
    /// What is done to the audio.
    pub bridge: &'a mut Bridge,
    /// [`LegId::VENDOR`].
    pub vendor: PathEnd<'a>,
    /// [`LegId::TRUNK`].
    pub trunk: PathEnd<'a>,
}

/// Where datagrams leave.
pub trait Wire {
    /// To a page.
    fn send_to_peer(&mut self, remote: SocketAddr, datagram: &[u8]);
    /// To the call's far end.
    fn send_to_trunk(&mut self, remote: SocketAddr, datagram: &[u8]);
    /// A packet went no further.
    fn dropped(&mut self, reason: DropReason);
}

/// A digit that one leg has sent, to be told on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigitFor {
    /// Who is to be told.
    pub leg: LegId,
    /// One of `0-9 * # A-D`.
    pub digit: char,
    /// How long it was pressed.
    pub duration_ms: u32,
}

impl MediaPath<'_> {
    /// Moves what the bridge has ready to where it goes, until it has nothing more, or a digit to tell: then call again.
    pub fn pump(
        &mut self,
        now: Instant,
        buffers: &mut PacketBuffers,
        wire: &mut impl Wire,
    ) -> Option<DigitFor> {
        while let Some((to, output)) = self.bridge.poll_output(&mut buffers.payload) {
            match output {
                Output::Digit { digit, duration_ms } => {
                    return Some(DigitFor {
                        leg: to,
                        digit,
                        duration_ms,
                    });
                }
                Output::Packet {
                    kind: _,
                    marker,
                    payload_type,
                    sequence_number,
                    timestamp,
                    payload_len,
                } => {
                    let packet = MediaPacket {
                        marker,
                        payload_type,
                        sequence_number,
                        timestamp,
                        ssrc: ECHO_SSRC,
                        payload: buffers.payload.get(..payload_len).unwrap_or_default(),
                    };
                    let end = match to {
                        LegId::VENDOR => &mut self.vendor,
                        _ => &mut self.trunk,
                    };
                    match end {
                        PathEnd::Echo => self.bridge.handle_packet(to, now, &packet),
                        end => end.send(now, &packet, &mut buffers.datagram, wire),
                    }
                }
            }
        }
        None
    }
}

impl PathEnd<'_> {
    fn send(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        datagram: &mut [u8],
        wire: &mut impl Wire,
    ) {
        match self {
            Self::Peer(peer) => {
                let written = peer.write_rtp(now, packet, datagram);
                if let Some((len, remote)) = written {
                    wire.send_to_peer(remote, datagram.get(..len).unwrap_or_default());
                }
            }
            Self::Rtp(leg) if !leg.direction().sends() => wire.dropped(DropReason::OnHold),
            Self::Rtp(leg) => {
                let written = leg.write_rtp(now, packet, datagram);
                match written {
                    Some((len, remote)) => {
                        wire.send_to_trunk(remote, datagram.get(..len).unwrap_or_default());
                    }
                    // Only for a payload that fits no datagram, which no bridge makes.
                    None => wire.dropped(DropReason::Oversized),
                }
            }
            Self::Pcm(leg) => leg.handle_packet(now, packet),
            Self::Echo | Self::None => {}
        }
    }
}
