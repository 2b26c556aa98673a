//! A far end that speaks RTP/AVP (RFC 3550, RFC 3551) or RTP/SAVP (RFC 3711), symmetric (RFC 4961), RTCP on a port of its
//! own or muxed (RFC 5761).
//!
//! Sans-I/O: whoever owns the sockets hands datagrams in and sends what comes out. Not here: codecs, reordering and
//! digits (the bridge), what a BYE means for the call (the switch), where keys come from (SDP).

use std::net::SocketAddr;
use std::time::Instant;

use super::learned_source::{LearnedSource, canonical};
use super::ports::Strays;
use super::protection::Protection;
use crate::bridge::StreamFormat;
use crate::call::RtpMedia;
use crate::config::IpCidr;
use crate::metrics::DropReason;
use crate::rtp::{
    LegStatistics, MediaPacket, NtpTime, PayloadType, REPORT_INTERVAL_DEFAULT, RtcpReceived,
    RtcpSession, RtcpSessionConfig, RtpHeader, RtpPacket, Ssrc, StreamDirection, is_rtcp,
};
use crate::srtp::SrtpError;

pub use super::learned_source::{LEARNING_PACKETS, LEARNING_WINDOW};

/// What a leg is told at its beginning.
#[derive(Debug, Clone)]
pub struct RtpLegConfig {
    /// What was negotiated, or configured.
    pub media: RtpMedia,
    /// What may still come for the call that had the port before.
    pub strays: Option<Strays>,
    /// Where the far end's media may come from; empty: anywhere.
    pub allowed: Vec<IpCidr>,
    /// Random bytes for our SSRC, CNAME and report times.
    pub entropy: [u8; RtpLegConfig::ENTROPY_LEN],
}

impl RtpLegConfig {
    /// Random bytes that a leg needs.
    pub const ENTROPY_LEN: usize = 24;
}

/// What a datagram brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrunkReceived<'a> {
    /// Audio or a telephone-event of the far end.
    Media(MediaPacket<'a>),
    /// RTCP of the far end.
    Control(RtcpReceived),
}

/// One RTP leg.
///
/// Ask [`RtpLeg::poll_report`] at [`RtpLeg::poll_timeout`].
#[derive(Debug)]
pub struct RtpLeg {
    media: RtpMedia,
    ssrc: Ssrc,
    source: LearnedSource,
    /// None: plain RTP.
    protection: Option<Protection>,
    strays: Option<Strays>,
    allowed: Vec<IpCidr>,
    /// Where RTCP came from, when that is not where it was expected.
    rtcp_learned: Option<SocketAddr>,
    session: RtcpSession,
    last_media_at: Instant,
}

impl RtpLeg {
    /// A leg that begins now; its learning window with it.
    ///
    /// # Errors
    /// [`SrtpError::Cipher`] if the cipher refuses the keys; never seen.
    pub fn new(config: RtpLegConfig, now: Instant) -> Result<Self, SrtpError> {
        let RtpLegConfig {
            media,
            strays,
            allowed,
            entropy,
        } = config;
        let [s0, s1, s2, s3, r0, r1, r2, r3, r4, r5, r6, r7, cname @ ..] = entropy;
        let ssrc = Ssrc(u32::from_be_bytes([s0, s1, s2, s3]));
        let session = RtcpSessionConfig {
            ssrc,
            cname: random_cname(cname),
            clock_rate_hz: media.sends.codec.clock_rate_hz(),
            report_interval: REPORT_INTERVAL_DEFAULT,
            random_seed: u64::from_be_bytes([r0, r1, r2, r3, r4, r5, r6, r7]),
        };
        Ok(Self {
            ssrc,
            source: LearnedSource::new(media.remote, now),
            protection: media.srtp.as_ref().map(Protection::new).transpose()?,
            strays,
            allowed,
            rtcp_learned: None,
            session: RtcpSession::new(session, now),
            last_media_at: now,
            media,
        })
    }

    /// Negotiated again. SSRC and numbering go on. Another address of the far end is learned anew; the same one stays what
    /// it was learned to be. New keys begin with a roll-over counter of zero (RFC 4568 section 7.1.4), the same keys keep
    /// what they know.
    ///
    /// # Errors
    /// As [`RtpLeg::new`]; the leg is as before.
    pub fn update(&mut self, media: RtpMedia, now: Instant) -> Result<(), SrtpError> {
        match (&mut self.protection, &media.srtp) {
            (Some(protection), Some(keys)) => protection.update(keys)?,
            (protection, keys) => *protection = keys.as_ref().map(Protection::new).transpose()?,
        }
        // An address of nobody is how RFC 2543 put a far end on hold: it says nothing of where the far end is.
        if is_somebody(media.remote) && canonical(media.remote) != self.source.signalled() {
            self.source = LearnedSource::new(media.remote, now);
            self.rtcp_learned = None;
        }
        self.session
            .set_clock_rate(media.sends.codec.clock_rate_hz());
        self.media = media;
        Ok(())
    }

