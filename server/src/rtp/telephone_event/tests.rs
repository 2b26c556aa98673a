//! Senders and receivers of digits, each alone and facing each other over a bad network.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use super::*;
use crate::rtp::{MediaPacket, PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use codecs::telephone_event::{Event, PayloadError};
use proptest::prelude::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn packet(timestamp: u32, payload: &[u8]) -> MediaPacket<'_> {
    MediaPacket {
        marker: false, // Never needed.
        payload_type: PayloadType(101),
        sequence_number: SequenceNumber(0),
        timestamp: RtpTimestamp(timestamp),
        ssrc: Ssrc(1),
        payload,
    }
}

fn payload(code: u8, end: bool, duration_ticks: u16) -> [u8; 4] {
    let event = Event {
        code,
        end,
        volume: 10,
        duration_ticks,
    };
    event.to_bytes()
}

fn outputs(receiver: &mut TelephoneEventReceiver) -> Vec<DigitProgress> {
    std::iter::from_fn(|| receiver.poll()).collect()
}

fn whole(digit: char, duration_ms: u32) -> [DigitProgress; 2] {
    let ended = DigitReceived { digit, duration_ms };
    [DigitProgress::Started(digit), DigitProgress::Ended(ended)]
}

/// Everything a sender says, with the time at which it said it.
fn sent(sender: &mut TelephoneEventSender, start: Instant) -> Vec<(u64, EventPacket)> {
    let mut packets = Vec::new();
    for elapsed_ms in 0..60_000 {
        let now = start + ms(elapsed_ms);
        let sink_timestamp =
            RtpTimestamp((elapsed_ms * u64::from(sender.clock_rate_hz()) / 1000) as u32);
        while let Some(packet) = sender.poll(now, sink_timestamp) {
            packets.push((elapsed_ms, packet));
        }
        if !sender.is_sending() {
            return packets;
        }
    }
    panic!("the sender never ends");
}

/// What a receiver makes of these packets.
fn received(packets: &[(u64, EventPacket)], clock_rate_hz: u32) -> Vec<DigitProgress> {
    let start = Instant::now();
    let mut receiver = TelephoneEventReceiver::new();
    let mut told = Vec::new();
    for (elapsed_ms, event) in packets {
        let packet = packet(event.timestamp.0, &event.payload);
        receiver
            .handle_packet(start + ms(*elapsed_ms), &packet, clock_rate_hz)
            .unwrap();
        told.extend(outputs(&mut receiver));
    }
    receiver.handle_timeout(start + ms(1_000_000));
    told.extend(outputs(&mut receiver));
    told
}

#[test]
fn three_end_packets_are_one_digit() {
    let now = Instant::now();
    let mut receiver = TelephoneEventReceiver::new();
    for ticks in [160, 320, 480] {
        receiver
            .handle_packet(now, &packet(1000, &payload(5, false, ticks)), 8000)
            .unwrap();
    }
    assert_eq!(outputs(&mut receiver), [DigitProgress::Started('5')]);
    for _ in 0..3 {
        receiver
            .handle_packet(now, &packet(1000, &payload(5, true, 800)), 8000)
            .unwrap();
    }
    assert_eq!(outputs(&mut receiver), whole('5', 100)[1..]);
    assert_eq!(receiver.poll_timeout(), None);
    receiver
        .handle_packet(now, &packet(1000, &payload(5, false, 640)), 8000)
        .unwrap();
    assert_eq!(
        outputs(&mut receiver),
        [],
        "a straggler of an event that is over"
    );
}

#[test]
fn only_an_end_packet_is_a_whole_digit() {
    let mut receiver = TelephoneEventReceiver::new();
    receiver
        .handle_packet(Instant::now(), &packet(7, &payload(11, true, 4800)), 48_000)
        .unwrap();
    assert_eq!(outputs(&mut receiver), whole('#', 100));
}

#[test]
fn a_lost_end_is_told_by_the_next_event_or_by_time() {
    let now = Instant::now();
    let mut receiver = TelephoneEventReceiver::new();
    receiver
        .handle_packet(now, &packet(0, &payload(1, false, 640)), 8000)
        .unwrap();
    receiver
        .handle_packet(now + ms(200), &packet(1600, &payload(1, false, 160)), 8000)
        .unwrap();
    let mut expected = whole('1', 80).to_vec();
    expected.push(DigitProgress::Started('1'));
    assert_eq!(outputs(&mut receiver), expected);

    let timeout = receiver.poll_timeout().unwrap();
    assert_eq!(timeout, now + ms(200) + EVENT_TIMEOUT);
    receiver.handle_timeout(timeout - ms(1));
    assert_eq!(outputs(&mut receiver), []);
    receiver.handle_timeout(timeout);
    assert_eq!(outputs(&mut receiver), whole('1', 20)[1..]);
    receiver
        .handle_packet(timeout, &packet(1600, &payload(1, true, 800)), 8000)
        .unwrap();
    assert_eq!(outputs(&mut receiver), [], "told already");
}

