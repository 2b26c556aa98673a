//! A page: it offers, checks, shakes hands, sends speech and reports, and reads what it is sent. `dimpl`'s client does the DTLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use server::bridge::Codec;
use server::rtp::{
    NtpTime, RtcpSession, RtcpSessionConfig, RtpHeader, RtpPacket, RtpTimestamp, SequenceNumber,
    Ssrc, TransportFeedbackRecorder, is_rtcp,
};
use server::srtp::{Profile, ReceiveContext, SendContext, SrtpKeys};
use server::webrtc::stun::{IntegrityKey, StunClass, StunWriter, TransactionId, attribute};
use server::webrtc::{Peer, PeerConfig, PeerEntropy, PeerEvent, TRANSMIT_LEN_MAX};

use super::media::Speech;

pub const WALL: NtpTime = NtpTime(0xe000_0000_0000_0000);
/// The header extension of transport-cc, as Chromium numbers it.
const TRANSPORT_CC_ID: u8 = 3;
/// How often a browser checks its path.
const CHECK_EVERY: Duration = Duration::from_millis(2_500);

/// What all pages have in common; making it costs a millisecond.
pub struct Browser {
    config: Arc<Config>,
    certificate: DtlsCertificate,
}

impl Browser {
    pub fn new() -> Self {
        let config = Config::builder().mtu(1_200).build().unwrap();
        Self {
            config: Arc::new(config),
            certificate: dimpl::certificate::generate_self_signed_certificate().unwrap(),
        }
    }

    fn offer(&self, codec: Codec) -> String {
        let (number, rtpmap) = match codec {
            Codec::Opus => (111, "opus/48000/2"),
            Codec::Pcmu => (0, "PCMU/8000"),
            Codec::Pcma | Codec::L16(_) => unreachable!("not offered here"),
        };
        let clock = codec.clock_rate_hz();
        let fingerprint = self.certificate.fingerprint_str();
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF {number} 110\r\nc=IN IP4 0.0.0.0\r\n\
             a=ice-ufrag:page\r\na=ice-pwd:3Q7qv5yMbk0yVw1cC7rXl2bO\r\n\
             a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=mid:0\r\n\
             a=extmap:{TRANSPORT_CC_ID} http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
             a=sendrecv\r\na=rtcp-mux\r\na=rtpmap:{number} {rtpmap}\r\na=rtcp-fb:{number} transport-cc\r\n\
             a=rtpmap:110 telephone-event/{clock}\r\n"
        )
    }
}

pub struct Page {
    pub address: SocketAddr,
    /// What the gateway protects with.
    pub profile: Profile,
    codec: Codec,
    send: SendContext,
    receive: ReceiveContext,
    username: String,
    integrity: IntegrityKey,
    checks: u32,
    next_check: Instant,
    ssrc: Ssrc,
    sent: u16,
    feedback: TransportFeedbackRecorder,
    rtcp: RtcpSession,
    /// Audio packets of the gateway that were read.
    pub heard: u64,
}

