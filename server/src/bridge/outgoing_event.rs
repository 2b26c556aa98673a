//! One RFC 4733 event on its way to a sink: payloads, cut into segments where a duration outgrows 16 bits (section
//! 2.5.1.3).

use smallvec::SmallVec;

use super::TelephoneEventFormat;
use crate::rtp::RtpTimestamp;

/// How often an event's last packet is sent (section 2.5.1.4).
pub(super) const END_PACKETS: u8 = 3;
/// The longest duration that one segment can tell, in ticks.
pub(super) const SEGMENT_TICKS_MAX: u64 = 0xffff;
/// Packets that one cause can have: seven segments at the highest ratio of clocks (6), the end thrice, the end of the
/// event before as well.
const PACKETS_MAX: usize = 16;

/// A packet for the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventPacket {
    pub marker: bool,
    pub timestamp: RtpTimestamp,
    pub payload: [u8; 4],
}

/// The packets that one arrival or one tick of the clock leads to.
pub(super) type EventPackets = SmallVec<[EventPacket; PACKETS_MAX]>;

#[derive(Debug, Clone)]
pub(super) struct OutgoingEvent {
    event: u8,
    volume: u8,
    /// Where the current segment begins.
    timestamp: RtpTimestamp,
    /// Ticks of the segments before.
    earlier_ticks: u64,
    is_begun: bool,
}

impl OutgoingEvent {
    /// An event that begins at `timestamp`. `volume` is the power below 0 dBm0 in dB, 0..=63.
    pub fn new(event: u8, volume: u8, timestamp: RtpTimestamp) -> Self {
        Self {
            event,
            volume,
            timestamp,
            earlier_ticks: 0,
            is_begun: false,
        }
    }

    /// The event has lasted `total_ticks` of the sink's event clock by now, and with `end` is over.
    pub fn send(&mut self, total_ticks: u64, end: bool, packets: &mut EventPackets) {
        let mut segment_ticks = total_ticks.saturating_sub(self.earlier_ticks);
        while segment_ticks > SEGMENT_TICKS_MAX {
            self.push(SEGMENT_TICKS_MAX, false, packets);
            self.earlier_ticks += SEGMENT_TICKS_MAX;
            self.timestamp = self.timestamp.wrapping_add(SEGMENT_TICKS_MAX as u32);
            segment_ticks -= SEGMENT_TICKS_MAX;
        }
        self.push(segment_ticks, end, packets);
    }

    fn push(&mut self, segment_ticks: u64, end: bool, packets: &mut EventPackets) {
        let duration = segment_ticks.min(SEGMENT_TICKS_MAX) as u16;
        let [high, low] = duration.to_be_bytes();
        packets.push(EventPacket {
            marker: !std::mem::replace(&mut self.is_begun, true),
            timestamp: self.timestamp,
            payload: [self.event, u8::from(end) << 7 | self.volume & 0x3f, high, low],
        });
    }
}

/// The clock of a format, held to the rates of our codecs: a made-up one must not make endless segments.
pub(super) fn event_clock_hz(format: TelephoneEventFormat) -> u64 {
    u64::from(format.clock_rate_hz.clamp(8_000, 48_000))
}

/// The character of events 0-15; none for others.
pub(super) fn digit_of(event: u8) -> Option<char> {
    DIGITS.get(usize::from(event)).map(|digit| char::from(*digit))
}

/// The event of a character, in either case.
pub(super) fn event_of(digit: char) -> Option<u8> {
    let digit = u8::try_from(digit.to_ascii_uppercase()).ok()?;
    let event = DIGITS.iter().position(|other| *other == digit)?;
    u8::try_from(event).ok()
}

const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_events_are_one_to_one() {
        for event in 0..=15 {
            assert_eq!(digit_of(event).and_then(event_of), Some(event));
        }
        assert_eq!(event_of('d'), Some(15));
        assert_eq!(event_of('e'), None);
        assert_eq!(event_of('٣'), None);
        assert_eq!(digit_of(16), None);
    }

    #[test]
    fn long_events_are_cut_into_segments() {
        let mut event = OutgoingEvent::new(5, 10, RtpTimestamp(100));
        let mut packets = EventPackets::new();
        event.send(960, false, &mut packets);
        event.send(70_000, true, &mut packets);
        let seen: Vec<_> = packets
            .iter()
            .map(|packet| {
                let duration = u16::from_be_bytes([packet.payload[2], packet.payload[3]]);
                (packet.marker, packet.timestamp.0, packet.payload[1], duration)
            })
            .collect();
        assert_eq!(
            seen,
            [
                (true, 100, 10, 960),
                (false, 100, 10, 0xffff),
                (false, 65_635, 0x8a, 4_465),
            ]
        );
    }
}
