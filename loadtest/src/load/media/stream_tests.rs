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
    BotStream, Direction, EncodedSpeech, FrameClock, Leg, LegRecord, MediaThreads, OpenStream,
    StreamPlan, StreamSocket, Wire,
};
use crate::media::AudioCodec;
use crate::speech;

const STREAM_SID: &str = "MZ00000000000000000000000000000001";
const CALL_SID: &str = "CA00000000000000000000000000000001";
const ACCOUNT_SID: &str = "AC00000000000000000000000000000001";
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
            stream_sid: STREAM_SID.to_owned(),
            call_sid: CALL_SID.to_owned(),
            account_sid: ACCOUNT_SID.to_owned(),
            sequence_number: 1,
        },
        Wire::TwilioBot(bot_stream()),
    ]
}

fn bot_stream() -> BotStream {
    let start = serde_json::json!({
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": STREAM_SID,
        "start": {
            "accountSid": ACCOUNT_SID,
            "streamSid": STREAM_SID,
            "callSid": CALL_SID,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {},
        },
    });
    BotStream::read_start(&start.to_string()).unwrap().0
}

fn binary() -> [Wire; 2] {
    [("end-call", "hangup"), ("hangup", "end-call")].map(|(goodbye, their_goodbye)| Wire::Binary {
        goodbye: format!("{{\"type\":\"{goodbye}\"}}"),
        their_goodbye,
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
    let ends = records.each_ref().map(|record| record.end.clone().unwrap());
    assert!(ends[0].is_answer && !ends[1].is_answer && ends[1].had_goodbye);
    for record in records {
        assert_eq!(record.stream_fault(), None, "{:?}", record.end);
    }
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

/// A bot's leg, and who talks to it.
fn bot() -> (MediaThreads, Leg, StreamSocket) {
    far_end_of(Wire::TwilioBot(bot_stream()), AudioCodec::Pcmu)
}

/// The leg of a far end, and who talks to it.
fn far_end_of(wire: Wire, codec: AudioCodec) -> (MediaThreads, Leg, StreamSocket) {
    let media = MediaThreads::start(&[0]).unwrap();
    let [far_end, socket] = sockets();
    let frames = EncodedSpeech::encode(codec, &speech::alpha()).unwrap();
    let plan = StreamPlan {
        socket,
        wire,
        direction: Direction::BToA,
        frames: Arc::new(frames),
        phase: 0,
        clock: Arc::new(FrameClock::default()),
        heard_clock: Arc::new(FrameClock::default()),
        record: Duration::from_secs(60),
    };
    let leg = media.open_stream(plan).unwrap();
    (media, leg, far_end)
}

fn stop() -> String {
    format!(
        r#"{{"event":"stop","sequenceNumber":"2","streamSid":"{STREAM_SID}","stop":{{"accountSid":"{ACCOUNT_SID}","callSid":"{CALL_SID}"}}}}"#
    )
}

#[test]
fn an_end_without_a_goodbye_and_1000_is_a_fault_and_no_more_is_sent() {
    let stop = stop();
    for (goodbye, code, fault) in [
        (Some(&stop), Some(1000), None),
        (
            None,
            Some(1000),
            Some("closed with 1000: , without a goodbye before it"),
        ),
        (Some(&stop), Some(1011), Some("closed with 1011: ")),
        // Not even a close: the process died.
        (Some(&stop), None, Some("onnection reset")),
        (None, None, Some("onnection reset")),
    ] {
        let (_media, mut leg, mut far_end) = bot();
        std::thread::sleep(Duration::from_millis(100));
        // Dropped with unread bytes, it would be reset.
        far_end.begin_turn();
        while far_end.next().unwrap().is_some() {}
        if let Some(goodbye) = goodbye {
            far_end.send_text(goodbye).unwrap();
        }
        match code {
            Some(code) => far_end.close(code),
            None => drop(far_end),
        }
        run(end(&mut leg));
        let record = leg.close().unwrap();
        let told = record.stream_fault();
        match fault {
            Some(fault) => assert!(
                told.as_ref().is_some_and(|told| told.contains(fault)),
                "{told:?}"
            ),
            None => assert_eq!(told, None),
        }
        assert!(record.sent < 25, "{}", record.sent);
    }
}

#[test]
fn a_close_that_is_not_answered_is_a_fault() {
    let (_media, leg, far_end) = bot();
    let record = leg.close().unwrap();
    assert!(record.end.is_none());
    assert_eq!(
        record.stream_fault().unwrap(),
        "our close was not answered in 2 s"
    );
    drop(far_end);
}

#[test]
fn what_a_dialect_does_not_have_is_a_fault() {
    let wrong_track = format!(
        r#"{{"event":"media","sequenceNumber":"2","streamSid":"{STREAM_SID}","media":{{"track":"outbound","chunk":"1","timestamp":"0","payload":""}}}}"#
    );
    for (messages, why) in [
        (vec![wrong_track], "media.track"),
        (
            vec![stop(), stop().replace("\"2\"", "\"3\"")],
            "behind the goodbye",
        ),
    ] {
        let (_media, mut leg, mut far_end) = bot();
        for message in &messages {
            far_end.send_text(message).unwrap();
        }
        far_end.close(1000);
        run(end(&mut leg));
        let told = leg.close().unwrap().stream_fault().unwrap();
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn a_message_of_another_length_is_counted() {
    let [wire, _] = binary();
    let (_media, mut leg, mut far_end) = far_end_of(wire, AudioCodec::L16);
    for len in [640, 1_280, 640, 320] {
        far_end
            .send(tungstenite::Message::binary(vec![0; len]))
            .unwrap();
    }
    far_end.close(1000);
    run(end(&mut leg));
    let record = leg.close().unwrap();
    assert_eq!((record.odd_sized, record.received), (2, 4));
}
