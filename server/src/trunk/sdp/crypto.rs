//! `a=crypto` (RFC 4568, suites of RFC 7714): keys of SRTP in the SDP. Each side chooses the key that it sends with.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

use crate::srtp::{Profile, SrtpKeys};

/// What we offer, best first. SHA1_80 leads because every implementation has it, and some read the first line only.
pub(super) const SUITES: [Profile; 4] = [
    Profile::Aes128CmHmacSha1_80,
    Profile::AeadAes256Gcm,
    Profile::AeadAes128Gcm,
    Profile::Aes128CmHmacSha1_32,
];
/// Lines of one m-line that are tried.
pub(super) const CRYPTO_LINES_MAX: usize = 32;
/// The longest key in base64: 44 bytes.
const INLINE_LEN_MAX: usize = 60;

/// Reads keys with or without padding, as they come.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A usable `a=crypto` line, of the far end or ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crypto {
    /// The answer repeats the tag of the line that it accepts.
    pub tag: u32,
    /// Suite, key and salt of who wrote the line.
    pub keys: SrtpKeys,
}

impl Crypto {
    /// Reads `1 AES_CM_128_HMAC_SHA1_80 inline:<key and salt>|2^31`.
    ///
    /// # Errors
    /// Why the line can't be used; another may.
    pub(super) fn parse(value: &str) -> Result<Self, &'static str> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().filter(|tag| tag.len() <= 9);
        let tag = tag.filter(|tag| tag.bytes().all(|byte| byte.is_ascii_digit()));
        let tag = tag.and_then(|tag| tag.parse().ok());
        let tag = tag.ok_or("a tag that is no number")?;
        let suite = words.next().ok_or("no crypto suite")?;
        let profile = SUITES
            .into_iter()
            .find(|profile| suite_name(*profile).eq_ignore_ascii_case(suite));
        let profile = profile.ok_or("no crypto suite that we have")?;
        let keys = parse_key(profile, words.next().ok_or("no key")?)?;
        words.try_for_each(check_session_parameter)?;
        Ok(Self { tag, keys })
    }

    /// The attribute's value. It holds the key.
    pub(super) fn value(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(STANDARD.encode(self.keys.key_and_salt()));
        let suite = suite_name(self.keys.profile());
        Zeroizing::new(format!("{} {suite} inline:{}", self.tag, *key))
    }
}

/// Where our keys come from: one secret per dialog.
#[derive(Clone)]
pub(super) struct KeySeed(Zeroizing<[u8; KeySeed::LEN]>);

impl KeySeed {
    pub(super) const LEN: usize = 32;

    pub(super) fn new(seed: [u8; Self::LEN]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// Our keys of this suite. A `generation` is one more when new keys are needed, so that no key meets packet indices
    /// that it has seen before.
    pub(super) fn keys(&self, profile: Profile, generation: u32) -> Option<SrtpKeys> {
        let len = profile.key_and_salt_len();
        let mut key_and_salt = Zeroizing::new(vec![0; len]);
        let info: [&[u8]; 2] = [suite_name(profile).as_bytes(), &generation.to_be_bytes()];
        let secret = Salt::new(HKDF_SHA256, b"clutchcall trunk sdes").extract(&*self.0);
        let expanded = secret.expand(&info, KeyAndSalt(len)).ok()?;
        expanded.fill(&mut key_and_salt).ok()?;
        SrtpKeys::from_key_and_salt(profile, &key_and_salt).ok()
    }
}

impl std::fmt::Debug for KeySeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySeed([secret])")
    }
}

struct KeyAndSalt(usize);

impl KeyType for KeyAndSalt {
    fn len(&self) -> usize {
        self.0
    }
}

fn suite_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Aes128CmHmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        Profile::Aes128CmHmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        Profile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        Profile::AeadAes256Gcm => "AEAD_AES_256_GCM",
    }
}

/// Reads `inline:<base64>[|lifetime]` (RFC 4568 section 6.1).
fn parse_key(profile: Profile, key: &str) -> Result<SrtpKeys, &'static str> {
    let method = key.get(..7).filter(|it| it.eq_ignore_ascii_case("inline:"));
    let key = method.and(key.get(7..)).ok_or("no inline key")?;
    if key.contains(';') {
        return Err("several keys, which need an MKI");
    }
    let mut parts = key.split('|');
    let key = parts.next().filter(|key| key.len() <= INLINE_LEN_MAX);
    let key = key.ok_or("a key of the wrong length")?;
    for part in parts {
        if part.contains(':') {
            return Err("an MKI");
        }
        if !is_lifetime(part) {
            return Err("a lifetime that can't be read");
        }
    }
    let decoded = LENIENT.decode(key).map(Zeroizing::new);
    let key_and_salt = decoded.map_err(|_| "a key that is no base64")?;
    SrtpKeys::from_key_and_salt(profile, &key_and_salt).map_err(|_| "a key of the wrong length")
}

