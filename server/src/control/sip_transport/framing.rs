//! Messages in a stream of bytes (RFC 3261 sections 7.5 and 18.3): as long as `Content-Length` says, with keepalives
//! between them (RFC 5626 section 3.5.1).

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::MESSAGE_LEN_MAX;

/// The longest start line with headers, in bytes.
const HEAD_LEN_MAX: usize = 16 * 1024;

const LINE_END: &[u8] = b"\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// What comes out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Message(Bytes),
    /// Asks for [`PONG`].
    Ping,
}

/// The answer to a ping.
pub(super) const PONG: &[u8] = LINE_END;

/// Why a stream can't be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum FramingError {
    #[error("start line and headers are longer than {HEAD_LEN_MAX} bytes")]
    HeadTooLong,
    #[error("a message is longer than {MESSAGE_LEN_MAX} bytes")]
    MessageTooLong,
    #[error("the start line is not that of SIP")]
    NotSip,
    #[error("a message has no Content-Length")]
    NoContentLength,
    #[error("a message has a Content-Length that is no number, or two different ones")]
    ContentLength,
}

/// What was read and is no whole message yet.
#[derive(Debug, Default)]
pub(super) struct Framer {
    buffer: BytesMut,
    /// No end of the head begins before.
    searched: usize,
    /// The whole length of the message in front, once its head is there.
    message_len: Option<usize>,
}

impl Framer {
    /// Where bytes of the stream are appended.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Has a message begun and not ended?
    pub(super) fn is_within_message(&self) -> bool {
        self.buffer.iter().any(|byte| !LINE_END.contains(byte))
    }

    /// The next frame, if it is whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, FramingError> {
        if self.message_len.is_none() {
            if self.buffer.starts_with(HEAD_END) {
                self.buffer.advance(HEAD_END.len());
                return Ok(Some(Frame::Ping));
            }
            // A pong, or the empty lines that are ignored before a start line; a ping may still become whole.
            while self.buffer.starts_with(LINE_END)
                && self.buffer.get(2).is_some_and(|b| *b != b'\r')
            {
                self.buffer.advance(LINE_END.len());
            }
            if !self.is_within_message() {
                // Whoever sends line ends by the thousand is not heard.
                let whole_line_ends = self.buffer.len() / 2 * 2;
                if self.buffer.len() > HEAD_END.len() {
                    self.buffer.advance(whole_line_ends - LINE_END.len());
                }
                return Ok(None);
            }
        }
        let message_len = match self.message_len {
            Some(len) => len,
            None => match self.read_head()? {
                Some(len) => len,
                None => return Ok(None),
            },
        };
        self.message_len = Some(message_len);
        if self.buffer.len() < message_len {
            return Ok(None);
        }
        self.message_len = None;
        self.searched = 0;
        Ok(Some(Frame::Message(
            self.buffer.split_to(message_len).freeze(),
        )))
    }

    /// The length of the message in front, if its head is whole.
    fn read_head(&mut self) -> Result<Option<usize>, FramingError> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let end = unsearched
            .windows(HEAD_END.len())
            .position(|window| window == HEAD_END);
        let Some(end) = end else {
            if self.buffer.len() > HEAD_LEN_MAX {
                return Err(FramingError::HeadTooLong);
            }
            self.searched = self.buffer.len().saturating_sub(HEAD_END.len() - 1);
            return Ok(None);
        };
        let head_len = self.searched + end + HEAD_END.len();
        if head_len > HEAD_LEN_MAX {
            return Err(FramingError::HeadTooLong);
        }
        let head = self.buffer.get(..head_len).unwrap_or_default();
        if !is_sip(head) {
            return Err(FramingError::NotSip);
        }
        let message_len = head_len.saturating_add(content_length(head)?);
        if message_len > MESSAGE_LEN_MAX {
            return Err(FramingError::MessageTooLong);
        }
        Ok(Some(message_len))
    }
}

/// Does a message begin as one of SIP: `SIP/2.0 ...`, or a line that ends so? Versions of later days are SIP too.
pub(super) fn is_sip(message: &[u8]) -> bool {
    const VERSION: &[u8] = b"SIP/";
    let line_end = message
        .iter()
        .position(|byte| *byte == b'\r' || *byte == b'\n');
    let line = message.get(..line_end.unwrap_or(0)).unwrap_or_default();
    line.windows(VERSION.len())
        .any(|window| window.eq_ignore_ascii_case(VERSION))
}

