//! Sound that does not come at the pace of speech, and a peer that does not read: delay goes back to where it was, memory has
//! bounds.

use std::net::{SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::*;
use loadtest::gateway::Gateway;
use loadtest::judge::Verdict;

const FRAME: Duration = Duration::from_millis(20);

/// Sound of which every 20 ms are unlike all others, not loud: frame `number`.
fn frame(number: u32) -> Vec<u8> {
    let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let byte = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // The quieter half of mu-law.
        (state >> 24) as u8 | 0x40
    };
    std::iter::repeat_with(byte).take(160).collect()
}

fn frames(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(frame).collect()
}

#[test]
fn ten_seconds_at_once_play_in_real_time() {
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    setup.twilio_lines = "queue_ms_max = 12000\n".to_owned();
    let gateway = setup.start();
    let twilio = Twilio::start(&gateway, &[]);
    let (_, source) = answered(&carrier, 0);
    let before = delay_ms(&twilio, &carrier, source);
    twilio.peer.set_sending(false);
    std::thread::sleep(Duration::from_millis(300));

    let burst = frames(500);
    let first = carrier.rtp().audio_packets(source).unwrap().len();
    let began = Instant::now();
    twilio.peer.send_frames(burst.clone());
    std::thread::sleep(Duration::from_secs(11));
    let packets = carrier
        .rtp()
        .audio_packets(source)
        .unwrap()
        .split_off(first);
    let played: Vec<_> = packets
        .iter()
        .filter(|p| burst.contains(&p.payload))
        .collect();
    let payloads: Vec<Vec<u8>> = played.iter().map(|packet| packet.payload.clone()).collect();
    assert_untouched("at the carrier", &burst, &payloads);
    let span = played[499].arrival - played[0].arrival;
    assert!(
        (Duration::from_millis(9_900)..Duration::from_millis(10_150)).contains(&span),
        "ten seconds played for {span:?}"
    );
    assert!(played[0].arrival - began < Duration::from_millis(200));
    for five in played.windows(6) {
        let time = five[5].arrival - five[0].arrival;
        assert!(time > FRAME * 3, "six frames within {time:?}");
    }

    twilio.peer.set_sending(true);
    let after = delay_ms(&twilio, &carrier, source);
    println!("delay: {before} ms before, {after} ms after");
    assert!(
        after < before + 60.0,
        "{before} ms before, {after} ms after"
    );
    twilio.peer.stop();
    whole_call(&gateway);
    end(gateway);
}

#[test]
fn more_than_the_bound_drops_the_oldest() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::start(&gateway, &[]);
    let (_, source) = answered(&carrier, 0);
    twilio.peer.set_sending(false);
    std::thread::sleep(Duration::from_millis(300));
    let burst = frames(500);
    twilio.peer.send_frames(burst.clone());
    std::thread::sleep(Duration::from_secs(2));
    let packets = carrier.rtp().audio_packets(source).unwrap();
    let played: Vec<Vec<u8>> = packets.into_iter().map(|packet| packet.payload).collect();
    let played: Vec<Vec<u8>> = played.into_iter().filter(|p| burst.contains(p)).collect();
    // The default of queue_ms_max: a second, and what had left before it was full.
    println!("{} of 500 frames were played", played.len());
    assert!((45..=75).contains(&played.len()), "{} frames", played.len());
    assert_untouched("the newest", &burst[460..], &played);
    twilio.peer.stop();
    whole_call(&gateway);
    end(gateway);
}

/// From the mouth at Twilio to the ear at the carrier.
fn delay_ms(twilio: &Twilio, carrier: &loadtest::sip_peer::SipPeer, source: SocketAddr) -> f64 {
    let alpha = opening(speech::alpha(), 3);
    twilio.peer.speak(&alpha);
    twilio.peer.wait_until_spoken(in_time()).unwrap();
    std::thread::sleep(TAIL);
    let heard = carrier.rtp().recording(source).unwrap();
    let spoken_at = twilio.peer.spoken_at().unwrap();
    // What was heard earlier is no part of it.
    let from = heard.begin.max(spoken_at - Duration::from_millis(100));
    let heard = loadtest::media::Recording {
        begin: from,
        audio: between(&heard, from, Instant::now()),
        statistics: heard.statistics,
    };
    let verdict: Verdict = verdict(&alpha, Some(spoken_at), &heard, Bar::PcmuToRtp);
    println!("{verdict}");
    assert!(verdict.pass, "{verdict}");
    verdict.delay_ms.unwrap()
}

/// A far end of plain RTP whose packets are held back for a while, and then come all at once.
struct StallingFarEnd {
    socket: UdpSocket,
}

impl StallingFarEnd {
    const FRAMES: u32 = 500;
    /// Held back are the packets of half a second.
    const STALL: std::ops::Range<u32> = 200..225;

    fn bind() -> Self {
        Self {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
        }
    }

