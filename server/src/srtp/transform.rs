//! One packet's cryptographic transform with known index: AES-CM with HMAC-SHA1 (RFC 3711 section 4), AES-GCM
//! (RFC 7714). Replay, streams and rollover are the contexts' subject.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key};
use zeroize::{Zeroize, Zeroizing};

use super::key_derivation::{Label, apply_key_stream, counter_mode_key, derive};
use super::{MASTER_KEY_LEN_MAX, Profile, SrtpError, SrtpKeys};
use crate::rtp::Ssrc;

/// The longest tag of HMAC-SHA1 that a profile has, and that of all its RTCP packets.
const HMAC_TAG_LEN_MAX: usize = 10;
const GCM_TAG_LEN: usize = 16;
const SRTCP_INDEX_LEN: usize = 4;
/// The E bit of the SRTCP index word: the packet is encrypted.
const SRTCP_ENCRYPTED: u32 = 0x8000_0000;
/// RTCP's first header and sender SSRC stay readable.
pub(super) const RTCP_CLEAR_LEN: usize = 8;

/// Session keys of one direction, for RTP or for RTCP.
pub(super) enum Transform {
    /// Boxed: the HMAC state is 40 times as large as the other variant.
    CounterMode(Box<CounterMode>),
    Gcm {
        cipher: LessSafeKey,
        salt: [u8; 12],
    },
}

/// AES-CM with HMAC-SHA1.
pub(super) struct CounterMode {
    cipher: EncryptingKey,
    authentication: Key,
    salt: [u8; 14],
    /// Of this direction's RTP or RTCP packets: 10 bytes, or 4 (RFC 4568 section 6.2.2).
    tag_len: usize,
}

impl Transform {
    pub(super) fn for_rtp(keys: &SrtpKeys) -> Result<Self, SrtpError> {
        Self::new(
            keys,
            Label::RtpEncryption,
            Label::RtpAuthentication,
            Label::RtpSalt,
            keys.profile().rtp_tag_len(),
        )
    }

    pub(super) fn for_rtcp(keys: &SrtpKeys) -> Result<Self, SrtpError> {
        Self::new(
            keys,
            Label::RtcpEncryption,
            Label::RtcpAuthentication,
            Label::RtcpSalt,
            keys.profile().rtcp_tag_len(),
        )
    }

