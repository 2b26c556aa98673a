//! A leg between its far end, strangers and a NAT.

use std::time::Duration;

use super::*;
use crate::bridge::{Codec, TelephoneEventFormat};
use crate::rtp::{RTCP_REPORT_LEN_MAX, RtcpPacket, rtcp_packets};
use proptest::prelude::*;

const FORMAT: StreamFormat = StreamFormat {
    codec: Codec::Pcmu,
    payload_type: PayloadType(0),
    ptime_ms: 20,
    telephone_event: Some(TelephoneEventFormat {
        payload_type: PayloadType(101),
        clock_rate_hz: 8000,
    }),
};
const WALL: NtpTime = NtpTime(0x1111_2222_3333_4444);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn far_end() -> SocketAddr {
    address("192.0.2.1:4000")
}

fn stranger() -> SocketAddr {
    address("198.51.100.7:9000")
}

fn leg(rtcp_mux: bool, now: Instant) -> RtpLeg {
    let config = RtpLegConfig {
        remote: far_end(),
        rtcp_mux,
        format: FORMAT,
        entropy: [7; RtpLegConfig::ENTROPY_LEN],
    };
    RtpLeg::new(config, now)
}

fn rtp(payload_type: u8, sequence: u16) -> Vec<u8> {
    let header = RtpHeader {
        marker: false,
        payload_type: PayloadType(payload_type),
        sequence_number: SequenceNumber(sequence),
        timestamp: RtpTimestamp(160 * u32::from(sequence)),
        ssrc: Ssrc(5),
    };
    let mut datagram = vec![0; 172];
    header.write_packet(&[0xff; 160], &mut datagram).unwrap();
    datagram
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Is an RTP packet of this address taken?
fn takes(leg: &mut RtpLeg, now: Instant, from: SocketAddr, sequence: u16) -> bool {
    match leg.handle_datagram(now, from, &rtp(0, sequence)) {
        Ok(TrunkReceived::Media(packet)) => {
            assert_eq!(packet.sequence_number, SequenceNumber(sequence));
            true
        }
        Ok(TrunkReceived::Control(_)) => panic!("RTP was taken for RTCP"),
        Err(reason) => {
            assert_eq!(reason, DropReason::RtpWrongSource);
            false
        }
    }
}

#[test]
fn packets_go_both_ways() {
    let start = Instant::now();
    let mut leg = leg(false, start);
    assert!(takes(&mut leg, start, far_end(), 1));
    let now = start + ms(20);
    assert!(takes(&mut leg, now, far_end(), 2));
    assert_eq!(leg.last_media_at(), now);

    let mut out = [0; 200];
    let (sequence, timestamp) = (SequenceNumber(9), RtpTimestamp(77));
    let written = leg.write_rtp(
        now,
        true,
        PayloadType(0),
        sequence,
        timestamp,
        &[1; 160],
        &mut out,
    );
    assert_eq!(written, Some((172, far_end())));
    let packet = RtpPacket::parse(&out[..172]).unwrap();
    assert_eq!(packet.header.ssrc, leg.ssrc());
    assert!(packet.header.marker);
    let too_short = leg.write_rtp(
        now,
        true,
        PayloadType(0),
        sequence,
        timestamp,
        &[1; 160],
        &mut out[..171],
    );
    assert_eq!(too_short, None);

    let statistics = leg.statistics();
    assert_eq!(
        (statistics.packets_received, statistics.bytes_received),
        (2, 320)
    );
    assert_eq!((statistics.packets_sent, statistics.bytes_sent), (1, 160));
}

#[test]
fn only_negotiated_payload_types_are_taken() {
    let now = Instant::now();
    let mut leg = leg(false, now);
    assert!(
        leg.handle_rtp_datagram(now, far_end(), &rtp(101, 1))
            .is_ok()
    );
    assert_eq!(
        leg.handle_rtp_datagram(now, far_end(), &rtp(8, 2)),
        Err(DropReason::RtpPayloadType)
    );
    assert_eq!(
        leg.handle_rtp_datagram(now, far_end(), &[0x80; 5]),
        Err(DropReason::RtpMalformed)
    );
}

#[test]
fn a_nat_is_learned_after_three_packets_in_sequence() {
    let now = Instant::now();
    let mut leg = leg(false, now);
    assert!(!takes(&mut leg, now, stranger(), 10));
    assert!(!takes(&mut leg, now, stranger(), 11));
    assert_eq!(leg.remote(), far_end());
    assert!(takes(&mut leg, now, stranger(), 12));
    assert_eq!(leg.remote(), stranger());
    let later = now + LEARNING_WINDOW * 10;
    assert!(takes(&mut leg, later, stranger(), 13));
    assert!(!takes(&mut leg, later, address("203.0.113.9:1"), 14));
    assert!(
        !takes(&mut leg, later, address("198.51.100.7:9002"), 14),
        "another port is another source"
    );
}

#[test]
fn the_sdp_address_wins_over_strangers() {
    let now = Instant::now();
    let mut leg = leg(false, now);
    for sequence in 10..13 {
        takes(&mut leg, now, stranger(), sequence);
    }
    assert_eq!(leg.remote(), stranger());
    assert!(takes(&mut leg, now + LEARNING_WINDOW * 2, far_end(), 1));
    assert_eq!(leg.remote(), far_end());
    for sequence in 13..20 {
        assert!(!takes(&mut leg, now, stranger(), sequence));
    }
}

#[test]
fn strangers_that_guess_are_not_learned() {
    let now = Instant::now();
    let mut leg = leg(false, now);
    for sequence in [1, 5, 9, 200, 3, 7] {
        assert!(!takes(&mut leg, now, stranger(), sequence));
    }
    // Three in sequence, but of three addresses.
    for (port, sequence) in [(1, 20), (2, 21), (3, 22)] {
        let mut from = stranger();
        from.set_port(port);
        assert!(!takes(&mut leg, now, from, sequence));
    }
    assert_eq!(leg.remote(), far_end());
}

#[test]
fn nobody_is_learned_after_the_window() {
    let now = Instant::now();
    let mut leg = leg(false, now);
    let late = now + LEARNING_WINDOW;
    for sequence in 1..9 {
        assert!(!takes(&mut leg, late, stranger(), sequence));
    }
    assert!(takes(&mut leg, late, far_end(), 1));
}

#[test]
fn a_mapped_address_is_the_same_far_end() {
    let now = Instant::now();
    let mut leg = leg(false, now);
    assert!(takes(&mut leg, now, address("[::ffff:192.0.2.1]:4000"), 1));
    assert_eq!(leg.remote(), far_end());
}

/// A report and BYE of the far end.
fn far_end_rtcp(now: Instant) -> Vec<u8> {
    let mut far = leg(true, now);
    far.ssrc = Ssrc(5);
    let mut buffer = [0; RTCP_REPORT_LEN_MAX];
    let (len, _) = far.write_bye(now, WALL, &mut buffer).unwrap();
    buffer[..len].to_vec()
}

#[test]
fn rtcp_has_the_next_port_and_a_nat_may_change_it() {
    let now = Instant::now();
    let mut leg = leg(false, now);
    let datagram = far_end_rtcp(now);
    let strange = leg.handle_rtcp_datagram(now, stranger(), &datagram);
    assert_eq!(strange, Err(DropReason::RtpWrongSource));
    let mut buffer = [0; RTCP_REPORT_LEN_MAX];
    let (_, remote) = leg.poll_report(now + ms(1500), WALL, &mut buffer).unwrap();
    assert_eq!(remote, address("192.0.2.1:4001"));

    let behind_nat = address("192.0.2.1:61000");
    assert!(leg.handle_rtcp_datagram(now, behind_nat, &datagram).is_ok());
    let (_, remote) = leg.write_bye(now, WALL, &mut buffer).unwrap();
    assert_eq!(remote, behind_nat);
    let another = leg.handle_rtcp_datagram(now, address("192.0.2.1:61002"), &datagram);
    assert_eq!(
        another,
        Err(DropReason::RtpWrongSource),
        "the first one speaks for the far end"
    );
    let expected = address("192.0.2.1:4001");
    assert!(
        leg.handle_rtcp_datagram(now, expected, &datagram).is_ok(),
        "but the rule's own port is always right"
    );
}

#[test]
fn rtcp_follows_the_sdp_address_when_it_wins() {
    let now = Instant::now();
    let mut leg = leg(false, now);
    for sequence in 10..13 {
        takes(&mut leg, now, stranger(), sequence);
    }
    let datagram = far_end_rtcp(now);
    let rtcp_of_stranger = address("198.51.100.7:7777");
    assert!(
        leg.handle_rtcp_datagram(now, rtcp_of_stranger, &datagram)
            .is_ok()
    );
    assert!(takes(&mut leg, now, far_end(), 1));
    let mut buffer = [0; RTCP_REPORT_LEN_MAX];
    let (_, remote) = leg.write_bye(now, WALL, &mut buffer).unwrap();
    assert_eq!(remote, address("192.0.2.1:4001"));
    let refused = leg.handle_rtcp_datagram(now, rtcp_of_stranger, &datagram);
    assert_eq!(refused, Err(DropReason::RtpWrongSource));
}

#[test]
fn muxed_rtcp_comes_on_the_rtp_port() {
    let now = Instant::now();
    let mut leg = leg(true, now);
    let datagram = far_end_rtcp(now);
    let late = now + ms(500);
    let received = leg.handle_datagram(late, far_end(), &datagram).unwrap();
    assert!(matches!(received, TrunkReceived::Control(control) if control.bye));
    assert_eq!(leg.last_media_at(), late, "RTCP is a sign of life");
    assert_eq!(
        leg.handle_datagram(now, stranger(), &datagram),
        Err(DropReason::RtpWrongSource)
    );
    let mut buffer = [0; RTCP_REPORT_LEN_MAX];
    let (len, remote) = leg.write_bye(now, WALL, &mut buffer).unwrap();
    assert_eq!(remote, far_end());
    let packets: Vec<_> = rtcp_packets(&buffer[..len]).flatten().collect();
    assert!(matches!(packets.last(), Some(RtcpPacket::Goodbye(_))));
    assert_eq!(
        leg.handle_datagram(now, far_end(), &[0x80, 201, 0, 9]),
        Err(DropReason::RtcpMalformed)
    );
}

proptest! {
    #[test]
    fn no_datagram_is_too_strange(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
        let now = Instant::now();
        let mut leg = leg(false, now);
        for from in [far_end(), stranger()] {
            let _ = leg.handle_datagram(now, from, &datagram);
            let _ = leg.handle_rtcp_datagram(now, from, &datagram);
        }
    }
}
