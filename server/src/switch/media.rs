//! A packet's way on its shard: socket -> WebRTC peer -> bridge -> trunk leg -> socket, and the mirror image.
//!
//! No allocation per packet: datagrams are changed where they were received. What lies between two sockets is
//! [`super::media_path`]'s.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tracing::debug;

use super::demux::{Demux, Found};
use super::mailbox::SessionEvent;
use super::media_path::{DigitFor, MediaPath, PathEnd, Wire};
use super::pcm_socket::PcmKey;
use super::trunk_media::{MediaSockets, TrunkLeg, TrunkPort};
use super::vendor_side::VendorSide;
use super::webrtc_port::WebRtcPort;
use super::{CallKey, SessionKey, Switch};
use crate::call::q850::Q850Cause;
use crate::call::rings::ToControl;
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::LegId;
use crate::metrics::{DropReason, ShardMetrics};
use crate::trunk::TrunkReceived;
use crate::webrtc::{PeerEvent, Received};

/// The way of a datagram: its far end, and which of our addresses it came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) remote: SocketAddr,
    pub(super) local: Option<IpAddr>,
}

impl Switch {
    /// One datagram from the WebRTC port, of the session that the demux found.
    pub(super) fn handle_webrtc_datagram(
        &mut self,
        now: Instant,
        found: Found,
        way: Way,
        datagram: &mut [u8],
    ) {
        let key = found.session;
        let is_check = datagram.first().is_some_and(|first| *first <= 3);
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let Some(peer) = session.peer.as_mut() else {
            return self.metrics.dropped(DropReason::UnknownSource);
        };
        let received = peer.handle_datagram(now, way.remote, datagram);
        if received.is_ok() && !is_check && found.local != way.local {
            self.demux.heard(way.remote, way.local);
        }
        match received {
            Ok(Received::Control) => {}
            Ok(Received::Media(packet)) => {
                let call = session.call;
                let bridge = call
                    .and_then(|call| self.calls.get_mut(call.0))
                    .and_then(|call| call.bridge.as_mut());
                match (call, bridge) {
                    (Some(call), Some(bridge)) => {
                        bridge.handle_packet(LegId::VENDOR, now, &packet);
                        self.pump(now, call);
                        self.arm_call(call);
                    }
                    _ => self.metrics.dropped(DropReason::NotAnswered),
                }
            }
            Err(reason) => self.metrics.dropped(reason),
        }
        // A check is answered the way it came, whatever path carries the media.
        self.checked_on = is_check.then_some(way);
        self.after_peer(now, key);
        self.checked_on = None;
    }

