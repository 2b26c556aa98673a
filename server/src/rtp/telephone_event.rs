//! Digits as named events in RTP (RFC 4733): [`TelephoneEventReceiver`] turns packets into digits that begin and end
//! exactly once, [`TelephoneEventSender`] turns digits into packets.
//!
//! Events 0 to 15 only (0-9 * # A-D); others are no digits and are passed over. Volume is not looked at.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::{MediaPacket, RtpTimestamp, Ssrc};

/// Digits that wait in one sender at most.
pub const DIGITS_QUEUED_MAX: usize = 64;
/// Longest digit that we send, in ms; an open one ends by itself then.
pub const DIGIT_DURATION_MAX_MS: u32 = 10_000;
/// Shortest digit that we send, in ms: what detectors ask for (ITU-T Q.24).
pub const DIGIT_DURATION_MIN_MS: u32 = 40;
/// Time between packets of one event, in ms.
pub const EVENT_PACKET_INTERVAL_MS: u32 = 20;
/// An event of which nothing was heard for so long has ended: its end packets were lost. Updates come every 20 to
/// 50 ms.
pub const EVENT_TIMEOUT: Duration = Duration::from_millis(250);

const PAYLOAD_LEN: usize = 4;
const END_BIT: u8 = 0x80;
/// -10 dBm0.
const VOLUME: u8 = 10;
const END_PACKETS: u8 = 3;
/// The longest duration of one segment, in ticks; a longer event goes on in another.
const SEGMENT_TICKS_MAX: u32 = 0xffff;
/// A segment at least so long may be followed by another before it is full: some senders split on a packet's boundary.
const SEGMENT_TICKS_MIN: u32 = 0xf000;
/// Packets this far behind the newest event are stragglers (2 s at 48 kHz), and beyond it a clock that jumped.
const STRAGGLER_TICKS_MAX: i32 = 96_000;
/// A sender polled so late does not catch up with a burst; its event takes longer instead.
const CATCH_UP_MAX: Duration = Duration::from_millis(100);
/// A packet brings at most the end of one event, and beginning and end of another.
const OUTPUTS_MAX: usize = 8;

const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

/// The digit of an event code; `None` for codes over 15.
pub fn digit_of_event(event: u8) -> Option<char> {
    DIGITS
        .get(usize::from(event))
        .map(|digit| char::from(*digit))
}

/// The event code of a digit, `a` to `d` included.
pub fn event_of_digit(digit: char) -> Option<u8> {
    let digit = digit.to_ascii_uppercase();
    let position = DIGITS.iter().position(|known| char::from(*known) == digit);
    position.and_then(|event| u8::try_from(event).ok())
}

/// What is wrong with a digit to send, or with a received event payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TelephoneEventError {
    /// A received payload shorter than 4 bytes.
    #[error("a telephone-event payload has 4 bytes, this one {0}")]
    TooShort(usize),
    /// A character that is no digit.
    #[error("{0:?} is no digit: 0-9, *, #, A-D")]
    NoDigit(char),
    /// More digits than a sender queues.
    #[error("more than {DIGITS_QUEUED_MAX} digits wait to be sent")]
    QueueFull,
}

/// A digit that a far end sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigitReceived {
    /// 0-9, *, #, A-D.
    pub digit: char,
    /// As the far end measured it; up to the last update heard if its end was lost.
    pub duration_ms: u32,
}

/// What a receiver tells, in this order for every digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigitProgress {
    /// A digit began; who relays live begins to send it.
    Started(char),
    /// The digit ended. Exactly one for each `Started`.
    Ended(DigitReceived),
}

/// Digits from packets. An event is known by its timestamp, so copies, a missing marker, lost beginnings and lost ends
/// make neither a second digit nor none.
#[derive(Debug)]
pub struct TelephoneEventReceiver {
    active: Option<ActiveEvent>,
    /// The newest event that is over or under way.
    newest: Option<(Ssrc, RtpTimestamp)>,
    outputs: VecDeque<DigitProgress>,
}

#[derive(Debug, Clone, Copy)]
struct ActiveEvent {
    digit: char,
    clock_rate_hz: u32,
    /// Of the segment under way.
    timestamp: RtpTimestamp,
    segment_ticks: u32,
    /// Of the segments before.
    earlier_ticks: u32,
    last_heard: Instant,
}

impl Default for TelephoneEventReceiver {
    fn default() -> Self {
        Self::new()
    }
}

impl TelephoneEventReceiver {
    /// A receiver that has heard nothing.
    pub fn new() -> Self {
        Self {
            active: None,
            newest: None,
            outputs: VecDeque::with_capacity(OUTPUTS_MAX),
        }
    }

