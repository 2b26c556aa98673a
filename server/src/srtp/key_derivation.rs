//! Session keys from a master key (RFC 3711 section 4.3 with derivation rate 0; RFC 7714 section 11 for GCM).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::{MASTER_SALT_LEN_MAX, SrtpError, SrtpKeys};

/// What a session key is for (RFC 3711 section 4.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// Fills `out` with the session key of this label: the AES-CM key stream whose block counter begins at
/// (master salt xor label) * 2^16. A 96-bit salt is extended with zeros to 112 bits.
pub(super) fn derive(keys: &SrtpKeys, label: Label, out: &mut [u8]) -> Result<(), SrtpError> {
    let mut iv = [0; 16];
    iv[..MASTER_SALT_LEN_MAX].copy_from_slice(&*keys.master_salt);
    iv[7] ^= label as u8;
    out.fill(0);
    let key_stream = counter_mode_key(keys.master_key())?;
    apply_key_stream(&key_stream, iv, out)
}

/// An AES key of 16 or 32 bytes in counter mode.
pub(super) fn counter_mode_key(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| SrtpError::KeyLength)?;
    EncryptingKey::ctr(key).map_err(|_| SrtpError::Cipher)
}

/// Adds the key stream that begins at this counter block: encrypts and decrypts.
pub(super) fn apply_key_stream(
    key: &EncryptingKey,
    iv: [u8; 16],
    in_out: &mut [u8],
) -> Result<(), SrtpError> {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    let done = key.less_safe_encrypt(in_out, context);
    done.map(drop).map_err(|_| SrtpError::Cipher)
}
