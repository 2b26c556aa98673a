//! Executors, tasks, the guard and the tick, on real threads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use shards::ShardIndex;
use shards::executor::{
    ExecutorError, ExecutorSettings, available_cores, check_memlock, live_tasks, sleep, spawn,
    task, yield_if_needed,
};
use shards::guard::{catch, guarded};
use shards::tick::Tick;

fn settings() -> ExecutorSettings {
    ExecutorSettings {
        core: available_cores().unwrap()[0],
        preempt_timer: Duration::from_micros(500),
        name: "shard-test".to_owned(),
    }
}

#[test]
fn an_executor_runs_on_its_core_under_its_name() {
    check_memlock(1).unwrap();
    let executor = spawn(ShardIndex(3), settings(), || async {
        let name = std::thread::current().name().map(str::to_owned);
        (name, available_cores().unwrap())
    })
    .unwrap();
    assert_eq!(executor.shard(), ShardIndex(3));
    let (name, cores) = executor.join().unwrap();
    assert_eq!(name.as_deref(), Some("shard-test"));
    assert_eq!(cores, [settings().core]);
}

#[test]
fn a_core_that_does_not_exist_is_named() {
    let nowhere = ExecutorSettings {
        core: 100_000,
        ..settings()
    };
    let error = spawn(ShardIndex(1), nowhere, || async {}).unwrap_err();
    assert!(
        matches!(error, ExecutorError::Start { core: 100_000, .. }),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .starts_with("shard 1 on core 100000: can't start its executor"),
        "{error}"
    );
}

#[test]
fn a_panic_in_a_task_ends_that_task_only() {
    let executor = spawn(ShardIndex(0), settings(), || async {
        let message = Rc::new(Cell::new(None));
        let seen = message.clone();
        task(
            "doomed",
            async {
                sleep(Duration::from_millis(1)).await;
                panic!("one call's fault");
            },
            move |panicked| seen.set(Some(panicked.message)),
        );
        task("doomed at once", async { panic!("first poll") }, |_| {
            panic!("on_panic too")
        });
        let sum = Rc::new(Cell::new(0));
        let total = sum.clone();
        task(
            "healthy",
            async move {
                for _ in 0..10 {
                    sleep(Duration::from_millis(1)).await;
                    total.set(total.get() + 1);
                }
            },
            |_| (),
        );
        while live_tasks() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(guarded(async { panic!("a call") }).await.is_err());
        assert!(catch(|| panic!("a packet")).is_err());
        (message.take(), sum.get())
    })
    .unwrap();
    assert_eq!(
        executor.join().unwrap(),
        (Some("one call's fault".to_owned()), 10)
    );
}

#[test]
fn a_panic_of_the_main_future_is_the_result() {
    let executor = spawn(ShardIndex(7), settings(), || async {
        sleep(Duration::from_millis(1)).await;
        panic!("the tick broke");
    })
    .unwrap();
    let error = executor.join().map(|(): ()| ()).unwrap_err();
    assert_eq!(error.to_string(), "shard 7 panicked: the tick broke");
}

#[test]
fn a_panic_outside_the_guard_is_reported_too() {
    let executor = spawn(ShardIndex(2), settings(), || async {
        glommio::spawn_local(async { panic!("nobody guards me") }).detach();
        sleep(Duration::from_secs(5)).await;
    })
    .unwrap();
    let error = executor.join().unwrap_err();
    assert_eq!(error.to_string(), "shard 2 panicked: nobody guards me");
}

