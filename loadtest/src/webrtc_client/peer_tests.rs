//! The media peer against an answerer of `str0m`'s own that sends every packet back.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::judge::{Bar, Question, Verdict, judge};
use crate::speech;
use str0m::change::SdpOffer;
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Event, Input, Output};

/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Answers `offer`, ICE-lite as a gateway, and reflects RTP until `stop`.
fn reflect(
    offer: &str,
    local_ip: IpAddr,
    dtls: DtlsChoice,
    stop: Arc<AtomicBool>,
) -> (String, JoinHandle<()>) {
    let socket = UdpSocket::bind((local_ip, 0)).unwrap();
    let local = socket.local_addr().unwrap();
    let mut config = configuration(AudioCodec::Opus, dtls).set_ice_lite(true);
    config.codec_config().enable_pcmu(true, false);
    config.codec_config().enable_pcma(true, false);
    config.codec_config().add_config(
        126.into(),
        None,
        Codec::Tele,
        Frequency::EIGHT_KHZ,
        None,
        FormatParams {
            telephone_event_max: Some(15),
            ..Default::default()
        },
    );
    let mut rtc = config.build(Instant::now());
    rtc.add_local_candidate(Candidate::host(local, "udp").unwrap());
    let answer = rtc
        .sdp_api()
        .accept_offer(SdpOffer::from_sdp_string(offer).unwrap())
        .unwrap();
    let thread = std::thread::spawn(move || {
        let mut mid = None;
        let mut sequence = 1_000u64;
        let mut buffer = [0; 2_048];
        while !stop.load(Ordering::Relaxed) {
            let timeout = loop {
                match rtc.poll_output().unwrap() {
                    Output::Timeout(at) => break at,
                    Output::Transmit(transmit) => {
                        drop(socket.send_to(&transmit.contents, transmit.destination))
                    }
                    Output::Event(Event::MediaAdded(added)) => mid = Some(added.mid),
                    Output::Event(Event::RtpPacket(packet)) => {
                        sequence += 1;
                        let payload_type = packet.header.payload_type;
                        let write = RtpWrite::new(
                            payload_type,
                            sequence.into(),
                            packet.header.timestamp,
                            Instant::now(),
                            packet.payload.clone(),
                        )
                        .marker(packet.header.marker);
                        rtc.direct_api()
                            .stream_tx_by_mid(mid.unwrap(), None)
                            .unwrap()
                            .write_rtp(write);
                        rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
                    }
                    Output::Event(_) => {}
                }
            };
            let left = timeout
                .saturating_duration_since(Instant::now())
                .clamp(Duration::from_millis(1), SLEEP_MAX);
            socket.set_read_timeout(Some(left)).unwrap();
            let input = match socket.recv_from(&mut buffer) {
                Ok((len, source)) => Input::Receive(
                    Instant::now(),
                    Receive {
                        proto: Protocol::Udp,
                        source,
                        destination: local,
                        contents: buffer[..len].try_into().unwrap(),
                    },
                ),
                Err(_) => Input::Timeout(Instant::now()),
            };
            rtc.handle_input(input).unwrap();
        }
    });
    (answer.to_sdp_string(), thread)
}

fn reflected(
    codec: AudioCodec,
    dtls: DtlsChoice,
    local_ip: IpAddr,
    bar: Bar,
) -> (Verdict, MediaPeer) {
    let stop = Arc::new(AtomicBool::new(false));
    let peer = MediaPeer::start(codec, dtls, &[local_ip]).unwrap();
    let (answer, thread) = reflect(peer.offer(), local_ip, dtls, Arc::clone(&stop));
    peer.accept(answer);
    let in_s = |seconds| Instant::now() + Duration::from_secs(seconds);
    peer.wait_connected(in_s(10)).unwrap();
    peer.speak(&speech::bravo(), Playback::Once);
    peer.wait_silent(in_s(20)).unwrap();
    peer.send_digits(vec![DigitPlan::new('5', 100, true).unwrap()]);
    std::thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    let recording = peer.recording().unwrap();
    let question = Question::new(bar).spoken_at_ms(recording.at_ms(peer.spoken_at().unwrap()));
    (
        judge(&speech::bravo(), &recording.audio, &question).unwrap(),
        peer,
    )
}

#[test]
fn opus_is_heard_on_dtls_1_3() {
    let (verdict, peer) = reflected(
        AudioCodec::Opus,
        DtlsChoice::Auto,
        Ipv4Addr::LOCALHOST.into(),
        Bar::OpusClean,
    );
    let statistics = peer.statistics();
    println!("{verdict}; {statistics:?}");
    assert!(verdict.pass, "{verdict}");
    assert!(statistics.dtls.contains("1_3"), "{statistics:?}");
    assert!(statistics.srtp.starts_with("AE"), "{statistics:?}");
    let digits = crate::media::telephone_events(&peer.telephone_events());
    assert_eq!(digits.len(), 1, "{digits:?}");
    assert_eq!(
        (digits[0].digit, digits[0].duration, digits[0].end_packets),
        ('5', 4_800, 3)
    );
}

#[test]
fn pcmu_is_heard_on_dtls_1_2_over_ipv6() {
    let (verdict, peer) = reflected(
        AudioCodec::Pcmu,
        DtlsChoice::Only12,
        Ipv6Addr::LOCALHOST.into(),
        Bar::PcmuToRtp,
    );
    println!("{verdict}; {:?}", peer.statistics());
    assert!(verdict.pass, "{verdict}");
    assert!(
        verdict.delay_ms.is_some_and(|delay_ms| delay_ms < 60.0),
        "{verdict}"
    );
    assert!(
        peer.statistics().dtls.contains("1_2"),
        "{:?}",
        peer.statistics()
    );
}
