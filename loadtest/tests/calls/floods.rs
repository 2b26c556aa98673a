//! Floods on the signalling port during a call: sockets, half handshakes, whole handshakes, offers, 1000 of each a second or as many
//! as the gateway takes. The call hears nothing of it, what is too much is refused by its reason, and nothing is left.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use loadtest::judge::{Bar, Verdict};
use serde_json::json;

use crate::impaired::{Line, Round};
use crate::rtp_trunk::{WHOLE_CALL, assert_events, end, in_time};
use crate::wire::{Door, OFFER, next_json, text_frame, upgrade_head};
use loadtest::webrtc_client::WebRtcCall;

const PER_S: u32 = 1_000;
const SPEECH_S: usize = 4;
/// Sockets that a flood holds at a time.
const HELD: usize = 100;
/// The first bytes of a TLS record of 200 bytes whose rest never comes.
const HALF_CLIENT_HELLO: [u8; 9] = [0x16, 0x03, 0x01, 0x00, 0xc8, 0x01, 0x00, 0x00, 0xc4];

/// Does it 1000 times a second, or as often as it can, until told to stop; how often that was.
fn flood(is_over: &AtomicBool, mut once: impl FnMut()) -> u32 {
    let began = Instant::now();
    let mut number = 0_u32;
    while !is_over.load(Ordering::Relaxed) {
        let due = began + Duration::from_secs(1) * number / PER_S;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        once();
        number += 1;
    }
    let per_s = f64::from(number) / began.elapsed().as_secs_f64();
    println!("{number} times, {per_s:.0} a second");
    number
}

/// Talks while `once` is done over and over; what both heard.
fn talk_under(
    (line, call): (&Line, &WebRtcCall),
    source: std::net::SocketAddr,
    round: Round,
    once: impl FnMut() + Send,
) -> [Verdict; 2] {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&is_over, once));
        let verdicts = line.talk(call, source, round, SPEECH_S, Bar::OpusClean);
        is_over.store(true, Ordering::Relaxed);
        assert!(flooding.join().unwrap() > 100, "that was no flood");
        verdicts
    })
}

/// A call in a quiet time, then under the flood: it must not sound worse.
fn assert_unheard(what: &str, prepare: impl FnOnce(&Line) -> Box<dyn FnMut() + Send>) -> Line {
    let line = Line::start();
    let call = WebRtcCall::dial(&line.plan()).unwrap();
    let source = line.peer.wait_for_source(0, in_time()).unwrap();
    let in_peace = line.talk(&call, source, Round::First, SPEECH_S, Bar::OpusClean);
    let once = prepare(&line);
    let flooded = talk_under((&line, &call), source, Round::Second, once);
    // The two swapped what they said: each speech is compared with itself.
    for (peace, flood) in in_peace.iter().zip(flooded.iter().rev()) {
        println!("{what}: {peace} in peace, {flood} in the flood");
        assert!((peace.match_score - flood.match_score).abs() < 0.02);
    }
    let report = call.hang_up().unwrap();
    assert_events(&line.gateway, &report, &WHOLE_CALL);
    line
}

fn refused(line: &Line, reason: &str) -> f64 {
    let metrics = line.gateway.metrics().unwrap();
    let reason = format!("reason=\"{reason}\"");
    metrics.matching("clutchcall_connections_refused_total", &reason)
}

#[test]
fn sockets_and_half_handshakes_are_refused_and_nobody_hears_them() {
    let line = assert_unheard("half handshakes", |line| {
        let address = line.gateway.signalling_addr();
        let mut held: VecDeque<TcpStream> = VecDeque::new();
        Box::new(move || {
            if let Ok(mut stream) = TcpStream::connect(address) {
                // It may be closed already.
                let _ = stream.write_all(&HALF_CLIENT_HELLO);
                held.push_back(stream);
            }
            if held.len() > HELD {
                held.pop_front();
            }
        })
    });
    let (by_rate, pending) = (refused(&line, "address_rate"), refused(&line, "handshakes"));
    println!("refused: {by_rate} by the address's rate, {pending} by the handshakes under way");
    assert!(by_rate + pending > 500.0);
    end(line.gateway);
}

#[test]
fn whole_handshakes_are_heard_by_nobody() {
    let line = assert_unheard("handshakes", |line| {
        let door = Door::of(&line.gateway);
        Box::new(move || {
            let mut wire = door.connect();
            // Refused ones are closed in the middle of the handshake.
            let _ = wire.try_send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        })
    });
    end(line.gateway);
}

#[test]
fn a_page_that_offers_without_end_is_heard_by_nobody() {
    let line = assert_unheard("offers", |line| {
        let door = Door::of(&line.gateway);
        let token = line.gateway.token("acme").unwrap();
        let mut socket = door.upgrade(&upgrade_head("acme", Some(&token), ""), b"");
        assert_eq!(next_json(&mut socket)["type"], "session");
        let offer = text_frame(&json!({ "type": "offer", "sdp": OFFER }));
        Box::new(move || {
            socket.get_mut().write_all(&offer).unwrap();
            assert_eq!(next_json(&mut socket)["type"], "answer");
        })
    });
    end(line.gateway);
}
