//! RFC 4733 across legs with different clocks, lost packets, and digits of our own.

use super::*;

/// Packets of one event at the source: (ticks told, end, marker), 20 ms apart.
struct Press {
    timestamp: u32,
    event: u8,
    interval_ticks: u16,
    updates: u16,
    ends: u16,
    marker: bool,
}

impl Press {
    /// Sends it from sequence number `first` on and returns the next number.
    fn send(&self, harness: &mut Harness, first: u16) -> u16 {
        for n in 0..self.updates + self.ends {
            let end = n >= self.updates;
            let duration = self.interval_ticks * (n + 1).min(self.updates + 1);
            let [high, low] = duration.to_be_bytes();
            let flags = if end { 0x8a } else { 0x0a };
            let payload = [self.event, flags, high, low];
            let marker = self.marker && n == 0;
            harness.send(EVENT, marker, first + n, self.timestamp, &payload);
            harness.pass(20);
        }
        first + self.updates + self.ends
    }
}

fn durations(events: &[&Seen]) -> Vec<(u16, bool)> {
    events
        .iter()
        .map(|seen| {
            let duration = u16::from_be_bytes([seen.payload[2], seen.payload[3]]);
            (duration, seen.payload[1] & 0x80 != 0)
        })
        .collect()
}

fn speak(harness: &mut Harness, sequence: u16, timestamp: u32, codec: Codec) {
    let payload = match codec {
        Codec::Opus => opus_packets(20, 1).remove(0),
        _ => vec![0x7f; 160],
    };
    harness.audio(sequence, timestamp, &payload);
    harness.pass(20);
}

#[test]
fn one_event_with_the_sinks_clock_each_way() {
    for (source, sink) in [
        (Codec::Opus, Codec::Pcmu),
        (Codec::Pcmu, Codec::Opus),
        (Codec::Pcmu, Codec::Pcmu),
    ] {
        for marker in [true, false] {
            let mut harness = Harness::new(&format_with_events(source), &format_with_events(sink));
            let frame_ticks = source.clock_rate_hz() / 50;
            speak(&mut harness, 0, 0, source);
            speak(&mut harness, 1, frame_ticks, source);
            let press = Press {
                timestamp: 2 * frame_ticks,
                event: 5,
                interval_ticks: frame_ticks as u16,
                updates: 4,
                ends: 3,
                marker,
            };
            let next = press.send(&mut harness, 2);
            harness.pass(100);
            speak(&mut harness, next, 14 * frame_ticks, source);

            assert_eq!(harness.digits, [('5', 100)], "{source:?} to {sink:?}");
            let events = harness.events_seen();
            let sink_ticks = sink.clock_rate_hz() / 50;
            assert!(events.iter().all(|seen| seen.ticks == 2 * sink_ticks));
            assert!(events.iter().all(|seen| seen.payload_type == EVENT));
            assert!(events.iter().all(|seen| seen.payload[0] == 5));
            let marked = events.iter().filter(|seen| seen.marker).count();
            assert!(events[0].marker && marked == 1);
            let durations = durations(&events);
            assert_eq!(durations.iter().filter(|(_, end)| *end).count(), 3);
            let (last, end) = *durations.last().unwrap();
            assert!(end);
            assert_eq!(u32::from(last), 5 * sink_ticks, "{source:?} to {sink:?}");
            assert!(durations.is_sorted());

            let audio = harness.audio_seen();
            assert_eq!(audio.len(), 3);
            assert_eq!(audio[2].1, 14 * sink_ticks, "audio goes on in its place");
            let numbers: Vec<_> = harness.seen.iter().map(|seen| seen.sequence).collect();
            assert!(
                numbers.iter().zip(0..).all(|(number, n)| *number == n),
                "{numbers:?}"
            );
            assert_eq!(harness.statistics().concealed, 0);
        }
    }
}

#[test]
fn a_lost_end_is_made_good() {
    let mut harness = Harness::new(
        &format_with_events(Codec::Opus),
        &format_with_events(Codec::Pcmu),
    );
    let press = Press {
        timestamp: 0,
        event: 11,
        interval_ticks: 960,
        updates: 4,
        ends: 0,
        marker: true,
    };
    press.send(&mut harness, 0);
    harness.pass(1_000);
    assert_eq!(harness.digits, [('#', 80)]);
    let ends = durations(&harness.events_seen());
    assert_eq!(ends.iter().filter(|(_, end)| *end).count(), 3);
    assert_eq!(harness.direction.poll_timeout(), None);
}