#[test]
fn tasks_are_dropped_on_the_executor_before_it_ends() {
    struct Held(std::sync::mpsc::Sender<std::thread::ThreadId>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }
    let (dropped, drops) = std::sync::mpsc::channel();
    let executor = spawn(ShardIndex(0), settings(), move || async move {
        for _ in 0..3 {
            let held = Held(dropped.clone());
            task(
                "waits for ever",
                async move {
                    let _held = held;
                    std::future::pending().await
                },
                |_| (),
            );
        }
        task(
            "starts another when it is dropped",
            async move {
                struct Starts(std::sync::mpsc::Sender<std::thread::ThreadId>);
                impl Drop for Starts {
                    fn drop(&mut self) {
                        let held = Held(self.0.clone());
                        task(
                            "late",
                            async move {
                                let _held = held;
                                std::future::pending().await
                            },
                            |_| (),
                        );
                    }
                }
                let _starts = Starts(dropped);
                std::future::pending().await
            },
            |_| (),
        );
        std::thread::current().id()
    })
    .unwrap();
    let thread = executor.join().unwrap();
    assert_eq!(drops.iter().collect::<Vec<_>>(), [thread; 4]);
}

#[test]
fn a_tick_keeps_its_grid_and_counts_what_it_missed() {
    let executor = spawn(ShardIndex(0), settings(), || async {
        let period = Duration::from_millis(2);
        let begun = Instant::now();
        let mut tick = Tick::new(period);
        let mut ticks = 0;
        for round in 0..100 {
            if round == 50 {
                // A stall of ten periods: what the tick must skip.
                std::thread::sleep(period * 10);
            }
            let now = tick.next().await;
            ticks += 1;
            let on_grid = period * u32::try_from(ticks + tick.missed()).unwrap();
            assert!(now.duration_since(begun) >= on_grid, "early");
        }
        (begun.elapsed(), ticks, tick.missed())
    })
    .unwrap();
    let (elapsed, ticks, missed) = executor.join().unwrap();
    assert!(missed >= 9, "{missed}");
    // Ticks and missed ticks together are the time that has passed: nothing drifts.
    let grid = Duration::from_millis(2) * u32::try_from(ticks + missed).unwrap();
    assert!(
        elapsed >= grid && elapsed < grid + Duration::from_millis(200),
        "{elapsed:?} for {grid:?}"
    );
}

#[test]
fn a_busy_task_does_not_delay_a_timer_for_long() {
    let executor = spawn(ShardIndex(0), settings(), || async {
        task(
            "busy",
            async {
                loop {
                    yield_if_needed().await;
                }
            },
            |_| (),
        );
        let mut latest = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            sleep(Duration::from_millis(5)).await;
            latest.push(begun.elapsed());
        }
        latest.sort_unstable();
        latest[10]
    })
    .unwrap();
    // glommio's default preemption timer of 100 ms makes this 100 ms.
    let median = executor.join().unwrap();
    assert!(median < Duration::from_millis(50), "{median:?}");
}

#[test]
fn the_preemption_timer_says_how_long_a_task_keeps_the_shard() {
    // How often another task has its turn while one works for 300 ms.
    let turns = |preempt_timer| {
        let settings = ExecutorSettings {
            preempt_timer,
            ..settings()
        };
        let executor = spawn(ShardIndex(0), settings, || async {
            let turns = Rc::new(Cell::new(0));
            let counted = Rc::clone(&turns);
            let other = async move {
                loop {
                    counted.set(counted.get() + 1);
                    glommio::executor().yield_now().await;
                }
            };
            task("other", other, |_| ());
            let until = Instant::now() + Duration::from_millis(300);
            while Instant::now() < until {
                yield_if_needed().await;
            }
            turns.get()
        });
        executor.unwrap().join().unwrap()
    };
    let (long, short) = (
        turns(Duration::from_millis(10)),
        turns(Duration::from_micros(200)),
    );
    assert!(short > 3 * long, "{short} turns at 200 us, {long} at 10 ms");
}

/// glommio alone hangs here, mostly within some thousand rounds.
#[test]
fn an_executor_does_not_oversleep_after_many_short_sleeps() {
    let executor = spawn(ShardIndex(0), settings(), || async {
        for _ in 0..50_000 {
            // Past our own `sleep`, which would not let it come so far.
            glommio::timer::sleep(Duration::from_micros(2)).await;
            for _ in 0..100 {
                glommio::spawn_local(async { glommio::executor().yield_now().await }).detach();
            }
        }
    })
    .unwrap();
    let begun = Instant::now();
    while !executor.is_finished() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the executor overslept"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    executor.join().unwrap();
}
