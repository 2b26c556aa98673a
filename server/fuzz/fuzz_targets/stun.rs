//! Arbitrary and authentic checks on an ICE-lite agent: only the authentic ones bind an address or get a signed answer.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use server::webrtc::ice_lite::{IceEvent, IceLite, PATHS_MAX};
use server::webrtc::stun::{IntegrityKey, RESPONSE_LEN_MAX, StunClass, StunMessage};
use server_fuzz::{Script, ice_check, local_credentials};

const REMOTE_UFRAG: &str = "page";

fuzz_target!(|input: &[u8]| {
    let script = Script::new(input);
    let mut ice = IceLite::new(script.now(), local_credentials(), REMOTE_UFRAG);
    let key = IntegrityKey::new(&local_credentials().password);
    let mut authenticated = HashSet::new();
    for step in script {
        let signed = ice_check(REMOTE_UFRAG, step.kind == 1, step.bytes.len() as u8);
        let datagram = match step.kind {
            0 | 1 => {
                authenticated.insert(step.from);
                signed.as_slice()
            }
            2 => {
                ice.handle_authenticated_media(step.now, step.from);
                continue;
            }
            3 => {
                ice.handle_handshake(step.from);
                continue;
            }
            _ => step.bytes,
        };
        if let Ok(message) = StunMessage::parse(datagram) {
            let is_authentic = message.integrity_holds(&key);
            let mut response = [0; RESPONSE_LEN_MAX];
            let outcome = ice.handle_binding(step.now, step.from, &message, &mut response);
            let response = &response[..outcome.response_len];
            if !response.is_empty() {
                assert_eq!(message.class(), StunClass::Request);
                let response = StunMessage::parse(response).expect("our own response");
                assert_eq!(response.transaction_id(), message.transaction_id());
                if response.class() == StunClass::SuccessResponse {
                    assert!(is_authentic && response.integrity_holds(&key));
                    assert_eq!(response.xor_mapped_address(), Some(step.from));
                }
            }
        }
        if ice.poll_timeout().is_some_and(|due| due <= step.now) {
            ice.handle_timeout(step.now);
            assert!(ice.poll_timeout().is_none_or(|due| due > step.now));
        }
        while let Some(event) = ice.poll_event() {
            if let IceEvent::PathBound(address) = event {
                assert!(
                    authenticated.contains(&address),
                    "{address} never proved itself"
                );
            }
        }
        assert!(ice.bound_addresses().count() <= PATHS_MAX);
        assert!(ice.selected().is_none_or(|selected| ice.is_bound(selected)));
    }
});
