//! Forged and recorded datagrams on the media ports during a call, 1000 a second: from a stranger's port, and from somebody on
//! the way who writes the caller's own address on them. The call hears nothing of it, and each kind is counted by its reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use loadtest::gateway::Metrics;
use loadtest::impairment::{Direction, ImpairmentRelay};
use loadtest::judge::Bar;
use loadtest::signalling::ServerMessage;
use loadtest::webrtc_client::WebRtcCall;

use crate::impaired::{Line, Round};
use crate::rtp_trunk::{WHOLE_CALL, assert_events, end, in_time};

const DATAGRAMS_PER_S: u32 = 1_000;
const SPEECH_S: usize = 6;

/// Who sends it, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Another port, to the gateway's WebRTC port.
    Stranger,
    /// The caller's own address.
    Caller,
    /// Another port, to the call's trunk port.
    StrangerAtTrunk,
    /// The far end's own address, to the call's trunk port.
    FarEnd,
}

/// One kind of datagram, and how it is counted.
struct Kind {
    reason: &'static str,
    from: From,
    datagram: Datagram,
}

enum Datagram {
    /// These bytes each time.
    Same(Vec<u8>),
    /// These, then so many random ones.
    Random(Vec<u8>, usize),
    /// So many random ones, the first of them in this range (RFC 7983 tells protocols apart by it).
    Protocol(RangeInclusive<u8>, usize),
}

/// xorshift64 (Marsaglia 2003): any garbage will do, but the same each time.
struct Garbage(u64);

impl Garbage {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as u8
    }

    fn fill(&mut self, datagram: &Datagram) -> Vec<u8> {
        let mut random = |len: usize| -> Vec<u8> { (0..len).map(|_| self.byte()).collect() };
        match datagram {
            Datagram::Same(bytes) => bytes.clone(),
            Datagram::Random(head, len) => [head.clone(), random(*len)].concat(),
            Datagram::Protocol(first, len) => {
                let mut bytes = random(*len);
                let span = u16::from(first.end() - first.start()) + 1;
                bytes[0] = first.start() + (u16::from(bytes[0]) % span) as u8;
                bytes
            }
        }
    }
}

/// A STUN message (RFC 8489 section 5) with these attributes.
fn stun(message_type: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = message_type.to_be_bytes().to_vec();
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(0x2112_a442_u32.to_be_bytes());
    message.extend([7; 12]);
    message.extend(body);
    message
}

const BINDING_REQUEST: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;

/// A check for `username` with a tag that can't hold.
fn forged_check(username: &str) -> Datagram {
    let attributes: [(u16, &[u8]); 2] = [
        (USERNAME, username.as_bytes()),
        (MESSAGE_INTEGRITY, &[1; 20]),
    ];
    Datagram::Same(stun(BINDING_REQUEST, &attributes))
}

