//! The gateway's own Ed25519 key: what `clutchcall-gateway token` and the admin window sign with.
//!
//! Its `kid` is derived from the public key, so that a changed key never answers to an old name.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{DecodingKey, EncodingKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

/// Every `kid` of a gateway key begins with this; a tenant's key never does.
pub const GATEWAY_KID_PREFIX: &str = "gw-";

/// Bytes of the public key's SHA-256 that make the `kid`.
const KID_HASH_LEN: usize = 4;

/// An Ed25519 key pair with the `kid` that names it.
pub struct GatewayKey {
    kid: String,
    signing: EncodingKey,
    verifying: DecodingKey,
}

/// A file that holds no Ed25519 private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidGatewayKey {
    /// There is no `PRIVATE KEY` block.
    #[error("no PEM block \"PRIVATE KEY\" (PKCS#8)")]
    NoPkcs8Pem,
    /// The block holds another key.
    #[error("the private key is no Ed25519 key")]
    NotEd25519,
}

impl GatewayKey {
    /// Takes the key from a PEM file's content, PKCS#8 as `clutchcall-gateway keygen` or
    /// `openssl genpkey -algorithm ed25519` write it.
    ///
    /// # Errors
    /// The text has no such key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidGatewayKey> {
        let pkcs8 =
            PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| InvalidGatewayKey::NoPkcs8Pem)?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.secret_pkcs8_der())
            .map_err(|_| InvalidGatewayKey::NotEd25519)?;
        let public_key = pair.public_key().as_ref();
        let hash = digest(&SHA256, public_key);
        let hex: String = hash
            .as_ref()
            .iter()
            .take(KID_HASH_LEN)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            kid: format!("{GATEWAY_KID_PREFIX}{hex}"),
            signing: EncodingKey::from_ed_der(pkcs8.secret_pkcs8_der()),
            verifying: DecodingKey::from_ed_der(public_key),
        })
    }

    /// `gw-` and the first 8 hex digits of the public key's SHA-256.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What signs.
    pub(super) fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    /// What verifies.
    pub(super) fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }
}

impl fmt::Debug for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn kid_follows_the_key() {
        let one = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
            .unwrap()
            .serialize_pem();
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
            .unwrap()
            .serialize_pem();
        let kid = |pem: &str| {
            GatewayKey::from_pem(pem.as_bytes())
                .unwrap()
                .kid()
                .to_owned()
        };
        assert_eq!(kid(&one), kid(&one));
        assert_ne!(kid(&one), kid(&other));
        assert_eq!(kid(&one).len(), "gw-12345678".len());
        assert!(kid(&one).starts_with(GATEWAY_KID_PREFIX));
    }

    #[test]
    fn other_files_are_refused() {
        let ecdsa = rcgen::KeyPair::generate().unwrap();
        let refused = |pem: &str| GatewayKey::from_pem(pem.as_bytes()).unwrap_err();
        assert_eq!(
            refused(&ecdsa.serialize_pem()),
            InvalidGatewayKey::NotEd25519
        );
        assert_eq!(
            refused(&ecdsa.public_key_pem()),
            InvalidGatewayKey::NoPkcs8Pem
        );
        assert_eq!(refused(""), InvalidGatewayKey::NoPkcs8Pem);
    }

    #[test]
    fn debug_hides_the_key() {
        let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
            .unwrap()
            .serialize_pem();
        let shown = format!("{:?}", GatewayKey::from_pem(pem.as_bytes()).unwrap());
        assert!(shown.starts_with("GatewayKey { kid: \"gw-"), "{shown}");
        assert!(shown.ends_with("\", .. }"), "{shown}");
    }
}
