//! What the socket says, on its way to the bridge.

use super::*;

/// Plays frames `sent_at` their times, until `until_ms`.
fn play(harness: &mut Harness, sent_at: &[u64], until_ms: u64, frame: impl Fn(usize) -> Vec<u8>) {
    let mut sent = 0;
    while harness.now_ms < until_ms {
        while sent_at.get(sent).is_some_and(|at| *at <= harness.now_ms) {
            harness.hears(&frame(sent));
            sent += 1;
        }
        harness.tick_after(1);
    }
}

/// How long each frame waited that came through untouched, by when it was sent.
fn delays(harness: &Harness, sent_at: &[u64], frame: impl Fn(usize) -> Vec<u8>) -> Vec<(u64, u64)> {
    let mut delays = Vec::new();
    let mut index = 0;
    for packet in &harness.packets {
        let found =
            (index..sent_at.len()).find(|n| turned(harness.encoding, &frame(*n)) == packet.payload);
        if let Some(found) = found {
            delays.push((sent_at[found], packet.at_ms - sent_at[found]));
            index = found + 1;
        }
    }
    delays
}

fn real_time(frames: usize) -> Vec<u64> {
    (0..frames as u64).map(|n| 7 + 20 * n).collect()
}

#[test]
fn a_clean_source_comes_out_frame_for_frame_and_byte_for_byte() {
    for encoding in [Encoding::Mulaw, WIDE, WIDEST] {
        let mut harness = Harness::new(config(encoding));
        let sent_at = real_time(500);
        play(&mut harness, &sent_at, 10_007, |n| loud(encoding, n));
        let frame_ticks = encoding.sample_rate().samples(20) as u32;
        for (packet, n) in harness.packets.iter().zip(0u32..) {
            let expected = Packet {
                at_ms: 27 + 20 * u64::from(n),
                marker: n == 0,
                sequence: n as u16,
                ticks: n * frame_ticks,
                payload: turned(encoding, &loud(encoding, n as usize)),
            };
            assert_eq!(*packet, expected);
        }
        let flow = harness.statistics().from_socket;
        let clean = PcmFlow {
            frames: 500,
            ..PcmFlow::default()
        };
        assert_eq!(
            flow,
            PcmFlow {
                frames: flow.frames,
                ..clean
            }
        );
        assert!((499..=500).contains(&flow.frames));
    }
}

#[test]
fn an_utterance_handed_over_at_once_plays_in_real_time_and_leaves_no_delay() {
    let mut harness = Harness::new(config(WIDE));
    // 10 s in 100 ms, then a pause, then a live voice.
    let mut sent_at: Vec<u64> = (0..500).map(|n| 10 + n / 5).collect();
    sent_at.extend((0..200).map(|n| 12_003 + 20 * n));
    play(&mut harness, &sent_at, 17_000, |n| loud(WIDE, n));
    let delays = delays(&harness, &sent_at, |n| loud(WIDE, n));
    assert_eq!(delays.len(), 700, "nothing is lost");
    for (packet, n) in harness.packets[..500].iter().zip(0u64..) {
        assert_eq!(packet.at_ms, 30 + 20 * n);
    }
    assert!(delays[500..].iter().all(|(_, delay_ms)| *delay_ms == 20));
    let statistics = harness.statistics();
    assert_eq!(statistics.from_socket.dropped, 0);
    assert!((9_880..=10_000).contains(&harness.queue_peak_ms));
    assert_eq!(harness.leg.handle_clear(harness.now()), 14_000);
    // After each end: what was made up, and no more.
    assert_eq!(statistics.from_socket.concealed, 10);
    assert!(harness.packets[505].marker);
    assert_eq!(harness.packets[505].sequence, 505);
    assert_eq!(harness.packets[505].ticks % 320, 0);
    assert_eq!(harness.packets[505].ticks / 320, (12_023 - 30 + 10) / 20);
}

#[test]
fn what_has_no_room_goes_oldest_first_and_is_told() {
    let mut harness = Harness::new(PcmConfig {
        queue_ms_max: 1_000,
        ..config(Encoding::Mulaw)
    });
    let frame = |n| loud(Encoding::Mulaw, n);
    play(&mut harness, &[5; 150], 2_000, frame);
    let heard: Vec<_> = harness
        .packets
        .iter()
        .take(50)
        .map(|p| &p.payload)
        .collect();
    let kept: Vec<_> = (100..150).map(frame).collect();
    assert_eq!(heard, kept.iter().collect::<Vec<_>>());
    let overflow = PcmEvent::Overflow { dropped_ms: 2_000 };
    assert_eq!(harness.events, [(6, overflow)]);
    let flow = harness.statistics().from_socket;
    assert_eq!(
        (flow.frames, flow.dropped, flow.dropped_ms),
        (50, 100, 2_000)
    );
    assert_eq!(harness.queue_peak_ms, 1_000);
}

