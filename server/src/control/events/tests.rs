#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use futures_lite::future::block_on;

use super::super::fixtures::{call, event, tenant};
use super::*;

fn hold(number: u16) -> CallEvent {
    event(call(0, number), EventType::ChannelHold)
}

fn json_of(next: Next) -> CallEvent {
    match next {
        Next::Event(delivery) => serde_json::from_str(&delivery.json).unwrap(),
        other => panic!("an event was due, not {other:?}"),
    }
}

#[test]
fn a_subscriber_reads_its_tenants_events_in_order() {
    let mut events = EventFanOut::default();
    let mut ours = events.subscribe(Some(tenant("acme"))).unwrap();
    let mut all = events.subscribe(None).unwrap();
    let anothers = CallEvent {
        tenant_id: tenant("other"),
        ..hold(2)
    };
    for event in [hold(1), anothers.clone(), hold(3)] {
        events.tell(&event);
    }
    events.close();
    assert_eq!(json_of(block_on(ours.next())), hold(1));
    assert_eq!(json_of(block_on(ours.next())), hold(3));
    assert_eq!(block_on(ours.next()), Next::Closed);
    assert_eq!(json_of(block_on(all.next())), hold(1));
    assert_eq!(json_of(block_on(all.next())), anothers);
    assert_eq!(json_of(block_on(all.next())), hold(3));
    let holds = events.told().find(|(name, _)| *name == "CHANNEL_HOLD");
    assert_eq!(holds, Some(("CHANNEL_HOLD", 3)));
}

#[test]
fn a_slow_subscriber_is_closed_and_counted_and_the_others_go_on() {
    let mut events = EventFanOut::default();
    let mut slow = events.subscribe(None).unwrap();
    let mut quick = events.subscribe(None).unwrap();
    for _ in 0..=QUEUE_MAX {
        events.tell(&hold(1));
        assert_eq!(json_of(block_on(quick.next())), hold(1));
    }
    assert_eq!(events.closed_too_slow(), 1);
    assert_eq!(events.subscriber_count(), 1);
    for _ in 0..QUEUE_MAX {
        assert_eq!(
            json_of(block_on(slow.next())),
            hold(1),
            "what fitted is still read"
        );
    }
    assert_eq!(block_on(slow.next()), Next::TooSlow);
}

#[test]
fn subscribers_are_limited_and_those_who_left_make_room() {
    let mut events = EventFanOut::default();
    let mut subscriptions: Vec<_> = (0..SUBSCRIBERS_MAX)
        .map(|_| events.subscribe(None).unwrap())
        .collect();
    assert_eq!(events.subscribe(None).unwrap_err(), TooManySubscribers);
    subscriptions.pop();
    assert!(events.subscribe(None).is_ok());
}
