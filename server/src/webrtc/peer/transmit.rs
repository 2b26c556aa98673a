//! What goes out: media when the bridge has some, everything else when it is due.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Peer, Stage, TRANSMIT_LEN_MAX};
use crate::rtp::{MediaPacket, NtpTime, RtpHeader};

impl Peer {
    /// Writes one protected RTP packet, with our SSRC, into `out` and says where it goes. None before [`PeerEvent::Connected`](super::PeerEvent::Connected), while
    /// our direction does not send, and when `out` is too short ([`TRANSMIT_LEN_MAX`] suffices for 1 kB of payload).
    pub fn write_rtp(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        out: &mut [u8],
    ) -> Option<(usize, SocketAddr)> {
        if self.stage != Stage::Connected || !self.audio.direction.sends() {
            return None;
        }
        let to = self.ice.selected()?;
        let ssrc = self.drawn.ssrc;
        let header = RtpHeader {
            marker: packet.marker,
            payload_type: packet.payload_type,
            sequence_number: packet.sequence_number,
            timestamp: packet.timestamp,
            ssrc,
        };
        let number = self.congestion.next_sequence_number().0.to_be_bytes();
        let transport_cc = self.audio.transport_cc_id.map(|id| (id, &number[..]));
        let len =
            header.write_packet_with_extensions(transport_cc.as_slice(), packet.payload, out)?;
        let len = self.srtp.as_mut()?.send.protect_rtp(out, len).ok()?;
        self.congestion.handle_sent(now, len);
        self.packet_overhead_len = len - packet.payload.len();
        self.rtcp
            .handle_rtp_sent(now, packet.timestamp, packet.payload.len());
        Some((len, to))
    }

    /// The next datagram of ICE, DTLS or RTCP: its length in `out` ([`TRANSMIT_LEN_MAX`] bytes) and where it goes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<(usize, SocketAddr)> {
        if let Some(response) = self.responses.pop_front() {
            let bytes = response.bytes.get(..response.len)?;
            out.get_mut(..response.len)?.copy_from_slice(bytes);
            return Some((response.len, response.to));
        }
        let to = self.ice.selected()?;
        if let Some(goodbye) = self.goodbye.take() {
            out.get_mut(..goodbye.len())?.copy_from_slice(&goodbye);
            return Some((goodbye.len(), to));
        }
        if let Some(len) = self.dtls.poll_transmit(out) {
            return Some((len, to));
        }
        self.poll_rtcp(now, out).map(|len| (len, to))
    }

    /// The last report with a BYE, protected; none before the keys.
    pub(super) fn write_goodbye(&mut self, now: Instant) -> Option<Vec<u8>> {
        let wall = self.wall(now);
        let mut out = vec![0; TRANSMIT_LEN_MAX];
        let len = self.rtcp.write_goodbye(now, wall, &mut out)?;
        let len = self.srtp.as_mut()?.send.protect_rtcp(&mut out, len).ok()?;
        out.truncate(len);
        Some(out)
    }

    fn poll_rtcp(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        if self.stage != Stage::Connected {
            return None;
        }
        let wall = self.wall(now);
        let len = match self.rtcp.poll_report(now, wall, out) {
            Some(len) => len,
            None => self.transport_cc.poll_feedback(now, out)?,
        };
        self.srtp.as_mut()?.send.protect_rtcp(out, len).ok()
    }

    /// The wall clock, carried forward by the monotonic one.
    fn wall(&self, now: Instant) -> NtpTime {
        let (started, wall) = self.started;
        let since = now.saturating_duration_since(started);
        let seconds = since.as_secs() << 32;
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        NtpTime(wall.0.wrapping_add(seconds).wrapping_add(fraction))
    }
}
