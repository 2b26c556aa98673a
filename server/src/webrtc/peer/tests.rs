//! A whole call in memory: `str0m` as the browser, virtual time, losses and attacks on purpose.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod link;

use proptest::prelude::*;
use str0m::Event;
use str0m::config::DtlsVersion as ClientDtls;
use str0m::media::Direction as ClientDirection;

use self::link::*;
use super::*;
use crate::call::q850::Q850Cause;
use crate::config::DtlsVersions;
use crate::fault::Fault;
use crate::metrics::DropReason;
use crate::rtp::{StreamDirection, is_rtcp};
use crate::srtp::Profile;
use crate::webrtc::dtls::DtlsVersion;

const SECOND: Duration = Duration::from_secs(1);
const OPUS: [CodecName; 1] = [CodecName::Opus];
const STRANGER: &str = "203.0.113.66:4444";

fn opus_link(dtls: ClientDtls) -> Link {
    Link::new(&config(&OPUS, DtlsVersions::Auto), dtls)
}

fn connected_with(link: &Link) -> Option<(DtlsVersion, Profile)> {
    link.peer_events.iter().find_map(|event| match event {
        PeerEvent::Connected {
            dtls_version,
            srtp_profile,
        } => Some((*dtls_version, *srtp_profile)),
        _ => None,
    })
}

#[test]
fn connects_on_both_dtls_versions_and_media_flows_both_ways() {
    for (client, server, codec, version) in [
        (
            ClientDtls::Dtls13,
            DtlsVersions::Auto,
            CodecName::Opus,
            DtlsVersion::Dtls13,
        ),
        (
            ClientDtls::Dtls12,
            DtlsVersions::Auto,
            CodecName::Opus,
            DtlsVersion::Dtls12,
        ),
        (
            ClientDtls::Auto,
            DtlsVersions::Auto,
            CodecName::Pcmu,
            DtlsVersion::Dtls13,
        ),
        (
            ClientDtls::Auto,
            DtlsVersions::Only12,
            CodecName::Pcmu,
            DtlsVersion::Dtls12,
        ),
        (
            ClientDtls::Auto,
            DtlsVersions::Only13,
            CodecName::Opus,
            DtlsVersion::Dtls13,
        ),
    ] {
        let mut link = Link::new(&config(&[codec], server), client);
        link.connect();
        assert!(link.elapsed() < SECOND, "{:?}", link.elapsed());
        assert_eq!(connected_with(&link).unwrap().0, version);
        link.talk(0, 150);
        assert_eq!(link.drops, []);
        let expected: Vec<_> = (0..150)
            .map(|i: u16| (1000 + i, vec![0xa0, i as u8, 1]))
            .collect();
        assert_eq!(link.received_by_peer, expected);
        let heard: Vec<_> = link
            .received_by_client
            .iter()
            .map(|packet| packet.payload.to_vec())
            .collect();
        let expected: Vec<_> = (0..150).map(|i: u16| vec![0xb0, i as u8, 2]).collect();
        assert_eq!(heard, expected);
        let first = &link.received_by_client[0].header;
        assert_eq!(*first.ssrc, link.peer.ssrc().0);
        assert!(first.marker);
    }
}

#[test]
fn reports_and_feedback_reach_both_sides() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.connect();
    link.talk(0, 300);
    let statistics = link.peer.statistics();
    assert_eq!(
        (statistics.packets_received, statistics.packets_sent),
        (300, 300)
    );
    assert_eq!(statistics.packets_lost, 0);
    let round_trip_ms = statistics.round_trip_time_ms.unwrap();
    assert!((15.0..40.0).contains(&round_trip_ms), "{round_trip_ms}");
    let by_reports = link
        .client_events
        .iter()
        .rev()
        .find_map(|event| match event {
            Event::MediaEgressStats(stats) => stats.rtt,
            _ => None,
        });
    assert!(
        by_reports.unwrap() < Duration::from_millis(40),
        "our receiver reports tell it"
    );
    let by_feedback = link
        .client_events
        .iter()
        .rev()
        .find_map(|event| match event {
            Event::PeerStats(stats) => stats.egress_loss_fraction,
            _ => None,
        });
    assert_eq!(
        by_feedback,
        Some(0.0),
        "our transport-wide feedback tells it"
    );
}

