//! Calls of one shard, from the control thread's messages to packets on loopback sockets and back. No executor runs: the
//! tests turn the media loop by hand.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod incoming;
mod pcm;
mod trunk;

use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shards::ring::{Consumer, ring};

use super::*;
use crate::bridge::{Codec, StreamFormat};
use crate::call::rings::{
    IncomingCall, IncomingTarget, SessionAddress, TrunkProgress, VendorDialTarget,
};
use crate::call::{CallEvent, CallRecord, EventType, RtpMedia, TrunkMedia};
use crate::config::{DtlsVersions, GatewayConfig};
use crate::rtp::{PayloadType, RtpHeader, RtpTimestamp, SequenceNumber, Ssrc, StreamDirection};
use crate::switch::mailbox::Mailbox;
use crate::webrtc::dtls::DtlsIdentity;

const CONFIG: &str = r#"
[server]
cert_file = "cert.pem"
key_file = "key.pem"
public_url = "wss://localhost:7443"
[[tenants]]
tenant_id = "acme"
outbound_hosts = ["127.0.0.1"]
[[trunks]]
trunk_id = "carrier"
tenant_id = "acme"
kind = "rtp"
remote = "127.0.0.1:9"
internal_rtp_ip = "127.0.0.1"
rtp_start_port = 21000
rtp_end_port = 22999
[[trunks]]
trunk_id = "pbx"
tenant_id = "acme"
kind = "sip"
gateway_ip = "127.0.0.1"
internal_rtp_ip = "127.0.0.1"
rtp_start_port = 21000
rtp_end_port = 22999
dtmf = "info"
terminate_on_hold = true
[[trunks]]
trunk_id = "bot"
tenant_id = "acme"
kind = "websocket"
inbound_ai_websocket_url = "ws://127.0.0.1:9/bot"
"#;
const OFFER: &str = include_str!("../webrtc/sdp/tests/chromium.sdp");
/// Nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

struct Shard {
    handle: SwitchHandle,
    control: Consumer<ToControl>,
    /// The trunk's far end.
    far: StdSocket,
}

/// What the shard said of one call.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Event(EventType),
    Accept { early: bool },
    HangUp(u8),
    Hold(bool),
    Digits(String),
    End { cause: i32, answered: bool },
    Release,
    Waiting,
    NotWaiting,
    VendorDial(VendorDialTarget),
    VapiHangUp,
}

impl Shard {
    fn new(ring_slots: usize) -> Self {
        let settings = settings();
        let peer_config = PeerConfig {
            local_addresses: vec!["127.0.0.1:5000".parse().unwrap()],
            identity: Arc::new(DtlsIdentity::generate().unwrap()),
            codecs: settings.config.webrtc.codecs.clone(),
            dtls: DtlsVersions::Auto,
        };
        let (to_control, control) = ring(ring_slots, None);
        let handle = SwitchHandle::new(SwitchParts {
            shard: ShardIndex(0),
            shards: 1,
            settings: Arc::new(settings),
            shards_config: Arc::new(ShardsConfig::on_cores(vec![0])),
            metrics: Arc::default(),
            to_control,
            doorbell: Doorbell::new().unwrap(),
            socket: UdpSocket::bind("127.0.0.1:0".parse().unwrap(), 65_536, 65_536).unwrap(),
            peer_config: Arc::new(peer_config),
        })
        .unwrap();
        let far = StdSocket::bind("127.0.0.1:0").unwrap();
        far.set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        Self {
            handle,
            control,
            far,
        }
    }

    fn incoming(&self, number: u8, target: IncomingTarget) -> CallSid {
        self.incoming_over("carrier", number, target)
    }

    fn incoming_over(&self, trunk_id: &str, number: u8, target: IncomingTarget) -> CallSid {
        let call_sid = CallSid::new(ShardIndex(0), [number; CallSid::ENTROPY_LEN]);
        let call = IncomingCall {
            call_sid,
            tenant_id: "acme".parse().unwrap(),
            trunk_id: trunk_id.parse().unwrap(),
            from: "+15550123".to_owned(),
            to: "+15550100".to_owned(),
            target,
        };
        self.handle.0.borrow_mut().incoming(Instant::now(), call);
        call_sid
    }

    fn progress(&self, call_sid: CallSid, progress: TrunkProgress) {
        let now = Instant::now();
        let mut switch = self.handle.0.borrow_mut();
        switch.trunk_progress(now, call_sid, progress);
    }

    /// Where the call's media socket is.
    fn media_port(&self, call_sid: CallSid) -> SocketAddr {
        let switch = self.handle.0.borrow();
        let key = switch.calls_by_sid[&call_sid];
        switch.calls[key.0].trunk.advertised_rtp().unwrap()
    }

    /// Gives the calls that were asked for in it.
    fn turn(&self) -> Vec<AskedCall> {
        let mut switch = self.handle.0.borrow_mut();
        switch.turn(&mut trunk_media::TrunkInbox::default())
    }