#[test]
fn audio_beside_an_event_is_not_doubled() {
    let mut harness = Harness::new(
        &format_with_events(Codec::Pcmu),
        &format_with_events(Codec::Pcma),
    );
    let mut sequence = 0;
    for index in 0..20u32 {
        speak(&mut harness, sequence, index * 160, Codec::Pcmu);
        sequence += 1;
        if (5..10).contains(&index) {
            let duration = (index as u16 - 4) * 160;
            let [high, low] = duration.to_be_bytes();
            let flags = if index == 9 { 0x8a } else { 0x0a };
            harness.send(EVENT, index == 5, sequence, 6 * 160, &[1, flags, high, low]);
            sequence += 1;
        }
    }
    assert_eq!(harness.digits, [('1', 100)]);
    let dropped = harness.statistics().under_event;
    assert!((4..=8).contains(&dropped), "{dropped}");
    assert_eq!(harness.audio_seen().len() as u64 + dropped, 20);
    assert_eq!(harness.statistics().concealed, 0);
}

#[test]
fn without_telephone_event_at_the_sink_digits_are_told_and_audio_goes_on() {
    let mut harness = Harness::new(&format_with_events(Codec::Pcmu), &format(Codec::Pcma));
    speak(&mut harness, 0, 0, Codec::Pcmu);
    harness.send(EVENT, true, 1, 160, &[2, 0x8a, 3, 0x20]);
    speak(&mut harness, 2, 160, Codec::Pcmu);
    assert_eq!(harness.digits, [('2', 100)]);
    assert_eq!(harness.audio_seen().len(), 2);
    assert!(harness.events_seen().is_empty());
    let refused = harness.direction.send_digits(harness.now, "1", 100);
    assert_eq!(refused, Err(BridgeError::NoTelephoneEvent));
}

#[test]
fn digits_of_ours_take_the_place_of_audio() {
    let mut harness = Harness::new(
        &format_with_events(Codec::Opus),
        &format_with_events(Codec::Pcmu),
    );
    speak(&mut harness, 0, 0, Codec::Opus);
    let now = harness.now;
    harness.direction.send_digits(now, "1#", 100).unwrap();
    harness.drain();
    for index in 1..40u16 {
        speak(&mut harness, index, u32::from(index) * 960, Codec::Opus);
    }
    let events = harness.events_seen();
    let digits: Vec<_> = events
        .iter()
        .filter(|seen| seen.marker)
        .map(|seen| seen.payload[0])
        .collect();
    assert_eq!(digits, [1, 11]);
    assert_eq!(events[0].ticks, 160);
    let ends = durations(&events).iter().filter(|(_, end)| *end).count();
    assert_eq!(ends, 6);
    assert!(harness.digits.is_empty(), "they are ours, not the source's");
    assert_eq!(harness.statistics().digits_sent, 2);
    assert!(harness.statistics().under_event >= 10);
    assert_eq!(harness.statistics().concealed, 0);
    assert!(
        harness
            .seen
            .iter()
            .zip(0..)
            .all(|(seen, n)| seen.sequence == n)
    );

    let refused = harness.direction.send_digits(harness.now, "1x", 100);
    assert!(matches!(refused, Err(BridgeError::Digits(_))));
    let refused = harness
        .direction
        .send_digits(harness.now, &"1".repeat(65), 100);
    assert!(matches!(refused, Err(BridgeError::Digits(_))));
}

#[test]
fn digits_on_hold_are_told_only() {
    let mut harness = Harness::new(
        &format_with_events(Codec::Pcmu),
        &format_with_events(Codec::Pcmu),
    );
    harness.direction.set_held(true);
    let press = Press {
        timestamp: 0,
        event: 9,
        interval_ticks: 160,
        updates: 3,
        ends: 3,
        marker: true,
    };
    press.send(&mut harness, 0);
    assert_eq!(harness.digits, [('9', 80)]);
    assert!(harness.seen.is_empty());
}