#[test]
fn jitter_within_the_prefill_is_not_heard() {
    let mut harness = Harness::new(config(Encoding::Mulaw));
    let mut sent_at = real_time(3_000);
    for (n, at) in sent_at.iter_mut().enumerate() {
        *at += scatter(n, 19);
    }
    play(&mut harness, &sent_at, 60_000, |n| loud(Encoding::Mulaw, n));
    let flow = harness.statistics().from_socket;
    assert_eq!((flow.concealed, flow.dropped), (0, 0));
    assert!(flow.frames >= 2_996);
}

#[test]
fn more_jitter_is_heard_at_first_and_then_no_more() {
    let mut harness = Harness::new(config(Encoding::Mulaw));
    let mut sent_at = real_time(3_000);
    let mut latest = 0;
    for (n, at) in sent_at.iter_mut().enumerate() {
        // TCP keeps the order.
        latest = latest.max(*at + scatter(n, 70));
        *at = latest;
    }
    play(&mut harness, &sent_at, 20_000, |n| loud(Encoding::Mulaw, n));
    let at_first = harness.statistics().from_socket;
    assert!(at_first.concealed <= 8, "{at_first:?}");
    let mut harness = Harness::new(config(Encoding::Mulaw));
    play(&mut harness, &sent_at, 59_900, |n| loud(Encoding::Mulaw, n));
    let flow = harness.statistics().from_socket;
    assert!(flow.concealed - at_first.concealed <= 8, "{flow:?}");
    assert!(flow.dropped <= 8, "{flow:?}");
    assert!(harness.statistics().queue_ms <= 120);
}

#[test]
fn a_stall_is_bridged_and_its_delay_goes_again() {
    for live in [loud, quiet] {
        let mut harness = Harness::new(config(Encoding::Mulaw));
        let mut sent_at = real_time(600);
        // What was to come between 2 and 2.5 s comes at the end of it.
        for at in &mut sent_at {
            if (2_000..2_500).contains(at) {
                *at = 2_500;
            }
        }
        let frame = |n| live(Encoding::Mulaw, n);
        play(&mut harness, &sent_at, 12_000, frame);
        let flow = harness.statistics().from_socket;
        assert_eq!(flow.concealed, 5);
        assert!((450..=500).contains(&flow.dropped_ms), "{flow:?}");
        let marked: Vec<_> = harness.packets.iter().filter(|p| p.marker).collect();
        assert_eq!(marked.len(), 2);
        assert_eq!(marked[1].at_ms, 2_520);
        let delay_ms = |from_ms: u64, to_ms: u64| {
            let delays = delays(&harness, &sent_at, frame);
            let mut of_time = delays
                .iter()
                .filter(|(at, _)| (from_ms..to_ms).contains(at));
            of_time.next().map(|(_, delay)| *delay)
        };
        if live(Encoding::Mulaw, 0) == loud(Encoding::Mulaw, 0) {
            assert_eq!(delay_ms(0, 2_000), Some(20));
            assert!(delay_ms(2_600, 3_000) >= Some(400));
            assert!(delay_ms(6_700, 7_000) <= Some(45));
            assert!(delay_ms(11_000, 12_000) <= Some(45));
        }
    }
}

#[test]
fn quiet_frames_go_first_when_a_delay_is_taken_out() {
    let mut harness = Harness::new(config(Encoding::Mulaw));
    // 200 ms at once, then live; every second half a second is quiet.
    let sent_at: Vec<u64> = (0..400)
        .map(|n: u64| 7 + 20 * n.saturating_sub(10))
        .collect();
    let frame = |n: usize| match n / 25 % 2 {
        0 => loud(Encoding::Mulaw, n),
        _ => quiet(Encoding::Mulaw, n),
    };
    play(&mut harness, &sent_at, 7_000, frame);
    let flow = harness.statistics().from_socket;
    assert_eq!(flow.concealed, 0);
    assert!((8..=10).contains(&flow.dropped), "{flow:?}");
    let delays = delays(&harness, &sent_at, frame);
    assert!(delays[0].1 == 20 && delays[100].1 > 180);
    assert!(delays.last().unwrap().1 <= 50);
    let heard: std::collections::HashSet<_> = harness.packets.iter().map(|p| &p.payload).collect();
    let lost_loud = (0..300).filter(|n| n / 25 % 2 == 0 && !heard.contains(&frame(*n)));
    // One is cross-faded after each cut, and none went.
    assert!(lost_loud.count() <= 2);
}

