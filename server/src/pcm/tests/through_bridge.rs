//! Two legs of PCM with the bridge between them: an agent on Twilio's call.

use codecs::digit::DigitProgress;
use codecs::dtmf::ToneDetector;

use super::*;
use crate::bridge::{Bridge, DigitTones, DirectionOptions, Output, PAYLOAD_LEN_MAX};
use crate::id::LegId;

struct Call {
    caller: Harness,
    agent: Harness,
    bridge: Bridge,
    /// Packets of the caller's leg that went into the bridge.
    bridged: usize,
}

impl Call {
    fn new(caller: Encoding, agent: Encoding) -> Self {
        let options = DirectionOptions {
            reorder_wait: Duration::from_millis(20),
            force_transcode: false,
            tones_to_sink: DigitTones::WhereCarried,
            tones_from_source: DigitTones::Never,
            initial_sequence_number: SequenceNumber(1),
            initial_timestamp: RtpTimestamp(1),
        };
        let bridge = Bridge::connect(
            (LegId::VENDOR, &caller.leg_format(), options),
            (LegId::TRUNK, &agent.leg_format(), options),
        );
        let (caller, mut agent) = (Harness::new(config(caller)), Harness::new(config(agent)));
        agent.start = caller.start;
        Self {
            caller,
            agent,
            bridge: bridge.unwrap(),
            bridged: 0,
        }
    }

    /// A ms goes by.
    fn tick(&mut self) {
        self.caller.tick_after(1);
        let now = self.caller.now();
        self.bridge.handle_timeout(now);
        for packet in &self.caller.packets[self.bridged..] {
            let packet = MediaPacket {
                marker: packet.marker,
                payload_type: self.caller.encoding.leg_format().source.payload_type,
                sequence_number: SequenceNumber(FIRST_SEQUENCE.wrapping_add(packet.sequence)),
                timestamp: RtpTimestamp(FIRST_TIMESTAMP.wrapping_add(packet.ticks)),
                ssrc: Ssrc(1),
                payload: &packet.payload,
            };
            self.bridge.handle_packet(LegId::VENDOR, now, &packet);
        }
        self.bridged = self.caller.packets.len();
        self.drain(now);
        self.agent.tick_after(1);
    }

    fn drain(&mut self, now: Instant) {
        let mut payload = [0; PAYLOAD_LEN_MAX];
        while let Some((_, output)) = self.bridge.poll_output(&mut payload) {
            let Output::Packet {
                marker,
                payload_type,
                sequence_number,
                timestamp,
                payload_len,
                ..
            } = output
            else {
                continue;
            };
            let packet = MediaPacket {
                marker,
                payload_type,
                sequence_number,
                timestamp,
                ssrc: Ssrc(1),
                payload: &payload[..payload_len],
            };
            self.agent.leg.handle_packet(now, &packet);
        }
    }

    /// The caller says `frames`, in real time.
    fn says(&mut self, frames: impl Iterator<Item = Vec<u8>>) {
        for frame in frames {
            self.caller.hears(&frame);
            (0..20).for_each(|_| self.tick());
        }
    }
}

#[test]
fn mu_law_goes_through_byte_for_byte() {
    let mut call = Call::new(Encoding::Mulaw, Encoding::Mulaw);
    call.says((0..200).map(|n| loud(Encoding::Mulaw, n)));
    let sounding: Vec<_> = call.agent.sounding().collect();
    assert!(sounding.len() >= 195);
    for (frame, n) in sounding.iter().zip(0..) {
        assert_eq!(frame.wire, loud(Encoding::Mulaw, n));
    }
    assert!(sounding[0].at_ms <= 71, "{} ms", sounding[0].at_ms);
}

#[test]
fn other_encodings_lose_and_make_up_nothing() {
    for (caller, agent) in [
        (Encoding::Mulaw, WIDE),
        (WIDEST, Encoding::Mulaw),
        (WIDE, WIDEST),
        (Encoding::Linear16(SampleRate::Hz8000), Encoding::Mulaw),
    ] {
        let mut call = Call::new(caller, agent);
        call.says((0..200).map(|n| loud(caller, n)));
        let flow = call.agent.statistics().to_socket;
        assert_eq!(
            (flow.concealed, flow.dropped),
            (0, 0),
            "{caller:?}>{agent:?}"
        );
        assert!(flow.frames >= 195, "{caller:?}>{agent:?}");
    }
}

#[test]
fn digits_are_heard_as_tones() {
    for encoding in [Encoding::Mulaw, WIDE] {
        let mut call = Call::new(Encoding::Mulaw, encoding);
        call.says((0..50).map(|n| loud(Encoding::Mulaw, n)));
        let now = call.caller.now();
        let towards_agent = call.bridge.route_towards_mut(LegId::TRUNK).unwrap();
        towards_agent.direction.send_digits(now, "15", 100).unwrap();
        call.drain(now);
        call.says((50..100).map(|n| quiet(Encoding::Mulaw, n)));
        let mut ear = ToneDetector::new(encoding.sample_rate());
        let mut heard = String::new();
        for frame in &call.agent.frames {
            let mut pcm = vec![0; encoding.sample_rate().samples(20)];
            encoding.decode(&frame.wire, &mut pcm);
            ear.process(&pcm, |progress| {
                if let DigitProgress::Ended(digit) = progress {
                    heard.push(digit.digit);
                }
            });
        }
        assert_eq!(heard, "15", "{encoding:?}");
    }
}
