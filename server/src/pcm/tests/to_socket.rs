//! What the bridge says, on its way to the socket.

use std::collections::HashMap;

use super::*;

const MULAW: Encoding = Encoding::Mulaw;

/// A packet that arrives at a time.
#[derive(Debug, Clone)]
struct Arrival {
    at_ms: u64,
    index: usize,
    timestamp: u32,
}

/// Packets of 20 ms in real time from 100 ms on.
fn real_time(packets: usize) -> Vec<Arrival> {
    (0..packets)
        .map(|index| Arrival {
            at_ms: 100 + 20 * index as u64,
            index,
            timestamp: FIRST_TIMESTAMP.wrapping_add(160 * index as u32),
        })
        .collect()
}

fn play(harness: &mut Harness, arrivals: &[Arrival], until_ms: u64) {
    play_as(harness, arrivals, until_ms, loud);
}

fn play_as(
    harness: &mut Harness,
    arrivals: &[Arrival],
    until_ms: u64,
    frame: impl Fn(Encoding, usize) -> Vec<u8>,
) {
    let mut arrivals: Vec<&Arrival> = arrivals.iter().collect();
    arrivals.sort_by_key(|arrival| arrival.at_ms);
    let mut arrivals = arrivals.into_iter().peekable();
    while harness.now_ms < until_ms {
        while let Some(arrival) = arrivals.next_if(|next| next.at_ms <= harness.now_ms) {
            let wire = frame(harness.encoding, arrival.index);
            let payload = turned(harness.encoding, &wire);
            harness.gets(arrival.index as u16, arrival.timestamp, &payload);
        }
        harness.tick_after(1);
    }
}

/// When each packet came out that was not touched, by its index.
fn untouched(harness: &Harness, packets: usize) -> Vec<(usize, u64)> {
    let known: HashMap<Vec<u8>, usize> = (0..packets)
        .map(|index| (loud(harness.encoding, index), index))
        .collect();
    let known = |frame: &Frame| Some((*known.get(&frame.wire)?, frame.at_ms));
    harness.frames.iter().filter_map(known).collect()
}

/// The delay of the first untouched packet that left from `from_ms` on.
fn delay_at(harness: &Harness, arrivals: &[Arrival], from_ms: u64) -> u64 {
    let untouched = untouched(harness, arrivals.len());
    let (index, at_ms) = untouched.iter().find(|(_, at)| *at >= from_ms).unwrap();
    // Against the time at which an undisturbed network would have brought it.
    at_ms - (100 + 20 * *index as u64)
}

#[test]
fn rtp_in_order_and_in_time_comes_out_byte_for_byte() {
    for (encoding, continuous) in [(MULAW, true), (MULAW, false), (WIDE, true), (WIDEST, false)] {
        let mut harness = Harness::new(PcmConfig {
            continuous,
            ..config(encoding)
        });
        let ticks = encoding.sample_rate().samples(20) as u32;
        let mut arrivals = real_time(300);
        for arrival in &mut arrivals {
            arrival.timestamp = FIRST_TIMESTAMP.wrapping_add(ticks * arrival.index as u32);
            arrival.at_ms += 3;
        }
        play(&mut harness, &arrivals, 6_080);
        let flow = harness.statistics().to_socket;
        assert_eq!((flow.concealed, flow.dropped), (0, 0));
        let sounding: Vec<_> = harness.sounding().collect();
        assert!(sounding.len() >= 297);
        for (frame, n) in sounding.iter().zip(0..) {
            assert_eq!(frame.kind, FrameKind::Audio);
            assert_eq!(frame.wire, loud(encoding, n), "{encoding:?} {n}");
        }
        let delay_ms = sounding[0].at_ms - 103;
        assert!((30..=50).contains(&delay_ms), "{delay_ms} ms");
        let silence = harness.frames.len() - sounding.len();
        assert_eq!(silence > 0, continuous, "it hears silence before");
        assert_eq!(flow.silence, silence as u64);
        assert!(
            harness.frames[1..]
                .windows(2)
                .all(|pair| pair[1].at_ms == pair[0].at_ms + 20)
        );
    }
}

