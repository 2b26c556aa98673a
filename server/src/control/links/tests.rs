#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use super::super::fixtures::{ShardEnd, call, open_call, shard_ring};
use super::*;
use crate::call::rings::AskId;

const SHARD: ShardIndex = ShardIndex(0);

fn links() -> (ShardLinks, ShardEnd, Arc<AtomicBool>) {
    let (link, end) = shard_ring();
    let exited = Arc::clone(&link.exited);
    (ShardLinks::new(vec![link]), end, exited)
}

fn answer(number: u64) -> ToShard {
    ToShard::Answer(AskId(number), Ok(()))
}

fn read_all(end: &mut ShardEnd) -> Vec<u64> {
    std::iter::from_fn(|| end.from_control.pop())
        .map(|message| match message {
            ToShard::Answer(AskId(number), _) => number,
            other => panic!("an answer was due, not {other:?}"),
        })
        .collect()
}

#[test]
fn answers_that_find_no_room_wait_in_order() {
    let (mut links, mut end, _) = links();
    for number in 0..200 {
        links.send(SHARD, answer(number));
    }
    let metrics = links.metrics();
    let (_, link_metrics) = &metrics[0];
    assert_eq!(link_metrics.waiting.value(), 136, "the ring has 64 slots");
    let mut read = Vec::new();
    while read.len() < 200 {
        let part = read_all(&mut end);
        assert!(!part.is_empty());
        read.extend(part);
        links.flush();
    }
    assert_eq!(read, (0..200).collect::<Vec<_>>());
    assert_eq!(link_metrics.waiting.value(), 0);
    assert_eq!(link_metrics.lost.value(), 0);
    assert!(link_metrics.ring_full.value() > 0);
}

#[test]
fn a_shard_that_does_not_read_its_answers_is_not_read_either() {
    let (mut links, mut end, _) = links();
    for number in 0..(64 + OVERFLOW_HIGH_WATER as u64) {
        links.send(SHARD, answer(number));
    }
    end.say(ToControl::Ask(AskId(1), open_call(call(0, 1))));
    let held_back = links.receive(SHARD, |message| panic!("{message:?} was read"));
    assert_eq!(held_back, Received::HeldBack);
    read_all(&mut end);
    links.flush();
    let mut read = 0;
    assert_eq!(links.receive(SHARD, |_| read += 1), Received::All);
    assert_eq!(read, 1);
}

#[test]
fn what_waits_is_bounded_and_a_loss_is_counted() {
    let (mut links, _end, _) = links();
    for number in 0..(64 + OVERFLOW_MAX as u64 + 5) {
        links.send(SHARD, answer(number));
    }
    let metrics = links.metrics();
    assert_eq!(metrics[0].1.waiting.value(), OVERFLOW_MAX as u64);
    assert_eq!(metrics[0].1.lost.value(), 5);
}

#[test]
fn the_last_messages_of_a_dead_shard_are_read_before_it_is_gone() {
    for thread_exits in [false, true] {
        let (mut links, mut end, exited) = links();
        for number in 0..(RING_BATCH_MAX as u64 + 10) {
            end.say(ToControl::Ask(AskId(number), open_call(call(0, 1))));
        }
        // A leaked task may keep its ring end open; then the thread's exit alone tells.
        let leaked = if thread_exits {
            exited.store(true, Ordering::Release);
            Some(end)
        } else {
            drop(end);
            None
        };
        let mut read = 0;
        assert_eq!(links.receive(SHARD, |_| read += 1), Received::Part);
        assert_eq!(links.running(), 1);
        assert_eq!(links.receive(SHARD, |_| read += 1), Received::LastOfAll);
        assert_eq!(read, RING_BATCH_MAX + 10);
        assert_eq!(links.running(), 0);
        assert_eq!(links.receive(SHARD, |_| read += 1), Received::All);
        links.send(SHARD, ToShard::Stop);
        assert_eq!(links.metrics()[0].1.waiting.value(), 0);
        drop(leaked);
    }
}