#[test]
fn an_agent_that_is_ahead_loses_no_word() {
    let mut harness = Harness::new(PcmConfig {
        source: PcmSource::Ahead,
        ..config(Encoding::Mulaw)
    });
    // A second at once, then live.
    let sent_at: Vec<u64> = (0..400)
        .map(|n: u64| 7 + 20 * n.saturating_sub(50))
        .collect();
    play(&mut harness, &sent_at, 8_007, |n| loud(Encoding::Mulaw, n));
    let heard: Vec<_> = harness.packets.iter().map(|p| p.payload.clone()).collect();
    let said: Vec<_> = (0..400)
        .map(|n| turned(Encoding::Mulaw, &loud(Encoding::Mulaw, n)))
        .collect();
    assert_eq!(heard, said[..heard.len()]);
    assert_eq!(harness.statistics().from_socket.dropped, 0);
}

#[test]
fn what_an_agent_says_before_the_call_stands_waits_for_it() {
    let mut harness = Harness::before_the_call(PcmConfig {
        source: PcmSource::Ahead,
        continuous: false,
        ..config(Encoding::Mulaw)
    });
    let sent_at = real_time(100);
    // It is silent at first, which nobody waits for.
    play(&mut harness, &sent_at, 1_007, |n| match n {
        0..10 => quiet(Encoding::Mulaw, n),
        _ => loud(Encoding::Mulaw, n),
    });
    assert_eq!(harness.packets, []);
    assert_eq!(harness.leg.poll_timeout(), None, "nothing is due");
    harness.leg.release(harness.now());
    harness.pass(3_000);
    let heard: Vec<_> = harness.packets.iter().map(|p| p.payload.clone()).collect();
    let said: Vec<_> = (10..50)
        .map(|n| turned(Encoding::Mulaw, &loud(Encoding::Mulaw, n)))
        .collect();
    assert_eq!(heard[..40], said);
    assert_eq!(harness.packets[0].at_ms, 1_007 + 20);
    assert!(harness.packets[0].marker && !harness.packets[1].marker);
}

#[test]
fn clocks_that_drift_cost_a_frame_now_and_then() {
    // 200 ppm over ten minutes are 120 ms, or six frames.
    for drift_ppm in [200_i64, -200] {
        let mut harness = Harness::new(config(Encoding::Mulaw));
        let frames = 30_000;
        let sent_at: Vec<u64> = (0..frames)
            .map(|n| (7_000 + 20_000 * n - 20_000 * n * drift_ppm / 1_000_000) as u64 / 1_000)
            .collect();
        let last = sent_at[frames as usize - 1];
        play(&mut harness, &sent_at, last, |n| {
            loud(Encoding::Mulaw, n % 64)
        });
        let flow = harness.statistics().from_socket;
        match drift_ppm > 0 {
            true => assert!(
                flow.concealed == 0 && (4..=7).contains(&flow.dropped),
                "{flow:?}"
            ),
            false => assert!(
                flow.dropped == 0 && (4..=7).contains(&flow.concealed),
                "{flow:?}"
            ),
        }
        assert!(harness.statistics().queue_ms <= 60);
    }
}

#[test]
fn marks_are_told_when_what_was_before_them_was_played() {
    let mut harness = Harness::new(config(Encoding::Mulaw));
    let frame = loud(Encoding::Mulaw, 1);
    harness
        .leg
        .handle_mark(harness.now(), "nothing before")
        .unwrap();
    harness.hears(&frame);
    harness.hears(&frame[..80]);
    harness
        .leg
        .handle_mark(harness.now(), "within a frame")
        .unwrap();
    harness.hears(&frame[80..]);
    harness
        .leg
        .handle_mark(harness.now(), "two frames")
        .unwrap();
    harness
        .leg
        .handle_mark(harness.now(), "and another")
        .unwrap();
    harness.pass(100);
    // Frames at 20 and 40; each lasts 20 ms.
    assert_eq!(
        harness.marks(),
        [
            (1, "nothing before"),
            (60, "within a frame"),
            (60, "two frames"),
            (60, "and another")
        ]
    );
}

