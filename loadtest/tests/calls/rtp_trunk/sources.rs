//! Who may speak for the far end: symmetric RTP with a short learning window, in which the configured address wins.

use super::*;
use server::rtp::{PayloadType, RtpHeader, RtpTimestamp, SequenceNumber, Ssrc};

const PACKET: Duration = Duration::from_millis(20);

/// A socket that sends loud PCMU noise, and nothing else.
struct Noise {
    socket: UdpSocket,
    header: RtpHeader,
}

impl Noise {
    fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(STEP)).unwrap();
        Self {
            socket,
            header: RtpHeader {
                marker: false,
                payload_type: PayloadType(0),
                sequence_number: SequenceNumber(7),
                timestamp: RtpTimestamp(70),
                ssrc: Ssrc(0x0bad_cafe),
            },
        }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn send(&mut self, to: SocketAddr) {
        let mut datagram = [0; 200];
        // Alternating full-scale values, not silence.
        let payload: Vec<u8> = (0..160)
            .map(|n| if n % 2 == 0 { 0x00 } else { 0x80 })
            .collect();
        let len = self.header.write_packet(&payload, &mut datagram).unwrap();
        self.socket.send_to(&datagram[..len], to).unwrap();
        self.header.sequence_number = self.header.sequence_number.next();
        self.header.timestamp = self.header.timestamp.wrapping_add(160);
    }

    /// How many datagrams wait now.
    fn drain(&self) -> usize {
        self.socket.set_nonblocking(true).unwrap();
        let count = std::iter::from_fn(|| self.socket.recv_from(&mut [0; 2_048]).ok()).count();
        self.socket.set_nonblocking(false).unwrap();
        count
    }

    fn wait_for_packet(&self) {
        self.socket.recv_from(&mut [0; 2_048]).unwrap();
    }
}

fn wait_until_heard(call: &WebRtcCall) {
    let deadline = in_time();
    while call.recording().unwrap().statistics.received == 0 {
        assert!(Instant::now() < deadline, "nothing came to the browser");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wrong_source(gateway: &Gateway) -> f64 {
    gateway.metrics().unwrap().matching(
        "clutchcall_packets_dropped_total",
        "reason=\"rtp_wrong_source\"",
    )
}

#[test]
fn a_stranger_is_neither_heard_nor_answered() {
    let peer = peer(AudioCodec::Pcmu);
    let gateway = TrunkSetup::new(peer.local_addr(), AudioCodec::Pcmu).start();
    let call = dial(&gateway, AudioCodec::Pcmu);
    let source = peer.wait_for_source(0, in_time()).unwrap();
    wait_until_heard(&call);

    let mut stranger = Noise::new();
    let (sent, stranger) = std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let noise = scope.spawn(move || {
            let mut sent = 0u32;
            while stopped.recv_timeout(PACKET).is_err() {
                stranger.send(source);
                sent += 1;
                if sent > 1_000 {
                    break;
                }
            }
            (sent, stranger)
        });
        let (alpha, bravo) = openings();
        talk(&call, &peer, source, (&alpha, &bravo), Bar::PcmuToRtp);
        stop.send(()).unwrap();
        noise.join().unwrap()
    });
    println!("the stranger sent {sent} packets");
    assert!(sent > 100);
    assert_eq!(wrong_source(&gateway), f64::from(sent));
    assert_eq!(stranger.drain(), 0, "the stranger was sent something");

    let report = call.hang_up().unwrap();
    let record = record(&gateway, &report.call_sid);
    let received = record["legs"][1]["statistics"]["packets_received"].as_u64();
    let lost = record["legs"][1]["statistics"]["packets_lost"].as_u64();
    println!("the trunk leg received {received:?}, lost {lost:?}");
    assert_eq!(lost, Some(0));
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}

#[test]
fn another_address_is_learned_and_the_configured_one_wins() {
    // What the configuration names is silent at first; the far end speaks from behind a NAT.
    let mut configured = Noise::new();
    let setup = TrunkSetup::new(configured.address(), AudioCodec::Pcmu);
    let behind_nat = peer(AudioCodec::Pcmu);
    let gateway = setup.start();
    let call = dial(&gateway, AudioCodec::Pcmu);
    configured.wait_for_packet();
    let media_port = SocketAddr::from((Ipv4Addr::LOCALHOST, setup.ports.0));
    behind_nat.open(media_port);
    let source = behind_nat.wait_for_source(0, in_time()).unwrap();
    assert_eq!(source, media_port);
    wait_until_heard(&call);
    // The first two packets of an unknown address only prove it.
    assert_eq!(wrong_source(&gateway), 2.0);
    let (alpha, bravo) = openings();
    talk(&call, &behind_nat, source, (&alpha, &bravo), Bar::PcmuToRtp);

    configured.drain();
    let heard = behind_nat.audio_packets(source).unwrap().len();
    assert!(heard > 150, "{heard} packets came to the learned address");
    configured.send(media_port);
    configured.wait_for_packet();
    let before = wrong_source(&gateway);
    let heard = behind_nat.audio_packets(source).unwrap().len();
    configured.wait_for_packet();
    std::thread::sleep(PACKET * 10);
    let heard_after = behind_nat.audio_packets(source).unwrap().len();
    assert!(
        heard_after <= heard + 1,
        "{} packets still go to the learned address",
        heard_after - heard
    );
    assert!(
        wrong_source(&gateway) > before,
        "the learned address is a stranger now"
    );

    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    end(gateway);
}