    /// Turns until the far end has heard `count` RTP packets: payload type, payload and sequence number of each.
    fn far_hears(&self, count: usize) -> Vec<(u8, Vec<u8>, u16)> {
        let mut heard = Vec::new();
        let begun = Instant::now();
        while heard.len() < count {
            assert!(begun.elapsed() < PATIENCE, "only {} packets", heard.len());
            self.turn();
            let mut datagram = [0; 2048];
            if let Ok(len) = self.far.recv(&mut datagram)
                && !crate::rtp::is_rtcp(&datagram[..len])
            {
                let packet = crate::rtp::RtpPacket::parse(&datagram[..len]).unwrap();
                heard.push((
                    packet.header.payload_type.0,
                    packet.payload().to_vec(),
                    packet.header.sequence_number.0,
                ));
            }
        }
        heard
    }

    fn far_says(&self, call_sid: CallSid, payload_type: u8, sequence: u16, payload: &[u8]) {
        let header = RtpHeader {
            marker: false,
            payload_type: PayloadType(payload_type),
            sequence_number: SequenceNumber(sequence),
            timestamp: RtpTimestamp(u32::from(sequence) * 160),
            ssrc: Ssrc(7),
        };
        let mut datagram = [0; 300];
        let len = header.write_packet(payload, &mut datagram).unwrap();
        let to = self.media_port(call_sid);
        self.far.send_to(&datagram[..len], to).unwrap();
    }

    /// A page that can be called, and its mailbox.
    fn page(&mut self) -> (SessionKey, Rc<Mailbox>, SessionAddress) {
        let settings = self.handle.settings();
        let tenant = Arc::clone(settings.config.tenants.values().next().unwrap());
        let (key, mailbox) = self.handle.open_session(tenant);
        self.handle.authenticated(key, "alice");
        assert_eq!(self.said(), [], "no media yet");
        self.handle.offer(key, OFFER).unwrap();
        let Some(ToControl::Waiting(waiting)) = self.control.pop() else {
            panic!("the page waits");
        };
        assert_eq!(waiting.subject, "alice");
        assert_eq!(waiting.tenant_id.as_str(), "acme");
        (key, mailbox, waiting.session)
    }

    /// The page's DTLS is done.
    fn connect(&self, key: SessionKey, call_sid: CallSid) {
        let mut switch = self.handle.0.borrow_mut();
        let now = Instant::now();
        switch.mark_connected(now, key);
        let call = switch.calls_by_sid[&call_sid];
        switch.accept_when_ready(now, call);
        switch.connect_when_ready(now, call);
    }

    /// What was said since the last question.
    fn said(&mut self) -> Vec<Said> {
        self.turn();
        let messages = std::iter::from_fn(|| self.control.pop());
        messages.map(said).collect()
    }

    /// Turns until the call has ended; all that was said.
    fn said_to_the_end(&mut self) -> (Vec<Said>, Box<CallRecord>) {
        let begun = Instant::now();
        let mut all = Vec::new();
        loop {
            assert!(begun.elapsed() < PATIENCE, "it does not end: {all:?}");
            self.turn();
            while let Some(message) = self.control.pop() {
                if let ToControl::Ended(record) = message {
                    all.push(ended(&record.event));
                    return (all, record);
                }
                all.push(said(message));
            }
        }
    }

    fn answered(&self, direction: StreamDirection) -> TrunkMedia {
        let format = StreamFormat {
            codec: Codec::Pcmu,
            payload_type: PayloadType(0),
            ptime_ms: 20,
            telephone_event: None,
        };
        TrunkMedia::Rtp(Box::new(RtpMedia {
            remote: self.far.local_addr().unwrap(),
            remote_rtcp: None,
            sends: format,
            receives: format,
            direction,
            srtp: None,
        }))
    }
}

/// [`CONFIG`] with a certificate made for it.
fn settings() -> Settings {
    let files = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    for (name, text) in [
        ("cert.pem", certificate.pem()),
        ("key.pem", key.serialize_pem()),
    ] {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let path = files.path().join("gateway.toml");
    let (config, _) = GatewayConfig::parse(CONFIG, &path).unwrap();
    Settings::read(config).unwrap()
}

fn said(message: ToControl) -> Said {
    match message {
        ToControl::Event(event) => Said::Event(event.event_type),
        ToControl::Ended(record) => ended(&record.event),
        ToControl::TrunkAccept { early, .. } => Said::Accept { early },
        ToControl::TrunkHangup { cause, .. } => Said::HangUp(cause.0),
        ToControl::TrunkHold { hold, .. } => Said::Hold(hold),
        ToControl::TrunkDigits { digits, .. } => Said::Digits(digits),
        ToControl::Release(_) => Said::Release,
        ToControl::Waiting(_) => Said::Waiting,
        ToControl::NotWaiting(_) => Said::NotWaiting,
        ToControl::VendorDial(dial) => Said::VendorDial(dial.to),
        ToControl::VapiHangUp(..) => Said::VapiHangUp,
        other => panic!("nobody asked for {other:?}"),
    }
}

fn ended(event: &CallEvent) -> Said {
    Said::End {
        cause: event.q850_cause,
        answered: event.answer_timestamp_ms > 0,
    }
}
