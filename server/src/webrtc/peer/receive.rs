//! What comes in: RFC 7983 tells STUN, DTLS, RTP and RTCP apart; each goes its way.

use std::net::SocketAddr;
use std::time::Instant;

use super::{DATAGRAM_LEN_MAX, Peer, RESPONSES_MAX, Received, Response, Stage};
use crate::metrics::DropReason;
use crate::rtp::{PayloadType, RtcpPacket, RtpPacket, SequenceNumber, is_rtcp, rtcp_packets};
use crate::webrtc::dtls::DtlsInvalid;
use crate::webrtc::stun::{RESPONSE_LEN_MAX, StunMessage};

impl Peer {
    /// Takes a datagram from the shared socket and decrypts it in place (RFC 7983 tells what it is).
    ///
    /// # Errors
    /// [`DropReason`]: the datagram went no further; count it.
    pub fn handle_datagram<'d>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'d mut [u8],
    ) -> Result<Received<'d>, DropReason> {
        if datagram.len() > DATAGRAM_LEN_MAX {
            return Err(DropReason::Oversized);
        }
        let first = *datagram.first().ok_or(DropReason::UnknownProtocol)?;
        if matches!(self.stage, Stage::Closing | Stage::Over) {
            return Err(DropReason::UnknownSource);
        }
        match first {
            0..=3 => self.handle_stun(now, from, datagram),
            20..=63 => self.handle_dtls(now, from, datagram),
            128..=191 if !self.ice.is_bound(from) => Err(DropReason::UnknownSource),
            128..=191 if is_rtcp(datagram) => self.handle_rtcp(now, from, datagram),
            128..=191 => self.handle_rtp(now, from, datagram),
            _ => Err(DropReason::UnknownProtocol),
        }
    }

    fn handle_stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Received<'static>, DropReason> {
        let message = StunMessage::parse(datagram).map_err(|_| DropReason::StunMalformed)?;
        let mut response = Response {
            to: from,
            len: 0,
            bytes: [0; RESPONSE_LEN_MAX],
        };
        let outcome = self
            .ice
            .handle_binding(now, from, &message, &mut response.bytes);
        response.len = outcome.response_len;
        if response.len > 0 && self.responses.len() < RESPONSES_MAX {
            self.responses.push_back(response);
        }
        self.take_ice_events();
        outcome.drop_reason.map_or(Ok(Received::Control), Err)
    }

    fn handle_dtls(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Received<'static>, DropReason> {
        if !self.ice.is_bound(from) {
            return Err(DropReason::UnknownSource);
        }
        let result = self.dtls.handle_datagram(now, datagram);
        if result == Ok(true) {
            self.ice.handle_handshake(from);
        }
        self.take_ice_events();
        self.take_dtls_events();
        match result {
            Ok(true) => Ok(Received::Control),
            Ok(false) => Err(DropReason::DtlsIgnored),
            Err(DtlsInvalid) => Err(DropReason::DtlsInvalid),
        }
    }

    fn handle_rtcp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<Received<'static>, DropReason> {
        let srtp = self.srtp.as_mut().ok_or(DropReason::SrtpNoKeys)?;
        let len = srtp
            .receive
            .unprotect_rtcp(datagram)
            .map_err(|error| error.drop_reason())?;
        self.note_media(now, from);
        let datagram = datagram.get(..len).ok_or(DropReason::SrtpMalformed)?;
        // A browser says BYE for a source that it stops, on hold too: it does not end the call.
        let received = self
            .rtcp
            .handle_rtcp(now, datagram)
            .map_err(|_| DropReason::RtcpMalformed)?;
        for packet in rtcp_packets(datagram) {
            if let Ok(RtcpPacket::TransportFeedback(feedback)) = packet {
                self.congestion.handle_feedback(now, &feedback);
            }
        }
        if received.reported {
            self.congestion
                .handle_report(now, self.rtcp.remote_loss(now));
        }
        Ok(Received::Control)
    }

    fn handle_rtp<'d>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'d mut [u8],
    ) -> Result<Received<'d>, DropReason> {
        let srtp = self.srtp.as_mut().ok_or(DropReason::SrtpNoKeys)?;
        let len = srtp
            .receive
            .unprotect_rtp(datagram)
            .map_err(|error| error.drop_reason())?;
        self.note_media(now, from);
        let datagram: &'d [u8] = datagram;
        let datagram = datagram.get(..len).ok_or(DropReason::SrtpMalformed)?;
        let packet = RtpPacket::parse(datagram).map_err(|_| DropReason::RtpMalformed)?;
        self.note_transport_cc(now, &packet);
        let media = packet.media();
        let clock_rate_hz = self
            .clock_rate_hz(media.payload_type)
            .ok_or(DropReason::RtpPayloadType)?;
        self.rtcp.handle_rtp_received(now, &media, clock_rate_hz);
        if !self.audio.direction.receives() {
            return Err(DropReason::OnHold);
        }
        Ok(Received::Media(media))
    }

    fn note_media(&mut self, now: Instant, from: SocketAddr) {
        self.last_media_at = Some(now);
        self.ice.handle_authenticated_media(now, from);
        self.take_ice_events();
    }

    fn note_transport_cc(&mut self, now: Instant, packet: &RtpPacket<'_>) {
        let Some(id) = self.audio.transport_cc_id else {
            return;
        };
        if let Some([high, low]) = packet.extension(id) {
            let sequence_number = SequenceNumber(u16::from_be_bytes([*high, *low]));
            self.transport_cc
                .handle_packet(now, packet.media().ssrc, sequence_number);
        }
    }

    /// The clock of a negotiated payload type.
    fn clock_rate_hz(&self, payload_type: PayloadType) -> Option<u32> {
        let format = &self.audio.format;
        if payload_type == format.payload_type {
            return Some(format.codec.clock_rate_hz());
        }
        let event = format.telephone_event?;
        (payload_type == event.payload_type).then_some(event.clock_rate_hz)
    }
}
