//! STUN (RFC 8489) as ICE connectivity checks use it (RFC 8445 section 7): Binding requests in, responses out.
//!
//! Own code instead of `rtc-stun`: 56 crates less, no allocation, and a parser that borrows from the datagram. It knows
//! the attributes that an ICE agent needs and nothing of TURN, long-term credentials or STUN over TCP.

mod writer;

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;
use thiserror::Error;

pub use writer::*;

/// The fixed value in bytes 4..8 of every message.
pub const MAGIC_COOKIE: u32 = 0x2112_a442;
/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 20;
/// The longest message that is read; ICE checks have about 100 bytes.
pub const MESSAGE_LEN_MAX: usize = 1280;
/// The most attributes that are read in one message.
pub const ATTRIBUTES_MAX: usize = 32;
/// The longest response that [`write_binding_success`] and [`write_binding_error`] produce, in bytes.
pub const RESPONSE_LEN_MAX: usize = 160;
/// The most unknown attributes that a 420 response names.
const UNKNOWN_ATTRIBUTES_MAX: usize = 8;
/// RFC 8489 section 14.7.
const FINGERPRINT_XOR: u32 = 0x5354_554e;
const HMAC_SHA1_LEN: usize = 20;

/// Attribute types (RFC 8489 section 18.3, RFC 8445 section 20.2).
pub mod attribute {
    /// `local:remote` ufrags as the receiver sees them.
    pub const USERNAME: u16 = 0x0006;
    /// HMAC-SHA1 over everything before it.
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    /// Why a request was refused.
    pub const ERROR_CODE: u16 = 0x0009;
    /// What a 420 refers to.
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    /// HMAC-SHA256; not used by ICE yet, ignored here.
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    /// Where the request came from.
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// The priority of a peer-reflexive candidate.
    pub const PRIORITY: u16 = 0x0024;
    /// The controlling agent nominates the path.
    pub const USE_CANDIDATE: u16 = 0x0025;
    /// CRC-32 over everything before it.
    pub const FINGERPRINT: u16 = 0x8028;
    /// The sender believes to be controlled.
    pub const ICE_CONTROLLED: u16 = 0x8029;
    /// The sender believes to be controlling.
    pub const ICE_CONTROLLING: u16 = 0x802a;
}

/// What a message is: the two class bits of its type (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunClass {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// The answer "yes".
    SuccessResponse,
    /// The answer "no".
    ErrorResponse,
}

impl StunClass {
    /// The type field of a Binding message of this class.
    fn binding_type(self) -> u16 {
        match self {
            Self::Request => 0x0001,
            Self::Indication => 0x0011,
            Self::SuccessResponse => 0x0101,
            Self::ErrorResponse => 0x0111,
        }
    }
}

/// Pairs a response with its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// Why bytes are no STUN message that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StunError {
    /// Shorter than its header or its length field, or longer than [`MESSAGE_LEN_MAX`].
    #[error("the length does not fit a STUN message")]
    Length,
    /// First bits or magic cookie.
    #[error("no STUN header")]
    Header,
    /// A method other than Binding.
    #[error("no Binding message")]
    Method,
    /// An attribute that runs over the end, or has the wrong size.
    #[error("attribute {0:#06x} has a wrong length")]
    Attribute(u16),
    /// More than [`ATTRIBUTES_MAX`].
    #[error("more than {ATTRIBUTES_MAX} attributes")]
    TooManyAttributes,
    /// FINGERPRINT is there and does not hold, or is not the last attribute.
    #[error("FINGERPRINT does not hold")]
    Fingerprint,
}

/// A Binding message, borrowed from the datagram. Nothing in it is authentic before
/// [`StunMessage::integrity_holds`] said so.
#[derive(Debug, Clone, Copy)]
pub struct StunMessage<'a> {
    raw: &'a [u8],
    class: StunClass,
    transaction_id: TransactionId,
    username: Option<&'a str>,
    priority: Option<u32>,
    use_candidate: bool,
    ice_controlling: Option<u64>,
    ice_controlled: Option<u64>,
    error_code: Option<u16>,
    xor_mapped_address: Option<SocketAddr>,
    integrity_offset: Option<usize>,
    unknown: [u16; UNKNOWN_ATTRIBUTES_MAX],
    unknown_count: usize,
}

