//! One WebRTC peer's leg: answers its offer, keeps ICE, DTLS, SRTP and RTCP together, hands media on.
//!
//! It knows no socket, no clock and no codec. What a digit or a lost packet means is the bridge's.

mod parts;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use parts::*;

use super::dtls::{DtlsEvent, DtlsServer};
use super::ice_lite::{IceEvent, IceLite};
use super::sdp::{
    AnswerIdentity, CANDIDATES_MAX, Direction, NegotiatedAudio, Offer, RemoteCandidate, SdpError,
    negotiate, write_answer,
};
use super::srtp::{ReceiveContext, SendContext};
use super::stun::{RESPONSE_LEN_MAX, StunMessage};
use crate::bridge::{Codec, StreamFormat};
use crate::config::CodecName;
use crate::metrics::DropReason;
use crate::rtp::{
    LegStatistics, NtpTime, PayloadType, RtcpSession, RtcpSessionConfig, RtpHeader, RtpPacket,
    RtpTimestamp, SequenceNumber, Ssrc, TransportFeedbackRecorder, is_rtcp,
};

/// The longest datagram that is taken.
pub const DATAGRAM_LEN_MAX: usize = super::dtls::DATAGRAM_LEN_MAX;
/// Bytes of the longest datagram that [`Peer::poll_transmit`] writes.
pub const TRANSMIT_LEN_MAX: usize = super::dtls::MTU;
/// From the answer to the keys.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Responses to STUN checks that wait for [`Peer::poll_transmit`]; more are dropped, and the peer asks again.
const RESPONSES_MAX: usize = 16;
/// Events that wait for [`Peer::poll_event`].
const EVENTS_MAX: usize = 64;
/// SR and RR come this often, so that the round trip is known early.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A STUN response on its way out.
#[derive(Debug)]
struct Response {
    to: SocketAddr,
    len: usize,
    bytes: [u8; RESPONSE_LEN_MAX],
}

/// Where a peer's life stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting {
        deadline: Instant,
    },
    Connected,
    /// Closed by us: what is queued still leaves.
    Closing,
    Over,
}

#[derive(Debug)]
struct SrtpContexts {
    send: SendContext,
    receive: ReceiveContext,
}

/// One WebRTC peer.
///
/// After every `handle_*`, [`Peer::accept_offer`], [`Peer::renegotiate`] and [`Peer::close`]: call
/// [`Peer::poll_transmit`] until it returns none, then [`Peer::poll_event`] until none, then arrange
/// [`Peer::handle_timeout`] at [`Peer::poll_timeout`]. Several datagrams may be handled between two rounds of polling.
///
/// Addresses are those that the socket gives (also IPv4-mapped ones), and are given back unchanged. Handling and writing
/// media allocates nothing once each of the peer's sources was heard.
#[derive(Debug)]
pub struct Peer {
    config: Arc<PeerConfig>,
    stage: Stage,
    ice: IceLite,
    dtls: DtlsServer,
    srtp: Option<SrtpContexts>,
    audio: NegotiatedAudio,
    rtcp: RtcpSession,
    transport_cc: TransportFeedbackRecorder,
    started: (Instant, NtpTime),
    drawn: Drawn,
    session_version: u64,
    remote_candidates: usize,
    last_media_at: Option<Instant>,
    goodbye_due: bool,
    responses: VecDeque<Response>,
    events: VecDeque<PeerEvent>,
}

