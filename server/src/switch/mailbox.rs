//! What the switch tells a signalling session, in order, on one core: a bounded queue with one reader.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::SessionKey;
use crate::call::CallEvent;
use crate::call::q850::Q850Cause;
use crate::fault::Refusal;
use crate::id::CallSid;
use crate::vendors::browser::CallStats;

/// Messages that may wait for a session. A caller that reads nothing for so long is a slow reader.
const MAILBOX_MAX: usize = 256;

/// One thing that a session has to hear.
#[derive(Debug)]
pub enum SessionEvent {
    /// Somebody calls the page.
    Incoming {
        /// Who.
        from: String,
        /// Which number was called.
        to: String,
        /// The call's CREATE.
        created: Box<CallEvent>,
    },
    /// The far end is being alerted.
    Ringing(CallSid),
    /// A CallEvent of the session's call.
    Event(Box<CallEvent>),
    /// A digit from the far end.
    Digit {
        /// `0-9 * # A-D`
        digit: char,
        /// How long it was held.
        duration_ms: u32,
    },
    /// The call is over; the last word about it.
    Ended {
        /// The call.
        call_sid: CallSid,
        /// The cause of the final event.
        cause: Q850Cause,
        /// One sentence for a person.
        reason: String,
    },
    /// The session can't go on, and has no call: its media leg failed, or we did.
    Failed(Refusal),
    /// Both legs' figures.
    Statistics(Box<CallStats>),
    /// The gateway drains: an idle session closes.
    Drain,
    /// The gateway stops: every session closes.
    Stop,
}

/// Sessions without a task, in the order in which something was put into their mailboxes: the media loop delivers it.
#[derive(Default)]
pub struct ToldSessions(RefCell<VecDeque<SessionKey>>);

impl ToldSessions {
    /// The next session that has something to hear.
    pub fn take(&self) -> Option<SessionKey> {
        self.0.borrow_mut().pop_front()
    }
}

/// The queue. Shared by `Rc` between the switch (writes) and one session task (reads), or read by the media loop itself.
#[derive(Default)]
pub struct Mailbox {
    queue: RefCell<VecDeque<SessionEvent>>,
    reader: Cell<Option<Waker>>,
    overflowed: Cell<bool>,
    /// Who delivers, where no task reads.
    delivery: Option<(SessionKey, Rc<ToldSessions>)>,
}

impl Mailbox {
    /// The mailbox of a session without a task.
    pub fn delivered(key: SessionKey, told: Rc<ToldSessions>) -> Self {
        Self {
            delivery: Some((key, told)),
            ..Self::default()
        }
    }

    /// Puts `event` last. Statistics give way when the queue is half full; when it is full the session is marked as a
    /// slow reader and [`Mailbox::receive`] ends. The last word about a call, one for each, is taken all the same.
    pub fn put(&self, event: SessionEvent) {
        let mut queue = self.queue.borrow_mut();
        let waiting = queue.len();
        if matches!(event, SessionEvent::Statistics(_)) && waiting >= MAILBOX_MAX / 2 {
            return;
        }
        let is_last_word = matches!(event, SessionEvent::Ended { .. } | SessionEvent::Failed(_));
        if waiting >= MAILBOX_MAX && !is_last_word {
            self.overflowed.set(true);
        } else {
            queue.push_back(event);
        }
        drop(queue);
        if let Some((key, told)) = &self.delivery {
            told.0.borrow_mut().push_back(*key);
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Whether the media loop reads it: the session has no task.
    pub fn is_delivered(&self) -> bool {
        self.delivery.is_some()
    }

    /// An event that waits already.
    pub fn take(&self) -> Option<SessionEvent> {
        self.queue.borrow_mut().pop_front()
    }

    /// The next event; `None` once the queue has overflowed. Cancel-safe.
    pub async fn receive(&self) -> Option<SessionEvent> {
        poll_fn(|context| {
            if self.overflowed.get() {
                return Poll::Ready(None);
            }
            if let Some(event) = self.queue.borrow_mut().pop_front() {
                return Poll::Ready(Some(event));
            }
            self.reader.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_ends_the_session_instead_of_growing() {
        let mailbox = Mailbox::default();
        for _ in 0..=MAILBOX_MAX {
            mailbox.put(SessionEvent::Drain);
        }
        assert_eq!(mailbox.queue.borrow().len(), MAILBOX_MAX);
        assert!(futures_lite::future::block_on(mailbox.receive()).is_none());
    }

    #[test]
    fn events_keep_their_order() {
        let mailbox = Mailbox::default();
        mailbox.put(SessionEvent::Digit {
            digit: '1',
            duration_ms: 100,
        });
        mailbox.put(SessionEvent::Drain);
        let first = futures_lite::future::block_on(mailbox.receive());
        assert!(matches!(
            first,
            Some(SessionEvent::Digit { digit: '1', .. })
        ));
    }
}