#[test]
fn any_lost_handshake_datagram_recovers() {
    for of_client in [false, true] {
        for dtls in [ClientDtls::Dtls12, ClientDtls::Dtls13] {
            for lost in 1..6 {
                let mut link = opus_link(dtls);
                let mut handshake = 0;
                link.lose = Box::new(move |to_gateway, bytes| {
                    let counts = to_gateway == of_client && (20..=63).contains(&bytes[0]);
                    handshake += usize::from(counts);
                    counts && handshake == lost
                });
                link.connect();
                // Our ServerHello is ours to repeat. All else waits for the client, which takes a second before it
                // repeats (browsers: 50 ms): only its repetition tells us that our last flight was lost.
                let ours = !of_client && lost == 1;
                let limit = if ours { SECOND } else { 3 * SECOND };
                let took = link.elapsed();
                assert!(
                    took < limit,
                    "{dtls:?} without {lost} (client's: {of_client}): {took:?}"
                );
            }
        }
    }
}

#[test]
fn a_wrong_fingerprint_is_refused_before_any_key_is_used() {
    for dtls in [ClientDtls::Dtls12, ClientDtls::Dtls13] {
        let config = config(&OPUS, DtlsVersions::Auto);
        let mut link = Link::with_offer(&config, dtls, |offer| {
            let (head, rest) = offer.split_once("a=fingerprint:sha-256 ").unwrap();
            let other = "00:".repeat(31) + "00";
            format!("{head}a=fingerprint:sha-256 {other}{}", &rest[95..])
        });
        let failed = link.run(5 * SECOND, |link| {
            link.peer_events
                .iter()
                .any(|event| matches!(event, PeerEvent::Failed(_)))
        });
        assert!(failed);
        assert_eq!(connected_with(&link), None);
        let Some(PeerEvent::Failed(refusal)) = link.peer_events.last() else {
            panic!()
        };
        assert_eq!(refusal.fault, Fault::Caller);
        assert!(refusal.message.contains("fingerprint"));
        assert!(!link.peer_sends(0, b"secret"));
        assert_eq!(link.peer.poll_timeout(), None);
    }
}

#[test]
fn strangers_are_neither_bound_nor_heard() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.connect();
    link.talk(0, 5);
    let stranger: SocketAddr = STRANGER.parse().unwrap();
    let bound: Vec<_> = link.peer.bound_addresses().collect();
    let mut out = [0; TRANSMIT_LEN_MAX];
    for mut bytes in link.last_to_gateway.clone() {
        // A check that was overheard and changed no longer holds; media and handshake from elsewhere are not taken.
        if bytes[0] < 4 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        let result = link.peer.handle_datagram(link.now, stranger, &mut bytes);
        assert!(result.is_err(), "{result:?}");
        while let Some((len, to)) = link.peer.poll_transmit(link.now, &mut out) {
            assert!(
                to != stranger || len < 100,
                "no keys, no media to a stranger"
            );
        }
    }
    assert_eq!(link.peer.bound_addresses().collect::<Vec<_>>(), bound);
    link.received_by_peer.clear();
    link.talk(5, 5);
    assert_eq!(link.received_by_peer.len(), 5);
}

