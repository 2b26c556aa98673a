//! The base64 of media messages (RFC 4648 section 4, padded), decoded and encoded without an allocation.

use base64_simd::{Out, STANDARD, STANDARD_NO_PAD};

/// Characters that are decoded at once: the piece lies on the stack. A multiple of four.
const PIECE_LEN: usize = 4096;

/// A payload that is no base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoBase64;

/// Gives the bytes of a payload to `take`, in pieces if it is long.
///
/// # Errors
/// It is no padded base64; pieces before the mistake were given.
pub(super) fn decode(payload: &str, mut take: impl FnMut(&[u8])) -> Result<(), NoBase64> {
    let mut bytes = [0; PIECE_LEN / 4 * 3];
    let mut left = payload.as_bytes();
    while left.len() > PIECE_LEN {
        let (piece, rest) = left.split_at(PIECE_LEN);
        // Padding belongs to the end alone.
        let decoded = STANDARD_NO_PAD.decode(piece, Out::from_slice(&mut bytes));
        take(decoded.map_err(|_| NoBase64)?);
        left = rest;
    }
    let decoded = STANDARD.decode(left, Out::from_slice(&mut bytes));
    take(decoded.map_err(|_| NoBase64)?);
    Ok(())
}

/// Appends the base64 of `bytes`.
pub(super) fn encode(bytes: &[u8], buffer: &mut Vec<u8>) {
    STANDARD.encode_append(bytes, buffer);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as ORACLE;
    use proptest::prelude::*;

    use super::*;

    fn decoded(payload: &str) -> Result<Vec<u8>, NoBase64> {
        let mut bytes = Vec::new();
        decode(payload, |piece| bytes.extend_from_slice(piece)).map(|()| bytes)
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for payload in [
            "A", "AA", "AAA", "AA=", "AA==AA==", "A A=", "AAA\n", "A*==", "_-8=",
        ] {
            assert_eq!(decoded(payload), Err(NoBase64), "{payload:?}");
        }
        assert_eq!(decoded(""), Ok(Vec::new()));
        // Padding at the end of a piece is no end.
        let piece = format!("{}AA==", "A".repeat(PIECE_LEN - 4));
        assert!(decoded(&piece).is_ok());
        assert_eq!(decoded(&piece.repeat(2)), Err(NoBase64));
    }

    proptest! {
        #[test]
        fn it_is_what_another_library_makes(bytes in prop::collection::vec(any::<u8>(), 0..10_000)) {
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(&text, &ORACLE.encode(&bytes));
            prop_assert_eq!(decoded(&text), Ok(bytes));
        }

        #[test]
        fn it_takes_what_another_library_takes(text in "[A-Za-z0-9+/=]{0,12}") {
            prop_assert_eq!(decoded(&text).ok(), ORACLE.decode(&text).ok());
        }
    }
}
