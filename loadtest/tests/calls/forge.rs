//! SessionAuth tokens that a tenant would sign, and those that a forger would. Signed by `jsonwebtoken` from claims written
//! here, never by the gateway's own code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, RsaKeySize};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A tenant's three keys, one per algorithm that the gateway knows.
pub struct TenantKeys {
    directory: TempDir,
    keys: Vec<SigningKey>,
}

/// One key and what the gateway calls it.
pub struct SigningKey {
    /// As in `[[tenants.browser.keys]]`.
    pub kid: &'static str,
    /// The only algorithm that the gateway takes of it.
    pub algorithm: Algorithm,
    /// The public half.
    pub public_pem: String,
    encoding: EncodingKey,
}

impl TenantKeys {
    /// New keys, their public halves in files.
    pub fn generate() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let private = |pair: &KeyPair| pair.serialize_pem().into_bytes();
        let keys = vec![
            SigningKey {
                kid: "rsa",
                algorithm: Algorithm::RS256,
                public_pem: rsa.public_key_pem(),
                encoding: EncodingKey::from_rsa_pem(&private(&rsa)).unwrap(),
            },
            SigningKey {
                kid: "p256",
                algorithm: Algorithm::ES256,
                public_pem: p256.public_key_pem(),
                encoding: EncodingKey::from_ec_pem(&private(&p256)).unwrap(),
            },
            SigningKey {
                kid: "ed25519",
                algorithm: Algorithm::EdDSA,
                public_pem: ed25519.public_key_pem(),
                encoding: EncodingKey::from_ed_pem(&private(&ed25519)).unwrap(),
            },
        ];
        for key in &keys {
            let file = directory.path().join(key.kid).with_extension("pem");
            std::fs::write(file, &key.public_pem).unwrap();
        }
        Self { directory, keys }
    }

    /// `[tenants.browser]` with these keys, for the tenant that stands before it.
    pub fn browser_toml(&self) -> String {
        let mut toml =
            "[tenants.browser]\norigins = [\"https://app.example.com\", \"https://other.example.com\"]\n".to_owned();
        for key in &self.keys {
            let file = self.directory.path().join(key.kid).with_extension("pem");
            write!(
                toml,
                "[[tenants.browser.keys]]\nkid = \"{}\"\nalg = \"{:?}\"\npublic_key_file = {file:?}\n",
                key.kid, key.algorithm
            )
            .unwrap();
        }
        toml
    }

    /// All keys.
    pub fn keys(&self) -> &[SigningKey] {
        &self.keys
    }

    /// The quickest one.
    pub fn ed25519(&self) -> &SigningKey {
        &self.keys[2]
    }

    /// A good token of `tenant`.
    pub fn token(&self, tenant: &str) -> String {
        self.ed25519().sign(&claims(tenant))
    }
}

impl SigningKey {
    /// Signs any claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(Some(self.kid), claims)
    }

    /// Signs under another name than its own.
    pub fn sign_as(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(self.algorithm)
        };
        encode(&header, claims, &self.encoding).unwrap()
    }
}

/// `HS256` with a text as the secret, under any `kid`.
pub fn hs256(kid: &str, secret: &str, claims: &Value) -> String {
    let header = Header {
        kid: Some(kid.to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    encode(
        &header,
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

/// A token with a header written by hand and any signature.
pub fn assembled(header: &Value, claims: &Value, signature: &[u8]) -> String {
    format!(
        "{}.{}.{}",
        base64url(header.to_string().as_bytes()),
        base64url(claims.to_string().as_bytes()),
        base64url(signature)
    )
}

/// Seconds of the Unix epoch.
pub fn now_unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Claims of a good token that no other token has.
pub fn claims(tenant: &str) -> Value {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let now = now_unix_s();
    json!({
        "iss": "https://login.example.com", "sub": "alice", "aud": "clutchcall-gateway", "tenant_id": tenant,
        "scope": "call.dial", "iat": now, "exp": now + 60, "jti": format!("jti-{}-{number}", std::process::id()),
    })
}

/// [`claims`] with one of them changed; null takes it out.
pub fn claims_with(tenant: &str, name: &str, value: Value) -> Value {
    let mut claims = claims(tenant);
    let members = claims.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
    claims
}

/// RFC 4648 section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0_u32, |word, (index, byte)| {
            word | u32::from(*byte) << (16 - 8 * index)
        });
        for index in 0..=chunk.len() {
            text.push(char::from(
                ALPHABET[(word >> (18 - 6 * index) & 63) as usize],
            ));
        }
    }
    text
}
