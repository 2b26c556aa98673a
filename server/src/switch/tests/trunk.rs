//! What signalling says of a trunk leg during a call.

use super::*;
use crate::config::EchoCodec;

/// An echo that was called and answered.
fn echo(shard: &mut Shard) -> CallSid {
    let call_sid = shard.incoming(1, IncomingTarget::Echo(EchoCodec::Same));
    let media = shard.answered(StreamDirection::SendRecv);
    shard.progress(call_sid, TrunkProgress::Answered(media));
    assert_eq!(shard.said().len(), 3);
    call_sid
}

#[test]
fn the_far_ends_hold_closes_what_its_direction_closes() {
    let mut shard = Shard::new(64);
    let call_sid = echo(&mut shard);
    shard.far_says(call_sid, 0, 1, &[1; 160]);
    let before = shard.far_hears(1)[0].2;
    for direction in [StreamDirection::RecvOnly, StreamDirection::Inactive] {
        let held = shard.answered(direction);
        shard.progress(call_sid, TrunkProgress::Media(held));
    }
    assert_eq!(shard.said(), [Said::Event(EventType::ChannelHold)], "once");
    shard.far_says(call_sid, 0, 2, &[2; 160]);
    shard.turn();
    let media = shard.answered(StreamDirection::SendRecv);
    shard.progress(call_sid, TrunkProgress::Media(media));
    assert_eq!(shard.said(), [Said::Event(EventType::ChannelResume)]);
    shard.far_says(call_sid, 0, 3, &[3; 160]);
    let heard = shard.far_hears(1);
    assert_eq!(heard[0].1[0], 3, "nothing went while it held");
    assert!(heard[0].2.wrapping_sub(before) < 10, "numbering goes on");
}

#[test]
fn another_codec_in_mid_call() {
    let mut shard = Shard::new(64);
    let call_sid = echo(&mut shard);
    shard.far_says(call_sid, 0, 1, &[1; 160]);
    let before = shard.far_hears(1)[0].2;
    let TrunkMedia::Rtp(mut media) = shard.answered(StreamDirection::SendRecv) else {
        panic!("RTP was answered");
    };
    media.sends.codec = Codec::Pcma;
    media.sends.payload_type = PayloadType(8);
    media.receives.codec = Codec::Pcma;
    media.receives.payload_type = PayloadType(108);
    shard.progress(call_sid, TrunkProgress::Media(TrunkMedia::Rtp(media)));
    shard.far_says(call_sid, 108, 2, &[9; 160]);
    let heard = shard.far_hears(1);
    assert_eq!((heard[0].0, heard[0].1[0]), (8, 9));
    assert_eq!(heard[0].2, before.wrapping_add(1), "numbering goes on");
    assert_eq!(shard.said(), [], "no event");
}
