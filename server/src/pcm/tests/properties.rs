//! What holds whatever happens.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Audio(Vec<u8>),
    Mark(u8),
    Clear,
    Packet { skip: i16, len: usize, marker: bool },
    DropOutgoing,
    Time(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..2_000).prop_map(Step::Audio),
        1 => any::<u8>().prop_map(Step::Mark),
        1 => Just(Step::Clear),
        6 => (prop_oneof![4 => Just(0), 1 => -2_000..2_000_i16], 0..1_000_usize, any::<bool>())
            .prop_map(|(skip, len, marker)| Step::Packet { skip, len, marker }),
        1 => Just(Step::DropOutgoing),
        6 => prop_oneof![4 => 1..40_u64, 1 => 40..2_000_u64].prop_map(Step::Time),
    ]
}

fn encoding() -> impl Strategy<Value = Encoding> {
    prop_oneof![Just(Encoding::Mulaw), Just(WIDE), Just(WIDEST)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn clocks_go_forward_marks_come_back_in_order_and_everything_is_bounded(
        encoding in encoding(),
        continuous in any::<bool>(),
        barge_in in any::<bool>(),
        steps in vec(step(), 1..120),
    ) {
        let mut harness = Harness::new(PcmConfig {
            continuous,
            barge_in: barge_in.then_some(Duration::from_millis(60)),
            queue_ms_max: 500,
            ..config(encoding)
        });
        let (mut marks, mut sequence, mut timestamp) = (Vec::new(), 0_u16, 0_u32);
        for step in steps {
            match step {
                Step::Audio(wire) => harness.hears(&wire),
                Step::Mark(name) => {
                    harness.leg.handle_mark(harness.now(), &name.to_string()).unwrap();
                    marks.push(name.to_string());
                }
                Step::Clear => {
                    harness.leg.handle_clear(harness.now());
                }
                Step::Packet { skip, len, marker } => {
                    timestamp = timestamp.wrapping_add_signed(i32::from(skip));
                    harness.gets_marked(marker, sequence, timestamp, &vec![0x55; len]);
                    sequence = sequence.wrapping_add(1);
                    timestamp = timestamp.wrapping_add((len / encoding.sample_bytes()) as u32);
                }
                Step::DropOutgoing => harness.leg.drop_outgoing(),
                Step::Time(milliseconds) => harness.tick_after(milliseconds),
            }
        }
        harness.pass(1_000);
        let frame_ticks = encoding.sample_rate().samples(20) as u32;
        for (packet, n) in harness.packets.iter().zip(0..) {
            prop_assert_eq!(packet.sequence, n);
            prop_assert_eq!(packet.ticks % frame_ticks, 0);
            prop_assert_eq!(packet.payload.len(), encoding.frame_bytes());
        }
        for pair in harness.packets.windows(2) {
            let passed = (pair[1].ticks.wrapping_sub(pair[0].ticks)) as i32;
            prop_assert!(passed > 0);
            prop_assert!(pair[1].marker || passed as u32 == frame_ticks);
        }
        let told: Vec<&str> = harness.marks().into_iter().map(|(_, mark)| mark).collect();
        prop_assert_eq!(told, marks, "all, and in order");
        let statistics = harness.statistics();
        prop_assert!(harness.queue_peak_ms <= 500);
        prop_assert_eq!(statistics.queue_ms, 0);
        let from_socket = statistics.from_socket;
        prop_assert_eq!(
            from_socket.frames + from_socket.concealed,
            harness.packets.len() as u64
        );
        let to_socket = statistics.to_socket;
        prop_assert_eq!(
            to_socket.frames + to_socket.concealed + to_socket.silence,
            harness.frames.len() as u64
        );
        if continuous {
            let slots = harness.now_ms / 20 + 1;
            prop_assert!(harness.frames.len() as u64 <= slots);
        }
    }

    #[test]
    fn however_a_stream_is_cut_the_same_comes_out(
        encoding in encoding(),
        cuts in vec(0..3_000_usize, 1..60),
    ) {
        let mut harness = Harness::new(config(encoding));
        let sent: Vec<u8> = (0..60).flat_map(|n| loud(encoding, n)).collect();
        let mut rest = &sent[..];
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            harness.hears(piece);
            rest = after;
        }
        harness.hears(rest);
        harness.pass(1_215);
        let heard: Vec<u8> = harness.packets.iter().flat_map(|p| p.payload.clone()).collect();
        prop_assert_eq!(heard, turned(encoding, &sent));
    }

    #[test]
    fn in_time_is_in_time_whatever_the_jitter_below_the_target(
        encoding in encoding(),
        jitter in vec(0..25_u64, 50..150),
    ) {
        let mut harness = Harness::new(config(encoding));
        let ticks = encoding.sample_rate().samples(20) as u32;
        let mut due: Vec<(u64, usize)> = jitter
            .iter()
            .enumerate()
            .map(|(n, jitter)| (50 + 20 * n as u64 + jitter * u64::from(n > 0), n))
            .collect();
        due.sort_unstable();
        for (at_ms, n) in due {
            while harness.now_ms < at_ms {
                harness.tick_after(1);
            }
            harness.gets(n as u16, n as u32 * ticks, &turned(encoding, &loud(encoding, n)));
        }
        harness.pass(10);
        let sounding: Vec<_> = harness.sounding().collect();
        for (frame, n) in sounding.iter().zip(0..) {
            prop_assert_eq!(&frame.wire, &loud(encoding, n));
        }
        prop_assert!(sounding.len() + 4 >= jitter.len());
    }
}
