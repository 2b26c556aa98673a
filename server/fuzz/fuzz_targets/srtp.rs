//! SRTP and SRTCP in place: what was protected comes back once and unchanged; everything else is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::rtp::header_len;
use server::srtp::{
    PROTECTION_OVERHEAD_MAX, Profile, ReceiveContext, SendContext, SrtpError, SrtpKeys,
};
use server_fuzz::Script;

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let profile = [
        Profile::Aes128CmHmacSha1_80,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
        Profile::Aes128CmHmacSha1_32,
    ][usize::from(script.choice() % 4)];
    let keys = SrtpKeys::from_keying_material(profile, &[7; 128]).expect("enough material");
    let mut send = SendContext::new(&keys.client_write).expect("keys that the cipher takes");
    let mut receive = ReceiveContext::new(&keys.client_write).expect("keys that the cipher takes");
    for step in script {
        let mut packet = step.bytes.to_vec();
        match step.kind {
            // What a stranger sends: only by the keys could it pass.
            0 => assert!(receive.unprotect_rtp(&mut packet).is_err()),
            1 => assert!(receive.unprotect_rtcp(&mut packet).is_err()),
            kind => {
                let is_rtcp = kind & 1 == 1;
                packet.resize(packet.len() + PROTECTION_OVERHEAD_MAX, 0);
                let len = step.bytes.len();
                let protected = match is_rtcp {
                    true => send.protect_rtcp(&mut packet, len),
                    false => send.protect_rtp(&mut packet, len),
                };
                let Ok(len) = protected else {
                    continue;
                };
                packet.truncate(len);
                let mut unprotect = |packet: &mut [u8]| match is_rtcp {
                    true => receive.unprotect_rtcp(packet),
                    false => receive.unprotect_rtp(packet),
                };
                // One changed bit, everywhere but where the sender would be another: refused without a trace.
                if kind >= 6 {
                    let mut changed = packet.clone();
                    let at = usize::from(step.from.port()) * len / 8192;
                    changed[at] ^= 1;
                    assert!(unprotect(&mut changed).is_err());
                }
                let mut copy = packet.clone();
                match unprotect(&mut packet) {
                    Ok(len) => {
                        assert_eq!(&packet[..len], step.bytes);
                        assert_eq!(unprotect(&mut copy), Err(SrtpError::Replay));
                    }
                    // The sender takes packets behind its newest one that the receiver's window has left.
                    Err(error) => assert!(
                        matches!(error, SrtpError::Replay | SrtpError::TooManyStreams),
                        "{error}"
                    ),
                }
                assert!(is_rtcp || header_len(step.bytes).is_ok());
            }
        }
    }
});
