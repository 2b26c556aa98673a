//! What a link does to datagrams, on a clock of the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::time::{Duration, Instant};

use super::*;

const PACKET_INTERVAL: Duration = Duration::from_millis(20);
const SEED: u64 = 42;

/// Datagrams that came out: when, in ms since the first went in, and which.
type Seen = Vec<(u64, u64)>;

/// `count` datagrams of 100 bytes go in, one every 20 ms; the tag is the number.
fn pass(link: &mut Link<u64>, count: u64) -> Seen {
    let start = Instant::now();
    let mut seen = Seen::new();
    let mut drain = |link: &mut Link<u64>, until: Instant| {
        while let Some(due) = link.poll_timeout().filter(|due| *due <= until) {
            while let Some((number, _)) = link.poll_datagram(due) {
                seen.push(((due - start).as_millis() as u64, number));
            }
        }
    };
    for number in 0..count {
        let now = start + PACKET_INTERVAL * number as u32;
        drain(link, now);
        link.handle_datagram(now, number, &rtp(100));
        drain(link, now);
    }
    drain(
        link,
        start + PACKET_INTERVAL * count as u32 + Duration::from_secs(60),
    );
    seen
}

fn rtp(len: usize) -> Vec<u8> {
    let mut datagram = vec![0; len];
    datagram[0] = 0x80;
    datagram
}

fn link(profile: Profile) -> Link<u64> {
    let mut link = Link::new(SEED);
    link.set(profile);
    link
}

fn numbers(seen: &Seen) -> Vec<u64> {
    seen.iter().map(|(_, number)| *number).collect()
}

fn bad() -> Profile {
    Profile {
        loss: Loss::Random { probability: 0.05 },
        jitter: Jitter::Uniform {
            max: Duration::from_millis(30),
        },
        reorder: Some(Reorder {
            probability: 0.03,
            by: 2,
        }),
        duplicate: 0.02,
        ..Profile::default()
    }
}

#[test]
fn the_default_passes_everything_at_once_and_in_order() {
    let mut link = link(Profile::default());
    let expected: Seen = (0..10).map(|number| (number * 20, number)).collect();
    assert_eq!(pass(&mut link, 10), expected);
    let tally = Tally {
        received: 10,
        received_bytes: 10 * 100,
        delivered: 10,
        ..Tally::default()
    };
    let (all, rtp) = (tally, tally);
    assert_eq!(link.counters(), Counters { all, rtp });
}