    /// Reads a packet of the leg's telephone-event payload type; `clock_rate_hz` is that of its `rtpmap`. Then ask
    /// [`TelephoneEventReceiver::poll`] until it is empty.
    ///
    /// # Errors
    /// [`TelephoneEventError::TooShort`]; nothing changed then.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        clock_rate_hz: u32,
    ) -> Result<(), TelephoneEventError> {
        let [event, flags, high, low, ..] = *packet.payload else {
            return Err(TelephoneEventError::TooShort(packet.payload.len()));
        };
        let Some(digit) = digit_of_event(event) else {
            return Ok(());
        };
        let ticks = u32::from(u16::from_be_bytes([high, low]));

        self.handle_timeout(now);
        if self.is_straggler(packet) {
            return Ok(());
        }
        let continues = self
            .active
            .filter(|active| active.continues_with(digit, packet.timestamp));
        let mut active = match continues {
            Some(active) => active,
            None => {
                // The end of the event before was lost.
                self.end_active();
                self.output(DigitProgress::Started(digit));
                ActiveEvent {
                    digit,
                    clock_rate_hz: clock_rate_hz.max(1),
                    timestamp: packet.timestamp,
                    segment_ticks: 0,
                    earlier_ticks: 0,
                    last_heard: now,
                }
            }
        };
        if active.timestamp != packet.timestamp {
            let segment = packet
                .timestamp
                .distance_from(active.timestamp)
                .unsigned_abs();
            active.earlier_ticks = active.earlier_ticks.saturating_add(segment);
            active.timestamp = packet.timestamp;
            active.segment_ticks = 0;
        }
        active.segment_ticks = active.segment_ticks.max(ticks);
        active.last_heard = now;
        self.newest = Some((packet.ssrc, packet.timestamp));
        self.active = Some(active);
        if flags & END_BIT != 0 {
            self.end_active();
        }
        Ok(())
    }

    /// When an event under way counts as ended unless more of it is heard.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.active.map(|active| active.last_heard + EVENT_TIMEOUT)
    }

    /// Ends an event of which nothing was heard for [`EVENT_TIMEOUT`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|timeout| timeout <= now) {
            self.end_active();
        }
    }

    /// What happened, oldest first.
    pub fn poll(&mut self) -> Option<DigitProgress> {
        self.outputs.pop_front()
    }

    /// Older than the newest event, or of one that is over.
    fn is_straggler(&self, packet: &MediaPacket<'_>) -> bool {
        let Some((_, newest)) = self.newest.filter(|(ssrc, _)| *ssrc == packet.ssrc) else {
            return false;
        };
        let ahead = packet.timestamp.distance_from(newest);
        let is_over = self.active.is_none();
        (ahead == 0 && is_over) || (-STRAGGLER_TICKS_MAX..0).contains(&ahead)
    }

    fn end_active(&mut self) {
        if let Some(active) = self.active.take() {
            let ticks = u64::from(active.earlier_ticks) + u64::from(active.segment_ticks);
            let duration_ms = ticks * 1000 / u64::from(active.clock_rate_hz);
            self.output(DigitProgress::Ended(DigitReceived {
                digit: active.digit,
                duration_ms: u32::try_from(duration_ms).unwrap_or(u32::MAX),
            }));
        }
    }

    /// A caller that polls after every packet never meets the limit; one that does not loses the oldest.
    fn output(&mut self, output: DigitProgress) {
        if self.outputs.len() == OUTPUTS_MAX {
            self.outputs.pop_front();
        }
        self.outputs.push_back(output);
    }
}

impl ActiveEvent {
    /// The same segment, or the next one of the same long event (RFC 4733 section 2.5.1.3).
    fn continues_with(&self, digit: char, timestamp: RtpTimestamp) -> bool {
        let ahead = timestamp.0.wrapping_sub(self.timestamp.0);
        let follows = ahead == SEGMENT_TICKS_MAX
            || (ahead == self.segment_ticks && ahead >= SEGMENT_TICKS_MIN);
        digit == self.digit && (ahead == 0 || follows)
    }
}

/// One packet to send: the bridge adds payload type, sequence number and source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPacket {
    /// Set on the first packet of an event.
    pub marker: bool,
    /// The event's beginning in the sink's clock; the same for all its packets.
    pub timestamp: RtpTimestamp,
    /// The telephone-event payload.
    pub payload: [u8; PAYLOAD_LEN],
}

