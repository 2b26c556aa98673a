//! SRTP and SRTCP of one leg, by the crate `rtc-srtp`; the gateway's own is not used here, so that a fault of it shows.

use std::fmt;
use std::ops::Deref;

use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

/// Sources of one leg that are unprotected; the crate keeps state for each. Packets of others count as undecryptable.
const SOURCES_MAX: usize = 8;

/// How a leg's packets are protected.
#[derive(Debug, Clone)]
pub enum Protection {
    /// Not at all.
    Plain,
    /// SRTP.
    Srtp {
        /// What DTLS agreed on.
        profile: SrtpProfile,
        /// Protects what the leg sends.
        local: SrtpMaster,
        /// Protects what it receives.
        remote: SrtpMaster,
    },
}

/// The profiles that browsers offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SrtpProfile {
    /// AES128_CM_HMAC_SHA1_80 (RFC 5764).
    Aes128CmHmacSha1_80,
    /// AEAD_AES_128_GCM (RFC 7714).
    AeadAes128Gcm,
    /// AEAD_AES_256_GCM (RFC 7714).
    AeadAes256Gcm,
}

impl SrtpProfile {
    /// Bytes of the master key.
    pub fn key_len(self) -> usize {
        self.by_name().key_len()
    }

    /// Bytes of the master salt.
    pub fn salt_len(self) -> usize {
        self.by_name().salt_len()
    }

    fn by_name(self) -> ProtectionProfile {
        match self {
            Self::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Self::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Self::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        }
    }
}

/// A master key with its salt.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpMaster {
    /// As long as the profile wants.
    pub key: Vec<u8>,
    /// As long as the profile wants.
    pub salt: Vec<u8>,
}

impl fmt::Debug for SrtpMaster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SrtpMaster(..)")
    }
}

/// A protected or unprotected datagram.
pub(super) enum Bytes<'a, P> {
    AsIs(&'a [u8]),
    Changed(P),
}

impl<P: Deref<Target = [u8]>> Deref for Bytes<'_, P> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::AsIs(bytes) => bytes,
            Self::Changed(bytes) => bytes,
        }
    }
}

/// Both directions of one leg.
pub(super) struct Transform {
    contexts: Option<Box<Contexts>>,
}

struct Contexts {
    sending: Context,
    receiving: Context,
    sources: Vec<u32>,
}

impl Transform {
    /// Derives the session keys, which takes its time.
    pub(super) fn new(protection: &Protection) -> Result<Self, String> {
        let Protection::Srtp {
            profile,
            local,
            remote,
        } = protection
        else {
            return Ok(Self { contexts: None });
        };
        let provider = rtc_srtp::crypto::default_provider().map_err(|error| error.to_string())?;
        let context = |master: &SrtpMaster| {
            let (key, salt) = (&master.key, &master.salt);
            Context::new(key, salt, profile.by_name(), None, None, provider.crypto())
                .map_err(|error| error.to_string())
        };
        Ok(Self {
            contexts: Some(Box::new(Contexts {
                sending: context(local)?,
                receiving: context(remote)?,
                sources: Vec::new(),
            })),
        })
    }

    /// None: the crate refused.
    pub(super) fn protect_rtp<'a>(
        &mut self,
        packet: &'a [u8],
    ) -> Option<Bytes<'a, impl Deref<Target = [u8]> + use<>>> {
        Some(match &mut self.contexts {
            Some(contexts) => Bytes::Changed(contexts.sending.encrypt_rtp(packet).ok()?),
            None => Bytes::AsIs(packet),
        })
    }

    /// None: the crate refused.
    pub(super) fn protect_rtcp<'a>(
        &mut self,
        compound: &'a [u8],
    ) -> Option<Bytes<'a, impl Deref<Target = [u8]> + use<>>> {
        Some(match &mut self.contexts {
            Some(contexts) => Bytes::Changed(contexts.sending.encrypt_rtcp(compound).ok()?),
            None => Bytes::AsIs(compound),
        })
    }

    /// None: it is not of our peer.
    pub(super) fn unprotect_rtp<'a>(
        &mut self,
        packet: &'a [u8],
    ) -> Option<Bytes<'a, impl Deref<Target = [u8]> + use<>>> {
        let Some(contexts) = &mut self.contexts else {
            return Some(Bytes::AsIs(packet));
        };
        contexts.admit(packet.get(8..12)?)?;
        Some(Bytes::Changed(contexts.receiving.decrypt_rtp(packet).ok()?))
    }

    /// None: it is not of our peer.
    pub(super) fn unprotect_rtcp<'a>(
        &mut self,
        compound: &'a [u8],
    ) -> Option<Bytes<'a, impl Deref<Target = [u8]> + use<>>> {
        let Some(contexts) = &mut self.contexts else {
            return Some(Bytes::AsIs(compound));
        };
        contexts.admit(compound.get(4..8)?)?;
        Some(Bytes::Changed(
            contexts.receiving.decrypt_rtcp(compound).ok()?,
        ))
    }
}

impl Contexts {
    fn admit(&mut self, ssrc: &[u8]) -> Option<()> {
        let ssrc = u32::from_be_bytes(ssrc.try_into().ok()?);
        if self.sources.contains(&ssrc) {
            return Some(());
        }
        if self.sources.len() >= SOURCES_MAX {
            return None;
        }
        self.sources.push(ssrc);
        Some(())
    }
}