#[test]
fn a_seed_tells_it_all() {
    let run = |seed| {
        let mut link = Link::new(seed);
        link.set(bad());
        pass(&mut link, 500)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn losses_are_as_many_as_told_and_the_same_whatever_else_happens() {
    let lost = |seen: &Seen| -> Vec<u64> {
        let numbers = numbers(seen);
        (0..5_000)
            .filter(|number| !numbers.contains(number))
            .collect()
    };
    let mut alone = link(Profile::losing(0.05));
    let lost_alone = lost(&pass(&mut alone, 5_000));
    assert!(
        (200..300).contains(&lost_alone.len()),
        "{}",
        lost_alone.len()
    );
    assert_eq!(alone.counters().all.lost_random, lost_alone.len() as u64);
    let mut with_the_rest = link(bad());
    assert_eq!(lost(&pass(&mut with_the_rest, 5_000)), lost_alone);
}

#[test]
fn bursts_are_as_long_as_told() {
    let mut link = link(Profile {
        loss: Loss::Bursts(GilbertElliott {
            good_to_bad: 0.01,
            bad_to_good: 0.25,
            lost_in_good: 0.0,
            lost_in_bad: 1.0,
        }),
        ..Profile::default()
    });
    let delivered = numbers(&pass(&mut link, 20_000));
    let bursts = delivered
        .windows(2)
        .filter(|pair| pair[1] - pair[0] > 1)
        .count();
    let lost = link.counters().all.lost_burst;
    assert!((500..1_100).contains(&lost), "{lost}");
    let mean = lost as f64 / bursts as f64;
    assert!((3.4..4.6).contains(&mean), "bursts of {mean} datagrams");
}

#[test]
fn jitter_keeps_the_order_and_the_limit() {
    let uniform = Jitter::Uniform {
        max: Duration::from_millis(30),
    };
    let exponential = Jitter::Exponential {
        mean: Duration::from_millis(10),
    };
    let normal = Jitter::Normal {
        mean: Duration::from_millis(20),
        deviation: Duration::from_millis(5),
    };
    for (jitter, mean_ms, max_ms) in [(uniform, 15, 30), (exponential, 10, 50), (normal, 20, 45)] {
        let mut link = link(Profile {
            delay: Duration::from_millis(40),
            jitter,
            ..Profile::default()
        });
        let seen = pass(&mut link, 2_000);
        assert_eq!(numbers(&seen), (0..2_000).collect::<Vec<_>>());
        let late: Vec<u64> = seen
            .iter()
            .map(|(at, number)| at - number * 20 - 40)
            .collect();
        assert!(late.iter().all(|late| *late <= max_ms), "{jitter:?}");
        // A datagram that waits for the one before takes a little longer.
        let mean = late.iter().sum::<u64>() / 2_000;
        assert!(
            (mean_ms - 2..mean_ms + 4).contains(&mean),
            "{jitter:?}: {mean}"
        );
    }
}

#[test]
fn reordered_ones_leave_right_after_those_that_overtake_them() {
    for by in [1, 3] {
        let mut link = link(Profile {
            reorder: Some(Reorder {
                probability: 0.02,
                by,
            }),
            ..Profile::default()
        });
        let seen = numbers(&pass(&mut link, 1_000));
        let reordered = link.counters().all.reordered;
        assert!((8..40).contains(&reordered), "{reordered}");
        assert_eq!(seen.len(), 1_000);
        let late: Vec<_> = seen.windows(2).filter(|pair| pair[1] < pair[0]).collect();
        assert!(!late.is_empty());
        assert!(
            late.iter().any(|pair| pair[0] - pair[1] == u64::from(by)),
            "{late:?}"
        );
    }
}

#[test]
fn what_nobody_overtakes_leaves_in_the_end() {
    let mut link = link(Profile {
        reorder: Some(Reorder {
            probability: 1.0,
            by: 1,
        }),
        ..Profile::default()
    });
    assert_eq!(pass(&mut link, 2), [(200, 0), (220, 1)]);
}

#[test]
fn copies_come_beside_the_first() {
    let mut link = link(Profile {
        duplicate: 1.0,
        ..Profile::default()
    });
    assert_eq!(pass(&mut link, 2), [(0, 0), (0, 0), (20, 1), (20, 1)]);
    let all = link.counters().all;
    assert_eq!((all.received, all.delivered, all.duplicated), (2, 4, 2));
}

#[test]
fn a_cap_queues_and_then_loses() {
    // 100 bytes every 20 ms are 40 kb/s: twice the cap.
    let mut link = link(Profile {
        rate: Some(RateCap {
            bits_per_s: 20_000,
            bucket_bytes: 300,
            queue_bytes: 400,
        }),
        ..Profile::default()
    });
    let seen = pass(&mut link, 200);
    // The bucket lets the first ones pass, and fills with half of what passes meanwhile.
    assert_eq!(seen[..4], [(0, 0), (20, 1), (40, 2), (60, 3)]);
    let delay_max = seen.iter().map(|(at, number)| at - number * 20).max();
    assert_eq!(delay_max, Some(160), "400 bytes at 20 kb/s");
    let bits = (seen.len() as u64 - 3) * 800;
    let span_ms = seen.last().unwrap().0;
    assert!(
        (19_000..21_000).contains(&(bits * 1_000 / span_ms)),
        "{bits} in {span_ms} ms"
    );
    assert_eq!(link.counters().all.lost_queue_full, 200 - seen.len() as u64);

    link.set(Profile::default());
    assert_eq!(numbers(&pass(&mut link, 100)).len(), 100, "the cap is gone");
}

#[test]
fn nothing_passes_in_a_blackout_and_all_after_it() {
    let mut link = link(Profile::default());
    let start = Instant::now();
    link.black_out(start + PACKET_INTERVAL, start + PACKET_INTERVAL * 3);
    let mut seen = Vec::new();
    for number in 0..5u64 {
        let now = start + PACKET_INTERVAL * number as u32;
        link.handle_datagram(now, number, &rtp(20));
        seen.extend(link.poll_datagram(now).map(|(number, _)| number));
    }
    assert_eq!(seen, [0, 3, 4]);
    let now = start + PACKET_INTERVAL * 5;
    link.set_cut(true);
    link.handle_datagram(now, 5, &[0]);
    link.set_cut(false);
    link.handle_datagram(now, 6, &[0]);
    assert_eq!(link.poll_datagram(now), Some((6, vec![0])));
    let counters = link.counters();
    assert_eq!(counters.all.lost_blackout, 3);
    assert_eq!(counters.rtp.lost_blackout, 2, "the last was no RTP");
}

#[test]
fn only_what_was_chosen_is_lost_and_only_so_often() {
    let mut link = link(Profile::default());
    link.lose_selected(2, |datagram| datagram == [7]);
    let start = Instant::now();
    for (number, byte) in [7, 8, 7, 7].into_iter().enumerate() {
        link.handle_datagram(start, number as u64, &[byte]);
    }
    let seen: Vec<_> = std::iter::from_fn(|| link.poll_datagram(start)).collect();
    assert_eq!(seen, [(1, vec![8]), (3, vec![7])]);
    assert_eq!(link.counters().all.lost_selected, 2);
}
