//! Bencode, what rtpengine's control protocol is written in: byte strings, integers, lists, dictionaries.
//!
//! Reading is bounded in depth and in values; integers and lengths are told apart from overflow. Keys of a dictionary are
//! written in order, as the format wants, and read in any.

use std::collections::BTreeMap;

use thiserror::Error;

/// How deep lists and dictionaries may lie in each other.
const DEPTH_MAX: usize = 16;
/// Values of one message, all levels together.
const VALUES_MAX: usize = 65_536;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A byte string.
    Bytes(Vec<u8>),
    /// A number.
    Integer(i64),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Dictionary(BTreeMap<Vec<u8>, Value>),
}

/// Why bytes are no bencode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BencodeError {
    /// They end too early.
    #[error("it ends in the middle")]
    Truncated,
    /// A byte that can't stand where it does.
    #[error("byte {0} does not belong there")]
    Unexpected(usize),
    /// A number or a length beyond what is possible.
    #[error("the number at byte {0} is out of range")]
    OutOfRange(usize),
    /// Nested too deep, or too many values.
    #[error("it is nested deeper than {DEPTH_MAX} or has more than {VALUES_MAX} values")]
    TooMuch,
}

impl Value {
    /// A byte string.
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    /// A list of byte strings.
    pub fn texts(texts: &[&str]) -> Self {
        Self::List(texts.iter().map(|text| Self::text(text)).collect())
    }

    /// A dictionary.
    pub fn dictionary<const N: usize>(entries: [(&str, Self); N]) -> Self {
        let entries = entries.map(|(key, value)| (key.as_bytes().to_vec(), value));
        Self::Dictionary(entries.into_iter().collect())
    }

    /// The value of this name; none if there is none, or this is no dictionary.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Dictionary(entries) => entries.get(key.as_bytes()),
            _ => None,
        }
    }

    /// A byte string that is UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Writes it at the end of `to`.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => write_bytes(bytes, to),
            Self::Integer(number) => to.extend_from_slice(format!("i{number}e").as_bytes()),
            Self::List(values) => {
                to.push(b'l');
                values.iter().for_each(|value| value.write(to));
                to.push(b'e');
            }
            Self::Dictionary(entries) => {
                to.push(b'd');
                for (key, value) in entries {
                    write_bytes(key, to);
                    value.write(to);
                }
                to.push(b'e');
            }
        }
    }

    /// Reads one value that is all of `bytes`.
    ///
    /// # Errors
    /// [`BencodeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BencodeError> {
        let mut reader = Reader {
            bytes,
            at: 0,
            values: 0,
        };
        let value = reader.value(0)?;
        if reader.at == bytes.len() {
            Ok(value)
        } else {
            Err(BencodeError::Unexpected(reader.at))
        }
    }
}