impl Peer {
    /// Answers an offer. `wall` is the wall clock at `now`, for sender reports.
    ///
    /// # Errors
    /// [`SdpError`]: the caller's to mend; [`SdpError::refusal`] is what to tell.
    pub fn accept_offer(
        now: Instant,
        wall: NtpTime,
        config: &Arc<PeerConfig>,
        entropy: &PeerEntropy,
        offer: &str,
    ) -> Result<(Self, String), SdpError> {
        let offer = Offer::parse(offer)?;
        let audio = negotiate(&offer, &config.codecs)?;
        let drawn = entropy.draw();
        let ice = IceLite::new(now, drawn.credentials.clone(), &audio.remote_ufrag);
        let dtls = DtlsServer::new(
            now,
            &config.identity,
            config.dtls,
            audio.fingerprints.clone(),
        );
        let rtcp = RtcpSessionConfig {
            ssrc: drawn.ssrc,
            cname: drawn.cname.clone(),
            clock_rate_hz: audio.format.codec.clock_rate_hz(),
            report_interval: REPORT_INTERVAL,
            random_seed: drawn.report_seed,
        };
        let mut peer = Self {
            config: config.clone(),
            stage: Stage::Connecting {
                deadline: now + CONNECT_TIMEOUT,
            },
            ice,
            dtls,
            srtp: None,
            audio,
            rtcp: RtcpSession::new(rtcp, now),
            transport_cc: TransportFeedbackRecorder::new(drawn.ssrc),
            started: (now, wall),
            drawn,
            session_version: 0,
            remote_candidates: offer.candidates,
            last_media_at: None,
            goodbye_due: false,
            responses: VecDeque::new(),
            events: VecDeque::new(),
        };
        let answer = peer.write_answer(&offer);
        Ok((peer, answer))
    }

    /// Answers a new offer on the running call: direction (hold) and payload type may change, the codec, the ICE
    /// credentials and the certificate may not.
    ///
    /// # Errors
    /// As [`Peer::accept_offer`], and [`SdpError::Changed`]; everything then stays as it was.
    pub fn renegotiate(&mut self, now: Instant, offer: &str) -> Result<String, SdpError> {
        if matches!(self.stage, Stage::Closing | Stage::Over) {
            return Err(SdpError::Changed("a call that has ended"));
        }
        let offer = Offer::parse(offer)?;
        let audio = negotiate(&offer, &[codec_name(self.audio.format.codec)])?;
        let (ours, theirs) = (&self.audio, &audio);
        if ours.media_index != theirs.media_index || ours.mid != theirs.mid {
            return Err(SdpError::Changed("which m-line carries the audio"));
        }
        if ours.remote_ufrag != theirs.remote_ufrag
            || ours.remote_password != theirs.remote_password
        {
            return Err(SdpError::Changed("ice-ufrag or ice-pwd (an ICE restart)"));
        }
        if ours.fingerprints != theirs.fingerprints {
            return Err(SdpError::Changed("the certificate's fingerprint"));
        }
        let before = self.audio.direction;
        self.audio = audio;
        if self.audio.direction != before {
            self.push_event(PeerEvent::Direction(self.audio.direction));
        }
        // While nothing was to be received, silence was no fault: the clock of missing media starts anew.
        if !before.receives() && self.audio.direction.receives() {
            self.last_media_at = Some(now);
        }
        Ok(self.write_answer(&offer))
    }

    fn write_answer(&mut self, offer: &Offer) -> String {
        self.session_version += 1;
        let us = AnswerIdentity {
            session_id: self.drawn.session_id,
            session_version: self.session_version,
            credentials: self.ice.local(),
            fingerprint: self.config.identity.fingerprint(),
            addresses: &self.config.local_addresses,
            ssrc: self.drawn.ssrc,
            cname: &self.drawn.cname,
        };
        write_answer(offer, &self.audio, &us)
    }

    /// Takes a trickled candidate: validated and counted, because a lite agent learns its peer's addresses from checks.
    /// An empty text is the end of candidates.
    ///
    /// # Errors
    /// [`SdpError::Candidate`] for one that can't be read, or is one too many.
    pub fn handle_candidate(&mut self, candidate: &str) -> Result<(), SdpError> {
        if RemoteCandidate::parse(candidate)?.is_none() {
            return Ok(());
        }
        if self.remote_candidates >= CANDIDATES_MAX {
            return Err(SdpError::Candidate("too many"));
        }
        self.remote_candidates += 1;
        Ok(())
    }

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
        if result.is_ok() {
            self.ice.handle_handshake(from);
        }
        self.take_ice_events();
        self.take_dtls_events();
        result.map_err(|_| DropReason::DtlsInvalid)?;
        Ok(Received::Control)
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
        self.rtcp
            .handle_rtcp(now, datagram)
            .map_err(|_| DropReason::RtcpMalformed)?;
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