#[test]
fn a_clear_stops_at_once_and_tells_what_was_played() {
    let mut harness = Harness::new(config(Encoding::Mulaw));
    for n in 0..100 {
        harness.hears(&loud(Encoding::Mulaw, n));
    }
    harness.leg.handle_mark(harness.now(), "end").unwrap();
    harness.pass(1_010);
    assert_eq!(harness.packets.len(), 50);
    assert_eq!(harness.leg.handle_clear(harness.now()), 1_000);
    harness.pass(1_000);
    assert_eq!(
        harness.packets.len(),
        50,
        "nothing more, and nothing made up"
    );
    assert_eq!(harness.marks(), [(1_011, "end")]);
    assert_eq!(harness.leg.handle_clear(harness.now()), 0);
    for n in 0..5 {
        harness.hears(&loud(Encoding::Mulaw, n));
    }
    harness.pass(70);
    let next = &harness.packets[50];
    assert!(next.marker && next.sequence == 50);
    assert_eq!(next.payload, loud(Encoding::Mulaw, 0));
    assert_eq!(next.at_ms, 2_030);
    assert_eq!(next.ticks, 160 * (50 + 51), "time passed");
    assert_eq!(harness.leg.handle_clear(harness.now()), 60);
    assert_eq!(harness.statistics().from_socket.dropped, 0);
}

#[test]
fn marks_are_bounded() {
    let mut harness = Harness::new(config(Encoding::Mulaw));
    let now = harness.now();
    let long = "x".repeat(MARK_NAME_LEN_MAX + 1);
    let too_long = Err(MarkError::NameTooLong(MARK_NAME_LEN_MAX + 1));
    assert_eq!(harness.leg.handle_mark(now, &long), too_long);
    harness.hears(&[0; 1_600]);
    for _ in 0..MARKS_MAX {
        harness.leg.handle_mark(now, "mark").unwrap();
    }
    assert_eq!(
        harness.leg.handle_mark(now, "mark"),
        Err(MarkError::TooMany)
    );
    harness.leg.handle_clear(now);
    assert_eq!(
        harness.leg.handle_mark(now, "mark"),
        Err(MarkError::TooMany),
        "not polled"
    );
    harness.pass(1);
    assert_eq!(harness.marks().len(), MARKS_MAX);
    assert_eq!(harness.leg.handle_mark(now, "mark"), Ok(()));
}

#[test]
fn a_last_piece_of_a_frame_is_played_too() {
    let mut harness = Harness::new(config(WIDE));
    harness.hears(&loud(WIDE, 1)[..301]);
    harness.leg.handle_mark(harness.now(), "end").unwrap();
    harness.pass(1_000);
    assert_eq!(harness.packets.len(), 5);
    assert_eq!(harness.packets[0].at_ms, 40, "it waited for the rest");
    let piece = turned(WIDE, &loud(WIDE, 1)[..300]);
    assert_eq!(harness.packets[0].payload[..300], piece);
    assert_eq!(harness.marks(), [(60, "end")]);
    assert_eq!(harness.packets[4].payload, [0; 640], "it has faded");
    assert_eq!(harness.leg.handle_clear(harness.now()), 9);
    assert_eq!(
        harness.leg.poll_timeout(),
        Some(harness.now() + Duration::from_millis(20))
    );
}

#[test]
fn late_ticks_shift_nothing_and_late_clocks_send_no_flood() {
    let mut harness = Harness::new(config(Encoding::Mulaw));
    for n in 0..500 {
        harness.hears(&loud(Encoding::Mulaw, n));
    }
    let mut tick = 0;
    while harness.now_ms < 5_000 {
        tick += 1;
        harness.tick_after(1 + scatter(tick, 90));
    }
    let due = (harness.now_ms - 20) / 20 + 1;
    assert_eq!(harness.packets.len() as u64, due);
    assert!(harness.packets[1..].iter().all(|packet| !packet.marker));
    harness.tick_after(1_000);
    let burst = harness.packets.len() as u64 - due;
    assert!((10..=11).contains(&burst), "{burst} frames at once");
    let (last, first) = (
        harness.packets.last().unwrap(),
        &harness.packets[due as usize],
    );
    assert!(first.marker, "time went by without a packet");
    assert_eq!(u64::from(last.ticks / 160), (harness.now_ms - 20) / 20);
}