impl Page {
    /// A page whose media is connected, and the gateway's leg for it, with every event told.
    pub fn connect(
        browser: &Browser,
        config: &Arc<PeerConfig>,
        number: u16,
        codec: Codec,
        now: Instant,
    ) -> (Self, Peer) {
        let [high, low] = number.to_be_bytes();
        let entropy = PeerEntropy(std::array::from_fn(|index| match index {
            0 => high,
            1 => low,
            _ => (index as u8).wrapping_mul(7).wrapping_add(low),
        }));
        let (mut peer, answer) =
            Peer::accept_offer(now, WALL, config, &entropy, &browser.offer(codec)).unwrap();
        let attribute_of = |name: &str| {
            let line = answer.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        let username = format!("{}:page", attribute_of("a=ice-ufrag:"));
        let integrity = IntegrityKey::new(&attribute_of("a=ice-pwd:"));
        let address = SocketAddr::from(([10, 1, high, low], 50_000));
        let mut check = write_check(&username, &integrity, 0);
        peer.handle_datagram(now, address, &mut check).unwrap();
        let (profile, keys) = shake_hands(browser, &mut peer, address, now);
        let rtcp = RtcpSessionConfig {
            ssrc: Ssrc(u32::from(number) + 1),
            cname: "page".to_owned(),
            clock_rate_hz: codec.clock_rate_hz(),
            report_interval: Duration::from_secs(1),
            random_seed: number.into(),
        };
        let page = Self {
            address,
            profile,
            codec,
            send: SendContext::new(&keys.client_write).unwrap(),
            receive: ReceiveContext::new(&keys.server_write).unwrap(),
            username,
            integrity,
            checks: 1,
            next_check: now + CHECK_EVERY,
            ssrc: Ssrc(u32::from(number) + 1),
            sent: 0,
            feedback: TransportFeedbackRecorder::new(Ssrc(u32::from(number) + 1)),
            rtcp: RtcpSession::new(rtcp, now),
            heard: 0,
        };
        (page, peer)
    }

    /// All that the page sends now, each datagram by itself.
    pub fn send(
        &mut self,
        now: Instant,
        peer: &Peer,
        speech: &Speech,
        mut each: impl FnMut(&[u8]),
    ) {
        let mut datagram = [0; TRANSMIT_LEN_MAX];
        let ticks = self.codec.clock_rate_hz() / 50;
        let header = RtpHeader {
            marker: self.sent == 0,
            payload_type: peer.format().payload_type,
            sequence_number: SequenceNumber(self.sent),
            timestamp: RtpTimestamp(u32::from(self.sent).wrapping_mul(ticks)),
            ssrc: self.ssrc,
        };
        let number = self.sent.to_be_bytes();
        let payload = speech.frame(usize::from(self.sent));
        let extension = [(TRANSPORT_CC_ID, &number[..])];
        let len = header.write_packet_with_extensions(&extension, payload, &mut datagram);
        let len = self.send.protect_rtp(&mut datagram, len.unwrap()).unwrap();
        each(&datagram[..len]);
        self.rtcp
            .handle_rtp_sent(now, header.timestamp, payload.len());
        self.sent = self.sent.wrapping_add(1);
        if let Some(len) = self.feedback.poll_feedback(now, &mut datagram) {
            let len = self.send.protect_rtcp(&mut datagram, len).unwrap();
            each(&datagram[..len]);
        }
        if let Some(len) = self.rtcp.poll_report(now, WALL, &mut datagram) {
            let len = self.send.protect_rtcp(&mut datagram, len).unwrap();
            each(&datagram[..len]);
        }
        if self.next_check <= now {
            self.next_check = now + CHECK_EVERY;
            each(&write_check(&self.username, &self.integrity, self.checks));
            self.checks += 1;
        }
    }

    /// Reads what the gateway has sent.
    pub fn hear(&mut self, now: Instant, datagram: &mut [u8]) {
        if datagram.first().is_some_and(|first| *first <= 3) {
            return;
        }
        if is_rtcp(datagram) {
            let len = self.receive.unprotect_rtcp(datagram).unwrap();
            self.rtcp.handle_rtcp(now, &datagram[..len]).unwrap();
            return;
        }
        let len = self.receive.unprotect_rtp(datagram).unwrap();
        let packet = RtpPacket::parse(&datagram[..len]).unwrap();
        let media = packet.media();
        if let Some([high, low]) = packet.extension(TRANSPORT_CC_ID) {
            let number = SequenceNumber(u16::from_be_bytes([*high, *low]));
            self.feedback.handle_packet(now, media.ssrc, number);
        }
        let clock = self.codec.clock_rate_hz();
        self.rtcp.handle_rtp_received(now, &media, clock);
        self.heard += 1;
    }
}

fn write_check(username: &str, integrity: &IntegrityKey, number: u32) -> Vec<u8> {
    let mut id = [1; 12];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let mut out = [0; 300];
    let mut writer = StunWriter::new(&mut out, StunClass::Request, TransactionId(id)).unwrap();
    for (kind, value) in [
        (attribute::USERNAME, username.as_bytes()),
        (attribute::PRIORITY, &[0x6e, 0, 1, 0xff]),
        (attribute::ICE_CONTROLLING, &[3; 8]),
        (attribute::USE_CANDIDATE, &[]),
    ] {
        writer.attribute(kind, &[value]).unwrap();
    }
    writer.message_integrity(integrity).unwrap();
    writer.fingerprint().unwrap();
    let len = writer.len();
    out[..len].to_vec()
}

fn shake_hands(
    browser: &Browser,
    peer: &mut Peer,
    address: SocketAddr,
    now: Instant,
) -> (Profile, server::srtp::DtlsSrtpKeys) {
    let config = Arc::clone(&browser.config);
    let mut client = Dtls::new_auto(config, browser.certificate.clone(), now);
    client.set_active(true);
    client.handle_timeout(now).unwrap();
    let mut buffer = vec![0; 1 << 17];
    let mut keys = None;
    while !(peer.is_connected() && keys.is_some()) {
        let mut sent = Vec::new();
        loop {
            match client.poll_output(&mut buffer) {
                Output::Packet(packet) => sent.push(packet.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmHmacSha1_80,
                        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                        other => panic!("{other:?}"),
                    };
                    let material = SrtpKeys::from_keying_material(profile, &material);
                    keys = Some((profile, material.unwrap()));
                }
                Output::Timeout(_) => break,
                _ => {}
            }
        }
        for mut datagram in sent {
            peer.handle_datagram(now, address, &mut datagram).unwrap();
        }
        while let Some((len, _)) = peer.poll_transmit(now, &mut buffer) {
            // Responses to checks are not DTLS.
            if buffer[0] > 3 {
                client.handle_packet(&buffer[..len]).unwrap();
            }
        }
    }
    keys.unwrap()
}

/// The events that bind a leg to its address.
pub fn told(peer: &mut Peer) -> Vec<PeerEvent> {
    std::iter::from_fn(|| peer.poll_event()).collect()
}
