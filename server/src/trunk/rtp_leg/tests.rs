//! A leg between its far end, strangers and a NAT.

use std::time::Duration;

use super::*;
use crate::bridge::{Codec, TelephoneEventFormat};
use crate::call::SrtpKeyPair;
use crate::rtp::{RTCP_REPORT_LEN_MAX, RtcpPacket, RtpTimestamp, SequenceNumber, rtcp_packets};
use crate::srtp::{Profile, SrtpKeys};
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
    let mut media = media();
    if rtcp_mux {
        media.remote_rtcp = None;
    }
    leg_of(media, now)
}

fn leg_of(media: RtpMedia, now: Instant) -> RtpLeg {
    let config = RtpLegConfig {
        media,
        strays: None,
        allowed: Vec::new(),
        entropy: [7; RtpLegConfig::ENTROPY_LEN],
    };
    RtpLeg::new(config, now).unwrap()
}

fn media() -> RtpMedia {
    RtpMedia {
        remote: far_end(),
        remote_rtcp: Some(address("192.0.2.1:4001")),
        sends: FORMAT,
        receives: FORMAT,
        direction: StreamDirection::SendRecv,
        srtp: None,
    }
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
    match leg.handle_datagram(now, from, &mut rtp(0, sequence)) {
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
    let said = MediaPacket {
        marker: true,
        payload_type: PayloadType(0),
        sequence_number: SequenceNumber(9),
        timestamp: RtpTimestamp(77),
        ssrc: Ssrc(0),
        payload: &[1; 160],
    };
    let written = leg.write_rtp(now, &said, &mut out);
    assert_eq!(written, Some((172, far_end())));
    let packet = RtpPacket::parse(&out[..172]).unwrap();
    assert_eq!(packet.header.ssrc, leg.ssrc());
    assert!(packet.header.marker);
    let too_short = leg.write_rtp(now, &said, &mut out[..171]);
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
        leg.handle_rtp_datagram(now, far_end(), &mut rtp(101, 1))
            .is_ok()
    );
    assert_eq!(
        leg.handle_rtp_datagram(now, far_end(), &mut rtp(8, 2)),
        Err(DropReason::RtpPayloadType)
    );
    assert_eq!(
        leg.handle_rtp_datagram(now, far_end(), &mut [0x80; 5]),
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
    let strange = leg.handle_rtcp_datagram(now, stranger(), &mut datagram.clone());
    assert_eq!(strange, Err(DropReason::RtpWrongSource));
    let mut buffer = [0; RTCP_REPORT_LEN_MAX];
    let (_, remote) = leg.poll_report(now + ms(1500), WALL, &mut buffer).unwrap();
    assert_eq!(remote, address("192.0.2.1:4001"));

    let behind_nat = address("192.0.2.1:61000");
    assert!(
        leg.handle_rtcp_datagram(now, behind_nat, &mut datagram.clone())
            .is_ok()
    );
    let (_, remote) = leg.write_bye(now, WALL, &mut buffer).unwrap();
    assert_eq!(remote, behind_nat);
    let another = leg.handle_rtcp_datagram(now, address("192.0.2.1:61002"), &mut datagram.clone());
    assert_eq!(
        another,
        Err(DropReason::RtpWrongSource),
        "the first one speaks for the far end"
    );
    let expected = address("192.0.2.1:4001");
    assert!(
        leg.handle_rtcp_datagram(now, expected, &mut datagram.clone())
            .is_ok(),
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
        leg.handle_rtcp_datagram(now, rtcp_of_stranger, &mut datagram.clone())
            .is_ok()
    );
    assert!(takes(&mut leg, now, far_end(), 1));
    let mut buffer = [0; RTCP_REPORT_LEN_MAX];
    let (_, remote) = leg.write_bye(now, WALL, &mut buffer).unwrap();
    assert_eq!(remote, address("192.0.2.1:4001"));
    let refused = leg.handle_rtcp_datagram(now, rtcp_of_stranger, &mut datagram.clone());
    assert_eq!(refused, Err(DropReason::RtpWrongSource));
}

#[test]
fn muxed_rtcp_comes_on_the_rtp_port() {
    let now = Instant::now();
    let mut leg = leg(true, now);
    let datagram = far_end_rtcp(now);
    let late = now + ms(500);
    let mut copy = datagram.clone();
    let received = leg.handle_datagram(late, far_end(), &mut copy).unwrap();
    assert!(matches!(received, TrunkReceived::Control(control) if control.bye));
    assert_eq!(leg.last_media_at(), late, "RTCP is a sign of life");
    assert_eq!(
        leg.handle_datagram(now, stranger(), &mut datagram.clone()),
        Err(DropReason::RtpWrongSource)
    );
    let mut buffer = [0; RTCP_REPORT_LEN_MAX];
    let (len, remote) = leg.write_bye(now, WALL, &mut buffer).unwrap();
    assert_eq!(remote, far_end());
    let packets: Vec<_> = rtcp_packets(&buffer[..len]).flatten().collect();
    assert!(matches!(packets.last(), Some(RtcpPacket::Goodbye(_))));
    assert_eq!(
        leg.handle_datagram(now, far_end(), &mut [0x80, 201, 0, 9]),
        Err(DropReason::RtcpMalformed)
    );
}

#[test]
fn a_renegotiation_keeps_the_numbering_and_learns_only_another_address_anew() {
    let now = Instant::now();
    let mut leg = leg(false, now);
    for sequence in 10..13 {
        takes(&mut leg, now, stranger(), sequence);
    }
    let ssrc = leg.ssrc();
    let late = now + LEARNING_WINDOW * 2;
    let mut other = media();
    other.direction = StreamDirection::RecvOnly;
    other.receives.payload_type = PayloadType(8);
    other.sends.codec = Codec::Pcma;
    other.sends.payload_type = PayloadType(8);
    leg.update(other.clone(), late).unwrap();
    assert_eq!((leg.remote(), leg.ssrc()), (stranger(), ssrc));
    assert!(!leg.direction().sends());
    assert_eq!(leg.sends().codec, Codec::Pcma);
    assert!(
        leg.handle_datagram(late, stranger(), &mut rtp(8, 13))
            .is_ok()
    );

    other.remote = address("192.0.2.99:5000");
    other.remote_rtcp = Some(address("192.0.2.99:6000"));
    leg.update(other.clone(), late).unwrap();
    assert_eq!(leg.remote(), other.remote);
    let mut buffer = [0; RTCP_REPORT_LEN_MAX];
    let (_, rtcp) = leg.write_bye(late, WALL, &mut buffer).unwrap();
    assert_eq!(rtcp, address("192.0.2.99:6000"), "as the SDP says");
    for sequence in 14..17 {
        let _ = leg.handle_datagram(late, stranger(), &mut rtp(8, sequence));
    }
    assert_eq!(
        leg.remote(),
        stranger(),
        "the learning window is open again"
    );
}

#[test]
fn an_address_of_nobody_is_a_hold_and_no_new_far_end() {
    let now = Instant::now();
    let mut leg = leg(false, now);
    assert!(takes(&mut leg, now, far_end(), 1));
    let mut held = media();
    held.remote = address("0.0.0.0:4000");
    leg.update(held, now).unwrap();
    assert_eq!(leg.remote(), far_end());
    assert_eq!(leg.direction(), StreamDirection::RecvOnly);
    leg.update(media(), now).unwrap();
    assert_eq!(leg.direction(), StreamDirection::SendRecv);
    let mut strange = rtp(0, 2);
    let stranger = leg.handle_datagram(now, stranger(), &mut strange);
    assert_eq!(stranger, Err(DropReason::RtpWrongSource), "still confirmed");
}

fn keys(profile: Profile, seed: u8) -> SrtpKeys {
    let salt_len = profile.keying_material_len() / 2 - 16;
    SrtpKeys::new(profile, &[seed; 16], &vec![seed ^ 0x5a; salt_len]).unwrap()
}

fn protected(ours: u8, theirs: u8) -> RtpMedia {
    let profile = Profile::Aes128CmHmacSha1_80;
    RtpMedia {
        srtp: Some(SrtpKeyPair {
            ours: keys(profile, ours),
            theirs: keys(profile, theirs),
        }),
        ..media()
    }
}

/// A packet of one leg, as the other sees it.
fn carry(from: &mut RtpLeg, to: &mut RtpLeg, sequence: u16) -> Result<usize, DropReason> {
    let now = Instant::now();
    let mut datagram = [0; 200];
    let said = MediaPacket {
        marker: false,
        payload_type: PayloadType(0),
        sequence_number: SequenceNumber(sequence),
        timestamp: RtpTimestamp(0),
        ssrc: Ssrc(0),
        payload: &[7; 160],
    };
    let (len, _) = from.write_rtp(now, &said, &mut datagram).unwrap();
    assert_eq!(len, 12 + 160 + 10);
    let received = to.handle_rtp_datagram(now, far_end(), &mut datagram[..len]);
    received.map(|packet| {
        assert_eq!(packet.payload, [7; 160]);
        packet.payload.len()
    })
}

#[test]
fn srtp_with_the_keys_of_both_sdps() {
    let now = Instant::now();
    let (mut near, mut far) = (leg_of(protected(1, 2), now), leg_of(protected(2, 1), now));
    for sequence in [65_534, 65_535, 0, 1] {
        assert_eq!(carry(&mut near, &mut far, sequence), Ok(160));
    }
    assert_eq!(
        far.handle_rtp_datagram(now, far_end(), &mut rtp(0, 2)),
        Err(DropReason::SrtpAuth),
        "plain RTP"
    );
    let mut report = [0; 200];
    let (len, _) = near.write_bye(now, WALL, &mut report).unwrap();
    let received = far.handle_rtcp_datagram(now, address("192.0.2.1:4001"), &mut report[..len]);
    assert!(received.unwrap().bye);

    // The same keys again: what is known of the roll-over counter and of replays stays.
    far.update(protected(2, 1), now).unwrap();
    near.update(protected(1, 2), now).unwrap();
    assert_eq!(carry(&mut near, &mut far, 2), Ok(160));
    // Other keys begin with a roll-over counter of zero, and so does a receiver that was just made.
    near.update(protected(3, 2), now).unwrap();
    assert_eq!(carry(&mut near, &mut far, 3), Err(DropReason::SrtpAuth));
    far.update(protected(2, 3), now).unwrap();
    assert_eq!(carry(&mut near, &mut far, 4), Ok(160));
    let mut fresh = leg_of(protected(2, 3), now);
    assert_eq!(carry(&mut near, &mut fresh, 5), Ok(160));
    // No keys any more: plain RTP.
    far.update(media(), now).unwrap();
    assert!(takes(&mut far, now, far_end(), 6));
}

#[test]
fn strays_of_the_call_before_are_dropped_for_a_while() {
    let now = Instant::now();
    let until = now + ms(2_000);
    let config = RtpLegConfig {
        media: media(),
        strays: Some(Strays {
            ssrc: Ssrc(5),
            until,
        }),
        allowed: Vec::new(),
        entropy: [7; RtpLegConfig::ENTROPY_LEN],
    };
    let mut leg = RtpLeg::new(config, now).unwrap();
    assert!(!takes(&mut leg, now, far_end(), 1));
    for sequence in 1..5 {
        assert!(
            !takes(&mut leg, now, stranger(), sequence),
            "nor is it learned"
        );
    }
    assert_eq!(leg.heard(), None);
    assert!(takes(&mut leg, until, far_end(), 2));
    assert_eq!(leg.heard(), Some(Ssrc(5)));
}

#[test]
fn media_from_outside_of_the_allowed_ranges_is_a_strangers() {
    let now = Instant::now();
    let config = RtpLegConfig {
        media: media(),
        strays: None,
        allowed: vec![IpCidr::parse("192.0.2.0/24").unwrap()],
        entropy: [7; RtpLegConfig::ENTROPY_LEN],
    };
    let mut leg = RtpLeg::new(config, now).unwrap();
    for sequence in 1..6 {
        assert!(!takes(&mut leg, now, stranger(), sequence));
    }
    let behind_nat = address("192.0.2.200:7000");
    let taken = (1..=3).map(|sequence| takes(&mut leg, now, behind_nat, sequence));
    assert_eq!(taken.collect::<Vec<_>>(), [false, false, true]);
}

proptest! {
    #[test]
    fn no_datagram_is_too_strange(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
        let now = Instant::now();
        let mut leg = leg(false, now);
        for from in [far_end(), stranger()] {
            let _ = leg.handle_datagram(now, from, &mut datagram.clone());
            let _ = leg.handle_rtcp_datagram(now, from, &mut datagram.clone());
        }
    }
}
