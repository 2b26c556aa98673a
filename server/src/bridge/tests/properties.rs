//! Whatever a source sends: no panic, sequence numbers that are right, clocks that never go back.

use std::collections::HashSet;

use codecs::opus::{Conditions, Limits};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Arrival {
    sequence_step: i32,
    ticks_step: i32,
    elapsed_ms: u64,
    payload_type: u8,
    marker: bool,
    ssrc: u32,
    payload: Vec<u8>,
    control: u8,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let sequence_step = prop_oneof![8 => Just(1), 2 => -5..6, 1 => any::<i32>()];
    let ticks_step = prop_oneof![8 => Just(160), 2 => -500..2_000, 1 => any::<i32>()];
    let payload_type = prop_oneof![8 => Just(AUDIO), 3 => Just(EVENT), 1 => any::<u8>()];
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..8),
        proptest::collection::vec(any::<u8>(), 0..400),
        (0u8..16, any::<u8>(), any::<u16>()).prop_map(|(event, flags, duration)| {
            let [high, low] = duration.to_be_bytes();
            vec![event, flags, high, low]
        }),
        (0usize..1_700).prop_map(|len| vec![0x55; len]),
    ];
    let ssrc = prop_oneof![9 => Just(1u32), 1 => 0..4u32];
    let elapsed_ms = prop_oneof![6 => Just(20u64), 2 => 0..60u64, 1 => 0..5_000u64];
    (
        sequence_step,
        ticks_step,
        elapsed_ms,
        payload_type,
        any::<bool>(),
        ssrc,
        payload,
        any::<u8>(),
    )
        .prop_map(
            |(
                sequence_step,
                ticks_step,
                elapsed_ms,
                payload_type,
                marker,
                ssrc,
                payload,
                control,
            )| {
                Arrival {
                    sequence_step,
                    ticks_step,
                    elapsed_ms,
                    payload_type,
                    marker,
                    ssrc,
                    payload,
                    control,
                }
            },
        )
}

/// Plays arrivals into a direction, with hold, digits and renegotiation now and then.
fn play(source: Codec, sink: Codec, forced: bool, arrivals: &[Arrival]) -> Harness {
    let source = format_with_events(source);
    let sink = format_with_events(sink);
    let harness = Harness::with_options(&source, &sink, options(forced));
    play_into(harness, arrivals)
}

fn play_into(mut harness: Harness, arrivals: &[Arrival]) -> Harness {
    let (mut sequence, mut timestamp) = (1_000u16, 50_000u32);
    for arrival in arrivals {
        harness.pass(arrival.elapsed_ms);
        harness.ssrc = arrival.ssrc;
        sequence = sequence.wrapping_add(arrival.sequence_step as u16);
        timestamp = timestamp.wrapping_add(arrival.ticks_step as u32);
        harness.send(
            arrival.payload_type,
            arrival.marker,
            sequence,
            timestamp,
            &arrival.payload,
        );
        match arrival.control {
            0..4 => harness.direction.set_held(true),
            4..16 => harness.direction.set_held(false),
            16..20 => {
                let _ = harness.direction.send_digits(harness.now, "4", 60);
                harness.drain();
            }
            20..22 => harness.direction.reset_source(),
            22..24 => harness.direction.adapt(
                &Limits::default(),
                &Conditions {
                    available_bps: u32::from(arrival.control) * 1_000,
                    loss_fraction: f64::from(arrival.control - 22),
                    cpu_is_scarce: arrival.control == 23,
                },
            ),
            _ => {}
        }
    }
    harness.pass(10_000);
    harness
}

fn plan() -> impl Strategy<Value = (Codec, Codec, bool)> {
    prop_oneof![
        Just((Codec::Opus, Codec::Pcmu, false)),
        Just((Codec::Pcmu, Codec::Opus, false)),
        Just((Codec::Pcmu, Codec::Pcma, false)),
        Just((L16, Codec::Pcmu, false)),
        Just((Codec::Pcma, L16, false)),
        Just((L16, Codec::Opus, false)),
        Just((Codec::L16(SampleRate::Hz24000), Codec::Pcmu, false)),
        Just((Codec::Opus, Codec::L16(SampleRate::Hz8000), false)),
        Just((Codec::Opus, Codec::Opus, true)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn transcoding_is_continuous_and_its_clock_goes_forward(
        (source, sink, forced) in plan(),
        arrivals in proptest::collection::vec(arrival(), 1..80),
    ) {
        let harness = play(source, sink, forced, &arrivals);
        for (seen, n) in harness.seen.iter().zip(0u16..) {
            prop_assert_eq!(seen.sequence, n);
        }
        let mut latest: Option<u32> = None;
        for (_, ticks, _) in harness.audio_seen() {
            if let Some(latest) = latest {
                prop_assert!(ticks.wrapping_sub(latest) as i32 > 0, "{} after {}", ticks, latest);
            }
            latest = Some(ticks);
        }
        prop_assert_eq!(harness.statistics().overrun, 0);
    }

    #[test]
    fn passthrough_never_uses_a_number_twice(
        codec in prop_oneof![Just(Codec::Opus), Just(Codec::Pcmu)],
        arrivals in proptest::collection::vec(arrival(), 1..80),
    ) {
        let harness = play(codec, codec, false, &arrivals);
        let mut numbers = HashSet::new();
        for seen in &harness.seen {
            prop_assert!(numbers.insert(seen.sequence), "{} twice", seen.sequence);
        }
        prop_assert_eq!(harness.statistics().overrun, 0);
    }

    #[test]
    fn tones_take_numbers_of_their_own_and_end(
        (source, sink) in prop_oneof![
            Just((Codec::Pcmu, Codec::Pcmu)),
            Just((Codec::Opus, Codec::Opus)),
            Just((Codec::Opus, L16)),
            Just((Codec::Pcma, Codec::Opus)),
        ],
        ptime_ms in prop_oneof![Just(10u8), Just(20), Just(40)],
        arrivals in proptest::collection::vec(arrival(), 1..80),
    ) {
        let sink = StreamFormat { ptime_ms, ..format(sink) };
        let options = DirectionOptions {
            tones_to_sink: DigitTones::Always,
            tones_from_source: DigitTones::Always,
            ..options(false)
        };
        // Once with events of the source that become tones, once with tones of the source that are heard.
        for source in [format_with_events(source), format(source)] {
            let harness = Harness::with_options(&source, &sink, options);
            let mut harness = play_into(harness, &arrivals);
            // As many digits as can wait, each as long as can be.
            for _ in 0..64 {
                harness.pass(10_000);
            }
            let mut numbers = HashSet::new();
            for seen in &harness.seen {
                prop_assert!(numbers.insert(seen.sequence), "{} twice", seen.sequence);
            }
            prop_assert_eq!(harness.statistics().overrun, 0);
            prop_assert_eq!(harness.direction.poll_timeout(), None, "it ends");
        }
    }
}
