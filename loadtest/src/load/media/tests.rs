//! Legs against each other and against a reflector, through the loopback.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::media::AudioCodec;
use crate::speech;

const TALK: Duration = Duration::from_millis(2_500);

/// Tests that look at times run one after the other.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

struct Pair {
    media: MediaThreads,
    legs: [Leg; 2],
    frames: Arc<EncodedSpeech>,
}

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn plan(socket: UdpSocket, remote: SocketAddr, frames: &Arc<EncodedSpeech>) -> LegPlan {
    let clock = Arc::new(FrameClock::default());
    LegPlan {
        socket,
        remote,
        protection: Protection::Plain,
        consent: None,
        direction: Direction::AToB,
        frames: Arc::clone(frames),
        payload_type: frames.codec().usual_payload_type(),
        phase: 7,
        heard_clock: Arc::clone(&clock),
        clock,
        record: Duration::from_secs(60),
        rtcp: true,
    }
}

/// Two legs that speak to each other, of the given protections.
fn pair(codec: AudioCodec, protections: [Protection; 2]) -> Pair {
    let frames = Arc::new(EncodedSpeech::encode(codec, &speech::alpha()).unwrap());
    let media = MediaThreads::start(&[0]).unwrap();
    let ((socket_a, address_a), (socket_b, address_b)) = (socket(), socket());
    let mut a = plan(socket_a, address_b, &frames);
    let mut b = plan(socket_b, address_a, &frames);
    [a.protection, b.protection] = protections;
    (b.direction, b.phase) = (Direction::BToA, 21);
    a.heard_clock = Arc::clone(&b.clock);
    b.heard_clock = Arc::clone(&a.clock);
    let legs = [media.open(a).unwrap(), media.open(b).unwrap()];
    Pair {
        media,
        legs,
        frames,
    }
}

fn master(profile: SrtpProfile, seed: u8) -> SrtpMaster {
    SrtpMaster {
        key: vec![seed; profile.key_len()],
        salt: vec![seed ^ 0x55; profile.salt_len()],
    }
}

fn protections(profile: SrtpProfile) -> [Protection; 2] {
    let (a, b) = (master(profile, 3), master(profile, 9));
    let srtp = |local: &SrtpMaster, remote: &SrtpMaster| Protection::Srtp {
        profile,
        local: local.clone(),
        remote: remote.clone(),
    };
    [srtp(&a, &b), srtp(&b, &a)]
}

fn check_conversation(codec: AudioCodec, protections: [Protection; 2]) {
    let Pair {
        media,
        legs,
        frames,
    } = pair(codec, protections);
    std::thread::sleep(TALK);
    let records = legs.map(|leg| {
        assert!(leg.first_packet_at().is_some());
        leg.close().unwrap()
    });
    for (record, other) in [(&records[0], &records[1]), (&records[1], &records[0])] {
        // The last frame may be under way, or the far end closed already.
        assert!(record.sent > 100 && record.received + 2 >= other.sent.min(record.received + 2));
        assert!(
            other.sent.abs_diff(record.received) <= 2,
            "{} {}",
            other.sent,
            record.received
        );
        assert_eq!(
            (record.lost, record.duplicates, record.reordered),
            (0, 0, 0)
        );
        assert_eq!((record.undecryptable, record.other_datagrams), (0, 0));
        assert_eq!((record.streams, record.unknown_payload_type), (1, 0));
        assert!(record.rtcp_received >= 2);
        assert_eq!(record.packets.len() as u64, record.received);
        for (number, packet) in record.packets.iter().enumerate() {
            assert_eq!(packet.payload, frames.payload(number as u64));
            let ticks = packet.timestamp.wrapping_sub(other.first_timestamp);
            assert_eq!(ticks as usize, number * codec.packet_samples());
            assert_eq!(packet.marker, number == 0);
        }
        let (first_sent, first_heard) = (other.first_sent_at.unwrap(), record.packets[0].arrival);
        assert!(first_heard + Duration::from_micros(100) >= first_sent);
        assert_eq!(record.delays.count(), record.received);
        assert!(record.delays.quantile_ms(0.5).unwrap() < 5.0);
        assert!(record.jitter_ms < 10.0);
    }
    let windows = media.take_windows();
    let mut sum = windows[0].clone();
    windows[1..].iter().for_each(|window| sum.merge(window));
    assert!(windows.len() >= 2 && windows[1].at - windows[0].at == Duration::from_secs(1));
    assert!(sum.sent.a_to_b > 50 && sum.received.a_to_b + 2 >= sum.sent.a_to_b);
    assert!(sum.sent.b_to_a > 50 && sum.received.b_to_a + 2 >= sum.sent.b_to_a);
    assert_eq!((sum.lost.a_to_b, sum.lost.b_to_a), (0, 0));
    assert_eq!(sum.lateness.count(), sum.sent.a_to_b + sum.sent.b_to_a);
    assert_eq!(sum.delays.a_to_b.count(), sum.received.a_to_b);
    assert!(sum.thread_cpu > Duration::ZERO);
    assert!(media.alive() && media.legs() == 0);
}

#[test]
fn two_plain_legs_hear_all_that_the_other_says() {
    let _alone = ALONE.lock();
    check_conversation(AudioCodec::Pcmu, [Protection::Plain, Protection::Plain]);
}

#[test]
fn two_legs_with_srtp_hear_all_that_the_other_says() {
    let _alone = ALONE.lock();
    for profile in [
        SrtpProfile::Aes128CmHmacSha1_80,
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm,
    ] {
        check_conversation(AudioCodec::Opus, protections(profile));
    }
}

