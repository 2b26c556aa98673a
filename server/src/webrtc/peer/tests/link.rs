//! `str0m` as the browser, and an in-memory link with virtual time between it and a [`Peer`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::config::DtlsVersion as ClientDtls;
use str0m::media::{Direction as ClientDirection, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::super::*;
use crate::metrics::DropReason;
use crate::rtp::{MediaPacket, Ssrc};
use crate::webrtc::dtls::DtlsIdentity;

pub const DELAY: Duration = Duration::from_millis(10);
pub const WALL: NtpTime = NtpTime(0xe000_0000_0000_0000);

static IDENTITY: LazyLock<Arc<DtlsIdentity>> =
    LazyLock::new(|| Arc::new(DtlsIdentity::generate().unwrap()));

pub fn gateway_address() -> SocketAddr {
    "198.51.100.7:10000".parse().unwrap()
}

pub fn config(codecs: &[CodecName], dtls: crate::config::DtlsVersions) -> Arc<PeerConfig> {
    Arc::new(PeerConfig {
        local_addresses: vec![gateway_address()],
        identity: IDENTITY.clone(),
        codecs: codecs.to_vec(),
        dtls,
    })
}

pub fn entropy() -> PeerEntropy {
    PeerEntropy(std::array::from_fn(|index| {
        (index as u8).wrapping_mul(7).wrapping_add(3)
    }))
}

/// Does the network lose this datagram (true: to the gateway)?
pub type Loss = dyn FnMut(bool, &[u8]) -> bool;

/// What the network does to a datagram.
pub type Change = dyn FnMut(&mut Vec<u8>);

/// A datagram on its way.
struct InFlight {
    at: Instant,
    to_gateway: bool,
    bytes: Vec<u8>,
}

/// A caller, a gateway's peer and what lies between.
pub struct Link {
    pub now: Instant,
    pub started: Instant,
    pub client: Rtc,
    pub peer: Peer,
    pub mid: Mid,
    pub answer: String,
    /// Where the gateway sees the client: changes when a NAT rebinds.
    pub seen_address: SocketAddr,
    /// Where the client thinks it is.
    client_address: SocketAddr,
    in_flight: VecDeque<InFlight>,
    pub lose: Box<Loss>,
    /// Changes a datagram on its way to the gateway.
    pub change: Box<Change>,
    pub client_silent: bool,
    pub peer_events: Vec<PeerEvent>,
    pub client_events: Vec<Event>,
    pub received_by_client: Vec<RtpPacket>,
    /// Sequence number and payload.
    pub received_by_peer: Vec<(u16, Vec<u8>)>,
    pub drops: Vec<DropReason>,
    pub last_to_gateway: Vec<Vec<u8>>,
}

pub fn client(
    now: Instant,
    dtls: ClientDtls,
    address: SocketAddr,
) -> (Rtc, Mid, String, SdpPendingOffer) {
    let mut client = Rtc::builder()
        .clear_codecs()
        .enable_opus(true, false)
        .enable_pcmu(true, false)
        .set_rtp_mode(true)
        .set_dtls_version(dtls)
        .set_stats_interval(Some(Duration::from_secs(1)))
        .build(now);
    client.add_local_candidate(Candidate::host(address, "udp").unwrap());
    let mut changes = client.sdp_api();
    let mid = changes.add_media(
        MediaKind::Audio,
        ClientDirection::SendRecv,
        None,
        None,
        None,
    );
    let (offer, pending) = changes.apply().unwrap();
    (client, mid, offer.to_sdp_string(), pending)
}

impl Link {
    pub fn new(config: &Arc<PeerConfig>, dtls: ClientDtls) -> Self {
        Self::with_offer(config, dtls, |offer| offer)
    }

    pub fn with_offer(
        config: &Arc<PeerConfig>,
        dtls: ClientDtls,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let now = Instant::now();
        let client_address = "192.0.2.2:50000".parse().unwrap();
        let (mut client, mid, offer, pending) = client(now, dtls, client_address);
        let (peer, answer) =
            Peer::accept_offer(now, WALL, config, &entropy(), &change(offer)).unwrap();
        let parsed = SdpAnswer::from_sdp_string(&answer).unwrap();
        client.sdp_api().accept_answer(pending, parsed).unwrap();
        Self {
            now,
            started: now,
            client,
            peer,
            mid,
            answer,
            seen_address: client_address,
            client_address,
            in_flight: VecDeque::new(),
            lose: Box::new(|_, _| false),
            change: Box::new(|_| {}),
            client_silent: false,
            peer_events: Vec::new(),
            client_events: Vec::new(),
            received_by_client: Vec::new(),
            received_by_peer: Vec::new(),
            drops: Vec::new(),
            last_to_gateway: Vec::new(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.started
    }

    fn launch(&mut self, to_gateway: bool, bytes: Vec<u8>) {
        if (to_gateway && self.client_silent) || (self.lose)(to_gateway, &bytes) {
            return;
        }
        self.in_flight.push_back(InFlight {
            at: self.now + DELAY,
            to_gateway,
            bytes,
        });
    }

    /// Polls both sides dry; returns when the client wants to be woken.
    fn settle(&mut self) -> Option<Instant> {
        let mut out = [0; TRANSMIT_LEN_MAX];
        while let Some((len, to)) = self.peer.poll_transmit(self.now, &mut out) {
            if to == self.seen_address {
                self.launch(false, out[..len].to_vec());
            }
        }
        while let Some(event) = self.peer.poll_event() {
            self.peer_events.push(event);
        }
        if !self.client.is_alive() {
            return None;
        }
        loop {
            let Ok(output) = self.client.poll_output() else {
                // A client that gave its handshake up is gone.
                self.client.disconnect();
                return None;
            };
            match output {
                Output::Timeout(at) => return Some(at),
                Output::Transmit(transmit) => {
                    self.launch(true, transmit.contents.to_vec());
                    if !self.client.is_alive() {
                        return None;
                    }
                }
                Output::Event(Event::RtpPacket(packet)) => self.received_by_client.push(packet),
                Output::Event(event) => self.client_events.push(event),
            }
        }
    }

    fn deliver(&mut self, datagram: InFlight) {
        if !datagram.to_gateway {
            let (from, to) = (gateway_address(), self.client_address);
            let receive = Receive::new(Protocol::Udp, from, to, &datagram.bytes).unwrap();
            let input = Input::Receive(self.now, receive);
            if self.client.is_alive() && self.client.handle_input(input).is_err() {
                self.client.disconnect();
            }
            return;
        }
        let mut bytes = datagram.bytes;
        (self.change)(&mut bytes);
        if self.last_to_gateway.len() < 400 {
            self.last_to_gateway.push(bytes.clone());
        }
        match self
            .peer
            .handle_datagram(self.now, self.seen_address, &mut bytes)
        {
            Ok(Received::Media(media)) => {
                self.received_by_peer
                    .push((media.sequence_number.0, media.payload.to_vec()));
            }
            Ok(Received::Control) => {}
            Err(reason) => self.drops.push(reason),
        }
    }

    /// Goes on in virtual time until `until` holds; false after `limit`.
    pub fn run(&mut self, limit: Duration, mut until: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            let client_due = self.settle();
            if until(self) {
                return true;
            }
            let datagram_due = self.in_flight.front().map(|datagram| datagram.at);
            let due = [client_due, datagram_due, self.peer.poll_timeout()];
            let next = due.into_iter().flatten().min().unwrap_or(end).max(self.now);
            if next >= end {
                self.now = end;
                return false;
            }
            self.now = next;
            while self
                .in_flight
                .front()
                .is_some_and(|datagram| datagram.at <= self.now)
            {
                if let Some(datagram) = self.in_flight.pop_front() {
                    self.deliver(datagram);
                }
            }
            if self.peer.poll_timeout().is_some_and(|due| due <= self.now) {
                self.peer.handle_timeout(self.now);
            }
            if client_due.is_some_and(|due| due <= self.now) && self.client.is_alive() {
                // A client that gave its handshake up is gone.
                if self.client.handle_input(Input::Timeout(self.now)).is_err() {
                    self.client.disconnect();
                }
            }
        }
    }

    /// Runs for so long.
    pub fn pass(&mut self, time: Duration) {
        self.run(time, |_| false);
    }

    pub fn connect(&mut self) {
        let connected = self.run(Duration::from_secs(5), |link| {
            link.peer.is_connected() && link.client.is_connected()
        });
        assert!(
            connected,
            "events: {:?} drops: {:?}",
            self.peer_events, self.drops
        );
    }

    /// The client sends one packet of its own audio.
    pub fn client_sends(&mut self, sequence_number: u16, payload: &[u8]) {
        let payload_type = self.peer.format().payload_type.0.into();
        let timestamp = u32::from(sequence_number) * 960;
        let number = u64::from(sequence_number).into();
        let write = RtpWrite::new(payload_type, number, timestamp, self.now, payload);
        let mut api = self.client.direct_api();
        api.stream_tx_by_mid(self.mid, None)
            .unwrap()
            .write_rtp(write);
        // Due at once: without this turn the packet would wait.
        self.client.handle_input(Input::Timeout(self.now)).unwrap();
    }

    /// The peer sends one packet of its own audio.
    pub fn peer_sends(&mut self, index: u16, payload: &[u8]) -> bool {
        let mut out = [0; TRANSMIT_LEN_MAX];
        let sequence_number = self.peer.first_sequence_number().wrapping_add(index);
        let timestamp = self
            .peer
            .first_timestamp()
            .wrapping_add(u32::from(index) * 960);
        let payload_type = self.peer.format().payload_type;
        let packet = MediaPacket {
            marker: index == 0,
            payload_type,
            sequence_number,
            timestamp,
            ssrc: Ssrc(0),
            payload,
        };
        let written = self.peer.write_rtp(self.now, &packet, &mut out);
        if let Some((len, _)) = written {
            self.launch(false, out[..len].to_vec());
        }
        written.is_some()
    }

    /// `count` packets of 20 ms in both directions.
    pub fn talk(&mut self, first: u16, count: u16) {
        for index in first..first + count {
            self.client_sends(1000 + index, &[0xa0, index as u8, 1]);
            self.peer_sends(index, &[0xb0, index as u8, 2]);
            self.pass(Duration::from_millis(20));
        }
    }

    pub fn renegotiate(&mut self, offer: &str) -> Result<String, SdpError> {
        let fresh = IceCredentials::from_entropy([0x51; 9], [0x52; 18]);
        self.peer.renegotiate(self.now, offer, fresh)
    }

    /// The client moves to another address and restarts ICE from there, as a phone that changes its network. What it
    /// sends from its old address is lost from now on.
    pub fn restart_ice_from(&mut self, address: SocketAddr) -> Result<String, SdpError> {
        let mut changes = self.client.sdp_api();
        changes.ice_restart(false);
        let (offer, pending) = changes.apply().unwrap();
        let answer = self.renegotiate(&offer.to_sdp_string())?;
        let parsed = SdpAnswer::from_sdp_string(&answer).unwrap();
        self.client
            .sdp_api()
            .accept_answer(pending, parsed)
            .unwrap();
        self.client
            .add_local_candidate(Candidate::host(address, "udp").unwrap());
        self.client_address = address;
        self.seen_address = address;
        Ok(answer)
    }

    /// A new offer of the client with another direction, and the peer's answer to it.
    pub fn change_direction(&mut self, direction: ClientDirection) -> Result<String, SdpError> {
        let mut changes = self.client.sdp_api();
        changes.set_direction(self.mid, direction);
        let (offer, pending) = changes.apply().unwrap();
        let answer = self.renegotiate(&offer.to_sdp_string())?;
        let parsed = SdpAnswer::from_sdp_string(&answer).unwrap();
        self.client
            .sdp_api()
            .accept_answer(pending, parsed)
            .unwrap();
        Ok(answer)
    }
}
