//! Redundant audio in RTP (RFC 2198): the newest frame (the primary) behind copies of frames that went before it, so that a
//! lost packet is healed by the next one.
//!
//! Bytes only, borrowed from the packet. The browser leg will call it once it answers `red/48000/2`, which Chromium offers;
//! until then its answers leave `red` out and nobody sends it.

use std::error::Error;
use std::fmt;

/// Redundant blocks of one packet that are read or written at most. Browsers send one or two.
pub const REDUNDANT_BLOCKS_MAX: usize = 8;
/// How far back a redundant block may lie, in ticks of the RTP clock: 14 bits, 341 ms at 48 kHz.
pub const OFFSET_TICKS_MAX: u16 = 0x3fff;
/// The longest redundant block, in bytes: 10 bits. The primary has no length of its own and may be longer.
pub const BLOCK_BYTES_MAX: usize = 0x3ff;

/// Set in every header but the primary's.
const MORE_BIT: u8 = 0x80;
const PAYLOAD_TYPE_MAX: u8 = 0x7f;
const REDUNDANT_HEADER_BYTES: usize = 4;
const PRIMARY_HEADER_BYTES: usize = 1;

/// One frame of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// RTP payload type of its codec, 0 to 127.
    pub payload_type: u8,
    /// How far before the packet's RTP timestamp the frame began, in ticks; 0 for the primary, at most
    /// [`OFFSET_TICKS_MAX`].
    pub offset_ticks: u16,
    /// The frame. May be empty.
    pub payload: &'a [u8],
}

/// A packet that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedPacket<'a> {
    headers: &'a [[u8; REDUNDANT_HEADER_BYTES]],
    /// What the redundant headers promise; as long as they say.
    redundant: &'a [u8],
    primary: Block<'a>,
}

impl<'a> RedPacket<'a> {
    /// Reads an RTP payload of the `red` payload type.
    ///
    /// # Errors
    /// [`RedError::Truncated`], [`RedError::TooManyBlocks`]: the sender's fault.
    pub fn parse(payload: &'a [u8]) -> Result<Self, RedError> {
        let mut redundant_bytes = 0;
        let mut blocks = 0;
        let mut rest = payload;
        let primary_payload_type = loop {
            match rest {
                [] => return Err(truncated(payload, rest, PRIMARY_HEADER_BYTES)),
                [header, after @ ..] if header & MORE_BIT == 0 => {
                    rest = after;
                    break *header;
                }
                [_, _, high, low, after @ ..] => {
                    if blocks == REDUNDANT_BLOCKS_MAX {
                        return Err(RedError::TooManyBlocks);
                    }
                    blocks += 1;
                    redundant_bytes += block_bytes(*high, *low);
                    rest = after;
                }
                _ => return Err(truncated(payload, rest, REDUNDANT_HEADER_BYTES)),
            }
        };
        let Some((redundant, primary)) = rest.split_at_checked(redundant_bytes) else {
            return Err(truncated(payload, rest, redundant_bytes));
        };
        // There are so many headers: they were read above.
        let (headers, _) = payload.as_chunks::<REDUNDANT_HEADER_BYTES>();
        let headers = headers.get(..blocks).unwrap_or_default();
        Ok(Self {
            headers,
            redundant,
            primary: Block {
                payload_type: primary_payload_type,
                offset_ticks: 0,
                payload: primary,
            },
        })
    }

    /// The newest frame, which a packet without redundancy would hold alone.
    pub const fn primary(&self) -> Block<'a> {
        self.primary
    }

    /// The copies, in the packet's order: oldest first by custom, though the RFC asks for no order.
    pub fn redundant(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let mut rest = self.redundant;
        self.headers.iter().map(move |&[first, a, b, c]| {
            let bytes = block_bytes(b, c).min(rest.len());
            let (payload, after) = rest.split_at(bytes);
            rest = after;
            Block {
                payload_type: first & PAYLOAD_TYPE_MAX,
                offset_ticks: u16::from_be_bytes([a, b]) >> 2,
                payload,
            }
        })
    }

    /// Every frame, the primary last.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        self.redundant().chain([self.primary])
    }
}

/// The length in the last two bytes of a redundant block's header.
const fn block_bytes(high: u8, low: u8) -> usize {
    u16::from_be_bytes([high, low]) as usize & BLOCK_BYTES_MAX
}

/// `rest` of `payload` is shorter than `needed` bytes.
const fn truncated(payload: &[u8], rest: &[u8], needed: usize) -> RedError {
    RedError::Truncated {
        needed: payload.len() - rest.len() + needed,
        available: payload.len(),
    }
}