    /// Sends, once the gateway has sent; gives the time when each frame was due.
    fn send(self) -> JoinHandle<Vec<Instant>> {
        std::thread::spawn(move || {
            let mut datagram = [0; 2048];
            self.socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let (_, gateway) = self.socket.recv_from(&mut datagram).unwrap();
            let begin = Instant::now();
            let mut due = Vec::new();
            for number in 0..Self::FRAMES {
                due.push(begin + FRAME * number);
                let held = match Self::STALL.contains(&number) {
                    true => Self::STALL.end,
                    false => number,
                };
                let at = begin + FRAME * held;
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                let mut packet = vec![0x80, 0];
                packet.extend((number as u16).to_be_bytes());
                packet.extend((number * 160).to_be_bytes());
                packet.extend([1, 2, 3, 4]);
                packet.extend(frame(number));
                self.socket.send_to(&packet, gateway).unwrap();
            }
            due
        })
    }
}

#[test]
fn rtp_that_stalls_and_comes_at_once_leaves_no_delay() {
    let far_end_of_plain_rtp = StallingFarEnd::bind();
    let carrier = far_end(AudioCodec::Pcmu);
    let mut setup = StreamSetup::new(&carrier);
    let ports = crate::rtp_trunk::free_port_pairs(4);
    setup.route_trunk_id = "plain".to_owned();
    setup.trunks = format!(
        "[[trunks]]\ntrunk_id = \"plain\"\ntenant_id = \"acme\"\nkind = \"rtp\"\nremote = \"{}\"\n\
         codec_preferences = [\"PCMU\"]\nrtp_start_port = {}\nrtp_end_port = {}\n",
        far_end_of_plain_rtp.socket.local_addr().unwrap(),
        ports.0,
        ports.1
    );
    let gateway = setup.start();
    let sending = far_end_of_plain_rtp.send();
    let twilio = Twilio::start(&gateway, &[]);
    let due = sending.join().unwrap();
    std::thread::sleep(TAIL);
    let heard = twilio.peer.frames();
    let delays: Vec<(u32, Duration)> = due
        .iter()
        .zip(0_u32..)
        .filter_map(|(due, number)| {
            let bytes = frame(number);
            let found = heard.iter().find(|heard| heard.bytes == bytes)?;
            Some((number, found.at.saturating_duration_since(*due)))
        })
        .collect();
    let median = |numbers: std::ops::Range<u32>| {
        let within = delays.iter().filter(|(number, _)| numbers.contains(number));
        let mut within: Vec<Duration> = within.map(|(_, delay)| *delay).collect();
        within.sort_unstable();
        assert!(within.len() > numbers.len() / 2, "{numbers:?}: {delays:?}");
        within[within.len() / 2]
    };
    let before = median(100..StallingFarEnd::STALL.start);
    let burst = StallingFarEnd::STALL.end;
    let after = median(burst + 100..StallingFarEnd::FRAMES);
    println!("delay: {before:?} before, {after:?} from two seconds after the burst on");
    assert!(before < Duration::from_millis(120), "{before:?}");
    assert!(
        after < before + Duration::from_millis(60),
        "{before:?} before, {after:?} after"
    );
    // Nothing runs ahead: 200 ms more than time has passed, and a frame.
    for (first, frame) in heard.iter().enumerate() {
        let within = heard[first..]
            .iter()
            .take_while(|other| other.at - frame.at < Duration::from_millis(100));
        let count = within.count();
        assert!(count <= 16, "{count} frames within 100 ms");
    }
    twilio.peer.stop();
    whole_call(&gateway);
    end(gateway);
}

fn rss_kb(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

#[test]
fn a_peer_that_does_not_read_is_closed_and_costs_no_memory() {
    let carrier = far_end(AudioCodec::Pcmu);
    let gateway = StreamSetup::new(&carrier).start();
    let twilio = Twilio::connect(&gateway);
    twilio.peer.shrink_receive_buffer();
    twilio.say_start(&[]);
    twilio.peer.set_sending(true);
    let (call, _) = answered(&carrier, 0);
    twilio.peer.wait_for_frames(50, in_time()).unwrap();
    let before_kb = rss_kb(&gateway);
    twilio.peer.set_reading(false);
    let began = Instant::now();
    // Until the system's buffers are full, and five seconds more.
    let deadline = began + Duration::from_secs(120);
    let view = carrier
        .wait_for_state(call, CallState::Ended, deadline)
        .unwrap();
    assert!(view.ended_by_other);
    let grown_kb = rss_kb(&gateway).saturating_sub(before_kb);
    println!("closed after {:?}, grown by {grown_kb} KB", began.elapsed());
    assert!(grown_kb < 2_000, "the gateway grew by {grown_kb} KB");
    let (event, record) = whole_call(&gateway);
    assert_eq!(record["fault"], "vendor", "{record:#}");
    println!("cause {}: {}", event.q850_cause, record["end_reason"]);
    drop(twilio);
    end(gateway);
}