    /// One datagram from a call's trunk socket.
    pub(super) fn handle_trunk_datagram(
        &mut self,
        now: Instant,
        key: CallKey,
        port: TrunkPort,
        from: SocketAddr,
        datagram: &mut [u8],
    ) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let TrunkLeg::Rtp(leg) = &mut call.trunk.leg else {
            return self.metrics.dropped(DropReason::NotAnswered);
        };
        let received = match port {
            TrunkPort::Rtp => leg.handle_datagram(now, from, datagram),
            TrunkPort::Rtcp => leg
                .handle_rtcp_datagram(now, from, datagram)
                .map(TrunkReceived::Control),
        };
        match received {
            Ok(TrunkReceived::Media(packet)) => {
                call.stages.media_from_trunk.get_or_insert(now);
                match call.bridge.as_mut() {
                    Some(bridge) => bridge.handle_packet(LegId::TRUNK, now, &packet),
                    None => return self.metrics.dropped(DropReason::NotAnswered),
                }
            }
            Ok(TrunkReceived::Control(report)) if report.bye => {
                return self.trunk_said_bye(now, key);
            }
            Ok(TrunkReceived::Control(_)) => {}
            Err(reason) => return self.metrics.dropped(reason),
        }
        self.pump(now, key);
        self.arm_call(key);
    }

    /// Moves what the bridge has ready to where it goes, until it has nothing more.
    pub(super) fn pump(&mut self, now: Instant, key: CallKey) {
        while let Some(digit) = self.pump_to_digit(now, key) {
            self.tell_digit(key, digit);
        }
        // What lies in the legs of sockets now may be due before anything else of theirs.
        for pcm in self.pcm_of_call(key).into_iter().flatten() {
            self.arm_pcm(pcm);
        }
    }

    fn pump_to_digit(&mut self, now: Instant, key: CallKey) -> Option<DigitFor> {
        let [vendor_pcm, trunk_pcm] = self.pcm_of_call(key);
        let call = self.calls.get_mut(key.0)?;
        let (pcm_vendor, pcm_trunk) = self.pcm.path_ends(vendor_pcm, trunk_pcm);
        let vendor = match &call.vendor {
            VendorSide::Session(session) => {
                let session = self.sessions.get_mut(session.0);
                let peer = session.and_then(|session| session.peer.as_deref_mut());
                peer.map_or(PathEnd::None, PathEnd::Peer)
            }
            VendorSide::Echo(_) => PathEnd::Echo,
            VendorSide::Player(_) => PathEnd::None,
        };
        let vendor = pcm_vendor.unwrap_or(vendor);
        let (trunk, sockets) = call.trunk.path_end();
        let trunk = pcm_trunk.unwrap_or(trunk);
        let mut wire = SocketWire {
            demux: &self.demux,
            port: &mut self.port,
            sockets,
            metrics: &self.metrics,
            sent_to_trunk: false,
        };
        let mut path = MediaPath {
            bridge: call.bridge.as_mut()?,
            vendor,
            trunk,
        };
        let digit = path.pump(now, &mut self.buffers, &mut wire);
        if wire.sent_to_trunk {
            call.stages.media_to_trunk.get_or_insert(now);
        }
        digit
    }

    /// The sockets of audio at a call's ends, the vendor's first.
    pub(super) fn pcm_of_call(&self, key: CallKey) -> [Option<PcmKey>; 2] {
        if self.pcm.is_empty() {
            return [None, None];
        }
        let Some(call) = self.calls.get(key.0) else {
            return [None, None];
        };
        let vendor = self.session_of(&call.vendor);
        [vendor.and_then(|session| session.pcm), call.trunk.pcm()]
    }

    /// The far end hears the caller's digits as RFC 4733 events or as tones, unless the trunk wants them by signalling.
    fn tell_digit(&mut self, key: CallKey, digit: DigitFor) {
        let Some(call) = self.calls.get(key.0) else {
            return;
        };
        let DigitFor {
            leg,
            digit,
            duration_ms,
        } = digit;
        if leg == LegId::VENDOR {
            let session = call.vendor.session();
            // Where digits are tones the bridge has made them.
            if !self.hears_tones(session) {
                self.tell(session, SessionEvent::Digit { digit, duration_ms });
            }
        } else if let Some(pcm) = call.trunk.pcm() {
            self.tell_pcm_digit(pcm, digit, duration_ms);
        } else if call.trunk.signals_digits() {
            self.to_control.tell(ToControl::TrunkDigits {
                call_sid: call.machine.identity().call_sid,
                digits: digit.to_string(),
                duration_ms,
            });
        }
    }

    /// Follows up on whatever was done to a session's media leg: its events, its datagrams, its next deadline.
    pub(super) fn after_peer(&mut self, now: Instant, key: SessionKey) {
        while let Some(event) = self
            .sessions
            .get_mut(key.0)
            .and_then(|session| session.peer.as_mut()?.poll_event())
        {
            self.handle_peer_event(now, key, event);
        }
        self.transmit_peer(now, key);
        self.arm_session(key);
    }

    /// Sends what a media leg has to say.
    pub(super) fn transmit_peer(&mut self, now: Instant, key: SessionKey) {
        let checked_on = self.checked_on;
        let Some(peer) = self
            .sessions
            .get_mut(key.0)
            .and_then(|session| session.peer.as_mut())
        else {
            return;
        };
        let datagram = &mut self.buffers.datagram;
        while let Some((len, remote)) = peer.poll_transmit(now, datagram) {
            let local = match checked_on {
                Some(way) if way.remote == remote => way.local,
                _ => self.demux.local_for(remote),
            };
            self.port.send(local, remote, &datagram[..len]);
        }
    }

    fn handle_peer_event(&mut self, now: Instant, key: SessionKey, event: PeerEvent) {
        match event {
            PeerEvent::AddressBound(address) => {
                let local = self.checked_on.and_then(|way| way.local);
                self.demux.bind(address, local, key);
            }
            PeerEvent::AddressReleased(address) => self.demux.release(address, key),
            PeerEvent::UfragRetired(ufrag) => self.demux.remove_ufrag(&ufrag, key),
            PeerEvent::PathSelected(remote) => {
                debug!(session = key.0, %remote, "media path selected")
            }
            PeerEvent::Connected {
                dtls_version,
                srtp_profile,
            } => {
                self.mark_connected(now, key);
                debug!(
                    session = key.0,
                    ?dtls_version,
                    ?srtp_profile,
                    "media leg connected"
                );
                if let Some(call) = self.sessions.get(key.0).and_then(|session| session.call) {
                    self.accept_when_ready(now, call);
                    self.connect_when_ready(now, call);
                }
            }
            PeerEvent::Direction(_) => self.reformat(now, key),
            PeerEvent::Failed(refusal) => self.media_failed(now, key, refusal),
            PeerEvent::ConsentLost => {
                let message = "the caller's media leg has answered nothing for 30 s (consent lost)";
                let refusal = Refusal::new(RefusalCode::Timeout, Fault::Caller, message);
                self.media_failed(now, key, refusal.with_cause(Q850Cause::TIMER_EXPIRY));
            }
            PeerEvent::ClosedByPeer => {
                let refusal = Refusal::new(
                    RefusalCode::Timeout,
                    Fault::Caller,
                    "the caller closed its media leg",
                );
                self.media_failed(now, key, refusal.with_cause(Q850Cause::NORMAL));
            }
        }
    }

    /// Sends what waits on the WebRTC port now, for what is done outside the tick.
    pub(super) fn flush_now(&mut self) {
        self.port.flush();
    }
}

/// The shard's sockets.
struct SocketWire<'a> {
    demux: &'a Demux,
    port: &'a mut WebRtcPort,
    sockets: Option<&'a MediaSockets>,
    metrics: &'a ShardMetrics,
    sent_to_trunk: bool,
}

impl Wire for SocketWire<'_> {
    fn send_to_peer(&mut self, remote: SocketAddr, datagram: &[u8]) {
        let local = self.demux.local_for(remote);
        self.port.send(local, remote, datagram);
    }

    fn send_to_trunk(&mut self, remote: SocketAddr, datagram: &[u8]) {
        if let Some(sockets) = self.sockets {
            sockets.send_rtp(datagram, remote, self.metrics);
            self.sent_to_trunk = true;
        }
    }

    fn dropped(&mut self, reason: DropReason) {
        self.metrics.dropped(reason);
    }
}