#[test]
fn jitter_and_disorder_are_evened_out() {
    let mut harness = Harness::new(config(MULAW));
    let mut arrivals = real_time(1_500);
    for arrival in &mut arrivals[1..] {
        arrival.at_ms += scatter(arrival.index, 29);
    }
    play(&mut harness, &arrivals, 30_000);
    let flow = harness.statistics().to_socket;
    assert_eq!((flow.concealed, flow.dropped), (0, 0));
    let indices: Vec<usize> = untouched(&harness, 1_500).iter().map(|(n, _)| *n).collect();
    assert!(indices.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(indices.len() >= 1_490);
}

#[test]
fn more_jitter_makes_more_delay_and_less_takes_it_back() {
    let mut harness = Harness::new(config(MULAW));
    let mut arrivals = real_time(3_000);
    for arrival in &mut arrivals[100..1_500] {
        arrival.at_ms += scatter(arrival.index, 110);
    }
    play(&mut harness, &arrivals, 30_000);
    let flow = harness.statistics().to_socket;
    assert!(flow.concealed <= 40, "{flow:?}");
    assert!(delay_at(&harness, &arrivals, 25_000) <= 200);
    play(&mut harness, &arrivals[1_495..], 60_000);
    let after = harness.statistics().to_socket;
    assert!(after.dropped <= 60, "{after:?}");
    assert!(delay_at(&harness, &arrivals, 33_000) <= 60);
}

#[test]
fn a_lost_packet_is_made_up_in_its_place() {
    let mut harness = Harness::new(config(MULAW));
    let mut arrivals = real_time(100);
    arrivals.remove(50);
    play(&mut harness, &arrivals, 2_130);
    let flow = harness.statistics().to_socket;
    assert_eq!((flow.concealed, flow.crossfaded, flow.dropped), (1, 1, 0));
    let sounding: Vec<_> = harness.sounding().collect();
    assert_eq!(sounding[50].kind, FrameKind::Concealed);
    assert_eq!(sounding[52].wire, loud(MULAW, 52), "51 is cross-faded");
    assert_eq!(sounding[49].wire, loud(MULAW, 49));
}

#[test]
fn every_frame_that_is_not_what_was_said_is_counted() {
    let mut harness = Harness::new(config(MULAW));
    let mut arrivals = real_time(400);
    // Single losses, a hole longer than is made up, one packet far too late.
    arrivals[320].at_ms += 130;
    for lost in [300, 250, 201, 100].into_iter().chain(150..160) {
        arrivals.retain(|arrival| arrival.index != lost);
    }
    play(&mut harness, &arrivals, 8_100);
    let said: std::collections::HashSet<_> = (0..400).map(|n| loud(MULAW, n)).collect();
    let sounding = harness.sounding();
    let foreign = sounding.filter(|frame| !said.contains(&frame.wire)).count();
    let flow = harness.statistics().to_socket;
    assert_eq!(foreign as u64, flow.concealed + flow.crossfaded);
    assert_eq!((flow.concealed, flow.crossfaded), (4 + 5 + 1, 4 + 1));
}

#[test]
fn a_frame_that_was_not_sent_is_none_that_went_on() {
    let mut harness = Harness::new(config(MULAW));
    play(&mut harness, &real_time(10), 150);
    let before = harness.statistics().to_socket;
    let kind = FrameKind::Audio;
    harness.leg.handle_unsent(FrameOut { len: 160, kind });
    let after = harness.statistics().to_socket;
    assert_eq!((after.frames, after.unsent), (before.frames - 1, 1));
}

#[test]
fn a_packet_that_was_given_up_is_not_played_twice() {
    let mut harness = Harness::new(config(MULAW));
    let mut arrivals = real_time(100);
    arrivals[50].at_ms += 130;
    arrivals.push(arrivals[60].clone());
    play(&mut harness, &arrivals, 2_100);
    let flow = harness.statistics().to_socket;
    assert_eq!((flow.concealed, flow.dropped, flow.dropped_ms), (1, 2, 40));
}

#[test]
fn after_a_stall_the_delay_is_what_it_was() {
    for (stall_ms, concealed) in [(500, 5), (300, 5), (120, 4)] {
        let mut harness = Harness::new(config(MULAW));
        let mut arrivals = real_time(400);
        let stall = 2_000..2_000 + stall_ms;
        for arrival in &mut arrivals {
            if stall.contains(&arrival.at_ms) {
                arrival.at_ms = stall.end;
            }
        }
        play(&mut harness, &arrivals, 8_000);
        let flow = harness.statistics().to_socket;
        assert!(
            flow.concealed.abs_diff(concealed) <= 1,
            "{stall_ms}: {flow:?}"
        );
        let (before, after) = (
            delay_at(&harness, &arrivals, 1_900),
            delay_at(&harness, &arrivals, stall.end + 2_000),
        );
        assert!(
            before <= 50 && after <= before + 20,
            "{stall_ms}: {before}, then {after} ms"
        );
        // What is missing is what time went by without.
        let gone_ms = flow.dropped_ms + 20 * (flow.frames) + 100;
        assert!(gone_ms >= 7_800, "{stall_ms}: {flow:?}");
        assert!(
            harness.frames[1..]
                .windows(2)
                .all(|pair| pair[1].at_ms == pair[0].at_ms + 20)
        );
    }
}

#[test]
fn a_clock_that_drifts_costs_a_frame_now_and_then() {
    for drift_ppm in [200_i64, -200] {
        let mut harness = Harness::new(config(MULAW));
        let mut arrivals = real_time(30_000);
        for arrival in &mut arrivals {
            let off_us = 20_000 * arrival.index as i64 * drift_ppm / 1_000_000;
            arrival.at_ms = (arrival.at_ms as i64 - off_us / 1_000) as u64;
            arrival.index %= 64;
        }
        let last = arrivals.last().unwrap().at_ms;
        play(&mut harness, &arrivals, last);
        let flow = harness.statistics().to_socket;
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
    }
}

#[test]
fn a_pause_of_the_source_is_silence_and_keeps_its_length() {
    for continuous in [true, false] {
        let mut harness = Harness::new(PcmConfig {
            continuous,
            ..config(MULAW)
        });
        let mut arrivals = real_time(300);
        arrivals.drain(100..200);
        play(&mut harness, &arrivals, 6_080);
        let flow = harness.statistics().to_socket;
        assert_eq!((flow.concealed, flow.dropped), (5, 0));
        assert_eq!(flow.silence > 90, continuous);
        let untouched = untouched(&harness, 300);
        assert!(untouched.len() >= 197);
        let delays: Vec<u64> = untouched
            .iter()
            .map(|(n, at)| at - (100 + 20 * *n as u64))
            .collect();
        assert!(delays.iter().all(|delay| *delay == delays[0]));
    }
}

#[test]
fn a_source_whose_clock_stands_still_in_a_pause_is_learned_anew() {
    for marker in [true, false] {
        let mut harness = Harness::new(config(MULAW));
        let mut arrivals = real_time(200);
        for arrival in &mut arrivals[100..] {
            arrival.at_ms += 3_000;
        }
        play(&mut harness, &arrivals[..100], 5_000);
        harness.pass(99);
        let at_ms = harness.now_ms;
        harness.gets_marked(marker, 100, arrivals[100].timestamp, &loud(MULAW, 100));
        harness.pass(1);
        play(&mut harness, &arrivals[101..], 7_100);
        let untouched = untouched(&harness, 200);
        let heard = untouched.iter().filter(|(n, _)| *n >= 100).count();
        assert_eq!(heard > 98, marker, "{heard}");
        assert!(heard >= 92, "{heard} of 100");
        let (_, back_at) = untouched.iter().find(|(n, _)| *n >= 100).unwrap();
        assert!(back_at - at_ms <= 170);
    }
}

#[test]
fn a_source_whose_clock_jumps_is_learned_anew() {
    for jump_ticks in [-5_000_000, 5_000_000_i32] {
        let mut harness = Harness::new(config(MULAW));
        let mut arrivals = real_time(200);
        for arrival in &mut arrivals[100..] {
            arrival.timestamp = arrival.timestamp.wrapping_add_signed(jump_ticks);
        }
        play(&mut harness, &arrivals, 4_200);
        let untouched = untouched(&harness, 200);
        let heard = untouched.iter().filter(|(n, _)| *n >= 100).count();
        assert!(heard >= 92, "{heard} of 100");
        assert!(delay_at(&harness, &arrivals, 3_000) <= 60);
    }
}

#[test]
fn packets_of_other_lengths_are_cut_into_frames() {
    for packet_ms in [10_usize, 30, 40, 60] {
        let mut harness = Harness::new(config(MULAW));
        let all: Vec<u8> = (0..300).flat_map(|n| loud(MULAW, n)).collect();
        for (payload, n) in all.chunks(packet_ms * 8).zip(0u32..) {
            harness.gets(n as u16, n * packet_ms as u32 * 8, payload);
            harness.pass(packet_ms as u64);
        }
        harness.pass(60);
        let sounding: Vec<_> = harness.sounding().collect();
        for (frame, n) in sounding.iter().zip(0..300) {
            assert_eq!(frame.wire, loud(MULAW, n), "{packet_ms} ms");
        }
        assert!(sounding.len() >= 300);
        assert_eq!(harness.statistics().to_socket.dropped, 0);
    }
}

#[test]
fn what_the_other_side_cleared_is_not_sent() {
    let mut harness = Harness::new(config(MULAW));
    let arrivals = real_time(100);
    play(&mut harness, &arrivals[..20], 500);
    let sent = harness.sounding().count();
    harness.leg.drop_outgoing();
    harness.pass(100);
    assert_eq!(harness.sounding().count(), sent);
    play(&mut harness, &arrivals[25..], 2_300);
    let untouched = untouched(&harness, 100);
    assert!(untouched.iter().all(|(n, _)| *n < 20 || *n >= 25));
    assert!(untouched.len() >= sent + 74);
}

#[test]
fn nothing_goes_to_a_socket_that_only_listens() {
    let mut harness = Harness::new(config(MULAW));
    harness.leg.set_listen_only(true);
    assert_eq!(harness.leg.poll_timeout(), None);
    play(&mut harness, &real_time(20), 600);
    assert_eq!(harness.frames, []);
    harness.hears(&loud(MULAW, 1));
    harness.pass(30);
    assert_eq!(harness.packets.len(), 1, "it is heard all the same");
}

#[test]
fn a_late_clock_sends_no_flood_and_leaves_no_delay() {
    let mut harness = Harness::new(config(MULAW));
    let arrivals = real_time(300);
    play(&mut harness, &arrivals[..100], 2_099);
    let sent = harness.frames.len();
    // The shard stands still for a second; packets wait in its socket.
    harness.now_ms += 1_000;
    play(&mut harness, &arrivals[100..], 6_050);
    let burst = harness.frames[sent..]
        .iter()
        .filter(|frame| frame.at_ms <= 3_101);
    assert!(burst.count() <= 12);
    assert!(delay_at(&harness, &arrivals, 5_200) <= 60);
}

/// Packets of 20 ms that came at once.
fn burst(harness: &mut Harness, packets: std::ops::Range<usize>) {
    for index in packets {
        let payload = turned(MULAW, &loud(MULAW, index));
        let timestamp = FIRST_TIMESTAMP.wrapping_add(160 * index as u32);
        harness.gets(index as u16, timestamp, &payload);
    }
}

#[test]
fn a_mark_goes_to_the_socket_behind_the_audio_before_it() {
    for continuous in [true, false] {
        let mut harness = Harness::new(PcmConfig {
            continuous,
            ..config(MULAW)
        });
        harness.leg.push_outgoing_mark("nothing waits");
        let mark = harness.leg.poll_outgoing_mark();
        assert_eq!(mark.as_deref(), Some("nothing waits"));
        harness.pass(100);
        burst(&mut harness, 0..5);
        harness.leg.push_outgoing_mark("behind five");
        burst(&mut harness, 5..7);
        harness.leg.push_outgoing_mark("behind seven");
        let mut told = Vec::new();
        for _ in 0..500 {
            harness.tick_after(1);
            while let Some(mark) = harness.leg.poll_outgoing_mark() {
                told.push((harness.sounding().count(), mark));
            }
        }
        let expected = [
            (5, "behind five".to_owned()),
            (7, "behind seven".to_owned()),
        ];
        assert_eq!(told, expected, "continuous: {continuous}");
    }
}

#[test]
fn a_mark_does_not_wait_for_audio_that_goes() {
    let mut harness = Harness::new(config(MULAW));
    burst(&mut harness, 0..5);
    for _ in 0..=MARKS_MAX {
        harness.leg.push_outgoing_mark("mark");
    }
    assert!(harness.leg.poll_outgoing_mark().is_some(), "one too many");
    assert_eq!(harness.leg.poll_outgoing_mark(), None);
    harness.leg.drop_outgoing();
    burst(&mut harness, 5..6);
    let rest = std::iter::from_fn(|| harness.leg.poll_outgoing_mark()).count();
    assert_eq!(rest, MARKS_MAX);
}