/// Digits as packets in the clock of one sink: every 20 ms with growing duration, the end three times.
///
/// While [`TelephoneEventSender::is_sending`], the sink's audio gives way to the event.
#[derive(Debug)]
pub struct TelephoneEventSender {
    clock_rate_hz: u32,
    queue: VecDeque<QueuedDigit>,
    sending: Option<SendingEvent>,
    /// No event begins earlier: the gap after the one before.
    not_before: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct QueuedDigit {
    event: u8,
    /// `None`: until [`TelephoneEventSender::release`].
    duration_ms: Option<u32>,
    gap_ms: u32,
}

#[derive(Debug, Clone, Copy)]
struct SendingEvent {
    digit: QueuedDigit,
    started_at: Instant,
    next_packet_at: Instant,
    /// Of the segment under way.
    timestamp: RtpTimestamp,
    /// What the packets before told, all segments.
    told_ticks: u32,
    /// Of the segments before.
    earlier_ticks: u32,
    is_first_packet: bool,
    end_packets_left: u8,
}

impl TelephoneEventSender {
    /// A sender for a sink whose telephone-event clock has this rate.
    pub fn new(clock_rate_hz: u32) -> Self {
        Self {
            clock_rate_hz: clock_rate_hz.clamp(1000, 192_000),
            queue: VecDeque::with_capacity(DIGITS_QUEUED_MAX),
            sending: None,
            not_before: None,
        }
    }

    /// Queues digits of `duration_ms` each ([`DIGIT_DURATION_MIN_MS`] to [`DIGIT_DURATION_MAX_MS`], else the nearer of
    /// the two) with silence of `gap_ms` after each.
    ///
    /// # Errors
    /// A character that is no digit, or too many digits; nothing is queued then.
    pub fn start(
        &mut self,
        digits: &str,
        duration_ms: u32,
        gap_ms: u32,
    ) -> Result<(), TelephoneEventError> {
        let before = self.queue.len();
        for digit in digits.chars() {
            let queued = self.enqueue(digit, Some(clamp_duration(duration_ms)), gap_ms);
            if let Err(error) = queued {
                self.queue.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Queues a digit whose length is not known yet: a far end holds the key down. [`TelephoneEventSender::release`]
    /// ends it, and so does [`DIGIT_DURATION_MAX_MS`].
    ///
    /// # Errors
    /// As [`TelephoneEventSender::start`].
    pub fn press(&mut self, digit: char, gap_ms: u32) -> Result<(), TelephoneEventError> {
        self.enqueue(digit, None, gap_ms)
    }

    /// Says how long the oldest digit of [`TelephoneEventSender::press`] that has no end yet lasts: at least what was
    /// told of it already. No-op when there is none.
    pub fn release(&mut self, duration_ms: u32) {
        let sending = self.sending.iter_mut().map(|sending| &mut sending.digit);
        let mut digits = sending.chain(self.queue.iter_mut());
        if let Some(open) = digits.find(|digit| digit.duration_ms.is_none()) {
            open.duration_ms = Some(clamp_duration(duration_ms));
        }
    }

    /// Is an event under way or waiting?
    pub fn is_sending(&self) -> bool {
        self.sending.is_some() || !self.queue.is_empty()
    }

    /// When [`TelephoneEventSender::poll`] has the next packet.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        match &self.sending {
            Some(sending) => Some(sending.next_packet_at),
            None if self.queue.is_empty() => None,
            None => Some(
                self.not_before
                    .map_or(now, |not_before| not_before.max(now)),
            ),
        }
    }

    /// The next packet, if it is due. `sink_timestamp` is what an audio packet sent now would bear: an event that
    /// begins takes it. Call it until it returns `None`.
    pub fn poll(&mut self, now: Instant, sink_timestamp: RtpTimestamp) -> Option<EventPacket> {
        if self.sending.is_none() {
            if self.not_before.is_some_and(|not_before| now < not_before) {
                return None;
            }
            let digit = self.queue.pop_front()?;
            self.sending = Some(SendingEvent {
                digit,
                started_at: now,
                next_packet_at: now,
                timestamp: sink_timestamp,
                told_ticks: 0,
                earlier_ticks: 0,
                is_first_packet: true,
                end_packets_left: END_PACKETS,
            });
        }
        let clock_rate_hz = self.clock_rate_hz;
        let sending = self
            .sending
            .as_mut()
            .filter(|sending| sending.next_packet_at <= now)?;
        if now.saturating_duration_since(sending.next_packet_at) > CATCH_UP_MAX {
            sending.next_packet_at = now;
        }
        let packet = sending.next_packet(clock_rate_hz);
        if sending.end_packets_left == 0 {
            let told_ms = u64::from(sending.told_ticks) * 1000 / u64::from(clock_rate_hz);
            let gap = Duration::from_millis(u64::from(sending.digit.gap_ms));
            let gap_ends = sending.started_at + Duration::from_millis(told_ms) + gap;
            // The last end packet's interval is part of the event on the wire.
            self.not_before = Some(gap_ends.max(sending.next_packet_at));
            self.sending = None;
        }
        Some(packet)
    }

    fn enqueue(
        &mut self,
        digit: char,
        duration_ms: Option<u32>,
        gap_ms: u32,
    ) -> Result<(), TelephoneEventError> {
        let event = event_of_digit(digit).ok_or(TelephoneEventError::NoDigit(digit))?;
        if self.queue.len() >= DIGITS_QUEUED_MAX {
            return Err(TelephoneEventError::QueueFull);
        }
        self.queue.push_back(QueuedDigit {
            event,
            duration_ms,
            gap_ms,
        });
        Ok(())
    }
}

impl SendingEvent {
    fn next_packet(&mut self, clock_rate_hz: u32) -> EventPacket {
        let ticks_of = |ms: u32| (u64::from(ms) * u64::from(clock_rate_hz) / 1000) as u32;
        // What was told already can't be taken back.
        let duration_ticks = ticks_of(self.digit.duration_ms.unwrap_or(DIGIT_DURATION_MAX_MS));
        let last_ticks = duration_ticks.max(self.told_ticks).max(self.earlier_ticks);
        let next_ticks = (self.told_ticks + ticks_of(EVENT_PACKET_INTERVAL_MS)).min(last_ticks);

        if next_ticks - self.earlier_ticks > SEGMENT_TICKS_MAX {
            // RFC 4733 section 2.5.1.3: the full segment is told without E, and the next one begins where it ends.
            let packet = self.packet(SEGMENT_TICKS_MAX, false);
            self.earlier_ticks += SEGMENT_TICKS_MAX;
            self.timestamp = self.timestamp.wrapping_add(SEGMENT_TICKS_MAX);
            return packet;
        }
        let ends = next_ticks == last_ticks;
        self.told_ticks = next_ticks;
        if ends {
            self.end_packets_left -= 1;
        }
        self.next_packet_at += Duration::from_millis(u64::from(EVENT_PACKET_INTERVAL_MS));
        self.packet(next_ticks - self.earlier_ticks, ends)
    }

