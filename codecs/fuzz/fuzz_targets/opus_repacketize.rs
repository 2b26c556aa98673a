//! Frames of any bytes must be those that libopus finds, and repacketised to any duration they must all come out again,
//! in packets that libopus takes.
//!
//! The input is the duration wanted, then packets: one byte of length, that many bytes.
#![no_main]

use codecs::opus::{OpusError, Repacketizer, frames};
use libfuzzer_sys::fuzz_target;

/// What `opus_packet_parse` finds.
fn libopus_frames(packet: &[u8]) -> Option<Vec<&[u8]>> {
    let mut toc = 0;
    let mut starts = [std::ptr::null(); 48];
    let mut sizes = [0; 48];
    let mut payload_offset = 0;
    let bytes = i32::try_from(packet.len()).expect("libFuzzer inputs are small");
    // SAFETY: reads at most `bytes` bytes of the packet and writes at most 48 frames (RFC 6716 section 3.4, R5).
    let count = unsafe {
        opusic_sys::opus_packet_parse(
            packet.as_ptr(),
            bytes,
            &raw mut toc,
            starts.as_mut_ptr(),
            sizes.as_mut_ptr(),
            &raw mut payload_offset,
        )
    };
    let count = usize::try_from(count).ok()?;
    let frame = |index: usize| {
        let offset = starts[index] as usize - packet.as_ptr() as usize;
        &packet[offset..][..usize::try_from(sizes[index]).expect("a length")]
    };
    Some((0..count).map(frame).collect())
}

fuzz_target!(|input: &[u8]| {
    let Some((&duration_ms, mut rest)) = input.split_first() else {
        return;
    };
    let mut repacketizer = Repacketizer::new(u32::from(duration_ms));
    let (mut put, mut got) = (Vec::new(), Vec::new());
    let mut room = [0; 4_096];
    while let Some((&length, after)) = rest.split_first() {
        let (packet, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        let found: Option<Vec<&[u8]>> = frames(packet).ok().map(Iterator::collect);
        if !packet.is_empty() {
            assert_eq!(found, libopus_frames(packet));
        }
        match repacketizer.push(packet) {
            Ok(()) => put.extend(found.expect("taken").concat()),
            Err(OpusError::InvalidPacket) => assert_eq!(found, None),
            Err(other) => panic!("{other}"),
        }
        while let Some(popped) = repacketizer.pop(&mut room) {
            let packet = &room[..popped.expect("room for 120 ms of short frames").len];
            got.extend(libopus_frames(packet).expect("a valid packet").concat());
        }
    }
    while let Some(flushed) = repacketizer.flush(&mut room) {
        let packet = &room[..flushed.expect("room").len];
        got.extend(libopus_frames(packet).expect("a valid packet").concat());
    }
    assert_eq!(put, got);
});