    /// A datagram of the RTP socket, changed where it is: RTP, or RTCP by its packet type, which some far ends send here
    /// without being asked.
    ///
    /// # Errors
    /// Why it goes no further.
    pub fn handle_datagram<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Result<TrunkReceived<'a>, DropReason> {
        if !is_rtcp(datagram) {
            return self
                .handle_rtp_datagram(now, from, datagram)
                .map(TrunkReceived::Media);
        }
        if canonical(from) != self.source.current() {
            return Err(DropReason::RtpWrongSource);
        }
        self.read_rtcp(now, datagram).map(TrunkReceived::Control)
    }

    /// A datagram that is RTP.
    ///
    /// # Errors
    /// Why it goes no further: not the far end's, malformed, not authentic, a payload type that was not negotiated.
    pub fn handle_rtp_datagram<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Result<MediaPacket<'a>, DropReason> {
        if !self.source.may_be_far_end(now, from) || !self.is_allowed(from) {
            return Err(DropReason::RtpWrongSource);
        }
        let len = match &mut self.protection {
            Some(protection) => protection.unprotect_rtp(datagram)?,
            None => datagram.len(),
        };
        let datagram: &'a [u8] = datagram;
        let packet = RtpPacket::parse(datagram.get(..len).unwrap_or(datagram))
            .map_err(|_| DropReason::RtpMalformed)?
            .media();
        let clock_rate_hz = self
            .clock_rate_hz(packet.payload_type)
            .ok_or(DropReason::RtpPayloadType)?;
        let is_stray =
            (self.strays).is_some_and(|strays| strays.ssrc == packet.ssrc && now < strays.until);
        if is_stray || !self.source.accept(now, from, &packet) {
            return Err(DropReason::RtpWrongSource);
        }
        self.session
            .handle_rtp_received(now, &packet, clock_rate_hz);
        self.last_media_at = now;
        Ok(packet)
    }

    /// A datagram of the RTCP socket. Its source is the port after RTP's, or, behind a NAT, any port of the same host
    /// that speaks first.
    ///
    /// # Errors
    /// Why it goes no further.
    pub fn handle_rtcp_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<RtcpReceived, DropReason> {
        let from = canonical(from);
        let may_be_learned =
            self.rtcp_learned().is_none() && from.ip() == self.source.current().ip();
        if from != self.rtcp_remote() && from != self.rtcp_expected() && !may_be_learned {
            return Err(DropReason::RtpWrongSource);
        }
        let received = self.read_rtcp(now, datagram)?;
        self.rtcp_learned = Some(from);
        Ok(received)
    }

    /// Writes one RTP packet with our SSRC to the front of `out`; returns its length in bytes and where to send it.
    /// `None` when `out` is too short, for SRTP by [`PROTECTION_OVERHEAD_MAX`](crate::srtp::PROTECTION_OVERHEAD_MAX) at most.
    pub fn write_rtp(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        out: &mut [u8],
    ) -> Option<(usize, SocketAddr)> {
        let header = RtpHeader {
            marker: packet.marker,
            payload_type: packet.payload_type,
            sequence_number: packet.sequence_number,
            timestamp: packet.timestamp,
            ssrc: self.ssrc,
        };
        let mut len = header.write_packet(packet.payload, out)?;
        if let Some(protection) = &mut self.protection {
            len = protection.protect_rtp(out, len)?;
        }
        // The session's clock is the codec's; timestamps of audio and events are the same clock's.
        self.session
            .handle_rtp_sent(now, packet.timestamp, packet.payload.len());
        Some((len, self.source.current()))
    }

    /// When [`RtpLeg::poll_report`] has something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        Some(self.session.poll_timeout())
    }

    /// The RTCP report that is due: its length in bytes and where to send it, from the RTCP socket or, muxed, from the
    /// RTP socket. `None`: nothing due, or `out` is shorter than [`RTCP_REPORT_LEN_MAX`](crate::rtp::RTCP_REPORT_LEN_MAX)
    /// and what SRTP adds to it.
    pub fn poll_report(
        &mut self,
        now: Instant,
        wall: NtpTime,
        out: &mut [u8],
    ) -> Option<(usize, SocketAddr)> {
        let len = self.session.poll_report(now, wall, out)?;
        self.protected_rtcp(len, out)
    }

    /// The last report, with a BYE; otherwise as [`RtpLeg::poll_report`].
    pub fn write_bye(
        &mut self,
        now: Instant,
        wall: NtpTime,
        out: &mut [u8],
    ) -> Option<(usize, SocketAddr)> {
        let len = self.session.write_goodbye(now, wall, out)?;
        self.protected_rtcp(len, out)
    }

    /// What we send.
    pub fn sends(&self) -> &StreamFormat {
        &self.media.sends
    }

    /// What the far end sends.
    pub fn receives(&self) -> &StreamFormat {
        &self.media.receives
    }

    /// RTCP goes and comes on the RTP port (RFC 5761).
    pub fn is_rtcp_muxed(&self) -> bool {
        self.media.remote_rtcp.is_none()
    }

    /// Who sends, seen from us. Nothing is sent to an address of nobody (RFC 2543 hold).
    pub fn direction(&self) -> StreamDirection {
        let negotiated = self.media.direction;
        let sends = negotiated.sends() && is_somebody(self.media.remote);
        StreamDirection::new(sends, negotiated.receives())
    }

    /// Our source.
    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// The far end's source, once it has spoken.
    pub fn heard(&self) -> Option<Ssrc> {
        self.session.speaking()
    }

    /// Where RTP goes now.
    pub fn remote(&self) -> SocketAddr {
        self.source.current()
    }

    /// When the far end's last RTP or RTCP packet came; the leg's beginning before the first.
    pub fn last_media_at(&self) -> Instant {
        self.last_media_at
    }

    /// What the far end lost of late by its reports, 0..=1.
    pub fn remote_loss(&self, now: Instant) -> f64 {
        self.session.remote_loss(now)
    }

    /// The leg's account so far.
    pub fn statistics(&self) -> LegStatistics {
        self.session.summary()
    }

    fn protected_rtcp(&mut self, len: usize, out: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let len = match &mut self.protection {
            Some(protection) => protection.protect_rtcp(out, len)?,
            None => len,
        };
        Some((len, self.rtcp_remote()))
    }

    fn read_rtcp(&mut self, now: Instant, datagram: &mut [u8]) -> Result<RtcpReceived, DropReason> {
        let len = match &mut self.protection {
            Some(protection) => protection.unprotect_rtcp(datagram)?,
            None => datagram.len(),
        };
        let datagram = datagram.get(..len).unwrap_or(datagram);
        let read = self.session.handle_rtcp(now, datagram);
        let received = read.map_err(|_| DropReason::RtcpMalformed)?;
        self.last_media_at = now;
        Ok(received)
    }

    fn is_allowed(&self, from: SocketAddr) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|range| range.contains(from.ip()))
    }

    fn clock_rate_hz(&self, payload_type: PayloadType) -> Option<u32> {
        let receives = &self.media.receives;
        if payload_type == receives.payload_type {
            return Some(receives.codec.clock_rate_hz());
        }
        let events = receives
            .telephone_event
            .filter(|events| events.payload_type == payload_type);
        events.map(|events| events.clock_rate_hz)
    }

    fn rtcp_remote(&self) -> SocketAddr {
        self.rtcp_learned().unwrap_or_else(|| self.rtcp_expected())
    }

    /// Only while RTP comes from the same host.
    fn rtcp_learned(&self) -> Option<SocketAddr> {
        let host = self.source.current().ip();
        self.rtcp_learned.filter(|learned| learned.ip() == host)
    }

    /// Where RTCP belongs by the rules: the SDP (RFC 3605), RFC 3550 section 11, RFC 5761. Of a far end behind a NAT the
    /// SDP's address is worth nothing.
    fn rtcp_expected(&self) -> SocketAddr {
        let mut remote = self.source.current();
        match self.media.remote_rtcp {
            None => remote,
            Some(rtcp) if remote == self.source.signalled() => canonical(rtcp),
            Some(_) => {
                remote.set_port(remote.port().saturating_add(1));
                remote
            }
        }
    }
}

fn is_somebody(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_unspecified()
}

/// A short-term persistent CNAME: 96 random bits (RFC 7022 section 4.2).
fn random_cname(random: [u8; 12]) -> String {
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