    /// Writes one protected RTP packet into `out` and says where it goes. None before [`PeerEvent::Connected`], while
    /// our direction does not send, and when `out` is too short ([`TRANSMIT_LEN_MAX`] suffices for 1 kB of payload).
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of an RTP packet, and where to"
    )]
    pub fn write_rtp(
        &mut self,
        now: Instant,
        marker: bool,
        payload_type: PayloadType,
        sequence_number: SequenceNumber,
        timestamp: RtpTimestamp,
        payload: &[u8],
        out: &mut [u8],
    ) -> Option<(usize, SocketAddr)> {
        if self.stage != Stage::Connected || !self.audio.direction.sends() {
            return None;
        }
        let to = self.ice.selected()?;
        let ssrc = self.drawn.ssrc;
        let header = RtpHeader {
            marker,
            payload_type,
            sequence_number,
            timestamp,
            ssrc,
        };
        let len = header.write_packet(payload, out)?;
        let len = self.srtp.as_mut()?.send.protect_rtp(out, len).ok()?;
        self.rtcp.handle_rtp_sent(now, timestamp, payload.len());
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
        if let Some(len) = self.poll_goodbye(now, out) {
            return Some((len, to));
        }
        if let Some(len) = self.dtls.poll_transmit(out) {
            return Some((len, to));
        }
        self.poll_rtcp(now, out).map(|len| (len, to))
    }

    fn poll_goodbye(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        if !std::mem::take(&mut self.goodbye_due) {
            return None;
        }
        let wall = self.wall(now);
        let len = self.rtcp.write_goodbye(now, wall, out)?;
        self.srtp.as_mut()?.send.protect_rtcp(out, len).ok()
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

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// When [`Peer::handle_timeout`] is due; none once it is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.stage {
            Stage::Connecting { deadline } => Some(deadline),
            Stage::Connected => {
                let report = Some(self.rtcp.poll_timeout());
                self.transport_cc
                    .poll_timeout()
                    .into_iter()
                    .chain(report)
                    .min()
            }
            Stage::Closing | Stage::Over => return None,
        };
        [own, self.ice.poll_timeout(), self.dtls.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Retransmits, reports and gives up, as far as they are due. Then poll again.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.stage {
            Stage::Closing | Stage::Over => return,
            Stage::Connecting { deadline } if now >= deadline => {
                let refusal = connect_refusal(self.ice.selected().is_some());
                self.end(PeerEvent::Failed(refusal));
                return;
            }
            Stage::Connecting { .. } | Stage::Connected => {}
        }
        self.ice.handle_timeout(now);
        self.take_ice_events();
        if self.dtls.poll_timeout().is_some_and(|due| due <= now) {
            self.dtls.handle_timeout(now);
            self.take_dtls_events();
        }
    }

    /// Ends the leg from our side: RTCP BYE and close_notify leave with the next [`Peer::poll_transmit`].
    pub fn close(&mut self, _now: Instant) {
        if matches!(self.stage, Stage::Closing | Stage::Over) {
            return;
        }
        self.goodbye_due = self.stage == Stage::Connected;
        self.dtls.close();
        self.stage = Stage::Closing;
        self.release_addresses();
    }

    fn take_ice_events(&mut self) {
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceEvent::PathBound(address) => self.push_event(PeerEvent::AddressBound(address)),
                IceEvent::PathReleased(address) => {
                    self.push_event(PeerEvent::AddressReleased(address));
                }
                IceEvent::PathSelected(address) => {
                    self.push_event(PeerEvent::PathSelected(address));
                }
                IceEvent::ConsentLost => self.end(PeerEvent::ConsentLost),
            }
        }
    }

    fn take_dtls_events(&mut self) {
        while let Some(event) = self.dtls.poll_event() {
            match event {
                DtlsEvent::Connected { version, keys } => {
                    let contexts = SendContext::new(&keys.server_write).and_then(|send| {
                        let receive = ReceiveContext::new(&keys.client_write)?;
                        Ok(SrtpContexts { send, receive })
                    });
                    match contexts {
                        Ok(contexts) => {
                            let srtp_profile = contexts.send.profile();
                            self.srtp = Some(contexts);
                            self.stage = Stage::Connected;
                            let dtls_version = version;
                            self.push_event(PeerEvent::Connected {
                                dtls_version,
                                srtp_profile,
                            });
                        }
                        Err(error) => {
                            let failure = super::dtls::DtlsFailure::Protocol(error.to_string());
                            self.end(PeerEvent::Failed(handshake_refusal(&failure)));
                        }
                    }
                }
                DtlsEvent::Failed(failure) if self.stage == Stage::Connected => {
                    tracing::debug!(%failure, "DTLS ended after it had connected");
                    self.end(PeerEvent::ClosedByPeer);
                }
                DtlsEvent::Failed(failure) => {
                    self.end(PeerEvent::Failed(handshake_refusal(&failure)));
                }
                DtlsEvent::ClosedByPeer => self.end(PeerEvent::ClosedByPeer),
            }
        }
    }

    fn end(&mut self, event: PeerEvent) {
        if self.stage != Stage::Over {
            self.stage = Stage::Over;
            self.release_addresses();
            self.push_event(event);
        }
    }

    /// The shared socket forgets us: nothing that comes later is ours.
    fn release_addresses(&mut self) {
        let bound: Vec<SocketAddr> = self.ice.bound_addresses().collect();
        for address in bound {
            self.push_event(PeerEvent::AddressReleased(address));
        }
    }

    fn push_event(&mut self, event: PeerEvent) {
        // An owner who polls after every call never meets the limit.
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    /// The ufrag by which the shared socket finds this peer while an address is not bound yet.
    pub fn local_ufrag(&self) -> &str {
        &self.ice.local().ufrag
    }

    /// The authenticated addresses, as [`PeerEvent::AddressBound`] told them.
    pub fn bound_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ice.bound_addresses()
    }

    /// Codec, payload types and packet duration.
    pub fn format(&self) -> StreamFormat {
        self.audio.format
    }

    /// What we do: after an offer with `sendonly` (the peer holds us) it is `recvonly`.
    pub fn direction(&self) -> Direction {
        self.audio.direction
    }

    /// Are the keys there, and the peer not gone?
    pub fn is_connected(&self) -> bool {
        self.stage == Stage::Connected
    }

    /// The source that we send.
    pub fn ssrc(&self) -> Ssrc {
        self.drawn.ssrc
    }

    /// The random number that our stream begins with.
    pub fn first_sequence_number(&self) -> SequenceNumber {
        self.drawn.first_sequence_number
    }

    /// The random timestamp that our stream begins with.
    pub fn first_timestamp(&self) -> RtpTimestamp {
        self.drawn.first_timestamp
    }

    /// When RTP or RTCP of the peer was authenticated last; none before the first.
    pub fn last_media_at(&self) -> Option<Instant> {
        self.last_media_at
    }

    /// The leg's account so far.
    pub fn statistics(&self) -> LegStatistics {
        self.rtcp.summary()
    }
}

fn codec_name(codec: Codec) -> CodecName {
    match codec {
        Codec::Opus => CodecName::Opus,
        Codec::Pcmu => CodecName::Pcmu,
        Codec::Pcma => CodecName::Pcma,
        Codec::L16 => CodecName::L16,
    }
}

#[cfg(test)]
mod tests;
