//! A peer that has answered an offer, under arbitrary datagrams of four addresses, authentic ICE checks, candidates and
//! renegotiations: it binds only what proved itself, and without keys no media comes through.
#![no_main]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use server::config::{CodecName, DtlsVersions};
use server::rtp::NtpTime;
use server::webrtc::dtls::DtlsIdentity;
use server::webrtc::ice_lite::IceCredentials;
use server::webrtc::{Peer, PeerConfig, PeerEntropy, PeerEvent, Received, TRANSMIT_LEN_MAX};
use server_fuzz::{Script, Step, address, ice_check, local_credentials};

const REMOTE_UFRAG: &str = "MbF4";
const OFFER: &str = include_str!("../seeds/sdp_offer/chromium.sdp");
const WALL: NtpTime = NtpTime(0xe000_0000_0000_0000);
/// Datagrams that one step may lead to: a flight of DTLS, reports, responses.
const TRANSMITS_MAX: usize = 64;

static CONFIGS: LazyLock<[Arc<PeerConfig>; 3]> = LazyLock::new(|| {
    let identity = Arc::new(DtlsIdentity::generate().expect("a certificate"));
    [
        DtlsVersions::Auto,
        DtlsVersions::Only12,
        DtlsVersions::Only13,
    ]
    .map(|dtls| {
        Arc::new(PeerConfig {
            local_addresses: vec![address(0)],
            identity: identity.clone(),
            codecs: vec![CodecName::Opus, CodecName::Pcmu],
            dtls,
        })
    })
});

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let config = &CONFIGS[usize::from(script.choice() % 3)];
    let entropy = PeerEntropy([0; PeerEntropy::LEN]);
    let (mut peer, _) = Peer::accept_offer(script.now(), WALL, config, &entropy, OFFER)
        .expect("the offer of a browser");
    assert_eq!(peer.local_ufrag(), local_credentials().ufrag);
    let mut authenticated = HashSet::new();
    let mut bound = HashSet::new();
    for step in script {
        play(&mut peer, &mut authenticated, &step);
        if peer.poll_timeout().is_some_and(|due| due <= step.now) {
            peer.handle_timeout(step.now);
        }
        settle(&mut peer, &authenticated, &mut bound, &step);
    }
});

fn play(peer: &mut Peer, authenticated: &mut HashSet<SocketAddr>, step: &Step<'_>) {
    let mut datagram = match step.kind {
        0 | 1 => {
            authenticated.insert(step.from);
            ice_check(REMOTE_UFRAG, step.kind == 1, step.bytes.len() as u8)
        }
        2 => {
            let _refused = peer.handle_candidate(&String::from_utf8_lossy(step.bytes));
            return;
        }
        3 => {
            // The offer again with other lines at its end, so that direction, codecs and formats change, or ICE restarts.
            let more = String::from_utf8_lossy(step.bytes);
            let fresh = IceCredentials::from_entropy([1; 9], [1; 18]);
            if let Ok(answer) = peer.renegotiate(step.now, &format!("{OFFER}{more}"), fresh) {
                assert!(answer.contains(&format!("a=ice-ufrag:{}\r\n", peer.local_ufrag())));
            }
            return;
        }
        4 if step.bytes == b"close" => return peer.close(step.now),
        _ => step.bytes.to_vec(),
    };
    match peer.handle_datagram(step.now, step.from, &mut datagram) {
        Ok(Received::Media(_)) => panic!("media without keys"),
        Ok(Received::Control) | Err(_) => {}
    }
}

/// Polls everything, as the owner of a peer does after each call.
fn settle(
    peer: &mut Peer,
    authenticated: &HashSet<SocketAddr>,
    bound: &mut HashSet<SocketAddr>,
    step: &Step<'_>,
) {
    let mut out = [0; TRANSMIT_LEN_MAX];
    for count in 0.. {
        let Some((len, to)) = peer.poll_transmit(step.now, &mut out) else {
            break;
        };
        assert!(count < TRANSMITS_MAX && (1..=TRANSMIT_LEN_MAX).contains(&len));
        // Only a STUN check is answered to an address that has proved nothing.
        assert!(authenticated.contains(&to) || out[0] < 4);
    }
    while let Some(event) = peer.poll_event() {
        match event {
            PeerEvent::AddressBound(address) => {
                assert!(authenticated.contains(&address) && bound.insert(address));
            }
            PeerEvent::AddressReleased(address) => assert!(bound.remove(&address)),
            PeerEvent::Connected { .. } => panic!("connected without a handshake"),
            PeerEvent::PathSelected(address) => assert!(bound.contains(&address)),
            PeerEvent::Failed(_) | PeerEvent::ConsentLost | PeerEvent::ClosedByPeer => {
                assert!(bound.is_empty());
                assert_eq!(peer.poll_timeout(), None);
            }
            PeerEvent::Direction(_) | PeerEvent::UfragRetired(_) => {}
        }
    }
    assert!(!peer.is_connected());
    assert!(peer.poll_timeout().is_none_or(|due| due > step.now));
}
