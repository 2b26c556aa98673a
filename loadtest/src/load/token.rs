//! SessionAuth tokens, one for each call: signed here, so that a thousand calls start no thousand processes.
//!
//! The key is the gateway's own (`token_key_file`) or one of the tenant's `[[tenants.browser.keys]]`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use thiserror::Error;

use crate::random_u64;

/// How long a token is good: it is used at once.
const LIFETIME_S: u64 = 60;
/// Who signs with the gateway's own key.
const GATEWAY_ISSUER: &str = "clutchcall-gateway";
/// Who signs with a tenant's.
const TENANT_ISSUER: &str = "clutchcall-loadtest";

/// Why no token can be signed.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file.
    #[error("{file}: {reason}")]
    Key {
        /// As it was named.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Signing itself.
    #[error("a token could not be signed: {0}")]
    Sign(String),
}

/// Signs tokens for one tenant.
pub struct TokenSigner {
    key: EncodingKey,
    header: Header,
    issuer: &'static str,
    tenant: String,
    origin: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'static str,
    tenant_id: &'a str,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    iat: u64,
    exp: u64,
    jti: String,
}

impl TokenSigner {
    /// Takes a private key (PEM, PKCS#8: Ed25519, P-256 or RSA). Without `kid` it is the gateway's own, whose `kid` follows from
    /// it.
    ///
    /// # Errors
    /// [`TokenError::Key`] for what is none.
    pub fn from_file(
        file: &Path,
        kid: Option<&str>,
        tenant: &str,
        origin: Option<&str>,
    ) -> Result<Self, TokenError> {
        let wrong = |reason: String| TokenError::Key {
            file: file.display().to_string(),
            reason,
        };
        let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let (key, algorithm) = read_key(&pem).ok_or_else(|| {
            wrong("no private key (PKCS#8 PEM: Ed25519, P-256 or RSA)".to_owned())
        })?;
        let (kid, issuer) = match kid {
            Some(kid) => (kid.to_owned(), TENANT_ISSUER),
            None => {
                let kid = gateway_kid(&pem).ok_or_else(|| {
                    wrong(
                        "the gateway's own key is Ed25519; name a tenant's key by its kid"
                            .to_owned(),
                    )
                })?;
                (kid, GATEWAY_ISSUER)
            }
        };
        Ok(Self {
            key,
            header: Header {
                kid: Some(kid),
                ..Header::new(algorithm)
            },
            issuer,
            tenant: tenant.to_owned(),
            origin: origin.map(str::to_owned),
        })
    }

    /// A token for one connection that may dial.
    ///
    /// # Errors
    /// [`TokenError::Sign`].
    pub fn token(&self, subject: &str) -> Result<String, TokenError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let claims = Claims {
            iss: self.issuer,
            sub: subject,
            aud: "clutchcall-gateway",
            tenant_id: &self.tenant,
            scope: "call.dial",
            origin: self.origin.as_deref(),
            iat: now,
            exp: now + LIFETIME_S,
            jti: format!("{:016x}{:016x}", random_u64(), random_u64()),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
            .map_err(|error| TokenError::Sign(error.to_string()))
    }
}

fn read_key(pem: &[u8]) -> Option<(EncodingKey, Algorithm)> {
    let ed25519 = EncodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA));
    let p256 = || EncodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256));
    let rsa = || EncodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256));
    ed25519.or_else(|_| p256()).or_else(|_| rsa()).ok()
}

/// `gw-` and the first four bytes of the public key's SHA-256, as the gateway names its key.
fn gateway_kid(pem: &[u8]) -> Option<String> {
    let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.secret_pkcs8_der()).ok()?;
    let hash = digest(&SHA256, pair.public_key().as_ref());
    let hex = hash.as_ref().iter().take(4);
    Some(format!(
        "gw-{}",
        hex.map(|byte| format!("{byte:02x}")).collect::<String>()
    ))
}