#[test]
fn a_packet_overtaken_by_the_next_event_is_no_third_digit() {
    let now = Instant::now();
    let mut receiver = TelephoneEventReceiver::new();
    receiver
        .handle_packet(now, &packet(0, &payload(1, true, 800)), 8000)
        .unwrap();
    receiver
        .handle_packet(now, &packet(1600, &payload(2, false, 160)), 8000)
        .unwrap();
    receiver
        .handle_packet(now, &packet(0, &payload(1, true, 800)), 8000)
        .unwrap();
    receiver
        .handle_packet(now, &packet(1600, &payload(2, true, 800)), 8000)
        .unwrap();
    assert_eq!(
        outputs(&mut receiver),
        [whole('1', 100), whole('2', 100)].concat()
    );
}

#[test]
fn several_digits_in_one_packet_are_each_told_once() {
    let now = Instant::now();
    let mut receiver = TelephoneEventReceiver::new();
    let both = [payload(1, true, 400), payload(2, false, 160)].concat();
    let later = [payload(1, true, 400), payload(2, true, 560)].concat();
    for payload in [&both, &later, &later] {
        receiver
            .handle_packet(now, &packet(1000, payload), 8000)
            .unwrap();
    }
    // The rest of the second digit alone, at its own timestamp.
    receiver
        .handle_packet(now, &packet(1400, &payload(2, true, 560)), 8000)
        .unwrap();
    assert_eq!(
        outputs(&mut receiver),
        [whole('1', 50), whole('2', 70)].concat()
    );
}

#[test]
fn other_events_are_no_digits_and_short_payloads_are_refused() {
    let now = Instant::now();
    let mut receiver = TelephoneEventReceiver::new();
    receiver
        .handle_packet(now, &packet(0, &payload(16, true, 800)), 8000)
        .unwrap();
    assert_eq!(outputs(&mut receiver), []);
    let short = receiver.handle_packet(now, &packet(0, &[1, 2, 3]), 8000);
    assert_eq!(short, Err(PayloadError::TooShort(3).into()));
}

#[test]
fn a_sent_digit_has_the_shape_of_the_rfc() {
    let mut sender = TelephoneEventSender::new(8000);
    sender.start("7", 100, 50).unwrap();
    let packets = sent(&mut sender, Instant::now());
    let ticks: Vec<_> = packets
        .iter()
        .map(|(_, p)| u16::from_be_bytes([p.payload[2], p.payload[3]]))
        .collect();
    assert_eq!(ticks, [160, 320, 480, 640, 800, 800, 800]);
    let markers: Vec<_> = packets.iter().map(|(_, p)| p.marker).collect();
    assert_eq!(markers, [true, false, false, false, false, false, false]);
    let ends: Vec<_> = packets.iter().map(|(_, p)| p.payload[1]).collect();
    assert_eq!(ends, [10, 10, 10, 10, 0x8a, 0x8a, 0x8a]);
    let times: Vec<_> = packets.iter().map(|(elapsed_ms, _)| *elapsed_ms).collect();
    assert_eq!(times, [0, 20, 40, 60, 80, 100, 120]);
    assert!(
        packets
            .iter()
            .all(|(_, p)| p.timestamp == RtpTimestamp(0) && p.payload[0] == 7)
    );
}

#[test]
fn digits_keep_their_gap() {
    let mut sender = TelephoneEventSender::new(8000);
    sender.start("12", 100, 100).unwrap();
    let packets = sent(&mut sender, Instant::now());
    let begins: Vec<_> = packets
        .iter()
        .filter(|(_, p)| p.marker)
        .map(|(at, p)| (*at, p.timestamp.0))
        .collect();
    assert_eq!(begins, [(0, 0), (200, 1600)]);
}

#[test]
fn a_long_event_is_one_digit_in_several_segments() {
    for (clock_rate_hz, duration_ms) in [(48_000, 5000), (8000, 9000), (48_000, 1365)] {
        let mut sender = TelephoneEventSender::new(clock_rate_hz);
        sender.start("*", duration_ms, 0).unwrap();
        let packets = sent(&mut sender, Instant::now());
        assert_eq!(
            packets.iter().filter(|(_, packet)| packet.marker).count(),
            1
        );
        assert_eq!(received(&packets, clock_rate_hz), whole('*', duration_ms));
    }
}