/// The one length that the headers tell.
fn content_length(head: &[u8]) -> Result<usize, FramingError> {
    let mut length = None;
    for line in logical_lines(head).skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii();
        if !name.eq_ignore_ascii_case(b"Content-Length") && !name.eq_ignore_ascii_case(b"l") {
            continue;
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let number = str::from_utf8(value)
            .ok()
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<usize>().ok())
            .ok_or(FramingError::ContentLength)?;
        if length.is_some_and(|before| before != number) {
            return Err(FramingError::ContentLength);
        }
        length = Some(number);
    }
    length.ok_or(FramingError::NoContentLength)
}

/// The lines of a head, each with those that continue it (RFC 3261 section 7.3.1).
fn logical_lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = rest
            .windows(LINE_END.len())
            .enumerate()
            .filter(|(_, window)| *window == LINE_END)
            .map(|(at, _)| at);
        let continues = |at: usize| {
            let next = rest.get(at + LINE_END.len());
            next.is_some_and(|byte| *byte == b' ' || *byte == b'\t')
        };
        let end = ends
            .into_iter()
            .find(|at| !continues(*at))
            .unwrap_or(rest.len());
        let line = rest.get(..end)?;
        rest = rest.get(end + LINE_END.len()..).unwrap_or_default();
        Some(line)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INVITE: &[u8] = b"INVITE sip:a@b SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 4\r\n\r\nbody";
    const OK: &[u8] = b"SIP/2.0 200 OK\r\nl : 0\r\n\r\n";

    fn frames(pieces: &[&[u8]]) -> Result<Vec<Frame>, FramingError> {
        let mut framer = Framer::default();
        let mut frames = Vec::new();
        for piece in pieces {
            framer.buffer().extend_from_slice(piece);
            while let Some(frame) = framer.next()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn message(bytes: &'static [u8]) -> Frame {
        Frame::Message(Bytes::from_static(bytes))
    }

    #[test]
    fn messages_and_keepalives_in_any_pieces() {
        let stream = [INVITE, HEAD_END, OK, LINE_END, INVITE].concat();
        let expected = [message(INVITE), Frame::Ping, message(OK), message(INVITE)];
        assert_eq!(frames(&[&stream]).unwrap(), expected);
        for len in [1, 2, 3, 7] {
            let pieces: Vec<&[u8]> = stream.chunks(len).collect();
            assert_eq!(frames(&pieces).unwrap(), expected, "{len}");
        }
    }

    #[test]
    fn lengths_in_every_form() {
        let with = |header: &str| {
            let text = format!("BYE sip:a SIP/2.0\r\n{header}\r\nX: y\r\n\r\nbody");
            let found = frames(&[text.as_bytes()]).map(|frames| frames.len());
            found.map(|count| count == 1)
        };
        for header in [
            "Content-Length: 4",
            "content-length:4",
            "L:\t4",
            "Content-Length \t :\r\n\t 4",
            "Content-Length: 4\r\nl: 4",
            "Content-Length: 0004",
        ] {
            assert_eq!(with(header), Ok(true), "{header}");
        }
        assert_eq!(with("Content-Length: 5"), Ok(false), "the rest is to come");
        for header in [
            "Content-Length: -4",
            "l: 4x",
            "l: 4\r\nl: 5",
            "l:",
            "l: 99999999999999999999999",
        ] {
            assert_eq!(with(header), Err(FramingError::ContentLength), "{header}");
        }
        assert_eq!(with("Subject: l: 4"), Err(FramingError::NoContentLength));
        assert_eq!(with("X: 1\r\n l: 4"), Err(FramingError::NoContentLength));
        assert_eq!(with("l: 65535"), Err(FramingError::MessageTooLong));
    }

    #[test]
    fn what_is_no_sip_is_told_early() {
        assert_eq!(
            frames(&[b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]),
            Err(FramingError::NotSip)
        );
        let endless = vec![b'a'; HEAD_LEN_MAX + 1];
        assert_eq!(frames(&[&endless]), Err(FramingError::HeadTooLong));
        let mut framer = Framer::default();
        for _ in 0..1000 {
            framer.buffer().extend_from_slice(b"\r\n\r");
            while framer.next().unwrap().is_some() {}
            assert!(framer.buffer().len() < 16);
        }
    }

    #[test]
    fn a_begun_message_is_known() {
        let mut framer = Framer::default();
        assert!(!framer.is_within_message());
        framer.buffer().extend_from_slice(b"\r\n");
        assert!(!framer.is_within_message());
        framer.buffer().extend_from_slice(b"I");
        assert!(framer.is_within_message());
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces(bytes in prop::collection::vec(any::<u8>(), 0..400), len in 1usize..50) {
            let pieces: Vec<&[u8]> = bytes.chunks(len).collect();
            let _ = frames(&pieces);
        }
    }
}
