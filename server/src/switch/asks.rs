//! Questions to the desk and their answers (contracts section 2): asked once, answered within 2 s or refused.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_lite::FutureExt;
use shards::ring::Producer;

use crate::call::rings::{AskId, Question, ToControl};
use crate::fault::{Fault, Refusal, RefusalCode};

/// How long a set-up waits for the control thread before it is refused.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Questions of one shard that may be open at once.
const OPEN_MAX: usize = 4096;

/// The open questions of one shard.
#[derive(Debug, Default)]
pub struct Asks {
    next: u64,
    open: HashMap<AskId, Rc<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    answer: RefCell<Option<Result<(), Refusal>>>,
    waiting: RefCell<Option<Waker>>,
}

impl Asks {
    /// Sends `question`; the future ends with the answer, or with a refusal after 2 s.
    ///
    /// # Errors
    /// At once, if the ring to the control thread or the table is full.
    pub fn ask(
        &mut self,
        to_control: &mut Producer<ToControl>,
        question: Question,
    ) -> Result<(AskId, impl Future<Output = Result<(), Refusal>> + use<>), Refusal> {
        if self.open.len() >= OPEN_MAX {
            return Err(overload("too many set-ups wait for the control thread"));
        }
        let id = AskId(self.next);
        self.next += 1;
        if to_control.push(ToControl::Ask(id, question)).is_err() {
            return Err(overload("the ring to the control thread is full"));
        }
        let slot = Rc::new(Slot::default());
        self.open.insert(id, Rc::clone(&slot));
        let answer = poll_fn(move |context| match slot.answer.borrow_mut().take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                *slot.waiting.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        });
        let late = async {
            shards::executor::sleep(ANSWER_WITHIN).await;
            Err(overload("the control thread did not answer within 2 s"))
        };
        Ok((id, answer.or(late)))
    }

    /// Takes an answer in. One that nobody waits for any more is dropped; the asker has taken its call back.
    pub fn answered(&mut self, id: AskId, answer: Result<(), Refusal>) {
        let Some(slot) = self.open.remove(&id) else {
            return;
        };
        *slot.answer.borrow_mut() = Some(answer);
        if let Some(waker) = slot.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Forgets a question after its future has ended.
    pub fn close(&mut self, id: AskId) {
        self.open.remove(&id);
    }

    /// Open questions, for the slab gauge.
    pub fn len(&self) -> usize {
        self.open.len()
    }
}

fn overload(message: &str) -> Refusal {
    Refusal::new(RefusalCode::Overload, Fault::Us, message)
        .with_cause(crate::call::q850::Q850Cause::CONGESTION)
}