#[test]
fn keys_of_others_open_nothing() {
    let profile = SrtpProfile::AeadAes128Gcm;
    let [a, _] = protections(profile);
    let Pair { legs, .. } = pair(AudioCodec::Pcmu, [a.clone(), a]);
    std::thread::sleep(Duration::from_millis(300));
    let [record, _] = legs.map(|leg| leg.close().unwrap());
    assert!(record.undecryptable > 5);
    assert_eq!((record.received, record.first_received_at), (0, None));
}

#[test]
fn a_key_of_the_wrong_length_is_refused() {
    let frames = Arc::new(EncodedSpeech::encode(AudioCodec::Pcmu, &speech::alpha()).unwrap());
    let media = MediaThreads::start(&[0]).unwrap();
    let (socket, address) = socket();
    let mut plan = plan(socket, address, &frames);
    let wrong = master(SrtpProfile::AeadAes256Gcm, 1);
    plan.protection = Protection::Srtp {
        profile: SrtpProfile::AeadAes128Gcm,
        local: wrong.clone(),
        remote: wrong,
    };
    assert!(matches!(media.open(plan), Err(OpenError::Protection(_))));
    assert_eq!(media.legs(), 0);
    assert!(MediaThreads::start(&[]).is_err());
    assert!(MediaThreads::start(&[5_000]).is_err());
}

/// Sends back all but every tenth packet until told to stop. Returns how many it dropped before the last that it sent.
fn reflect(socket: UdpSocket, stop: Arc<AtomicBool>) -> JoinHandle<i64> {
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    std::thread::spawn(move || {
        let (mut buffer, mut count, mut dropped, mut dropped_before_last) = ([0; 2_000], 0, 0, 0);
        while !stop.load(Ordering::Relaxed) {
            let Ok((len, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            count += 1;
            if count % 10 == 0 {
                dropped += 1;
            } else {
                dropped_before_last = dropped;
                socket.send_to(&buffer[..len], from).unwrap();
            }
        }
        dropped_before_last
    })
}

#[test]
fn what_a_reflector_drops_is_counted_as_lost() {
    let _alone = ALONE.lock();
    let frames = Arc::new(EncodedSpeech::encode(AudioCodec::Pcmu, &speech::bravo()).unwrap());
    let media = MediaThreads::start(&[0]).unwrap();
    let ((socket, _), (reflector, reflector_address)) = (socket(), socket());
    let stop = Arc::new(AtomicBool::new(false));
    let reflected = reflect(reflector, Arc::clone(&stop));
    let mut plan = plan(socket, reflector_address, &frames);
    (plan.rtcp, plan.record) = (false, Duration::from_millis(500));
    let clock = Arc::clone(&plan.clock);
    let leg = media.open(plan).unwrap();
    std::thread::sleep(TALK);
    // Stopped first, so that no packet is on its way at the end.
    stop.store(true, Ordering::Relaxed);
    let dropped = reflected.join().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let record = leg.close().unwrap();
    assert!(dropped >= 10);
    assert_eq!(record.lost, dropped);
    let Tally { sent, heard } = clock.tally();
    assert_eq!((sent, heard), (record.sent, record.received));
    assert!(sent - heard >= dropped as u64);
    assert!(
        (20..=25).contains(&record.packets.len()),
        "{}",
        record.packets.len()
    );
    assert!(record.delays.quantile_ms(0.5).unwrap() < 5.0);
}

#[test]
fn a_leg_checks_consent_and_counts_the_answers() {
    let _alone = ALONE.lock();
    let frames = Arc::new(EncodedSpeech::encode(AudioCodec::Pcmu, &speech::alpha()).unwrap());
    let media = MediaThreads::start(&[0]).unwrap();
    let ((socket, address), (far_end, far_address)) = (socket(), socket());
    let mut plan = plan(socket, far_address, &frames);
    plan.consent = Some(Consent {
        local_ufrag: "ours".to_owned(),
        remote_ufrag: "theirs".to_owned(),
        remote_password: "a password of twenty-two".to_owned(),
        tie_breaker: 42,
    });
    let leg = media.open(plan).unwrap();
    far_end
        .set_read_timeout(Some(Duration::from_secs(7)))
        .unwrap();
    let mut buffer = [0; 2_000];
    loop {
        // A signal of another test's child may end the wait.
        let (len, from) = match far_end.recv_from(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            received => received.unwrap(),
        };
        assert_eq!(from, address);
        if let Ok(check) = is::stun::StunMessage::parse(&buffer[..len])
            && check.is_binding_request()
        {
            // The head of a success; an answer is not looked into.
            far_end.send_to(&[0x01, 0x01, 0, 0], from).unwrap();
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(100));
    let record = leg.close().unwrap();
    assert_eq!((record.consent_checks, record.consent_answers), (1, 1));
}

#[test]
fn a_closed_or_dropped_leg_gives_its_socket_back() {
    let frames = Arc::new(EncodedSpeech::encode(AudioCodec::Pcmu, &speech::alpha()).unwrap());
    let media = MediaThreads::start(&[0]).unwrap();
    let (_far_end, far_address) = socket();
    let open = || {
        let (socket, address) = socket();
        // Other tests open files meanwhile, so the socket itself is looked for.
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        (
            media.open(plan(socket, far_address, &frames)).unwrap(),
            link,
            address,
        )
    };
    let (closed, closed_link, address) = open();
    let (dropped, dropped_link, _) = open();
    assert!(is_open(&closed_link) && is_open(&dropped_link));
    closed.close().unwrap();
    drop(dropped);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!is_open(&closed_link) && !is_open(&dropped_link));
    assert_eq!(media.legs(), 0);
    UdpSocket::bind(address).unwrap();
}

fn is_open(link: &std::path::Path) -> bool {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .any(|found| found == link)
}
