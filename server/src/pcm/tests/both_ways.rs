//! What one way has to do with the other: barge-in.

use super::*;

/// A caller who says nothing, then speaks, while the socket plays a minute of speech that it handed over at once.
fn caller_speaks_at(barge_in: Option<Duration>, speaks_from: u64) -> Harness {
    let mut harness = Harness::new(PcmConfig {
        barge_in,
        ..config(Encoding::Mulaw)
    });
    for n in 0..3_000 {
        harness.hears(&loud(Encoding::Mulaw, n));
    }
    harness.leg.handle_mark(harness.now(), "end").unwrap();
    for n in 0..200_u64 {
        let speaks = n * 20 >= speaks_from;
        let frame = if speaks { loud } else { quiet };
        harness.gets(
            n as u16,
            n as u32 * 160,
            &frame(Encoding::Mulaw, n as usize),
        );
        harness.pass(20);
    }
    harness
}

#[test]
fn whoever_speaks_for_long_enough_interrupts_the_socket() {
    let patience = Duration::from_millis(250);
    let harness = caller_speaks_at(Some(patience), 2_000);
    let [(told_at, told), (mark_at, mark)] = &harness.events[..] else {
        panic!("{:?}", harness.events);
    };
    // 250 ms of speech, in frames, and what the de-jitter buffer takes.
    assert!((2_280..=2_320).contains(told_at), "at {told_at} ms");
    let PcmEvent::BargeIn { played_ms } = told else {
        panic!("{told:?}");
    };
    assert!(told_at.abs_diff(*played_ms) <= 20);
    assert_eq!(
        *mark,
        PcmEvent::Played {
            mark: "end".to_owned()
        }
    );
    assert_eq!(mark_at, told_at);
    let last = harness.packets.last().unwrap();
    assert!(last.at_ms <= *told_at, "it stopped at once");
    assert_eq!(harness.statistics().barge_ins, 1);
    assert_eq!(harness.statistics().queue_ms, 0);
}

#[test]
fn nobody_interrupts_who_may_not_or_does_not_speak() {
    for harness in [
        caller_speaks_at(None, 1_000),
        caller_speaks_at(Some(Duration::from_millis(250)), 10_000),
    ] {
        assert_eq!(harness.events, []);
        assert_eq!(harness.packets.len(), 200);
    }
}