    fn packet(&mut self, segment_ticks: u32, ends: bool) -> EventPacket {
        let [_, _, high, low] = segment_ticks.to_be_bytes();
        let flags = VOLUME | if ends { END_BIT } else { 0 };
        EventPacket {
            marker: std::mem::take(&mut self.is_first_packet),
            timestamp: self.timestamp,
            payload: [self.digit.event, flags, high, low],
        }
    }
}

fn clamp_duration(duration_ms: u32) -> u32 {
    duration_ms.clamp(DIGIT_DURATION_MIN_MS, DIGIT_DURATION_MAX_MS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::rtp::{PayloadType, SequenceNumber};
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

    fn payload(event: u8, end: bool, ticks: u16) -> [u8; 4] {
        let [high, low] = ticks.to_be_bytes();
        [event, if end { 0x8a } else { 0x0a }, high, low]
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
                RtpTimestamp((elapsed_ms * u64::from(sender.clock_rate_hz) / 1000) as u32);
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
    fn every_digit_has_its_event() {
        for (event, digit) in DIGITS.iter().enumerate() {
            assert_eq!(digit_of_event(event as u8), Some(char::from(*digit)));
            assert_eq!(event_of_digit(char::from(*digit)), Some(event as u8));
        }
        assert_eq!(event_of_digit('d'), Some(15));
        assert_eq!(digit_of_event(16), None);
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
    fn other_events_are_no_digits_and_short_payloads_are_refused() {
        let now = Instant::now();
        let mut receiver = TelephoneEventReceiver::new();
        receiver
            .handle_packet(now, &packet(0, &payload(16, true, 800)), 8000)
            .unwrap();
        assert_eq!(outputs(&mut receiver), []);
        let short = receiver.handle_packet(now, &packet(0, &[1, 2, 3]), 8000);
        assert_eq!(short, Err(TelephoneEventError::TooShort(3)));
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
                VOLUME
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
            packets in proptest::collection::vec((any::<u16>(), any::<[u8; 4]>(), 0_u64..400), 0..100)
        ) {
            let mut now = Instant::now();
            let mut receiver = TelephoneEventReceiver::new();
            let mut held = None;
            for (timestamp, mut event, gap_ms) in packets {
                now += ms(gap_ms);
                event[0] %= 18;
                receiver.handle_packet(now, &packet(u32::from(timestamp) * 16, &event), 8000).unwrap();
                for output in outputs(&mut receiver) {
                    match output {
                        DigitProgress::Started(digit) => prop_assert_eq!(held.replace(digit), None),
                        DigitProgress::Ended(ended) => prop_assert_eq!(held.take(), Some(ended.digit)),
                    }
                }
            }
        }
    }
}