/// The newest datagram of the caller that `is_wanted`, as somebody on the way records it.
fn recorded(relay: &ImpairmentRelay, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let deadline = in_time();
    loop {
        let overheard = relay.overheard(Direction::ToTarget);
        if let Some(datagram) = overheard.into_iter().rev().find(|it| is_wanted(it)) {
            return datagram;
        }
        assert!(Instant::now() < deadline, "the caller sends none such");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_rtp(datagram: &[u8]) -> bool {
    datagram[0] & 0xc0 == 0x80 && !(192..224).contains(&datagram[1])
}

fn is_rtcp(datagram: &[u8]) -> bool {
    datagram[0] & 0xc0 == 0x80 && (192..224).contains(&datagram[1])
}

fn is_check(datagram: &[u8]) -> bool {
    datagram[..2] == BINDING_REQUEST.to_be_bytes()
}

/// Everything that somebody can send who knows nothing, who has read the SDP, who has recorded what passed.
fn kinds(line: &Line, call: &WebRtcCall) -> Vec<Kind> {
    let answer = call.signalling().received().into_iter();
    let answer = answer.filter_map(|received| match received.message {
        ServerMessage::Answer { sdp } => Some(sdp),
        _ => None,
    });
    let ufrag_of = |sdp: &str| {
        let line = sdp
            .lines()
            .find_map(|line| line.strip_prefix("a=ice-ufrag:"));
        line.unwrap().trim().to_owned()
    };
    let ufrag = ufrag_of(&answer.last().unwrap());
    let remote_ufrag = ufrag_of(call.offer());
    let check = recorded(&line.caller_side, is_check);
    let srtp = recorded(&line.caller_side, is_rtp);
    let srtcp = recorded(&line.caller_side, is_rtcp);
    // Sequence numbers that are still to come, with another packet's tag.
    let ahead = u16::from_be_bytes([srtp[2], srtp[3]]).wrapping_add(2_000);
    let mut early = srtp.clone();
    early[2..4].copy_from_slice(&ahead.to_be_bytes());
    let other_source = [&srtp[..8], &[9; 4], &srtp[12..]].concat();
    let other_reporter = [&srtcp[..4], &[9; 4], &srtcp[8..]].concat();
    let dtls_data = vec![23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40];
    let rtp = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
    let goodbye = vec![0x81, 203, 0, 1, 1, 2, 3, 4];
    let same = Datagram::Same;
    let kind = |from, reason, datagram| Kind {
        reason,
        from,
        datagram,
    };
    vec![
        kind(
            From::Stranger,
            "unknown_protocol",
            Datagram::Protocol(192..=255, 100),
        ),
        kind(
            From::Stranger,
            "stun_malformed",
            Datagram::Protocol(0..=3, 60),
        ),
        kind(
            From::Stranger,
            "unknown_source",
            Datagram::Protocol(20..=63, 300),
        ),
        kind(
            From::Stranger,
            "unknown_source",
            Datagram::Protocol(128..=191, 172),
        ),
        kind(From::Stranger, "unknown_source", same(srtp.clone())),
        kind(
            From::Stranger,
            "stun_unknown_ufrag",
            forged_check("nobody:x"),
        ),
        kind(
            From::Stranger,
            "stun_unknown_ufrag",
            forged_check(&format!("{ufrag}:nobody")),
        ),
        kind(
            From::Stranger,
            "stun_integrity",
            forged_check(&format!("{ufrag}:{remote_ufrag}")),
        ),
        kind(From::Stranger, "stun_replay", same(check)),
        kind(
            From::Caller,
            "stun_integrity",
            forged_check(&format!("{ufrag}:{remote_ufrag}")),
        ),
        kind(
            From::Caller,
            "dtls_invalid",
            Datagram::Random(vec![22, 1, 2], 60),
        ),
        kind(
            From::Caller,
            "dtls_ignored",
            Datagram::Random(dtls_data, 40),
        ),
        kind(From::Caller, "srtp_malformed", same(vec![0x80; 8])),
        kind(From::Caller, "srtp_auth", same(early)),
        kind(From::Caller, "srtp_auth", same(other_source)),
        kind(From::Caller, "srtp_replay", same(srtp)),
        kind(From::Caller, "srtp_auth", same(other_reporter)),
        kind(From::Caller, "srtp_replay", same(srtcp)),
        kind(
            From::StrangerAtTrunk,
            "rtp_wrong_source",
            Datagram::Random(rtp, 160),
        ),
        kind(From::StrangerAtTrunk, "rtp_wrong_source", same(goodbye)),
        kind(From::FarEnd, "rtp_malformed", same(vec![0x80; 8])),
    ]
}

fn dropped(metrics: &Metrics, reason: &str) -> f64 {
    metrics.matching(
        "clutchcall_packets_dropped_total",
        &format!("reason=\"{reason}\""),
    )
}

/// Attacks until told to stop; how many of each reason were sent.
fn attack(
    line: &Line,
    trunk_port: SocketAddr,
    kinds: &[Kind],
    is_over: &AtomicBool,
) -> BTreeMap<&'static str, u64> {
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut garbage = Garbage(0x2545_f491_4f6c_dd1d);
    let mut sent = BTreeMap::new();
    let began = Instant::now();
    let mut number = 0_u32;
    // Every kind as often as the others.
    while !(is_over.load(Ordering::Relaxed) && (number as usize).is_multiple_of(kinds.len())) {
        let due = began + Duration::from_secs(1) * number / DATAGRAMS_PER_S;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let kind = &kinds[number as usize % kinds.len()];
        let datagram = garbage.fill(&kind.datagram);
        match kind.from {
            From::Stranger => drop(
                stranger
                    .send_to(&datagram, line.gateway.media_addr())
                    .unwrap(),
            ),
            From::StrangerAtTrunk => drop(stranger.send_to(&datagram, trunk_port).unwrap()),
            From::Caller => line.caller_side.forge(Direction::ToTarget, &datagram),
            From::FarEnd => line.trunk_side.forge(Direction::ToClient, &datagram),
        }
        *sent.entry(kind.reason).or_insert(0) += 1;
        number += 1;
    }
    println!("{number} datagrams in {:.1?}", began.elapsed());
    sent
}

#[test]
fn a_thousand_forged_datagrams_a_second_are_counted_and_nobody_hears_them() {
    let line = Line::start();
    let call = WebRtcCall::dial(&line.plan()).unwrap();
    let source = line.peer.wait_for_source(0, in_time()).unwrap();
    let in_peace = line.talk(&call, source, Round::First, SPEECH_S, Bar::OpusClean);

    let kinds = kinds(&line, &call);
    let trunk_port = line.trunk_side.client_addresses()[0];
    let before = line.gateway.metrics().unwrap();
    let is_over = AtomicBool::new(false);
    let (under_attack, sent) = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| attack(&line, trunk_port, &kinds, &is_over));
        let verdicts = line.talk(&call, source, Round::Second, SPEECH_S, Bar::OpusClean);
        is_over.store(true, Ordering::Relaxed);
        (verdicts, attacker.join().unwrap())
    });
    for (reason, count) in sent {
        let count = count as f64;
        let deadline = in_time();
        loop {
            let counted =
                dropped(&line.gateway.metrics().unwrap(), reason) - dropped(&before, reason);
            if counted == count {
                println!("{reason}: {count} sent, {counted} counted");
                break;
            }
            assert!(
                counted < count && Instant::now() < deadline,
                "{reason}: {count} sent, {counted} counted"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // The two swapped what they said: each speech is compared with itself.
    for (peace, attack) in in_peace.iter().zip(under_attack.iter().rev()) {
        let difference = peace.match_score - attack.match_score;
        assert!(
            difference.abs() < 0.02,
            "{peace} in peace, {attack} under attack"
        );
    }

    let report = call.hang_up().unwrap();
    assert_events(&line.gateway, &report, &WHOLE_CALL);
    assert!(!line.gateway.log().contains("panicked"));
    end(line.gateway);
}