/// Writes an RTP payload: `redundant` in the given order (oldest first), then the primary, whose
/// [`offset_ticks`](Block::offset_ticks) is not sent. Returns the bytes written.
///
/// # Errors
/// What can't be expressed, or does not fit into `payload`, is ours: [`RedError::TooManyBlocks`], [`RedError::PayloadType`],
/// [`RedError::Offset`], [`RedError::BlockTooLong`], [`RedError::NoRoom`]. `payload` is as it was then.
pub fn write(
    redundant: &[Block<'_>],
    primary: Block<'_>,
    payload: &mut [u8],
) -> Result<usize, RedError> {
    if redundant.len() > REDUNDANT_BLOCKS_MAX {
        return Err(RedError::TooManyBlocks);
    }
    let mut needed = PRIMARY_HEADER_BYTES + primary.payload.len();
    check_payload_type(primary)?;
    for block in redundant {
        check_payload_type(*block)?;
        if block.offset_ticks > OFFSET_TICKS_MAX {
            return Err(RedError::Offset(block.offset_ticks));
        }
        if block.payload.len() > BLOCK_BYTES_MAX {
            return Err(RedError::BlockTooLong(block.payload.len()));
        }
        needed += REDUNDANT_HEADER_BYTES + block.payload.len();
    }
    let available = payload.len();
    let Some(mut room) = payload.get_mut(..needed) else {
        return Err(RedError::NoRoom { needed, available });
    };
    let mut put = |bytes: &[u8]| {
        // `needed` is the sum of all that is put.
        let (slot, rest) = std::mem::take(&mut room).split_at_mut(bytes.len());
        slot.copy_from_slice(bytes);
        room = rest;
    };
    for block in redundant {
        // At most 10 bits, checked above.
        let bytes = block.payload.len() as u32;
        let offset_and_length = u32::from(block.offset_ticks) << 10 | bytes;
        let [_, a, b, c] = offset_and_length.to_be_bytes();
        put(&[MORE_BIT | block.payload_type, a, b, c]);
    }
    put(&[primary.payload_type]);
    for block in redundant {
        put(block.payload);
    }
    put(primary.payload);
    Ok(needed)
}

const fn check_payload_type(block: Block<'_>) -> Result<(), RedError> {
    if block.payload_type > PAYLOAD_TYPE_MAX {
        return Err(RedError::PayloadType(block.payload_type));
    }
    Ok(())
}

/// Why a redundant payload can't be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedError {
    /// Received: the payload ends inside a header, or before the blocks that its headers promise, in bytes.
    Truncated {
        /// What there had to be at least.
        needed: usize,
        /// What there is.
        available: usize,
    },
    /// More than [`REDUNDANT_BLOCKS_MAX`] redundant blocks.
    TooManyBlocks,
    /// To be written: a payload type over 127.
    PayloadType(u8),
    /// To be written: an offset over [`OFFSET_TICKS_MAX`].
    Offset(u16),
    /// To be written: a redundant block of more than [`BLOCK_BYTES_MAX`] bytes.
    BlockTooLong(usize),
    /// To be written: the caller's buffer is too small, in bytes.
    NoRoom {
        /// What the payload takes.
        needed: usize,
        /// What the buffer has.
        available: usize,
    },
}

impl fmt::Display for RedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, available } => write!(
                f,
                "the redundant payload has {available} bytes where its headers need {needed} at least"
            ),
            Self::TooManyBlocks => {
                write!(f, "more than {REDUNDANT_BLOCKS_MAX} redundant blocks")
            }
            Self::PayloadType(payload_type) => write!(
                f,
                "{payload_type} is no payload type: 0 to {PAYLOAD_TYPE_MAX}"
            ),
            Self::Offset(ticks) => write!(
                f,
                "a redundant block can't lie {ticks} ticks back: at most {OFFSET_TICKS_MAX}"
            ),
            Self::BlockTooLong(bytes) => write!(
                f,
                "a redundant block of {bytes} bytes: at most {BLOCK_BYTES_MAX}"
            ),
            Self::NoRoom { needed, available } => write!(
                f,
                "a redundant payload of {needed} bytes does not fit into {available}"
            ),
        }
    }
}

