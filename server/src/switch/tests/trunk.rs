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

/// One packet is all that waits as a rule, and one read; what came at once is taken all the same, in the next turn.
#[test]
fn packets_that_come_at_once_are_all_taken() {
    let mut shard = Shard::new(64);
    let call_sid = echo(&mut shard);
    for round in 0..3 {
        for _ in 0..5 {
            shard.turn();
        }
        for sequence in 1..=4 {
            shard.far_says(call_sid, 0, round * 4 + sequence, &[1; 160]);
        }
        shard.turn();
        shard.turn();
        let received = shard
            .handle
            .0
            .borrow()
            .metrics
            .trunk_packets_received
            .value();
        assert_eq!(received, u64::from(round + 1) * 4);
    }
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

/// A page's call over a SIP trunk with `dtmf = "info"` and `terminate_on_hold`, answered.
fn page_over_sip(shard: &mut Shard) -> (SessionKey, CallSid) {
    let (key, _, address) = shard.page();
    let call_sid = shard.incoming_over("pbx", 1, IncomingTarget::Session(address));
    shard.handle.accept(key, call_sid).unwrap();
    shard.connect(key, call_sid);
    let media = shard.answered(StreamDirection::SendRecv);
    shard.progress(call_sid, TrunkProgress::Answered(media));
    assert_eq!(
        shard.said().last(),
        Some(&Said::Event(EventType::ChannelAnswer))
    );
    (key, call_sid)
}

#[test]
fn digits_go_by_signalling_where_the_trunk_wants_it_so() {
    let mut shard = Shard::new(64);
    let (key, _) = page_over_sip(&mut shard);
    shard.handle.send_digits(key, "12#", 100).unwrap();
    assert_eq!(shard.said(), [Said::Digits("12#".to_owned())]);
}

#[test]
fn a_hold_that_is_asked_for_twice_is_negotiated_once() {
    let mut shard = Shard::new(64);
    let (key, _) = page_over_sip(&mut shard);
    shard.handle.hold(key, true).unwrap();
    shard.handle.hold(key, true).unwrap();
    assert_eq!(
        shard.said(),
        [Said::Hold(true), Said::Event(EventType::ChannelHold)]
    );
    shard.handle.hold(key, false).unwrap();
    assert_eq!(
        shard.said(),
        [Said::Hold(false), Said::Event(EventType::ChannelResume)]
    );
}

#[test]
fn our_own_hold_is_none_of_the_far_ends() {
    let mut shard = Shard::new(64);
    let (key, call_sid) = page_over_sip(&mut shard);
    shard.handle.hold(key, true).unwrap();
    let held = shard.answered(StreamDirection::SendOnly);
    shard.progress(call_sid, TrunkProgress::Media(held));
    shard.handle.hold(key, false).unwrap();
    let media = shard.answered(StreamDirection::SendRecv);
    shard.progress(call_sid, TrunkProgress::Media(media));
    assert_eq!(
        shard.said(),
        [
            Said::Hold(true),
            Said::Event(EventType::ChannelHold),
            Said::Hold(false),
            Said::Event(EventType::ChannelResume)
        ]
    );
}

#[test]
fn a_trunk_may_take_hold_for_an_end() {
    let mut shard = Shard::new(64);
    let (_, call_sid) = page_over_sip(&mut shard);
    let held = shard.answered(StreamDirection::RecvOnly);
    shard.progress(call_sid, TrunkProgress::Media(held));
    let (said, record) = shard.said_to_the_end();
    assert_eq!(said[0], Said::HangUp(16));
    assert_eq!(record.event.q850_cause, 16);
    assert!(record.end_reason.contains("terminate_on_hold"));
    assert_eq!(record.fault, None);
}

#[test]
fn an_offer_takes_back_no_hold_that_was_asked_for() {
    let mut shard = Shard::new(64);
    let (key, _) = page_over_sip(&mut shard);
    shard.handle.hold(key, true).unwrap();
    shard.handle.offer(key, OFFER).unwrap();
    assert_eq!(
        shard.said(),
        [Said::Hold(true), Said::Event(EventType::ChannelHold)]
    );
    let inactive = OFFER.replace("a=sendrecv", "a=inactive");
    shard.handle.offer(key, &inactive).unwrap();
    shard.handle.hold(key, false).unwrap();
    assert_eq!(shard.said(), [], "the offer holds still");
    shard.handle.offer(key, OFFER).unwrap();
    assert_eq!(
        shard.said(),
        [Said::Hold(false), Said::Event(EventType::ChannelResume)]
    );
}
