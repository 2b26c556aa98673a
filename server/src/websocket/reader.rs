//! Bytes of a peer into its messages, each read where it lies.

use std::ops::Range;

use super::frame::{FrameHead, Opcode, mask};
use super::{ProtocolError, Role};

/// What an idle reader's buffers may keep.
const IDLE_CAPACITY: usize = 4096;

/// A whole message of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text, UTF-8 by the protocol.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// Wants a Pong with the same payload.
    Ping(&'a [u8]),
    /// Answers a Ping, or nothing.
    Pong(&'a [u8]),
    /// The last message of the peer; what follows it is not read.
    Close {
        /// Why, as a code.
        code: Option<u16>,
        /// Why, as text; often empty.
        reason: &'a str,
    },
}

/// Reads what one peer sends.
///
/// What it keeps is bounded by twice `message_len_max` and what the owner appends at once: take all messages before
/// more is appended.
#[derive(Debug)]
pub struct Reader {
    role: Role,
    message_len_max: usize,
    /// What was received and is not yet behind us, after the first `taken` bytes.
    received: Vec<u8>,
    taken: usize,
    /// The fragments of one message.
    joined: Vec<u8>,
    /// What the fragments are of; none: no message has begun.
    joining: Option<Opcode>,
    /// `joined` was given out whole.
    is_joined_done: bool,
    is_closed: bool,
    broken: Option<ProtocolError>,
}

/// A message that is complete.
struct Found {
    opcode: Opcode,
    /// Where in `received`; none: all of `joined`.
    at: Option<Range<usize>>,
}

impl Reader {
    /// Reads as `role`; messages above `message_len_max` bytes are an error.
    pub fn new(role: Role, message_len_max: usize) -> Self {
        Self {
            role,
            message_len_max,
            received: Vec::new(),
            taken: 0,
            joined: Vec::new(),
            joining: None,
            is_joined_done: false,
            is_closed: false,
            broken: None,
        }
    }

    /// Takes bytes of the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
    }

    /// Where bytes of the peer are appended without a copy. Only append: what lies there was not read yet.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.is_closed || self.broken.is_some() {
            // Nobody reads it any more.
            self.taken = self.received.len();
        }
        self.received.drain(..self.taken);
        self.taken = 0;
        if self.received.is_empty() {
            self.received.shrink_to(IDLE_CAPACITY);
        }
        &mut self.received
    }

    /// The next message that is complete. None: more bytes are needed, or the peer has closed.
    ///
    /// # Errors
    /// The peer broke the protocol; the same error comes again then.
    #[allow(
        clippy::should_implement_trait,
        reason = "a message borrows the reader, which no iterator's may"
    )]
    pub fn next(&mut self) -> Result<Option<Message<'_>>, ProtocolError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if self.is_joined_done {
            self.is_joined_done = false;
            self.joined.clear();
            self.joined.shrink_to(IDLE_CAPACITY);
        }
        let found = match self.find() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.broken = Some(error);
                return Err(error);
            }
        };
        let bytes = match found.at {
            Some(at) => &self.received[at],
            None => &self.joined[..],
        };
        match message(found.opcode, bytes) {
            Ok(message) => {
                self.is_closed = found.opcode == Opcode::Close;
                Ok(Some(message))
            }
            Err(error) => {
                self.broken = Some(error);
                Err(error)
            }
        }
    }

    /// Goes over frames until a message is complete.
    fn find(&mut self) -> Result<Option<Found>, ProtocolError> {
        while !self.is_closed {
            let Some(head) = FrameHead::parse(self.role, &self.received[self.taken..])? else {
                return Ok(None);
            };
            let payload_len = self.checked_payload_len(&head)?;
            let begin = self.taken + head.len;
            let end = begin + payload_len;
            let Some(payload) = self.received.get_mut(begin..end) else {
                return Ok(None);
            };
            if let Some(key) = head.mask_key {
                mask(payload, key);
            }
            self.taken = end;
            let opcode = match head.opcode {
                opcode if opcode.is_control() => opcode,
                opcode if head.is_final && self.joining.is_none() => opcode,
                opcode => {
                    self.joined.extend_from_slice(payload);
                    let opcode = *self.joining.get_or_insert(opcode);
                    if !head.is_final {
                        continue;
                    }
                    self.joining = None;
                    self.is_joined_done = true;
                    return Ok(Some(Found { opcode, at: None }));
                }
            };
            let at = Some(begin..end);
            return Ok(Some(Found { opcode, at }));
        }
        Ok(None)
    }

    /// The payload's length, as soon as the head is there, so that nothing is kept for what will be refused.
    fn checked_payload_len(&self, head: &FrameHead) -> Result<usize, ProtocolError> {
        let len_max = match (head.opcode, self.joining) {
            // At most 125, by its head.
            (opcode, _) if opcode.is_control() => usize::MAX,
            (Opcode::Continuation, None) => return Err(ProtocolError::NothingToContinue),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(ProtocolError::Interrupted),
            _ => self.message_len_max - self.joined.len(),
        };
        match usize::try_from(head.payload_len) {
            Ok(len) if len <= len_max => Ok(len),
            _ => Err(ProtocolError::MessageTooLong {
                len_max: self.message_len_max,
            }),
        }
    }
}

fn message(opcode: Opcode, bytes: &[u8]) -> Result<Message<'_>, ProtocolError> {
    Ok(match opcode {
        Opcode::Text => Message::Text(utf8(bytes)?),
        Opcode::Binary | Opcode::Continuation => Message::Binary(bytes),
        Opcode::Ping => Message::Ping(bytes),
        Opcode::Pong => Message::Pong(bytes),
        Opcode::Close => return close(bytes),
    })
}

fn close(bytes: &[u8]) -> Result<Message<'_>, ProtocolError> {
    let (code, reason) = match bytes.split_first_chunk() {
        Some((code, reason)) => (Some(u16::from_be_bytes(*code)), reason),
        None if bytes.is_empty() => (None, bytes),
        None => return Err(ProtocolError::CloseTooShort),
    };
    match code {
        // 1004 to 1006 and 1015 stand for what nobody sends; 3000 and above are of libraries and applications.
        None | Some(1000..=1003 | 1007..=1014 | 3000..=4999) => {}
        Some(code) => return Err(ProtocolError::CloseCode(code)),
    }
    let reason = utf8(reason)?;
    Ok(Message::Close { code, reason })
}

fn utf8(bytes: &[u8]) -> Result<&str, ProtocolError> {
    std::str::from_utf8(bytes).map_err(|_| ProtocolError::NotUtf8)
}
