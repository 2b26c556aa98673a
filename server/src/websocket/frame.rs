//! The head of a frame (RFC 6455 section 5.2) and its mask.

use super::{CONTROL_LEN_MAX, ProtocolError, Role};

pub(super) const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
pub(super) const MASKED: u8 = 0x80;
const LEN: u8 = 0x7f;
/// In place of a length: two bytes, or eight, follow with it.
pub(super) const LEN_IN_TWO: u8 = 126;
pub(super) const LEN_IN_EIGHT: u8 = 127;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn new(number: u8) -> Result<Self, ProtocolError> {
        Ok(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            reserved => return Err(ProtocolError::ReservedOpcode(reserved)),
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Everything of a frame but its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHead {
    pub opcode: Opcode,
    pub is_final: bool,
    pub mask_key: Option<[u8; 4]>,
    pub payload_len: u64,
    /// Of the head itself.
    pub len: usize,
}

impl FrameHead {
    /// Reads the head at the beginning of `bytes`. None: it is not all there, and what is there is in order.
    pub(super) fn parse(our_role: Role, bytes: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        if first & RESERVED != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        let opcode = Opcode::new(first & OPCODE)?;
        let is_final = first & FINAL != 0;
        let is_masked = second & MASKED != 0;
        match our_role {
            Role::Server if !is_masked => return Err(ProtocolError::NotMasked),
            Role::Client if is_masked => return Err(ProtocolError::Masked),
            _ => {}
        }
        let short_len = second & LEN;
        if opcode.is_control() {
            if !is_final {
                return Err(ProtocolError::FragmentedControl);
            }
            if usize::from(short_len) > CONTROL_LEN_MAX {
                return Err(ProtocolError::LongControl);
            }
        }
        let Some((payload_len, rest)) = payload_len(short_len, rest)? else {
            return Ok(None);
        };
        let (mask_key, rest) = match (is_masked, rest.split_first_chunk()) {
            (false, _) => (None, rest),
            (true, Some((key, rest))) => (Some(*key), rest),
            (true, None) => return Ok(None),
        };
        Ok(Some(Self {
            opcode,
            is_final,
            mask_key,
            payload_len,
            len: bytes.len() - rest.len(),
        }))
    }
}

/// The length, and what follows it.
fn payload_len(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    let (len, rest, longest_of_shorter) = match short {
        LEN_IN_TWO => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest, 125),
            None => return Ok(None),
        },
        LEN_IN_EIGHT => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from_be_bytes(*len), rest, u64::from(u16::MAX)),
            None => return Ok(None),
        },
        short => return Ok(Some((u64::from(short), rest))),
    };
    if len <= longest_of_shorter {
        return Err(ProtocolError::LongLength);
    }
    Ok(Some((len, rest)))
}

/// Masks, and with the same key again unmasks (section 5.3).
pub(super) fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}