#[test]
fn a_held_key_is_relayed_while_it_is_held() {
    let start = Instant::now();
    let mut sender = TelephoneEventSender::new(48_000);
    sender.press('A', 40).unwrap();
    let first = sender.poll(start, RtpTimestamp(77)).unwrap();
    assert_eq!((first.marker, first.timestamp), (true, RtpTimestamp(77)));
    assert_eq!(sender.poll(start, RtpTimestamp(77)), None);
    assert_eq!(sender.poll_timeout(start), Some(start + ms(20)));
    for i in 1..10 {
        assert_eq!(
            sender
                .poll(start + ms(20 * i), RtpTimestamp(0))
                .unwrap()
                .payload[1],
            10
        );
    }
    sender.release(210);
    let last = sender.poll(start + ms(200), RtpTimestamp(0)).unwrap();
    assert_eq!(
        last.payload,
        [12, 0x8a, 0x27, 0x60],
        "10080 ticks of 48 kHz are 210 ms"
    );

    let mut forgotten = TelephoneEventSender::new(8000);
    forgotten.press('1', 0).unwrap();
    let packets = sent(&mut forgotten, start);
    assert_eq!(received(&packets, 8000), whole('1', DIGIT_DURATION_MAX_MS));
}

#[test]
fn a_sender_that_is_polled_late_sends_no_burst() {
    let start = Instant::now();
    let mut sender = TelephoneEventSender::new(8000);
    sender.start("1", 2000, 0).unwrap();
    assert!(sender.poll(start, RtpTimestamp(0)).is_some());
    let late = start + ms(1500);
    assert!(sender.poll(late, RtpTimestamp(0)).is_some());
    assert_eq!(sender.poll(late, RtpTimestamp(0)), None);
}

#[test]
fn what_can_not_be_sent_is_refused_whole() {
    let mut sender = TelephoneEventSender::new(8000);
    assert_eq!(
        sender.start("12x", 100, 50),
        Err(TelephoneEventError::NoDigit('x'))
    );
    assert!(!sender.is_sending());
    assert_eq!(
        sender.start(&"1".repeat(65), 100, 50),
        Err(TelephoneEventError::QueueFull)
    );
    assert!(!sender.is_sending());
    assert_eq!(sender.start(&"1".repeat(64), 100, 50), Ok(()));
}

proptest! {
    #[test]
    fn digits_survive_loss_copies_and_another_clock(
        digits in "[0-9*#A-D]{1,12}", duration_ms in 60_u32..400, gap_ms in 40_u32..200,
        rate_is_48k: bool, fates in proptest::collection::vec(0_u8..4, 600)
    ) {
        let clock_rate_hz = if rate_is_48k { 48_000 } else { 8000 };
        let mut sender = TelephoneEventSender::new(clock_rate_hz);
        sender.start(&digits, duration_ms, gap_ms).unwrap();
        let packets = sent(&mut sender, Instant::now());
        // A quarter is lost, a quarter comes twice; but of each event its second and its last packet come.
        let mut arriving = Vec::new();
        for (i, packet) in packets.iter().enumerate() {
            let follows_marker = i > 0 && packets[i - 1].1.marker;
            let is_last = packets.get(i + 1).is_none_or(|(_, next)| next.marker);
            let copies = if follows_marker || is_last { 1 } else { [0, 1, 1, 2][usize::from(fates[i])] };
            arriving.extend(std::iter::repeat_n(*packet, copies));
        }
        let expected: Vec<_> = digits.chars().flat_map(|digit| whole(digit, duration_ms)).collect();
        prop_assert_eq!(received(&arriving, clock_rate_hz), expected);
    }

    #[test]
    fn starts_and_ends_alternate_whatever_comes(
        packets in proptest::collection::vec((any::<u16>(), any::<[u8; 12]>(), 1_usize..=3, 0_u64..400), 0..100)
    ) {
        let mut now = Instant::now();
        let mut receiver = TelephoneEventReceiver::new();
        let mut held = None;
        for (timestamp, mut events, count, gap_ms) in packets {
            now += ms(gap_ms);
            for event in events.chunks_mut(4) {
                event[0] %= 18;
            }
            receiver.handle_packet(now, &packet(u32::from(timestamp) * 16, &events[..4 * count]), 8000).unwrap();
            for output in outputs(&mut receiver) {
                match output {
                    DigitProgress::Started(digit) => prop_assert_eq!(held.replace(digit), None),
                    DigitProgress::Ended(ended) => prop_assert_eq!(held.take(), Some(ended.digit)),
                }
            }
        }
    }
}
