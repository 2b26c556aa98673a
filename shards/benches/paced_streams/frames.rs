//! As much of RFC 6455 as the bench needs: binary frames of 126 to 65535 bytes, masked by callers.

pub const MESSAGE_LEN: usize = 300;
const MASKED_HEAD_LEN: usize = 8;
const PLAIN_HEAD_LEN: usize = 4;

/// A frame of a caller.
pub fn write_masked(out: &mut Vec<u8>, payload: &[u8], key: [u8; 4]) {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    out.extend_from_slice(&[0x82, 0x80 | 126, high, low]);
    out.extend_from_slice(&key);
    let begin = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[begin..], key);
}

/// A frame of the server.
pub fn write_plain(out: &mut Vec<u8>, payload: &[u8]) {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    out.extend_from_slice(&[0x82, 126, high, low]);
    out.extend_from_slice(payload);
}

/// Calls `each` with every payload that is complete, and takes their frames out of `received`.
pub fn take(received: &mut Vec<u8>, mut each: impl FnMut(&[u8])) {
    let mut taken = 0;
    while let Some([0x82, second, high, low]) = received[taken..].first_chunk().copied() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        let head_len = match second {
            126 => PLAIN_HEAD_LEN,
            _ => MASKED_HEAD_LEN,
        };
        let begin = taken + head_len;
        let key = received
            .get(taken + 4..taken + 8)
            .map(|key| [key[0], key[1], key[2], key[3]]);
        let Some(payload) = received.get_mut(begin..begin + len) else {
            break;
        };
        if head_len == MASKED_HEAD_LEN {
            mask(payload, key.unwrap());
        }
        each(payload);
        taken = begin + len;
    }
    received.drain(..taken);
}

fn mask(bytes: &mut [u8], [a, b, c, d]: [u8; 4]) {
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c, d]) {
        *byte ^= key;
    }
}
