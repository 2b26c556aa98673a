//! Messages into bytes for a peer.

use aws_lc_rs::hmac;

use super::CONTROL_LEN_MAX;
use super::frame::{FINAL, LEN_IN_EIGHT, LEN_IN_TWO, MASKED, Opcode, mask};

/// Random bytes that a client's mask keys are drawn from.
pub const MASK_ENTROPY_LEN: usize = 32;

/// Writes what one peer shall read.
#[derive(Debug)]
pub struct Writer {
    /// Whole frames; whoever sends them empties it.
    pub buffer: Vec<u8>,
    masks: Option<MaskKeys>,
    is_closed: bool,
}

impl Writer {
    /// Writes as a server.
    pub fn server() -> Self {
        Self {
            buffer: Vec::new(),
            masks: None,
            is_closed: false,
        }
    }

    /// Writes as a client, whose frames are masked with keys that nobody can foretell without `entropy`.
    pub fn client(entropy: [u8; MASK_ENTROPY_LEN]) -> Self {
        Self {
            masks: Some(MaskKeys::new(entropy)),
            ..Self::server()
        }
    }

    /// A text that `write` appends to the buffer.
    pub fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.frame(Opcode::Text, write);
    }

    /// Bytes.
    pub fn binary(&mut self, bytes: &[u8]) {
        self.frame(Opcode::Binary, |buffer| buffer.extend_from_slice(bytes));
    }

    /// Asks for a Pong. `payload` is cut at [`CONTROL_LEN_MAX`].
    pub fn ping(&mut self, payload: &[u8]) {
        self.control(Opcode::Ping, payload);
    }

    /// Answers a Ping with its payload.
    pub fn pong(&mut self, payload: &[u8]) {
        self.control(Opcode::Pong, payload);
    }

    /// The last message: whatever is written after it is dropped. `reason` is cut at 123 bytes.
    pub fn close(&mut self, code: u16, reason: &str) {
        let reason = &reason[..reason.floor_char_boundary(CONTROL_LEN_MAX - 2)];
        self.frame(Opcode::Close, |buffer| {
            buffer.extend_from_slice(&code.to_be_bytes());
            buffer.extend_from_slice(reason.as_bytes());
        });
        self.is_closed = true;
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        let payload = &payload[..payload.len().min(CONTROL_LEN_MAX)];
        self.frame(opcode, |buffer| buffer.extend_from_slice(payload));
    }

    fn frame(&mut self, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) {
        if self.is_closed {
            return;
        }
        let begin = self.buffer.len();
        let mask_key = self.masks.as_mut().map(MaskKeys::next);
        // The length is known afterwards; room is left for that of a message of audio, which is right for nearly all.
        self.buffer
            .extend_from_slice(&[FINAL | opcode as u8, LEN_IN_TWO, 0, 0]);
        self.buffer.extend(mask_key.into_iter().flatten());
        let payload_begin = self.buffer.len();
        write(&mut self.buffer);
        let Some(payload) = self.buffer.get_mut(payload_begin..) else {
            debug_assert!(false, "whoever writes a message only appends");
            self.buffer.truncate(begin);
            return;
        };
        if let Some(key) = mask_key {
            mask(payload, key);
        }
        let len = payload.len();
        let masked = if mask_key.is_some() { MASKED } else { 0 };
        let len_at = begin + 1..begin + 4;
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short), _) if short < LEN_IN_TWO => {
                self.buffer.splice(len_at, [masked | short]);
            }
            (_, Ok(two)) => {
                let [high, low] = two.to_be_bytes();
                self.buffer[len_at].copy_from_slice(&[masked | LEN_IN_TWO, high, low]);
            }
            _ => {
                let mut field = [masked | LEN_IN_EIGHT; 9];
                field[1..].copy_from_slice(&(len as u64).to_be_bytes());
                self.buffer.splice(len_at, field);
            }
        }
    }
}

/// Mask keys: HMAC-SHA-256 over a counter, eight keys at once.
struct MaskKeys {
    secret: hmac::Key,
    block: [u8; 32],
    used_bytes: usize,
    counter: u64,
}

impl MaskKeys {
    fn new(entropy: [u8; MASK_ENTROPY_LEN]) -> Self {
        Self {
            secret: hmac::Key::new(hmac::HMAC_SHA256, &entropy),
            block: [0; 32],
            used_bytes: 32,
            counter: 0,
        }
    }

    fn next(&mut self) -> [u8; 4] {
        if self.used_bytes == self.block.len() {
            let tag = hmac::sign(&self.secret, &self.counter.to_be_bytes());
            self.block.copy_from_slice(tag.as_ref());
            self.counter += 1;
            self.used_bytes = 0;
        }
        let mut key = [0; 4];
        key.copy_from_slice(&self.block[self.used_bytes..self.used_bytes + 4]);
        self.used_bytes += 4;
        key
    }
}

impl std::fmt::Debug for MaskKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MaskKeys")
    }
}
