//! A tenant's public key, read from PEM once at load and checked to be of the algorithm that the file names.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use thiserror::Error;

/// Signature algorithms of SessionAuth tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl KeyAlgorithm {
    /// The names that `alg` may have.
    pub const NAMES: [&'static str; 3] = ["RS256", "ES256", "EdDSA"];

    /// The algorithm of this JWA name (RFC 7518 section 3.1, RFC 8037 section 3.1).
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    /// The same algorithm as the JWT library calls it.
    pub fn jwt_algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// A public key that verifies one algorithm and no other.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    decoding_key: DecodingKey,
}

/// PEM text that is no public key of the named algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no PEM public key for {alg} (allowed: {needed})")]
pub struct InvalidPublicKey {
    alg: &'static str,
    needed: &'static str,
}

impl PublicKey {
    /// Reads a PEM `PUBLIC KEY` (SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// The text is no PEM, a private key, or a key of another kind, curve or size: RS256 takes RSA of 2048 to 8192
    /// bits, ES256 P-256, EdDSA Ed25519.
    pub fn from_pem(algorithm: KeyAlgorithm, pem: &[u8]) -> Result<Self, InvalidPublicKey> {
        let invalid = match algorithm {
            KeyAlgorithm::Rs256 => InvalidPublicKey {
                alg: "RS256",
                needed: "\"PUBLIC KEY\" of RSA, 2048 to 8192 bits",
            },
            KeyAlgorithm::Es256 => InvalidPublicKey {
                alg: "ES256",
                needed: "\"PUBLIC KEY\" on P-256",
            },
            KeyAlgorithm::EdDsa => InvalidPublicKey {
                alg: "EdDSA",
                needed: "\"PUBLIC KEY\" of Ed25519",
            },
        };
        // The JWT library would also read private keys and certificates; a private key in this place is a mistake
        // that must be seen.
        if !pem
            .windows(PUBLIC_KEY_HEADER.len())
            .any(|window| window == PUBLIC_KEY_HEADER)
        {
            return Err(invalid);
        }
        let decoding_key = match algorithm {
            KeyAlgorithm::Rs256 => DecodingKey::from_rsa_pem(pem),
            KeyAlgorithm::Es256 => DecodingKey::from_ec_pem(pem),
            KeyAlgorithm::EdDsa => DecodingKey::from_ed_pem(pem),
        }
        .map_err(|_| invalid.clone())?;
        let bytes = decoding_key
            .try_get_as_bytes()
            .map_err(|_| invalid.clone())?;
        let parsed = match algorithm {
            KeyAlgorithm::Rs256 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, bytes),
            KeyAlgorithm::Es256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes),
            KeyAlgorithm::EdDsa => ParsedPublicKey::new(&ED25519, bytes),
        };
        parsed.map_err(|_| invalid)?;
        Ok(Self {
            algorithm,
            decoding_key,
        })
    }

    /// The only algorithm that this key verifies.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The key as the JWT library takes it.
    pub fn decoding_key(&self) -> &DecodingKey {
        &self.decoding_key
    }
}

const PUBLIC_KEY_HEADER: &[u8] = b"-----BEGIN PUBLIC KEY-----";

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_takes_its_own_keys_only() {
        let keys = [
            (
                KeyAlgorithm::Rs256,
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048),
            ),
            (
                KeyAlgorithm::Es256,
                rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            ),
            (
                KeyAlgorithm::EdDsa,
                rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519),
            ),
        ];
        for (of_key, pair) in &keys {
            let pair = pair.as_ref().unwrap();
            for asked in [
                KeyAlgorithm::Rs256,
                KeyAlgorithm::Es256,
                KeyAlgorithm::EdDsa,
            ] {
                let read = PublicKey::from_pem(asked, pair.public_key_pem().as_bytes());
                assert_eq!(
                    read.is_ok(),
                    asked == *of_key,
                    "{of_key:?} read as {asked:?}"
                );
            }
            assert!(
                PublicKey::from_pem(*of_key, pair.serialize_pem().as_bytes()).is_err(),
                "private {of_key:?}"
            );
        }
    }

    #[test]
    fn other_curves_and_other_text_are_refused() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let error =
            PublicKey::from_pem(KeyAlgorithm::Es256, p384.public_key_pem().as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no PEM public key for ES256 (allowed: \"PUBLIC KEY\" on P-256)"
        );
        assert!(PublicKey::from_pem(KeyAlgorithm::EdDsa, b"not a key").is_err());
        assert!(PublicKey::from_pem(KeyAlgorithm::EdDsa, b"").is_err());
    }
}
