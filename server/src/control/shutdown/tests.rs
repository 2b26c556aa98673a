use super::*;

const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

fn remaining(calls: usize, sessions: u64, shards: usize) -> Remaining {
    Remaining {
        calls,
        sessions,
        registrations: 0,
        shards,
        errands: 0,
    }
}

#[test]
fn what_is_told_outside_is_told_before_the_end_but_not_waited_for_long() {
    let start = Instant::now();
    for (after, errands) in [(Duration::ZERO, 0), (ERRANDS_END_TIMEOUT, 1)] {
        let mut shutdown = Shutdown::new(DRAIN_TIMEOUT);
        shutdown.handle_signal(start);
        let left = |shards, errands| Remaining {
            errands,
            ..remaining(0, 0, shards)
        };
        assert_eq!(shutdown.poll_step(start, left(1, 1)), Some(Step::Drain));
        // The shards are told at once: it is they who say what is to be told.
        assert_eq!(shutdown.poll_step(start, left(1, 1)), Some(Step::Stop));
        assert_eq!(shutdown.poll_step(start, left(0, 1)), None);
        let end = shutdown.poll_step(start + after, left(0, errands));
        assert_eq!(end, Some(Step::Finish));
    }
}

#[test]
fn registrations_are_given_back_first_but_not_waited_for_long() {
    let start = Instant::now();
    let registered = Remaining {
        registrations: 1,
        ..remaining(0, 0, 1)
    };
    for (after, registrations) in [(Duration::ZERO, 0), (REGISTRATIONS_END_TIMEOUT, 1)] {
        let mut shutdown = Shutdown::new(DRAIN_TIMEOUT);
        shutdown.handle_signal(start);
        assert_eq!(shutdown.poll_step(start, registered), Some(Step::Drain));
        assert_eq!(shutdown.poll_step(start, registered), None);
        let left = Remaining {
            registrations,
            ..registered
        };
        assert_eq!(shutdown.poll_step(start + after, left), Some(Step::Stop));
    }
}

#[test]
fn a_drain_without_calls_closes_sessions_and_stops() {
    let start = Instant::now();
    let mut shutdown = Shutdown::new(DRAIN_TIMEOUT);
    assert_eq!(shutdown.poll_step(start, remaining(3, 9, 2)), None);
    shutdown.handle_signal(start);
    assert_eq!(
        shutdown.poll_step(start, remaining(0, 9, 2)),
        Some(Step::Drain)
    );
    assert_eq!(shutdown.poll_step(start, remaining(0, 9, 2)), None);
    assert!(shutdown.shards_should_run());
    assert_eq!(
        shutdown.poll_step(start, remaining(0, 0, 2)),
        Some(Step::Stop)
    );
    assert!(!shutdown.shards_should_run());
    assert_eq!(shutdown.poll_step(start, remaining(0, 0, 1)), None);
    assert_eq!(
        shutdown.poll_step(start, remaining(0, 0, 0)),
        Some(Step::Finish)
    );
    assert_eq!(shutdown.poll_step(start, remaining(0, 0, 0)), None);
}

#[test]
fn sessions_that_do_not_close_are_not_waited_for_long() {
    let start = Instant::now();
    let mut shutdown = Shutdown::new(DRAIN_TIMEOUT);
    shutdown.handle_signal(start);
    assert_eq!(
        shutdown.poll_step(start, remaining(0, 1, 1)),
        Some(Step::Drain)
    );
    let later = start + SESSIONS_CLOSE_TIMEOUT;
    assert_eq!(
        shutdown.poll_step(later, remaining(0, 1, 1)),
        Some(Step::Stop)
    );
}

#[test]
fn calls_go_on_until_the_deadline_and_are_then_ended() {
    let start = Instant::now();
    let mut shutdown = Shutdown::new(DRAIN_TIMEOUT);
    shutdown.handle_signal(start);
    assert_eq!(
        shutdown.poll_step(start, remaining(2, 2, 1)),
        Some(Step::Drain)
    );
    let almost = start + DRAIN_TIMEOUT - Duration::from_millis(1);
    assert_eq!(shutdown.poll_step(almost, remaining(2, 2, 1)), None);
    let due = start + DRAIN_TIMEOUT;
    assert_eq!(
        shutdown.poll_step(due, remaining(2, 2, 1)),
        Some(Step::EndCalls)
    );
    assert_eq!(shutdown.poll_step(due, remaining(1, 2, 1)), None);
    let given_up = due + CALLS_END_TIMEOUT;
    assert_eq!(
        shutdown.poll_step(given_up, remaining(1, 2, 1)),
        Some(Step::Stop)
    );
    assert_eq!(shutdown.poll_step(given_up, remaining(1, 2, 1)), None);
    let stuck = given_up + SHARDS_STOP_TIMEOUT;
    assert_eq!(
        shutdown.poll_step(stuck, remaining(1, 2, 1)),
        Some(Step::Finish)
    );
}

#[test]
fn the_second_signal_stops_at_once() {
    let start = Instant::now();
    let mut shutdown = Shutdown::new(DRAIN_TIMEOUT);
    shutdown.handle_signal(start);
    assert_eq!(
        shutdown.poll_step(start, remaining(2, 2, 1)),
        Some(Step::Drain)
    );
    shutdown.handle_signal(start);
    shutdown.handle_signal(start);
    assert_eq!(
        shutdown.poll_step(start, remaining(2, 2, 1)),
        Some(Step::Stop)
    );
    assert_eq!(shutdown.poll_step(start, remaining(2, 2, 1)), None);
    assert_eq!(
        shutdown.poll_step(start, remaining(0, 0, 0)),
        Some(Step::Finish)
    );
}

#[test]
fn a_dead_shard_drains_the_others() {
    let start = Instant::now();
    let mut shutdown = Shutdown::new(DRAIN_TIMEOUT);
    shutdown.handle_shard_death(start);
    shutdown.handle_shard_death(start);
    assert_eq!(
        shutdown.poll_step(start, remaining(2, 2, 1)),
        Some(Step::Drain)
    );
    assert_eq!(shutdown.poll_step(start, remaining(2, 2, 1)), None);
    assert_eq!(
        shutdown.poll_step(start, remaining(0, 0, 1)),
        Some(Step::Stop)
    );
}
