//! RTP header extension elements (RFC 8285): the one-byte form (0xBEDE) and the two-byte form (0x100x).
//!
//! Ids are what the SDP's `extmap` says; their meaning is the caller's.

/// Largest id of the one-byte form; 15 is reserved.
pub const ONE_BYTE_ID_MAX: u8 = 14;
/// Longest value of the one-byte form, in bytes.
pub const ONE_BYTE_VALUE_LEN_MAX: usize = 16;

/// An iterator over the (id, value) elements of one extension block. Ends at the first element that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeaderExtensions<'a> {
    form: Form,
    rest: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    OneByte,
    TwoByte,
    /// A profile that we don't know: no elements.
    #[default]
    Unknown,
}

impl<'a> HeaderExtensions<'a> {
    /// Takes the block with its 4-byte head from the front of `bytes`; `None` if it runs past the end.
    pub(super) fn split_from(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        let [profile_high, profile_low, words_high, words_low] = *head;
        let elements_len = 4 * usize::from(u16::from_be_bytes([words_high, words_low]));
        let (elements, rest) = rest.split_at_checked(elements_len)?;
        let form = match u16::from_be_bytes([profile_high, profile_low]) {
            0xbede => Form::OneByte,
            0x1000..=0x100f => Form::TwoByte,
            _ => Form::Unknown,
        };
        Some((
            Self {
                form,
                rest: elements,
            },
            rest,
        ))
    }

    fn take(&mut self, id: u8, value_len: usize, after: &'a [u8]) -> Option<(u8, &'a [u8])> {
        let Some((value, rest)) = after.split_at_checked(value_len) else {
            self.rest = &[];
            return None;
        };
        self.rest = rest;
        Some((id, value))
    }
}

impl<'a> Iterator for HeaderExtensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.form == Form::Unknown {
            return None;
        }
        loop {
            let (first, after) = self.rest.split_first()?;
            if *first == 0 {
                self.rest = after; // padding between elements
                continue;
            }
            if self.form == Form::OneByte {
                let id = first >> 4;
                if id > ONE_BYTE_ID_MAX {
                    // RFC 8285 section 4.2: id 15 ends the block. Id 0 with a length is padding of a kind, and skipped.
                    self.rest = &[];
                    return None;
                }
                let element = self.take(id, usize::from(first & 0x0f) + 1, after);
                if id == 0 && element.is_some() {
                    continue;
                }
                return element;
            }
            let Some((value_len, after)) = after.split_first() else {
                self.rest = &[];
                return None;
            };
            return self.take(*first, usize::from(*value_len), after);
        }
    }
}

/// Writes a block in one-byte form, its 4-byte head included and padded to a multiple of 4 bytes. Returns its length
/// in bytes, or `None` when `out` is too short or an element does not fit the form.
pub fn write_one_byte_extensions(elements: &[(u8, &[u8])], out: &mut [u8]) -> Option<usize> {
    let mut end = 4;
    for (id, value) in elements {
        if !(1..=ONE_BYTE_ID_MAX).contains(id)
            || !(1..=ONE_BYTE_VALUE_LEN_MAX).contains(&value.len())
        {
            return None;
        }
        *out.get_mut(end)? = (id << 4) | (value.len() - 1) as u8;
        out.get_mut(end + 1..end + 1 + value.len())?
            .copy_from_slice(value);
        end += 1 + value.len();
    }
    let block_len = end.next_multiple_of(4);
    out.get_mut(end..block_len)?.fill(0);
    let words = u16::try_from(block_len / 4 - 1).ok()?;
    let head = out.first_chunk_mut::<4>()?;
    head[..2].copy_from_slice(&0xbede_u16.to_be_bytes());
    head[2..].copy_from_slice(&words.to_be_bytes());
    Some(block_len)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn elements(block: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let (elements, _) = HeaderExtensions::split_from(block).unwrap();
        elements.map(|(id, value)| (id, value.to_vec())).collect()
    }

    #[test]
    fn two_byte_form_has_empty_and_long_values() {
        let mut block = vec![0x10, 0x00, 0, 6, 1, 0, 0, 7, 18];
        block.extend([9; 18]);
        block.push(0);
        assert_eq!(elements(&block), [(1, vec![]), (7, vec![9; 18])]);
    }

    #[test]
    fn id_15_ends_a_one_byte_block() {
        assert_eq!(
            elements(&[0xbe, 0xde, 0, 2, 0x10, 5, 0xf0, 6, 0x20, 7, 0, 0]),
            [(1, vec![5])]
        );
    }

    #[test]
    fn other_profiles_have_no_elements() {
        assert_eq!(elements(&[0xab, 0xcd, 0, 1, 0x10, 5, 0, 0]), []);
    }

    #[test]
    fn an_element_past_the_end_is_left_out() {
        assert_eq!(
            elements(&[0xbe, 0xde, 0, 1, 0x10, 5, 0x2f, 6]),
            [(1, vec![5])]
        );
    }

    #[test]
    fn what_does_not_fit_the_form_is_refused() {
        let mut out = [0; 64];
        assert_eq!(write_one_byte_extensions(&[(15, &[0])], &mut out), None);
        assert_eq!(write_one_byte_extensions(&[(0, &[0])], &mut out), None);
        assert_eq!(write_one_byte_extensions(&[(1, &[])], &mut out), None);
        assert_eq!(write_one_byte_extensions(&[(1, &[0; 17])], &mut out), None);
        assert_eq!(
            write_one_byte_extensions(&[(1, &[0; 16])], &mut [0; 16]),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            written in proptest::collection::vec((1..=14_u8, proptest::collection::vec(any::<u8>(), 1..=16)), 1..6)
        ) {
            let borrowed: Vec<(u8, &[u8])> = written.iter().map(|(id, value)| (*id, value.as_slice())).collect();
            let mut out = [0xff; 128];
            let len = write_one_byte_extensions(&borrowed, &mut out).unwrap();
            prop_assert_eq!(len % 4, 0);
            prop_assert_eq!(elements(&out[..len]), written);
        }
    }
}