impl<'a> StunMessage<'a> {
    /// Reads a Binding message. Attributes after MESSAGE-INTEGRITY are ignored (RFC 8489 section 14.5), FINGERPRINT is
    /// checked where present, the first of a repeated attribute counts.
    ///
    /// # Errors
    /// [`StunError`] names what is wrong; the datagram's sender is at fault.
    pub fn parse(raw: &'a [u8]) -> Result<Self, StunError> {
        if raw.len() > MESSAGE_LEN_MAX {
            return Err(StunError::Length);
        }
        let (header, mut rest) = raw.split_at_checked(HEADER_LEN).ok_or(StunError::Length)?;
        let message_type = u16_at(header, 0).ok_or(StunError::Length)?;
        let length = usize::from(u16_at(header, 2).ok_or(StunError::Length)?);
        if message_type & 0xc000 != 0 || u32_at(header, 4) != Some(MAGIC_COOKIE) {
            return Err(StunError::Header);
        }
        if length != rest.len() || !length.is_multiple_of(4) {
            return Err(StunError::Length);
        }
        let class = match message_type {
            0x0001 => StunClass::Request,
            0x0011 => StunClass::Indication,
            0x0101 => StunClass::SuccessResponse,
            0x0111 => StunClass::ErrorResponse,
            _ => return Err(StunError::Method),
        };
        let transaction_id = header.last_chunk().copied().ok_or(StunError::Length)?;
        let mut message = Self {
            raw,
            class,
            transaction_id: TransactionId(transaction_id),
            username: None,
            priority: None,
            use_candidate: false,
            ice_controlling: None,
            ice_controlled: None,
            error_code: None,
            xor_mapped_address: None,
            integrity_offset: None,
            unknown: [0; UNKNOWN_ATTRIBUTES_MAX],
            unknown_count: 0,
        };
        let mut attributes = 0;
        while !rest.is_empty() {
            attributes += 1;
            if attributes > ATTRIBUTES_MAX {
                return Err(StunError::TooManyAttributes);
            }
            let offset = raw.len() - rest.len();
            let kind = u16_at(rest, 0).ok_or(StunError::Length)?;
            let value_len = usize::from(u16_at(rest, 2).ok_or(StunError::Length)?);
            let value = rest.get(4..4 + value_len);
            let value = value.ok_or(StunError::Attribute(kind))?;
            // The padding is inside the message, because its length is a multiple of four.
            let next = 4 + value_len.next_multiple_of(4);
            rest = rest.get(next..).ok_or(StunError::Attribute(kind))?;
            if kind == attribute::FINGERPRINT {
                message.check_fingerprint(offset, value)?;
                if !rest.is_empty() {
                    return Err(StunError::Fingerprint);
                }
            } else if message.integrity_offset.is_none() {
                message.take(kind, offset, value)?;
            }
        }
        Ok(message)
    }

    fn check_fingerprint(&self, offset: usize, value: &[u8]) -> Result<(), StunError> {
        let covered = self.raw.get(..offset).ok_or(StunError::Fingerprint)?;
        let expected = (crc32(covered) ^ FINGERPRINT_XOR).to_be_bytes();
        if value == expected {
            Ok(())
        } else {
            Err(StunError::Fingerprint)
        }
    }

