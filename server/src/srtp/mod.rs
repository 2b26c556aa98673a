//! SRTP and SRTCP (RFC 3711, RFC 7714), in place on the packet's own buffer, with the keys of DTLS (RFC 5764) or of an
//! SDP (RFC 4568).
//!
//! [`ReceiveContext`] and [`SendContext`] are one peer's two directions. They allocate nothing per packet, keep state
//! of a stream only after its first authentic packet, and of at most [`STREAMS_MAX`] streams. Not here: MKI, unencrypted SRTCP, key derivation rates other than zero.

mod key_derivation;
mod packet_index;
mod receive;
mod send;
mod transform;

pub use receive::ReceiveContext;
pub use send::SendContext;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::metrics::DropReason;

/// Streams (SSRCs) of one peer and direction that have state, for SRTP and for SRTCP.
pub const STREAMS_MAX: usize = 8;
/// Bytes that protecting may add to a packet, whatever the profile: room to leave behind it.
pub const PROTECTION_OVERHEAD_MAX: usize = 20;

const MASTER_KEY_LEN_MAX: usize = 32;
const MASTER_SALT_LEN_MAX: usize = 14;

/// An SRTP protection profile (IANA "DTLS-SRTP Protection Profiles").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AES128_CM_HMAC_SHA1_80`, RFC 5764.
    Aes128CmHmacSha1_80,
    /// `SRTP_AES128_CM_HMAC_SHA1_32`, RFC 5764: RTP with a tag of 4 bytes, RTCP with 10 (RFC 4568 section 6.2.2).
    Aes128CmHmacSha1_32,
    /// `SRTP_AEAD_AES_128_GCM`, RFC 7714.
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`, RFC 7714.
    AeadAes256Gcm,
}

impl Profile {
    /// The registered name, as `getStats` of browsers shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128CmHmacSha1_80 => "SRTP_AES128_CM_HMAC_SHA1_80",
            Self::Aes128CmHmacSha1_32 => "SRTP_AES128_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        }
    }

    /// Bytes of keying material that DTLS exports for both directions (RFC 5764 section 4.2).
    pub fn keying_material_len(self) -> usize {
        2 * self.key_and_salt_len()
    }

    /// Bytes of one direction's master key and master salt.
    pub fn key_and_salt_len(self) -> usize {
        self.key_len() + self.salt_len()
    }

    /// Bytes that protecting adds to an RTP packet.
    pub fn rtp_overhead(self) -> usize {
        self.rtp_tag_len()
    }

    /// Bytes that protecting adds to an RTCP packet: the tag and the 32-bit index.
    pub fn rtcp_overhead(self) -> usize {
        self.rtcp_tag_len() + 4
    }

    fn key_len(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 | Self::Aes128CmHmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 | Self::Aes128CmHmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    fn rtp_tag_len(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 => 10,
            Self::Aes128CmHmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    fn rtcp_tag_len(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 | Self::Aes128CmHmacSha1_32 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }
}

/// Master key and salt of one direction. Zeroised on drop; its `Debug` shows no key.
#[derive(Clone)]
pub struct SrtpKeys {
    profile: Profile,
    master_key: Zeroizing<[u8; MASTER_KEY_LEN_MAX]>,
    master_salt: Zeroizing<[u8; MASTER_SALT_LEN_MAX]>,
}

/// The master keys of both directions, by who writes with them.
#[derive(Debug, Clone)]
pub struct DtlsSrtpKeys {
    /// What the DTLS client sends is protected with these.
    pub client_write: SrtpKeys,
    /// What the DTLS server sends is protected with these.
    pub server_write: SrtpKeys,
}

impl SrtpKeys {
    /// Takes a master key and a master salt.
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] if a length is not the profile's.
    pub fn new(profile: Profile, master_key: &[u8], master_salt: &[u8]) -> Result<Self, SrtpError> {
        if master_key.len() != profile.key_len() || master_salt.len() != profile.salt_len() {
            return Err(SrtpError::KeyLength);
        }
        let mut keys = Self {
            profile,
            master_key: Zeroizing::new([0; MASTER_KEY_LEN_MAX]),
            master_salt: Zeroizing::new([0; MASTER_SALT_LEN_MAX]),
        };
        keys.master_key[..master_key.len()].copy_from_slice(master_key);
        keys.master_salt[..master_salt.len()].copy_from_slice(master_salt);
        Ok(keys)
    }

    /// Splits a master key followed by its salt, as SDP writes them (RFC 4568 section 6.1).
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] if there are not exactly [`Profile::key_and_salt_len`] bytes.
    pub fn from_key_and_salt(profile: Profile, key_and_salt: &[u8]) -> Result<Self, SrtpError> {
        let split = key_and_salt.split_at_checked(profile.key_len());
        let (key, salt) = split.ok_or(SrtpError::KeyLength)?;
        Self::new(profile, key, salt)
    }

    /// The master key followed by its salt: for the SDP that tells them to the peer, and for nothing else.
    pub fn key_and_salt(&self) -> Zeroizing<Vec<u8>> {
        // At its final size from the beginning: growing would leave a copy behind.
        let mut bytes = Vec::with_capacity(self.profile.key_and_salt_len());
        bytes.extend_from_slice(self.master_key());
        bytes.extend_from_slice(&self.master_salt[..self.profile.salt_len()]);
        Zeroizing::new(bytes)
    }

    /// Splits exported keying material: client key, server key, client salt, server salt (RFC 5764 section 4.2).
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] if there are fewer bytes than [`Profile::keying_material_len`].
    pub fn from_keying_material(
        profile: Profile,
        material: &[u8],
    ) -> Result<DtlsSrtpKeys, SrtpError> {
        let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
        let split = |bytes, len| <[u8]>::split_at_checked(bytes, len).ok_or(SrtpError::KeyLength);
        let (client_key, rest) = split(material, key_len)?;
        let (server_key, rest) = split(rest, key_len)?;
        let (client_salt, rest) = split(rest, salt_len)?;
        let (server_salt, _) = split(rest, salt_len)?;
        Ok(DtlsSrtpKeys {
            client_write: Self::new(profile, client_key, client_salt)?,
            server_write: Self::new(profile, server_key, server_salt)?,
        })
    }

    /// The profile that these keys are for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    fn master_key(&self) -> &[u8] {
        &self.master_key[..self.profile.key_len()]
    }
}

/// Has a new SDP the same keys? Then the context goes on, with its packet indices.
impl PartialEq for SrtpKeys {
    fn eq(&self, other: &Self) -> bool {
        self.profile == other.profile
            && verify_slices_are_equal(&*self.master_key, &*other.master_key).is_ok()
            && verify_slices_are_equal(&*self.master_salt, &*other.master_salt).is_ok()
    }
}

impl Eq for SrtpKeys {}

impl std::fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SrtpKeys({:?}, [secret])", self.profile)
    }
}

/// Why a packet was not protected or unprotected. It leaves no trace in the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SrtpError {
    /// No RTP or RTCP header, too short for the tag, or SRTCP without encryption.
    #[error("no SRTP or SRTCP packet of this profile")]
    Malformed,
    /// The authentication tag does not hold: not the peer's, or changed on the way.
    #[error("the authentication tag does not hold")]
    Auth,
    /// Seen before, or older than the replay window; when sending: this sequence number was used before.
    #[error("this packet index was used before, or is too old to tell")]
    Replay,
    /// The peer has [`STREAMS_MAX`] streams already.
    #[error("more than {STREAMS_MAX} streams of one peer")]
    TooManyStreams,
    /// No room behind the packet for what protecting adds.
    #[error("a buffer of {needed} bytes is needed")]
    BufferTooShort {
        /// Bytes that the protected packet has.
        needed: usize,
    },
    /// The packet index came to its end (2^48 packets or 2^31 RTCP packets).
    #[error("the keys are used up")]
    KeysUsedUp,
    /// Master key, master salt or keying material of the wrong length.
    #[error("keys of the wrong length for the profile")]
    KeyLength,
    /// The cipher itself refused; never seen.
    #[error("the cipher refused")]
    Cipher,
}

impl SrtpError {
    /// The counter for a datagram that was dropped because of this.
    pub fn drop_reason(self) -> DropReason {
        match self {
            Self::Malformed | Self::BufferTooShort { .. } => DropReason::SrtpMalformed,
            Self::Auth => DropReason::SrtpAuth,
            Self::Replay => DropReason::SrtpReplay,
            Self::TooManyStreams => DropReason::SrtpStreams,
            Self::KeysUsedUp | Self::KeyLength | Self::Cipher => DropReason::SrtpNoKeys,
        }
    }
}

#[cfg(test)]
mod tests;