/// `2^20` or `1048576`: packets, more than a call has at the usual values.
fn is_lifetime(text: &str) -> bool {
    let digits = text.strip_prefix("2^").unwrap_or(text);
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 15;
    number && digits.bytes().any(|byte| byte != b'0')
}

/// RFC 4568 section 6.3: one that is not understood makes the line unusable, unless it begins with `-`.
fn check_session_parameter(parameter: &str) -> Result<(), &'static str> {
    // A hint for the size of the replay window, and the order of FEC that we don't use.
    let harmless = parameter.starts_with('-')
        || parameter.starts_with("WSH=")
        || parameter == "FEC_ORDER=FEC_SRTP";
    if harmless {
        return Ok(());
    }
    Err(match parameter.split('=').next().unwrap_or_default() {
        "UNENCRYPTED_SRTP" | "UNENCRYPTED_SRTCP" => "media without encryption",
        "UNAUTHENTICATED_SRTP" => "media without authentication",
        "KDR" => "a key derivation rate",
        _ => "an unknown session parameter",
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// The key of RFC 4568 section 6.1.
    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    #[test]
    fn lines_that_can_be_used() {
        let sha1_80 = "AES_CM_128_HMAC_SHA1_80";
        for line in [
            format!("1 {sha1_80} inline:{KEY}"),
            format!("1 {sha1_80} inline:{KEY}|2^20"),
            format!("1 {sha1_80} inline:{KEY}|1048576"),
            format!("1 {sha1_80} inline:{KEY}|2^48 WSH=128 -unknown FEC_ORDER=FEC_SRTP"),
            format!("000000001\t{sha1_80}  INLINE:{KEY}"),
        ] {
            let crypto = Crypto::parse(&line).unwrap();
            assert_eq!(
                (crypto.tag, crypto.keys.profile()),
                (1, Profile::Aes128CmHmacSha1_80),
                "{line}"
            );
            assert_eq!(
                *crypto.value(),
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")
            );
        }
        let padded = format!("7 AEAD_AES_128_GCM inline:{}==", "A".repeat(38));
        assert!(Crypto::parse(&padded).is_ok());
        assert!(Crypto::parse(padded.trim_end_matches('=')).is_ok());
        let long = format!("7 AEAD_AES_256_GCM inline:{}=", "A".repeat(59));
        assert_eq!(*Crypto::parse(&long).unwrap().value(), long);
    }

    #[test]
    fn lines_that_can_not() {
        for (line, why) in [
            (String::new(), "a tag that is no number"),
            ("+1 X inline:x".to_owned(), "a tag that is no number"),
            ("1".to_owned(), "no crypto suite"),
            (
                format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"),
                "no crypto suite that we have",
            ),
            ("1 AEAD_AES_256_GCM".to_owned(), "no key"),
            (format!("1 AEAD_AES_256_GCM key:{KEY}"), "no inline key"),
            (
                format!("1 AEAD_AES_256_GCM inline:{KEY}"),
                "a key of the wrong length",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", "A".repeat(61)),
                "a key of the wrong length",
            ),
            (
                "1 AES_CM_128_HMAC_SHA1_80 inline:????".to_owned(),
                "a key that is no base64",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4"),
                "an MKI",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:1"),
                "an MKI",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^"),
                "a lifetime that can't be read",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{KEY}"),
                "several keys, which need an MKI",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
                "media without encryption",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP"),
                "media without authentication",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1"),
                "a key derivation rate",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} NEW=1"),
                "an unknown session parameter",
            ),
        ] {
            assert_eq!(Crypto::parse(&line), Err(why), "{line}");
        }
    }

    #[test]
    fn every_suite_and_generation_has_keys_of_its_own() {
        let seed = KeySeed::new([7; KeySeed::LEN]);
        let mut seen = Vec::new();
        for profile in SUITES {
            for generation in 0..2 {
                let keys = seed.keys(profile, generation).unwrap();
                assert_eq!(seed.keys(profile, generation), Some(keys.clone()));
                let key_and_salt = keys.key_and_salt();
                assert!(!seen.contains(&key_and_salt[..16].to_vec()));
                seen.push(key_and_salt[..16].to_vec());
                let line = Crypto { tag: 3, keys };
                assert_eq!(Crypto::parse(&line.value()), Ok(line));
            }
        }
        let other = KeySeed::new([8; KeySeed::LEN]);
        assert_ne!(other.keys(SUITES[0], 0), seed.keys(SUITES[0], 0));
        assert_eq!(format!("{seed:?}"), "KeySeed([secret])");
    }
}