    fn new(
        keys: &SrtpKeys,
        encryption: Label,
        authentication: Label,
        salting: Label,
        tag_len: usize,
    ) -> Result<Self, SrtpError> {
        let profile = keys.profile();
        let mut key = Zeroizing::new([0; MASTER_KEY_LEN_MAX]);
        let key = &mut key[..profile.key_len()];
        derive(keys, encryption, key)?;
        let algorithm = match profile {
            Profile::Aes128CmHmacSha1_80 | Profile::Aes128CmHmacSha1_32 => {
                let mut authentication_key = Zeroizing::new([0; 20]);
                derive(keys, authentication, &mut *authentication_key)?;
                let mut salt = [0; 14];
                derive(keys, salting, &mut salt)?;
                return Ok(Self::CounterMode(Box::new(CounterMode {
                    cipher: counter_mode_key(key)?,
                    authentication: Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &*authentication_key),
                    salt,
                    tag_len,
                })));
            }
            Profile::AeadAes128Gcm => &AES_128_GCM,
            Profile::AeadAes256Gcm => &AES_256_GCM,
        };
        let mut salt = [0; 12];
        derive(keys, salting, &mut salt)?;
        let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::Cipher)?;
        Ok(Self::Gcm {
            cipher: LessSafeKey::new(key),
            salt,
        })
    }

    /// Protects `buffer[..len]`, an RTP packet whose payload begins at `header_len <= len`, and returns its new length.
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> Result<usize, SrtpError> {
        match self {
            Self::CounterMode(counter_mode) => {
                let CounterMode {
                    cipher,
                    authentication,
                    salt,
                    tag_len,
                } = &**counter_mode;
                let (packet, tag) = packet_and_room(buffer, len, *tag_len)?;
                apply_key_stream(
                    cipher,
                    counter_mode_iv(salt, ssrc, index),
                    &mut packet[header_len..],
                )?;
                tag.copy_from_slice(&rtp_tag(authentication, packet, index)[..*tag_len]);
                Ok(len + tag_len)
            }
            Self::Gcm { cipher, salt } => {
                let (packet, tag) = packet_and_room(buffer, len, GCM_TAG_LEN)?;
                let (header, payload) = packet.split_at_mut(header_len);
                seal_gcm(cipher, rtp_nonce(salt, ssrc, index), header, payload, tag)?;
                Ok(len + GCM_TAG_LEN)
            }
        }
    }

    /// Unprotects a whole SRTP packet whose payload begins at `header_len`, and returns its new length.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> Result<usize, SrtpError> {
        match self {
            Self::CounterMode(counter_mode) => {
                let CounterMode {
                    cipher,
                    authentication,
                    salt,
                    tag_len,
                } = &**counter_mode;
                let (packet, tag) = split_tail(packet, header_len, *tag_len)?;
                verify_tag(&rtp_tag(authentication, packet, index), tag)?;
                apply_key_stream(
                    cipher,
                    counter_mode_iv(salt, ssrc, index),
                    &mut packet[header_len..],
                )?;
                Ok(packet.len())
            }
            Self::Gcm { cipher, salt } => {
                let (packet, tag) = split_tail(packet, header_len, GCM_TAG_LEN)?;
                let (header, payload) = packet.split_at_mut(header_len);
                open_gcm(cipher, rtp_nonce(salt, ssrc, index), header, payload, tag)?;
                Ok(packet.len())
            }
        }
    }

    /// Protects `buffer[..len]`, an RTCP compound of at least 8 bytes, and returns its new length.
    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        ssrc: Ssrc,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let index_word = (SRTCP_ENCRYPTED | index).to_be_bytes();
        match self {
            Self::CounterMode(counter_mode) => {
                let CounterMode {
                    cipher,
                    authentication,
                    salt,
                    tag_len,
                } = &**counter_mode;
                let (packet, tail) = packet_and_room(buffer, len, SRTCP_INDEX_LEN + tag_len)?;
                let iv = counter_mode_iv(salt, ssrc, u64::from(index));
                apply_key_stream(cipher, iv, &mut packet[RTCP_CLEAR_LEN..])?;
                let (word, tag) = tail.split_at_mut(SRTCP_INDEX_LEN);
                word.copy_from_slice(&index_word);
                tag.copy_from_slice(&hmac_tag(authentication, packet, &index_word)[..*tag_len]);
                Ok(len + SRTCP_INDEX_LEN + tag_len)
            }
            Self::Gcm { cipher, salt } => {
                let (packet, tail) = packet_and_room(buffer, len, GCM_TAG_LEN + SRTCP_INDEX_LEN)?;
                let (header, payload) = packet.split_at_mut(RTCP_CLEAR_LEN);
                let (tag, word) = tail.split_at_mut(GCM_TAG_LEN);
                let aad = rtcp_aad(header, &index_word);
                seal_gcm(cipher, rtcp_nonce(salt, ssrc, index), &aad, payload, tag)?;
                word.copy_from_slice(&index_word);
                Ok(len + GCM_TAG_LEN + SRTCP_INDEX_LEN)
            }
        }
    }

    /// The index that an SRTCP packet claims.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        let before_tag = match self {
            Self::CounterMode(counter_mode) => packet.len().checked_sub(counter_mode.tag_len),
            Self::Gcm { .. } => Some(packet.len()),
        };
        let word = before_tag.and_then(|end| packet[..end].last_chunk::<SRTCP_INDEX_LEN>());
        let word = u32::from_be_bytes(*word.ok_or(SrtpError::Malformed)?);
        if word & SRTCP_ENCRYPTED == 0 {
            return Err(SrtpError::Malformed); // Not allowed by any of the profiles.
        }
        Ok(word & !SRTCP_ENCRYPTED)
    }

    /// Unprotects a whole SRTCP packet with the index of [`Transform::rtcp_index`], and returns its new length.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: Ssrc,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let index_word = (SRTCP_ENCRYPTED | index).to_be_bytes();
        match self {
            Self::CounterMode(counter_mode) => {
                let CounterMode {
                    cipher,
                    authentication,
                    salt,
                    tag_len,
                } = &**counter_mode;
                let (packet, tail) = split_tail(packet, RTCP_CLEAR_LEN, SRTCP_INDEX_LEN + tag_len)?;
                let tag = &tail[SRTCP_INDEX_LEN..];
                verify_tag(&hmac_tag(authentication, packet, &index_word), tag)?;
                let iv = counter_mode_iv(salt, ssrc, u64::from(index));
                apply_key_stream(cipher, iv, &mut packet[RTCP_CLEAR_LEN..])?;
                Ok(packet.len())
            }
            Self::Gcm { cipher, salt } => {
                let (packet, tail) =
                    split_tail(packet, RTCP_CLEAR_LEN, GCM_TAG_LEN + SRTCP_INDEX_LEN)?;
                let (header, payload) = packet.split_at_mut(RTCP_CLEAR_LEN);
                let aad = rtcp_aad(header, &index_word);
                open_gcm(
                    cipher,
                    rtcp_nonce(salt, ssrc, index),
                    &aad,
                    payload,
                    &tail[..GCM_TAG_LEN],
                )?;
                Ok(packet.len())
            }
        }
    }
}