#[test]
fn replayed_and_forged_media_is_dropped() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.connect();
    link.talk(0, 5);
    let from = link.seen_address;
    let media = link
        .last_to_gateway
        .iter()
        .rev()
        .find(|bytes| bytes[0] >= 128 && !is_rtcp(bytes));
    let mut replayed = media.unwrap().clone();
    let mut forged = replayed.clone();
    *forged.last_mut().unwrap() ^= 1;
    // The next number, so that it is not taken for a replay.
    forged[3] += 1;
    let now = link.now;
    assert_eq!(
        link.peer.handle_datagram(now, from, &mut replayed),
        Err(DropReason::SrtpReplay)
    );
    assert_eq!(
        link.peer.handle_datagram(now, from, &mut forged),
        Err(DropReason::SrtpAuth)
    );
}

#[test]
fn consent_is_lost_when_the_browser_vanishes() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.connect();
    link.talk(0, 10);
    link.client_silent = true;
    let silent_since = link.now;
    let lost = link.run(40 * SECOND, |link| {
        link.peer_events.contains(&PeerEvent::ConsentLost)
    });
    assert!(lost);
    let after = link.now - silent_since;
    assert!((25..=31).contains(&after.as_secs()), "{after:?}");
    assert!(
        link.peer_events
            .contains(&PeerEvent::AddressReleased(link.seen_address))
    );
    assert_eq!(link.peer.bound_addresses().count(), 0);
    assert!(!link.peer_sends(0, b"anybody?"));
}

#[test]
fn a_browser_that_never_comes_fails_with_the_reason() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.client_silent = true;
    let failed = link.run(60 * SECOND, |link| !link.peer_events.is_empty());
    assert!(failed && link.elapsed() <= CONNECT_TIMEOUT + SECOND);
    let [PeerEvent::Failed(refusal)] = &link.peer_events[..] else {
        panic!()
    };
    assert!(refusal.message.contains("no ICE check"), "{refusal}");
    assert_eq!(refusal.cause, Q850Cause::TIMER_EXPIRY);
}

#[test]
fn a_browser_without_dtls_fails_with_another_reason() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.lose = Box::new(|_, bytes| (20..=63).contains(&bytes[0]));
    link.run(60 * SECOND, |link| {
        link.peer_events
            .iter()
            .any(|event| matches!(event, PeerEvent::Failed(_)))
    });
    let Some(PeerEvent::Failed(refusal)) = link.peer_events.last() else {
        panic!()
    };
    assert!(refusal.message.contains("no DTLS handshake"), "{refusal}");
}

#[test]
fn hold_and_resume_change_direction_and_nothing_else() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.connect();
    link.talk(0, 5);
    let answer = link.change_direction(ClientDirection::SendOnly).unwrap();
    assert!(
        answer.contains("a=recvonly\r\n") && answer.contains(" 2 IN IP4 "),
        "{answer}"
    );
    assert_eq!(link.peer.direction(), StreamDirection::RecvOnly);
    assert!(!link.peer_sends(5, b"held"), "we may not send on hold");
    link.change_direction(ClientDirection::Inactive).unwrap();
    let mut late = link
        .last_to_gateway
        .iter()
        .rev()
        .find(|b| b[0] >= 128)
        .unwrap()
        .clone();
    assert!(
        link.peer
            .handle_datagram(link.now, link.seen_address, &mut late)
            .is_err()
    );
    let answer = link.change_direction(ClientDirection::SendRecv).unwrap();
    assert!(answer.contains("a=sendrecv\r\n") && answer.contains(" 4 IN IP4 "));
    link.received_by_peer.clear();
    link.received_by_client.clear();
    link.talk(5, 5);
    assert_eq!(
        (link.received_by_peer.len(), link.received_by_client.len()),
        (5, 5)
    );
    let directions: Vec<_> = link
        .peer_events
        .iter()
        .filter_map(|event| match event {
            PeerEvent::Direction(direction) => Some(*direction),
            _ => None,
        })
        .collect();
    assert_eq!(
        directions,
        [
            StreamDirection::RecvOnly,
            StreamDirection::Inactive,
            StreamDirection::SendRecv
        ]
    );
}

