//! 16-bit linear PCM to and from bytes: big-endian for L16 in RTP (RFC 3551 section 4.5.11), little-endian on
//! WebSockets.
//!
//! Each function converts as many samples as fit in both slices and returns that number. A trailing odd byte is left
//! alone: whether it belongs to the next message is the caller's knowledge.

/// Reads big-endian samples from `bytes` into `pcm`. Returns the samples read.
pub fn from_be_bytes(bytes: &[u8], pcm: &mut [i16]) -> usize {
    read(bytes, pcm, i16::from_be_bytes)
}

/// Reads little-endian samples from `bytes` into `pcm`. Returns the samples read.
pub fn from_le_bytes(bytes: &[u8], pcm: &mut [i16]) -> usize {
    read(bytes, pcm, i16::from_le_bytes)
}

/// Writes `pcm` big-endian into `bytes`. Returns the samples written (two bytes each).
pub fn to_be_bytes(pcm: &[i16], bytes: &mut [u8]) -> usize {
    write(pcm, bytes, i16::to_be_bytes)
}

/// Writes `pcm` little-endian into `bytes`. Returns the samples written (two bytes each).
pub fn to_le_bytes(pcm: &[i16], bytes: &mut [u8]) -> usize {
    write(pcm, bytes, i16::to_le_bytes)
}

fn read(bytes: &[u8], pcm: &mut [i16], from_bytes: impl Fn([u8; 2]) -> i16) -> usize {
    let (pairs, _odd_byte) = bytes.as_chunks::<2>();
    for (sample, pair) in pcm.iter_mut().zip(pairs) {
        *sample = from_bytes(*pair);
    }
    pcm.len().min(pairs.len())
}

fn write(pcm: &[i16], bytes: &mut [u8], to_bytes: impl Fn(i16) -> [u8; 2]) -> usize {
    let (pairs, _odd_byte) = bytes.as_chunks_mut::<2>();
    let converted = pcm.len().min(pairs.len());
    for (pair, sample) in pairs.iter_mut().zip(pcm) {
        *pair = to_bytes(*sample);
    }
    converted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn byte_order_is_what_the_name_says() {
        let mut bytes = [0; 4];
        assert_eq!(to_be_bytes(&[0x0102, -2], &mut bytes), 2);
        assert_eq!(bytes, [0x01, 0x02, 0xff, 0xfe]);
        assert_eq!(to_le_bytes(&[0x0102, -2], &mut bytes), 2);
        assert_eq!(bytes, [0x02, 0x01, 0xfe, 0xff]);
    }

    #[test]
    fn converts_what_fits_and_says_how_much() {
        let mut pcm = [7; 4];
        assert_eq!(from_be_bytes(&[0, 1, 0], &mut pcm), 1);
        assert_eq!(pcm, [1, 7, 7, 7]);
        assert_eq!(from_le_bytes(&[1, 0, 2, 0, 3, 0], &mut pcm[..2]), 2);
        assert_eq!(pcm, [1, 2, 7, 7]);
        let mut bytes = [9; 3];
        assert_eq!(to_be_bytes(&[1, 2], &mut bytes), 1);
        assert_eq!(bytes, [0, 1, 9]);
    }

    proptest! {
        #[test]
        fn there_and_back_is_identity(pcm in proptest::collection::vec(any::<i16>(), 0..200)) {
            let mut bytes = vec![0; pcm.len() * 2];
            let mut back = vec![0; pcm.len()];
            to_be_bytes(&pcm, &mut bytes);
            from_be_bytes(&bytes, &mut back);
            prop_assert_eq!(&pcm, &back);
            to_le_bytes(&pcm, &mut bytes);
            from_le_bytes(&bytes, &mut back);
            prop_assert_eq!(&pcm, &back);
        }
    }
}
