//! CallEvents to their subscribers, each at most [`QUEUE_MAX`] events behind.
//!
//! An event is written as JSON once and shared. A subscriber that does not keep up is closed and counted, so that it
//! neither slows the others nor misses events unawares. Nothing is kept for later subscribers: this is the live stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::call::{CallEvent, EventType};
use crate::id::TenantId;

/// Events that one subscriber may be behind.
pub const QUEUE_MAX: usize = 1024;
/// Subscribers at once: every connection of the admin window may be one.
pub const SUBSCRIBERS_MAX: usize = 64;

/// Every event type that is told, in the order of its counter, with its published name.
pub const EVENT_TYPES: [(EventType, &str); 5] = [
    (EventType::ChannelCreate, "CHANNEL_CREATE"),
    (EventType::ChannelAnswer, "CHANNEL_ANSWER"),
    (EventType::ChannelHangupComplete, "CHANNEL_HANGUP_COMPLETE"),
    (EventType::ChannelHold, "CHANNEL_HOLD"),
    (EventType::ChannelResume, "CHANNEL_RESUME"),
];

/// One event on its way to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Counts up by one per event of this process; a filter leaves gaps.
    pub id: u64,
    /// The CallEvent as JSON.
    pub json: Arc<str>,
}

/// What a subscriber reads next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// An event.
    Event(Delivery),
    /// The subscriber was too slow; events are missing from here on and nothing follows.
    TooSlow,
    /// The process ends; nothing follows.
    Closed,
}

/// One subscriber's end.
#[derive(Debug)]
pub struct Subscription {
    queue: mpsc::Receiver<Delivery>,
    too_slow: Arc<AtomicBool>,
}

impl Subscription {
    /// Waits for the next event.
    pub async fn next(&mut self) -> Next {
        match self.queue.recv().await {
            Some(delivery) => Next::Event(delivery),
            None if self.too_slow.load(Ordering::Relaxed) => Next::TooSlow,
            None => Next::Closed,
        }
    }
}

/// Too many subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {SUBSCRIBERS_MAX} event subscribers already")]
pub struct TooManySubscribers;

/// Tells events to all who subscribed.
#[derive(Debug, Default)]
pub struct EventFanOut {
    subscribers: BTreeMap<u64, Subscriber>,
    last_subscriber: u64,
    last_event: u64,
    told: [u64; EVENT_TYPES.len()],
    closed_too_slow: u64,
}

#[derive(Debug)]
struct Subscriber {
    tenant_id: Option<TenantId>,
    queue: mpsc::Sender<Delivery>,
    too_slow: Arc<AtomicBool>,
}

impl EventFanOut {
    /// A new subscriber, to the events of one tenant or to all.
    ///
    /// # Errors
    /// There are [`SUBSCRIBERS_MAX`].
    pub fn subscribe(
        &mut self,
        tenant_id: Option<TenantId>,
    ) -> Result<Subscription, TooManySubscribers> {
        self.forget_gone();
        if self.subscribers.len() >= SUBSCRIBERS_MAX {
            return Err(TooManySubscribers);
        }
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let too_slow = Arc::new(AtomicBool::new(false));
        self.last_subscriber += 1;
        let subscriber = Subscriber {
            tenant_id,
            queue: sender,
            too_slow: Arc::clone(&too_slow),
        };
        self.subscribers.insert(self.last_subscriber, subscriber);
        Ok(Subscription { queue, too_slow })
    }

    /// Tells one event.
    pub fn tell(&mut self, event: &CallEvent) {
        self.last_event += 1;
        for ((event_type, _), told) in EVENT_TYPES.iter().zip(&mut self.told) {
            *told += u64::from(*event_type == event.event_type);
        }
        if self.subscribers.is_empty() {
            return;
        }
        let json = match serde_json::to_string(event) {
            Ok(json) => Arc::from(json),
            Err(error) => {
                tracing::error!(call_sid = %event.call_sid, %error, "an event can't be written as JSON");
                return;
            }
        };
        let delivery = Delivery {
            id: self.last_event,
            json,
        };
        let closed_too_slow = &mut self.closed_too_slow;
        self.subscribers.retain(|_, subscriber| {
            if subscriber
                .tenant_id
                .as_ref()
                .is_some_and(|tenant_id| *tenant_id != event.tenant_id)
            {
                return true;
            }
            match subscriber.queue.try_send(delivery.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    subscriber.too_slow.store(true, Ordering::Relaxed);
                    *closed_too_slow += 1;
                    tracing::warn!(
                        tenant_id = subscriber.tenant_id.as_ref().map(TenantId::as_str),
                        "an event subscriber is {QUEUE_MAX} events behind and is closed"
                    );
                    false
                }
            }
        });
    }

    /// Ends all subscriptions; what is in their queues is still read.
    pub fn close(&mut self) {
        self.subscribers.clear();
    }

    /// Subscribers now.
    pub fn subscriber_count(&mut self) -> usize {
        self.forget_gone();
        self.subscribers.len()
    }

    /// Subscribers that were closed because they did not keep up.
    pub fn closed_too_slow(&self) -> u64 {
        self.closed_too_slow
    }

    /// How many events of each type were told, by published name.
    pub fn told(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        EVENT_TYPES
            .iter()
            .zip(self.told)
            .map(|((_, name), told)| (*name, told))
    }

    fn forget_gone(&mut self) {
        self.subscribers
            .retain(|_, subscriber| !subscriber.queue.is_closed());
    }
}

#[cfg(test)]
mod tests;
