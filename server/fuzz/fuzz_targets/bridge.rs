//! One way through the bridge, of any two formats, under arbitrary packets, holds, digits and renegotiations: it always
//! settles, its packets are the sink's, and transcoded ones are numbered without a gap, beyond all that passed before.
#![no_main]

use std::time::Duration;

use codecs::opus::{Conditions, Limits};
use libfuzzer_sys::fuzz_target;
use server::bridge::{
    DigitTones, Direction, DirectionOptions, Output, PAYLOAD_LEN_MAX, PacketKind,
};
use server::rtp::{MediaPacket, PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use server_fuzz::{Script, format};

/// What one step can bring at most: a second of audio in frames of 10 ms, digits and events.
const OUTPUTS_MAX: usize = 256;
/// Times that a direction may want to be called again for what is due now.
const ROUNDS_MAX: usize = 16;

struct Source {
    sequence_number: u16,
    timestamp: u32,
}

/// What the sink has seen so far.
#[derive(Clone, Copy)]
struct Seen {
    /// The newest number; in passthrough a late packet has an older one.
    newest: SequenceNumber,
    /// Whether the plan has been a transcoding one since the last packet: only such are numbered without a gap.
    transcoded: bool,
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let (mut from, mut to) = (format(script.choice()), format(script.choice()));
    let options = DirectionOptions {
        reorder_wait: Duration::from_millis(20),
        force_transcode: script.choice() & 1 != 0,
        tones_to_sink: DigitTones::Always,
        tones_from_source: DigitTones::Always,
        initial_sequence_number: SequenceNumber(0xfff0),
        initial_timestamp: RtpTimestamp(0xffff_f000),
    };
    let mut direction = Direction::new(&from, &to, options).expect("memory for two codecs");
    let mut source = Source {
        sequence_number: 0,
        timestamp: 0,
    };
    let mut seen: Option<Seen> = None;
    for step in script {
        let now = step.now;
        match (step.kind, step.bytes) {
            (0, payload) => {
                source.step(1, from.codec.clock_rate_hz(), from.ptime_ms);
                direction.handle_packet(now, &source.packet(from.payload_type, 1, payload));
            }
            (1, [steps, payload @ ..]) => {
                source.step(
                    i16::from(*steps as i8),
                    from.codec.clock_rate_hz(),
                    from.ptime_ms,
                );
                direction.handle_packet(now, &source.packet(from.payload_type, 1, payload));
            }
            (2, [steps, payload @ ..]) => {
                source.step(
                    i16::from(steps & 1),
                    from.codec.clock_rate_hz(),
                    from.ptime_ms,
                );
                direction.handle_packet(now, &source.packet(PayloadType(101), 1, payload));
            }
            (3, [s0, s1, t0, t1, t2, t3, number, ssrc, payload @ ..]) => {
                source.sequence_number = u16::from_be_bytes([*s0, *s1]);
                source.timestamp = u32::from_be_bytes([*t0, *t1, *t2, *t3]);
                let number = PayloadType(number & 0x7f);
                direction.handle_packet(now, &source.packet(number, u32::from(*ssrc), payload));
            }
            (4, [held, ..]) => direction.set_held(held & 1 != 0),
            (5, digits) => {
                let digits = String::from_utf8_lossy(digits);
                let _refused = direction.send_digits(now, &digits, 100);
            }
            (6, [source, sink, ..]) => {
                (from, to) = (format(*source), format(*sink));
                direction
                    .replace_formats(now, &from, &to)
                    .expect("memory for two codecs");
                if let Some(seen) = &mut seen {
                    seen.transcoded &= direction.plan().is_transcode();
                }
            }
            (7, [loss_pct, restart, ..]) => {
                let conditions = Conditions {
                    available_bps: 250 * u32::from(*restart),
                    loss_fraction: f64::from(*loss_pct) / 100.0,
                    cpu_is_scarce: loss_pct & 1 != 0,
                };
                direction.adapt(&Limits::default(), &conditions);
                if restart & 1 != 0 {
                    direction.reset_source();
                }
            }
            _ => {}
        }
        seen = drain(&mut direction, seen);
        for round in 0.. {
            if direction.poll_timeout().is_none_or(|due| due > now) {
                break;
            }
            assert!(round < ROUNDS_MAX, "a timeout that stays due");
            direction.handle_timeout(now);
            seen = drain(&mut direction, seen);
        }
    }
});

fn drain(direction: &mut Direction, mut seen: Option<Seen>) -> Option<Seen> {
    let mut payload = [0; PAYLOAD_LEN_MAX];
    for count in 0.. {
        let Some(output) = direction.poll_output(&mut payload) else {
            break;
        };
        assert!(count < OUTPUTS_MAX, "one step led to {count} outputs");
        let Output::Packet {
            kind,
            payload_type,
            sequence_number,
            payload_len,
            ..
        } = output
        else {
            continue;
        };
        assert!(payload_len <= PAYLOAD_LEN_MAX);
        let sink = direction.sink();
        match kind {
            PacketKind::Audio => assert_eq!(payload_type, sink.payload_type),
            PacketKind::TelephoneEvent => assert_eq!(payload_len, 4),
        }
        let transcoded = direction.plan().is_transcode();
        let ahead = seen.map_or(1, |seen| sequence_number.distance_from(seen.newest));
        match seen {
            Some(seen) if transcoded && seen.transcoded => assert_eq!(ahead, 1),
            _ if transcoded => assert!(ahead > 0, "a number behind the newest"),
            _ => assert_ne!(ahead, 0, "one number for two packets"),
        }
        seen = Some(Seen {
            newest: match seen {
                Some(seen) if ahead < 0 => seen.newest,
                _ => sequence_number,
            },
            transcoded,
        });
    }
    seen
}

impl Source {
    fn step(&mut self, steps: i16, clock_rate_hz: u32, ptime_ms: u8) {
        let ticks = clock_rate_hz / 1000 * u32::from(ptime_ms);
        self.sequence_number = self.sequence_number.wrapping_add_signed(steps);
        self.timestamp = self
            .timestamp
            .wrapping_add_signed(i32::from(steps) * ticks as i32);
    }

    fn packet<'a>(
        &self,
        payload_type: PayloadType,
        ssrc: u32,
        payload: &'a [u8],
    ) -> MediaPacket<'a> {
        MediaPacket {
            marker: false,
            payload_type,
            sequence_number: SequenceNumber(self.sequence_number),
            timestamp: RtpTimestamp(self.timestamp),
            ssrc: Ssrc(ssrc),
            payload,
        }
    }
}
