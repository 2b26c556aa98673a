//! The demux of a shared port against a list of what it was told: every datagram goes to the owner or to nobody.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::switch::SessionKey;
use server::switch::demux::Demux;
use server::webrtc::stun::StunMessage;
use server_fuzz::{Script, ice_check, local_credentials};

fuzz_target!(|input: &[u8]| {
    let mut demux = Demux::default();
    let mut addresses = Vec::new();
    let mut ufrags: Vec<(String, SessionKey)> = Vec::new();
    let ours = local_credentials().ufrag;
    for step in Script::new(input) {
        let session = SessionKey(step.bytes.len() % 4);
        match step.kind {
            0 => {
                demux.bind(step.from, None, session);
                addresses.retain(|(address, _)| *address != step.from);
                addresses.push((step.from, session));
            }
            1 => {
                demux.release(step.from, session);
                addresses.retain(|bound| *bound != (step.from, session));
            }
            2 => {
                let ufrag = String::from_utf8_lossy(step.bytes).into_owned();
                let is_new = ufrags.iter().all(|(known, _)| *known != ufrag);
                assert_eq!(demux.add_ufrag(&ufrag, session), is_new);
                if is_new {
                    ufrags.push((ufrag, session));
                }
            }
            3 => {
                let is_new = ufrags.iter().all(|(known, _)| *known != ours);
                assert_eq!(demux.add_ufrag(&ours, session), is_new);
                if is_new {
                    ufrags.push((ours.clone(), session));
                }
            }
            4 => {
                demux.remove(session);
                addresses.retain(|(_, owner)| *owner != session);
                ufrags.retain(|(_, owner)| *owner != session);
            }
            5 => {
                let check = ice_check("page", false, 0);
                let owner = ufrags.iter().find(|(ufrag, _)| *ufrag == ours);
                assert_eq!(
                    demux
                        .find(step.from, &check)
                        .ok()
                        .map(|found| found.session),
                    owner.map(|(_, owner)| *owner)
                );
            }
            _ => {
                let bound = addresses.iter().find(|(address, _)| *address == step.from);
                let named = || {
                    let ufrag = StunMessage::parse(step.bytes).ok()?.local_ufrag()?;
                    ufrags.iter().find(|(known, _)| known == ufrag)
                };
                let owner = match step.bytes.first() {
                    Some(0..=3) => named().map(|(_, owner)| *owner),
                    Some(20..=63 | 128..=191) => bound.map(|(_, owner)| *owner),
                    _ => None,
                };
                let found = demux.find(step.from, step.bytes).ok();
                assert_eq!(found.map(|found| found.session), owner);
            }
        }
        assert_eq!(demux.len(), addresses.len() + ufrags.len());
    }
});