#[test]
fn media_that_comes_while_held_is_counted_but_not_handed_on() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.connect();
    link.talk(0, 3);
    link.received_by_peer.clear();
    // Leaves the client before it knows of the hold.
    link.client_sends(1003, b"late");
    link.change_direction(ClientDirection::RecvOnly).unwrap();
    link.pass(Duration::from_millis(50));
    assert_eq!(link.received_by_peer, []);
}

#[test]
fn what_cannot_change_in_a_call_is_refused_and_the_call_goes_on() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.connect();
    let (_, _, other, _) = client(link.now, ClientDtls::Dtls13, "192.0.2.3:1".parse().unwrap());
    assert!(matches!(
        link.renegotiate(&other),
        Err(SdpError::Changed(_))
    ));
    let their_mid = other
        .split_once("a=mid:")
        .unwrap()
        .1
        .split_once("\r\n")
        .unwrap()
        .0;
    let other = other.replace(their_mid, &link.mid.to_string());
    let ufrag = link.peer.local_ufrag().to_owned();
    let error = link.renegotiate(&other).unwrap_err();
    assert!(
        matches!(error, SdpError::Changed(what) if what.contains("fingerprint")),
        "{error}"
    );
    assert!(link.renegotiate("v=0\r\n").is_err());
    assert_eq!(
        link.peer.local_ufrag(),
        ufrag,
        "a refused offer restarts nothing"
    );
    link.talk(0, 5);
    assert_eq!(
        (link.received_by_peer.len(), link.received_by_client.len()),
        (5, 5)
    );
}

#[test]
fn close_says_goodbye() {
    for dtls in [ClientDtls::Dtls12, ClientDtls::Dtls13] {
        let mut link = opus_link(dtls);
        link.connect();
        link.talk(0, 5);
        link.peer.close(link.now);
        assert!(
            link.run(SECOND, |link| !link.client.is_alive()),
            "{dtls:?}: no close_notify"
        );
        assert!(!link.peer_sends(5, b"late"));
        assert!(
            link.peer_events
                .contains(&PeerEvent::AddressReleased(link.seen_address))
        );
        assert_eq!(link.peer.poll_timeout(), None);
    }
}

#[test]
fn the_browsers_close_is_told() {
    for dtls in [ClientDtls::Dtls12, ClientDtls::Dtls13] {
        let mut link = opus_link(dtls);
        link.connect();
        link.talk(0, 5);
        link.client.close().unwrap();
        let told = link.run(SECOND, |link| {
            link.peer_events.contains(&PeerEvent::ClosedByPeer)
        });
        assert!(told, "{dtls:?}: {:?}", link.peer_events);
    }
}

#[test]
fn a_rebound_nat_moves_the_path_after_a_check_from_there() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.connect();
    link.talk(0, 5);
    let old = link.seen_address;
    let new: SocketAddr = "192.0.2.2:50999".parse().unwrap();
    link.seen_address = new;
    link.received_by_peer.clear();
    link.client_sends(1005, b"from the new address, unproven");
    link.pass(Duration::from_millis(30));
    assert_eq!(link.received_by_peer, []);
    assert_eq!(link.drops.last(), Some(&DropReason::UnknownSource));
    for index in 6..500 {
        link.client_sends(1000 + index, b"...");
        link.pass(Duration::from_millis(20));
    }
    let bound = link
        .peer_events
        .iter()
        .position(|event| *event == PeerEvent::AddressBound(new));
    let moved = link
        .peer_events
        .iter()
        .position(|event| *event == PeerEvent::PathSelected(new));
    assert!(bound.unwrap() < moved.unwrap(), "{:?}", link.peer_events);
    assert!(link.peer.bound_addresses().any(|address| address == old));
    link.received_by_client.clear();
    link.peer_sends(5, b"hello there");
    link.pass(Duration::from_millis(30));
    assert_eq!(link.received_by_client.len(), 1);
}