fn write_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    to.extend_from_slice(bytes);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, BencodeError> {
        self.values += 1;
        if depth > DEPTH_MAX || self.values > VALUES_MAX {
            return Err(BencodeError::TooMuch);
        }
        match self.peek()? {
            b'0'..=b'9' => Ok(Value::Bytes(self.byte_string()?)),
            b'i' => {
                self.at += 1;
                Ok(Value::Integer(self.number(b'e')?))
            }
            b'l' => {
                self.at += 1;
                let mut values = Vec::new();
                while !self.take_end()? {
                    values.push(self.value(depth + 1)?);
                }
                Ok(Value::List(values))
            }
            b'd' => {
                self.at += 1;
                let mut entries = BTreeMap::new();
                while !self.take_end()? {
                    let key = self.byte_string()?;
                    entries.insert(key, self.value(depth + 1)?);
                }
                Ok(Value::Dictionary(entries))
            }
            _ => Err(BencodeError::Unexpected(self.at)),
        }
    }

    fn peek(&self) -> Result<u8, BencodeError> {
        self.bytes
            .get(self.at)
            .copied()
            .ok_or(BencodeError::Truncated)
    }

    fn take_end(&mut self) -> Result<bool, BencodeError> {
        let ends = self.peek()? == b'e';
        self.at += usize::from(ends);
        Ok(ends)
    }

    fn byte_string(&mut self) -> Result<Vec<u8>, BencodeError> {
        let begin = self.at;
        let length =
            usize::try_from(self.number(b':')?).map_err(|_| BencodeError::OutOfRange(begin))?;
        let end = self
            .at
            .checked_add(length)
            .ok_or(BencodeError::OutOfRange(begin))?;
        let bytes = self
            .bytes
            .get(self.at..end)
            .ok_or(BencodeError::Truncated)?;
        self.at = end;
        Ok(bytes.to_vec())
    }

    /// Digits up to `end`, which is taken too.
    fn number(&mut self, end: u8) -> Result<i64, BencodeError> {
        let begin = self.at;
        let rest = self.bytes.get(begin..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| !(byte.is_ascii_digit() || *byte == b'-'))
            .ok_or(BencodeError::Truncated)?;
        if rest.get(length) != Some(&end) {
            return Err(BencodeError::Unexpected(begin + length));
        }
        self.at = begin + length + 1;
        let digits = rest.get(..length).unwrap_or_default();
        std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or(BencodeError::OutOfRange(begin))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn written(value: &Value) -> String {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let value = Value::dictionary([
            ("command", Value::text("offer")),
            ("ICE", Value::text("remove")),
            ("count", Value::Integer(-42)),
            (
                "codec",
                Value::dictionary([("transcode", Value::texts(&["PCMU"]))]),
            ),
            ("empty", Value::List(Vec::new())),
        ]);
        let text = written(&value);
        // Keys in order of their bytes.
        assert_eq!(
            text,
            "d3:ICE6:remove5:codecd9:transcodel4:PCMUee7:command5:offer5:counti-42e5:emptylee"
        );
        assert_eq!(Value::parse(text.as_bytes()), Ok(value));
    }

    #[test]
    fn keys_may_come_in_any_order_and_values_are_found() {
        let value = Value::parse(b"d3:sdp4:v=0\n6:result2:oke").unwrap();
        assert_eq!(value.get("result").and_then(Value::as_text), Some("ok"));
        assert_eq!(value.get("sdp").and_then(Value::as_text), Some("v=0\n"));
        assert_eq!(value.get("other"), None);
        assert_eq!(Value::Integer(1).get("result"), None);
        assert_eq!(Value::Bytes(vec![0xff]).as_text(), None);
    }

    #[test]
    fn what_is_no_bencode_is_refused() {
        let refused = [
            ("", BencodeError::Truncated),
            ("5:four", BencodeError::Truncated),
            ("99", BencodeError::Truncated),
            ("l4:four", BencodeError::Truncated),
            ("d3:key", BencodeError::Truncated),
            ("i12", BencodeError::Truncated),
            ("x", BencodeError::Unexpected(0)),
            ("i1x", BencodeError::Unexpected(2)),
            ("1:ab", BencodeError::Unexpected(3)),
            ("di1e1:ae", BencodeError::Unexpected(1)),
            ("ie", BencodeError::OutOfRange(1)),
            ("i1-2e", BencodeError::OutOfRange(1)),
            ("i9999999999999999999e", BencodeError::OutOfRange(1)),
            ("99999999999999999999:a", BencodeError::OutOfRange(0)),
            ("9223372036854775807:a", BencodeError::Truncated),
        ];
        for (text, error) in refused {
            assert_eq!(Value::parse(text.as_bytes()), Err(error), "{text}");
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "l".repeat(depth), "e".repeat(depth));
        assert!(Value::parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(
            Value::parse(nested(100_000).as_bytes()),
            Err(BencodeError::TooMuch)
        );
        let many = format!("l{}e", "0:".repeat(VALUES_MAX));
        assert_eq!(Value::parse(many.as_bytes()), Err(BencodeError::TooMuch));
    }
}
