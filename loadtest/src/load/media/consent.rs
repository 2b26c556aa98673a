//! Consent checks (RFC 7675): Binding requests of a controlling ICE agent whose pair was nominated before.

use aws_lc_rs::hmac;
use is::stun::{StunMessage, TransId};

/// Of a peer-reflexive candidate (RFC 8445 section 5.1.2), component 1.
const PRIORITY: u32 = 110 << 24 | 65_535 << 8 | 255;

/// A Binding success (RFC 8489 section 5).
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

/// What the checks of one leg say.
#[derive(Clone)]
pub struct Consent {
    /// Ours.
    pub local_ufrag: String,
    /// The gateway's.
    pub remote_ufrag: String,
    /// The gateway's, which signs our checks.
    pub remote_password: String,
    /// Ours, as in the checks before.
    pub tie_breaker: u64,
}

/// Writes a check with a transaction id of its own. None: it does not fit.
pub(super) fn write_check(consent: &Consent, out: &mut [u8]) -> Option<usize> {
    let user = format!("{}:{}", consent.remote_ufrag, consent.local_ufrag);
    let (controlling, use_candidate) = (true, false);
    let check = StunMessage::binding_request(
        &user,
        TransId::new(),
        controlling,
        consent.tie_breaker,
        PRIORITY,
        use_candidate,
    );
    let password = consent.remote_password.as_bytes();
    check.to_bytes(Some(password), out, hmac_sha1).ok()
}

/// Does this datagram begin as STUN does (RFC 7983)?
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram, [0..=3, ..])
}

/// Is it an answer that grants consent? It is counted, not verified.
pub(super) fn is_binding_success(datagram: &[u8]) -> bool {
    datagram.starts_with(&BINDING_SUCCESS)
}

fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 20];
    for (byte, tag) in out.iter_mut().zip(context.sign().as_ref()) {
        *byte = *tag;
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_check_is_signed_and_nominates_nothing() {
        let consent = Consent {
            local_ufrag: "ours".to_owned(),
            remote_ufrag: "theirs".to_owned(),
            remote_password: "a password of twenty-two".to_owned(),
            tie_breaker: 42,
        };
        let mut out = [0; 256];
        let len = write_check(&consent, &mut out).unwrap();
        let check = StunMessage::parse(&out[..len]).unwrap();
        assert!(is_stun(&out) && !is_binding_success(&out));
        assert!(check.is_binding_request() && !check.use_candidate());
        assert_eq!(check.username(), Some("theirs:ours"));
        assert_eq!(check.ice_controlling(), Some(42));
        assert_eq!(check.prio(), Some(PRIORITY));
        assert!(check.verify(b"a password of twenty-two", hmac_sha1));
        assert!(!check.verify(b"another one", hmac_sha1));
        assert_eq!(write_check(&consent, &mut [0; 40]), None);
    }
}