/// The value of an attribute of an SDP.
fn attribute<'a>(sdp: &'a str, name: &str) -> &'a str {
    let (_, rest) = sdp.split_once(&format!("a={name}:")).unwrap();
    rest.split_once("\r\n").unwrap().0
}

#[test]
fn an_ice_restart_from_another_network_changes_the_path_and_nothing_else() {
    for dtls in [ClientDtls::Dtls12, ClientDtls::Dtls13] {
        let mut link = opus_link(dtls);
        link.connect();
        link.talk(0, 50);
        let (old_ufrag, old, ssrc) = (
            link.peer.local_ufrag().to_owned(),
            link.seen_address,
            link.peer.ssrc(),
        );
        let first_answer = link.answer.clone();
        let new: SocketAddr = "192.0.2.99:60000".parse().unwrap();
        let answer = link.restart_ice_from(new).unwrap();
        for same in ["fingerprint", "rtpmap", "ssrc", "mid"] {
            assert_eq!(attribute(&answer, same), attribute(&first_answer, same));
        }
        for changed in ["ice-ufrag", "ice-pwd"] {
            assert_ne!(
                attribute(&answer, changed),
                attribute(&first_answer, changed)
            );
        }
        assert_eq!(attribute(&answer, "ice-ufrag"), link.peer.local_ufrag());
        assert!(
            !link
                .peer_events
                .iter()
                .any(|event| matches!(event, PeerEvent::UfragRetired(_)))
        );

        let moved = link.run(5 * SECOND, |link| {
            link.peer_events
                .contains(&PeerEvent::UfragRetired(old_ufrag.clone()))
        });
        assert!(moved, "{dtls:?}: {:?}", link.peer_events);
        assert!(link.peer_events.contains(&PeerEvent::PathSelected(new)));
        assert!(link.peer.bound_addresses().any(|address| address == old));
        link.received_by_peer.clear();
        link.received_by_client.clear();
        link.talk(50, 100);
        // No handshake, no new source, no gap in the numbers: SRTP went on where it was.
        let heard: Vec<u16> = link
            .received_by_peer
            .iter()
            .map(|(number, _)| *number)
            .collect();
        assert_eq!(heard, (1050..1150).collect::<Vec<_>>(), "{dtls:?}");
        assert_eq!(link.received_by_client.len(), 100, "{dtls:?}");
        assert_eq!(
            (link.peer.ssrc(), link.peer.statistics().packets_lost),
            (ssrc, 0)
        );
        let connected = |event: &&PeerEvent| matches!(event, PeerEvent::Connected { .. });
        assert_eq!(link.peer_events.iter().filter(connected).count(), 1);
    }
}

#[test]
fn half_an_ice_restart_is_refused() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.connect();
    let mut changes = link.client.sdp_api();
    changes.set_direction(link.mid, ClientDirection::SendOnly);
    let (offer, _) = changes.apply().unwrap();
    let offer = offer.to_sdp_string();
    let ufrag = attribute(&offer, "ice-ufrag").to_owned();
    let half = offer.replace(&ufrag, "elseelse");
    let error = link.renegotiate(&half).unwrap_err();
    assert!(error.to_string().contains("changes both"), "{error}");
}

#[test]
fn trickled_candidates_are_checked_and_bounded() {
    let mut link = opus_link(ClientDtls::Dtls13);
    assert_eq!(link.peer.handle_candidate(""), Ok(()));
    assert!(link.peer.handle_candidate("nonsense").is_err());
    let candidate = "candidate:1 1 udp 1 192.0.2.9 9 typ host";
    let taken = (0..200)
        .filter(|_| link.peer.handle_candidate(candidate).is_ok())
        .count();
    assert!(taken < CANDIDATES_MAX);
}