impl Drop for Transform {
    fn drop(&mut self) {
        // The ciphers and the HMAC key zeroise themselves.
        match self {
            Self::CounterMode(counter_mode) => counter_mode.salt.zeroize(),
            Self::Gcm { salt, .. } => salt.zeroize(),
        }
    }
}

/// `buffer[..len]` and the `room` bytes behind it.
fn packet_and_room(
    buffer: &mut [u8],
    len: usize,
    room: usize,
) -> Result<(&mut [u8], &mut [u8]), SrtpError> {
    let needed = len + room;
    let buffer = buffer
        .get_mut(..needed)
        .ok_or(SrtpError::BufferTooShort { needed })?;
    Ok(buffer.split_at_mut(len))
}

/// What comes before the last `tail_len` bytes, which is at least `len_min` long, and those bytes.
fn split_tail(
    packet: &mut [u8],
    len_min: usize,
    tail_len: usize,
) -> Result<(&mut [u8], &mut [u8]), SrtpError> {
    let len = packet
        .len()
        .checked_sub(tail_len)
        .filter(|len| *len >= len_min);
    Ok(packet.split_at_mut(len.ok_or(SrtpError::Malformed)?))
}

/// RFC 3711 section 4.1.1: salt * 2^16 xor SSRC * 2^64 xor index * 2^16.
fn counter_mode_iv(salt: &[u8; 14], ssrc: Ssrc, index: u64) -> [u8; 16] {
    let salt = salt
        .iter()
        .fold(0, |salt, byte| (salt << 8) | u128::from(*byte));
    ((salt << 16) ^ (u128::from(ssrc.0) << 64) ^ (u128::from(index) << 16)).to_be_bytes()
}

/// RFC 7714 section 8.1: salt xor (16 zero bits, SSRC, rollover counter, sequence number).
fn rtp_nonce(salt: &[u8; 12], ssrc: Ssrc, index: u64) -> Nonce {
    gcm_nonce(salt, (u128::from(ssrc.0) << 48) | u128::from(index))
}

/// RFC 7714 section 9.1: salt xor (16 zero bits, SSRC, 16 zero bits, index).
fn rtcp_nonce(salt: &[u8; 12], ssrc: Ssrc, index: u32) -> Nonce {
    gcm_nonce(salt, (u128::from(ssrc.0) << 48) | u128::from(index))
}

fn gcm_nonce(salt: &[u8; 12], value: u128) -> Nonce {
    let [_, _, _, _, nonce @ ..] = value.to_be_bytes();
    let mut nonce: [u8; 12] = nonce;
    for (byte, salt) in nonce.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 section 9.2: the clear header and the index word with its E bit.
fn rtcp_aad(
    header: &[u8],
    index_word: &[u8; SRTCP_INDEX_LEN],
) -> [u8; RTCP_CLEAR_LEN + SRTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_CLEAR_LEN + SRTCP_INDEX_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(header);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(index_word);
    aad
}

fn seal_gcm(
    cipher: &LessSafeKey,
    nonce: Nonce,
    aad: &[u8],
    payload: &mut [u8],
    tag: &mut [u8],
) -> Result<(), SrtpError> {
    let sealed = cipher.seal_in_place_scatter(nonce, Aad::from(aad), payload, &[], tag);
    sealed.map_err(|_| SrtpError::Cipher)
}

fn open_gcm(
    cipher: &LessSafeKey,
    nonce: Nonce,
    aad: &[u8],
    payload: &mut [u8],
    tag: &[u8],
) -> Result<(), SrtpError> {
    let opened = cipher.open_in_place_separate_tag(nonce, Aad::from(aad), tag, payload);
    opened.map(drop).map_err(|_| SrtpError::Auth)
}

/// RFC 3711 section 4.2: over the packet and its rollover counter.
fn rtp_tag(key: &Key, packet: &[u8], index: u64) -> [u8; HMAC_TAG_LEN_MAX] {
    let rollover_counter = (index >> 16) as u32;
    hmac_tag(key, packet, &rollover_counter.to_be_bytes())
}

fn hmac_tag(key: &Key, packet: &[u8], suffix: &[u8]) -> [u8; HMAC_TAG_LEN_MAX] {
    let mut context = Context::with_key(key);
    context.update(packet);
    context.update(suffix);
    let digest = context.sign();
    let mut tag = [0; HMAC_TAG_LEN_MAX];
    tag.copy_from_slice(&digest.as_ref()[..HMAC_TAG_LEN_MAX]);
    tag
}

/// `tag` has the profile's length, which is not the sender's to choose.
fn verify_tag(expected: &[u8; HMAC_TAG_LEN_MAX], tag: &[u8]) -> Result<(), SrtpError> {
    verify_slices_are_equal(&expected[..tag.len()], tag).map_err(|_| SrtpError::Auth)
}
