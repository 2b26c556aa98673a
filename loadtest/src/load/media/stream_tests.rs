#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tungstenite::protocol::Role;

use super::{
    Direction, EncodedSpeech, FrameClock, Leg, LegRecord, MediaThreads, OpenStream, StreamPlan,
    StreamSocket, Wire,
};
use crate::media::AudioCodec;
use crate::speech;

const TALK: Duration = Duration::from_millis(1_500);

fn sockets() -> [StreamSocket; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    [(dialled, Role::Client), (accepted, Role::Server)].map(|(tcp, role)| {
        let stream = OpenStream {
            tcp,
            tls: None,
            head: Vec::new(),
            role,
        };
        stream.into_socket().unwrap()
    })
}

fn twilio() -> [Wire; 2] {
    [
        Wire::Twilio {
            stream_sid: "MZ1".to_owned(),
            call_sid: "CA1".to_owned(),
            account_sid: "AC1".to_owned(),
            sequence_number: 1,
        },
        Wire::TwilioBot {
            stream_sid: "MZ1".to_owned(),
        },
    ]
}

fn binary() -> [Wire; 2] {
    ["{\"type\":\"end-call\"}", "{\"type\":\"hangup\"}"].map(|goodbye| Wire::Binary {
        goodbye: goodbye.to_owned(),
    })
}

struct Pair {
    media: MediaThreads,
    legs: [Leg; 2],
    frames: Arc<EncodedSpeech>,
}

fn pair(codec: AudioCodec, wires: [Wire; 2]) -> Pair {
    let frames = Arc::new(EncodedSpeech::encode(codec, &speech::alpha()).unwrap());
    let media = MediaThreads::start(&[0]).unwrap();
    let clocks = [FrameClock::default(), FrameClock::default()].map(Arc::new);
    let ([a, b], [wire_a, wire_b]) = (sockets(), wires);
    let open = |socket, wire, direction, phase, own: usize| {
        let plan = StreamPlan {
            socket,
            wire,
            direction,
            frames: Arc::clone(&frames),
            phase,
            clock: Arc::clone(&clocks[own]),
            heard_clock: Arc::clone(&clocks[1 - own]),
            record: Duration::from_secs(60),
        };
        media.open_stream(plan).unwrap()
    };
    let legs = [
        open(a, wire_a, Direction::AToB, 3, 0),
        open(b, wire_b, Direction::BToA, 26, 1),
    ];
    Pair {
        media,
        legs,
        frames,
    }
}

async fn end(leg: &mut Leg) -> String {
    tokio::time::timeout(Duration::from_secs(5), leg.ended())
        .await
        .unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

/// A talks to B for a while and hangs up.
fn conversation(codec: AudioCodec, wires: [Wire; 2]) -> ([LegRecord; 2], Pair2) {
    let Pair {
        media,
        legs: [a, mut b],
        frames,
    } = pair(codec, wires);
    std::thread::sleep(TALK);
    let a = a.close().unwrap();
    let how = run(end(&mut b));
    let b = b.close().unwrap();
    ([a, b], Pair2 { media, frames, how })
}

struct Pair2 {
    media: MediaThreads,
    frames: Arc<EncodedSpeech>,
    how: String,
}

fn check(records: &[LegRecord; 2], rest: &Pair2, codec: AudioCodec) {
    assert_eq!(rest.how, "closed with 1000: ");
    assert_eq!(records[0].end, None);
    assert_eq!(records[1].end.as_deref(), Some("closed with 1000: "));
    for (record, other) in [(&records[0], &records[1]), (&records[1], &records[0])] {
        assert!(record.sent > 50, "{}", record.sent);
        assert_eq!(record.send_failures, 0);
        // B talks on until it hears of the end.
        assert!(
            other.sent - record.received <= 3,
            "{} {}",
            other.sent,
            record.received
        );
        assert_eq!((record.odd_sized, record.lost), (0, 0));
        assert_eq!(record.packets.len() as u64, record.received);
        for (number, packet) in record.packets.iter().enumerate() {
            assert_eq!(packet.payload, rest.frames.payload(number as u64));
            assert_eq!(packet.timestamp as usize, number * codec.packet_samples());
        }
        assert_eq!(record.delays.count(), record.received);
        assert!(record.delays.quantile_ms(0.5).unwrap() < 5.0);
    }
    assert_eq!(rest.media.legs(), 0);
    let windows = rest.media.take_windows();
    assert!(windows.iter().any(|window| window.received.a_to_b > 20));
}

#[test]
fn twilio_and_a_bot_hear_all_that_the_other_says() {
    let (records, rest) = conversation(AudioCodec::Pcmu, twilio());
    check(&records, &rest, AudioCodec::Pcmu);
    // `stop`
    assert_eq!(
        (records[1].other_messages, records[0].other_messages),
        (1, 0)
    );
}

#[test]
fn binary_samples_arrive_as_they_were() {
    let (records, rest) = conversation(AudioCodec::L16, binary());
    check(&records, &rest, AudioCodec::L16);
    assert_eq!(records[1].other_messages, 1);
}

#[test]
fn a_far_end_that_is_gone_is_an_end_and_no_more_is_sent() {
    let Pair {
        legs: [a, mut b], ..
    } = pair(AudioCodec::Pcmu, twilio());
    std::thread::sleep(Duration::from_millis(200));
    // Not even a close: the process died.
    drop(a.close_later());
    let how = run(end(&mut b));
    assert!(how.starts_with("closed with"), "{how}");
    std::thread::sleep(Duration::from_millis(200));
    let record = b.close().unwrap();
    assert!(record.sent < 25, "{}", record.sent);
}
