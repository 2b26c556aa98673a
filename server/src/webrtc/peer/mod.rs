//! One WebRTC peer's leg: answers its offer, keeps ICE, DTLS, SRTP and RTCP together, hands media on.
//!
//! It knows no socket, no clock and no codec. What a digit or a lost packet means is the bridge's.

mod parts;
mod receive;
mod transmit;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use parts::*;

use super::congestion::CongestionController;
use super::dtls::{DtlsEvent, DtlsServer};
use super::ice_lite::{IceCredentials, IceEvent, IceLite};
use super::sdp::{
    AnswerIdentity, CANDIDATES_MAX, NegotiatedAudio, Offer, RemoteCandidate, SdpError, negotiate,
    write_answer,
};
use super::stun::RESPONSE_LEN_MAX;
use crate::bridge::{Codec, StreamFormat};
use crate::config::CodecName;
use crate::rtp::{
    LegStatistics, NtpTime, RtcpSession, RtcpSessionConfig, RtpTimestamp, SequenceNumber, Ssrc,
    StreamDirection, TransportFeedbackRecorder,
};
use crate::srtp::{ReceiveContext, SendContext};

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
    /// What it sends us.
    transport_cc: TransportFeedbackRecorder,
    /// What we send it.
    congestion: CongestionController,
    /// Bytes of our last packet beside its payload.
    packet_overhead_len: usize,
    started: (Instant, NtpTime),
    drawn: Drawn,
    session_version: u64,
    remote_candidates: usize,
    last_media_at: Option<Instant>,
    /// RTCP BYE, protected, on its way out.
    goodbye: Option<Vec<u8>>,
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
            congestion: CongestionController::new(now),
            packet_overhead_len: 0,
            started: (now, wall),
            drawn,
            session_version: 0,
            remote_candidates: offer.candidates,
            last_media_at: None,
            goodbye: None,
            responses: VecDeque::new(),
            events: VecDeque::new(),
        };
        let answer = peer.write_answer(&offer);
        Ok((peer, answer))
    }

    /// Answers a new offer on the running call: direction (hold) and payload type may change, the codec and the
    /// certificate may not. New ICE credentials in it are an ICE restart (RFC 8839 section 4.4.1.1.1): it takes `fresh` as
    /// ours, [`Peer::local_ufrag`] is then theirs, and DTLS, SRTP and the numbering of our stream go on.
    ///
    /// # Errors
    /// As [`Peer::accept_offer`], and [`SdpError::Changed`]; everything then stays as it was.
    pub fn renegotiate(
        &mut self,
        now: Instant,
        offer: &str,
        fresh: IceCredentials,
    ) -> Result<String, SdpError> {
        if matches!(self.stage, Stage::Closing | Stage::Over) {
            return Err(SdpError::Changed("a call that has ended"));
        }
        let offer = Offer::parse(offer)?;
        let audio = negotiate(&offer, &[codec_name(self.audio.format.codec)])?;
        let (ours, theirs) = (&self.audio, &audio);
        if ours.media_index != theirs.media_index || ours.mid != theirs.mid {
            return Err(SdpError::Changed("which m-line carries the audio"));
        }
        let same_ufrag = ours.remote_ufrag == theirs.remote_ufrag;
        if same_ufrag != (ours.remote_password == theirs.remote_password) {
            return Err(SdpError::Changed(
                "one of ice-ufrag and ice-pwd (an ICE restart changes both)",
            ));
        }
        if ours.fingerprints != theirs.fingerprints {
            return Err(SdpError::Changed("the certificate's fingerprint"));
        }
        if !same_ufrag {
            self.ice.restart(fresh, &theirs.remote_ufrag);
            self.remote_candidates = offer.candidates;
            self.take_ice_events();
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
    pub fn close(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Closing | Stage::Over) {
            return;
        }
        self.goodbye = self.write_goodbye(now);
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
                    self.congestion.handle_path_change();
                    self.push_event(PeerEvent::PathSelected(address));
                }
                IceEvent::UfragRetired(ufrag) => self.push_event(PeerEvent::UfragRetired(ufrag)),
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

    /// The ufrag by which the shared socket finds this peer while an address is not bound yet. After an ICE restart the one
    /// before it is good as well, until [`PeerEvent::UfragRetired`].
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
    pub fn direction(&self) -> StreamDirection {
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

    /// What the path to the peer leaves for payload, in bits per second: by transport-cc where it was negotiated, else by
    /// the peer's reports. Large while nothing bad is known of it.
    pub fn available_bitrate_bps(&self) -> u32 {
        let ptime_ms = u32::from(self.audio.format.ptime_ms).max(1);
        let overhead_bps = self.packet_overhead_len as u32 * 8 * 1_000 / ptime_ms;
        self.congestion.target_bps().saturating_sub(overhead_bps)
    }

    /// What the peer loses of late of what we send it, 0..=1: by transport-cc where it was negotiated, else by its reports.
    pub fn remote_loss(&self, now: Instant) -> f64 {
        let told = self.congestion.loss_fraction(now);
        told.unwrap_or_else(|| self.rtcp.remote_loss(now))
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
        Codec::L16(_) => CodecName::L16,
    }
}

#[cfg(test)]
mod tests;
