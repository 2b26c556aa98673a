//! Writes Binding responses, and any other Binding message attribute by attribute.

use std::net::{IpAddr, SocketAddr};

use super::{
    FINGERPRINT_XOR, HEADER_LEN, HMAC_SHA1_LEN, IntegrityKey, MAGIC_COOKIE, StunClass, StunMessage,
    TransactionId, UNKNOWN_ATTRIBUTES_MAX, attribute, crc32, xor_mask,
};

/// The "no" of an ERROR-CODE (RFC 8489 section 14.8, RFC 8445 section 7.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunRefusal {
    /// 400: USERNAME or MESSAGE-INTEGRITY is missing.
    BadRequest,
    /// 401: USERNAME is not ours, or MESSAGE-INTEGRITY does not hold.
    Unauthenticated,
    /// 420: an attribute that must be understood is not.
    UnknownAttribute,
    /// 487: both sides claim the same ICE role.
    RoleConflict,
}

impl StunRefusal {
    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::UnknownAttribute => 420,
            Self::RoleConflict => 487,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::Unauthenticated => "Unauthenticated",
            Self::UnknownAttribute => "Unknown Attribute",
            Self::RoleConflict => "Role Conflict",
        }
    }
}

/// Writes the success response to a Binding request that came from `from`: XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY,
/// FINGERPRINT. An IPv4-mapped IPv6 address is told as IPv4. Returns its length in bytes, none if `out` is too short
/// ([`RESPONSE_LEN_MAX`](super::RESPONSE_LEN_MAX) always suffices).
pub fn write_binding_success(
    out: &mut [u8],
    transaction_id: TransactionId,
    from: SocketAddr,
    key: &IntegrityKey,
) -> Option<usize> {
    let mut writer = StunWriter::new(out, StunClass::SuccessResponse, transaction_id)?;
    writer.xor_mapped_address(from)?;
    writer.message_integrity(key)?;
    writer.fingerprint()?;
    Some(writer.len())
}

/// Writes an error response; signed only where `key` is given, because an unauthenticated request gets an unsigned
/// answer (RFC 8489 section 9.1.3). Length and failure as in [`write_binding_success`].
pub fn write_binding_error(
    out: &mut [u8],
    request: &StunMessage<'_>,
    refusal: StunRefusal,
    key: Option<&IntegrityKey>,
) -> Option<usize> {
    let mut writer = StunWriter::new(out, StunClass::ErrorResponse, request.transaction_id())?;
    let code = refusal.code();
    let head = [0, 0, (code / 100) as u8, (code % 100) as u8];
    writer.attribute(attribute::ERROR_CODE, &[&head, refusal.reason().as_bytes()])?;
    if refusal == StunRefusal::UnknownAttribute {
        let mut types = [0; 2 * UNKNOWN_ATTRIBUTES_MAX];
        let mut len = 0;
        for (to, unknown) in types.chunks_exact_mut(2).zip(request.unknown_attributes()) {
            to.copy_from_slice(&unknown.to_be_bytes());
            len += 2;
        }
        writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &[types.get(..len)?])?;
    }
    if let Some(key) = key {
        writer.message_integrity(key)?;
    }
    writer.fingerprint()?;
    Some(writer.len())
}

/// Writes a Binding message attribute by attribute into a caller's buffer. Every step answers none when the buffer is
/// full; the message is then unusable.
#[derive(Debug)]
pub struct StunWriter<'a> {
    out: &'a mut [u8],
    len: usize,
    transaction_id: TransactionId,
}

impl<'a> StunWriter<'a> {
    /// Begins a message.
    pub fn new(out: &'a mut [u8], class: StunClass, transaction_id: TransactionId) -> Option<Self> {
        let mut writer = Self {
            out,
            len: 0,
            transaction_id,
        };
        writer.put(&class.binding_type().to_be_bytes())?;
        writer.put(&[0, 0])?;
        writer.put(&MAGIC_COOKIE.to_be_bytes())?;
        writer.put(&transaction_id.0)?;
        Some(writer)
    }

    /// Bytes written so far: a whole message.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a message has its header at least"
    )]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends one attribute whose value is the `parts` joined.
    pub fn attribute(&mut self, kind: u16, parts: &[&[u8]]) -> Option<()> {
        let value_len: usize = parts.iter().map(|part| part.len()).sum();
        self.put(&kind.to_be_bytes())?;
        self.put(&u16::try_from(value_len).ok()?.to_be_bytes())?;
        for part in parts {
            self.put(part)?;
        }
        const PADDING: [u8; 3] = [0; 3];
        self.put(PADDING.get(..value_len.next_multiple_of(4) - value_len)?)?;
        self.set_length(self.len - HEADER_LEN)
    }

    /// Appends XOR-MAPPED-ADDRESS; an IPv4-mapped IPv6 address is written as IPv4.
    pub fn xor_mapped_address(&mut self, address: SocketAddr) -> Option<()> {
        let port = (address.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes();
        let mask = xor_mask(self.transaction_id);
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let mut octets = ip.octets();
                octets
                    .iter_mut()
                    .zip(mask)
                    .for_each(|(octet, mask)| *octet ^= mask);
                self.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, 1], &port, &octets])
            }
            IpAddr::V6(ip) => {
                let mut octets = ip.octets();
                octets
                    .iter_mut()
                    .zip(mask)
                    .for_each(|(octet, mask)| *octet ^= mask);
                self.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, 2], &port, &octets])
            }
        }
    }

    /// Appends MESSAGE-INTEGRITY over everything before it.
    pub fn message_integrity(&mut self, key: &IntegrityKey) -> Option<()> {
        self.set_length(self.len - HEADER_LEN + 4 + HMAC_SHA1_LEN)?;
        let tag = key.sign(&[self.out.get(..self.len)?]);
        self.attribute(attribute::MESSAGE_INTEGRITY, &[&tag])
    }

    /// Appends FINGERPRINT over everything before it; the last attribute.
    pub fn fingerprint(&mut self) -> Option<()> {
        self.set_length(self.len - HEADER_LEN + 8)?;
        let crc = crc32(self.out.get(..self.len)?) ^ FINGERPRINT_XOR;
        self.attribute(attribute::FINGERPRINT, &[&crc.to_be_bytes()])
    }

    fn set_length(&mut self, length: usize) -> Option<()> {
        let length = u16::try_from(length).ok()?;
        self.out
            .get_mut(2..4)?
            .copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.out.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }
}