    fn take(&mut self, kind: u16, offset: usize, value: &'a [u8]) -> Result<(), StunError> {
        let wrong = StunError::Attribute(kind);
        match kind {
            attribute::USERNAME if self.username.is_none() => {
                self.username = Some(std::str::from_utf8(value).map_err(|_| wrong)?);
            }
            attribute::PRIORITY => {
                let value = u32::from_be_bytes(value.try_into().map_err(|_| wrong)?);
                self.priority.get_or_insert(value);
            }
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::ICE_CONTROLLING => {
                let value = u64::from_be_bytes(value.try_into().map_err(|_| wrong)?);
                self.ice_controlling.get_or_insert(value);
            }
            attribute::ICE_CONTROLLED => {
                let value = u64::from_be_bytes(value.try_into().map_err(|_| wrong)?);
                self.ice_controlled.get_or_insert(value);
            }
            attribute::ERROR_CODE => match value {
                [_, _, hundreds, units, ..] => {
                    let code = u16::from(hundreds & 7) * 100 + u16::from(*units);
                    self.error_code.get_or_insert(code);
                }
                _ => return Err(wrong),
            },
            attribute::XOR_MAPPED_ADDRESS => {
                let address = read_xor_address(value, self.transaction_id).ok_or(wrong)?;
                self.xor_mapped_address.get_or_insert(address);
            }
            attribute::MESSAGE_INTEGRITY => {
                if value.len() != HMAC_SHA1_LEN {
                    return Err(wrong);
                }
                self.integrity_offset = Some(offset);
            }
            attribute::USERNAME
            | attribute::UNKNOWN_ATTRIBUTES
            | attribute::MESSAGE_INTEGRITY_SHA256 => {}
            // Types below 0x8000 must be understood (RFC 8489 section 14).
            unknown if unknown < 0x8000 => {
                if let Some(slot) = self.unknown.get_mut(self.unknown_count) {
                    *slot = unknown;
                    self.unknown_count += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Request, indication or response.
    pub fn class(&self) -> StunClass {
        self.class
    }

    /// The request's number, to be repeated in the response.
    pub fn transaction_id(&self) -> TransactionId {
        self.transaction_id
    }

    /// USERNAME as sent.
    pub fn username(&self) -> Option<&'a str> {
        self.username
    }

    /// The receiver's half of USERNAME: the ufrag by which a shared socket finds the peer.
    pub fn local_ufrag(&self) -> Option<&'a str> {
        self.username?.split_once(':').map(|(local, _)| local)
    }

    /// PRIORITY, if present.
    pub fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// Is USE-CANDIDATE there?
    pub fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// The tie-breaker of a sender that believes to be controlling.
    pub fn ice_controlling(&self) -> Option<u64> {
        self.ice_controlling
    }

    /// The tie-breaker of a sender that believes to be controlled.
    pub fn ice_controlled(&self) -> Option<u64> {
        self.ice_controlled
    }

    /// ERROR-CODE of an error response.
    pub fn error_code(&self) -> Option<u16> {
        self.error_code
    }

    /// XOR-MAPPED-ADDRESS, decoded.
    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        self.xor_mapped_address
    }

    /// Is MESSAGE-INTEGRITY there? It may still be wrong.
    pub fn has_integrity(&self) -> bool {
        self.integrity_offset.is_some()
    }

    /// Comprehension-required attributes that we do not know, at most 8 of them.
    pub fn unknown_attributes(&self) -> &[u16] {
        self.unknown.get(..self.unknown_count).unwrap_or_default()
    }

    /// Does MESSAGE-INTEGRITY hold under `key`? False when it is missing. Constant time in the tag.
    pub fn integrity_holds(&self, key: &IntegrityKey) -> bool {
        let Some(offset) = self.integrity_offset else {
            return false;
        };
        let tag_start = offset + 4;
        let covered = self
            .raw
            .get(..offset)
            .and_then(|raw| raw.split_at_checked(4));
        let tag = self.raw.get(tag_start..tag_start + HMAC_SHA1_LEN);
        let (Some(([kind @ .., _, _], rest)), Some(tag)) = (covered, tag) else {
            return false;
        };
        // The length is that of a message which ends with this attribute (RFC 8489 section 14.5).
        let length = (tag_start + HMAC_SHA1_LEN - HEADER_LEN) as u16;
        let expected = key.sign(&[kind, &length.to_be_bytes(), rest]);
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected, tag).is_ok()
    }
}

/// An ICE password as key of MESSAGE-INTEGRITY. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    /// The key of a short-term password (RFC 8489 section 9.1).
    pub fn new(password: &str) -> Self {
        Self(hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            password.as_bytes(),
        ))
    }

    fn sign(&self, parts: &[&[u8]]) -> [u8; HMAC_SHA1_LEN] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut tag = [0; HMAC_SHA1_LEN];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        tag
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntegrityKey")
    }
}

/// Magic cookie and transaction id: what addresses are XORed with.
fn xor_mask(transaction_id: TransactionId) -> impl Iterator<Item = u8> {
    MAGIC_COOKIE
        .to_be_bytes()
        .into_iter()
        .chain(transaction_id.0)
}

fn read_xor_address(value: &[u8], transaction_id: TransactionId) -> Option<SocketAddr> {
    let [_, family, port_high, port_low, octets @ ..] = value else {
        return None;
    };
    let port = u16::from_be_bytes([*port_high, *port_low]) ^ (MAGIC_COOKIE >> 16) as u16;
    let unmask = |octets: &mut [u8]| {
        octets
            .iter_mut()
            .zip(xor_mask(transaction_id))
            .for_each(|(octet, mask)| *octet ^= mask);
    };
    match family {
        1 => {
            let mut octets: [u8; 4] = octets.try_into().ok()?;
            unmask(&mut octets);
            Some(SocketAddr::new(IpAddr::from(octets), port))
        }
        2 => {
            let mut octets: [u8; 16] = octets.try_into().ok()?;
            unmask(&mut octets);
            Some(SocketAddr::new(IpAddr::from(octets), port))
        }
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u16::from_be_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u32::from_be_bytes(*chunk))
}

/// CRC-32 of ISO-HDLC (RFC 8489 section 14.7), one table of 256 entries.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0u32; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 {
                    (value >> 1) ^ 0xedb8_8320
                } else {
                    value >> 1
                };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)];
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests;
