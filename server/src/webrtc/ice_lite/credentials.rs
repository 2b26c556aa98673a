//! Ufrags and passwords of the two sides (RFC 8445 section 5.3), and what stands between two ICE restarts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::webrtc::stun::IntegrityKey;

/// Bytes of entropy in a ufrag: 72 bits, because a shared socket finds the peer by it.
pub const UFRAG_ENTROPY_LEN: usize = 9;
/// Bytes of entropy in a password: 144 bits (RFC 8445 section 5.3 asks for 128).
pub const PASSWORD_ENTROPY_LEN: usize = 18;

/// A ufrag and its password. `Debug` shows only the ufrag.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub password: String,
}

impl IceCredentials {
    /// Our own credentials out of the caller's randomness: 12 and 24 characters of the ice-char alphabet.
    pub fn from_entropy(
        ufrag: [u8; UFRAG_ENTROPY_LEN],
        password: [u8; PASSWORD_ENTROPY_LEN],
    ) -> Self {
        // The standard base64 alphabet is exactly ice-char (RFC 8839 section 5.4).
        Self {
            ufrag: STANDARD_NO_PAD.encode(ufrag),
            password: STANDARD_NO_PAD.encode(password),
        }
    }
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// The credentials of both sides between two restarts.
#[derive(Debug)]
pub(super) struct Generation {
    pub number: u32,
    pub local: IceCredentials,
    pub remote_ufrag: String,
    pub key: IntegrityKey,
}

impl Generation {
    pub fn new(number: u32, local: IceCredentials, remote_ufrag: &str) -> Self {
        Self {
            number,
            key: IntegrityKey::new(&local.password),
            local,
            remote_ufrag: remote_ufrag.to_owned(),
        }
    }

    /// Does a check's USERNAME name both ends of these credentials (RFC 8445 section 7.2.2)?
    pub fn is_named_by(&self, username: &str) -> bool {
        username
            .split_once(':')
            .is_some_and(|(local, remote)| local == self.local.ufrag && remote == self.remote_ufrag)
    }
}