impl Error for RedError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use proptest::prelude::*;

    fn block(payload_type: u8, offset_ticks: u16, payload: &[u8]) -> Block<'_> {
        Block {
            payload_type,
            offset_ticks,
            payload,
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_rfc() {
        // Section 3: F, block PT, timestamp offset (14 bits), block length (10 bits); then F = 0 and the primary's PT.
        let payload = [0x80 | 111, 0b0000_1111, 0b0000_0000, 3, 111, 1, 2, 3, 4, 5];
        let packet = RedPacket::parse(&payload).unwrap();
        let blocks: Vec<_> = packet.blocks().collect();
        assert_eq!(
            blocks,
            [block(111, 960, &[1, 2, 3]), block(111, 0, &[4, 5])]
        );
        let mut written = [0; 10];
        let bytes = write(&blocks[..1], packet.primary(), &mut written).unwrap();
        assert_eq!((bytes, written), (10, payload));
    }

    #[test]
    fn a_packet_without_redundancy_is_one_byte_longer_than_its_frame() {
        let packet = RedPacket::parse(&[63, 9, 8]).unwrap();
        assert_eq!(packet.redundant().count(), 0);
        assert_eq!(packet.primary(), block(63, 0, &[9, 8]));
    }

    #[test]
    fn the_limits_are_reached_and_not_passed() {
        let frame = [7; BLOCK_BYTES_MAX + 1];
        let longest = block(127, OFFSET_TICKS_MAX, &frame[..BLOCK_BYTES_MAX]);
        let mut payload = [0; 16_384];
        let blocks = [longest; REDUNDANT_BLOCKS_MAX];
        let bytes = write(&blocks, block(0, 0, &frame), &mut payload).unwrap();
        let packet = RedPacket::parse(&payload[..bytes]).unwrap();
        assert!(packet.redundant().eq(blocks));
        assert_eq!(packet.primary().payload, frame);

        let primary = block(0, 0, &[]);
        let mut refused = |block| write(&[block], primary, &mut payload).unwrap_err();
        assert_eq!(refused(block(128, 0, &[])), RedError::PayloadType(128));
        assert_eq!(
            refused(block(0, OFFSET_TICKS_MAX + 1, &[])),
            RedError::Offset(OFFSET_TICKS_MAX + 1)
        );
        assert_eq!(
            refused(block(0, 0, &frame)),
            RedError::BlockTooLong(frame.len())
        );
        let too_many = [block(0, 0, &[]); REDUNDANT_BLOCKS_MAX + 1];
        assert_eq!(
            write(&too_many, primary, &mut payload),
            Err(RedError::TooManyBlocks)
        );
        let mut small = [5; 8];
        let (needed, available) = (9, 8);
        assert_eq!(
            write(&[block(0, 0, &[1])], block(0, 0, &[2, 3, 4]), &mut small),
            Err(RedError::NoRoom { needed, available })
        );
        assert_eq!(small, [5; 8]);
    }

    #[test]
    fn what_is_wrong_with_a_packet_is_said() {
        let refused = |payload: &[u8]| RedPacket::parse(payload).unwrap_err();
        let truncated = |needed, available| RedError::Truncated { needed, available };
        assert_eq!(refused(&[]), truncated(1, 0));
        assert_eq!(refused(&[0x80, 0, 0]), truncated(4, 3));
        // The primary's header is missing.
        assert_eq!(refused(&[0x80, 0, 0, 0]), truncated(5, 4));
        assert_eq!(refused(&[0x80, 0, 0, 9, 111, 1, 2]), truncated(14, 7));
        let mut endless = [0x80; 4 * 9 + 1];
        endless[36] = 0;
        assert_eq!(refused(&endless), RedError::TooManyBlocks);
        assert!(truncated(14, 7).to_string().contains("need 14"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            frames in proptest::collection::vec(
                (0..=PAYLOAD_TYPE_MAX, 0..=OFFSET_TICKS_MAX, proptest::collection::vec(any::<u8>(), 0..60)),
                1..=REDUNDANT_BLOCKS_MAX + 1
            )
        ) {
            let blocks: Vec<_> = frames
                .iter()
                .map(|(payload_type, offset_ticks, payload)| block(*payload_type, *offset_ticks, payload))
                .collect();
            let (primary, redundant) = blocks.split_last().unwrap();
            let mut payload = [0; 1_500];
            let bytes = write(redundant, *primary, &mut payload).unwrap();
            let read = RedPacket::parse(&payload[..bytes]).unwrap();
            prop_assert!(read.redundant().eq(redundant.iter().copied()));
            prop_assert_eq!(read.primary().payload, primary.payload);
            prop_assert_eq!(read.primary().payload_type, primary.payload_type);
        }

        #[test]
        fn blocks_of_any_bytes_lie_one_behind_the_other(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(packet) = RedPacket::parse(&payload) {
                let bytes: usize = packet.blocks().map(|block| block.payload.len()).sum();
                prop_assert_eq!(bytes + 4 * packet.redundant().count() + 1, payload.len());
            }
        }
    }
}