#[test]
fn statistics_of_a_lossy_way() {
    let mut link = opus_link(ClientDtls::Dtls13);
    link.connect();
    let mut media = 0;
    link.lose = Box::new(move |to_gateway, bytes| {
        let is_media = to_gateway && bytes[0] >= 128 && !is_rtcp(bytes);
        media += usize::from(is_media);
        is_media && media % 10 == 5
    });
    link.talk(0, 200);
    let statistics = link.peer.statistics();
    assert_eq!(
        (statistics.packets_received, statistics.packets_lost),
        (180, 20)
    );
}

#[test]
fn what_the_browser_loses_and_how_much_the_path_takes_is_known() {
    let mut link = opus_link(ClientDtls::Auto);
    link.connect();
    let mut sent = 0;
    link.lose = Box::new(move |to_gateway, bytes| {
        let is_media = !to_gateway && bytes[0] >> 6 == 2 && !crate::rtp::is_rtcp(bytes);
        sent += u32::from(is_media);
        is_media && sent % 10 == 0
    });
    link.talk(0, 250);
    let loss = link.peer.remote_loss(link.now);
    assert!((0.08..0.12).contains(&loss), "{loss}");
    assert!(link.peer.available_bitrate_bps() > 200_000);
    link.lose = Box::new(|_, _| false);
    link.talk(250, 250);
    assert_eq!(link.peer.remote_loss(link.now), 0.0);
}

#[test]
fn secrets_are_not_in_debug() {
    let link = opus_link(ClientDtls::Dtls13);
    let password = link
        .answer
        .split_once("a=ice-pwd:")
        .unwrap()
        .1
        .split_once("\r\n")
        .unwrap()
        .0;
    assert!(!format!("{:?}", link.peer).contains(password));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_datagrams_never_panic(
        datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
    ) {
        let mut link = opus_link(ClientDtls::Dtls13);
        let from = link.seen_address;
        for mut datagram in datagrams {
            let _ = link.peer.handle_datagram(link.now, from, &mut datagram);
        }
    }

    /// A whole call's datagrams, replayed with bits flipped, cut, and in any order, from the peer's own address.
    #[test]
    fn mutated_datagrams_never_panic(
        mutations in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..60),
        dtls12: bool,
    ) {
        let dtls = if dtls12 { ClientDtls::Dtls12 } else { ClientDtls::Dtls13 };
        let mut link = opus_link(dtls);
        link.connect();
        link.talk(0, 3);
        let from = link.seen_address;
        for (which, position, value, kind) in mutations {
            let mut bytes = link.last_to_gateway[which.index(link.last_to_gateway.len())].clone();
            let position = position.index(bytes.len());
            match kind {
                0 => bytes[position] ^= value,
                1 => bytes.truncate(position),
                _ => bytes.extend(std::iter::repeat_n(value, position)),
            }
            let _ = link.peer.handle_datagram(link.now, from, &mut bytes);
            link.peer.handle_timeout(link.now);
        }
        link.pass(Duration::from_millis(100));
    }

    /// A handshake whose datagrams change on the way: it may fail, but with an event and without a panic.
    #[test]
    fn a_mangled_handshake_never_panics(
        changes in proptest::collection::vec(
            proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>(), any::<bool>())),
            1..40,
        ),
        dtls12: bool,
    ) {
        let mut link = opus_link(if dtls12 { ClientDtls::Dtls12 } else { ClientDtls::Dtls13 });
        let mut changes = changes.into_iter();
        link.change = Box::new(move |bytes| {
            if let Some(Some((position, value, cut))) = changes.next() {
                // The record header stays, so that the change gets as far in as it can.
                let position = position.index(bytes.len());
                match cut {
                    true => bytes.truncate(position.max(1)),
                    false if position > 12 => bytes[position] ^= value,
                    false => {}
                }
            }
        });
        let done = link.run(CONNECT_TIMEOUT + SECOND, |link| {
            link.peer.is_connected() || link.peer.poll_timeout().is_none()
        });
        prop_assert!(done);
    }
}
