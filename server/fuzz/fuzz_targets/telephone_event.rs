//! Arbitrary telephone-event packets: every digit that begins ends once, before the next. And digits that we send are
//! the digits that are heard.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use server::rtp::{
    DigitProgress, MediaPacket, PayloadType, RtpTimestamp, SequenceNumber, Ssrc,
    TelephoneEventReceiver, TelephoneEventSender, digit_of_event,
};
use server_fuzz::Script;

const CLOCK_RATE_HZ: u32 = 8000;
/// Digits of one step that are sent.
const DIGITS_MAX: usize = 3;

fuzz_target!(|input: &[u8]| {
    let mut receiver = TelephoneEventReceiver::new();
    let mut open = None;
    for step in Script::new(input) {
        if step.kind == 7 {
            send_and_hear(step.now, step.bytes);
            continue;
        }
        if receiver.poll_timeout().is_some_and(|due| due <= step.now) {
            receiver.handle_timeout(step.now);
        }
        let (head, payload) = step.bytes.split_at(step.bytes.len().min(5));
        let [t0, t1, t2, t3, source] = *head else {
            continue;
        };
        let clock_rate_hz = [CLOCK_RATE_HZ, 48_000, 0][usize::from(step.kind % 3)];
        let packet = packet(
            RtpTimestamp(u32::from_be_bytes([t0, t1, t2, t3])),
            u32::from(source),
            payload,
        );
        let _too_short = receiver.handle_packet(step.now, &packet, clock_rate_hz);
        while let Some(progress) = receiver.poll() {
            match progress {
                DigitProgress::Started(digit) => assert_eq!(open.replace(digit), None),
                DigitProgress::Ended(ended) => assert_eq!(open.take(), Some(ended.digit)),
            }
        }
        assert_eq!(open.is_some(), receiver.poll_timeout().is_some());
        assert!(receiver.poll_timeout().is_none_or(|due| due > step.now));
    }
});

fn packet(timestamp: RtpTimestamp, source: u32, payload: &[u8]) -> MediaPacket<'_> {
    MediaPacket {
        marker: false,
        payload_type: PayloadType(101),
        sequence_number: SequenceNumber(0),
        timestamp,
        ssrc: Ssrc(source),
        payload,
    }
}

/// Sends digits of a length, and hears them without a loss.
fn send_and_hear(start: Instant, bytes: &[u8]) {
    let [high, low, gap, events @ ..] = bytes else {
        return;
    };
    let duration_ms = u32::from(u16::from_be_bytes([*high, *low]));
    let digits: String = events
        .iter()
        .filter_map(|event| digit_of_event(*event))
        .take(DIGITS_MAX)
        .collect();
    let mut sender = TelephoneEventSender::new(CLOCK_RATE_HZ);
    sender
        .start(&digits, duration_ms, u32::from(*gap))
        .expect("a few digits");
    let mut receiver = TelephoneEventReceiver::new();
    let mut heard = String::new();
    let mut now = start;
    while let Some(due) = sender.poll_timeout(now) {
        now = now.max(due);
        let elapsed_ms = (now - start).as_millis() as u32;
        while let Some(event) = sender.poll(now, RtpTimestamp(8 * elapsed_ms)) {
            receiver
                .handle_packet(
                    now,
                    &packet(event.timestamp, 1, &event.payload),
                    CLOCK_RATE_HZ,
                )
                .expect("four bytes");
        }
        while let Some(progress) = receiver.poll() {
            if let DigitProgress::Ended(ended) = progress {
                heard.push(ended.digit);
            }
        }
        now += Duration::from_millis(1);
    }
    assert_eq!(heard, digits);
}
