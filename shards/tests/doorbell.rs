//! The doorbell on a real executor: nobody who rings is left unheard, and who is awake is not woken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::or;
use shards::ShardIndex;
use shards::doorbell::{Doorbell, DoorbellListener};
use shards::executor::{ExecutorSettings, available_cores, sleep, spawn};
use shards::ring::{Full, ring};

/// Longer than any scheduling delay of a busy test machine, shorter than a test run.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings() -> ExecutorSettings {
    ExecutorSettings {
        core: available_cores().unwrap()[0],
        preempt_timer: Duration::from_micros(500),
        name: "shard-test".to_owned(),
    }
}

/// True when the bell rang in time.
async fn heard(listener: &mut DoorbellListener) -> bool {
    or(
        async {
            listener.wait().await.unwrap();
            true
        },
        async {
            sleep(PATIENCE).await;
            false
        },
    )
    .await
}

/// The receiver answers every value and sleeps again, so each of the rounds is a race between falling asleep and ringing.
#[test]
fn no_wake_up_is_lost_between_two_threads() {
    const ROUNDS: u32 = 5_000;
    let doorbell = Doorbell::new().unwrap();
    let (mut questions, mut asked) = ring::<u32>(4, Some(doorbell.clone()));
    let (mut answers, mut answered) = ring::<u32>(4, None);
    let executor = spawn(ShardIndex(0), settings(), move || async move {
        let mut listener = DoorbellListener::new(doorbell).unwrap();
        let mut next = 0;
        while next < ROUNDS {
            assert!(heard(&mut listener).await, "question {next} was not heard");
            while let Some(question) = asked.pop() {
                assert_eq!(question, next);
                answers.push(question).unwrap();
                next += 1;
            }
        }
    })
    .unwrap();
    for round in 0..ROUNDS {
        // Varied pauses hit every stage of falling asleep.
        for _ in 0..(round % 97) * 20 {
            std::hint::spin_loop();
        }
        questions.push(round).unwrap();
        let asked_at = Instant::now();
        while answered.pop() != Some(round) {
            assert!(
                asked_at.elapsed() < PATIENCE,
                "question {round} was not answered"
            );
            thread::yield_now();
        }
    }
    executor.join().unwrap();
}

#[test]
fn many_threads_ring_one_doorbell_and_nothing_is_left_behind() {
    const SENDERS: u64 = 3;
    const EACH: u64 = 20_000;
    let doorbell = Doorbell::new().unwrap();
    let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..SENDERS)
        .map(|_| ring::<u64>(16, Some(doorbell.clone())))
        .unzip();
    let executor = spawn(ShardIndex(0), settings(), move || async move {
        let mut listener = DoorbellListener::new(doorbell).unwrap();
        let (mut received, mut sum, mut wakes) = (0, 0, 0_u64);
        while received < SENDERS * EACH {
            assert!(heard(&mut listener).await, "stuck after {received}");
            wakes += 1;
            for receiver in &mut receivers {
                while let Some(value) = receiver.pop() {
                    received += 1;
                    sum += value;
                }
            }
        }
        (sum, wakes)
    })
    .unwrap();
    let threads: Vec<_> = senders
        .into_iter()
        .map(|mut sender| {
            thread::spawn(move || {
                for mut value in 0..EACH {
                    while let Err(Full(back)) = sender.push(value) {
                        value = back;
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let (sum, wakes) = executor.join().unwrap();
    assert_eq!(sum, SENDERS * (0..EACH).sum::<u64>());
    assert!(wakes <= SENDERS * EACH + 1);
}

/// A wait that is dropped while the kernel reads must not swallow the next ring.
#[test]
fn a_dropped_wait_loses_nothing() {
    const ROUNDS: u32 = 2_000;
    let doorbell = Doorbell::new().unwrap();
    let (mut sender, mut receiver) = ring::<u32>(1, Some(doorbell.clone()));
    let executor = spawn(ShardIndex(0), settings(), move || async move {
        let mut listener = DoorbellListener::new(doorbell).unwrap();
        let (mut received, mut dropped) = (0, 0_u32);
        let begun = Instant::now();
        while received < ROUNDS {
            // Waits that last between nothing and 300 us, about as long as the sender's pauses.
            let patience = Duration::from_micros(u64::from(dropped % 4) * 100);
            let rang = or(
                async {
                    listener.wait().await.unwrap();
                    true
                },
                async {
                    sleep(patience).await;
                    false
                },
            )
            .await;
            if rang {
                received += u32::from(receiver.pop().is_some());
            } else {
                dropped += 1;
            }
            assert!(
                begun.elapsed() < PATIENCE * 3,
                "only {received} of {ROUNDS}"
            );
        }
        dropped
    })
    .unwrap();
    for round in 0..ROUNDS {
        while sender.push(round).is_err() {
            thread::sleep(Duration::from_micros(150));
        }
    }
    assert!(executor.join().unwrap() > 0, "no wait was ever dropped");
}

#[test]
fn an_old_ring_is_heard_once_and_a_lost_sender_is_noticed() {
    let doorbell = Doorbell::new().unwrap();
    let (sender, receiver) = ring::<u8>(1, Some(doorbell.clone()));
    let executor = spawn(ShardIndex(0), settings(), move || async move {
        let mut listener = DoorbellListener::new(doorbell.clone()).unwrap();
        doorbell.ring();
        doorbell.ring();
        assert!(heard(&mut listener).await);
        let again = or(
            async {
                listener.wait().await.unwrap();
                true
            },
            async {
                sleep(Duration::from_millis(20)).await;
                false
            },
        );
        assert!(!again.await, "a ring is heard once");
        let dropping = thread::spawn(move || drop(sender));
        assert!(heard(&mut listener).await, "a dropped sender rings");
        dropping.join().unwrap();
        assert!(receiver.is_abandoned());
    })
    .unwrap();
    executor.join().unwrap();
}
