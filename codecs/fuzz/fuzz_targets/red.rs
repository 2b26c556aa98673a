//! Redundant payloads of any bytes: what is read lies one behind the other in the packet, and written again it is the
//! same bytes.
#![no_main]

use codecs::red::{Block, REDUNDANT_BLOCKS_MAX, RedError, RedPacket, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let packet = match RedPacket::parse(payload) {
        Ok(packet) => packet,
        Err(RedError::Truncated { needed, available }) => {
            assert!(available == payload.len() && needed > available);
            return;
        }
        Err(error) => {
            assert_eq!(error, RedError::TooManyBlocks);
            return;
        }
    };
    let redundant: Vec<Block<'_>> = packet.redundant().collect();
    assert!(redundant.len() <= REDUNDANT_BLOCKS_MAX);
    let mut begin = 4 * redundant.len() + 1;
    for block in packet.blocks() {
        assert_eq!(block.payload, &payload[begin..begin + block.payload.len()]);
        begin += block.payload.len();
    }
    assert_eq!(begin, payload.len());
    let mut written = vec![0; payload.len()];
    let bytes = write(&redundant, packet.primary(), &mut written);
    assert_eq!(bytes, Ok(payload.len()));
    assert_eq!(written, payload);
    let short = payload.len() - 1;
    assert!(write(&redundant, packet.primary(), &mut written[..short]).is_err());
});
